//! The queries of Nexmark as flows: from stations that hold all events to a station of results, one query at a time.
//!
//! What counts is how much of a core an event takes, from /proc: the machine's load moves the time that a query takes, not
//! this. Published figures count every event of the generator, also those that a query does not read, as others keep all
//! of them in one stream; here they are in a station per kind. Both are shown.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use millstream_load::{Client, Ending, Plan, Watch, publish_window, put_publish};
use millstream_nexmark::{COLUMNS, Generator, Query, Station, queries};
use serde_json::json;

use crate::cases::WINDOW;
use crate::common::Common;
use crate::process::{Server, Side};
use crate::sink::{Sink, round};
use crate::stats::spread;

/// Thousands of events a second and core that others published, the best of those in `design/sql.md`: Flink and RisingWave,
/// which do not run q6.
const PUBLISHED: [(&str, f64); 22] = [
    ("q0", 379.0),
    ("q1", 395.0),
    ("q2", 414.0),
    ("q3", 219.0),
    ("q4", 34.3),
    ("q5", 75.0),
    ("q7", 99.4),
    ("q8", 162.0),
    ("q9", 14.2),
    ("q10", 133.0),
    ("q11", 46.0),
    ("q12", 194.0),
    ("q13", 188.0),
    ("q14", 259.0),
    ("q15", 168.0),
    ("q16", 45.0),
    ("q17", 161.0),
    ("q18", 65.0),
    ("q19", 44.0),
    ("q20", 19.0),
    ("q21", 147.0),
    ("q22", 212.0),
];
/// Rows that q13 looks up.
const SIDE: u64 = 10_000;
/// Between two looks at a flow.
const LOOK: Duration = Duration::from_millis(20);
/// How long a query may take.
const PATIENCE: Duration = Duration::from_secs(600);

#[derive(Debug, clap::Args)]
pub(crate) struct Nexmark {
    /// Which queries; all by default.
    #[arg(long, value_delimiter = ',')]
    query: Vec<String>,
    /// Events of the generator, of which 46 in 50 are bids.
    #[arg(long, default_value_t = 1_000_000)]
    events: u64,
}

pub(crate) fn run(common: &Common, options: &Nexmark, sink: &mut Sink) -> Result<()> {
    let stage = common.stage()?;
    let server = stage.start(Side::Ours, "nexmark")?;
    let file = stage.folder.path().join("nexmark.yaml");
    fs::write(&file, stations())?;
    server.cli(&stage.ours, &["apply", "-f"], &file)?;
    let counts = fill(&server, options.events)?;
    let chosen = |query: &&Query| {
        options.query.is_empty() || options.query.iter().any(|name| name == query.name)
    };
    for query in queries().iter().filter(chosen) {
        let read = query.reads();
        let read = read.iter().map(|station| counts[*station as usize]).sum();
        let mut runs = Vec::new();
        for number in 0..common.rounds {
            runs.push(once(&stage.ours, &server, &file, query, number, read)?);
        }
        let figure = |of: fn(&Run) -> f64| spread(runs.iter().map(of).collect());
        let (cpu, low, high) = figure(|run| run.cpu);
        let per_core = |events: u64| events as f64 / cpu / 1e3;
        let published = PUBLISHED.iter().find(|(name, _)| *name == query.name);
        sink.row(
            "nexmark",
            json!({
                "query": query.name,
                "read": read,
                "results": figure(|run| run.results).0,
                "read/s": (read as f64 / figure(|run| run.seconds).0).round(),
                "CPU us/read": round(cpu * 1e6 / read as f64),
                "spread": format!("{:.2}-{:.2}", low * 1e6 / read as f64, high * 1e6 / read as f64),
                "read k/s/core": round(per_core(read)),
                "events k/s/core": round(per_core(options.events)),
                "published k/s/core": published.map_or(json!("-"), |(_, best)| json!(best)),
                "state MiB": round(figure(|run| run.state).0 / 1024.0 / 1024.0),
            }),
        )?;
    }
    Ok(())
}

/// What one run of a query took.
struct Run {
    seconds: f64,
    /// Seconds of a core.
    cpu: f64,
    results: f64,
    state: f64,
}

