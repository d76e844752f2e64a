//! Core NATS with the official client: publish, wildcards, queue groups, requests, headers, no responders.

use futures_util::StreamExt as _;

use crate::harness::{Server, folder};

#[tokio::test]
async fn wildcards_headers_and_requests() {
    let folder = folder();
    let server = Server::start(folder.path());
    let client = server.client().await;
    let mut all = client.subscribe("flights.>").await.expect("subscribe");
    let mut one = client.subscribe("flights.*.late").await.expect("subscribe");
    client.flush().await.expect("flush");

    let mut headers = async_nats::HeaderMap::new();
    headers.insert("Trace", "abc");
    client
        .publish_with_headers("flights.UA.late", headers, "1545".into())
        .await
        .expect("publish");
    for messages in [&mut all, &mut one] {
        let message = messages.next().await.expect("delivered");
        assert_eq!(message.subject.as_str(), "flights.UA.late");
        assert_eq!(message.payload, "1545");
        assert_eq!(
            message
                .headers
                .expect("headers")
                .get("Trace")
                .expect("kept")
                .as_str(),
            "abc"
        );
    }

    let mut echo = client.subscribe("echo").await.expect("subscribe");
    let server_side = client.clone();
    let answering = tokio::spawn(async move {
        let request = echo.next().await.expect("a request");
        server_side
            .publish(request.reply.expect("reply"), request.payload)
            .await
            .expect("answer");
    });
    let answer = client
        .request("echo", "hello".into())
        .await
        .expect("an answer");
    assert_eq!(answer.payload, "hello");
    answering.await.expect("answered");

    let error = client
        .request("nobody.home", "".into())
        .await
        .expect_err("no responders");
    assert_eq!(error.kind(), async_nats::RequestErrorKind::NoResponders);
}

#[tokio::test]
async fn a_queue_group_shares_the_work() {
    let folder = folder();
    let server = Server::start(folder.path());
    let publisher = server.client().await;
    let mut members = Vec::new();
    for _ in 0..3 {
        let client = server.client().await;
        let group = client
            .queue_subscribe("work", "crew".to_owned())
            .await
            .expect("subscribe");
        client.flush().await.expect("flush");
        members.push((client, group));
    }
    const COUNT: usize = 300;
    for number in 0..COUNT {
        publisher
            .publish("work", number.to_string().into())
            .await
            .expect("publish");
    }
    publisher
        .publish("work", "end".into())
        .await
        .expect("publish");
    publisher.flush().await.expect("flush");
    let (tell, mut told) = tokio::sync::mpsc::channel(COUNT + 1);
    let mut reading = Vec::new();
    for (client, mut group) in members {
        let tell = tell.clone();
        reading.push(tokio::spawn(async move {
            let _connected = client;
            while let Some(message) = group.next().await {
                let payload = String::from_utf8_lossy(&message.payload).into_owned();
                tell.send(payload).await.expect("the test still listens");
            }
        }));
    }
    // Together they see every message, and none of them twice.
    let mut seen = std::collections::BTreeSet::new();
    while seen.len() < COUNT + 1 {
        let payload = told.recv().await.expect("a message");
        assert!(seen.insert(payload.clone()), "{payload} came twice");
    }
    for task in reading {
        task.abort();
    }
}
