//! Several clients that pull from one consumer, and who is woken for what.

use millstream_types::Timestamp;

use super::{NAME, WAIT, create, publish, pull, stream_with};
use crate::config::RetentionPolicy;
use crate::{Ack, AckKind, AckPolicy, Acks, Action, Command, ConsumerConfig, PullRequest, Stream};

const T0: Timestamp = Timestamp(1_700_000_000_000_000_000);

fn stream(max_ack_pending: i64) -> Stream {
    let config = ConsumerConfig {
        durable_name: Some(NAME.to_owned()),
        ack_policy: AckPolicy::Explicit,
        ack_wait: WAIT,
        max_ack_pending,
        ..ConsumerConfig::default()
    };
    let mut stream = stream_with(RetentionPolicy::Limits);
    publish(&mut stream, &["a"; 8], T0);
    create(&mut stream, &config);
    stream
}

fn ask(stream: &mut Stream, reply: &'static str, batch: u32) {
    let reply = reply.into();
    let request = PullRequest {
        reply,
        ..pull(batch)
    };
    stream.pull(NAME, request, T0).expect("taken");
}

/// To whom the next messages go, until there are no more.
fn receivers(stream: &mut Stream) -> Vec<String> {
    let mut to = Vec::new();
    while let Some(Action::Deliver(deliver)) = stream.poll_consumer(NAME, T0) {
        to.push(String::from_utf8_lossy(&deliver.deliver_to).into_owned());
    }
    to
}

#[test]
fn who_is_behind_is_passed_over_until_released() {
    let mut stream = stream(-1);
    ask(&mut stream, "slow", 10);
    ask(&mut stream, "fast", 3);
    assert!(stream.hold_requests(NAME, b"slow"));
    assert!(!stream.hold_requests(NAME, b"nobody"));
    assert_eq!(receivers(&mut stream), ["fast"; 3]);
    let rest = stream.poll_consumer(NAME, T0);
    let asleep = matches!(
        rest,
        Some(Action::WaitUntil {
            wants_messages: false,
            ..
        })
    );
    assert!(asleep, "a held request is no demand: {rest:?}");
    assert_eq!(
        stream.consumer_info(NAME, T0).map(|info| info.num_waiting),
        Some(1)
    );
    stream.release_requests(NAME, b"slow");
    assert_eq!(receivers(&mut stream), ["slow"; 5]);
}

#[test]
fn a_held_request_expires_and_is_taken_like_any_other() {
    let mut stream = stream(-1);
    ask(&mut stream, "a", 1);
    ask(&mut stream, "b", 1);
    assert!(stream.hold_requests(NAME, b"a"));
    assert_eq!(stream.retain_waiting(NAME, |reply| reply != b"a"), 1);
    ask(&mut stream, "c", 1);
    assert!(stream.hold_requests(NAME, b"c"));
    assert_eq!(stream.take_waiting(NAME), ["b", "c"]);
    assert_eq!(receivers(&mut stream), [""; 0]);
}

#[test]
fn who_has_had_all_it_may_waits_for_room_and_not_for_messages() {
    let mut stream = stream(2);
    ask(&mut stream, "r", 10);
    assert_eq!(receivers(&mut stream), ["r"; 2]);
    let number = stream.wait_for_messages(NAME).expect("there is one");
    publish(&mut stream, &["a"], T0);
    assert!(!stream.has_woken(), "a message is no room");
    let ack = |seq| Ack {
        stream_seq: seq,
        kind: AckKind::Ack,
    };
    let acks = stream.acknowledge(NAME, vec![ack(1)], T0);
    assert_eq!(stream.take_woken(), [number], "before it is in the log");
    assert_eq!(receivers(&mut stream), ["r"]);
    let command = Command::Acks(Acks {
        stream: 1,
        consumer: NAME.to_owned(),
        time: T0,
        acks,
    });
    stream.apply(command).expect("allowed");
    assert!(!stream.has_woken(), "nobody waits");
}

/// Clients of ordered consumers follow the numbers of deliveries and begin anew, at the same message, where one is missing. How
/// many are ahead tells them when they have all.
#[test]
fn what_cannot_be_read_gets_no_number_where_nobody_acknowledges() {
    let mut stream = stream_with(RetentionPolicy::Limits);
    publish(&mut stream, &["a"; 4], T0);
    let config = ConsumerConfig {
        durable_name: Some(NAME.to_owned()),
        ..ConsumerConfig::default()
    };
    create(&mut stream, &config);
    let delivered = |stream: &mut Stream| -> Vec<(u64, u64, u64)> {
        ask(stream, "r", 10);
        let mut all = Vec::new();
        while let Some(Action::Deliver(deliver)) = stream.poll_consumer(NAME, T0) {
            all.push((deliver.seq, deliver.consumer_seq, deliver.pending));
        }
        all
    };
    let all = [(1, 1, 3), (2, 2, 2), (3, 3, 1), (4, 4, 0)];
    assert_eq!(delivered(&mut stream), all);
    for seq in [2, 4] {
        stream.unreadable(NAME, seq, b"r");
    }
    assert!(stream.delete_consumer(NAME));
    create(&mut stream, &config);
    assert_eq!(delivered(&mut stream), [(1, 1, 3), (3, 2, 1)]);
    let info = stream.consumer_info(NAME, T0).expect("there");
    assert_eq!(info.num_pending, 0);
    publish(&mut stream, &["a"], T0);
    assert_eq!(delivered(&mut stream), [(5, 3, 0)]);
}

#[test]
fn a_paused_consumer_keeps_nobody_who_does_not_wait() {
    let mut stream = stream_with(RetentionPolicy::Limits);
    publish(&mut stream, &["a"], T0);
    let config = ConsumerConfig {
        durable_name: Some(NAME.to_owned()),
        pause_until: Some(T0.plus(WAIT)),
        ..ConsumerConfig::default()
    };
    create(&mut stream, &config);
    let request = PullRequest {
        no_wait: true,
        ..pull(1)
    };
    stream.pull(NAME, request, T0).expect("taken");
    let Some(Action::Status { headers, .. }) = stream.poll_consumer(NAME, T0) else {
        panic!("it is answered");
    };
    assert!(headers.starts_with(b"NATS/1.0 404 No Messages"));
    ask(&mut stream, "r", 1);
    assert_eq!(receivers(&mut stream), [""; 0]);
}
