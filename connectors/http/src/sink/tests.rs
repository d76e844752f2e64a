//! The HTTP sink against a scripted server: signatures, retries, refusals, private addresses.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State as Shared;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use millstream_connector_api::testing::{MemoryFeed, records};
use millstream_connector_api::{Config, Connector, Environment};
use millstream_connector_runtime::testing::{drain, patient, start, survives_kills};
use millstream_connector_runtime::{Handle, State, Status};
use serde_json::{Value, json};

use super::{HttpSink, pieces};
use crate::poster::unix_now;
use crate::verify;

type Judge = Box<dyn Fn(&[u64]) -> Option<Response> + Send + Sync>;

/// A real HTTP server: scripted answers first, then the judge, then 200.
#[derive(Default)]
struct Hook {
    script: Mutex<VecDeque<Response>>,
    judge: Mutex<Option<Judge>>,
    /// Every request: its headers, its body.
    requests: Mutex<Vec<(HeaderMap, String)>>,
    /// Sequences of accepted requests, in order.
    accepted: Mutex<Vec<u64>>,
    ids: Mutex<BTreeMap<String, String>>,
}

impl Hook {
    async fn start() -> (Arc<Self>, SocketAddr) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let address = listener.local_addr().expect("bound");
        let hook = Arc::new(Self::default());
        let router = Router::new().fallback(receive).with_state(hook.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (hook, address)
    }

    fn answers(&self, answers: impl IntoIterator<Item = Response>) {
        self.script.lock().expect("lock").extend(answers);
    }

    fn judge(&self, judge: impl Fn(&[u64]) -> Option<Response> + Send + Sync + 'static) {
        *self.judge.lock().expect("lock") = Some(Box::new(judge));
    }

    fn accepted(&self) -> Vec<u64> {
        self.accepted.lock().expect("lock").clone()
    }

    fn requests(&self) -> Vec<(HeaderMap, String)> {
        self.requests.lock().expect("lock").clone()
    }
}

fn seqs(body: &str) -> Vec<u64> {
    let seq = |value: &Value| value["seq"].as_u64().expect("a number");
    match serde_json::from_str(body) {
        Ok(Value::Array(values)) => values.iter().map(seq).collect(),
        Ok(value) => vec![seq(&value)],
        Err(_) => body
            .lines()
            .map(|line| seq(&serde_json::from_str(line).expect("JSON")))
            .collect(),
    }
}

async fn receive(Shared(hook): Shared<Arc<Hook>>, headers: HeaderMap, body: String) -> Response {
    let numbers = seqs(&body);
    hook.requests
        .lock()
        .expect("lock")
        .push((headers.clone(), body.clone()));
    let id = headers["millstream-batch-id"]
        .to_str()
        .expect("text")
        .to_owned();
    let same = hook
        .ids
        .lock()
        .expect("lock")
        .entry(id)
        .or_insert_with(|| body.clone())
        .clone();
    assert_eq!(same, body, "one id for two bodies");
    if let Some(answer) = hook.script.lock().expect("lock").pop_front() {
        return answer;
    }
    if let Some(judge) = &*hook.judge.lock().expect("lock")
        && let Some(answer) = judge(&numbers)
    {
        return answer;
    }
    hook.accepted.lock().expect("lock").extend(numbers);
    StatusCode::OK.into_response()
}

fn config(address: SocketAddr, more: Value) -> Config {
    let mut config = json!({
        "url": format!("http://{address}/hook"), "allow_private": true, "batch": 4, "backoff": "1ms", "backoff_max": "2ms",
    });
    config
        .as_object_mut()
        .expect("object")
        .extend(more.as_object().expect("object").clone());
    config.as_object().expect("object").clone()
}

fn begin(address: SocketAddr, more: Value, feed: &Arc<MemoryFeed>) -> Handle {
    start(Arc::new(HttpSink), config(address, more), feed.handle(None))
}

async fn all(address: SocketAddr, more: Value, count: u64) -> Arc<MemoryFeed> {
    let feed = MemoryFeed::new(records(count));
    drain(Arc::new(HttpSink), config(address, more), &feed).await;
    feed
}

async fn failure(config: Config) -> Status {
    let feed = MemoryFeed::new(records(1));
    let status = patient(start(Arc::new(HttpSink), config, feed.handle(None)).ended()).await;
    assert!(feed.accepted().is_empty() && feed.dead().is_empty());
    status
}

