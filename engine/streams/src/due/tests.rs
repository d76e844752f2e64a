//! What applying a command does that deals with what is due: schedules and stale markers. The rest is in the model of
//! `stream`.

use millstream_journal::Position;
use millstream_types::{HeadersBuilder, Timestamp};

use super::Pending;
use crate::{Due, DueSchedule, Fire, Publish, RecordOutcome, RecordsBuilder, Stream, StreamConfig};

const SECOND: i64 = 1_000_000_000;

struct World {
    stream: Stream,
    frame: u64,
}

impl World {
    fn new(change: impl FnOnce(&mut StreamConfig)) -> Self {
        let mut config = StreamConfig {
            name: "S".to_owned(),
            subjects: vec!["s.>".to_owned()],
            allow_msg_ttl: true,
            ..StreamConfig::default()
        };
        change(&mut config);
        let config = config.checked().expect("valid");
        Self {
            stream: Stream::new(1, config, Timestamp(0), None),
            frame: 0,
        }
    }

    fn at(&mut self) -> Position {
        self.frame += 1;
        Position {
            file: 1,
            offset: self.frame,
            len: 9,
        }
    }

    fn publish(&mut self, seconds: i64, subject: &str, headers: &[(&str, &str)]) -> RecordOutcome {
        let mut block = HeadersBuilder::new();
        headers
            .iter()
            .for_each(|(name, value)| block.push(name, value));
        let headers = if headers.is_empty() {
            bytes::Bytes::new()
        } else {
            block.build()
        };
        let mut records = RecordsBuilder::new();
        records.push(subject.as_bytes(), &headers, b"");
        let (records, count) = records.take();
        let publish = Publish {
            stream: 1,
            time: Timestamp(seconds * SECOND),
            count,
            records,
        };
        let (at, mut out) = (self.at(), Vec::new());
        self.stream.publish(at, 0, &publish, &mut out);
        out.remove(0)
    }

    fn schedule(&mut self, seconds: i64, subject: &str, pattern: &str) -> u64 {
        let headers = [("Nats-Schedule", pattern), ("Nats-Schedule-Target", "s.t")];
        match self.publish(seconds, subject, &headers) {
            RecordOutcome::Stored(seq) => seq,
            other => panic!("{other:?}"),
        }
    }

    fn due(&mut self, seconds: i64, fires: Vec<Fire>, made: &[&str]) -> u64 {
        let mut records = RecordsBuilder::new();
        made.iter()
            .for_each(|subject| records.push(subject.as_bytes(), b"", b"made"));
        let (records, count) = records.take();
        let due = Due {
            stream: 1,
            now: Timestamp(seconds * SECOND),
            fires,
            count,
            records,
        };
        let at = self.at();
        self.stream.come_due(&due, at, 0)
    }

    fn held(&self) -> Vec<(u64, String)> {
        let stream = &self.stream;
        let live = std::iter::successors(stream.next_live(0), |seq| stream.next_live(seq + 1));
        live.map(|seq| {
            let subject = stream.subject_of(seq).expect("held");
            (seq, String::from_utf8_lossy(subject).into_owned())
        })
        .collect()
    }
}

fn fire(seq: u64, next: Option<i64>, makes: bool) -> Fire {
    Fire {
        seq,
        next: next.map(|seconds| Timestamp(seconds * SECOND)),
        makes,
    }
}

fn held(list: &[(u64, &str)]) -> Vec<(u64, String)> {
    list.iter()
        .map(|(seq, subject)| (*seq, (*subject).to_owned()))
        .collect()
}

