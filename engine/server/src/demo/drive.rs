//! Takes the example through the server from end to end, and counts.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use millstream_connector_api::Kind;
use millstream_connector_runtime::{State, Status};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::example::Example;
use super::nats::{self, Client, Consumed};
use super::numbers::{Arrived, Numbers};
use super::receiver::Receiver;
use super::samples::Samples;
use super::{CONSUMER, COPY, DEAD_LETTERS, SOURCE, STATION, Screen, WEBHOOK, manage};
use crate::running::Running;

/// How often the numbers are looked at; also how exact the times are.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// When nothing has moved for so long, nothing will.
const PATIENCE: Duration = Duration::from_secs(60);
/// The variable of the sinks' file that holds the webhook's secret.
const SECRET: &str = "DEMO_WEBHOOK_SECRET";

/// What the demo came to.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) numbers: Numbers,
    /// As the management API lists them.
    pub(super) dead_letters: Vec<Value>,
    pub(super) samples: Samples,
    /// Goes on taking what the sinks send as long as this is kept.
    _receiver: Receiver,
}

impl Outcome {
    /// See [`Numbers::sums`].
    pub(super) fn sums(&self) -> serde_json::Map<String, Value> {
        self.numbers.sums()
    }

    /// See [`Numbers::wrong`].
    pub(super) fn wrong(&self) -> Vec<String> {
        self.numbers.wrong()
    }
}

/// The demo under way.
#[derive(Debug)]
pub(super) struct Drive<'a> {
    running: &'a Running,
    in_file: u64,
    copy: PathBuf,
    receiver: Receiver,
    client: Task,
    count: Arc<AtomicU64>,
    target: watch::Sender<Option<u64>>,
    since: Instant,
}

