//! Records as the body of one request.

use bytes::Bytes;
use millstream_connector_api::SinkRecord;

/// How the records of a batch stand in a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// A JSON array.
    Json,
    /// One JSON object per line.
    Ndjson,
    /// One request per record, its body one JSON object.
    Single,
}

impl Format {
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Json | Self::Single => "application/json",
            Self::Ndjson => "application/x-ndjson",
        }
    }

    /// Most records of one request.
    pub(crate) fn most(self) -> usize {
        match self {
            Self::Single => 1,
            Self::Json | Self::Ndjson => usize::MAX,
        }
    }

    pub(crate) fn body(self, station: &str, records: &[&SinkRecord]) -> Bytes {
        let mut body = Vec::with_capacity(records.iter().map(|record| record.weight() + 160).sum());
        if self == Self::Json {
            body.push(b'[');
        }
        for (index, record) in records.iter().enumerate() {
            if index > 0 && self == Self::Json {
                body.push(b',');
            }
            record.write_json(Some(station), &mut body);
            if self == Self::Ndjson {
                body.push(b'\n');
            }
        }
        if self == Self::Json {
            body.push(b']');
        }
        body.into()
    }
}

/// The idempotency key of a request: see the crate's door text. The time keeps a station that was made anew, and counts from 1
/// again, apart from the old one.
pub(crate) fn batch_id(station: &str, records: &[&SinkRecord]) -> String {
    let (first, last) = match records {
        [] => return String::new(),
        [first, .., last] => (first, last),
        [only] => (only, only),
    };
    let name: String = station
        .chars()
        .map(|c| if c.is_ascii_graphic() { c } else { '_' })
        .collect();
    format!(
        "{name}-{}-{}-{}-{:x}",
        first.seq,
        last.seq,
        records.len(),
        first.time.0
    )
}
