//! What clients see of streams over a log in memory. Damage costs a consumer the messages that were hit and nothing else.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use millstream_broker::{Attachment, Collector, Handler, Origin, Published};
use millstream_cluster::{Command, Node};
use millstream_consensus::StateMachine as _;
use millstream_journal::MemoryStorage;
use millstream_streams::{
    AckPolicy, Command as StreamCommand, ConsumerAction, ConsumerConfig, StreamConfig,
};
use millstream_types::{Message, Timestamp};
use tokio::sync::Notify;

use crate::read::FrameCursor;
use crate::testing::start;
use crate::{IngestRecord, JetStream};

/// What was delivered: its payload, or the status line.
#[derive(Clone, Debug, Default)]
struct Inbox(Arc<(Mutex<Vec<String>>, Notify)>);

impl Handler for Inbox {
    fn collector(&self, _: &Arc<Origin>) -> Box<dyn Collector> {
        Box::new(self.clone())
    }
}

impl Collector for Inbox {
    fn push(&mut self, message: &Published<'_>) {
        let text = match message.payload {
            b"" => message.headers,
            payload => payload,
        };
        let text = String::from_utf8_lossy(text).into_owned();
        self.0.0.lock().expect("unpoisoned").push(text);
        self.0.1.notify_one();
    }

    fn flush(&mut self) {}
}

impl Inbox {
    /// The first `count` deliveries.
    async fn first(&self, count: usize) -> Vec<String> {
        let wait = async {
            loop {
                let got = self.0.0.lock().expect("unpoisoned").clone();
                if got.len() >= count {
                    return got;
                }
                self.0.1.notified().await;
            }
        };
        let got = tokio::time::timeout(Duration::from_secs(20), wait).await;
        got.unwrap_or_else(|_| panic!("only {:?}", self.0.0.lock()))
    }
}

fn record(payload: &str) -> IngestRecord {
    IngestRecord::from(Message {
        subject: Bytes::from_static(b"S"),
        payload: Bytes::copy_from_slice(payload.as_bytes()),
        ..Message::default()
    })
}

/// A stream that is read from disk only.
async fn world() -> (JetStream, Arc<Node>, MemoryStorage) {
    let storage = MemoryStorage::new();
    let (jetstream, node, _) = start(millstream_consensus::Options {
        journal: millstream_journal::Options {
            tail_cache_bytes: 0,
            ..Default::default()
        },
        storage: Arc::new(storage.clone()),
        look_after: Duration::from_millis(1),
    })
    .await;
    let config = StreamConfig {
        name: "S".to_owned(),
        ..StreamConfig::default()
    };
    let create = Command::Stream(StreamCommand::CreateStream {
        id: 1,
        time: Timestamp(1),
        config: Box::new(config.checked().expect("right")),
    });
    jetstream.propose(&create).await.expect("created");
    (jetstream, node, storage)
}

/// Five messages, each in a frame of its own, of which the first two are damaged.
async fn damaged() -> JetStream {
    let (jetstream, node, storage) = world().await;
    for number in 1..=5 {
        let records = vec![record(&number.to_string())];
        let stored = jetstream.ingest().commit(records, None).await;
        stored.expect("stored");
    }
    for seq in 1..=2 {
        let place = node.streams()[0].lock().locate(seq).expect("held").position;
        let byte = usize::try_from(place.offset).expect("small");
        storage.flip(&format!("{:08}.log", place.file), byte, 3);
    }
    jetstream
}

/// Makes a consumer with two messages out at most; answers where its requests are answered.
async fn consumer(jetstream: &JetStream, policy: AckPolicy) -> (Inbox, Attachment) {
    let shared = &jetstream.shared;
    let inbox = Inbox::default();
    let attached = shared.broker.attach("inbox", Arc::new(inbox.clone()));
    let config = ConsumerConfig {
        durable_name: Some("C".to_owned()),
        ack_policy: policy,
        max_ack_pending: if policy == AckPolicy::None { 0 } else { 2 },
        ..ConsumerConfig::default()
    };
    let cell = shared.node.stream("S").expect("there");
    let made = crate::api::put_consumer(shared, &cell, config, ConsumerAction::Create).await;
    made.expect("made");
    (inbox, attached.expect("attached"))
}

/// Asks as a client does.
fn ask(jetstream: &JetStream, subject: &str, request: &str) {
    let mut publisher = jetstream.shared.broker.publisher();
    let subject = format!("$JS.API.{subject}");
    publisher.send(subject.as_bytes(), Some(b"inbox"), &[], request.as_bytes());
    publisher.flush();
}