#[test]
fn a_schedule_fires_once_for_each_time_and_goes_with_its_last() {
    let mut world = World::new(|config| config.allow_msg_schedules = true);
    let seq = world.schedule(0, "s.a", "@every 10s");
    assert_eq!(world.stream.next_due(), Some(Timestamp(10 * SECOND)));
    assert_eq!(
        world.stream.pending(Timestamp(9 * SECOND)),
        Pending::default()
    );
    let due = DueSchedule {
        seq,
        due: Timestamp(10 * SECOND),
        stands: true,
    };
    assert_eq!(
        world.stream.pending(Timestamp(10 * SECOND)).schedules,
        [due]
    );
    world.due(10, vec![fire(seq, Some(20), true)], &["s.t"]);
    assert_eq!(world.held(), held(&[(1, "s.a"), (2, "s.t")]));
    assert_eq!(world.stream.next_due(), Some(Timestamp(20 * SECOND)));
    // The same once more, as after a change of leader: nothing happens.
    world.due(11, vec![fire(seq, Some(20), true)], &["s.t"]);
    assert_eq!(world.held(), held(&[(1, "s.a"), (2, "s.t")]));
    let removed = world.due(20, vec![fire(seq, None, true)], &["s.t"]);
    assert_eq!(removed, 1);
    assert_eq!(world.held(), held(&[(2, "s.t"), (3, "s.t")]));
    assert_eq!(world.stream.next_due(), None);
}

#[test]
fn the_last_message_of_a_subject_is_its_schedule_or_there_is_none() {
    let mut world = World::new(|config| config.allow_msg_schedules = true);
    let first = world.schedule(0, "s.a", "@every 10s");
    let second = world.schedule(1, "s.a", "@every 10s");
    assert_eq!(world.held(), held(&[(second, "s.a")]), "rolled up");
    world.publish(2, "s.a", &[]);
    let pending = world.stream.pending(Timestamp(11 * SECOND));
    assert!(!pending.schedules[0].stands);
    let fires = vec![fire(first, Some(20), true), fire(second, Some(21), true)];
    world.due(11, fires, &["s.t", "s.t"]);
    assert_eq!(
        world.held(),
        held(&[(2, "s.a"), (3, "s.a")]),
        "nothing is made"
    );
    assert_eq!(world.stream.next_due(), None);
}

#[test]
fn a_schedule_that_is_purged_makes_nothing() {
    let mut world = World::new(|config| config.allow_msg_schedules = true);
    let seq = world.schedule(0, "s.a", "@every 10s");
    let purge = crate::Purge {
        stream: 1,
        ..crate::Purge::default()
    };
    world
        .stream
        .apply(crate::Command::Purge(purge))
        .expect("allowed");
    world.due(10, vec![fire(seq, Some(20), true)], &["s.t"]);
    assert_eq!(world.held(), []);
    assert_eq!(world.stream.next_due(), None);
}

#[test]
fn what_a_schedule_made_may_take_its_place() {
    let mut world = World::new(|config| {
        config.allow_msg_schedules = true;
        config.max_msgs = 1;
    });
    let seq = world.schedule(0, "s.a", "@every 10s");
    world.due(10, vec![fire(seq, Some(20), true)], &["s.t"]);
    assert_eq!(world.held(), held(&[(2, "s.t")]));
    assert_eq!(world.stream.next_due(), None);
}

#[test]
fn a_last_message_waits_for_its_marker() {
    let mut world =
        World::new(|config| config.subject_delete_marker_ttl = std::time::Duration::from_secs(60));
    // Its own time is shorter than the marker's, so it stays as long as that.
    world.publish(0, "s.a", &[("Nats-TTL", "1s")]);
    assert_eq!(world.stream.next_due(), Some(Timestamp(60 * SECOND)));
    assert_eq!(world.due(60, Vec::new(), &["s.b"]), 0);
    assert_eq!(world.held(), held(&[(1, "s.a")]));
    assert_eq!(world.due(61, Vec::new(), &["s.a"]), 1);
    assert_eq!(world.held(), held(&[(2, "s.a")]));
    // The marker goes without one.
    assert_eq!(world.stream.next_due(), Some(Timestamp(121 * SECOND)));
    assert_eq!(world.due(121, Vec::new(), &[]), 1);
    assert_eq!(world.held(), []);
}

#[test]
fn one_command_removes_only_so_much() {
    let mut world = World::new(|_| {});
    for _ in 0..2 * super::MOST {
        world.publish(0, "s.a", &[("Nats-TTL", "1s")]);
    }
    let first = world.due(5, Vec::new(), &[]);
    assert!((super::MOST as u64..2 * super::MOST as u64).contains(&first));
    assert_eq!(world.stream.next_due(), Some(Timestamp(SECOND)));
    let second = world.due(5, Vec::new(), &[]);
    assert_eq!(first + second, 2 * super::MOST as u64);
    assert_eq!(world.stream.next_due(), None);
}
