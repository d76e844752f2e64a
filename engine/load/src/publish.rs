//! Publishers: as fast as the server reads, or as fast as it acknowledges.

use std::io::Write as _;
use std::sync::LazyLock;
use std::thread;
use std::time::Instant;

use memchr::memmem::Finder;

use crate::client::{Client, Received, Target};
use crate::crowd::crowd;
use crate::error::{LoadError, Result};
use crate::latency::Latency;
use crate::plan::{Ending, Plan, Run, Watch};

/// Bytes of operations written at once.
pub(crate) const CHUNK: usize = 64 * 1024;

/// How many publish, and how many acknowledgements each leaves outstanding.
#[derive(Clone, Copy, Debug)]
pub struct Publishers {
    /// Connections.
    pub count: usize,
    /// Unacknowledged messages of each; 1 waits for every acknowledgement.
    pub window: usize,
}

/// Appends one PUB operation.
pub fn put_publish(buffer: &mut Vec<u8>, subject: &str, reply: (&str, u64), payload: &[u8]) {
    let (inbox, number) = reply;
    // Writing to a vector does not fail.
    let _never = write!(
        buffer,
        "PUB {subject} {inbox}{number} {}\r\n",
        payload.len()
    );
    buffer.extend_from_slice(payload);
    buffer.extend_from_slice(b"\r\n");
}

/// Many PUB operations in one piece, and how many they are.
pub(crate) fn piece(subject: &str, bytes: usize) -> (Vec<u8>, u64) {
    let one = format!("PUB {subject} {bytes}\r\n{}\r\n", "x".repeat(bytes));
    let count = (CHUNK / one.len()).max(1);
    (one.repeat(count).into_bytes(), count as u64)
}

/// Makes `count` connections, has `threads` (at least one, and no more than there is work for) deal with them at the same
/// time, each with its part of the numbered connections, and adds up what they come to.
pub(crate) fn at_once(
    target: &Target,
    count: usize,
    threads: usize,
    each: impl Fn(Vec<(usize, Client)>) -> Result<(u64, Latency)> + Sync,
) -> Result<Run> {
    let count = count.max(1);
    let mut parts: Vec<Vec<(usize, Client)>> = Vec::new();
    parts.resize_with(threads.clamp(1, count), Vec::new);
    for number in 0..count {
        let part = number % parts.len();
        parts[part].push((number, Client::connect(target)?));
    }
    let since = Instant::now();
    let each = &each;
    thread::scope(|scope| {
        let threads: Vec<_> = parts
            .into_iter()
            .map(|part| scope.spawn(move || each(part)))
            .collect();
        let mut run = Run::default();
        for thread in threads {
            let (messages, latency) = thread.join().map_err(|_| LoadError::Thread)??;
            run.messages += messages;
            run.latency.merge(&latency);
        }
        run.elapsed = since.elapsed();
        Ok(run)
    })
}

/// Core publishes without a subscriber, until the server has read them all.
///
/// # Errors
/// When a connection fails.
pub fn publish_core(
    target: &Target,
    subject: &str,
    plan: &Plan,
    count: usize,
    watch: &Watch,
) -> Result<Run> {
    // Nothing is waited for but room in the socket, so each has a thread.
    at_once(target, count, count, |clients| {
        let mut messages = 0;
        for (number, mut client) in clients {
            let plan = plan.share(number, count);
            messages += flood(&mut client, subject, &plan, watch)?;
        }
        Ok((messages, Latency::default()))
    })
}

/// Core publishes on one connection, until the server has read them all; answers how many.
fn flood(client: &mut Client, subject: &str, plan: &Plan, watch: &Watch) -> Result<u64> {
    let (piece, many) = piece(subject, plan.bytes);
    let one = piece.len() as u64 / many;
    let ending = Ending::new(plan, watch);
    let mut messages = 0;
    loop {
        let now = ending.left(messages).min(many);
        if now == 0 {
            break;
        }
        let bytes = usize::try_from(now * one).unwrap_or(piece.len());
        client.write(&piece[..bytes])?;
        messages += now;
        watch.add(now);
    }
    client.round_trip()?;
    Ok(messages)
}

/// Made once: a search of a few bytes costs less than making its searcher.
static ERROR: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"error\""));

/// What an acknowledgement says against it.
pub(crate) fn refusal(message: &Received<'_>) -> Option<LoadError> {
    match message.status() {
        Some(b"503") => return Some(LoadError::Publish("nobody takes the subject".to_owned())),
        Some(status) if matches!(status.first(), Some(b'4' | b'5')) => {
            let status = String::from_utf8_lossy(status);
            return Some(LoadError::Publish(format!("status {status}")));
        }
        _ => {}
    }
    ERROR
        .find(message.payload)
        .map(|_| LoadError::Publish(String::from_utf8_lossy(message.payload).into_owned()))
}

/// Publishes to a stream's subject and counts what was acknowledged.
///
/// # Errors
/// When a connection fails or an acknowledgement is an error.
pub fn publish_durable(
    target: &Target,
    subject: &str,
    plan: &Plan,
    publishers: Publishers,
    watch: &Watch,
) -> Result<Run> {
    crowd(target, plan, publishers, watch, |number| {
        let inbox = format!("_INBOX.b{}x{number}.", std::process::id());
        let (subject, payload) = (subject.to_owned(), vec![b'x'; plan.bytes]);
        let covers = format!("{inbox}*");
        let put = move |number: u64, buffer: &mut Vec<u8>| {
            put_publish(buffer, &subject, (&inbox, number), &payload);
        };
        (covers, Box::new(put))
    })
}
