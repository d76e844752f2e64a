//! The JSON that clients read and write, and the rules of configurations.

use std::collections::BTreeMap;
use std::time::Duration;

use expect_test::{Expect, expect};
use millstream_types::Timestamp;
use serde_json::{Value, json};

use crate::{
    ApiError, ConsumerConfig, PubAck, Publish, RecordsBuilder, StoredMessage, Stream, StreamConfig,
    record_at,
};
use millstream_journal::Position;

const T0: Timestamp = Timestamp(1_700_000_000_123_456_789);

fn check(value: &impl serde::Serialize, want: &Expect) {
    want.assert_eq(&serde_json::to_string_pretty(value).expect("plain data"));
}

fn stream_config(json: Value) -> StreamConfig {
    serde_json::from_value(json).expect("a stream configuration")
}

fn consumer_config(json: Value) -> ConsumerConfig {
    serde_json::from_value(json).expect("a consumer configuration")
}

fn kv() -> StreamConfig {
    stream_config(json!({
        "name": "KV_b", "subjects": ["$KV.b.>"], "retention": "limits", "max_consumers": -1, "max_msgs": -1,
        "max_bytes": -1, "discard": "new", "max_age": 0, "max_msgs_per_subject": 5, "max_msg_size": -1,
        "storage": "file", "num_replicas": 1, "duplicate_window": 120_000_000_000_u64, "allow_rollup_hdrs": true,
        "deny_delete": true, "allow_direct": true, "placement": null, "mirror": null, "sources": null,
        "nobody_knows_this": 1, "metadata": {"_nats.req.level": "0"},
    }))
}

