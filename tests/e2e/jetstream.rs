//! JetStream with the official Rust client: streams, acknowledgements, consumers, key-value, objects.

use std::time::Duration;

use async_nats::jetstream::{self, AckKind, consumer, kv, stream};
use futures_util::{StreamExt as _, TryStreamExt as _};

use crate::harness::{Server, eventually, folder};

pub async fn context(server: &Server) -> jetstream::Context {
    jetstream::new(server.client().await)
}

pub fn config(name: &str) -> stream::Config {
    stream::Config {
        name: name.to_owned(),
        subjects: vec![format!("{name}.>")],
        ..Default::default()
    }
}

#[tokio::test]
async fn publishes_are_acknowledged_in_order_and_once() {
    let folder = folder();
    let server = Server::start(folder.path());
    let js = context(&server).await;
    let mut stream = js.create_stream(config("orders")).await.expect("stream");
    for number in 1..=3_u64 {
        let ack = js
            .publish(format!("orders.{number}"), "x".into())
            .await
            .expect("sent")
            .await
            .expect("stored");
        assert_eq!(
            (ack.stream.as_str(), ack.sequence, ack.duplicate),
            ("orders", number, false)
        );
    }
    let twice = || {
        jetstream::message::PublishMessage::build()
            .message_id("once")
            .payload("y".into())
    };
    let first = js
        .send_publish("orders.id", twice())
        .await
        .expect("sent")
        .await
        .expect("stored");
    let second = js
        .send_publish("orders.id", twice())
        .await
        .expect("sent")
        .await
        .expect("acknowledged");
    assert_eq!((first.sequence, first.duplicate), (4, false));
    assert_eq!((second.sequence, second.duplicate), (4, true));

    let expecting = jetstream::message::PublishMessage::build()
        .expected_last_sequence(2)
        .payload("z".into());
    let refused = js
        .send_publish("orders.x", expecting)
        .await
        .expect("sent")
        .await
        .expect_err("refused");
    assert!(
        refused.to_string().contains("wrong last sequence"),
        "{refused}"
    );

    let info = stream.info().await.expect("info");
    assert_eq!((info.state.messages, info.state.last_sequence), (4, 4));
    let message = stream.get_raw_message(2).await.expect("message");
    assert_eq!(message.subject.as_str(), "orders.2");
    let last = stream
        .get_last_raw_message_by_subject("orders.3")
        .await
        .expect("message");
    assert_eq!(last.sequence, 3);
    stream.delete_message(2).await.expect("deleted");
    assert!(stream.get_raw_message(2).await.is_err());
    assert_eq!(
        stream
            .purge()
            .filter("orders.1")
            .await
            .expect("purged")
            .purged,
        1
    );
    let names: Vec<String> = js.stream_names().try_collect().await.expect("names");
    assert_eq!(names, ["orders"]);
    js.delete_stream("orders").await.expect("deleted");
    assert!(js.get_stream("orders").await.is_err());
}

#[tokio::test]
async fn limits_give_way_or_refuse() {
    let folder = folder();
    let server = Server::start(folder.path());
    let js = context(&server).await;
    let old = stream::Config {
        max_messages: 2,
        ..config("old")
    };
    let mut old = js.create_stream(old).await.expect("stream");
    let new = stream::Config {
        max_messages: 2,
        discard: stream::DiscardPolicy::New,
        ..config("new")
    };
    js.create_stream(new).await.expect("stream");
    for _ in 0..3 {
        js.publish("old.a", "x".into())
            .await
            .expect("sent")
            .await
            .expect("stored");
    }
    let state = &old.info().await.expect("info").state;
    assert_eq!((state.messages, state.first_sequence), (2, 2));
    for _ in 0..2 {
        js.publish("new.a", "x".into())
            .await
            .expect("sent")
            .await
            .expect("stored");
    }
    let refused = js
        .publish("new.a", "x".into())
        .await
        .expect("sent")
        .await
        .expect_err("full");
    assert!(
        refused.to_string().contains("maximum messages exceeded"),
        "{refused}"
    );

    let aged = stream::Config {
        max_age: Duration::from_millis(200),
        ..config("aged")
    };
    let aged = js.create_stream(aged).await.expect("stream");
    js.publish("aged.a", "x".into())
        .await
        .expect("sent")
        .await
        .expect("stored");
    let aged = tokio::sync::Mutex::new(aged);
    eventually("aged message to go", || async {
        (aged.lock().await.info().await.ok()?.state.messages == 0).then_some(())
    })
    .await;
    let overlap = stream::Config {
        subjects: vec!["old.a".to_owned()],
        ..config("overlap")
    };
    let refused = js.create_stream(overlap).await.expect_err("overlapping");
    assert!(refused.to_string().contains("overlap"), "{refused}");
}

