//! What a burden costs: two servers of one binary, one plain and one laden, publish in alternating rounds while the other is
//! frozen. Memory of the two after the same publishes gives what one piece of the burden takes.

use std::io::Write as _;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use millstream_load::{
    Client, Ending, Plan, Run, Target, Watch, create_stream, publish_window, put_publish,
    stream_config,
};
use serde_json::{Value, json};

use crate::cases::{STREAM, WINDOW};
use crate::common::{Common, Stage};
use crate::process::{Server, Side};
use crate::sink::{Sink, ratio, round};
use crate::stats::spread;

/// API requests under way while a burden is laid on.
const REQUESTS: usize = 64;
const PAYLOAD: [u8; 128] = [b'x'; 128];

/// What a server carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Durable consumers of the published stream, each with a filter of its own that nothing matches.
    Consumers,
    /// The same, each with a pull request that waits.
    Waiting,
    /// Other streams.
    Streams,
    /// Subjects, published to one after the other.
    Subjects,
    /// Subjects, published to in random order.
    RandomSubjects,
    /// Message ids, every one new.
    Ids,
    /// The same bytes as a header that means nothing: what ids cost before any is remembered.
    Headers,
}

/// A burden: what, and how many.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Burden {
    pub(crate) name: &'static str,
    kind: Kind,
    count: u64,
}

const fn burden(name: &'static str, kind: Kind, count: u64) -> Burden {
    Burden { name, kind, count }
}

pub(crate) const BURDENS: [Burden; 12] = [
    burden("consumers-100", Kind::Consumers, 100),
    burden("consumers-1k", Kind::Consumers, 1000),
    burden("waiting-1k", Kind::Waiting, 1000),
    burden("streams-100", Kind::Streams, 100),
    burden("streams-1k", Kind::Streams, 1000),
    burden("streams-10k", Kind::Streams, 10_000),
    burden("subjects-10k", Kind::Subjects, 10_000),
    burden("subjects-1m", Kind::Subjects, 1_000_000),
    burden("subjects-1m-random", Kind::RandomSubjects, 1_000_000),
    burden("ids-100k", Kind::Ids, 100_000),
    burden("ids-1m", Kind::Ids, 1_000_000),
    burden("headers-1m", Kind::Headers, 1_000_000),
];

/// `cost`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Cost {
    /// Which burdens: names such as `streams-1k`, or beginnings of names such as `streams`; `all` is every one.
    #[arg(long, default_value = "all", value_delimiter = ',')]
    pub(crate) burden: Vec<String>,
}