fn pull(jetstream: &JetStream, request: &str) {
    ask(jetstream, "CONSUMER.MSG.NEXT.S.C", request);
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_messages_do_not_keep_those_behind_them() {
    for policy in [AckPolicy::Explicit, AckPolicy::All, AckPolicy::None] {
        let jetstream = damaged().await;
        let (inbox, _attached) = consumer(&jetstream, policy).await;
        pull(&jetstream, r#"{"batch":10}"#);
        assert_eq!(inbox.first(2).await[..2], ["3", "4"], "{policy:?}");
    }
}

/// A request that a damaged message was all of ends as one that expired: its client asks again.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_for_a_damaged_message_is_answered() {
    let jetstream = damaged().await;
    let (inbox, _attached) = consumer(&jetstream, AckPolicy::Explicit).await;
    for asked in 1..=3 {
        pull(&jetstream, "1");
        inbox.first(asked).await;
    }
    let got = inbox.first(3).await;
    let over = "NATS/1.0 408 Request Timeout\r\nNats-Pending-Messages: 1\r\n";
    assert!(
        got[0].starts_with(over) && got[1].starts_with(over),
        "{got:?}"
    );
    assert_eq!(got[2], "3");
}

/// What is beside a message moves before that is erased. Who looked it up before that finds it all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_is_late_finds_what_moved() {
    let (jetstream, node, _) = world().await;
    let records = ["stays", "goes"].map(record).to_vec();
    let stored = jetstream.ingest().commit(records, None).await;
    stored.expect("stored");
    let cell = node.stream("S").expect("there");
    let before = cell.lock().locate(1).expect("held");
    let delete = Command::Stream(StreamCommand::DeleteMessage {
        stream: 1,
        seq: 2,
        erase: true,
    });
    jetstream.propose(&delete).await.expect("deleted");
    let since = Instant::now();
    while !node.erasing().is_empty() {
        assert!(since.elapsed() < Duration::from_secs(20), "never erased");
        tokio::task::yield_now().await;
    }
    assert_ne!(cell.lock().locate(1).expect("held"), before);
    let found = FrameCursor::default().record(&jetstream.shared, &cell, 1, before);
    let found = found.expect("readable").expect("there");
    assert_eq!(found.view().payload, b"stays");
}

/// Whoever publishes does not wait until what was published before is applied, which may take a while.
#[tokio::test(flavor = "multi_thread")]
async fn publishing_does_not_wait_for_the_stream() {
    let (jetstream, node, _) = world().await;
    let (inbox, _attached) = consumer(&jetstream, AckPolicy::None).await;
    let cell = node.stream("S").expect("there");
    let (tell, published) = std::sync::mpsc::channel();
    let mut publisher = jetstream.shared.broker.publisher();
    let applying = cell.lock();
    let publish = std::thread::spawn(move || {
        publisher.send(b"S", None, &[], b"one");
        publisher.flush();
        tell.send(()).expect("somebody waits");
    });
    let published = published.recv_timeout(Duration::from_secs(20));
    drop(applying);
    publish.join().expect("no panic");
    published.expect("it waited for the stream");
    pull(&jetstream, "1");
    assert_eq!(inbox.first(1).await, ["one"]);
}

/// What is sent at once is stored in several batches, and each message has its own answer.
#[tokio::test(flavor = "multi_thread")]
async fn batches_are_cut_between_messages() {
    const COUNT: usize = 3_000;
    let (jetstream, node, _) = world().await;
    let inbox = Inbox::default();
    let attached = jetstream
        .shared
        .broker
        .attach("inbox.>", Arc::new(inbox.clone()));
    let _attached = attached.expect("attached");
    let mut publisher = jetstream.shared.broker.publisher();
    for number in 1..=COUNT {
        // Every third one wants no answer, and some are large.
        let reply = (number % 3 > 0).then_some(&b"inbox.a"[..]);
        let payload = vec![
            b'x';
            if number % 100 == 0 {
                70_000
            } else {
                number % 90
            }
        ];
        publisher.send(b"S", reply, &[], &payload);
    }
    publisher.flush();
    let answers = (1..=COUNT).filter(|number| number % 3 > 0);
    let answers: Vec<String> = answers
        .map(|seq| format!(r#"{{"stream":"S","seq":{seq}}}"#))
        .collect();
    assert_eq!(inbox.first(answers.len()).await, answers);
    let cell = node.stream("S").expect("there");
    let place = |seq: usize| cell.lock().locate(seq as u64).expect("held");
    let frames: std::collections::BTreeSet<_> =
        (1..=COUNT).map(|seq| place(seq).position).collect();
    assert!((40..200).contains(&frames.len()), "{} frames", frames.len());
    let one = FrameCursor::default().record(&jetstream.shared, &cell, 2_999, place(2_999));
    let one = one.expect("readable").expect("there");
    assert_eq!(one.view().payload, [b'x'; 2_999 % 90]);
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_found_by_time() {
    let (jetstream, ..) = world().await;
    let stored = jetstream.ingest().commit(vec![record("one")], None).await;
    stored.expect("stored");
    let (inbox, _attached) = consumer(&jetstream, AckPolicy::None).await;
    let requests = [
        r#"{"start_time":"1999-01-01T00:00:00Z","next_by_subj":"S"}"#,
        r#"{"start_time":"2099-01-01T00:00:00Z","next_by_subj":"S"}"#,
        r#"{"start_time":"1999-01-01T00:00:00Z"}"#,
        r#"{"start_time":"2099-01-01T00:00:00Z"}"#,
        r#"{"start_time":"yesterday"}"#,
    ];
    for request in requests {
        ask(&jetstream, "STREAM.MSG.GET.S", request);
    }
    let answers = inbox.first(requests.len()).await;
    let wanted = [r#""seq":1"#, "10037", r#""seq":1"#, "10037", "10025"];
    for (answer, wanted) in answers.iter().zip(wanted) {
        assert!(answer.contains(wanted), "{answers:?}");
    }
}