#[tokio::test]
async fn a_pull_consumer_sees_all_and_redelivers_what_is_not_acknowledged() {
    let folder = folder();
    let server = Server::start(folder.path());
    let js = context(&server).await;
    let stream = js.create_stream(config("jobs")).await.expect("stream");
    for number in 0..500 {
        js.publish("jobs.a", number.to_string().into())
            .await
            .expect("sent")
            .await
            .expect("stored");
    }
    let durable = consumer::pull::Config {
        durable_name: Some("worker".to_owned()),
        ack_wait: Duration::from_millis(500),
        ..Default::default()
    };
    let mut consumer = stream.create_consumer(durable).await.expect("consumer");
    let mut batch = consumer
        .fetch()
        .max_messages(10)
        .messages()
        .await
        .expect("fetch");
    let mut left = Vec::new();
    while let Some(message) = batch.next().await {
        left.push(
            message
                .expect("message")
                .info()
                .expect("info")
                .stream_sequence,
        );
    }
    assert_eq!(left, (1..=10).collect::<Vec<u64>>());
    let mut messages = consumer.messages().await.expect("messages");
    let mut seen = std::collections::BTreeMap::new();
    while seen.len() < 500 {
        let message = messages.next().await.expect("more").expect("message");
        let info = message.info().expect("info");
        *seen.entry(info.stream_sequence).or_insert(0) += 1;
        if info.stream_sequence <= 10 {
            assert!(info.delivered >= 2, "delivered again: {info:?}");
        }
        message.double_ack().await.expect("acknowledged");
    }
    let info = consumer.info().await.expect("info");
    assert_eq!((info.num_pending, info.num_ack_pending), (0, 0));
    assert_eq!(info.ack_floor.stream_sequence, 500);
}

