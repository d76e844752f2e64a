//! Handlers and publishers inside the process.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod support;

use std::sync::{Arc, Mutex};

use millstream_broker::{Collector, Handler, Origin, Published};
use support::{PATIENCE, Peer, Said, broker, msg};
use tokio::sync::mpsc;

type Batch = Vec<(String, Option<String>, Vec<u8>)>;

/// Hands over what it gathers, batch by batch.
struct Gatherer {
    batches: mpsc::Sender<Batch>,
    /// Bytes are counted as in flight and never dealt with, until the test does.
    hold: bool,
    origins: Mutex<Vec<Arc<Origin>>>,
}

struct Gathering {
    batches: mpsc::Sender<Batch>,
    batch: Batch,
    hold: Option<Arc<Origin>>,
}

impl Handler for Gatherer {
    fn collector(&self, origin: &Arc<Origin>) -> Box<dyn Collector> {
        self.origins.lock().unwrap().push(Arc::clone(origin));
        Box::new(Gathering {
            batches: self.batches.clone(),
            batch: Vec::new(),
            hold: self.hold.then(|| Arc::clone(origin)),
        })
    }
}

impl Collector for Gathering {
    fn push(&mut self, message: &Published<'_>) {
        if let Some(origin) = &self.hold {
            origin.add_inflight(message.payload.len());
        }
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        self.batch.push((
            text(message.subject),
            message.reply.map(text),
            message.payload.to_vec(),
        ));
    }

    fn flush(&mut self) {
        // A test that looks at no batches drops them.
        let _full = self.batches.try_send(std::mem::take(&mut self.batch));
    }
}

