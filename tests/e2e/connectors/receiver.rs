//! The other side of a webhook: an HTTP server just large enough to see what a sink sends and to answer as a test wants.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::Value;
use sha2::Sha256;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::harness::PATIENCE;

/// `v1` of the `Millstream-Signature` header, computed as its documentation says.
pub fn signature(secret: &str, time: u64, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any length");
    mac.update(format!("{time}.").as_bytes());
    mac.update(body);
    let mut hex = String::new();
    for byte in mac.finalize().into_bytes() {
        write!(hex, "{byte:02x}").expect("a String takes all");
    }
    hex
}

/// One request and how it was answered.
#[derive(Clone, Debug, Default)]
pub struct Request {
    headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
    pub answer: u16,
}

impl Request {
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .unwrap_or_else(|| panic!("no `{name}` in {:?}", self.headers))
    }

    pub fn records(&self) -> Vec<Value> {
        serde_json::from_slice(&self.body).expect("an array")
    }

    /// `n` of each record's payload.
    pub fn numbers(&self) -> Vec<u64> {
        self.records()
            .iter()
            .map(|record| record["payload"]["n"].as_u64().expect("a number"))
            .collect()
    }
}

type Answer = Arc<dyn Fn(usize, &Request) -> u16 + Send + Sync>;

/// What the connections share: requests in the order of their answers.
struct Seen {
    requests: Mutex<Vec<Request>>,
    count: watch::Sender<usize>,
    answer: Answer,
}

/// Listens until it is dropped.
pub struct Receiver {
    address: SocketAddr,
    seen: Arc<Seen>,
    task: JoinHandle<()>,
}

impl Receiver {
    /// `answer` gets how many requests came before this one, and the request; it says the status.
    pub async fn start(answer: impl Fn(usize, &Request) -> u16 + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let count = watch::Sender::new(0);
        let seen = Arc::new(Seen {
            requests: Mutex::default(),
            count,
            answer: Arc::new(answer),
        });
        let shared = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&shared)));
            }
        });
        Self {
            address,
            seen,
            task,
        }
    }

    pub fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    pub fn requests(&self) -> Vec<Request> {
        self.seen.requests.lock().expect("no answer panics").clone()
    }

    /// Waits until the requests so far satisfy.
    pub async fn until(&self, what: &str, satisfied: impl Fn(&[Request]) -> bool) {
        let mut count = self.seen.count.subscribe();
        let enough = count.wait_for(|_| satisfied(&self.requests()));
        let ended = tokio::time::timeout(PATIENCE, enough)
            .await
            .map(|enough| enough.is_ok());
        assert_eq!(ended, Ok(true), "no {what}: {:?}", self.requests());
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One connection, request after request, until the other side closes it.
async fn serve(stream: TcpStream, seen: Arc<Seen>) {
    let mut stream = BufReader::new(stream);
    while let Some(mut request) = read(&mut stream).await {
        {
            let mut requests = seen.requests.lock().expect("no answer panics");
            request.answer = (seen.answer)(requests.len(), &request);
            requests.push(request.clone());
        }
        seen.count.send_modify(|count| *count += 1);
        let answer = format!(
            "HTTP/1.1 {} answer\r\ncontent-length: 0\r\n\r\n",
            request.answer
        );
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// `None` when the connection ended.
async fn read(stream: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut request = Request::default();
    let mut line = String::new();
    stream
        .read_line(&mut line)
        .await
        .ok()
        .filter(|read| *read > 0)?;
    assert!(line.starts_with("POST /hook HTTP/1.1"), "{line}");
    loop {
        line.clear();
        stream
            .read_line(&mut line)
            .await
            .ok()
            .filter(|read| *read > 0)?;
        match line.trim_end().split_once(": ") {
            Some((name, value)) => request
                .headers
                .insert(name.to_ascii_lowercase(), value.to_owned()),
            None => break,
        };
    }
    request.body = vec![0; request.header("content-length").parse().expect("a length")];
    stream.read_exact(&mut request.body).await.ok()?;
    Some(request)
}
