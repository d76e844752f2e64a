//! What is said on the wire, and when.

use std::time::Duration;

use bytes::Bytes;
use expect_test::{Expect, expect};
use millstream_types::Timestamp;

use super::{NAME, WAIT, commit, create, publish, pull, stream_with};
use crate::config::RetentionPolicy;
use crate::{
    Ack, AckKind, AckPolicy, Acks, Action, Command, ConsumerConfig, DeliverPolicy, PullRequest,
    ReplayPolicy, Stream,
};

const T0: Timestamp = Timestamp(1_700_000_000_000_000_000);

fn at(millis: u64) -> Timestamp {
    T0.plus(Duration::from_millis(millis))
}

fn durable() -> ConsumerConfig {
    ConsumerConfig {
        durable_name: Some(NAME.to_owned()),
        ack_policy: AckPolicy::Explicit,
        ack_wait: WAIT,
        ..ConsumerConfig::default()
    }
}

fn push_config() -> ConsumerConfig {
    ConsumerConfig {
        deliver_subject: Some("out".to_owned()),
        ..durable()
    }
}

fn stream(config: &ConsumerConfig, subjects: &[&str]) -> Stream {
    let mut stream = stream_with(RetentionPolicy::Limits);
    publish(&mut stream, subjects, T0);
    create(&mut stream, config);
    stream
}

/// Everything the consumer says until it rests, a line each.
fn said(stream: &mut Stream, now: Timestamp) -> String {
    let mut lines = Vec::new();
    loop {
        let action = stream.poll_consumer(NAME, now).expect("there is one");
        lines.push(match &action {
            Action::Deliver(deliver) => {
                format!(
                    "{} to {} x{}",
                    deliver.seq,
                    text(&deliver.deliver_to),
                    deliver.delivered
                )
            }
            Action::Status { to, headers, reply } => {
                let reply = reply
                    .as_ref()
                    .map(|reply| format!(" reply {}", text(reply)))
                    .unwrap_or_default();
                format!(
                    "status to {}{reply}: {}",
                    text(to),
                    text(headers).replace("\r\n", "|")
                )
            }
            Action::MaxDeliveries { seq, deliveries } => {
                format!("{seq} was delivered {deliveries} times")
            }
            Action::WaitUntil { time, .. } => format!("wait {:?}", time.since(T0)),
            Action::Idle { .. } => "idle".to_owned(),
            Action::Expired => "expired".to_owned(),
        });
        if matches!(
            action,
            Action::WaitUntil { .. } | Action::Idle { .. } | Action::Expired
        ) {
            return lines.join("\n");
        }
    }
}

fn text(bytes: &Bytes) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn check(stream: &mut Stream, millis: u64, want: &Expect) {
    want.assert_eq(&said(stream, at(millis)));
}

fn ask(stream: &mut Stream, millis: u64, request: PullRequest) -> Result<(), String> {
    stream.pull(NAME, request, at(millis))
}

