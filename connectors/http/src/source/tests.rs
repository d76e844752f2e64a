//! The HTTP source through real requests: one, many, bad records, answers after the commit.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use millstream_connector_api::testing::{MemoryBroker, MemoryContext, stops_when_cancelled};
use millstream_connector_api::{
    Config, Connector, ConnectorError, Environment, Progress, RecordResult, Source,
};
use millstream_connector_runtime::testing::patient;
use millstream_connector_runtime::{Backoff, State, run_source};
use reqwest::Response;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::HttpSource;
use crate::poster::unix_now;
use crate::sign;

fn config(more: Value) -> Config {
    let mut config = json!({"listen": "127.0.0.1:0", "path": "/in", "subject": "in.{k}"});
    config
        .as_object_mut()
        .expect("object")
        .extend(more.as_object().expect("object").clone());
    config.as_object().expect("object").clone()
}

fn source(more: Value) -> Box<dyn Source> {
    HttpSource
        .build_source(&config(more), &Environment::default())
        .expect("valid")
}

struct Server {
    broker: Arc<MemoryBroker>,
    context: Arc<MemoryContext>,
    address: SocketAddr,
    run: JoinHandle<Result<(), ConnectorError>>,
}

impl Server {
    async fn start(more: Value) -> Self {
        let broker = MemoryBroker::new();
        let context = broker.context(None);
        let run = tokio::spawn(source(more).run(context.clone()));
        let address = patient(broker.address()).await;
        Self {
            broker,
            context,
            address,
            run,
        }
    }

    fn client(&self) -> reqwest::Client {
        crate::client::client(Duration::from_secs(20), true).expect("a client")
    }

    async fn post(&self, body: impl Into<reqwest::Body>, headers: &[(&str, &str)]) -> (u16, Value) {
        let mut request = self
            .client()
            .post(format!("http://{}/in", self.address))
            .body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Self::answer(request.send().await.expect("an answer")).await
    }

    async fn answer(response: Response) -> (u16, Value) {
        let status = response.status().as_u16();
        (status, response.json().await.expect("JSON"))
    }
}

