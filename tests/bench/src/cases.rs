//! What is measured. Each case runs for about a given time on a running server and answers how many messages it moved.

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::json;

use crate::client::Client;

/// Messages a case moves between two looks at the clock, in bytes.
const CHUNK: usize = 64 * 1024;
/// Most bytes on the way to a subscriber: far below every server's slow consumer limit, far above what fills a pipe.
const IN_FLIGHT: u64 = 8 * 1024 * 1024;
/// Unacknowledged publishes of `js-async`.
const WINDOW: usize = 1000;
/// Messages of one pull request.
const PULL: usize = 500;
const STREAM: &str = "BENCH";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    CorePub,
    Core1To1,
    Core1To4,
    JsAsync,
    JsSync1,
    JsSync64,
    JsPullAck,
    JsPush,
}

const WHATS: [(What, &str); 8] = [
    (What::CorePub, "core-pub"),
    (What::Core1To1, "core-1to1"),
    (What::Core1To4, "core-1to4"),
    (What::JsAsync, "js-async"),
    (What::JsSync1, "js-sync-1"),
    (What::JsSync64, "js-sync-64"),
    (What::JsPullAck, "js-pull-ack"),
    (What::JsPush, "js-push"),
];

/// A case: what is done, with payloads of how many bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) what: What,
    pub(crate) bytes: usize,
}

/// Messages moved and how long that took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    pub(crate) messages: u64,
    pub(crate) elapsed: Duration,
}

impl Run {
    #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
    pub(crate) fn rate(&self) -> f64 {
        self.messages as f64 / self.elapsed.as_secs_f64()
    }
}

/// Every case there is.
pub(crate) fn all() -> Vec<Case> {
    let sizes = [16, 128, 1024];
    WHATS
        .iter()
        .flat_map(|(what, _)| sizes.map(|bytes| Case { what: *what, bytes }))
        .collect()
}

impl Case {
    pub(crate) fn name(&self) -> String {
        let word = WHATS
            .iter()
            .find(|(what, _)| *what == self.what)
            .map_or("", |(_, word)| word);
        format!("{word}-{}", self.bytes)
    }

    /// Whether it needs the disk: those are what `--peer-sync always` changes.
    pub(crate) fn run(&self, address: SocketAddr, time: Duration) -> Result<Run> {
        match self.what {
            What::CorePub => core_publish(address, self.bytes, time),
            What::Core1To1 => fan_out(address, self.bytes, time, 1),
            What::Core1To4 => fan_out(address, self.bytes, time, 4),
            What::JsAsync => with_stream(address, |client| publish_async(client, self.bytes, time)),
            What::JsSync1 => with_stream(address, |_| publish_sync(address, self.bytes, time, 1)),
            What::JsSync64 => with_stream(address, |_| publish_sync(address, self.bytes, time, 64)),
            What::JsPullAck => with_stream(address, |client| pull(client, self.bytes, time)),
            What::JsPush => with_stream(address, |client| push(client, self.bytes, time)),
        }
    }
}

/// Many PUB operations in one piece, and how many they are.
fn chunk(subject: &str, bytes: usize) -> (Vec<u8>, u64) {
    let one = format!("PUB {subject} {bytes}\r\n{}\r\n", "x".repeat(bytes));
    let count = (CHUNK / one.len()).max(1);
    (one.repeat(count).into_bytes(), count as u64)
}

fn core_publish(address: SocketAddr, bytes: usize, time: Duration) -> Result<Run> {
    let mut client = Client::connect(address)?;
    let (piece, count) = chunk("bench.core", bytes);
    let since = Instant::now();
    let mut messages = 0;
    while since.elapsed() < time {
        client.write(&piece)?;
        messages += count;
    }
    client.round_trip()?;
    Ok(Run {
        messages,
        elapsed: since.elapsed(),
    })
}

