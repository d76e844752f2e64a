//! What comes due: messages with a time to live, the markers of key-value buckets, schedules; over restarts too.

use std::time::Duration;

use async_nats::jetstream::consumer::pull;
use async_nats::jetstream::kv::{self, Operation};
use async_nats::jetstream::{self, stream};
use async_nats::{Client, HeaderMap};
use futures_util::StreamExt;
use millstream_types::Timestamp;
use serde_json::{Value, json};

use crate::harness::{Server, eventually, folder, text};

async fn request(client: &Client, subject: &str, headers: &[(&str, &str)]) -> Value {
    let mut map = HeaderMap::new();
    headers
        .iter()
        .for_each(|(name, value)| map.insert(*name, *value));
    let answer = client.request_with_headers(subject.to_owned(), map, "body".into());
    serde_json::from_slice(&answer.await.expect("answered").payload).expect("JSON")
}

async fn held(client: &Client, stream: &str) -> u64 {
    let subject = format!("$JS.API.STREAM.INFO.{stream}");
    let answer = client.request(subject, "".into()).await.expect("answered");
    let info: Value = serde_json::from_slice(&answer.payload).expect("JSON");
    info["state"]["messages"].as_u64().unwrap_or(u64::MAX)
}

#[tokio::test]
async fn a_message_goes_at_the_end_of_its_time_over_a_kill_too() {
    let folder = folder();
    let server = Server::start(folder.path());
    let client = server.client().await;
    let config = stream::Config {
        name: "T".to_owned(),
        subjects: vec!["t.>".to_owned()],
        allow_message_ttl: true,
        max_age: Duration::from_secs(2),
        ..stream::Config::default()
    };
    let context = jetstream::new(client.clone());
    context.create_stream(config).await.expect("created");
    let refused = request(&client, "t.x", &[("Nats-TTL", "100ms")]).await;
    assert_eq!(refused["error"]["err_code"], 10165, "{refused}");
    for ttl in ["never", "1s", "1h"] {
        let stored = request(&client, "t.x", &[("Nats-TTL", ttl)]).await;
        assert!(stored["error"].is_null(), "{stored}");
    }
    // The one with a second goes, then the one that `max_age` ends sooner than its hour.
    eventually("two messages are left", async || {
        (held(&client, "T").await == 2).then_some(())
    })
    .await;
    server.kill();
    let server = Server::start(folder.path());
    let client = server.client().await;
    eventually("one message is left", async || {
        (held(&client, "T").await == 1).then_some(())
    })
    .await;
    let kept = jetstream::new(client.clone())
        .get_stream("T")
        .await
        .expect("there");
    let first = kept.get_raw_message(1).await.expect("it stays for ever");
    assert_eq!(first.subject.as_str(), "t.x");
}

#[tokio::test]
async fn a_bucket_tells_its_watchers_that_a_key_expired() {
    let folder = folder();
    let server = Server::start(folder.path());
    let context = jetstream::new(server.client().await);
    let config = kv::Config {
        bucket: "B".to_owned(),
        history: 3,
        limit_markers: Some(Duration::from_secs(1)),
        ..kv::Config::default()
    };
    let bucket = context.create_key_value(config).await.expect("created");
    let mut watch = bucket.watch_all().await.expect("watched");
    bucket
        .create_with_ttl("short", "value".into(), Duration::from_secs(1))
        .await
        .expect("stored");
    bucket.put("long", "value".into()).await.expect("stored");
    let mut seen = Vec::new();
    while seen.len() < 3 {
        let entry = watch.next().await.expect("goes on").expect("an entry");
        seen.push((entry.key, entry.operation));
    }
    assert_eq!(
        seen,
        [
            ("short".to_owned(), Operation::Put),
            ("long".to_owned(), Operation::Put),
            ("short".to_owned(), Operation::Purge),
        ]
    );
    assert!(bucket.get("short").await.expect("asked").is_none());
    // The marker goes too, and the key can be created again.
    eventually("the marker is gone", async || {
        (held(&server.client().await, "KV_B").await == 1).then_some(())
    })
    .await;
    bucket
        .create("short", "again".into())
        .await
        .expect("free again");
    bucket
        .purge_with_ttl("long", Duration::from_secs(1))
        .await
        .expect("purged");
    eventually("what says that it was purged is gone", async || {
        let entry = bucket.entry("long").await.expect("asked");
        entry.is_none().then_some(())
    })
    .await;
}