pub(crate) fn run(common: &Common, options: &Cost, sink: &mut Sink) -> Result<()> {
    let fits = |name: &str| {
        options
            .burden
            .iter()
            .any(|want| want == "all" || name.starts_with(want.as_str()))
    };
    let chosen: Vec<&Burden> = BURDENS.iter().filter(|burden| fits(burden.name)).collect();
    if chosen.is_empty() {
        bail!(
            "there is no burden `{}`; `millstream-bench cases` lists them",
            options.burden.join(",")
        );
    }
    let stage = common.stage()?;
    for burden in chosen {
        for side in stage.sides() {
            let columns = measure(&stage, side, burden, common)
                .with_context(|| format!("{} with {}", side.name(), burden.name))?;
            sink.row("cost", columns)?;
        }
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
fn measure(stage: &Stage, side: Side, burden: &Burden, common: &Common) -> Result<Value> {
    let plain = stage.start(side, "plain")?;
    let laden = stage.start(side, "laden")?;
    for server in [&plain, &laden] {
        let mut client = Client::connect(&server.target())?;
        create_stream(&mut client, STREAM, &["bench.js.>"])?;
    }
    let mut writers = [Writer::new(burden, false), Writer::new(burden, true)];
    // Kept until the end: pull requests wait as long as their connection lives.
    let held = lay_on(&laden.target(), burden)?;
    let filled = match burden.kind {
        Kind::Subjects | Kind::RandomSubjects | Kind::Ids | Kind::Headers => burden.count,
        _ => 20_000,
    };
    let plan = Plan::counting(PAYLOAD.len(), filled);
    for (server, writer) in [&plain, &laden].into_iter().zip(&mut writers) {
        writer.publish(&server.target(), &plan)?;
    }
    // Both have stored the same by now; what they hold more is the burden's.
    let (light, heavy) = (plain.resident(), laden.resident());
    let (mut ratios, mut rates) = (Vec::new(), [Vec::new(), Vec::new()]);
    let mut cpu = [Vec::new(), Vec::new()];
    for _ in 0..common.rounds.max(1) {
        for (index, (server, other)) in [(&plain, &laden), (&laden, &plain)].into_iter().enumerate()
        {
            other.pause()?;
            let (run, spent) = timed(server, &mut writers[index], common.time())?;
            other.resume()?;
            rates[index].push(run.rate());
            cpu[index].push(spent);
        }
        if let [Some(plain), Some(laden)] = [rates[0].last(), rates[1].last()] {
            ratios.push(laden / plain);
        }
    }
    drop(held);
    drop((plain, laden));
    stage.clear("plain");
    stage.clear("laden");
    let (median, spread_text) = ratio(ratios);
    let [none, with] = rates.map(|rates| spread(rates).0.round());
    let [cpu_none, cpu_with] = cpu.map(|cpu| round(spread(cpu).0));
    Ok(
        json!({ "server": side.name(), "burden": burden.name, "ratio": median, "spread": spread_text,
        "none/s": none, "laden/s": with, "none CPU us": cpu_none, "laden CPU us": cpu_with,
        "plain MiB": round(light / 1_048_576.0), "laden MiB": round(heavy / 1_048_576.0),
        "bytes each": ((heavy - light) / burden.count as f64).round() }),
    )
}

/// A run with the server's CPU microseconds per message.
#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
fn timed(server: &Server, writer: &mut Writer, time: Duration) -> Result<(Run, f64)> {
    let before = server.cpu();
    let run = writer.publish(&server.target(), &Plan::lasting(PAYLOAD.len(), time))?;
    Ok((
        run.clone(),
        (server.cpu() - before) * 1e6 / run.messages.max(1) as f64,
    ))
}

/// Makes the burden's consumers or streams; the connection that holds what waits.
fn lay_on(target: &Target, burden: &Burden) -> Result<Client> {
    let mut client = Client::connect(target)?;
    match burden.kind {
        Kind::Consumers | Kind::Waiting => {
            let requests = (0..burden.count).map(|number| {
                let config = json!({ "durable_name": format!("c{number}"), "name": format!("c{number}"),
                    "ack_policy": "explicit", "deliver_policy": "all", "replay_policy": "instant",
                    "filter_subject": format!("bench.js.idle.{number}") });
                let subject = format!("CONSUMER.CREATE.{STREAM}.c{number}.bench.js.idle.{number}");
                (subject, json!({ "stream_name": STREAM, "config": config }))
            });
            client.api_many(requests, REQUESTS)?;
        }
        Kind::Streams => {
            let requests = (0..burden.count).map(|number| {
                let name = format!("IDLE{number}");
                let config = stream_config(&name, &[&format!("idle.{number}.>")]);
                (format!("STREAM.CREATE.{name}"), config)
            });
            client.api_many(requests, REQUESTS)?;
        }
        Kind::Subjects | Kind::RandomSubjects | Kind::Ids | Kind::Headers => {}
    }
    if burden.kind == Kind::Waiting {
        let mut text = "SUB _INBOX.wait.* 1\r\n".to_owned();
        // An hour: longer than any run.
        let body = json!({ "batch": 1, "expires": 3_600_000_000_000_u64 }).to_string();
        for number in 0..burden.count {
            text.push_str(&format!(
                "PUB $JS.API.CONSUMER.MSG.NEXT.{STREAM}.c{number} _INBOX.wait.{number} {}\r\n{body}\r\n",
                body.len()
            ));
        }
        client.write(text.as_bytes())?;
        client.round_trip()?;
    }
    Ok(client)
}

/// Writes the publishes of one server; numbers go on from run to run, so that ids stay new.
struct Writer {
    kind: Option<Kind>,
    count: u64,
    number: u64,
}

impl Writer {
    fn new(burden: &Burden, laden: bool) -> Self {
        Self {
            kind: laden.then_some(burden.kind),
            count: burden.count,
            number: 0,
        }
    }

    fn publish(&mut self, target: &Target, plan: &Plan) -> Result<Run> {
        let mut client = Client::connect(target)?;
        let watch = Watch::default();
        let ending = Ending::new(plan, &watch);
        let mut put = |number: u64, buffer: &mut Vec<u8>| self.put(number, buffer);
        let (messages, latency) =
            publish_window(&mut client, "_INBOX.c.*", WINDOW, &ending, &mut put)?;
        Ok(Run {
            messages,
            elapsed: ending.since().elapsed(),
            latency,
        })
    }

    fn put(&mut self, reply: u64, buffer: &mut Vec<u8>) {
        let number = self.number;
        self.number += 1;
        // Of one length and made in the same way with and without the burden.
        let subject = match self.kind {
            Some(Kind::Subjects) => number % self.count,
            Some(Kind::RandomSubjects) => mixed(number) % self.count,
            _ => 0,
        };
        let name = match self.kind {
            Some(Kind::Ids) => Some("Nats-Msg-Id"),
            Some(Kind::Headers) => Some("Bench-No-Id"),
            _ => None,
        };
        if let Some(name) = name {
            // Writing to a vector does not fail. 22 bytes, as client libraries make them.
            let _never = write!(
                buffer,
                "HPUB bench.js.s.{subject:07} _INBOX.c.{reply} 49 177\r\n\
                 NATS/1.0\r\n{name}: {:022}\r\n\r\n",
                mixed(number)
            );
            buffer.extend_from_slice(&PAYLOAD);
            buffer.extend_from_slice(b"\r\n");
            return;
        }
        let subject = format!("bench.js.s.{subject:07}");
        put_publish(buffer, &subject, ("_INBOX.c.", reply), &PAYLOAD);
    }
}

/// A number without an order, different for different ones (the finalizer of splitmix64).
fn mixed(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::{BURDENS, Burden, Kind, Writer};

    #[test]
    fn headers_have_the_length_they_claim() {
        let with = |burden: &&Burden| matches!(burden.kind, Kind::Ids | Kind::Headers);
        let writers = BURDENS.iter().filter(with);
        let replies = [0, 7, 123_456];
        for (burden, reply) in writers.flat_map(|burden| replies.map(|reply| (burden, reply))) {
            let mut writer = Writer::new(burden, true);
            let mut buffer = Vec::new();
            writer.put(reply, &mut buffer);
            let text = String::from_utf8(buffer).expect("text");
            let (line, rest) = text.split_once("\r\n").expect("a line");
            assert!(line.ends_with(" 49 177"), "{line}");
            let head = rest.find("\r\n\r\n").expect("headers") + 4;
            assert_eq!((head, rest.len()), (49, 177 + 2), "{text:?}");
        }
    }
}
