//! Corners of JetStream that once went wrong: subjects that point back at the server, streams made anew, large pulls, memory.

use std::fs;

use async_nats::jetstream::{self, AckKind, consumer, stream};
use futures_util::{StreamExt as _, TryStreamExt as _};
use serde_json::Value;

use crate::harness::{Server, eventually, folder, text};
use crate::jetstream::{config, context};

async fn store(js: &jetstream::Context, subject: String, payload: Vec<u8>) -> u64 {
    let ack = js.publish(subject, payload.into()).await.expect("sent");
    ack.await.expect("stored").sequence
}

fn pull(name: &str) -> consumer::pull::Config {
    consumer::pull::Config {
        durable_name: Some(name.to_owned()),
        ..Default::default()
    }
}

#[tokio::test]
async fn a_reply_subject_that_is_an_acknowledgement_stops_nothing() {
    let folder = folder();
    let server = Server::start(folder.path());
    let js = context(&server).await;
    js.create_stream(config("orders")).await.expect("stream");
    let client = server.client().await;
    for reply in ["$JS.ACK.orders.x.1.1.1.1.1", "orders.again"] {
        client
            .publish_with_reply("orders.1", reply, "x".into())
            .await
            .expect("sent");
    }
    client.flush().await.expect("flushed");
    let stored = eventually("three messages", async || {
        let info = js.get_stream("orders").await.ok()?;
        (info.cached_info().state.messages == 3).then_some(3)
    })
    .await;
    assert_eq!(
        store(&js, "orders.2".to_owned(), b"y".to_vec()).await,
        stored + 1
    );
}

