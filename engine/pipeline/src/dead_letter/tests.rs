//! Dead letters keep the original bytes and headers, whatever those are.

use bytes::Bytes;
use millstream_types::{HeaderBlock, HeadersBuilder, Message, Timestamp};
use proptest::prelude::*;

use super::{DeadLetter, dead_letter, dead_letter_of_flow};
use crate::Rejection;

const TIME: Timestamp = Timestamp(1_357_034_400_000_000_000);

fn message(headers: Bytes) -> Message {
    Message {
        subject: Bytes::from_static(b"flights.UA"),
        reply: Some(Bytes::from_static(b"_INBOX.a.1")),
        headers,
        payload: Bytes::from_static(b"{\"dep_delay\":\"late\"}\x00\xff"),
    }
}

fn why() -> Rejection {
    Rejection::new(
        "schema:flight",
        "schema_violation",
        "expected integer, found string \"late\"",
    )
    .at("/dep_delay")
}

#[test]
fn a_letter_is_an_ordinary_message_with_the_reasons_in_its_headers() {
    let headers = HeadersBuilder::new()
        .with("Trace", "t1")
        .with("Nats-Msg-Id", "7")
        .with("Nats-Expected-Stream", "flights")
        .with("nats-rollup", "all")
        .build();
    let letter = dead_letter("flights", &message(headers), &why(), TIME, 3);
    assert_eq!(letter.subject, "$MS.DEAD.flights.schema");
    assert_eq!(letter.reply, None);
    assert_eq!(letter.payload, message(Bytes::new()).payload);
    let lines: Vec<_> = std::str::from_utf8(&letter.headers)
        .expect("text")
        .split("\r\n")
        .collect();
    let want = [
        "NATS/1.0",
        "Trace: t1",
        "Ms-Original-Nats-Msg-Id: 7",
        "Ms-Original-Nats-Expected-Stream: flights",
        "Ms-Original-nats-rollup: all",
        "Ms-Dead-Station: flights",
        "Ms-Dead-Stage: schema:flight",
        "Ms-Dead-Code: schema_violation",
        "Ms-Dead-Reason: expected integer, found string \"late\"",
        "Ms-Dead-Path: /dep_delay",
        "Ms-Dead-Time: 2013-01-01T10:00:00Z",
        "Ms-Dead-Subject: flights.UA",
        "Ms-Dead-Version: 3",
        "",
        "",
    ];
    assert_eq!(lines, want);
}

#[test]
fn the_subject_names_only_known_kinds() {
    let subject = |stage: &str| {
        let why = Rejection::new(stage, "x", "y");
        dead_letter("s", &message(Bytes::new()), &why, TIME, 0).subject
    };
    assert_eq!(subject("function:a.b >"), "$MS.DEAD.s.function");
    assert_eq!(subject("sink:hook"), "$MS.DEAD.s.sink");
    assert_eq!(subject("plan:closed"), "$MS.DEAD.s.other");
    assert_eq!(subject("a.*.>"), "$MS.DEAD.s.other");
}

#[test]
fn hostile_texts_stay_short_and_on_one_line() {
    let why = Rejection {
        stage: "function:f".to_owned(),
        code: "a\r\nNats-Msg-Id: 1".to_owned(),
        reason: "é\n".repeat(10_000),
        path: Some("/\r\n\r\n".repeat(1000)),
        version: None,
    };
    let letter = dead_letter("s", &message(Bytes::new()), &why, TIME, 0);
    assert!(letter.headers.len() < 3000);
    let block = HeaderBlock::new(&letter.headers);
    assert_eq!(block.check(), Ok(()));
    assert_eq!(block.get("Nats-Msg-Id"), None);
    assert_eq!(block.iter().count(), 8);
    let reason = block.get_str("Ms-Dead-Reason").expect("text");
    assert!(reason.starts_with("é é") && reason.ends_with('…'));
}

#[test]
fn other_messages_are_no_letters() {
    assert_eq!(DeadLetter::read(&message(Bytes::new())), None);
    let some = HeadersBuilder::new().with("Ms-Dead-Station", "s").build();
    assert_eq!(DeadLetter::read(&message(some)), None);
}

