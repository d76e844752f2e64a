//! Duplicates as a publisher sees them: by id, by its other name, by content, and when nobody can tell.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use millstream_journal::Position;
use millstream_types::{HeadersBuilder, Timestamp};

use super::{Fault, MILLI, Pages, SMALL};
use crate::content::{DEDUP, DEDUP_HEADERS};
use crate::{Publish, RecordOutcome, RecordsBuilder, Stream, StreamConfig};

fn stream(metadata: &[(&str, &str)]) -> Stream {
    stream_with(metadata, None)
}

fn stream_with(metadata: &[(&str, &str)], pages: Option<crate::Pages>) -> Stream {
    let metadata = metadata
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    let config = StreamConfig {
        name: "S".to_owned(),
        subjects: vec!["s.>".to_owned()],
        metadata: metadata.collect::<BTreeMap<_, _>>(),
        ..StreamConfig::default()
    };
    let mut stream = Stream::new(1, config.checked().expect("valid"), Timestamp(0), pages);
    stream.dedup.sizes = &SMALL;
    stream
}

fn publish(
    stream: &mut Stream,
    subject: &str,
    headers: &[(&str, &str)],
    payload: &str,
) -> RecordOutcome {
    let add = |new: HeadersBuilder, (name, value): &(&str, &str)| new.with(name, value);
    let headers = headers.iter().fold(HeadersBuilder::new(), add).build();
    let mut records = RecordsBuilder::new();
    records.push(subject.as_bytes(), &headers, payload.as_bytes());
    let (records, count) = records.take();
    let (stream_id, time) = (stream.id, Timestamp(MILLI));
    let publish = Publish {
        stream: stream_id,
        time,
        count,
        records,
    };
    let mut outcomes = Vec::new();
    let at = Position {
        file: 1,
        offset: 0,
        len: publish.records.len() as u32,
    };
    stream.publish(at, 0, &publish, &mut outcomes);
    outcomes.remove(0)
}

use RecordOutcome::{Duplicate, Refused, Stored};

#[test]
fn ids_count_under_both_names() {
    let mut stream = stream(&[]);
    let mut with = |headers: &[(&str, &str)]| publish(&mut stream, "s.a", headers, "x");
    assert_eq!(with(&[("Nats-Msg-Id", "1")]), Stored(1));
    assert_eq!(with(&[("msg-id", "1")]), Duplicate(1));
    assert_eq!(with(&[("Msg-ID", "2"), ("Nats-Rollup", "")]), Stored(2));
    assert_eq!(with(&[("Nats-Msg-Id", "2")]), Duplicate(2));
    assert_eq!(with(&[("msg-id", "1"), ("Nats-Msg-Id", "3")]), Stored(3));
    assert_eq!(with(&[("x-id", "1")]), Stored(4));
    assert_eq!(with(&[]), Stored(5));
}

#[test]
fn content_counts_where_the_stream_asks_for_it() {
    let mut stream = stream(&[(DEDUP, "content"), (DEDUP_HEADERS, "Kind")]);
    let mut with = |subject, headers: &[(&str, &str)], payload| {
        publish(&mut stream, subject, headers, payload)
    };
    assert_eq!(with("s.a", &[], "x"), Stored(1));
    assert_eq!(with("s.a", &[("Trace", "7")], "x"), Duplicate(1));
    assert_eq!(with("s.b", &[], "x"), Stored(2));
    assert_eq!(with("s.a", &[("Kind", "k")], "x"), Stored(3));
    assert_eq!(
        with("s.a", &[("Kind", "k"), ("Nats-Msg-Id", "1")], "x"),
        Duplicate(3)
    );
    assert_eq!(with("s.a", &[("Nats-Msg-Id", "1")], "y"), Stored(4));
    // Either of the two is enough.
    assert_eq!(with("s.a", &[("Nats-Msg-Id", "1")], "z"), Duplicate(4));
    assert_eq!(with("s.a", &[("Nats-Msg-Id", "2")], "y"), Duplicate(4));
}

