//! A request's body as records, and the results as an answer.

use axum::http::StatusCode;
use bytes::Bytes;
use millstream_connector_api::{RecordResult, SourceRecord, SubjectTemplate};
use millstream_types::HeadersBuilder;
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// Where a body stops being JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Malformed {
    pub(crate) reason: String,
    pub(crate) line: usize,
    pub(crate) column: usize,
}

impl Malformed {
    fn new(error: &serde_json::Error, lines_before: usize) -> Self {
        let text = error.to_string();
        let reason = text.split(" at line ").next().unwrap_or(&text).to_owned();
        Self {
            reason,
            line: lines_before + error.line(),
            column: error.column(),
        }
    }
}

/// The records of a body: one JSON value, an array of them, or a value per line. Nothing when any part is malformed.
/// `id` becomes `Nats-Msg-Id`, with the index behind it when there are several.
pub(crate) fn records(
    body: &Bytes,
    ndjson: bool,
    template: &SubjectTemplate,
    id: Option<&str>,
) -> Result<Vec<SourceRecord>, Malformed> {
    let text = std::str::from_utf8(body).map_err(|error| not_utf8(body, error.valid_up_to()))?;
    let values = split(text, ndjson)?;
    let many = values.len() > 1 || text.trim_start().starts_with('[');
    let record = |(index, value): (usize, &str)| {
        let headers = match id {
            Some(id) if many => HeadersBuilder::new()
                .with("Nats-Msg-Id", &format!("{id}.{index}"))
                .build(),
            Some(id) => HeadersBuilder::new().with("Nats-Msg-Id", id).build(),
            None => Bytes::new(),
        };
        let parsed = if template.fields().next().is_some() {
            serde_json::from_str(value).ok()
        } else {
            None
        };
        SourceRecord {
            subject: template.render_json(&parsed.unwrap_or(Value::Null)),
            headers,
            payload: body.slice_ref(value.as_bytes()),
            fault: None,
        }
    };
    Ok(values.into_iter().enumerate().map(record).collect())
}

fn split(text: &str, ndjson: bool) -> Result<Vec<&str>, Malformed> {
    if !ndjson && text.trim_start().starts_with('[') {
        let values: Vec<&RawValue> =
            serde_json::from_str(text).map_err(|error| Malformed::new(&error, 0))?;
        return Ok(values.into_iter().map(RawValue::get).collect());
    }
    if !ndjson {
        let whole = match serde_json::from_str::<&RawValue>(text) {
            Ok(value) => return Ok(vec![value.get()]),
            Err(error) => Malformed::new(&error, 0),
        };
        // Several values, one per line, need no content type; but then the first line must be one.
        let first = text
            .lines()
            .find(|line| !line.trim().is_empty())
            .unwrap_or_default();
        if serde_json::from_str::<&RawValue>(first).is_err() {
            return Err(whole);
        }
    }
    let mut values = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if !line.trim().is_empty() {
            let value: &RawValue =
                serde_json::from_str(line).map_err(|error| Malformed::new(&error, index))?;
            values.push(value.get());
        }
    }
    Ok(values)
}

fn not_utf8(body: &[u8], at: usize) -> Malformed {
    let before = &body[..at];
    let line_start = before
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |at| at + 1);
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    Malformed {
        reason: "not UTF-8".to_owned(),
        line,
        column: at - line_start + 1,
    }
}

/// The answer to a committed request: 200 when everything was taken, 422 when anything was rejected.
pub(crate) fn answer(results: &[RecordResult]) -> (StatusCode, Value) {
    let shown: Vec<Value> = results.iter().map(show).collect();
    let rejected = results
        .iter()
        .filter(|result| {
            matches!(
                result,
                RecordResult::Rejected { .. } | RecordResult::NoStation
            )
        })
        .count();
    let accepted = results.len() - rejected;
    if rejected == 0 {
        return (
            StatusCode::OK,
            json!({"accepted": accepted, "results": shown}),
        );
    }
    let error = format!("{rejected} of {} records were rejected", results.len());
    let body = json!({
        "code": 422,
        "error": error,
        "hint": "`results` has the reason of each, in the order sent; do not send the accepted ones again",
        "accepted": accepted,
        "rejected": rejected,
        "results": shown,
    });
    (StatusCode::UNPROCESSABLE_ENTITY, body)
}

