//! A small NATS client over a plain socket, the demo's proof that any client can read a station: JetStream requests, and a
//! pull consumer whose messages are acknowledged one by one.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, anyhow, bail};
use bytes::Bytes;
use millstream_types::HeaderBlock;
use millstream_wire::{
    ConnectOptions, PING, PONG, ServerOp, ServerParser, put_connect, put_pub, put_sub,
};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::samples::Samples;

/// Messages asked for in one pull.
const BATCH: u64 = 250;
/// How long a pull waits for them, in nanoseconds as the API counts.
const EXPIRES_NANOS: u64 = 5_000_000_000;
/// Bytes read at once.
const READ: usize = 64 << 10;

/// A message as it came.
#[derive(Debug)]
pub(super) struct Delivery {
    subject: Vec<u8>,
    reply: Option<Vec<u8>>,
    headers: Bytes,
    payload: Vec<u8>,
}

/// A connection with one subscription to its own inbox.
#[derive(Debug)]
pub(super) struct Client {
    stream: TcpStream,
    parser: ServerParser,
    input: Vec<u8>,
    /// How much of `input` is done with.
    done: usize,
    output: Vec<u8>,
    inbox: String,
    requests: u64,
}

enum Event {
    Info,
    Pong,
    Message(Delivery),
}

impl Client {
    /// Connects, and subscribes to an inbox.
    pub(super) async fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await;
        let stream =
            stream.with_context(|| format!("cannot connect to `{address}` as a NATS client"))?;
        stream.set_nodelay(true)?;
        let mut client = Self {
            stream,
            parser: ServerParser::new(),
            input: Vec::with_capacity(READ),
            done: 0,
            output: Vec::new(),
            inbox: format!("_INBOX.demo{}", std::process::id()),
            requests: 0,
        };
        let Event::Info = client.event().await? else {
            bail!("server did not begin with INFO")
        };
        let options = ConnectOptions {
            verbose: false,
            pedantic: false,
            headers: true,
            no_responders: true,
            name: "millstream demo".to_owned(),
            lang: "rust".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..ConnectOptions::default()
        };
        put_connect(&mut client.output, &options);
        put_sub(
            &mut client.output,
            format!("{}.*", client.inbox).as_bytes(),
            None,
            b"1",
        );
        client.output.extend_from_slice(PING);
        loop {
            if let Event::Pong = client.event().await? {
                return Ok(client);
            }
        }
    }

    /// A JetStream API request and its answer; an `error` in the answer is an error here.
    pub(super) async fn api(&mut self, subject: &str, body: &Value) -> anyhow::Result<Value> {
        let reply = self.ask(&format!("$JS.API.{subject}"), body);
        let answer = loop {
            if let Event::Message(message) = self.event().await?
                && message.subject == reply.as_bytes()
            {
                break message;
            }
        };
        let answer: Value = serde_json::from_slice(&answer.payload)
            .with_context(|| format!("`$JS.API.{subject}` was not answered with JSON"))?;
        match answer.get("error") {
            Some(error) => Err(anyhow!("`$JS.API.{subject}` failed: {error}")),
            None => Ok(answer),
        }
    }

    /// Queues a request and answers where its reply goes.
    fn ask(&mut self, subject: &str, body: &Value) -> String {
        self.requests += 1;
        let reply = format!("{}.{}", self.inbox, self.requests);
        let body = body.to_string();
        put_pub(
            &mut self.output,
            subject.as_bytes(),
            Some(reply.as_bytes()),
            body.as_bytes(),
        );
        reply
    }

    /// The next thing the server says. What is queued goes out before waiting, so acknowledgements travel in batches.
    /// Dropped while waiting, it has lost nothing that was read.
    async fn event(&mut self) -> anyhow::Result<Event> {
        loop {
            while let Some((op, used)) = self.parser.next(&self.input[self.done..])? {
                let event = match op {
                    ServerOp::Info(_) => Some(Event::Info),
                    ServerOp::Pong => Some(Event::Pong),
                    ServerOp::Ok => None,
                    ServerOp::Ping => {
                        self.output.extend_from_slice(PONG);
                        None
                    }
                    ServerOp::Err(text) => bail!("server said: {}", String::from_utf8_lossy(text)),
                    ServerOp::Msg {
                        subject,
                        reply,
                        headers,
                        payload,
                        ..
                    } => Some(Event::Message(Delivery {
                        subject: subject.to_vec(),
                        reply: reply.map(<[u8]>::to_vec),
                        headers: Bytes::copy_from_slice(headers),
                        payload: payload.to_vec(),
                    })),
                };
                self.done += used;
                if let Some(event) = event {
                    return Ok(event);
                }
            }
            self.input.drain(..self.done);
            self.done = 0;
            while !self.output.is_empty() {
                // One write at a time, so that what was written is known when this is dropped.
                let written = self
                    .stream
                    .write(&self.output)
                    .await
                    .context("NATS connection broke")?;
                self.output.drain(..written);
            }
            self.input.reserve(READ);
            if self
                .stream
                .read_buf(&mut self.input)
                .await
                .context("NATS connection broke")?
                == 0
            {
                bail!("server closed the NATS connection");
            }
        }
    }
}