#[tokio::test]
async fn schedules_make_messages_over_a_restart_too() {
    let folder = folder();
    let server = Server::start(folder.path());
    let station = "kind: station\nname: orders\nsubjects: [\"orders.>\"]\nschedules: true\n\
                   retention: { message_ttl: true }\n";
    let output = server.apply("station.yaml", station);
    assert!(output.status.success(), "{}", text(&output));
    let client = server.client().await;
    let target = ("Nats-Schedule-Target", "orders.due");
    let at = |seconds| {
        let time = Timestamp::now().plus(Duration::from_secs(seconds));
        format!("@at {}", time.to_rfc3339())
    };
    let soon = at(1);
    let first = [
        ("Nats-Schedule", soon.as_str()),
        target,
        ("Nats-Schedule-TTL", "1h"),
    ];
    let stored = request(&client, "orders.later.1", &first).await;
    assert_eq!(stored["seq"], 1, "{stored}");
    let every = [
        ("Nats-Schedule", "@every 1s"),
        ("Nats-Schedule-Target", "orders.tick"),
    ];
    request(&client, "orders.later.2", &every).await;
    let refused = request(&client, "orders.x", &[("Nats-Schedule", "@every 1s")]).await;
    assert_eq!(refused["error"]["err_code"], 10190, "{refused}");
    let forged = request(&client, "orders.x", &[("Nats-Scheduler", "orders.later.1")]).await;
    assert_eq!(forged["error"]["err_code"], 10212, "{forged}");

    let made = next(&client, "orders.due").await;
    let header = |message: &async_nats::Message, name: &str| {
        let headers = message.headers.as_ref().expect("it has headers");
        headers.get(name).map(|value| value.as_str().to_owned())
    };
    assert_eq!(&made.payload[..], b"body");
    assert_eq!(
        header(&made, "Nats-Scheduler").as_deref(),
        Some("orders.later.1")
    );
    assert_eq!(
        header(&made, "Nats-Schedule-Next").as_deref(),
        Some("purge")
    );
    assert_eq!(header(&made, "Nats-TTL").as_deref(), Some("1h"));
    assert_eq!(header(&made, "Nats-Schedule"), None);
    let stream = jetstream::new(client.clone())
        .get_stream("orders")
        .await
        .expect("there");
    assert!(
        stream.get_raw_message(1).await.is_err(),
        "it went with its message"
    );
    let later = at(2);
    let second = [
        ("Nats-Schedule", later.as_str()),
        ("Nats-Schedule-Target", "orders.after"),
    ];
    request(&client, "orders.later.3", &second).await;
    next(&client, "orders.tick").await;

    server.kill();
    let server = Server::start(folder.path());
    let client = server.client().await;
    let made = next(&client, "orders.after").await;
    assert_eq!(
        header(&made, "Nats-Scheduler").as_deref(),
        Some("orders.later.3")
    );
    let ticks = held_on(&client, "orders.tick").await;
    eventually("it goes on ticking", async || {
        (held_on(&client, "orders.tick").await > ticks).then_some(())
    })
    .await;
}

/// The first message of a subject, as soon as there is one.
async fn next(client: &Client, subject: &str) -> async_nats::Message {
    let stream = jetstream::new(client.clone())
        .get_stream("orders")
        .await
        .expect("there");
    let consumer = stream
        .create_consumer(pull::OrderedConfig {
            filter_subject: subject.to_owned(),
            ..pull::OrderedConfig::default()
        })
        .await
        .expect("created");
    let mut messages = consumer.messages().await.expect("delivered");
    let message = messages.next().await.expect("goes on").expect("a message");
    message.message
}

async fn held_on(client: &Client, subject: &str) -> u64 {
    let request = json!({ "subjects_filter": subject }).to_string();
    let answer = client.request("$JS.API.STREAM.INFO.orders", request.into());
    let info: Value =
        serde_json::from_slice(&answer.await.expect("answered").payload).expect("JSON");
    info["state"]["subjects"][subject].as_u64().unwrap_or(0)
}