fn show(result: &RecordResult) -> Value {
    match result {
        RecordResult::Stored { stream, seq } => {
            json!({"status": "stored", "stream": stream, "seq": seq})
        }
        RecordResult::Dropped => json!({"status": "dropped"}),
        RecordResult::Duplicate => json!({"status": "duplicate"}),
        RecordResult::Rejected { code, reason } => {
            json!({"status": "rejected", "code": code, "reason": reason})
        }
        RecordResult::NoStation => {
            json!({"status": "rejected", "code": "no_station", "reason": "no station takes this record's subject"})
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use millstream_connector_api::SubjectTemplate;

    use super::{Malformed, records};

    fn read(body: &'static str, ndjson: bool) -> Result<Vec<(String, String)>, Malformed> {
        let template = SubjectTemplate::parse("in.{k}").expect("valid");
        let records = records(
            &Bytes::from_static(body.as_bytes()),
            ndjson,
            &template,
            None,
        )?;
        let text = |payload: &Bytes| String::from_utf8_lossy(payload).into_owned();
        Ok(records
            .iter()
            .map(|record| (record.subject.clone(), text(&record.payload)))
            .collect())
    }

    fn payloads(body: &'static str) -> Vec<String> {
        read(body, false)
            .expect("well formed")
            .into_iter()
            .map(|(_, payload)| payload)
            .collect()
    }

    #[test]
    fn one_many_and_lines() {
        assert_eq!(
            read("{\"k\":\"a\"}", false).expect("well formed"),
            [("in.a".into(), "{\"k\":\"a\"}".into())]
        );
        assert_eq!(payloads(" [ {\"k\": 1} , 2 ]"), ["{\"k\": 1}", "2"]);
        assert_eq!(
            payloads("{\"k\":1}\n\n{\"k\":2}\r\n"),
            ["{\"k\":1}", "{\"k\":2}"]
        );
        assert_eq!(payloads("{\n\"k\":1\n}"), ["{\n\"k\":1\n}"]);
        assert_eq!(payloads("[]"), Vec::<String>::new());
        assert_eq!(read("[1]\n[2]\n", true).expect("well formed").len(), 2);
    }

    #[test]
    fn malformed_bodies_are_placed() {
        let place = |body, ndjson| {
            let error = read(body, ndjson).expect_err("malformed");
            (error.line, error.column)
        };
        assert_eq!(place("{\"k\":1,}", false), (1, 8));
        assert_eq!(place("{\"k\":1}\n{\"k\"\n", false), (2, 4));
        assert_eq!(place("[1,\n2,x]", false), (2, 3));
        assert_eq!(place("", false), (1, 0));
        let template = SubjectTemplate::parse("in").expect("valid");
        let error = records(&Bytes::from_static(b"1\n\"\xff\""), true, &template, None)
            .expect_err("malformed");
        assert_eq!((error.line, error.column), (2, 2));
    }

    #[test]
    fn an_id_makes_posting_again_harmless() {
        let template = SubjectTemplate::parse("in").expect("valid");
        let header = |body: &'static str| {
            let records = records(
                &Bytes::from_static(body.as_bytes()),
                false,
                &template,
                Some("x"),
            )
            .expect("well formed");
            String::from_utf8_lossy(&records.last().expect("one").headers).into_owned()
        };
        assert!(header("{}").contains("Nats-Msg-Id: x\r\n"));
        assert!(header("[1,2]").contains("Nats-Msg-Id: x.1\r\n"));
    }
}