fn gatherer(hold: bool) -> (Arc<Gatherer>, mpsc::Receiver<Batch>) {
    let (batches, receiver) = mpsc::channel(4096);
    (
        Arc::new(Gatherer {
            batches,
            hold,
            origins: Mutex::default(),
        }),
        receiver,
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_gets_what_is_published_and_counts_as_a_responder() {
    let broker = broker().await;
    let (handler, mut batches) = gatherer(false);
    let attachment = broker
        .attach("in.>", Arc::clone(&handler) as Arc<dyn Handler>)
        .unwrap();
    let mut peer = Peer::new(&broker).await;
    peer.send("SUB r 1\r\nPUB in.a r 1\r\n1\r\nPUB in.b 1\r\n2\r\nPUB out 1\r\n3\r\n")
        .await;
    peer.sync().await;
    let mut got = batches.recv().await.unwrap();
    while got.len() < 2 {
        got.extend(batches.recv().await.unwrap());
    }
    assert_eq!(
        got,
        [
            ("in.a".to_owned(), Some("r".to_owned()), b"1".to_vec()),
            ("in.b".to_owned(), None, b"2".to_vec()),
        ]
    );
    assert_eq!(
        handler.origins.lock().unwrap().len(),
        1,
        "one collector per connection"
    );

    drop(attachment);
    peer.send("PUB in.a r 1\r\n1\r\n").await;
    let Said::Msg {
        subject, headers, ..
    } = peer.next().await
    else {
        panic!("no 503")
    };
    assert_eq!(subject, "r");
    assert_eq!(headers, "NATS/1.0 503\r\nNats-Subject: in.a\r\n\r\n");
    assert!(broker.attach("a..b", handler).is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_asking_client_learns_that_nobody_listens() {
    let broker = broker().await;
    let (handler, mut batches) = gatherer(false);
    let _attachment = broker.attach("r.>", handler).unwrap();
    let mut other = Peer::new(&broker).await;
    other.send("SUB r.* 1\r\n").await;
    other.sync().await;
    let mut peer = Peer::new(&broker).await;
    peer.send("SUB r.* 1\r\nPUB nobody r.1 0\r\n\r\n").await;
    assert!(
        matches!(peer.next().await, Said::Msg { headers, .. } if headers.starts_with("NATS/1.0 503\r\n"))
    );
    peer.sync().await;
    other.quiet().await;
    assert!(batches.try_recv().is_err());
    // Text that is no UTF-8 reaches clients, as with nats-server, but no stream.
    let (handler, mut batches) = gatherer(false);
    let _attachment = broker.attach(">", handler).unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut peer.socket, b"PUB r.\xff 0\r\n\r\n")
        .await
        .unwrap();
    assert!(matches!(other.next().await, Said::Msg { .. }));
    assert!(batches.try_recv().is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publisher_whose_messages_are_not_dealt_with_is_not_read() {
    let broker = broker().await;
    let (handler, mut batches) = gatherer(true);
    let _attachment = broker
        .attach("in", Arc::clone(&handler) as Arc<dyn Handler>)
        .unwrap();
    let mut peer = Peer::new(&broker).await;
    let message = format!("PUB in 65536\r\n{}\r\n", "x".repeat(65_536));
    let total = 2048_u64;
    let publishing = tokio::spawn(async move {
        for _ in 0..total {
            peer.send(&message).await;
        }
        peer.sync().await;
    });
    let mut got = 0;
    let mut held = 0;
    while got < total {
        let batch = tokio::time::timeout(PATIENCE, batches.recv())
            .await
            .unwrap()
            .unwrap();
        got += batch.len() as u64;
        held += batch
            .iter()
            .map(|(_, _, payload)| payload.len())
            .sum::<usize>();
        // The bound is 8 MiB and what one read holds.
        assert!(held <= 10 * 1024 * 1024, "{held} bytes in flight");
        if held > 8 * 1024 * 1024 {
            let stats = broker.stats();
            assert!(
                stats.in_msgs <= got + 8,
                "read on: {} of {got}",
                stats.in_msgs
            );
            handler.origins.lock().unwrap()[0].done_inflight(held);
            held = 0;
        }
    }
    handler.origins.lock().unwrap()[0].done_inflight(held);
    publishing.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn publishers_reach_clients_handlers_and_queues() {
    let broker = broker().await;
    let mut peer = Peer::new(&broker).await;
    peer.send("SUB a 1\r\nSUB a q 2\r\n").await;
    peer.sync().await;
    let (handler, mut batches) = gatherer(false);
    let _attachment = broker.attach("a", handler).unwrap();
    let mut publisher = broker.publisher();
    let sent = publisher.send(b"a", Some(b"r"), b"", b"x");
    assert_eq!(sent.receivers, 3);
    assert!(sent.pending > 0);
    assert_eq!(publisher.send(b"b", None, b"", b"x").receivers, 0);
    publisher.flush();
    assert_eq!(batches.recv().await.unwrap().len(), 1);
    for _ in 0..2 {
        let Said::Msg { reply, .. } = peer.next().await else {
            panic!("no message")
        };
        assert_eq!(reply.as_deref(), Some("r"));
    }
    // What clients see may differ from where it is routed.
    publisher.deliver(b"a", b"shown", None, b"NATS/1.0\r\nA: 1\r\n\r\n", b"y");
    publisher.flush();
    let Said::Msg {
        subject, headers, ..
    } = peer.next().await
    else {
        panic!("no message")
    };
    assert_eq!(
        (subject.as_str(), headers.as_str()),
        ("shown", "NATS/1.0\r\nA: 1\r\n\r\n")
    );
    broker.wait_drained(b"a", 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn interest_is_seen_and_drains_are_waited_for() {
    let broker = broker().await;
    let mut changed = broker.interest_changed();
    let mut peer = Peer::new(&broker).await;
    assert!(!broker.has_interest(b"deliver.x"));
    peer.send("SUB deliver.* 1\r\nUNSUB 1 1\r\n").await;
    tokio::time::timeout(
        PATIENCE,
        changed.wait_for(|_| broker.has_interest(b"deliver.x")),
    )
    .await
    .unwrap()
    .unwrap();
    peer.sync().await;
    let mut publisher = broker.publisher();
    changed.mark_unchanged();
    assert_eq!(publisher.send(b"deliver.x", None, b"", b"1").receivers, 1);
    assert_eq!(
        publisher.send(b"deliver.x", None, b"", b"2").receivers,
        0,
        "its one message was the first"
    );
    publisher.flush();
    assert!(
        changed.has_changed().unwrap(),
        "the end of a bounded subscription is a change"
    );
    assert!(!broker.has_interest(b"deliver.x"));
    peer.expect(msg("deliver.x", "1", "1")).await;

    // A reader that is late, and one that goes.
    peer.send("SUB bulk 2\r\n").await;
    peer.sync().await;
    let mut sent = publisher.send(b"bulk", None, b"", &[b'x'; 100_000]);
    while sent.pending < 4 * 1024 * 1024 {
        sent = publisher.send(b"bulk", None, b"", &[b'x'; 100_000]);
        publisher.flush();
    }
    let waiting = tokio::spawn({
        let broker = broker.clone();
        async move { broker.wait_drained(b"bulk", 1024 * 1024).await }
    });
    peer.expect(msg("bulk", "2", &"x".repeat(100_000))).await;
    drop(peer);
    tokio::time::timeout(PATIENCE, waiting)
        .await
        .unwrap()
        .unwrap();
}

/// A handler with a defect.
struct Broken;

struct Breaking;

impl Handler for Broken {
    fn collector(&self, _: &Arc<Origin>) -> Box<dyn Collector> {
        Box::new(Breaking)
    }
}

impl Collector for Breaking {
    fn push(&mut self, _: &Published<'_>) {
        panic!("a defect of a handler, as this test wants it");
    }

    fn flush(&mut self) {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_ends_one_connection_and_leaves_nothing_behind() {
    let broker = broker().await;
    let _attachment = broker.attach("trap", Arc::new(Broken)).unwrap();
    let mut good = Peer::new(&broker).await;
    let mut bad = Peer::new(&broker).await;
    bad.send("SUB a 1\r\n").await;
    bad.sync().await;
    bad.send("PUB trap 0\r\n\r\n").await;
    bad.expect(Said::Closed).await;
    good.sync().await;
    let stats = broker.stats();
    assert_eq!((stats.connections, stats.subscriptions), (1, 0));
    assert!(!broker.has_interest(b"a"));
}