#[test]
#[expect(clippy::too_many_lines, reason = "a script")]
fn pull_requests_end_as_nats_server_ends_them() {
    let mut stream = stream(&durable(), &["a", "a"]);
    ask(
        &mut stream,
        0,
        PullRequest {
            no_wait: true,
            ..pull(5)
        },
    )
    .expect("taken");
    ask(
        &mut stream,
        0,
        PullRequest {
            no_wait: true,
            reply: "other".into(),
            ..pull(1)
        },
    )
    .expect("taken");
    ask(
        &mut stream,
        0,
        PullRequest {
            no_wait: true,
            reply: "late".into(),
            ..pull(1)
        },
    )
    .expect("taken");
    check(
        &mut stream,
        0,
        &expect![[r#"
        1 to inbox x1
        2 to other x1
        status to late: NATS/1.0 404 No Messages||
        status to inbox: NATS/1.0 408 Request Timeout|Nats-Pending-Messages: 4|Nats-Pending-Bytes: 0||
        wait 10s"#]],
    );
    let expires = Some(Duration::from_secs(1));
    ask(
        &mut stream,
        0,
        PullRequest {
            expires,
            max_bytes: 1000,
            ..pull(3)
        },
    )
    .expect("taken");
    let idle_heartbeat = Some(Duration::from_millis(400));
    ask(
        &mut stream,
        0,
        PullRequest {
            expires,
            idle_heartbeat,
            reply: "beat".into(),
            ..pull(3)
        },
    )
    .expect("taken");
    check(&mut stream, 100, &expect!["wait 400ms"]);
    check(
        &mut stream,
        400,
        &expect![[r#"
        status to beat: NATS/1.0 100 Idle Heartbeat|Nats-Last-Consumer: 2|Nats-Last-Stream: 2||
        wait 800ms"#]],
    );
    check(
        &mut stream,
        1000,
        &expect![[r#"
        status to inbox: NATS/1.0 408 Request Timeout|Nats-Pending-Messages: 3|Nats-Pending-Bytes: 1000||
        status to beat: NATS/1.0 408 Request Timeout|Nats-Pending-Messages: 3|Nats-Pending-Bytes: 0||
        wait 10s"#]],
    );
    ask(
        &mut stream,
        1000,
        PullRequest {
            max_bytes: 20,
            ..pull(3)
        },
    )
    .expect("taken");
    publish(&mut stream, &["a"], at(1000));
    check(
        &mut stream,
        1000,
        &expect![[r#"
        status to inbox: NATS/1.0 409 Message Size Exceeds MaxBytes|Nats-Pending-Messages: 3|Nats-Pending-Bytes: 20||
        wait 10s"#]],
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn pull_requests_are_refused_as_nats_server_refuses_them() {
    let limits = ConsumerConfig {
        max_batch: 5,
        max_expires: Duration::from_secs(2),
        max_bytes: 100,
        max_waiting: 1,
        ..durable()
    };
    let mut limited = stream(&limits, &[]);
    let expires = Some(Duration::from_secs(1));
    let mut refusals = vec![
        ask(&mut limited, 0, PullRequest { expires, ..pull(6) }),
        ask(
            &mut limited,
            0,
            PullRequest {
                expires: Some(Duration::from_secs(3)),
                ..pull(1)
            },
        ),
        ask(
            &mut limited,
            0,
            PullRequest {
                expires,
                max_bytes: 101,
                ..pull(1)
            },
        ),
        ask(&mut limited, 0, PullRequest { expires, ..pull(1) }),
        ask(&mut limited, 0, PullRequest { expires, ..pull(1) }),
    ];
    let mut pushed = stream(&push_config(), &[]);
    refusals.push(ask(&mut pushed, 0, pull(1)));
    refusals.push(pushed.pull("nobody", pull(1), T0));
    for payload in [
        "nonsense",
        "{\"batch\":",
        "{\"expires\":100,\"idle_heartbeat\":60}",
    ] {
        refusals.push(PullRequest::parse(payload.as_bytes(), Bytes::new()).map(|_| ()));
    }
    let lines: Vec<String> = refusals
        .into_iter()
        .map(|refusal| format!("{refusal:?}"))
        .collect();
    expect![[r#"
        Err("409 Exceeded MaxRequestBatch of 5")
        Err("409 Exceeded MaxRequestExpires of 2s")
        Err("409 Exceeded MaxRequestMaxBytes of 100")
        Ok(())
        Err("409 Exceeded MaxWaiting")
        Err("409 Consumer is push based")
        Err("503")
        Err("400 Bad Request - not a number")
        Err("400 Bad Request - EOF while parsing a value at line 1 column 9")
        Err("400 Bad Request - heartbeat value too large")"#]]
    .assert_eq(&lines.join("\n"));
    let parsed = PullRequest::parse(
        b"{\"batch\":3,\"expires\":1000,\"no_wait\":true,\"max_bytes\":7}",
        Bytes::new(),
    );
    let want = PullRequest {
        reply: Bytes::new(),
        expires: Some(Duration::from_micros(1)),
        no_wait: true,
        max_bytes: 7,
        ..pull(3)
    };
    assert_eq!(parsed, Ok(want));
    assert_eq!(
        PullRequest::parse(b"4", Bytes::from_static(b"inbox")),
        Ok(pull(4))
    );
    assert_eq!(
        PullRequest::parse(b"", Bytes::from_static(b"inbox")),
        Ok(pull(1))
    );
}

#[test]
fn a_full_batch_gives_its_unused_bytes_back() {
    let mut stream = stream(&durable(), &["a"]);
    ask(
        &mut stream,
        0,
        PullRequest {
            max_bytes: 1000,
            ..pull(1)
        },
    )
    .expect("taken");
    check(
        &mut stream,
        0,
        &expect![[r#"
            1 to inbox x1
            status to inbox: NATS/1.0 409 Batch Completed|Nats-Pending-Messages: 0|Nats-Pending-Bytes: 953||
            wait 10s"#]],
    );
}

#[test]
fn requests_share_what_comes() {
    let mut stream = stream(&durable(), &["a", "a", "a", "a"]);
    ask(&mut stream, 0, pull(2)).expect("taken");
    ask(
        &mut stream,
        0,
        PullRequest {
            reply: "other".into(),
            ..pull(2)
        },
    )
    .expect("taken");
    check(
        &mut stream,
        0,
        &expect![[r#"
        1 to inbox x1
        2 to other x1
        3 to inbox x1
        4 to other x1
        wait 10s"#]],
    );
}

#[test]
fn unacknowledged_messages_come_again_by_the_backoff_until_the_limit() {
    let steps = [1, 2].map(Duration::from_secs);
    let config = ConsumerConfig {
        backoff: steps.to_vec(),
        max_deliver: 3,
        ..durable()
    };
    let mut stream = stream(&config, &["a"]);
    ask(&mut stream, 0, pull(10)).expect("taken");
    check(
        &mut stream,
        0,
        &expect![[r#"
        1 to inbox x1
        wait 1s"#]],
    );
    check(&mut stream, 999, &expect!["wait 1s"]);
    check(
        &mut stream,
        1000,
        &expect![[r#"
        1 to inbox x2
        wait 3s"#]],
    );
    check(
        &mut stream,
        3000,
        &expect![[r#"
        1 to inbox x3
        wait 5s"#]],
    );
    check(
        &mut stream,
        5000,
        &expect![[r#"
        1 was delivered 3 times
        idle"#]],
    );
    commit(
        &mut stream,
        vec![Ack {
            stream_seq: 1,
            kind: AckKind::GiveUp,
        }],
        at(5000),
    );
    assert_eq!(stream.consumers[NAME].floor(), 1);
    check(&mut stream, 50_000, &expect!["idle"]);
}

#[test]
fn naks_and_progress_move_the_time_of_the_next_delivery() {
    let mut stream = stream(&durable(), &["a", "a", "a"]);
    ask(&mut stream, 0, pull(10)).expect("taken");
    check(
        &mut stream,
        0,
        &expect![[r#"
        1 to inbox x1
        2 to inbox x1
        3 to inbox x1
        wait 10s"#]],
    );
    assert!(stream.nak(NAME, 1, 1, None, at(10)));
    assert!(stream.nak(NAME, 2, 1, Some(Duration::from_secs(60)), at(10)));
    assert!(stream.progress(NAME, 3, at(5000)));
    check(
        &mut stream,
        10,
        &expect![[r#"
        1 to inbox x2
        wait 10.01s"#]],
    );
    // About the first delivery, which the second has replaced.
    assert!(!stream.nak(NAME, 1, 1, None, at(11)));
    check(
        &mut stream,
        10_010,
        &expect![[r#"
        1 to inbox x3
        wait 15s"#]],
    );
    check(
        &mut stream,
        15_000,
        &expect![[r#"
        3 to inbox x2
        wait 20.01s"#]],
    );
    check(
        &mut stream,
        60_010,
        &expect![[r#"
        1 to inbox x4
        3 to inbox x3
        2 to inbox x2
        wait 70.01s"#]],
    );
}

#[test]
fn a_delivery_to_nobody_does_not_count() {
    let mut stream = stream(&durable(), &["a"]);
    ask(&mut stream, 0, pull(10)).expect("taken");
    check(
        &mut stream,
        0,
        &expect![[r#"
        1 to inbox x1
        wait 10s"#]],
    );
    stream.undelivered(NAME, 1, b"inbox", T0);
    check(&mut stream, 0, &expect!["idle"]);
    ask(
        &mut stream,
        0,
        PullRequest {
            reply: "other".into(),
            ..pull(1)
        },
    )
    .expect("taken");
    check(
        &mut stream,
        0,
        &expect![[r#"
        1 to other x1
        wait 10s"#]],
    );
}

#[test]
fn a_push_consumer_speaks_while_somebody_listens() {
    let config = ConsumerConfig {
        idle_heartbeat: Duration::from_secs(1),
        flow_control: true,
        ..push_config()
    };
    let mut stream = stream(&config, &["a"]);
    check(&mut stream, 0, &expect!["idle"]);
    stream.set_interest(NAME, true, at(500));
    check(
        &mut stream,
        500,
        &expect![[r#"
        1 to out x1
        wait 1.5s"#]],
    );
    check(
        &mut stream,
        1500,
        &expect![[r#"
        status to out: NATS/1.0 100 Idle Heartbeat|Nats-Last-Consumer: 1|Nats-Last-Stream: 1||
        wait 2.5s"#]],
    );
}

#[test]
fn flow_control_stops_until_the_client_answers() {
    let config = ConsumerConfig {
        idle_heartbeat: Duration::from_secs(60),
        flow_control: true,
        ack_policy: AckPolicy::None,
        ..push_config()
    };
    let mut stream = stream_with(RetentionPolicy::Limits);
    let payload = vec![0; 1024 * 1024];
    for _ in 0..6 {
        let mut builder = crate::RecordsBuilder::new();
        builder.push(b"a", b"", &payload);
        let (records, count) = builder.take();
        let publish = crate::Publish {
            stream: 1,
            time: T0,
            count,
            records,
        };
        stream.publish(
            millstream_journal::Position::default(),
            0,
            &publish,
            &mut Vec::new(),
        );
    }
    create(
        &mut stream,
        &ConsumerConfig {
            ack_wait: Duration::ZERO,
            ..config
        },
    );
    stream.set_interest(NAME, true, T0);
    check(
        &mut stream,
        0,
        &expect![[r#"
        1 to out x1
        status to out reply $JS.FC.S.c.1: NATS/1.0 100 FlowControl Request||
        2 to out x1
        wait 60s"#]],
    );
    assert!(!stream.flow_control_reply(NAME, b"$JS.FC.S.c.9"));
    check(&mut stream, 0, &expect!["wait 60s"]);
    assert!(stream.flow_control_reply(NAME, b"$JS.FC.S.c.1"));
    check(
        &mut stream,
        0,
        &expect![[r#"
        3 to out x1
        status to out reply $JS.FC.S.c.2: NATS/1.0 100 FlowControl Request||
        4 to out x1
        5 to out x1
        wait 60s"#]],
    );
}

#[test]
fn an_ephemeral_goes_when_nobody_uses_it() {
    let config = ConsumerConfig {
        durable_name: None,
        name: Some(NAME.to_owned()),
        ..durable()
    };
    let mut stream = stream(&config, &[]);
    check(&mut stream, 0, &expect!["wait 5s"]);
    let expires = Some(Duration::from_secs(20));
    ask(&mut stream, 4000, PullRequest { expires, ..pull(1) }).expect("taken");
    check(&mut stream, 10_000, &expect!["wait 24s"]);
    check(
        &mut stream,
        24_000,
        &expect![[r#"
        status to inbox: NATS/1.0 408 Request Timeout|Nats-Pending-Messages: 1|Nats-Pending-Bytes: 0||
        wait 29s"#]],
    );
    check(&mut stream, 29_000, &expect!["expired"]);
}

#[test]
fn replay_and_rate_hold_back() {
    let config = ConsumerConfig {
        replay_policy: ReplayPolicy::Original,
        ..durable()
    };
    let mut stream = stream(&config, &["a"]);
    publish(&mut stream, &["a"], at(3000));
    ask(&mut stream, 0, pull(10)).expect("taken");
    check(
        &mut stream,
        10_000,
        &expect![[r#"
        1 to inbox x1
        wait 13s"#]],
    );
    check(
        &mut stream,
        13_000,
        &expect![[r#"
        2 to inbox x1
        wait 20s"#]],
    );
    let slow = ConsumerConfig {
        rate_limit: 8 * 100,
        ..push_config()
    };
    let mut stream = super::examples::stream(&slow, &["a", "a"]);
    stream.set_interest(NAME, true, T0);
    check(
        &mut stream,
        0,
        &expect![[r#"
            1 to out x1
            wait 470ms"#]],
    );
}

#[test]
fn a_pause_holds_everything_back() {
    let config = ConsumerConfig {
        pause_until: Some(at(5000)),
        ..durable()
    };
    let mut stream = stream(&config, &["a"]);
    ask(&mut stream, 0, pull(1)).expect("taken");
    check(&mut stream, 0, &expect!["wait 5s"]);
    check(
        &mut stream,
        5000,
        &expect![[r#"
        1 to inbox x1
        wait 15s"#]],
    );
}

#[test]
fn acknowledgements_after_a_restart_count() {
    let mut stream = stream(&durable(), &["a", "a", "a"]);
    ask(&mut stream, 0, pull(10)).expect("taken");
    check(
        &mut stream,
        0,
        &expect![[r#"
        1 to inbox x1
        2 to inbox x1
        3 to inbox x1
        wait 10s"#]],
    );
    let mut stream = Stream::decode_checkpoint(&stream.encode_checkpoint()).expect("reads back");
    commit(
        &mut stream,
        vec![Ack {
            stream_seq: 2,
            kind: AckKind::Ack,
        }],
        at(10),
    );
    ask(&mut stream, 20, pull(10)).expect("taken");
    check(
        &mut stream,
        20,
        &expect![[r#"
        1 to inbox x1
        3 to inbox x1
        wait 10.02s"#]],
    );
}

#[test]
fn acknowledgements_that_were_not_saved_are_asked_for_again() {
    let mut stream = stream(&durable(), &["a", "a"]);
    ask(&mut stream, 0, pull(2)).expect("taken");
    check(
        &mut stream,
        0,
        &expect![[r#"
        1 to inbox x1
        2 to inbox x1
        wait 10s"#]],
    );
    let ack = Ack {
        stream_seq: 1,
        kind: AckKind::Ack,
    };
    let acks = stream.acknowledge(NAME, vec![ack], at(10));
    assert_eq!(acks.len(), 1);
    stream.unacknowledge(NAME, &acks);
    ask(&mut stream, 20, pull(2)).expect("taken");
    check(
        &mut stream,
        20,
        &expect![[r#"
        1 to inbox x2
        wait 10s"#]],
    );
    commit(&mut stream, vec![ack], at(30));
    assert!(stream.acknowledge(NAME, vec![ack], at(40)).is_empty());
}

#[test]
fn interest_keeps_a_message_until_all_who_want_it_are_done() {
    let mut stream = stream_with(RetentionPolicy::Interest);
    publish(&mut stream, &["a"], T0);
    assert_eq!(
        (stream.messages(), stream.last_seq()),
        (0, 1),
        "nobody wanted it"
    );
    create(&mut stream, &durable());
    let other = ConsumerConfig {
        durable_name: Some("d".to_owned()),
        filter_subject: Some("b".to_owned()),
        ..durable()
    };
    let other = other.checked(&stream.config).expect("valid");
    stream.create_consumer("d", T0, other);
    publish(&mut stream, &["a", "b"], T0);
    ask(&mut stream, 0, pull(10)).expect("taken");
    let _delivered = said(&mut stream, T0);
    let done = |seq| Ack {
        stream_seq: seq,
        kind: AckKind::Ack,
    };
    commit(&mut stream, vec![done(2), done(3)], T0);
    assert_eq!(stream.next_live(0), Some(3), "`d` still wants it");
    assert!(stream.delete_consumer("d"));
    assert_eq!(stream.messages(), 0);
}

#[test]
fn a_watcher_gets_the_last_of_every_subject_and_then_what_comes() {
    let config = ConsumerConfig {
        deliver_policy: DeliverPolicy::LastPerSubject,
        filter_subject: Some(">".to_owned()),
        ack_policy: AckPolicy::None,
        ack_wait: Duration::ZERO,
        ..push_config()
    };
    let mut stream = stream(&config, &["a", "b", "a", "a.b", "b"]);
    assert_eq!(
        stream.consumer_info(NAME, T0).map(|info| info.num_pending),
        Some(3)
    );
    stream.set_interest(NAME, true, T0);
    check(
        &mut stream,
        0,
        &expect![[r#"
        3 to out x1
        4 to out x1
        5 to out x1
        idle"#]],
    );
    publish(&mut stream, &["a"], T0);
    check(
        &mut stream,
        0,
        &expect![[r#"
        6 to out x1
        idle"#]],
    );
    assert_eq!(stream.consumers[NAME].uncommitted(), Some(6));
}

#[test]
fn the_floor_does_not_depend_on_what_a_restart_forgets() {
    let acks = |stream: &mut Stream, seq| {
        let acks = vec![Ack {
            stream_seq: seq,
            kind: AckKind::Ack,
        }];
        let acks = Acks {
            stream: 1,
            consumer: NAME.to_owned(),
            time: T0,
            acks,
        };
        stream.apply(Command::Acks(acks)).expect("allowed");
    };
    let mut kept = stream(&durable(), &["a", "b", "a", "b", "a", "b"]);
    acks(&mut kept, 2);
    let narrow = ConsumerConfig {
        filter_subject: Some("b".to_owned()),
        ..durable()
    };
    kept.update_consumer(NAME, narrow.checked(&kept.config).expect("valid"));
    acks(&mut kept, 1);
    let mut restarted = Stream::decode_checkpoint(&kept.encode_checkpoint()).expect("reads back");
    for stream in [&mut kept, &mut restarted] {
        // Not wanted any more, and below what the floor waits for.
        acks(stream, 3);
    }
    assert_eq!(kept.encode_checkpoint(), restarted.encode_checkpoint());
    assert_eq!(kept.consumers[NAME].floor(), 3);
}