/// One publisher, `readers` subscribers that each get everything; counts publishes.
fn fan_out(address: SocketAddr, bytes: usize, time: Duration, readers: usize) -> Result<Run> {
    let sent = Arc::new(AtomicU64::new(0));
    let ended = Arc::new(AtomicBool::new(false));
    let mut threads = Vec::new();
    let mut seen = Vec::new();
    for _ in 0..readers {
        let mut client = Client::connect(address)?;
        client.write(b"SUB bench.fan 1\r\n")?;
        client.round_trip()?;
        let (sent, ended) = (Arc::clone(&sent), Arc::clone(&ended));
        let counter = Arc::new(AtomicU64::new(0));
        seen.push(Arc::clone(&counter));
        threads.push(thread::spawn(move || -> Result<Instant> {
            let mut got = 0;
            while !ended.load(Ordering::Acquire) || got < sent.load(Ordering::Acquire) {
                got += client.next(&mut |_| {})? as u64;
                counter.store(got, Ordering::Release);
            }
            Ok(Instant::now())
        }));
    }
    let mut client = Client::connect(address)?;
    let (piece, count) = chunk("bench.fan", bytes);
    let limit = (IN_FLIGHT / bytes as u64).max(count * 2);
    let since = Instant::now();
    let mut messages = 0;
    loop {
        let slowest = seen
            .iter()
            .map(|seen| seen.load(Ordering::Acquire))
            .min()
            .unwrap_or(0);
        if messages - slowest + count > limit {
            if threads.iter().any(thread::JoinHandle::is_finished) {
                break;
            }
            thread::yield_now();
            continue;
        }
        if since.elapsed() >= time {
            // Told before the last piece is sent, so that it wakes every reader after they can know the end.
            sent.store(messages + count, Ordering::Release);
            ended.store(true, Ordering::Release);
            client.write(&piece)?;
            messages += count;
            break;
        }
        client.write(&piece)?;
        messages += count;
    }
    let mut last = since;
    for reader in threads {
        let end = reader.join().ok().context("a reader failed")??;
        last = last.max(end);
    }
    Ok(Run {
        messages,
        elapsed: last - since,
    })
}

/// Runs with a fresh file stream on `bench.js.>`, and removes it afterwards.
fn with_stream(address: SocketAddr, run: impl FnOnce(&mut Client) -> Result<Run>) -> Result<Run> {
    let mut client = Client::connect(address)?;
    let config = json!({ "name": STREAM, "subjects": ["bench.js.>"], "storage": "file", "num_replicas": 1,
        "retention": "limits", "discard": "old", "max_msgs": -1, "max_bytes": -1, "max_age": 0,
        "max_msgs_per_subject": -1, "max_msg_size": -1, "max_consumers": -1 });
    client.api(&format!("STREAM.CREATE.{STREAM}"), &config)?;
    let result = run(&mut client);
    client.api(&format!("STREAM.DELETE.{STREAM}"), &serde_json::Value::Null)?;
    result
}

/// Publishes with at most `WINDOW` acknowledgements outstanding, until `more` says no.
fn publish_window(
    client: &mut Client,
    bytes: usize,
    mut more: impl FnMut(u64) -> bool,
) -> Result<u64> {
    client.write(b"SUB _INBOX.async.* 2\r\n")?;
    let payload = "x".repeat(bytes);
    let mut buffer = Vec::with_capacity(WINDOW * (bytes + 64));
    let (mut sent, mut acked): (u64, u64) = (0, 0);
    let mut failed = None;
    let mut going = true;
    while going || acked < sent {
        going = going && more(sent);
        buffer.clear();
        while going && sent - acked < WINDOW as u64 && buffer.len() < CHUNK {
            write!(
                buffer,
                "PUB bench.js.a _INBOX.async.{sent} {bytes}\r\n{payload}\r\n"
            )?;
            sent += 1;
        }
        if !buffer.is_empty() {
            client.write(&buffer)?;
        }
        if sent - acked >= WINDOW as u64 || !going {
            let acks = client.next(&mut |message| {
                if memchr::memmem::find(message.payload, b"\"error\"").is_some() {
                    failed = Some(String::from_utf8_lossy(message.payload).into_owned());
                }
            })?;
            acked += acks as u64;
        }
        if let Some(failed) = failed {
            anyhow::bail!("a publish was refused: {failed}");
        }
    }
    client.write(b"UNSUB 2\r\n")?;
    Ok(sent)
}

fn publish_async(client: &mut Client, bytes: usize, time: Duration) -> Result<Run> {
    let since = Instant::now();
    let messages = publish_window(client, bytes, |_| since.elapsed() < time)?;
    Ok(Run {
        messages,
        elapsed: since.elapsed(),
    })
}

/// Every connection waits for each acknowledgement before it publishes again.
fn publish_sync(
    address: SocketAddr,
    bytes: usize,
    time: Duration,
    connections: usize,
) -> Result<Run> {
    let mut clients = Vec::new();
    for number in 0..connections {
        let mut client = Client::connect(address)?;
        client.write(format!("SUB _INBOX.sync{number} 1\r\n").as_bytes())?;
        client.round_trip()?;
        clients.push(client);
    }
    let since = Instant::now();
    let threads: Vec<_> = clients
        .into_iter()
        .enumerate()
        .map(|(number, mut client)| {
            thread::spawn(move || -> Result<u64> {
                let payload = "x".repeat(bytes);
                let one = format!("PUB bench.js.s _INBOX.sync{number} {bytes}\r\n{payload}\r\n");
                let mut messages = 0;
                while since.elapsed() < time {
                    client.write(one.as_bytes())?;
                    while client.next(&mut |_| {})? == 0 {}
                    messages += 1;
                }
                Ok(messages)
            })
        })
        .collect();
    let mut messages = 0;
    for thread in threads {
        messages += thread.join().ok().context("a publisher failed")??;
    }
    Ok(Run {
        messages,
        elapsed: since.elapsed(),
    })
}