/// The client's task; ends with the demo.
#[derive(Debug)]
struct Task(JoinHandle<anyhow::Result<Consumed>>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Where everything is at one moment.
#[derive(Clone, Debug, Default)]
struct Sight {
    source: Status,
    delivered: u64,
    sunk: u64,
    copied: u64,
}

impl<'a> Drive<'a> {
    /// Applies the example, everything that takes records out, and last what brings them in.
    pub(super) async fn start(
        running: &'a Running,
        example: &Example,
        folder: &Path,
    ) -> anyhow::Result<Self> {
        let management = running.management();
        let receiver = Receiver::start().await?;
        let variables = BTreeMap::from([(SECRET.to_owned(), receiver.secret.clone())]);
        manage::apply(&*management, &example.station_file, &BTreeMap::new()).await?;
        if running.node().stream(STATION).is_none() {
            let file = example.station_file.display();
            bail!("`{file}` has no station `{STATION}`; the demo brings its records there");
        }
        let copy = folder.join("flights-copy.jsonl");
        let sinks = folder.join("sinks.yaml");
        std::fs::write(&sinks, sinks_yaml(&receiver, &copy))?;
        manage::apply(&*management, &sinks, &variables).await?;

        let mut client = Client::connect(running.nats_address()).await?;
        nats::create_consumer(&mut client, STATION, CONSUMER).await?;
        let (target, told) = watch::channel(None);
        let count = Arc::new(AtomicU64::new(0));
        let task = tokio::spawn(nats::consume(
            client,
            STATION,
            CONSUMER,
            told,
            Arc::clone(&count),
        ));

        let source = folder.join("source.yaml");
        std::fs::write(&source, source_yaml(&example.records))?;
        let since = Instant::now();
        manage::apply(&*management, &source, &variables).await?;
        let in_file = example.count();
        Ok(Self {
            running,
            in_file,
            copy,
            receiver,
            client: Task(task),
            count,
            target,
            since,
        })
    }

    /// Waits until everything has arrived everywhere, and counts.
    pub(super) async fn finish<W: Write>(
        mut self,
        screen: &mut Screen<W>,
    ) -> anyhow::Result<Outcome> {
        let mut numbers = self.arrive(screen).await?;
        let consumed = (&mut self.client.0).await.context("NATS client ended")??;
        numbers.delivered.records = consumed.acknowledged;
        let mut client = consumed.client;
        numbers.stored = messages(&mut client, STATION).await?;
        numbers.rejected = messages(&mut client, DEAD_LETTERS).await?;
        numbers.unacknowledged = unacknowledged(&mut client).await?;
        numbers.unsigned = self.receiver.refused();
        numbers.copied.records = lines(&self.copy)?;
        let plan = self
            .running
            .jetstream()
            .and_then(|jetstream| jetstream.plan(STATION));
        numbers.stages = plan.map(|plan| plan.snapshot()).unwrap_or_default();
        let management = self.running.management();
        let dead_letters =
            manage::dead_letters(&*management, STATION, numbers.rejected.max(1)).await?;
        Ok(Outcome {
            numbers,
            dead_letters,
            samples: consumed.samples,
            _receiver: self.receiver,
        })
    }

    /// Watches until the source is finished and all that was stored has arrived.
    async fn arrive<W: Write>(&mut self, screen: &mut Screen<W>) -> anyhow::Result<Numbers> {
        let mut numbers = Numbers {
            in_file: self.in_file,
            ..Numbers::default()
        };
        let mut tick = tokio::time::interval(LOOK_EVERY);
        let (mut moved, mut last) = (Instant::now(), (0, 0, 0, 0));
        loop {
            tick.tick().await;
            let sight = self.look()?;
            screen.show(&sight.line(self.in_file))?;
            let finished = sight.source.state == State::Finished;
            let after = self.since.elapsed();
            let target = finished.then_some(sight.source.stored);
            let arrived = |place: &mut Arrived, records: u64| {
                if place.records != records {
                    *place = Arrived { records, after };
                }
                target == Some(place.records)
            };
            if numbers.read.records != sight.source.records {
                numbers.read = Arrived {
                    records: sight.source.records,
                    after,
                };
            }
            let all = [
                arrived(&mut numbers.delivered, sight.delivered),
                arrived(&mut numbers.sunk, sight.sunk),
                arrived(&mut numbers.copied, sight.copied),
            ];
            if finished {
                let source = &sight.source;
                numbers.told = [source.stored, source.dropped, source.rejected];
                self.target.send_replace(target);
            }
            if all == [true; 3] {
                return Ok(numbers);
            }
            let now = (
                sight.source.records,
                sight.delivered,
                sight.sunk,
                sight.copied,
            );
            if now != last {
                (moved, last) = (Instant::now(), now);
            }
            if moved.elapsed() > PATIENCE {
                bail!(
                    "nothing has moved for {} seconds; {}",
                    PATIENCE.as_secs(),
                    sight.line(self.in_file)
                );
            }
            if self.client.0.is_finished() && !all[0] {
                // Says why in `finish`.
                return Ok(numbers);
            }
        }
    }

    fn look(&self) -> anyhow::Result<Sight> {
        let status = |kind, name: &str| {
            let status = self
                .running
                .connectors()
                .and_then(|connectors| connectors.status(kind, name));
            let status = status.unwrap_or_default();
            match (status.state, &status.last_error) {
                (State::Failed, Some(reason)) => bail!("`{name}` failed: {reason}"),
                (State::Failed | State::Stopped, _) => bail!("`{name}` ended early"),
                _ => Ok(status),
            }
        };
        let source = status(Kind::Source, SOURCE)?;
        // The receiver's own count is the one that matters; this only hears of a failure.
        status(Kind::Sink, WEBHOOK)?;
        let copied = status(Kind::Sink, COPY)?.records;
        let delivered = self.count.load(Ordering::Relaxed);
        Ok(Sight {
            source,
            delivered,
            sunk: self.receiver.records(),
            copied,
        })
    }
}

impl Sight {
    fn line(&self, of: u64) -> String {
        let Status {
            records,
            stored,
            rejected,
            dropped,
            ..
        } = self.source;
        let Self {
            delivered,
            sunk,
            copied,
            ..
        } = self;
        format!(
            "read {records} of {of} · stored {stored} · dropped {dropped} · rejected {rejected} · \
             NATS client {delivered} · webhook {sunk} · file {copied}"
        )
    }
}

async fn messages(client: &mut Client, stream: &str) -> anyhow::Result<u64> {
    let info = client
        .api(&format!("STREAM.INFO.{stream}"), &json!({}))
        .await?;
    let messages = info.pointer("/state/messages").and_then(Value::as_u64);
    messages.with_context(|| format!("stream `{stream}` does not say how many messages it has"))
}

/// Delivered without an acknowledgement, or not delivered at all. Acknowledgements are not answered, so the last ones may
/// still be on their way.
async fn unacknowledged(client: &mut Client) -> anyhow::Result<u64> {
    let since = Instant::now();
    let mut tick = tokio::time::interval(LOOK_EVERY);
    loop {
        tick.tick().await;
        let info = client
            .api(&format!("CONSUMER.INFO.{STATION}.{CONSUMER}"), &json!({}))
            .await?;
        let number = |name: &str| {
            info.get(name)
                .and_then(Value::as_u64)
                .context("consumer does not say what is pending")
        };
        let open = number("num_ack_pending")? + number("num_pending")?;
        if open == 0 || since.elapsed() > PATIENCE {
            return Ok(open);
        }
    }
}

fn lines(path: &Path) -> anyhow::Result<u64> {
    let text = std::fs::read_to_string(path);
    let text = text.with_context(|| format!("cannot read the file sink's `{}`", path.display()))?;
    Ok(text.lines().count() as u64)
}

/// A text as YAML reads it, whatever is in it.
fn quoted(text: &str) -> Value {
    Value::from(text)
}

fn sinks_yaml(receiver: &Receiver, copy: &Path) -> String {
    let (url, copy) = (
        format!("http://{}/flights", receiver.address),
        copy.to_string_lossy(),
    );
    format!(
        "# What `millstream demo` adds to the example to take records out.\n\
         kind: sink\nname: {WEBHOOK}\nconnector: http\nstation: {STATION}\n\
         config: {{ url: {}, secret: \"${{{SECRET}}}\", allow_private: true, batch: 250 }}\n\
         ---\n\
         kind: sink\nname: {COPY}\nconnector: file\nstation: {STATION}\n\
         config: {{ path: {}, batch: 250 }}\n",
        quoted(&url),
        quoted(&copy),
    )
}

fn source_yaml(records: &Path) -> String {
    format!(
        "# What `millstream demo` adds to the example to bring records in.\n\
         kind: source\nname: {SOURCE}\nconnector: file\n\
         config: {{ path: {}, subject: \"flights.{{carrier}}\", batch: 250 }}\n",
        quoted(&records.to_string_lossy()),
    )
}
