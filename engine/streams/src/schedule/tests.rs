//! Schedules: what is accepted, when they are due, what they make.

use expect_test::expect;
use millstream_types::{HeadersBuilder, Timestamp};

use super::{Schedule, When, fire};
use crate::records::RecordView;
use crate::{Stream, StreamConfig};

fn at(text: &str) -> Timestamp {
    Timestamp::parse_rfc3339(text).expect("a time")
}

/// The first time and the three after it, each dealt with when it was due.
fn times(pattern: &str, zone: Option<&str>, from: &str) -> String {
    let when = match When::read(pattern, zone) {
        Ok(when) => when,
        Err(error) => return error.to_string(),
    };
    let mut next = when.first(at(from));
    let mut shown = Vec::new();
    while let Some(time) = next.filter(|_| shown.len() < 4) {
        shown.push(time.to_rfc3339());
        next = when.after(time, time);
    }
    shown.join(" ")
}

#[test]
fn when_schedules_are_due() {
    let from = "2026-03-01T10:20:30.5Z";
    let patterns = [
        "@at 2030-01-02T03:04:05+02:00",
        "@at 2020-01-01T00:00:00Z",
        "@every 90s",
        "@hourly",
        "@daily",
        "@weekly",
        "@monthly",
        "@annually",
        "0 */20 * * * *",
        "15 30 4 1,15 * 5",
        "0 0 12 * jan-mar mon,wed",
        "0 0 0 29 2 *",
        "0 0 0 31 2 *",
        "*/5 * * * *",
        "60 * * * * *",
        "@every 500ms",
        "@every soon",
        "@at noon",
        "@reboot",
        "",
    ];
    let shown: Vec<String> = patterns
        .iter()
        .map(|pattern| format!("{pattern}: {}", times(pattern, None, from)))
        .collect();
    expect![[r#"
        @at 2030-01-02T03:04:05+02:00: 2030-01-02T01:04:05Z
        @at 2020-01-01T00:00:00Z: 2020-01-01T00:00:00Z
        @every 90s: 2026-03-01T10:22:00Z 2026-03-01T10:23:30Z 2026-03-01T10:25:00Z 2026-03-01T10:26:30Z
        @hourly: 2026-03-01T11:00:00Z 2026-03-01T12:00:00Z 2026-03-01T13:00:00Z 2026-03-01T14:00:00Z
        @daily: 2026-03-02T00:00:00Z 2026-03-03T00:00:00Z 2026-03-04T00:00:00Z 2026-03-05T00:00:00Z
        @weekly: 2026-03-08T00:00:00Z 2026-03-15T00:00:00Z 2026-03-22T00:00:00Z 2026-03-29T00:00:00Z
        @monthly: 2026-04-01T00:00:00Z 2026-05-01T00:00:00Z 2026-06-01T00:00:00Z 2026-07-01T00:00:00Z
        @annually: 2027-01-01T00:00:00Z 2028-01-01T00:00:00Z 2029-01-01T00:00:00Z 2030-01-01T00:00:00Z
        0 */20 * * * *: 2026-03-01T10:40:00Z 2026-03-01T11:00:00Z 2026-03-01T11:20:00Z 2026-03-01T11:40:00Z
        15 30 4 1,15 * 5: 2026-03-06T04:30:15Z 2026-03-13T04:30:15Z 2026-03-15T04:30:15Z 2026-03-20T04:30:15Z
        0 0 12 * jan-mar mon,wed: 2026-03-02T12:00:00Z 2026-03-04T12:00:00Z 2026-03-09T12:00:00Z 2026-03-11T12:00:00Z
        0 0 0 29 2 *: 2028-02-29T00:00:00Z 2032-02-29T00:00:00Z 2036-02-29T00:00:00Z 2040-02-29T00:00:00Z
        0 0 0 31 2 *: 
        */5 * * * *: message schedules pattern is invalid (10189)
        60 * * * * *: message schedules pattern is invalid (10189)
        @every 500ms: message schedules pattern is invalid (10189)
        @every soon: message schedules pattern is invalid (10189)
        @at noon: message schedules pattern is invalid (10189)
        @reboot: message schedules pattern is invalid (10189)
        : message schedules pattern is invalid (10189)"#]].assert_eq(&shown.join("\n"));
}

/// Clocks go forward on 29 March 2026 and back on 25 October.
#[test]
fn time_zones_and_their_clocks() {
    let zone = Some("Europe/Amsterdam");
    let cases = [
        ("0 0 5 * * *", zone, "2026-03-27T12:00:00Z"),
        ("0 30 2 * * *", zone, "2026-03-27T12:00:00Z"),
        ("0 30 2 * * *", zone, "2026-10-23T12:00:00Z"),
        ("@daily", zone, "2026-10-23T12:00:00Z"),
        ("@daily", Some("Mars/Base"), "2026-10-23T12:00:00Z"),
        ("@every 10s", zone, "2026-10-23T12:00:00Z"),
        ("@at 2030-01-01T00:00:00Z", zone, "2026-10-23T12:00:00Z"),
    ];
    let shown: Vec<String> = cases
        .iter()
        .map(|(pattern, zone, from)| format!("{pattern}: {}", times(pattern, *zone, from)))
        .collect();
    expect![[r#"
        0 0 5 * * *: 2026-03-28T04:00:00Z 2026-03-29T03:00:00Z 2026-03-30T03:00:00Z 2026-03-31T03:00:00Z
        0 30 2 * * *: 2026-03-28T01:30:00Z 2026-03-29T01:00:00Z 2026-03-30T00:30:00Z 2026-03-31T00:30:00Z
        0 30 2 * * *: 2026-10-24T00:30:00Z 2026-10-25T00:30:00Z 2026-10-26T01:30:00Z 2026-10-27T01:30:00Z
        @daily: 2026-10-23T22:00:00Z 2026-10-24T22:00:00Z 2026-10-25T23:00:00Z 2026-10-26T23:00:00Z
        @daily: message schedules time zone is invalid (10223)
        @every 10s: message schedules pattern is invalid (10189)
        @at 2030-01-01T00:00:00Z: message schedules pattern is invalid (10189)"#]].assert_eq(&shown.join("\n"));
}

#[test]
fn what_was_missed_is_not_made_up_for() {
    let every = When::read("@every 10s", None).expect("a pattern");
    let (due, now) = (at("2026-01-01T00:00:10Z"), at("2026-01-01T01:00:03.7Z"));
    assert_eq!(every.after(due, now), Some(at("2026-01-01T01:00:13Z")));
    let cron = When::read("0 */5 * * * *", None).expect("a pattern");
    assert_eq!(cron.after(due, now), Some(at("2026-01-01T01:05:00Z")));
}

fn block(pairs: &[(&str, &str)]) -> bytes::Bytes {
    let mut headers = HeadersBuilder::new();
    pairs
        .iter()
        .for_each(|(name, value)| headers.push(name, value));
    headers.build()
}

#[test]
fn what_is_refused() {
    let config = |ttl| StreamConfig {
        name: "S".to_owned(),
        subjects: vec!["s.>".to_owned()],
        allow_msg_schedules: true,
        allow_msg_ttl: ttl,
        ..StreamConfig::default()
    };
    let time = at("2026-01-01T00:00:00Z");
    let stream = |ttl| Stream::new(1, config(ttl).checked().expect("valid"), time, None);
    let target = ("Nats-Schedule-Target", "s.t");
    let cases: [&[(&str, &str)]; 12] = [
        &[target],
        &[],
        &[("Nats-Schedule-Target", "s.own")],
        &[("Nats-Schedule-Target", "elsewhere")],
        &[("Nats-Schedule-Target", "s.*")],
        &[target, ("Nats-Schedule-TTL", "soon")],
        &[target, ("Nats-Schedule-TTL", "1m")],
        &[target, ("Nats-Schedule-Rollup", "all")],
        &[target, ("Nats-Rollup", "all")],
        &[target, ("Nats-Schedule-Source", "s.*")],
        &[target, ("Nats-Schedule-Source", "s.t")],
        &[target, ("Nats-Schedule-Source", "s.source")],
    ];
    let judge = |stream: &Stream, pairs: &[(&str, &str)]| {
        let mut all = vec![("Nats-Schedule", "@hourly")];
        all.extend(pairs);
        let headers = block(&all);
        let record = RecordView {
            subject: b"s.own",
            headers: &headers,
            payload: b"",
        };
        match stream.first_time(&record, time) {
            Ok(first) => first.to_rfc3339(),
            Err(error) => error.to_string(),
        }
    };
    let off = stream(false);
    let mut shown: Vec<String> = cases
        .iter()
        .map(|pairs| format!("{pairs:?}: {}", judge(&off, pairs)))
        .collect();
    shown.push(judge(&stream(true), &[target, ("Nats-Schedule-TTL", "1m")]));
    expect![[r#"
        [("Nats-Schedule-Target", "s.t")]: 2026-01-01T01:00:00Z
        []: message schedules target is invalid (10190)
        [("Nats-Schedule-Target", "s.own")]: message schedules target is invalid (10190)
        [("Nats-Schedule-Target", "elsewhere")]: message schedules target is invalid (10190)
        [("Nats-Schedule-Target", "s.*")]: message schedules target is invalid (10190)
        [("Nats-Schedule-Target", "s.t"), ("Nats-Schedule-TTL", "soon")]: message schedules invalid per-message TTL (10191)
        [("Nats-Schedule-Target", "s.t"), ("Nats-Schedule-TTL", "1m")]: per-message TTL is disabled (10166)
        [("Nats-Schedule-Target", "s.t"), ("Nats-Schedule-Rollup", "all")]: message schedules invalid rollup (10192)
        [("Nats-Schedule-Target", "s.t"), ("Nats-Rollup", "all")]: message schedules invalid rollup (10192)
        [("Nats-Schedule-Target", "s.t"), ("Nats-Schedule-Source", "s.*")]: message schedules source is invalid (10203)
        [("Nats-Schedule-Target", "s.t"), ("Nats-Schedule-Source", "s.t")]: message schedules source is invalid (10203)
        [("Nats-Schedule-Target", "s.t"), ("Nats-Schedule-Source", "s.source")]: 2026-01-01T01:00:00Z
        2026-01-01T01:00:00Z"#]].assert_eq(&shown.join("\n"));
}

#[test]
fn what_a_schedule_makes() {
    let headers = block(&[
        ("Nats-Schedule", "@every 1m"),
        ("Nats-Schedule-Target", "s.t"),
        ("Nats-Schedule-TTL", "5m"),
        ("Nats-Schedule-Rollup", "sub"),
        ("Nats-Msg-Id", "7"),
        ("Nats-Expected-Stream", "S"),
        ("Nats-TTL", "1h"),
        ("Nats-Rollup", "sub"),
        ("Kind", "own"),
    ]);
    let schedule = RecordView {
        subject: b"s.own",
        headers: &headers,
        payload: b"body",
    };
    let due = at("2026-01-01T00:01:00Z");
    let made = fire(&schedule, None, due, due).expect("a schedule");
    assert_eq!(made.next, Some(at("2026-01-01T00:02:00Z")));
    let message = made.message.expect("it has a body of its own");
    assert_eq!(
        (&message.subject[..], &message.payload[..]),
        (&b"s.t"[..], &b"body"[..])
    );
    expect![[r#"
        NATS/1.0
        Kind: own
        Nats-Scheduler: s.own
        Nats-Schedule-Next: 2026-01-01T00:02:00Z
        Nats-TTL: 5m
        Nats-Rollup: sub

    "#]]
    .assert_eq(&String::from_utf8_lossy(&message.headers).replace('\r', ""));

    let headers = block(&[
        ("Nats-Schedule", "@at 2026-01-01T00:01:00Z"),
        ("Nats-Schedule-Target", "s.t"),
        ("Nats-Schedule-Source", "s.source"),
    ]);
    let schedule = RecordView {
        subject: b"s.own",
        headers: &headers,
        payload: b"",
    };
    let source_headers = block(&[("Unit", "C"), ("Nats-Msg-Id", "1")]);
    let source = RecordView {
        subject: b"s.source",
        headers: &source_headers,
        payload: b"21",
    };
    let made = fire(&schedule, Some(&source), due, due).expect("a schedule");
    assert_eq!(made.next, None);
    let message = made.message.expect("its source has a message");
    assert_eq!(&message.payload[..], b"21");
    expect![[r#"
        NATS/1.0
        Unit: C
        Nats-Scheduler: s.own
        Nats-Schedule-Next: purge

    "#]]
    .assert_eq(&String::from_utf8_lossy(&message.headers).replace('\r', ""));
    let nothing = fire(&schedule, None, due, due).expect("a schedule");
    assert_eq!((nothing.message, nothing.next), (None, None));
    assert!(Schedule::read(b"").is_err());
}
