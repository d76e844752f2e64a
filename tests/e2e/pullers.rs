//! A client that asks for much and reads nothing is in nobody's way.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use async_nats::jetstream::consumer;
use futures_util::StreamExt as _;
use serde_json::Value;

use crate::harness::{PATIENCE, Server, eventually, folder};
use crate::jetstream::{config, context};

/// Together far more than sockets and the server take for a client that does not read.
const MESSAGES: usize = 20_000;
const BYTES: usize = 2048;
/// Published at once.
const WINDOW: usize = 1000;
/// What may wait for a client before its requests are held back; the server's default.
const HELD_FROM: u64 = 8 << 20;
const FEW: usize = 100;

#[tokio::test]
async fn a_slow_puller_holds_only_itself_back() {
    let folder = folder();
    // The slow one must not be cut off while the test looks on.
    let settings = folder.path().join("n.conf");
    fs::write(&settings, "write_deadline: \"10m\"\n").expect("configuration");
    let file = settings.to_str().expect("a path in UTF-8");
    let server = Server::start_with(folder.path(), &["-c", file]);
    let js = context(&server).await;
    let stream = js.create_stream(config("orders")).await.expect("stream");
    for _ in 0..MESSAGES / WINDOW {
        let mut acks = Vec::new();
        for _ in 0..WINDOW {
            let sent = js.publish("orders.1", vec![b'x'; BYTES].into()).await;
            acks.push(sent.expect("sent"));
        }
        for ack in acks {
            ack.await.expect("stored");
        }
    }
    let work: consumer::PullConsumer = stream
        .create_consumer(consumer::pull::Config {
            durable_name: Some("work".to_owned()),
            ack_policy: consumer::AckPolicy::None,
            ..Default::default()
        })
        .await
        .expect("consumer");

    let mut slow =
        TcpStream::connect(server.nats.trim_start_matches("nats://")).expect("connected");
    slow.set_read_timeout(Some(PATIENCE)).expect("a socket");
    let body = format!("{{\"batch\":{MESSAGES}}}");
    let request = format!(
        "CONNECT {{\"verbose\":false}}\r\nSUB slow 1\r\nPUB $JS.API.CONSUMER.MSG.NEXT.orders.work slow {}\r\n{body}\r\n",
        body.len()
    );
    slow.write_all(request.as_bytes()).expect("sent");
    eventually("a client that is behind", async || {
        let (_, page) = server.get("/connz").await;
        let page: Value = serde_json::from_str(&page).ok()?;
        let behind = |conn: &Value| conn["pending_bytes"].as_u64() > Some(HELD_FROM);
        page["connections"]
            .as_array()?
            .iter()
            .any(behind)
            .then_some(())
    })
    .await;

    let mut batch = work
        .fetch()
        .max_messages(FEW)
        .messages()
        .await
        .expect("asked");
    let mut got = 0;
    while let Some(message) = batch.next().await {
        message.expect("a message");
        got += 1;
    }
    assert_eq!(got, FEW);

    // It was not cut off for it either, and gets the rest as soon as it reads.
    let (mut seen, mut tail) = (0, Vec::new());
    let mark = b"$JS.ACK.orders.work.";
    let mut space = vec![0; 1 << 16];
    while seen < MESSAGES - FEW {
        let count = slow.read(&mut space).expect("the server goes on");
        assert!(count > 0, "cut off after {seen}:\n{}", server.log());
        tail.extend_from_slice(&space[..count]);
        seen += memchr::memmem::find_iter(&tail, mark).count();
        // A mark that is split over two reads is counted with the second.
        let whole = memchr::memmem::rfind(&tail, mark).map_or(0, |at| at + mark.len());
        tail.drain(..whole.max(tail.len().saturating_sub(mark.len() - 1)));
    }
    assert_eq!(seen, MESSAGES - FEW);
}