#[tokio::test]
async fn batches_are_signed_arrays_with_their_own_ids() {
    let (hook, address) = Hook::start().await;
    all(
        address,
        json!({"secret": "key", "authorization": "Bearer b"}),
        5,
    )
    .await;
    assert_eq!(hook.accepted(), [1, 2, 3, 4, 5]);
    let requests = hook.requests();
    let (headers, body) = &requests[0];
    assert_eq!(headers["content-type"], "application/json");
    assert_eq!(headers["authorization"], "Bearer b");
    assert_eq!(headers["millstream-batch-id"], "station-1-4-4-3b9aca00");
    assert_eq!(
        requests[1].0["millstream-batch-id"],
        "station-5-5-1-12a05f200"
    );
    let signature = headers["millstream-signature"].to_str().expect("text");
    assert_eq!(
        verify(
            b"key",
            Some(signature),
            body.as_bytes(),
            unix_now(),
            Duration::from_secs(60)
        ),
        Ok(())
    );
    let parsed: Value = serde_json::from_str(body).expect("JSON");
    assert_eq!(
        parsed[0],
        json!({"station": "station", "seq": 1, "time": "1970-01-01T00:00:01Z", "subject": "test.records", "payload": {"n": 1}})
    );
}

#[tokio::test]
async fn the_other_formats_are_lines_and_single_records() {
    let (hook, address) = Hook::start().await;
    all(address, json!({"format": "ndjson"}), 3).await;
    let (headers, body) = hook.requests().remove(0);
    assert_eq!(headers["content-type"], "application/x-ndjson");
    assert_eq!(body.lines().count(), 3);
    all(address, json!({"format": "single"}), 3).await;
    let bodies: Vec<String> = hook
        .requests()
        .split_off(1)
        .into_iter()
        .map(|(_, body)| body)
        .collect();
    assert_eq!(bodies.len(), 3);
    assert!(bodies[0].starts_with("{\"station\":\"station\",\"seq\":1,"));
}

#[tokio::test]
async fn what_may_pass_is_tried_again_with_the_same_id() {
    let (hook, address) = Hook::start().await;
    let statuses = [408, 425, 429, 500, 502, 503, 504];
    hook.answers(statuses.map(|status| {
        StatusCode::from_u16(status)
            .expect("a status")
            .into_response()
    }));
    let feed = all(address, json!({}), 3).await;
    assert!(feed.dead().is_empty());
    let ids: Vec<_> = hook
        .requests()
        .iter()
        .map(|(headers, _)| headers["millstream-batch-id"].clone())
        .collect();
    assert_eq!(ids.len(), statuses.len() + 1);
    assert!(ids.iter().all(|id| *id == ids[0]));
    assert_eq!(hook.accepted(), [1, 2, 3]);
}

#[tokio::test]
async fn retry_after_is_honoured() {
    let (hook, address) = Hook::start().await;
    hook.answers([(
        StatusCode::TOO_MANY_REQUESTS,
        [("retry-after", "1")],
        "slow down",
    )
        .into_response()]);
    let feed = MemoryFeed::new(records(1));
    let before = std::time::Instant::now();
    let handle = begin(address, json!({}), &feed);
    let status = patient(handle.until(|status| status.state == State::Retrying)).await;
    let error = status.last_error.expect("an error");
    assert!(
        error.ends_with("answered 429 Too Many Requests: slow down"),
        "{error}"
    );
    patient(feed.until(MemoryFeed::is_drained)).await;
    assert!(before.elapsed() >= Duration::from_secs(1));
    patient(handle.stop()).await;
}

#[tokio::test]
async fn only_the_poisonous_records_are_dead_letters() {
    let (hook, address) = Hook::start().await;
    let poison = |seq: &u64| [3, 8].contains(seq);
    hook.judge(move |seqs| {
        seqs.iter()
            .any(poison)
            .then(|| (StatusCode::UNPROCESSABLE_ENTITY, "bad\n record").into_response())
    });
    let feed = all(address, json!({"batch": 10}), 10).await;
    assert_eq!(feed.accepted(), [1, 2, 4, 5, 6, 7, 9, 10]);
    assert_eq!(hook.accepted(), [1, 2, 4, 5, 6, 7, 9, 10]);
    let dead = feed.dead();
    assert_eq!(
        dead.iter().map(|letter| letter.seq).collect::<Vec<_>>(),
        [3, 8]
    );
    assert_eq!(dead[0].code, "sink_refused");
    assert!(
        dead[0]
            .reason
            .ends_with("answered 422 Unprocessable Entity: bad record"),
        "{}",
        dead[0].reason
    );
}

