//! Publishers: as fast as the server reads, or as fast as it acknowledges.

use std::collections::VecDeque;
use std::io::Write as _;
use std::thread;
use std::time::Instant;

use crate::client::{Client, Received, Target};
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

/// Runs `each` once per publisher, all at the same time on connections that are made before, and adds them up.
pub(crate) fn at_once(
    target: &Target,
    count: usize,
    each: impl Fn(usize, Client) -> Result<(u64, Latency)> + Sync,
) -> Result<Run> {
    let mut clients = Vec::new();
    for _ in 0..count.max(1) {
        clients.push(Client::connect(target)?);
    }
    let since = Instant::now();
    let each = &each;
    thread::scope(|scope| {
        let threads: Vec<_> = clients
            .into_iter()
            .enumerate()
            .map(|(number, client)| scope.spawn(move || each(number, client)))
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
    at_once(target, count, |number, mut client| {
        let plan = plan.share(number, count);
        let (piece, many) = piece(subject, plan.bytes);
        let one = piece.len() as u64 / many;
        let ending = Ending::new(&plan, watch);
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
        Ok((messages, Latency::default()))
    })
}

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
    memchr::memmem::find(message.payload, b"\"error\"")
        .map(|_| LoadError::Publish(String::from_utf8_lossy(message.payload).into_owned()))
}

/// Publishes with at most `window` acknowledgements outstanding. `put` appends the operation of a message of a number, with
/// a reply subject that `inbox` (`….*`) covers. Latencies are from the write until the acknowledgement is read, and rest on
/// acknowledgements coming in the order of the messages.
///
/// # Errors
/// When the connection fails or an acknowledgement is an error.
pub fn publish_window(
    client: &mut Client,
    inbox: &str,
    window: usize,
    ending: &Ending<'_>,
    put: &mut dyn FnMut(u64, &mut Vec<u8>),
) -> Result<(u64, Latency)> {
    client.write(format!("SUB {inbox} 2\r\n").as_bytes())?;
    let window = window.max(1) as u64;
    let mut buffer = Vec::with_capacity(CHUNK * 2);
    let (mut sent, mut acked): (u64, u64) = (0, 0);
    // What was written when: acknowledgements take from the front.
    let mut flights: VecDeque<(u64, Instant)> = VecDeque::new();
    let mut latency = Latency::default();
    let mut failed = None;
    let mut going = true;
    while going || acked < sent {
        let left = if going { ending.left(sent) } else { 0 };
        going = left > 0;
        let most = (sent + left.min(window)).min(acked + window);
        let first = sent;
        buffer.clear();
        while going && sent < most && buffer.len() < CHUNK {
            put(sent, &mut buffer);
            sent += 1;
        }
        if sent > first {
            flights.push_back((sent, Instant::now()));
            client.write(&buffer)?;
        }
        if sent - acked >= window || (!going && acked < sent) {
            let acks = client.next(&mut |message| {
                failed = failed.take().or_else(|| refusal(&message));
            })? as u64;
            if let Some(failed) = failed {
                return Err(failed);
            }
            let now = Instant::now();
            let mut rest = acks;
            while rest > 0
                && let Some((end, written)) = flights.front()
            {
                let many = rest.min(end - acked);
                latency.record_n(now - *written, many);
                acked += many;
                rest -= many;
                if acked == *end {
                    flights.pop_front();
                }
            }
            ending.watch().add(acks);
        }
    }
    client.write(b"UNSUB 2\r\n")?;
    Ok((sent, latency))
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
    let payload = vec![b'x'; plan.bytes];
    at_once(target, publishers.count, |number, mut client| {
        let plan = plan.share(number, publishers.count);
        let inbox = format!("_INBOX.b{}x{number}.", std::process::id());
        let ending = Ending::new(&plan, watch);
        publish_window(
            &mut client,
            &format!("{inbox}*"),
            publishers.window,
            &ending,
            &mut |number, buffer| put_publish(buffer, subject, (&inbox, number), &payload),
        )
    })
}
