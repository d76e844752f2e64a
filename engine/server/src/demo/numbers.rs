//! What was counted, and whether it adds up.

use std::time::Duration;

use millstream_pipeline::StageSnapshot;
use serde_json::{Map, Value};

/// A place that records arrive at, and when the last of them did, counted from the source's start.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Arrived {
    /// Different records.
    pub(super) records: u64,
    /// When all there are had arrived.
    pub(super) after: Duration,
}

/// Everything counted. Each number comes from the place that did the work, so that the sums prove something.
#[derive(Clone, Debug, Default)]
pub(super) struct Numbers {
    /// Records in the source's file.
    pub(super) in_file: u64,
    /// Records the source committed.
    pub(super) read: Arrived,
    /// What their commits came to, as the source was told: stored, dropped, rejected.
    pub(super) told: [u64; 3],
    /// The stages, in order.
    pub(super) stages: Vec<StageSnapshot>,
    /// Messages in the station, as the stream says.
    pub(super) stored: u64,
    /// Messages in its dead letters, as that stream says.
    pub(super) rejected: u64,
    /// Messages the NATS client acknowledged.
    pub(super) delivered: Arrived,
    /// Messages of the consumer that the server has no acknowledgement of.
    pub(super) unacknowledged: u64,
    /// Records the webhook took.
    pub(super) sunk: Arrived,
    /// Requests to the webhook whose signature or body did not hold.
    pub(super) unsigned: u64,
    /// Lines in the file sink's file.
    pub(super) copied: Arrived,
}

impl Numbers {
    /// Records that stages left out on purpose.
    pub(super) fn dropped(&self) -> u64 {
        self.stages.iter().map(|stage| stage.dropped).sum()
    }

    /// From the source's start until everything had arrived everywhere.
    pub(super) fn took(&self) -> Duration {
        let ends = [self.read, self.delivered, self.sunk, self.copied].map(|arrived| arrived.after);
        ends.into_iter().max().unwrap_or_default()
    }

    /// `read`, `stored`, `dropped`, `rejected`, `delivered`, `sunk`.
    pub(super) fn sums(&self) -> Map<String, Value> {
        let sums = [
            ("read", self.read.records),
            ("stored", self.stored),
            ("dropped", self.dropped()),
            ("rejected", self.rejected),
            ("delivered", self.delivered.records),
            ("sunk", self.sunk.records),
        ];
        sums.into_iter()
            .map(|(name, number)| (name.to_owned(), number.into()))
            .collect()
    }

    /// Each equation that does not hold, in words; empty when all is well.
    pub(super) fn wrong(&self) -> Vec<String> {
        let dropped = self.dropped();
        let out = self.stored + dropped + self.rejected;
        let [stored, left_out, refused] = self.told;
        let equations = [
            (
                "read",
                self.read.records,
                "records in the file",
                self.in_file,
            ),
            (
                "read",
                self.read.records,
                "stored + dropped + rejected",
                out,
            ),
            (
                "stored",
                self.stored,
                "stored as the source was told",
                stored,
            ),
            (
                "dropped",
                dropped,
                "dropped as the source was told",
                left_out,
            ),
            (
                "rejected",
                self.rejected,
                "rejected as the source was told",
                refused,
            ),
            ("delivered", self.delivered.records, "stored", self.stored),
            ("sunk", self.sunk.records, "stored", self.stored),
            (
                "lines of the file sink",
                self.copied.records,
                "stored",
                self.stored,
            ),
            ("unacknowledged messages", self.unacknowledged, "none", 0),
            ("webhook requests refused", self.unsigned, "none", 0),
        ];
        let wrong = equations.iter().filter(|(_, left, _, right)| left != right);
        wrong
            .map(|(name, left, other, right)| format!("{name} ({left}) is not {other} ({right})"))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use millstream_pipeline::StageSnapshot;

    use super::{Arrived, Numbers};

    fn good() -> Numbers {
        let arrived = |records| Arrived {
            records,
            ..Arrived::default()
        };
        Numbers {
            in_file: 10,
            read: arrived(10),
            told: [6, 3, 1],
            stages: vec![
                StageSnapshot {
                    rejected: 1,
                    ..StageSnapshot::default()
                },
                StageSnapshot {
                    dropped: 3,
                    ..StageSnapshot::default()
                },
            ],
            stored: 6,
            rejected: 1,
            delivered: arrived(6),
            unacknowledged: 0,
            sunk: arrived(6),
            unsigned: 0,
            copied: arrived(6),
        }
    }

    #[test]
    fn sums_have_the_agreed_names() {
        let text = serde_json::to_string(&good().sums()).expect("plain data");
        assert_eq!(
            text,
            r#"{"read":10,"stored":6,"dropped":3,"rejected":1,"delivered":6,"sunk":6}"#
        );
    }

    #[test]
    fn every_number_that_is_off_is_named() {
        assert_eq!(good().wrong(), Vec::<String>::new());
        type Change = fn(&mut Numbers);
        let cases: [(&str, Change); 9] = [
            ("read", |numbers| numbers.read.records -= 1),
            ("records in the file", |numbers| numbers.in_file += 1),
            ("stored", |numbers| numbers.stored += 1),
            ("dropped", |numbers| numbers.stages[1].dropped += 1),
            ("rejected", |numbers| numbers.rejected = 0),
            ("delivered", |numbers| numbers.delivered.records = 5),
            ("sunk", |numbers| numbers.sunk.records = 7),
            ("file sink", |numbers| numbers.copied.records = 0),
            ("unacknowledged", |numbers| numbers.unacknowledged = 1),
        ];
        for (name, change) in cases {
            let mut numbers = good();
            change(&mut numbers);
            let wrong = numbers.wrong();
            assert!(
                wrong.iter().any(|wrong| wrong.contains(name)),
                "{name}: {wrong:?}"
            );
        }
    }
}
