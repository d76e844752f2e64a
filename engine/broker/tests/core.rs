//! Publish and subscribe over real sockets.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use millstream_broker::{Broker, StartError};
use support::{PATIENCE, Peer, Said, broker, msg, options};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_subscriber_gets_every_message_in_order() {
    let broker = broker().await;
    let mut peers = Vec::new();
    for _ in 0..5 {
        let mut peer = Peer::new(&broker).await;
        peer.send("SUB a.* 1\r\nSUB a.> 2\r\nSUB a.b 3\r\nSUB > 4\r\nSUB b 5\r\n")
            .await;
        peer.sync().await;
        peers.push(peer);
    }
    let mut publisher = Peer::new(&broker).await;
    let count = 2000;
    let batch: String = (0..count)
        .map(|n: usize| format!("PUB a.b {}\r\n{n}\r\n", n.to_string().len()))
        .collect();
    publisher.send(&batch).await;
    publisher.send("PUB c 0\r\n\r\nPUB a.b.c 1\r\nx\r\n").await;
    publisher.sync().await;
    for peer in &mut peers {
        let mut next: BTreeMap<String, usize> = BTreeMap::new();
        for _ in 0..count * 4 {
            let Said::Msg {
                subject,
                sid,
                payload,
                ..
            } = peer.next().await
            else {
                panic!("no message")
            };
            assert_eq!(subject, "a.b");
            let at = next.entry(sid).or_default();
            assert_eq!(payload, at.to_string().as_bytes());
            *at += 1;
        }
        assert!(next.values().all(|got| *got == count) && next.len() == 4);
        peer.expect(msg("c", "4", "")).await;
        let mut sids = Vec::new();
        for _ in 0..2 {
            let Said::Msg { subject, sid, .. } = peer.next().await else {
                panic!("no message")
            };
            assert_eq!(subject, "a.b.c");
            sids.push(sid);
        }
        sids.sort();
        assert_eq!(sids, ["2", "4"]);
        peer.quiet().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_group_shares_and_survives_a_member() {
    let broker = broker().await;
    let mut one = Peer::new(&broker).await;
    let mut two = Peer::new(&broker).await;
    // One group, although its members' filters differ.
    one.send("SUB work.* pool 1\r\n").await;
    two.send("SUB work.> pool 1\r\nSUB work.> other 2\r\n")
        .await;
    one.sync().await;
    two.sync().await;
    let mut publisher = Peer::new(&broker).await;
    publisher.send(&"PUB work.x 1\r\nx\r\n".repeat(400)).await;
    publisher.sync().await;
    let mut got = BTreeMap::new();
    for (name, peer) in [("one", &mut one), ("two", &mut two)] {
        peer.send("PING\r\n").await;
        while let Said::Msg { sid, .. } = peer.next().await {
            *got.entry((name, sid)).or_insert(0) += 1;
        }
    }
    assert_eq!(got[&("two", "2".to_owned())], 400);
    let (first, second) = (got[&("one", "1".to_owned())], got[&("two", "1".to_owned())]);
    assert_eq!(first + second, 400);
    assert!(first > 50 && second > 50, "{first} {second}");

    drop(one);
    let mut interest = broker.interest_changed();
    while broker.stats().connections > 2 {
        tokio::time::timeout(PATIENCE, interest.changed())
            .await
            .unwrap()
            .unwrap();
        tokio::task::yield_now().await;
    }
    publisher.send(&"PUB work.x 1\r\nx\r\n".repeat(10)).await;
    publisher.sync().await;
    for _ in 0..20 {
        assert!(matches!(two.next().await, Said::Msg { .. }));
    }
    two.quiet().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscriptions_count_from_their_acknowledgement_on() {
    let broker = broker().await;
    let mut publisher = Peer::new(&broker).await;
    let mut subscriber = Peer::new(&broker).await;
    // The publisher's memory of routes is warm and must never be stale.
    for round in 0..300 {
        publisher.send("PUB s 1\r\nx\r\n").await;
        publisher.sync().await;
        subscriber.send(&format!("SUB s {round}\r\n")).await;
        subscriber.sync().await;
        publisher.send("PUB s 1\r\ny\r\n").await;
        subscriber.expect(msg("s", &round.to_string(), "y")).await;
        subscriber.send(&format!("UNSUB {round}\r\n")).await;
        subscriber.sync().await;
    }
    assert_eq!(broker.stats().subscriptions, 0);
    assert!(!broker.has_interest(b"s"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_fit_is_refused_before_it_is_read() {
    let broker = Broker::start(millstream_broker::Options {
        max_payload: 64,
        ..options()
    })
    .await
    .unwrap();
    let mut good = Peer::new(&broker).await;
    good.send("SUB a 1\r\n").await;
    good.sync().await;
    for (send, error) in [
        ("PUB a 65\r\n", "Maximum Payload Violation"),
        ("HPUB a 12 65\r\n", "Maximum Payload Violation"),
        ("GET / HTTP/1.1\r\n", "Unknown Protocol Operation"),
        ("PUB a 1\r\nxyz", "Unknown Protocol Operation"),
        ("PUB a b c d 1\r\n", "Parser Error"),
    ] {
        let mut peer = Peer::new(&broker).await;
        peer.send(send).await;
        peer.expect(Said::Err(error.into())).await;
        peer.expect(Said::Closed).await;
    }
    let mut peer = Peer::new(&broker).await;
    peer.send(&format!("SUB {}", "x".repeat(5000))).await;
    peer.expect(Said::Err("maximum control line exceeded".into()))
        .await;
    peer.expect(Said::Closed).await;
    good.send(&format!("PUB a 64\r\n{}\r\n", "y".repeat(64)))
        .await;
    good.expect(msg("a", "1", &"y".repeat(64))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_payloads_pass_whole() {
    let broker = broker().await;
    let mut peer = Peer::new(&broker).await;
    peer.send("SUB big 1\r\n").await;
    let payload: String = (0..1024 * 1024)
        .map(|n| char::from(b'a' + (n % 23) as u8))
        .collect();
    for _ in 0..3 {
        peer.send(&format!("PUB big {}\r\n{payload}\r\n", payload.len()))
            .await;
        assert!(peer.next().await == msg("big", "1", &payload));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_consumer_is_cut_off_and_others_go_on() {
    let limit = 512 * 1024;
    let broker = Broker::start(millstream_broker::Options {
        max_pending: limit,
        ..options()
    })
    .await
    .unwrap();
    let mut slow = Peer::new(&broker).await;
    slow.send("SUB flood 1\r\n").await;
    slow.sync().await;
    let mut healthy = Peer::new(&broker).await;
    healthy.send("SUB flood 1\r\n").await;
    healthy.sync().await;
    let mut publisher = Peer::new(&broker).await;
    let message = format!("PUB flood 4096\r\n{}\r\n", "z".repeat(4096));
    let mut sent = 0;
    // It never reads; sockets' own buffers take a few megabytes first.
    while broker.stats().slow_consumers == 0 {
        publisher.send(&message).await;
        sent += 1;
        assert!(
            matches!(healthy.next().await, Said::Msg { .. }),
            "after {sent}"
        );
    }
    publisher.send(&message).await;
    assert!(matches!(healthy.next().await, Said::Msg { .. }));
    let mut closed = slow.next().await;
    while matches!(closed, Said::Msg { .. }) {
        closed = slow.next().await;
    }
    assert_eq!(closed, Said::Closed);
    publisher.sync().await;
    let stats = broker.stats();
    assert_eq!((stats.slow_consumers, stats.connections), (1, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fast_publisher_does_not_get_a_reading_subscriber_cut_off() {
    let options = millstream_broker::Options {
        max_pending: 16 * 1024 * 1024,
        ..options()
    };
    let broker = Broker::start(options).await.unwrap();
    let mut subscriber = Peer::new(&broker).await;
    subscriber.send("SUB flood 1\r\n").await;
    subscriber.sync().await;
    let count = 50_000;
    let mut publisher = Peer::new(&broker).await;
    let publishing = tokio::spawn(async move {
        let batch = format!("PUB flood 1024\r\n{}\r\n", "z".repeat(1024)).repeat(100);
        for _ in 0..count / 100 {
            publisher.send(&batch).await;
        }
        publisher.sync().await;
    });
    for at in 0..count {
        assert!(
            matches!(subscriber.next().await, Said::Msg { .. }),
            "cut off after {at}"
        );
    }
    publishing.await.unwrap();
    assert_eq!(broker.stats().slow_consumers, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_takes_nothing_runs_into_the_write_deadline() {
    let options = millstream_broker::Options {
        write_deadline: Duration::from_millis(50),
        ..options()
    };
    let broker = Broker::start(options).await.unwrap();
    let mut slow = Peer::new(&broker).await;
    slow.send("SUB flood 1\r\n").await;
    slow.sync().await;
    let mut publisher = Peer::new(&broker).await;
    let batch = format!("PUB flood 65536\r\n{}\r\n", "z".repeat(65_536)).repeat(16);
    while broker.stats().slow_consumers == 0 {
        publisher.send(&batch).await;
        publisher.sync().await;
    }
    publisher.sync().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_silent_is_asked_and_then_cut_off() {
    let options = millstream_broker::Options {
        ping_interval: Duration::from_millis(20),
        ping_max: 2,
        ..options()
    };
    let broker = Broker::start(options).await.unwrap();
    let mut peer = Peer::raw(&broker).await;
    peer.pings = true;
    peer.expect(Said::Ping).await;
    peer.send("PONG\r\n").await;
    let mut pings = 0;
    loop {
        match peer.next().await {
            Said::Ping => pings += 1,
            Said::Err(text) => {
                assert_eq!(text, "Stale Connection");
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(pings, 2);
    peer.expect(Said::Closed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_many_connections_are_told_so() {
    let broker = Broker::start(millstream_broker::Options {
        max_connections: 2,
        ..options()
    })
    .await
    .unwrap();
    let mut first = Peer::new(&broker).await;
    let _second = Peer::new(&broker).await;
    let mut third = Peer::raw(&broker).await;
    third
        .expect(Said::Err("maximum connections exceeded".into()))
        .await;
    third.expect(Said::Closed).await;
    first.sync().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbers_add_up() {
    let broker = broker().await;
    let mut subscriber = Peer::with(
        &broker,
        r#"{"verbose":false,"name":"n","lang":"l","version":"v","echo":false}"#,
    )
    .await;
    subscriber.send("SUB a.> q 7\r\n").await;
    subscriber.sync().await;
    let mut publisher = Peer::new(&broker).await;
    publisher
        .send("PUB a.b 3\r\nabc\r\nHPUB a.b 12 14\r\nNATS/1.0\r\n\r\nxy\r\nPUB z 1\r\n1\r\n")
        .await;
    publisher.sync().await;
    subscriber.expect(msg("a.b", "7", "abc")).await;
    let Said::Msg {
        headers, payload, ..
    } = subscriber.next().await
    else {
        panic!("no message")
    };
    assert_eq!(
        (headers.as_str(), payload.as_slice()),
        ("NATS/1.0\r\n\r\n", b"xy".as_slice())
    );
    let stats = broker.stats();
    assert_eq!(
        (
            stats.in_msgs,
            stats.in_bytes,
            stats.out_msgs,
            stats.out_bytes
        ),
        (3, 18, 2, 17)
    );
    assert_eq!(
        (
            stats.connections,
            stats.total_connections,
            stats.subscriptions
        ),
        (2, 2, 1)
    );
    let connections = broker.connections();
    let one = &connections[0];
    assert_eq!(
        (one.name.as_str(), one.lang.as_str(), one.version.as_str()),
        ("n", "l", "v")
    );
    assert_eq!((one.out_msgs, one.out_bytes, one.pending_bytes), (2, 17, 0));
    assert_eq!((connections[1].in_msgs, connections[1].in_bytes), (3, 18));
    let sub = &one.subscriptions[0];
    assert_eq!(
        (
            sub.subject.as_str(),
            sub.queue.as_deref(),
            sub.sid.as_str(),
            sub.msgs
        ),
        ("a.>", Some("q"), "7", 2)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_broker_sends_what_waits_and_closes_without_an_error() {
    let broker = broker().await;
    let mut peer = Peer::new(&broker).await;
    peer.send("SUB a 1\r\n").await;
    peer.sync().await;
    let mut publisher = broker.publisher();
    for _ in 0..1000 {
        publisher.send(b"a", None, b"", &[b'x'; 1000]);
    }
    publisher.flush();
    broker.shutdown().await;
    for _ in 0..1000 {
        assert!(matches!(peer.next().await, Said::Msg { .. }));
    }
    peer.expect(Said::Closed).await;
    assert!(
        tokio::net::TcpStream::connect(broker.local_addr())
            .await
            .is_err()
    );
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let broker = broker().await;
    let options = millstream_broker::Options {
        listen: broker.local_addr(),
        ..options()
    };
    let error = Broker::start(options).await.unwrap_err();
    assert!(matches!(error, StartError::Bind { .. }));
    assert!(
        error.to_string().contains(&broker.local_addr().to_string()),
        "{error}"
    );
}