/// The stations of events, of what q13 looks up, and of what is late.
fn stations() -> String {
    let mut text = String::new();
    for (station, columns) in COLUMNS {
        let name = station.name();
        let columns = columns.iter().map(|(name, kind)| {
            let kind = if *kind == "int64" { "int" } else { kind };
            format!("{name}: {kind}")
        });
        let columns = columns.collect::<Vec<_>>().join(", ");
        let _written = writeln!(
            text,
            "kind: station\nname: {name}\nsubjects: [\"nexmark.{name}\"]\ncolumns: {{ {columns} }}\n---"
        );
    }
    text + "kind: station\nname: side_input\nsubjects: [\"side.>\"]\n"
}

/// Publishes all events in their order, and answers how many there are of each station, by [`Station`]'s number.
fn fill(server: &Server, events: u64) -> Result<[u64; 3]> {
    let generator = Generator::default();
    let mut counts = [0; 3];
    let mut number = 0;
    publish(server, events, &mut |reply, buffer| {
        let event = generator.event(number);
        number += 1;
        counts[event.station as usize] += 1;
        let subject = format!("nexmark.{}", event.station.name());
        put_publish(
            buffer,
            &subject,
            ("_INBOX.n.", reply),
            event.json.as_bytes(),
        );
    })?;
    let mut key = 0;
    publish(server, SIDE, &mut |reply, buffer| {
        let row = json!({ "key": key, "value": format!("value of {key}") }).to_string();
        let subject = format!("side.{key}");
        key += 1;
        put_publish(buffer, &subject, ("_INBOX.n.", reply), row.as_bytes());
    })?;
    // The last put of each may be one that is not sent.
    let mut stored = [0; 3];
    for station in Station::ALL {
        let described = server.get(&format!("/api/v1/stations/{}", station.name()))?;
        let messages = described["state"]["messages"].as_u64();
        stored[station as usize] =
            messages.with_context(|| format!("messages of {}: {described}", station.name()))?;
    }
    if stored.iter().sum::<u64>() != events {
        bail!("{events} events were published, and {stored:?} of {counts:?} stored");
    }
    Ok(stored)
}

fn publish(server: &Server, count: u64, put: &mut dyn FnMut(u64, &mut Vec<u8>)) -> Result<()> {
    let mut client = Client::connect(&server.target())?;
    let watch = Watch::default();
    let ending = Ending::new(&Plan::counting(200, count), &watch);
    let mut put = |reply: u64, buffer: &mut Vec<u8>| put(reply, buffer);
    publish_window(&mut client, "_INBOX.n.*", WINDOW, &ending, &mut put)?;
    Ok(())
}

fn once(
    binary: &Path,
    server: &Server,
    file: &Path,
    query: &Query,
    number: usize,
    read: u64,
) -> Result<Run> {
    let name = format!("{}-{number}", query.name);
    let sql = query.sql().replace('\n', "\n  ");
    let options = query.options();
    // Results that change have a subject each.
    let subjects = match options.contains("subject:") {
        true => format!("nexmark.{}.>", query.name),
        false => format!("out.{name}"),
    };
    fs::write(
        file,
        format!(
            "kind: station\nname: out-{name}\nsubjects: [\"{subjects}\"]\n---\n\
             kind: flow\nname: {name}\ninto: out-{name}\nstart: beginning\nstate_limit: 8GiB\n{options}sql: |\n  {sql}\n"
        ),
    )?;
    let (began, before) = (Instant::now(), server.cpu());
    server.cli(binary, &["apply", "-f"], file)?;
    let run = loop {
        let described = server.get(&format!("/api/v1/flows/{name}"))?;
        let status = &described["status"];
        if status["lag_messages"] == 0 && status["inputs"].as_u64() >= Some(read) {
            let figure = |value: &serde_json::Value| value.as_f64().unwrap_or(f64::NAN);
            break Run {
                seconds: began.elapsed().as_secs_f64(),
                cpu: server.cpu() - before,
                results: figure(&status["outputs"]),
                state: figure(&status["query"]["state_bytes"]),
            };
        }
        if began.elapsed() > PATIENCE {
            bail!("{name} does not come to the end: {described}");
        }
        std::thread::sleep(LOOK);
    };
    server.cli(binary, &["delete", "flow"], &name)?;
    server.cli(binary, &["delete", "station"], format!("out-{name}"))?;
    Ok(run)
}
