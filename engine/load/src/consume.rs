//! Readers: core subscribers, pull and push consumers.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::{Client, Received, Target};
use crate::error::{LoadError, Result};
use crate::plan::{Ending, Plan, Run, Watch};
use crate::publish::piece;

/// Most bytes on the way to a subscriber: far below every server's slow consumer limit, far above what fills a pipe.
const IN_FLIGHT: u64 = 8 * 1024 * 1024;
/// Messages of one pull request.
const PULL: u64 = 500;
/// How long a pull request waits for them.
const EXPIRES: Duration = Duration::from_secs(1);
/// Between signs of life of a push consumer that has nothing to send.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// Core publishes to subscribers that each get everything.
#[derive(Clone, Debug, Default)]
pub struct DeliveredRun {
    /// The publishes, until the last subscriber had the last one.
    pub run: Run,
    /// Messages that came out.
    pub delivered: u64,
}

/// One publisher, `readers` subscribers that each get everything; never more on the way than a server must hold.
///
/// # Errors
/// When a connection fails.
pub fn deliver(
    target: &Target,
    subject: &str,
    plan: &Plan,
    readers: usize,
    watch: &Watch,
) -> Result<DeliveredRun> {
    let mut clients = Vec::new();
    for _ in 0..readers {
        let mut client = Client::connect(target)?;
        client.write(format!("SUB {subject} 1\r\n").as_bytes())?;
        client.round_trip()?;
        clients.push(client);
    }
    let mut client = Client::connect(target)?;
    let (piece, many) = piece(subject, plan.bytes);
    let limit = (IN_FLIGHT / plan.bytes.max(1) as u64).max(many * 2);
    // How many there will have been; unknown until the last piece.
    let sent = AtomicU64::new(u64::MAX);
    let seen: Vec<AtomicU64> = clients.iter().map(|_| AtomicU64::new(0)).collect();
    let failed = AtomicBool::new(false);
    thread::scope(|scope| {
        let mut threads = Vec::new();
        for (mut client, seen) in clients.into_iter().zip(&seen) {
            let (sent, failed) = (&sent, &failed);
            threads.push(scope.spawn(move || -> Result<Instant> {
                let mut got = 0;
                while got < sent.load(Ordering::Acquire) {
                    match client.next(&mut |_| {}) {
                        Ok(count) => got += count as u64,
                        Err(error) => {
                            failed.store(true, Ordering::Release);
                            return Err(error);
                        }
                    }
                    seen.store(got, Ordering::Release);
                }
                Ok(Instant::now())
            }));
        }
        let ending = Ending::new(plan, watch);
        let one = piece.len() as u64 / many;
        let mut messages = 0;
        while !failed.load(Ordering::Acquire) {
            let slowest = seen.iter().map(|seen| seen.load(Ordering::Acquire)).min();
            if messages - slowest.unwrap_or(messages) + many > limit {
                thread::yield_now();
                continue;
            }
            let left = ending.left(messages + many);
            let now = ending.left(messages).clamp(1, many);
            if left == 0 {
                // Told before the last piece is sent, so that it wakes every reader after they can know the end.
                sent.store(messages + now, Ordering::Release);
            }
            let bytes = usize::try_from(now * one).unwrap_or(piece.len());
            client.write(&piece[..bytes])?;
            messages += now;
            watch.add(now);
            if left == 0 {
                break;
            }
        }
        let mut last = ending.since();
        for thread in threads {
            last = last.max(thread.join().map_err(|_| LoadError::Thread)??);
        }
        Ok(DeliveredRun {
            run: Run {
                messages,
                elapsed: last - ending.since(),
                ..Run::default()
            },
            delivered: messages * readers as u64,
        })
    })
}

/// Whether each message is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acks {
    /// None is.
    None,
    /// Each by itself.
    Explicit,
}

impl Acks {
    fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Explicit => "explicit",
        }
    }
}

/// A consumer to make and to read.
#[derive(Clone, Copy, Debug)]
pub struct Consumer<'a> {
    /// Its stream.
    pub stream: &'a str,
    /// Its name, also part of its inbox.
    pub name: &'a str,
    /// Whether messages are acknowledged.
    pub acks: Acks,
}

impl Consumer<'_> {
    fn inbox(&self) -> String {
        format!("_INBOX.{}.{}", self.stream, self.name)
    }
}

/// A durable pull consumer that was made, one request outstanding at a time.
#[derive(Debug)]
pub struct Puller {
    request: String,
    acks: Acks,
    /// Messages the request in flight still brings.
    pending: u64,
    answers: Vec<u8>,
}

impl Puller {
    /// Makes the consumer, from the stream's first message.
    ///
    /// # Errors
    /// When the server refuses it.
    pub fn new(client: &mut Client, consumer: &Consumer<'_>) -> Result<Self> {
        let Consumer { stream, name, acks } = *consumer;
        let mut config = json!({ "durable_name": name, "name": name, "ack_policy": acks.word(),
            "deliver_policy": "all", "replay_policy": "instant" });
        if acks == Acks::Explicit {
            config["max_ack_pending"] = 10_000.into();
            config["ack_wait"] = 30_000_000_000_u64.into();
        }
        let body = json!({ "stream_name": stream, "config": config });
        client.api(&format!("CONSUMER.CREATE.{stream}.{name}"), &body)?;
        let inbox = consumer.inbox();
        client.write(format!("SUB {inbox} 3\r\n").as_bytes())?;
        let nanos = u64::try_from(EXPIRES.as_nanos()).unwrap_or(u64::MAX);
        let body = json!({ "batch": PULL, "expires": nanos }).to_string();
        let length = body.len();
        Ok(Self {
            request: format!(
                "PUB $JS.API.CONSUMER.MSG.NEXT.{stream}.{name} {inbox} {length}\r\n{body}\r\n"
            ),
            acks,
            pending: 0,
            answers: Vec::new(),
        })
    }