#[test]
fn content_rules_survive_a_restart_and_follow_the_configuration() {
    let mut first = stream(&[(DEDUP, "content")]);
    assert_eq!(publish(&mut first, "s.a", &[], "x"), Stored(1));
    let bytes = first.encode_checkpoint();
    let mut again = Stream::decode_checkpoint(&bytes).expect("reads back");
    assert_eq!(publish(&mut again, "s.a", &[], "x"), Duplicate(1));
    let config = StreamConfig {
        metadata: BTreeMap::new(),
        ..again.config.clone()
    };
    again.update_config(config.clone()).expect("allowed");
    assert_eq!(publish(&mut again, "s.a", &[], "x"), Stored(2));
    let wrong = StreamConfig {
        metadata: BTreeMap::from([(DEDUP.to_owned(), "bloom".to_owned())]),
        ..config
    };
    assert!(again.update_config(wrong).is_err());
}

/// Publishes `count` messages with new ids; answers how many were stored.
fn fill(stream: &mut Stream, from: u32, count: u32) -> usize {
    let ids = (from..from + count).map(|id| id.to_string());
    let stored = ids.filter(|id| {
        let outcome = publish(stream, "s.a", &[("Nats-Msg-Id", id)], "x");
        matches!(outcome, Stored(_))
    });
    stored.count()
}

#[test]
fn a_forced_filter_collision_drops_no_message() {
    let mut stream = stream(&[]);
    for round in 0..10 {
        assert_eq!(fill(&mut stream, round * 50, 50), 50);
        for front in &mut stream.dedup.fronts {
            front.filter.saturate();
        }
    }
    assert!(stream.dedup.fronts.len() > 1);
    assert_eq!(fill(&mut stream, 0, 500), 0);
}

#[test]
fn an_id_nobody_can_look_up_is_refused_and_neither_stored_nor_a_duplicate() {
    let pages = Arc::new(Pages::default());
    let index = crate::Pages {
        source: pages.clone(),
        cache: Arc::new(crate::PageCache::new(usize::MAX)),
    };
    let mut stream = stream_with(&[], Some(index.clone()));
    assert_eq!(fill(&mut stream, 0, 500), 500);
    let mut snapshot = stream.snapshot(&BTreeSet::new());
    let mut plain = 0;
    loop {
        let helping = snapshot.next_pages(1);
        // Hashes do not get smaller.
        plain += helping.iter().filter(|page| !page.compress).count();
        if helping.is_empty() {
            break;
        }
        let places: Vec<_> = helping
            .into_iter()
            .map(|page| pages.keep(page.bytes))
            .collect();
        snapshot.pages_stored(&places);
    }
    let root = snapshot.root();
    snapshot.finish(&mut stream, true);
    assert!(stream.dedup.positions().count() > 5);
    assert_eq!(stream.dedup.positions().count(), plain);
    assert!(root.len() < 500 * 24, "{}", root.len());
    let mut again = Stream::restore(&root, &index).expect("reads back");
    let id = |id: &'static str| [("Nats-Msg-Id", id)];
    // Brings the index into memory: only ids are to be looked up elsewhere.
    assert_eq!(publish(&mut again, "s.a", &[], "x"), Stored(501));
    pages.fail(Fault::Swapped);
    let Refused(error) = publish(&mut again, "s.a", &id("900"), "x") else {
        panic!("must be refused");
    };
    let text = error.to_string();
    assert!(
        text.contains("message ids cannot be looked up: journal file 1 is damaged"),
        "{text}"
    );
    assert_eq!(again.last_seq(), 501);
    // Without an id there is nothing to look up.
    assert_eq!(publish(&mut again, "s.a", &[], "x"), Stored(502));
    pages.fail(Fault::None);
    assert_eq!(publish(&mut again, "s.a", &id("0"), "x"), Duplicate(1));
    assert_eq!(publish(&mut again, "s.a", &id("499"), "x"), Duplicate(500));
    assert_eq!(publish(&mut again, "s.a", &id("900"), "x"), Stored(503));
}
