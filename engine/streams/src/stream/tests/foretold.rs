//! What is said of a publish before it happens.

use std::time::Duration;

use millstream_journal::Position;
use millstream_types::{HeadersBuilder, Timestamp};

use super::Entry;
use crate::trial::{Misfit, Unfit};
use crate::{Publish, RecordOutcome, RecordsBuilder, Stream, StreamConfig};

/// Records that are said to fit no stream like this one are refused.
pub(super) fn hopeless(hopeless: &[Misfit], got: &[RecordOutcome]) {
    for hopeless in hopeless {
        let became = &got[hopeless.index];
        assert!(matches!(became, RecordOutcome::Refused(error) if *error == hopeless.error));
    }
}

/// What was said of a publish beforehand is what became of it.
pub(super) fn check(full: bool, entries: &[Entry], got: &[RecordOutcome], misfit: Option<Misfit>) {
    let first = got.iter().enumerate().find_map(|(index, outcome)| {
        let RecordOutcome::Refused(error) = outcome else {
            return None;
        };
        Some((index, error.clone()))
    });
    let Some(Misfit {
        index,
        error,
        unfit,
    }) = misfit
    else {
        assert_eq!(first, None, "it was said that all are stored");
        return;
    };
    let makes_room =
        full && unfit == Unfit::Now && entries[..index].iter().any(|entry| entry.rollup.is_some());
    match first {
        Some((at, told)) if at == index => {
            assert!(unfit == Unfit::Here || makes_room || error == told);
        }
        first => {
            assert!(
                first.as_ref().is_none_or(|(at, _)| *at > index),
                "{first:?} {index}"
            );
            assert!(
                unfit == Unfit::Here || makes_room,
                "{index} {error} {unfit:?}"
            );
        }
    }
}

/// What is a duplicate at the time of a publish is said to be none of the others, and what is none any more is looked at.
#[test]
fn ids_count_until_their_window_ends() {
    const WINDOW: Duration = Duration::from_millis(200);
    let config = StreamConfig {
        name: "S".to_owned(),
        duplicate_window: WINDOW,
        ..StreamConfig::default()
    };
    let mut stream = Stream::new(1, config.checked().expect("right"), Timestamp(0), None);
    let publish = |time: Timestamp, ttl: Option<&str>| {
        let mut headers = HeadersBuilder::new().with("Nats-Msg-Id", "one");
        if let Some(ttl) = ttl {
            headers = headers.with("Nats-TTL", ttl);
        }
        let mut records = RecordsBuilder::new();
        records.push(b"S", &headers.build(), b"x");
        let (records, count) = records.take();
        Publish {
            stream: 1,
            time,
            count,
            records,
        }
    };
    let begin = Timestamp(1_000_000_000);
    let mut out = Vec::new();
    stream.publish(Position::default(), 0, &publish(begin, None), &mut out);
    assert_eq!(out, [RecordOutcome::Stored(1)]);
    // The stream takes no times to live: but a duplicate is answered before that is looked at.
    let second = |time| publish(time, Some("1s"));
    assert_eq!(stream.misfits(&second(begin.plus(WINDOW))), []);
    let late = begin.plus(WINDOW + Duration::from_millis(1));
    let hopeless = stream.misfits(&second(late));
    assert_eq!(hopeless.len(), 1);
    let mut got = Vec::new();
    stream.publish(Position::default(), 0, &second(late), &mut got);
    self::hopeless(&hopeless, &got);
}
