//! How far a flow is.

use std::collections::BTreeMap;

use bytes::Bytes;
use millstream_cluster::{position_value, split_position};
use millstream_types::Timestamp;
use serde::{Deserialize, Serialize};

use super::status::FlowTotals;

/// Most inputs that are put aside; with so many the flow waits for them.
pub(crate) const MAX_PARKED: usize = 10_000;

/// An input that was put aside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Parked {
    /// How often it was to be tried again; 0: it only waits for one of the same key.
    pub(crate) tries: u32,
    /// When it is to be tried again.
    pub(crate) due: Timestamp,
    /// Its key, once it was read.
    pub(crate) key: Option<Bytes>,
}

/// Where a flow stands. Everything up to `read` is done but for what is parked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) run: u64,
    /// The number of the stream it reads: one that was made anew has another.
    pub(crate) stream: u32,
    pub(crate) from: String,
    /// The last sequence that was looked at.
    pub(crate) read: u64,
    /// By sequence, at most `read`.
    pub(crate) parked: BTreeMap<u64, Parked>,
    pub(crate) totals: FlowTotals,
}

/// A position that is none of this build's. It is not the same as none at all: the flow has been somewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unreadable;

/// As it lies in the catalog. `parked` holds sequence, tries and due time in milliseconds since 1970.
#[derive(Serialize, Deserialize)]
struct Stored {
    stream: u32,
    from: String,
    read: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    parked: Vec<(u64, u32, i64)>,
    #[serde(default)]
    totals: FlowTotals,
}

const MILLI: i64 = 1_000_000;

impl Position {
    pub(crate) fn encode(&self) -> Bytes {
        let parked = self.parked.iter();
        let stored = Stored {
            stream: self.stream,
            from: self.from.clone(),
            read: self.read,
            // Not earlier than asked for.
            parked: parked
                .map(|(seq, parked)| (*seq, parked.tries, (parked.due.0 + MILLI - 1) / MILLI))
                .collect(),
            totals: self.totals,
        };
        let json = serde_json::to_string(&stored).expect("invariant: plain data");
        position_value(self.run, &json)
    }

    /// A position of this run; `None` when it is of another one, whatever that wrote.
    pub(crate) fn of_run(bytes: &[u8], run: u64) -> Result<Option<Self>, Unreadable> {
        match split_position(bytes) {
            Some((other, _)) if other != run => Ok(None),
            _ => Self::decode(bytes).map(Some).ok_or(Unreadable),
        }
    }

    /// `None` when it is none of this build's.
    fn decode(bytes: &[u8]) -> Option<Self> {
        let (run, json) = split_position(bytes)?;
        let stored: Stored = serde_json::from_slice(json).ok()?;
        let parked = stored.parked.into_iter().map(|(seq, tries, due)| {
            let parked = Parked {
                tries,
                due: Timestamp(due.saturating_mul(MILLI)),
                key: None,
            };
            (seq, parked)
        });
        Some(Self {
            run,
            stream: stored.stream,
            from: stored.from,
            read: stored.read,
            parked: parked.collect(),
            totals: stored.totals,
        })
    }

    /// Behind the end of a range, in another stream than the one that the range was of.
    pub(crate) fn over(self, stream: u32, from: &str, until: u64) -> Self {
        let mut totals = self.totals;
        totals.lost += self.parked.len() as u64;
        Self {
            stream,
            from: from.to_owned(),
            read: until.max(self.read),
            parked: BTreeMap::new(),
            totals,
            ..self
        }
    }

    /// When the first of the parked is to be tried again.
    pub(crate) fn first_due(&self) -> Option<Timestamp> {
        let tried = self.parked.values().filter(|parked| parked.tries > 0);
        tried.map(|parked| parked.due).min()
    }
}

#[cfg(test)]
mod tests {
    use millstream_types::Timestamp;

    use super::{Parked, Position, Unreadable};

    #[test]
    fn a_position_reads_back_and_its_form_stays() {
        let mut position = Position {
            run: 12,
            stream: 3,
            from: "flights".to_owned(),
            read: 100,
            ..Position::default()
        };
        position.totals.inputs = 99;
        let plain = r#"12
{"stream":3,"from":"flights","read":100,"totals":{"inputs":99,"outputs":0,"dropped":0,"rejected":0,"retried":0,"lost":0}}"#;
        assert_eq!(position.encode(), plain);
        assert_eq!(Position::decode(plain.as_bytes()), Some(position.clone()));
        let parked = Parked {
            tries: 2,
            due: Timestamp(5_000_001),
            key: None,
        };
        position.parked.insert(7, parked);
        position.parked.insert(9, Parked::default());
        let bytes = position.encode();
        assert!(
            String::from_utf8_lossy(&bytes).contains(r#""parked":[[7,2,6],[9,0,0]]"#),
            "{bytes:?}"
        );
        let again = Position::decode(&bytes).expect("one");
        assert_eq!(again.first_due(), Some(Timestamp(6_000_000)));
        assert_eq!(again.encode(), bytes);
        for wrong in [&b""[..], b"12", b"x\n{}", b"12\n{}"] {
            assert_eq!(Position::decode(wrong), None);
            assert_eq!(Position::of_run(wrong, 12), Err(Unreadable));
        }
        assert_eq!(Position::of_run(b"12\n{}", 13), Ok(None));
        assert_eq!(Position::of_run(&bytes, 13), Ok(None));
        assert_eq!(Position::of_run(&bytes, 12), Ok(Some(again)));
    }
}
