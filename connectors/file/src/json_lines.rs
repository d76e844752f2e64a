//! One JSON line as a record.

use std::borrow::Cow;
use std::collections::HashMap;

use bytes::Bytes;
use millstream_connector_api::{Fault, SourceRecord, SubjectTemplate};
use serde_json::Value;
use serde_json::value::RawValue;

/// The record of one line. A line that is no JSON keeps its bytes and gets a fault, so that it ends as a dead letter with its
/// reason and the reading goes on.
pub(crate) fn record(line: &[u8], number: u64, template: &SubjectTemplate) -> SourceRecord {
    let payload = Bytes::copy_from_slice(line);
    match subject(line, template) {
        Ok(subject) => SourceRecord {
            subject,
            payload,
            ..SourceRecord::default()
        },
        Err(reason) => SourceRecord {
            subject: template.render(|_| None),
            payload,
            fault: Some(Fault {
                code: "invalid_json",
                reason: format!("line {number} is no JSON: {reason}"),
            }),
            ..SourceRecord::default()
        },
    }
}

/// Checks the whole line but builds only what the template needs.
fn subject(line: &[u8], template: &SubjectTemplate) -> Result<String, String> {
    let text = std::str::from_utf8(line).map_err(|error| error.to_string())?;
    let wants_fields = template.fields().next().is_some();
    if !wants_fields || !text.trim_start().starts_with('{') {
        serde_json::from_str::<&RawValue>(text).map_err(|error| at_column(&error))?;
        return Ok(template.render(|_| None));
    }
    let fields: HashMap<Cow<'_, str>, &RawValue> =
        serde_json::from_str(text).map_err(|error| at_column(&error))?;
    let wanted: serde_json::Map<String, Value> = template
        .fields()
        .filter_map(|name| {
            let value = serde_json::from_str(fields.get(name)?.get()).ok()?;
            Some((name.to_owned(), value))
        })
        .collect();
    Ok(template.render_json(&Value::Object(wanted)))
}

/// The parser's text with the column alone: it saw one line and calls it line 1.
fn at_column(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let what = text.split(" at line ").next().unwrap_or(&text);
    format!("{what} at column {}", error.column())
}

#[cfg(test)]
mod tests {
    use millstream_connector_api::SubjectTemplate;

    use super::record;

    #[test]
    fn lines_become_records_and_what_is_no_json_gets_a_fault() {
        let template = SubjectTemplate::parse("f.{carrier}").expect("valid");
        let good = record(br#"{"carrier":"UA","x":{"deep":[1]}}"#, 1, &template);
        assert_eq!((good.subject.as_str(), good.fault), ("f.UA", None));
        assert_eq!(record(b"[1]", 1, &template).subject, "f._");
        let bad = record(br#"{"carrier":"UA","#, 7, &template);
        assert_eq!(bad.subject, "f._");
        assert_eq!(&bad.payload[..], br#"{"carrier":"UA","#);
        let fault = bad.fault.expect("a fault");
        assert_eq!(fault.code, "invalid_json");
        assert_eq!(
            fault.reason,
            "line 7 is no JSON: EOF while parsing a value at column 16"
        );
        assert!(record(b"{\"a\":\"\xff\"}", 1, &template).fault.is_some());
        let plain = SubjectTemplate::parse("f").expect("valid");
        assert!(record(b"{\"a\":1}", 1, &plain).fault.is_none());
        assert!(record(b"{\"a\":1}}", 1, &plain).fault.is_some());
    }
}