#[tokio::test]
async fn a_failure_while_halving_repeats_nothing_that_was_accepted() {
    let (hook, address) = Hook::start().await;
    let turns = Mutex::new(0);
    hook.judge(move |seqs| {
        let mut turns = turns.lock().expect("lock");
        *turns += 1;
        // All, the first half, then the second half meets a server that is down.
        match *turns {
            3 => Some(StatusCode::BAD_GATEWAY.into_response()),
            _ => seqs
                .contains(&8)
                .then(|| StatusCode::BAD_REQUEST.into_response()),
        }
    });
    let feed = all(address, json!({"batch": 8}), 8).await;
    assert_eq!(hook.accepted(), [1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(feed.dead().len(), 1);
}

#[tokio::test]
async fn after_the_limit_records_are_dead_letters() {
    let (hook, address) = Hook::start().await;
    hook.judge(|seqs| {
        seqs.contains(&2)
            .then(|| StatusCode::INTERNAL_SERVER_ERROR.into_response())
    });
    let feed = all(address, json!({"max_attempts": 3}), 3).await;
    assert_eq!(hook.accepted(), [1, 3]);
    let dead = feed.dead();
    assert_eq!(
        (dead.len(), dead[0].seq, dead[0].code.as_str()),
        (1, 2, "sink_attempts")
    );
}

#[tokio::test]
async fn a_destination_that_is_down_or_slow_is_waited_for() {
    // A port that nobody listens on.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let address = listener.local_addr().expect("bound");
    drop(listener);
    let feed = MemoryFeed::new(records(2));
    let handle = begin(address, json!({"max_attempts": 0}), &feed);
    let status = patient(handle.until(|status| status.errors >= 2)).await;
    let error = status.last_error.expect("an error");
    assert!(error.contains("cannot be reached"), "{error}");
    assert!(feed.accepted().is_empty());
    patient(handle.stop()).await;

    // One that takes connections and says nothing.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let address = silent.local_addr().expect("bound");
    let handle = begin(address, json!({"timeout": "50ms"}), &feed);
    let status = patient(handle.until(|status| status.errors >= 1)).await;
    let error = status.last_error.expect("an error");
    assert!(error.ends_with("did not answer in time"), "{error}");
    assert!(feed.accepted().is_empty());
    handle.kill().await;
}

#[tokio::test]
async fn private_addresses_are_refused_by_number_and_by_name() {
    let (hook, address) = Hook::start().await;
    let port = address.port();
    for host in [
        "127.0.0.1",
        "2130706433",
        "0x7f.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "169.254.169.254",
        "localhost",
    ] {
        let config = config(
            address,
            json!({"url": format!("http://{host}:{port}/"), "allow_private": false}),
        );
        let status = failure(config).await;
        assert_eq!(status.state, State::Failed, "{host}");
        let error = status.last_error.expect("an error");
        assert!(
            error.contains("private or local address: set `allow_private: true`"),
            "{host}: {error}"
        );
    }
    assert!(hook.requests().is_empty());
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let (hook, address) = Hook::start().await;
    hook.answers([(
        StatusCode::FOUND,
        [("location", "http://169.254.169.254/")],
        "",
    )
        .into_response()]);
    let status = failure(config(address, json!({}))).await;
    let error = status.last_error.expect("an error");
    assert!(
        error.contains("to `http://169.254.169.254/`: redirects are not followed"),
        "{error}"
    );
    assert_eq!(hook.requests().len(), 1);
}

#[tokio::test]
async fn kills_lose_nothing_and_repeat_whole_batches() {
    survives_kills(
        Arc::new(HttpSink),
        10,
        async || {
            let (hook, address) = Hook::start().await;
            (config(address, json!({})), hook)
        },
        async |hook, feed| {
            assert_eq!(feed.accepted(), (1..=10).collect::<Vec<_>>());
            let mut accepted = hook.accepted();
            assert!(
                accepted.len() <= 14,
                "more than one batch came twice: {accepted:?}"
            );
            accepted.sort_unstable();
            accepted.dedup();
            assert_eq!(accepted, (1..=10).collect::<Vec<_>>());
        },
    )
    .await;
}

#[test]
fn options_are_checked_and_secrets_stay_secret() {
    let problems = |config: Value| -> Vec<String> {
        let problems = HttpSink
            .validate(config.as_object().expect("object"))
            .expect_err("refused");
        problems.iter().map(ToString::to_string).collect()
    };
    assert_eq!(
        problems(json!({"url": "http://h", "sekret": "hush"})),
        ["unknown option `sekret` (did you mean `secret`?)"]
    );
    assert!(
        problems(json!({"url": "http://me:hush@[/"}))
            .iter()
            .all(|text| !text.contains("hush"))
    );
    assert!(
        problems(json!({"url": "http://h", "authorization": "a\nb"}))[0]
            .contains("`authorization`")
    );
    let config = json!({"url": "http://h", "secret": "hush", "authorization": "hush"});
    let sink = HttpSink
        .build_sink(config.as_object().expect("object"), &Environment::default())
        .map(drop);
    assert_eq!(sink, Ok(()));
}

#[test]
fn pieces_cover_in_order() {
    let mut found = pieces(5, 2);
    found.reverse();
    assert_eq!(found, [0..2, 2..4, 4..5]);
    assert_eq!(pieces(3, usize::MAX), vec![Range { start: 0, end: 3 }]);
    assert!(pieces(0, 1).is_empty());
}