/// What the client has got.
#[derive(Debug)]
pub(super) struct Consumed {
    /// For more requests.
    pub(super) client: Client,
    /// Different messages it acknowledged.
    pub(super) acknowledged: u64,
    /// A few of them.
    pub(super) samples: Samples,
}

/// Makes the consumer: durable, explicit acknowledgements, from the first message.
pub(super) async fn create_consumer(
    client: &mut Client,
    stream: &str,
    consumer: &str,
) -> anyhow::Result<()> {
    let config = json!({
        "durable_name": consumer,
        "ack_policy": "explicit",
        "deliver_policy": "all",
        "max_ack_pending": 4 * BATCH,
    });
    let body = json!({ "stream_name": stream, "config": config });
    client
        .api(&format!("CONSUMER.CREATE.{stream}.{consumer}"), &body)
        .await?;
    Ok(())
}

/// Pulls and acknowledges until as many different messages came as `target` says once it is known.
pub(super) async fn consume(
    mut client: Client,
    stream: &str,
    consumer: &str,
    mut target: watch::Receiver<Option<u64>>,
    count: Arc<AtomicU64>,
) -> anyhow::Result<Consumed> {
    let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}");
    let request = json!({ "batch": BATCH, "expires": EXPIRES_NANOS });
    let mut seqs = BTreeSet::new();
    let mut samples = Samples::default();
    let mut pull = (String::new(), 0);
    loop {
        if target
            .borrow_and_update()
            .is_some_and(|target| seqs.len() as u64 >= target)
        {
            break;
        }
        if pull.1 == 0 {
            pull = (client.ask(&subject, &request), BATCH);
        }
        let event = tokio::select! {
            event = client.event() => event?,
            changed = target.changed() => match changed {
                Ok(()) => continue,
                Err(_) => bail!("demo gave up"),
            },
        };
        let Event::Message(message) = event else {
            continue;
        };
        match &message.reply {
            Some(reply) => {
                seqs.insert(sequence(reply)?);
                put_pub(&mut client.output, reply, None, b"+ACK");
                pull.1 -= 1;
                count.store(seqs.len() as u64, Ordering::Relaxed);
                samples.offer(&message.subject, &message.payload);
            }
            None if message.subject == pull.0.as_bytes() => {
                ended(&message)?;
                pull.1 = 0;
            }
            // The end of an older pull.
            None => {}
        }
    }
    Ok(Consumed {
        client,
        acknowledged: seqs.len() as u64,
        samples,
    })
}

/// A status: the pull's time is over, or something is wrong.
fn ended(message: &Delivery) -> anyhow::Result<()> {
    let block = HeaderBlock::new(&message.headers);
    let status = String::from_utf8_lossy(block.status()).into_owned();
    match status.split_whitespace().next() {
        Some("404" | "408") => Ok(()),
        _ => bail!("pull was answered with `{status}`"),
    }
}

/// The stream's sequence in an acknowledgement's subject:
/// `$JS.ACK.<stream>.<consumer>.<deliveries>.<stream seq>.<consumer seq>.<time>.<pending>`.
fn sequence(reply: &[u8]) -> anyhow::Result<u64> {
    let reply = std::str::from_utf8(reply).context("acknowledgement's subject is no text")?;
    let tokens: Vec<&str> = reply.split('.').collect();
    match tokens[..] {
        ["$JS", "ACK", _, _, _, seq, _, _, _] => Ok(seq.parse()?),
        _ => bail!("`{reply}` is no subject for acknowledgements"),
    }
}

#[cfg(test)]
mod tests {
    use super::sequence;

    #[test]
    fn the_sequence_is_the_streams() {
        assert_eq!(
            sequence(b"$JS.ACK.flights.demo.1.17.16.1700000000000000000.4").expect("valid"),
            17
        );
        assert!(sequence(b"_INBOX.x.1").is_err());
    }
}