#[tokio::test]
async fn nak_term_progress_and_max_deliver() {
    let folder = folder();
    let server = Server::start(folder.path());
    let js = context(&server).await;
    let stream = js.create_stream(config("tasks")).await.expect("stream");
    for payload in ["nak", "term", "give-up"] {
        js.publish("tasks.a", payload.into())
            .await
            .expect("sent")
            .await
            .expect("stored");
    }
    let config = consumer::pull::Config {
        durable_name: Some("w".to_owned()),
        max_deliver: 2,
        ack_wait: Duration::from_secs(30),
        ..Default::default()
    };
    let mut consumer = stream.create_consumer(config).await.expect("consumer");
    let mut messages = consumer.messages().await.expect("messages");
    let mut deliveries = std::collections::BTreeMap::<String, i64>::new();
    for _ in 0..5 {
        let message = messages.next().await.expect("more").expect("message");
        let payload = String::from_utf8_lossy(&message.payload).into_owned();
        let count = deliveries.entry(payload.clone()).or_default();
        *count += 1;
        assert_eq!(message.info().expect("info").delivered, *count);
        match (payload.as_str(), *count) {
            ("nak", 1) => message
                .ack_with(AckKind::Nak(Some(Duration::from_millis(50))))
                .await
                .expect("nak"),
            ("nak", _) => message.double_ack().await.expect("ack"),
            ("term", _) => {
                message.ack_with(AckKind::Progress).await.expect("progress");
                message.ack_with(AckKind::Term).await.expect("term");
            }
            (_, _) => message.ack_with(AckKind::Nak(None)).await.expect("nak"),
        }
    }
    let expected =
        [("give-up", 2), ("nak", 2), ("term", 1)].map(|(name, count)| (name.to_owned(), count));
    assert_eq!(deliveries.into_iter().collect::<Vec<_>>(), expected);
    let consumer = tokio::sync::Mutex::new(&mut consumer);
    eventually("nothing outstanding", || async {
        (consumer.lock().await.info().await.ok()?.num_ack_pending == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn push_and_ordered_consumers_replay_everything() {
    let folder = folder();
    let server = Server::start(folder.path());
    let js = context(&server).await;
    let stream = js.create_stream(config("log")).await.expect("stream");
    const COUNT: u64 = 2000;
    for number in 0..COUNT {
        // Acknowledgements are awaited in the end only: order must hold all the same.
        let ack = js
            .publish("log.a", number.to_string().into())
            .await
            .expect("sent");
        if number + 1 == COUNT {
            ack.await.expect("stored");
        }
    }
    let push = consumer::push::Config {
        deliver_subject: "deliver.here".to_owned(),
        ..Default::default()
    };
    let push = stream.create_consumer(push).await.expect("consumer");
    let mut messages = push.messages().await.expect("messages");
    for number in 0..COUNT {
        let message = messages.next().await.expect("more").expect("message");
        assert_eq!(message.payload, number.to_string());
        message.ack().await.expect("ack");
    }
    let ordered = consumer::push::OrderedConfig {
        deliver_subject: server.client().await.new_inbox(),
        ..Default::default()
    };
    let ordered = stream.create_consumer(ordered).await.expect("consumer");
    let mut messages = ordered.messages().await.expect("messages");
    for number in 0..COUNT {
        let message = messages.next().await.expect("more").expect("message");
        assert_eq!(message.payload, number.to_string());
    }
}

#[tokio::test]
async fn a_work_queue_forgets_what_is_done() {
    let folder = folder();
    let server = Server::start(folder.path());
    let js = context(&server).await;
    let queue = stream::Config {
        retention: stream::RetentionPolicy::WorkQueue,
        ..config("queue")
    };
    let stream = js.create_stream(queue).await.expect("stream");
    for _ in 0..5 {
        js.publish("queue.a", "x".into())
            .await
            .expect("sent")
            .await
            .expect("stored");
    }
    let durable = consumer::pull::Config {
        durable_name: Some("w".to_owned()),
        ..Default::default()
    };
    let consumer = stream.create_consumer(durable).await.expect("consumer");
    let mut messages = consumer
        .fetch()
        .max_messages(5)
        .messages()
        .await
        .expect("fetch");
    while let Some(message) = messages.next().await {
        message.expect("message").double_ack().await.expect("ack");
    }
    let mut stream = js.get_stream("queue").await.expect("stream");
    assert_eq!(stream.info().await.expect("info").state.messages, 0);
}

#[tokio::test]
async fn key_value_and_objects() {
    let folder = folder();
    let server = Server::start(folder.path());
    let js = context(&server).await;
    let bucket = kv::Config {
        bucket: "settings".to_owned(),
        history: 5,
        ..Default::default()
    };
    let store = js.create_key_value(bucket).await.expect("bucket");
    let mut watch = store.watch(">").await.expect("watch");
    let first = store.put("color", "red".into()).await.expect("put");
    let second = store
        .update("color", "blue".into(), first)
        .await
        .expect("update");
    assert!(
        store.update("color", "green".into(), first).await.is_err(),
        "compare and set"
    );
    assert_eq!(
        store.get("color").await.expect("get").expect("there"),
        "blue"
    );
    let history: Vec<_> = store
        .history("color")
        .await
        .expect("history")
        .try_collect()
        .await
        .expect("entries");
    assert_eq!(
        history
            .iter()
            .map(|entry| entry.revision)
            .collect::<Vec<_>>(),
        [first, second]
    );
    store.delete("color").await.expect("delete");
    assert!(store.get("color").await.expect("get").is_none());
    store.put("size", "1".into()).await.expect("put");
    store.purge("color").await.expect("purge");
    let keys: Vec<String> = store
        .keys()
        .await
        .expect("keys")
        .try_collect()
        .await
        .expect("keys");
    assert_eq!(keys, ["size"]);
    let watched = watch.next().await.expect("watched").expect("entry");
    assert_eq!((watched.key.as_str(), watched.revision), ("color", first));

    let objects = js
        .create_object_store(async_nats::jetstream::object_store::Config {
            bucket: "files".to_owned(),
            ..Default::default()
        })
        .await
        .expect("object store");
    let body: Vec<u8> = (0..700_000_u32)
        .flat_map(|number| number.to_le_bytes())
        .collect();
    objects.put("big", &mut body.as_slice()).await.expect("put");
    let mut object = objects.get("big").await.expect("get");
    let mut back = Vec::new();
    tokio::io::AsyncReadExt::read_to_end(&mut object, &mut back)
        .await
        .expect("read");
    assert_eq!(back.len(), body.len());
    assert!(back == body);
    objects.delete("big").await.expect("delete");
    assert!(objects.get("big").await.is_err());
}

#[tokio::test]
async fn everything_is_there_after_a_restart() {
    let folder = folder();
    let server = Server::start(folder.path());
    {
        let js = context(&server).await;
        let stream = js.create_stream(config("kept")).await.expect("stream");
        for number in 1..=20_u64 {
            js.publish("kept.a", number.to_string().into())
                .await
                .expect("sent")
                .await
                .expect("stored");
        }
        let durable = consumer::pull::Config {
            durable_name: Some("d".to_owned()),
            ..Default::default()
        };
        let consumer = stream.create_consumer(durable).await.expect("consumer");
        let mut messages = consumer
            .fetch()
            .max_messages(5)
            .messages()
            .await
            .expect("fetch");
        while let Some(message) = messages.next().await {
            message.expect("message").double_ack().await.expect("ack");
        }
    }
    // Once after a clean stop, once after kill -9.
    assert!(server.terminate().success());
    let server = Server::start(folder.path());
    let folder_path = server.kill();
    let server = Server::start(&folder_path);
    let js = context(&server).await;
    let mut stream = js.get_stream("kept").await.expect("stream");
    assert_eq!(stream.info().await.expect("info").state.messages, 20);
    let consumer: consumer::PullConsumer = stream.get_consumer("d").await.expect("consumer");
    let mut messages = consumer
        .fetch()
        .max_messages(100)
        .messages()
        .await
        .expect("fetch");
    let mut next = 6_u64;
    while let Some(message) = messages.next().await {
        let message = message.expect("message");
        assert_eq!(message.payload, next.to_string());
        next += 1;
    }
    assert_eq!(next, 21);
    let ack = js
        .publish("kept.a", "21".into())
        .await
        .expect("sent")
        .await
        .expect("stored");
    assert_eq!(ack.sequence, 21);
}
