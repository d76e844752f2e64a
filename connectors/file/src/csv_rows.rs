//! CSV rows as JSON objects: the header row gives the keys.

use bytes::Bytes;
use millstream_connector_api::{Fault, SourceRecord, SubjectTemplate};
use serde_json::{Map, Number, Value};

/// The keys of a file and how its fields become values.
#[derive(Clone, Debug)]
pub(crate) struct Columns {
    names: Vec<String>,
    typed: bool,
    null: Option<String>,
}

impl Columns {
    /// Reads the header row.
    ///
    /// # Errors
    /// A text for people when it is no row of distinct names.
    pub(crate) fn read(header: &[u8], typed: bool, null: Option<String>) -> Result<Self, String> {
        let header = header.strip_prefix(b"\xef\xbb\xbf").unwrap_or(header);
        let names: Vec<String> = fields(header)?
            .into_iter()
            .map(|name| name.trim().to_owned())
            .collect();
        for (index, name) in names.iter().enumerate() {
            if name.is_empty() {
                return Err(format!("column {} has no name", index + 1));
            }
            if names[..index].contains(name) {
                return Err(format!("column `{name}` stands in it twice"));
            }
        }
        Ok(Self { names, typed, null })
    }

    /// The record of one row. A row that does not fit the header keeps its bytes and gets a fault.
    pub(crate) fn record(&self, row: &[u8], line: u64, template: &SubjectTemplate) -> SourceRecord {
        match self.object(row) {
            Ok(object) => {
                let value = Value::Object(object);
                let subject = template.render_json(&value);
                SourceRecord {
                    subject,
                    payload: Bytes::from(value.to_string()),
                    ..SourceRecord::default()
                }
            }
            Err(reason) => SourceRecord {
                subject: template.render(|_| None),
                payload: Bytes::copy_from_slice(row),
                fault: Some(Fault {
                    code: "invalid_csv",
                    reason: format!("line {line}: {reason}"),
                }),
                ..SourceRecord::default()
            },
        }
    }

    fn object(&self, row: &[u8]) -> Result<Map<String, Value>, String> {
        let fields = fields(row)?;
        if fields.len() != self.names.len() {
            return Err(format!(
                "the row has {} fields, the header {}",
                fields.len(),
                self.names.len()
            ));
        }
        Ok(self
            .names
            .iter()
            .cloned()
            .zip(fields.into_iter().map(|field| self.value(field)))
            .collect())
    }

    fn value(&self, field: String) -> Value {
        if self.null.as_ref() == Some(&field) {
            return Value::Null;
        }
        if !self.typed {
            return Value::String(field);
        }
        match field.as_str() {
            "" => Value::Null,
            "true" | "TRUE" | "True" => Value::Bool(true),
            "false" | "FALSE" | "False" => Value::Bool(false),
            text => match number(text) {
                Some(number) => Value::Number(number),
                None => Value::String(field),
            },
        }
    }
}

/// A number only if it is written as JSON writes it: `007` and `+1` are codes, not numbers; a whole number too large to be
/// held exactly stays text.
fn number(text: &str) -> Option<Number> {
    if !text.starts_with(|first: char| first.is_ascii_digit() || first == '-') {
        return None;
    }
    let number: Number = serde_json::from_str(text).ok()?;
    let is_whole = text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'-');
    (!is_whole || !number.is_f64()).then_some(number)
}

fn fields(row: &[u8]) -> Result<Vec<String>, String> {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .buffer_capacity(row.len().max(16))
        .from_reader(row);
    let mut record = csv::StringRecord::new();
    match reader.read_record(&mut record) {
        Ok(true) => Ok(record.iter().map(str::to_owned).collect()),
        Ok(false) => Err("the row is empty".to_owned()),
        Err(error) if matches!(error.kind(), csv::ErrorKind::Utf8 { .. }) => {
            Err("the row is not UTF-8".to_owned())
        }
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use millstream_connector_api::SubjectTemplate;

    use super::Columns;

    fn row(row: &str, null: Option<&str>) -> (String, String, Option<String>) {
        let columns =
            Columns::read(b"\xef\xbb\xbfa, b,c", true, null.map(str::to_owned)).expect("a header");
        let template = SubjectTemplate::parse("x.{b}").expect("valid");
        let record = columns.record(row.as_bytes(), 3, &template);
        let payload = String::from_utf8_lossy(&record.payload).into_owned();
        (
            record.subject,
            payload,
            record.fault.map(|fault| fault.reason),
        )
    }

    #[test]
    fn fields_are_typed_as_json_would_write_them() {
        let payload = |text| row(text, Some("NA")).1;
        assert_eq!(payload("1,-2.5,true"), r#"{"a":1,"b":-2.5,"c":true}"#);
        assert_eq!(payload("007,+1,"), r#"{"a":"007","b":"+1","c":null}"#);
        assert_eq!(
            payload("NA,\"x,\"\"y\",1e3"),
            r#"{"a":null,"b":"x,\"y","c":1000.0}"#
        );
        assert_eq!(
            payload("99999999999999999999999,N1,"),
            r#"{"a":"99999999999999999999999","b":"N1","c":null}"#
        );
        assert_eq!(row("1,EWR,2", None).0, "x.EWR");
    }

    #[test]
    fn rows_that_do_not_fit_get_a_fault() {
        let (subject, payload, fault) = row("1,2", None);
        assert_eq!((subject.as_str(), payload.as_str()), ("x._", "1,2"));
        assert_eq!(
            fault.as_deref(),
            Some("line 3: the row has 2 fields, the header 3")
        );
    }

    #[test]
    fn headers_need_distinct_names() {
        let error = |header: &[u8]| Columns::read(header, true, None).expect_err("refused");
        assert_eq!(error(b"a,,c"), "column 2 has no name");
        assert_eq!(error(b"a,b,a"), "column `a` stands in it twice");
        assert_eq!(error(b""), "the row is empty");
    }
}