#[test]
#[expect(clippy::too_many_lines, reason = "mostly the text expected")]
fn stream_info() {
    let config = kv().checked().expect("valid");
    let mut stream = Stream::new(1, config, T0, None);
    check(
        &stream.info(T0),
        &expect![[r#"
        {
          "config": {
            "name": "KV_b",
            "subjects": [
              "$KV.b.>"
            ],
            "retention": "limits",
            "max_consumers": -1,
            "max_msgs": -1,
            "max_bytes": -1,
            "max_age": 0,
            "max_msgs_per_subject": 5,
            "max_msg_size": -1,
            "discard": "new",
            "storage": "file",
            "num_replicas": 1,
            "duplicate_window": 120000000000,
            "compression": "none",
            "allow_direct": true,
            "mirror_direct": false,
            "sealed": false,
            "deny_delete": true,
            "deny_purge": false,
            "allow_rollup_hdrs": true,
            "consumer_limits": {},
            "metadata": {
              "_nats.req.level": "0"
            }
          },
          "created": "2023-11-14T22:13:20.123456789Z",
          "state": {
            "messages": 0,
            "bytes": 0,
            "first_seq": 1,
            "first_ts": "0001-01-01T00:00:00Z",
            "last_seq": 0,
            "last_ts": "0001-01-01T00:00:00Z",
            "consumer_count": 0
          },
          "ts": "2023-11-14T22:13:20.123456789Z"
        }"#]],
    );
    let mut builder = RecordsBuilder::new();
    builder.push(b"$KV.b.x", b"NATS/1.0\r\nA: 1\r\n\r\n", b"1");
    let (records, count) = builder.take();
    let publish = Publish {
        stream: 1,
        time: T0,
        count,
        records,
    };
    stream.publish(Position::default(), 0, &publish, &mut Vec::new());
    check(
        &stream.state(),
        &expect![[r#"
        {
          "messages": 1,
          "bytes": 60,
          "first_seq": 1,
          "first_ts": "2023-11-14T22:13:20.123456789Z",
          "last_seq": 1,
          "last_ts": "2023-11-14T22:13:20.123456789Z",
          "num_subjects": 1,
          "consumer_count": 0
        }"#]],
    );
    let (record, _) = record_at(&publish.records, 0).expect("whole");
    check(
        &StoredMessage::new(1, T0, &record),
        &expect![[r#"
        {
          "subject": "$KV.b.x",
          "seq": 1,
          "hdrs": "TkFUUy8xLjANCkE6IDENCg0K",
          "data": "MQ==",
          "time": "2023-11-14T22:13:20.123456789Z"
        }"#]],
    );
}

#[test]
fn consumer_info() {
    let mut stream = Stream::new(1, kv().checked().expect("valid"), T0, None);
    let config = consumer_config(json!({
        "durable_name": "d", "deliver_policy": "by_start_sequence", "opt_start_seq": 7, "ack_policy": "explicit",
        "ack_wait": 30_000_000_000_u64, "replay_policy": "instant", "filter_subject": "$KV.b.*", "sample_freq": "100%",
        "backoff": [1_000_000_000, 2_000_000_000], "max_deliver": 5, "metadata": null, "max_waiting": 512,
    }));
    let config = config.checked(&stream.config).expect("valid");
    stream.create_consumer("d", T0, config);
    check(
        &stream.consumer_info("d", T0),
        &expect![[r#"
        {
          "stream_name": "KV_b",
          "name": "d",
          "created": "2023-11-14T22:13:20.123456789Z",
          "config": {
            "name": "d",
            "durable_name": "d",
            "deliver_policy": "by_start_sequence",
            "opt_start_seq": 7,
            "ack_policy": "explicit",
            "ack_wait": 1000000000,
            "max_deliver": 5,
            "backoff": [
              1000000000,
              2000000000
            ],
            "filter_subject": "$KV.b.*",
            "replay_policy": "instant",
            "sample_freq": "100%",
            "max_waiting": 512,
            "max_ack_pending": 1000,
            "num_replicas": 0
          },
          "delivered": {
            "consumer_seq": 0,
            "stream_seq": 0
          },
          "ack_floor": {
            "consumer_seq": 0,
            "stream_seq": 0
          },
          "num_ack_pending": 0,
          "num_redelivered": 0,
          "num_waiting": 0,
          "num_pending": 0,
          "ts": "2023-11-14T22:13:20.123456789Z"
        }"#]],
    );
}

#[test]
fn publish_acknowledgements() {
    let mut out = Vec::new();
    PubAck::write(&mut out, "S", 18_446_744_073_709_551_615, false);
    PubAck::write(&mut out, "a\"b", 0, true);
    expect![[
        r#"{"stream":"S","seq":18446744073709551615}{"stream":"a\"b","seq":0,"duplicate":true}"#
    ]]
    .assert_eq(&String::from_utf8(out).expect("text"));
    let plain = PubAck {
        stream: "S".to_owned(),
        seq: 3,
        ..PubAck::default()
    };
    check(
        &plain,
        &expect![[r#"
        {
          "stream": "S",
          "seq": 3
        }"#]],
    );
    let refused = PubAck {
        error: Some(ApiError::wrong_last_sequence(5)),
        ..plain
    };
    check(
        &refused,
        &expect![[r#"
        {
          "error": {
            "code": 400,
            "err_code": 10071,
            "description": "wrong last sequence: 5"
          },
          "stream": "S",
          "seq": 3
        }"#]],
    );
}

/// What each change of a good configuration is answered with, a line each.
fn refusals<T>(cases: Vec<(&str, Value)>, judge: impl Fn(Value) -> Result<T, ApiError>) -> String {
    let line = |(name, change): (&str, Value)| match judge(change) {
        Ok(_) => format!("{name}: fine"),
        Err(error) => format!(
            "{name}: {} {} {}",
            error.code, error.err_code, error.description
        ),
    };
    cases.into_iter().map(line).collect::<Vec<_>>().join("\n")
}

fn with(base: Value, change: Value) -> Value {
    let (Value::Object(mut base), Value::Object(change)) = (base, change) else {
        panic!("objects")
    };
    base.extend(change);
    Value::Object(base)
}

#[test]
fn compression_can_be_turned_on_and_off() {
    let plain = stream_config(json!({"name": "S"}))
        .checked()
        .expect("valid");
    assert!(!plain.compresses());
    let change = stream_config(json!({"name": "S", "compression": "s2"}));
    let compressed = plain.checked_update(change).expect("allowed");
    assert!(compressed.compresses());
    assert_eq!(compressed.compression.as_deref(), Some("s2"));
    let back = stream_config(json!({"name": "S", "compression": "none"}));
    assert!(
        !compressed
            .checked_update(back)
            .expect("allowed")
            .compresses()
    );
}

#[test]
fn stream_rules() {
    let cases = vec![
        ("no name", json!({"name": ""})),
        ("dots", json!({"name": "a.b"})),
        ("slash", json!({"name": "a/b"})),
        ("replicas", json!({"num_replicas": 3})),
        ("same subject", json!({"subjects": ["a", "a"]})),
        ("overlapping", json!({"subjects": ["a.*", "a.b"]})),
        ("bad subject", json!({"subjects": ["a..b"]})),
        ("everything", json!({"subjects": [">"]})),
        (
            "everything unanswered",
            json!({"subjects": [">"], "no_ack": true}),
        ),
        ("api", json!({"subjects": ["$JS.API.>"]})),
        ("short age", json!({"max_age": 5})),
        (
            "window",
            json!({"max_age": 1_000_000_000, "duplicate_window": 2_000_000_000}),
        ),
        (
            "discard per subject",
            json!({"discard_new_per_subject": true}),
        ),
        (
            "discard per subject without limit",
            json!({"discard": "new", "discard_new_per_subject": true}),
        ),
        (
            "rollup",
            json!({"deny_purge": true, "allow_rollup_hdrs": true}),
        ),
        ("compression", json!({"compression": "zip"})),
        ("mirror", json!({"mirror": {"name": "x"}})),
        ("sources", json!({"sources": [{"name": "x"}]})),
        (
            "republish",
            json!({"republish": {"src": ">", "dest": "x.>"}}),
        ),
    ];
    let judge = |change| stream_config(with(json!({"name": "S"}), change)).checked();
    expect![[r#"
        no name: 500 10052 stream name is required
        dots: 500 10052 stream name contains `.`; blanks, dots, `*`, `>`, slashes and control characters are not allowed
        slash: 400 10128 Stream name can not contain path separators
        replicas: 500 10074 replicas > 1 not supported in non-clustered mode
        same subject: 500 10052 duplicate subjects detected
        overlapping: 500 10052 subject "a.b" overlaps with "a.*"
        bad subject: 500 10052 invalid subject
        everything: 500 10052 capturing all subjects requires no-ack to be true
        everything unanswered: fine
        api: 500 10052 subjects that overlap with jetstream api require no-ack to be true
        short age: 500 10052 max age needs to be >= 100ms
        window: 500 10052 duplicates window can not be larger then max age
        discard per subject: 500 10052 discard new per subject requires discard new policy to be set
        discard per subject without limit: 500 10052 discard new per subject requires max msgs per subject > 0
        rollup: 500 10052 roll-ups require the purge permission
        compression: 500 10052 compression `zip` is unknown; use `none` or `s2`
        mirror: 500 10052 `mirror` is not supported yet; leave it out
        sources: 500 10052 `sources` is not supported yet; leave it out
        republish: 500 10052 `republish` is not supported yet; leave it out"#]].assert_eq(&refusals(cases, judge));
}

#[test]
fn stream_defaults_and_persistence() {
    let cases = vec![
        (
            "off and empty",
            json!({"allow_msg_ttl": false, "sources": [], "republish": null, "persist_mode": "default"}),
        ),
        ("async", json!({"persist_mode": "async"})),
        ("short markers", json!({"subject_delete_marker_ttl": 5})),
        (
            "markers and schedules",
            json!({"subject_delete_marker_ttl": 1_000_000_000, "allow_msg_schedules": true}),
        ),
        (
            "async memory",
            json!({"persist_mode": "async", "storage": "memory"}),
        ),
    ];
    let judge = |change| stream_config(with(json!({"name": "S"}), change)).checked();
    expect![[r#"
        off and empty: fine
        async: fine
        short markers: 500 10052 subject delete marker TTL must be at least 1 second
        markers and schedules: fine
        async memory: 500 10052 async persist mode is only supported on file storage"#]]
    .assert_eq(&refusals(cases, judge));
}

#[test]
fn stream_update_rules() {
    let old = stream_config(json!({"name": "S", "deny_delete": true, "max_msgs": 5}))
        .checked()
        .expect("valid");
    let cases = vec![
        ("limits", json!({"max_msgs": 7})),
        ("name", json!({"name": "T"})),
        ("storage", json!({"storage": "memory"})),
        ("consumers", json!({"max_consumers": 3})),
        ("retention", json!({"retention": "workqueue"})),
        ("deletes", json!({"deny_delete": false})),
    ];
    let base = || json!({"name": "S", "deny_delete": true});
    let judge = |change| old.checked_update(stream_config(with(base(), change)));
    expect![[r#"
        limits: fine
        name: 500 10052 stream configuration name must match original
        storage: 500 10052 stream configuration update can not change storage type
        consumers: 500 10052 stream configuration update can not change MaxConsumers
        retention: 500 10052 stream configuration update can not change retention policy to/from workqueue
        deletes: 500 10052 stream configuration update can not cancel deny message deletes"#]].assert_eq(&refusals(cases, judge));
}

/// What a stream's times were made for cannot be taken back from its messages.
#[test]
fn times_stay_allowed() {
    let old = json!({"name": "S", "allow_msg_schedules": true, "subject_delete_marker_ttl": 1_000_000_000});
    let old = stream_config(old).checked().expect("valid");
    assert!(old.allow_msg_ttl && old.allow_rollup_hdrs && !old.deny_purge);
    let cases = vec![
        ("nothing more", json!({})),
        ("only times to live", json!({"allow_msg_ttl": true})),
        (
            "no markers",
            json!({"allow_msg_ttl": true, "allow_msg_schedules": true}),
        ),
    ];
    let base = || json!({"name": "S"});
    let judge = |change| old.checked_update(stream_config(with(base(), change)));
    expect![[r#"
        nothing more: 500 10052 message TTL status can not be disabled
        only times to live: 500 10052 message schedules can not be disabled
        no markers: fine"#]]
    .assert_eq(&refusals(cases, judge));
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn consumer_rules() {
    let stream = stream_config(json!({
        "name": "S", "subjects": ["a.>"], "consumer_limits": {"max_ack_pending": 50, "inactive_threshold": 60_000_000_000_u64},
    }));
    let stream = stream.checked().expect("valid");
    let push = |change| with(json!({"deliver_subject": "out"}), change);
    let cases = vec![
        ("nothing", json!({})),
        ("name", json!({"name": "a.b"})),
        ("path", json!({"name": "a/b"})),
        ("two names", json!({"name": "a", "durable_name": "b"})),
        ("wildcard", json!({"deliver_subject": "a.*"})),
        ("bad deliver", json!({"deliver_subject": "a..b"})),
        ("cycle", json!({"deliver_subject": "a.b"})),
        ("push waiting", push(json!({"max_waiting": 5}))),
        ("flow control", push(json!({"flow_control": true}))),
        ("short heartbeat", push(json!({"idle_heartbeat": 5}))),
        ("pull heartbeat", json!({"idle_heartbeat": 1_000_000_000})),
        ("pull flow control", json!({"flow_control": true})),
        ("pull rate", json!({"rate_limit_bps": 5})),
        ("backoff", json!({"backoff": [1, 2, 3], "max_deliver": 2})),
        ("max ack pending", json!({"max_ack_pending": 51})),
        (
            "no ack",
            json!({"ack_policy": "none", "max_ack_pending": 5}),
        ),
        (
            "threshold",
            json!({"inactive_threshold": 61_000_000_000_u64}),
        ),
        ("filter", json!({"filter_subject": "b"})),
        ("filters", json!({"filter_subjects": ["a.b", "a.*"]})),
        (
            "both",
            json!({"filter_subject": "a.b", "filter_subjects": ["a.c", "a.d"]}),
        ),
        ("empty filter", json!({"filter_subjects": ["a.b", ""]})),
        ("no start", json!({"deliver_policy": "by_start_sequence"})),
        ("no time", json!({"deliver_policy": "by_start_time"})),
        ("start too much", json!({"opt_start_seq": 5})),
        (
            "last of what",
            json!({"deliver_policy": "last_per_subject"}),
        ),
        (
            "priority",
            json!({"priority_groups": ["g"], "priority_policy": "overflow"}),
        ),
        ("replicas", json!({"num_replicas": 3})),
    ];
    let judge =
        |change| consumer_config(with(json!({"ack_policy": "explicit"}), change)).checked(&stream);
    expect![[r#"
        nothing: fine
        name: 400 10103 durable name can not contain '.', '*', '>'
        path: 400 10127 Consumer name can not contain path separators
        two names: 400 10132 Consumer Durable and Name have to be equal if both are provided
        wildcard: 400 10079 consumer deliver subject has wildcards
        bad deliver: 400 10112 invalid push consumer deliver subject
        cycle: 400 10081 consumer deliver subject forms a cycle
        push waiting: 400 10080 consumer in push mode can not set max waiting
        flow control: 400 10108 consumer with flow control also needs heartbeats
        short heartbeat: 400 10083 consumer idle heartbeat needs to be >= 100ms
        pull heartbeat: 400 10088 consumer idle heartbeat requires a push based consumer
        pull flow control: 400 10089 consumer flow control requires a push based consumer
        pull rate: 400 10086 consumer in pull mode can not have rate limit set
        backoff: 400 10116 max deliver is required to be > length of backoff values
        max ack pending: 400 10121 consumer max ack pending exceeds system limit of 50
        no ack: 400 10082 consumer requires ack policy for max ack pending
        threshold: 400 10153 consumer inactive threshold exceeds system limit of 1m
        filter: 400 10093 consumer filter subject is not a valid subset of the interest subjects
        filters: 400 10138 consumer subject filters cannot overlap
        both: 400 10136 consumer cannot have both FilterSubject and FilterSubjects specified
        empty filter: 400 10139 consumer filter in FilterSubjects cannot be empty
        no start: 400 10094 consumer delivery policy is deliver by start sequence, but optional start sequence is not set
        no time: 400 10094 consumer delivery policy is deliver by start time, but optional start time is not set
        start too much: 400 10094 consumer delivery policy is deliver all, but optional start sequence is also set
        last of what: 400 10094 consumer delivery policy is deliver last per subject, but optional filter subject is not set
        priority: 500 10012 `priority_groups` is not supported yet; leave it out
        replicas: 400 10126 consumer config replica count exceeds parent stream"#]].assert_eq(&refusals(cases, judge));
}

#[test]
fn work_queue_rules() {
    let config = stream_config(json!({"name": "S", "subjects": ["a.>"], "retention": "workqueue"}));
    let mut stream = Stream::new(1, config.checked().expect("valid"), T0, None);
    let first =
        consumer_config(json!({"name": "x", "ack_policy": "explicit", "filter_subject": "a.b"}));
    let first = first.checked(&stream.config).expect("valid");
    stream.create_consumer("x", T0, first);
    let cases = vec![
        ("no ack", json!({"ack_policy": "none"})),
        (
            "push no ack",
            json!({"ack_policy": "all", "deliver_subject": "out"}),
        ),
        ("last", json!({"deliver_policy": "last"})),
        ("second for all", json!({})),
        ("same filter", json!({"filter_subject": "a.*"})),
        ("other filter", json!({"filter_subject": "a.c"})),
    ];
    let judge = |change| {
        let config = consumer_config(with(json!({"name": "y", "ack_policy": "explicit"}), change));
        let config = config.checked(&stream.config)?;
        stream.check_consumer("y", &config, crate::ConsumerAction::default())
    };
    expect![[r#"
        no ack: 400 10084 consumer in pull mode requires explicit ack policy on workqueue stream
        push no ack: 400 10098 workqueue stream requires explicit ack
        last: 400 10101 consumer must be deliver all on workqueue stream
        second for all: 400 10099 multiple non-filtered consumers not allowed on workqueue stream
        same filter: 400 10100 filtered consumer not unique on workqueue stream
        other filter: fine"#]]
    .assert_eq(&refusals(cases, judge));
}

#[test]
fn consumer_changes() {
    let config = stream_config(json!({"name": "S", "subjects": ["a.>"], "max_consumers": 1}));
    let mut stream = Stream::new(1, config.checked().expect("valid"), T0, None);
    let base = || json!({"durable_name": "x", "ack_policy": "explicit"});
    let first = consumer_config(base())
        .checked(&stream.config)
        .expect("valid");
    stream.create_consumer("x", T0, first);
    let judge = |name: &'static str, action: &'static str, change: Value| {
        let action = serde_json::from_value(json!(action)).expect("an action");
        let config = consumer_config(with(base(), change)).checked(&stream.config)?;
        stream.check_consumer(name, &config, action)
    };
    let cases = [
        ("x", "", json!({})),
        ("x", "create", json!({})),
        ("x", "create", json!({"ack_wait": 5_000_000_000_u64})),
        ("x", "update", json!({"ack_wait": 5_000_000_000_u64})),
        ("x", "", json!({"ack_policy": "none"})),
        ("x", "", json!({"deliver_policy": "new"})),
        ("x", "", json!({"deliver_subject": "out", "max_waiting": 0})),
        ("y", "update", json!({"durable_name": "y"})),
        ("y", "create", json!({"durable_name": "y"})),
    ];
    let lines = cases.map(|(name, action, change)| {
        let label = format!("{name} {action} {change}");
        refusals(vec![(label.as_str(), change)], |change| {
            judge(name, action, change)
        })
    });
    expect![[r#"
        x  {}: fine
        x create {}: fine
        x create {"ack_wait":5000000000}: 400 10148 consumer already exists
        x update {"ack_wait":5000000000}: fine
        x  {"ack_policy":"none"}: 500 10012 ack policy can not be updated
        x  {"deliver_policy":"new"}: 500 10012 deliver policy can not be updated
        x  {"deliver_subject":"out","max_waiting":0}: 500 10012 max waiting can not be updated
        y update {"durable_name":"y"}: 400 10149 consumer does not exist
        y create {"durable_name":"y"}: 400 10026 maximum consumers limit reached"#]]
    .assert_eq(&lines.join("\n"));
}

#[test]
fn defaults_follow_the_stream() {
    let config = stream_config(json!({"name": "S", "max_age": 60_000_000_000_u64}))
        .checked()
        .expect("valid");
    assert_eq!(config.duplicate_window, Duration::from_secs(60));
    assert_eq!(config.subjects, ["S"]);
    assert_eq!(config.metadata, BTreeMap::new());
    let consumer = ConsumerConfig::default().checked(&config).expect("valid");
    assert_eq!(
        (
            consumer.max_deliver,
            consumer.max_waiting,
            consumer.max_ack_pending
        ),
        (-1, 512, 0)
    );
    assert_eq!(consumer.inactive_after(), Some(Duration::from_secs(5)));
}