#[tokio::test]
async fn answers_come_after_the_commit_with_a_result_for_each() {
    let server = Server::start(json!({})).await;
    let (status, answer) = server.post(r#"[{"k":"a"},{"k":"b"}]"#, &[]).await;
    assert_eq!(status, 200);
    assert_eq!(
        answer,
        json!({"accepted": 2, "results": [
            {"status": "stored", "stream": "memory", "seq": 1}, {"status": "stored", "stream": "memory", "seq": 2},
        ]})
    );
    assert_eq!(
        server.post(r#"{"k":"c"}"#, &[("nats-msg-id", "7")]).await.0,
        200
    );
    assert_eq!(
        server
            .post(
                "{\"k\":\"d\"}\n1\n",
                &[("content-type", "application/x-ndjson")]
            )
            .await
            .0,
        200
    );
    assert_eq!(
        server.post("[]", &[]).await,
        (200, json!({"accepted": 0, "results": []}))
    );
    let records = server.broker.records();
    let subjects: Vec<&str> = records
        .iter()
        .map(|record| record.subject.as_str())
        .collect();
    assert_eq!(subjects, ["in.a", "in.b", "in.c", "in.d", "in._"]);
    assert_eq!(
        &records[2].headers[..],
        b"NATS/1.0\r\nNats-Msg-Id: 7\r\n\r\n"
    );
    assert_eq!(server.broker.commits().len(), 3);
}

#[tokio::test]
async fn rejected_records_are_named_one_by_one() {
    let server = Server::start(json!({})).await;
    server.broker.judge(|record| match &record.payload[..] {
        b"1" => Some(RecordResult::Rejected {
            code: "type".into(),
            reason: "no object".into(),
        }),
        b"2" => Some(RecordResult::NoStation),
        b"3" => Some(RecordResult::Dropped),
        b"4" => Some(RecordResult::Duplicate),
        _ => None,
    });
    let (status, answer) = server.post("[0,1,2,3,4]", &[]).await;
    assert_eq!(status, 422);
    assert_eq!(answer["error"], "2 of 5 records were rejected");
    assert_eq!(
        (&answer["accepted"], &answer["rejected"]),
        (&json!(3), &json!(2))
    );
    assert_eq!(
        answer["results"][1],
        json!({"status": "rejected", "code": "type", "reason": "no object"})
    );
    assert_eq!(answer["results"][2]["code"], "no_station");
    assert_eq!(answer["results"][3], json!({"status": "dropped"}));
    assert_eq!(answer["results"][4], json!({"status": "duplicate"}));
}

#[tokio::test]
async fn bad_requests_are_told_what_and_where() {
    let server = Server::start(json!({"max_body": "1KiB"})).await;
    let (status, answer) = server.post("[{\"k\":1},\n{]", &[]).await;
    assert_eq!(status, 400);
    assert_eq!(
        answer["error"],
        "the body is no JSON: key must be a string at line 2 column 2"
    );
    assert_eq!((&answer["line"], &answer["column"]), (&json!(2), &json!(2)));
    let (status, answer) = server.post("x".repeat(1025), &[]).await;
    assert_eq!(
        (status, &answer["error"]),
        (413, &json!("the body is larger than 1024 bytes"))
    );
    let url = |path: &str| format!("http://{}{path}", server.address);
    let get = server
        .client()
        .get(url("/in"))
        .send()
        .await
        .expect("an answer");
    assert_eq!(get.headers()["allow"], "POST");
    assert_eq!(Server::answer(get).await.0, 405);
    let (status, answer) = Server::answer(
        server
            .client()
            .post(url("/"))
            .send()
            .await
            .expect("an answer"),
    )
    .await;
    assert_eq!((status, &answer["hint"]), (404, &json!("POST to `/in`")));
    assert!(server.broker.commits().is_empty());
}

#[tokio::test]
async fn a_body_without_a_length_is_bounded_too() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let server = Server::start(json!({"max_body": 10})).await;
    let mut socket = tokio::net::TcpStream::connect(server.address)
        .await
        .expect("a connection");
    let head =
        "POST /in HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n";
    socket.write_all(head.as_bytes()).await.expect("write");
    socket
        .write_all(b"14\r\n\"xxxxxxxxxxxxxxxxxx\"\r\n0\r\n\r\n")
        .await
        .expect("write");
    let mut answer = String::new();
    patient(socket.read_to_string(&mut answer))
        .await
        .expect("read");
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[tokio::test]
async fn only_signed_requests_pass_when_there_is_a_secret() {
    let server = Server::start(json!({"secret": "key"})).await;
    let signed = |secret: &str, time| sign(secret.as_bytes(), time, b"1");
    let (status, answer) = server.post("1", &[]).await;
    assert_eq!(status, 401);
    assert!(
        answer["error"]
            .as_str()
            .expect("text")
            .contains("carries no `Millstream-Signature`")
    );
    for wrong in [
        signed("other", unix_now()),
        signed("key", unix_now() - 3600),
        "junk".to_owned(),
    ] {
        assert_eq!(
            server
                .post("1", &[("millstream-signature", &wrong)])
                .await
                .0,
            401
        );
    }
    assert!(server.broker.commits().is_empty());
    assert_eq!(
        server
            .post("1", &[("millstream-signature", &signed("key", unix_now()))])
            .await
            .0,
        200
    );
}

#[tokio::test]
async fn a_broker_that_cannot_commit_is_a_503_and_the_listener_stays() {
    let server = Server::start(json!({})).await;
    server.broker.fail_with([
        ConnectorError::retryable("the journal is full"),
        ConnectorError::fatal("the station is gone"),
    ]);
    let request = server
        .client()
        .post(format!("http://{}/in", server.address))
        .body("1");
    let response = request.send().await.expect("an answer");
    assert_eq!(response.headers()["retry-after"], "1");
    let (status, answer) = Server::answer(response).await;
    assert_eq!(
        (status, &answer["error"]),
        (
            503,
            &json!("the broker cannot store now: the journal is full")
        )
    );
    // An error that will not pass ends the source.
    let post = server
        .client()
        .post(format!("http://{}/in", server.address))
        .body("1")
        .send();
    let (answered, ended) = tokio::join!(post, server.run);
    assert_eq!(
        ended.expect("no panic"),
        Err(ConnectorError::fatal("the station is gone"))
    );
    assert!(answered.is_err_and(|error| !error.is_builder()) || server.broker.commits().is_empty());
}

#[tokio::test]
async fn a_port_in_use_is_a_clear_final_error() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("bound");
    let config = config(json!({"listen": address.to_string()}));
    let context = MemoryBroker::new().context(None);
    let handle = run_source(
        Arc::new(HttpSource),
        config,
        Environment::default(),
        context,
        Backoff::default(),
    )
    .expect("valid");
    let status = patient(handle.ended()).await;
    assert_eq!(status.state, State::Failed);
    let expected = format!(
        "`{address}` is in use: stop what listens there, or choose another port in `listen`"
    );
    assert_eq!(status.last_error, Some(expected));
}

#[tokio::test]
async fn it_stops_when_cancelled_and_lets_go_of_its_port() {
    let broker = MemoryBroker::new();
    let listening = |broker: &MemoryBroker| {
        broker
            .progress()
            .iter()
            .any(|progress| matches!(progress, Progress::Listening(_)))
    };
    stops_when_cancelled(source(json!({})), &broker, listening).await;
    let address = broker.address().await;
    std::net::TcpListener::bind(address).expect("the port is free");
}

#[tokio::test]
async fn a_connection_that_outlives_the_source_commits_nothing() {
    let server = Server::start(json!({})).await;
    let client = server.client();
    let post = || {
        client
            .post(format!("http://{}/in", server.address))
            .body("1")
            .send()
    };
    assert_eq!(post().await.expect("an answer").status().as_u16(), 200);
    server.run.abort();
    assert!(server.run.await.expect_err("aborted").is_cancelled());
    // The connection is kept alive by both sides; whatever answers, nothing is committed.
    if let Ok(response) = post().await {
        assert_eq!(response.status().as_u16(), 503);
    }
    assert_eq!(server.broker.commits().len(), 1);
    drop(server.context);
}

#[test]
fn options_are_checked() {
    let problem = |config: Value| {
        let problems = HttpSource
            .validate(config.as_object().expect("object"))
            .expect_err("refused");
        problems[0].to_string()
    };
    assert!(problem(json!({"subject": "s"})).contains("required option `listen` is missing"));
    let path = json!({"subject": "s", "listen": "127.0.0.1:1", "path": "in"});
    assert_eq!(
        problem(path),
        "option `path` is no path: `in` (such as `/flights`)"
    );
    assert!(
        problem(json!({"subject": "s", "listen": "nowhere:1"}))
            .contains("must be an address and port")
    );
}
