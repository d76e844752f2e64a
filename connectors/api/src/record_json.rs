//! One record as JSON, the form files and webhooks get.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use millstream_types::HeaderBlock;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::SinkRecord;

impl SinkRecord {
    /// Appends the record as one JSON object without line breaks:
    ///
    /// ```text
    /// {"station":…,"seq":1,"time":"2013-01-01T10:00:00Z","subject":"flights.UA","headers":{"A":"1","B":["2","3"]},"payload":…}
    /// ```
    /// `station` is left out when `None`, `headers` when there are none. A payload that is JSON stands as it is, byte for
    /// byte except that line breaks between its tokens become blanks; any other payload is `"payload_base64":"…"`.
    pub fn write_json(&self, station: Option<&str>, out: &mut Vec<u8>) {
        out.push(b'{');
        if let Some(station) = station {
            out.extend_from_slice(b"\"station\":");
            write_text(station, out);
            out.push(b',');
        }
        out.extend_from_slice(
            format!(
                "\"seq\":{},\"time\":\"{}\",\"subject\":",
                self.seq,
                self.time.to_rfc3339()
            )
            .as_bytes(),
        );
        write_text(&String::from_utf8_lossy(&self.subject), out);
        let headers = headers_json(&HeaderBlock::new(&self.headers));
        if !headers.is_empty() {
            out.extend_from_slice(b",\"headers\":");
            out.extend_from_slice(Value::Object(headers).to_string().as_bytes());
        }
        match std::str::from_utf8(&self.payload)
            .ok()
            .filter(|text| serde_json::from_str::<&RawValue>(text).is_ok())
        {
            Some(text) => {
                out.extend_from_slice(b",\"payload\":");
                // In valid JSON a raw line break is only ever white space between tokens.
                out.extend(text.trim().bytes().map(|byte| {
                    if matches!(byte, b'\n' | b'\r') {
                        b' '
                    } else {
                        byte
                    }
                }));
            }
            None => {
                out.extend_from_slice(b",\"payload_base64\":\"");
                out.extend_from_slice(STANDARD.encode(&self.payload).as_bytes());
                out.push(b'"');
            }
        }
        out.push(b'}');
    }
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(Value::from(text).to_string().as_bytes());
}

fn headers_json(block: &HeaderBlock<'_>) -> Map<String, Value> {
    let mut headers = Map::new();
    for (name, value) in block.iter() {
        let value = Value::from(String::from_utf8_lossy(value));
        match headers.get_mut(&*String::from_utf8_lossy(name)) {
            None => {
                headers.insert(String::from_utf8_lossy(name).into_owned(), value);
            }
            Some(Value::Array(values)) => values.push(value),
            Some(first) => *first = Value::Array(vec![first.take(), value]),
        }
    }
    headers
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use millstream_types::{HeadersBuilder, Timestamp};
    use proptest::prelude::{any, prop_oneof, proptest};
    use proptest::strategy::Strategy;
    use serde_json::Value;

    use crate::SinkRecord;

    fn record(payload: &[u8]) -> SinkRecord {
        SinkRecord {
            seq: 7,
            time: Timestamp(1_000_000_000),
            subject: Bytes::from_static(b"a.b"),
            headers: Bytes::new(),
            payload: Bytes::copy_from_slice(payload),
            deliveries: 1,
        }
    }

    fn json(record: &SinkRecord, station: Option<&str>) -> String {
        let mut out = Vec::new();
        record.write_json(station, &mut out);
        String::from_utf8(out).expect("JSON is UTF-8")
    }

    #[test]
    fn json_stands_as_it_is_and_the_rest_is_base64() {
        assert_eq!(
            json(
                &record(b"{\"big\":12345678901234567890123,\r\n\"a\":\"x\\ny\"}\n"),
                Some("s")
            ),
            "{\"station\":\"s\",\"seq\":7,\"time\":\"1970-01-01T00:00:01Z\",\"subject\":\"a.b\",\
             \"payload\":{\"big\":12345678901234567890123,  \"a\":\"x\\ny\"}}"
        );
        assert!(json(&record(b"plain"), None).ends_with(",\"payload_base64\":\"cGxhaW4=\"}"));
        assert!(json(&record(b""), None).ends_with(",\"payload_base64\":\"\"}"));
        let mut with_headers = record(b"1");
        with_headers.headers = HeadersBuilder::new()
            .with("A", "1")
            .with("B", "2")
            .with("B", "3")
            .build();
        assert!(
            json(&with_headers, None)
                .contains("\"headers\":{\"A\":\"1\",\"B\":[\"2\",\"3\"]},\"payload\":1}")
        );
    }

    proptest! {
        #[test]
        fn every_payload_gives_one_line_of_json(
            payload in prop_oneof![
                any::<Vec<u8>>(),
                any::<String>().prop_map(String::into_bytes),
                any::<String>().prop_map(|text| format!("[\n{},\r1 ]", Value::from(text)).into_bytes()),
            ]
        ) {
            let text = json(&record(&payload), None);
            assert!(!text.contains(['\n', '\r']));
            let parsed: Value = serde_json::from_str(&text).expect("JSON");
            if let Ok(original) = serde_json::from_slice::<Value>(&payload) {
                assert_eq!(parsed["payload"], original);
            }
        }
    }
}