#[tokio::test]
async fn dead_letters_of_a_memory_station_are_on_disk() {
    let folder = folder();
    let server = Server::start(folder.path());
    fs::write(folder.path().join("n.json"), r#"{"type":"integer"}"#).expect("schema");
    let applied = server.apply(
        "m.yaml",
        "kind: schema\nname: n\nformat: json\nfile: n.json\n---\nkind: station\nname: m\nsubjects: [\"m.>\"]\n\
         storage: memory\nschema: { subject: n, on_violation: dead_letter }\n",
    );
    assert!(applied.status.success(), "{}", text(&applied));
    let client = server.client().await;
    let answer = client.request("m.a", "\"no number\"".into()).await;
    let answer: Value = serde_json::from_slice(&answer.expect("answered").payload).expect("JSON");
    assert_eq!(answer["dead_letter"]["seq"], 1, "{answer}");
    let letters = server.json(&["dead-letters", "list", "m"]);
    assert_eq!(letters["items"][0]["code"], "schema_violation", "{letters}");
    let server = Server::start(&server.kill());
    let letters = server.json(&["dead-letters", "list", "m"]);
    assert_eq!(letters["items"][0]["code"], "schema_violation", "{letters}");
}

#[tokio::test]
async fn a_stream_made_anew_takes_acknowledgements_of_old_connections() {
    let folder = folder();
    let server = Server::start(folder.path());
    let js = context(&server).await;
    for round in 0..2 {
        let stream = js.create_stream(config("again")).await.expect("stream");
        store(&js, "again.1".to_owned(), vec![round]).await;
        let mut consumer = stream.create_consumer(pull("c")).await.expect("consumer");
        let mut messages = consumer
            .fetch()
            .max_messages(1)
            .messages()
            .await
            .expect("asked");
        let message = messages.next().await.expect("one").expect("delivered");
        message.double_ack().await.expect("acknowledged");
        let info = consumer.info().await.expect("info");
        assert_eq!(
            (info.num_ack_pending, info.ack_floor.stream_sequence),
            (0, 1)
        );
        js.delete_stream("again").await.expect("deleted");
    }
}

#[tokio::test]
async fn every_kind_of_acknowledgement_is_confirmed() {
    let folder = folder();
    let server = Server::start(folder.path());
    let js = context(&server).await;
    let stream = js.create_stream(config("kinds")).await.expect("stream");
    store(&js, "kinds.1".to_owned(), b"x".to_vec()).await;
    let consumer = stream.create_consumer(pull("c")).await.expect("consumer");
    for kinds in [
        vec![AckKind::Progress, AckKind::Nak(None)],
        vec![AckKind::Ack],
    ] {
        let mut messages = consumer
            .fetch()
            .max_messages(1)
            .messages()
            .await
            .expect("asked");
        let message = messages.next().await.expect("one").expect("delivered");
        for kind in kinds {
            message.double_ack_with(kind).await.expect("confirmed");
        }
    }
}

#[tokio::test]
async fn a_large_pull_is_delivered_at_the_clients_pace() {
    let folder = folder();
    let server = Server::start(folder.path());
    let js = context(&server).await;
    let stream = js.create_stream(config("large")).await.expect("stream");
    let payload = vec![b'x'; 1_000_000];
    for _ in 0..80 {
        store(&js, "large.1".to_owned(), payload.clone()).await;
    }
    let consumer = stream.create_consumer(pull("c")).await.expect("consumer");
    let messages = consumer
        .fetch()
        .max_messages(80)
        .messages()
        .await
        .expect("asked");
    let sizes: Vec<usize> = messages
        .map_ok(|message| message.payload.len())
        .try_collect()
        .await
        .expect("delivered");
    assert_eq!(sizes, vec![payload.len(); 80]);
}

#[tokio::test]
async fn a_stream_without_acknowledgements_leaves_requests_alone() {
    let folder = folder();
    let server = Server::start(folder.path());
    let js = context(&server).await;
    let quiet = stream::Config {
        no_ack: true,
        ..config("quiet")
    };
    let mut stream = js.create_stream(quiet).await.expect("stream");
    let client = server.client().await;
    let mut served = client.subscribe("quiet.service").await.expect("subscribed");
    client.flush().await.expect("flushed");
    let responder = client.clone();
    let answering = tokio::spawn(async move {
        let request = served.next().await.expect("a request");
        let reply = request.reply.expect("a reply subject");
        responder
            .publish(reply, "answer".into())
            .await
            .expect("sent");
        responder.flush().await.expect("flushed");
    });
    let asker = server.client().await;
    let answer = asker
        .request("quiet.service", "?".into())
        .await
        .expect("answered");
    assert_eq!(&answer.payload[..], b"answer");
    answering.await.expect("it answered");
    let mut kept = 0;
    while kept == 0 {
        kept = stream.info().await.expect("info").state.messages;
    }
    assert_eq!(kept, 1);
}

#[tokio::test]
async fn new_subjects_come_without_storing_anything_twice() {
    let folder = folder();
    let server = Server::start(folder.path());
    let js = context(&server).await;
    let mut stream = js.create_stream(config("wide")).await.expect("stream");
    let publisher = js.clone();
    let publishing = tokio::spawn(async move {
        for number in 0..500_u64 {
            store(&publisher, format!("wide.{number}"), b"x".to_vec()).await;
        }
    });
    let mut wide = config("wide");
    for more in 0..50 {
        wide.subjects.push(format!("more{more}.>"));
        js.update_stream(&wide).await.expect("updated");
    }
    publishing.await.expect("published");
    assert_eq!(stream.info().await.expect("info").state.messages, 500);
    assert_eq!(store(&js, "more49.1".to_owned(), b"x".to_vec()).await, 501);
}

#[tokio::test]
async fn memory_that_is_used_again_holds_the_new_message() {
    let folder = folder();
    let server = Server::start(folder.path());
    let js = context(&server).await;
    let memory = stream::Config {
        storage: stream::StorageType::Memory,
        retention: stream::RetentionPolicy::Interest,
        ..config("ram")
    };
    let stream = js.create_stream(memory).await.expect("stream");
    let filtered = consumer::pull::Config {
        filter_subject: "ram.a".to_owned(),
        ..pull("c")
    };
    let consumer = stream.create_consumer(filtered).await.expect("consumer");
    for payload in ["first", "other"] {
        store(&js, "ram.a".to_owned(), payload.into()).await;
        let mut messages = consumer
            .fetch()
            .max_messages(1)
            .messages()
            .await
            .expect("asked");
        let message = messages.next().await.expect("one").expect("delivered");
        assert_eq!(&message.payload[..], payload.as_bytes());
        message.double_ack().await.expect("acknowledged");
        for _ in 0..70 {
            store(&js, "ram.b".to_owned(), b"x".to_vec()).await;
        }
    }
}