    /// Asks for more where nothing is under way, reads once, acknowledges; answers how many messages came.
    ///
    /// # Errors
    /// When the connection fails.
    pub fn step(&mut self, client: &mut Client) -> Result<u64> {
        if self.pending == 0 {
            client.write(self.request.as_bytes())?;
            self.pending = PULL;
        }
        let mut got = 0;
        let mut ended = false;
        let (answers, acks) = (&mut self.answers, self.acks);
        answers.clear();
        client.next(&mut |message| {
            let reply = message.reply.filter(|reply| reply.starts_with(b"$JS.ACK"));
            if let Some(reply) = reply {
                got += 1;
                if acks == Acks::Explicit {
                    answers.extend_from_slice(b"PUB ");
                    answers.extend_from_slice(reply);
                    answers.extend_from_slice(b" 4\r\n+ACK\r\n");
                }
            } else if message.status().is_some_and(|status| status != b"100") {
                ended = true;
            }
        })?;
        client.write(answers)?;
        self.pending = if ended {
            0
        } else {
            self.pending.saturating_sub(got)
        };
        Ok(got)
    }
}

/// Reads a stream of `total` messages from its first with pull requests, until it has all or the watch is stopped.
///
/// # Errors
/// When the consumer is refused or the connection fails.
pub fn pull(
    client: &mut Client,
    consumer: &Consumer<'_>,
    total: u64,
    watch: &Watch,
) -> Result<Run> {
    let mut puller = Puller::new(client, consumer)?;
    let since = Instant::now();
    let mut messages = 0;
    while messages < total && !watch.stopped() {
        let got = puller.step(client)?;
        messages += got;
        watch.add(got);
    }
    // Until the server has the last acknowledgement, too.
    client.round_trip()?;
    let elapsed = since.elapsed();
    leave(client, 3)?;
    Ok(Run {
        messages,
        elapsed,
        ..Run::default()
    })
}

/// Reads a stream of `total` messages from its first with a push consumer, with the flow control that clients' ordered
/// consumers ask for: without it nats-server cuts off a client that is slower than its disk. `more` is merged into the
/// consumer's configuration. Ends with the last message, or when the watch is stopped.
///
/// # Errors
/// When the consumer is refused or the connection fails.
pub fn push(
    client: &mut Client,
    consumer: &Consumer<'_>,
    more: &Value,
    total: u64,
    watch: &Watch,
) -> Result<Run> {
    let (stream, inbox) = (consumer.stream, consumer.inbox());
    client.write(format!("SUB {inbox} 4\r\nSUB _INBOX.made.{inbox} 5\r\n").as_bytes())?;
    client.round_trip()?;
    let nanos = u64::try_from(HEARTBEAT.as_nanos()).unwrap_or(u64::MAX);
    let mut config = json!({ "deliver_subject": inbox, "ack_policy": "none", "deliver_policy": "all",
        "replay_policy": "instant", "flow_control": true, "idle_heartbeat": nanos });
    if let (Some(config), Some(more)) = (config.as_object_mut(), more.as_object()) {
        config.extend(more.clone());
    }
    let body = json!({ "stream_name": stream, "config": config }).to_string();
    let length = body.len();
    let create =
        format!("PUB $JS.API.CONSUMER.CREATE.{stream} _INBOX.made.{inbox} {length}\r\n{body}\r\n");
    let since = Instant::now();
    client.write(create.as_bytes())?;
    let (mut messages, mut answers, mut refused) = (0, Vec::new(), None);
    while messages < total && !watch.stopped() {
        let before = messages;
        client.next(&mut |message| {
            if message.status() == Some(b"100") {
                answer_flow(&message, &mut answers);
            } else if message.subject.starts_with(b"_INBOX.made.") {
                refused = refusal(&message);
            } else {
                messages += 1;
            }
        })?;
        if let Some(error) = refused {
            return Err(LoadError::Refused {
                subject: format!("CONSUMER.CREATE.{stream}"),
                error,
            });
        }
        if !answers.is_empty() {
            client.write(&answers)?;
            answers.clear();
        }
        watch.add(messages - before);
    }
    let elapsed = since.elapsed();
    leave(client, 4)?;
    Ok(Run {
        messages,
        elapsed,
        ..Run::default()
    })
}

/// What `consumer create` says against it.
fn refusal(message: &Received<'_>) -> Option<String> {
    let value: Value = serde_json::from_slice(message.payload).ok()?;
    value.get("error").map(Value::to_string)
}

/// A flow control request wants an answer; a heartbeat does only when it says that the consumer is stalled.
fn answer_flow(message: &Received<'_>, answers: &mut Vec<u8>) {
    const STALLED: &[u8] = b"Nats-Consumer-Stalled: ";
    let stalled = memchr::memmem::find(message.headers, STALLED).map(|at| {
        let rest = &message.headers[at + STALLED.len()..];
        &rest[..memchr::memchr(b'\r', rest).unwrap_or(rest.len())]
    });
    if let Some(subject) = message.reply.or(stalled) {
        answers.extend_from_slice(b"PUB ");
        answers.extend_from_slice(subject);
        answers.extend_from_slice(b" 0\r\n\r\n");
    }
}

/// Unsubscribes, so that what still comes is not taken for an answer of the API.
fn leave(client: &mut Client, sid: u32) -> Result<()> {
    client.write(format!("UNSUB {sid}\r\n").as_bytes())?;
    client.round_trip()
}