fn headers() -> impl Strategy<Value = Bytes> {
    let name = prop_oneof![
        "[A-Za-z-]{1,12}",
        "(Nats-|NATS-|Ms-Dead-|ms-dead-|Ms-Original-|Ms-Original-Nats-|Ms-Schema)[A-Za-z-]{0,8}",
        Just("Ms-Dead-Station".to_owned()),
        Just("Nats-Msg-Id".to_owned()),
    ];
    let line = (name, prop::collection::vec(any::<u8>(), 0..12));
    prop::collection::vec(line, 0..8).prop_map(|lines| {
        if lines.is_empty() {
            return Bytes::new();
        }
        let mut raw = b"NATS/1.0\r\n".to_vec();
        for (name, value) in lines {
            raw.extend(name.bytes());
            raw.push(b':');
            raw.extend(value.iter().filter(|byte| !matches!(byte, b'\r' | b'\n')));
            raw.extend(b"\r\n");
        }
        raw.extend(b"\r\n");
        Bytes::from(raw)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever the publisher sent, the letter gives it back byte for byte, and nothing of it acts on the stream of letters.
    #[test]
    fn what_goes_in_comes_back(
        headers in headers(),
        payload in prop::collection::vec(any::<u8>(), 0..40),
        reason in ".{0,60}",
        path in prop::option::of("(/[a-z~0-9]{0,5}){0,3}"),
        time in 0..i64::MAX,
        version: u64,
    ) {
        let original = Message { payload: payload.into(), ..message(headers) };
        let mut why = Rejection::new("sql:1", "bad", &reason);
        why.path = path;
        let letter = dead_letter("flights", &original, &why, Timestamp(time), version);
        let block = HeaderBlock::new(&letter.headers);
        prop_assert_eq!(block.check(), Ok(()));
        prop_assert!(block.iter().all(|(name, _)| !name.to_ascii_lowercase().starts_with(b"nats-")));
        let read = DeadLetter::read(&letter).expect("a letter");
        prop_assert_eq!(read.original(), Message { reply: None, ..original });
        prop_assert_eq!(read.station, "flights");
        prop_assert_eq!(read.stage, "sql:1");
        prop_assert_eq!(read.code, "bad");
        prop_assert_eq!(read.reason, why.reason.trim_ascii());
        prop_assert_eq!(read.path, why.path);
        prop_assert_eq!((read.time, read.version), (Timestamp(time), version));
    }
}

#[test]
fn a_letter_of_a_flow_says_so_and_two_of_a_message_are_no_duplicates() {
    let headers = HeadersBuilder::new().with("msg-id", "7").build();
    let original = Message {
        reply: None,
        ..message(headers)
    };
    let flow = ("late", Some(12));
    let letter = dead_letter_of_flow(flow, "flights", &original, &why(), (TIME, 4));
    assert_eq!(letter.header_block().message_id(), None);
    let read = DeadLetter::read(&letter).expect("a letter");
    assert_eq!(read.flow.as_deref(), Some("late"));
    assert_eq!((read.sequence, read.version), (Some(12), 4));
    assert_eq!(read.original(), original);
    let plain = dead_letter("flights", &original, &why(), TIME, 4);
    assert_eq!(DeadLetter::read(&plain).and_then(|read| read.flow), None);
    let why = Rejection::new("flow:late", "no_station", "nobody takes it");
    let letter = dead_letter_of_flow(flow, "flights", &original, &why, (TIME, 4));
    assert_eq!(letter.subject, "$MS.DEAD.flights.flow");
}

#[test]
fn a_letter_has_no_more_headers_than_a_stream_takes() {
    let block = |value: usize, ids: usize| {
        let mut block = HeadersBuilder::new().with("Large", &"x".repeat(value));
        for id in 0..ids {
            block = block.with("msg-id", &id.to_string());
        }
        block.build()
    };
    let letter = |headers: Bytes| {
        dead_letter_of_flow(("late", Some(7)), "s", &message(headers), &why(), (TIME, 1))
    };
    let room = 65_535 - letter(block(0, 3)).headers.len();
    let full = letter(block(room, 3));
    assert_eq!(full.headers.len(), 65_535);
    assert_eq!(full.header_block().get("Ms-Dead-Headers-Left-Out"), None);
    assert_eq!(
        DeadLetter::read(&full).expect("one").headers,
        block(room, 3)
    );
    // A block that a stream took itself, and more of them than a stream takes.
    for more in [room + 1, 65_500, 200_000] {
        let left = letter(block(more, 3));
        assert!(left.headers.len() < 2000);
        let count = left.header_block().get_str("Ms-Dead-Headers-Left-Out");
        assert_eq!(count, Some("4"));
        let read = DeadLetter::read(&left).expect("one");
        assert_eq!((read.sequence, read.headers), (Some(7), Bytes::new()));
        assert_eq!(read.payload, message(Bytes::new()).payload);
    }
}