/// How many messages a replay needs to last about `time`.
fn fill(client: &mut Client, bytes: usize, per_second: f64, time: Duration) -> Result<u64> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a small positive count"
    )]
    let wanted = (per_second * time.as_secs_f64()) as u64;
    publish_window(client, bytes, |sent| sent < wanted)
}

/// Pull requests of `PULL` messages, one at a time, each message acknowledged by itself.
fn pull(client: &mut Client, bytes: usize, time: Duration) -> Result<Run> {
    let total = fill(client, bytes, 200_000.0, time)?;
    let config = json!({ "stream_name": STREAM, "config": { "durable_name": "pull", "name": "pull",
        "ack_policy": "explicit", "deliver_policy": "all", "replay_policy": "instant",
        "max_ack_pending": 10_000, "ack_wait": 30_000_000_000_u64 } });
    client.api(&format!("CONSUMER.CREATE.{STREAM}.pull"), &config)?;
    client.write(b"SUB _INBOX.pull 3\r\n")?;
    let body = json!({ "batch": PULL, "expires": 30_000_000_000_u64 }).to_string();
    let request = format!(
        "PUB $JS.API.CONSUMER.MSG.NEXT.{STREAM}.pull _INBOX.pull {}\r\n{body}\r\n",
        body.len()
    );
    let since = Instant::now();
    let mut got = 0;
    let mut acks = Vec::with_capacity(PULL * 80);
    while got < total {
        client.write(request.as_bytes())?;
        let want = (got + PULL as u64).min(total);
        while got < want {
            acks.clear();
            client.next(&mut |message| {
                if let Some(reply) = message.reply.filter(|reply| reply.starts_with(b"$JS.ACK")) {
                    acks.extend_from_slice(b"PUB ");
                    acks.extend_from_slice(reply);
                    acks.extend_from_slice(b" 4\r\n+ACK\r\n");
                    got += 1;
                }
            })?;
            client.write(&acks)?;
        }
    }
    client.round_trip()?;
    let elapsed = since.elapsed();
    leave(client, 3)?;
    Ok(Run {
        messages: got,
        elapsed,
    })
}

/// A push consumer without acknowledgements replays the stream, with the flow control that clients' ordered consumers ask
/// for: without it nats-server cuts off a client that is slower than its disk.
fn push(client: &mut Client, bytes: usize, time: Duration) -> Result<Run> {
    let total = fill(client, bytes, 400_000.0, time)?;
    client.write(b"SUB _INBOX.push 4\r\n")?;
    client.round_trip()?;
    let config = json!({ "stream_name": STREAM, "config": { "deliver_subject": "_INBOX.push",
        "ack_policy": "none", "deliver_policy": "all", "replay_policy": "instant",
        "flow_control": true, "idle_heartbeat": 5_000_000_000_u64 } });
    let since = Instant::now();
    let body = config.to_string();
    let create = format!(
        "PUB $JS.API.CONSUMER.CREATE.{STREAM} _INBOX.made {}\r\n{body}\r\n",
        body.len()
    );
    client.write(create.as_bytes())?;
    let (mut got, mut caught_up) = (0, Vec::new());
    while got < total {
        client.next(&mut |message| {
            if !message.headers.starts_with(b"NATS/1.0 100") {
                got += 1;
            } else if let Some(reply) = message.reply {
                caught_up.extend_from_slice(b"PUB ");
                caught_up.extend_from_slice(reply);
                caught_up.extend_from_slice(b" 0\r\n\r\n");
            }
        })?;
        if !caught_up.is_empty() {
            client.write(&caught_up)?;
            caught_up.clear();
        }
    }
    let elapsed = since.elapsed();
    leave(client, 4)?;
    Ok(Run {
        messages: got,
        elapsed,
    })
}

/// Unsubscribes, so that what still comes is not taken for an answer of the API.
fn leave(client: &mut Client, sid: u32) -> Result<()> {
    client.write(format!("UNSUB {sid}\r\n").as_bytes())?;
    client.round_trip()
}
