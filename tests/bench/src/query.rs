//! Questions to what is stored: how fast they read, and what publishers feel while they run.

use std::process::{Child, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use millstream_load::{Client, Ending, Plan, Watch, publish_window, put_publish};
use serde_json::json;

use crate::cases::WINDOW;
use crate::common::Common;
use crate::process::{Server, Side};
use crate::sink::{Sink, ratio, round};
use crate::stats::spread;

/// Questions over the whole station, or a piece that the index finds.
const QUESTIONS: [(&str, &str); 6] = [
    ("count", "SELECT count(*) FROM flights"),
    (
        "filter",
        "SELECT count(*) FROM flights WHERE dep_delay > 15 AND carrier = 'UA'",
    ),
    (
        "group",
        "SELECT carrier, avg(dep_delay) FROM flights GROUP BY carrier",
    ),
    (
        "sort",
        "SELECT flight, dep_delay FROM flights ORDER BY dep_delay DESC LIMIT 10",
    ),
    (
        "subject",
        "SELECT count(dep_delay) FROM flights WHERE _subject = 'flights.7'",
    ),
    (
        "newest",
        "SELECT count(dep_delay) FROM flights WHERE _time > now() - INTERVAL '1 second'",
    ),
];
/// What nobody should ask, as often as a server answers at once.
const ENDLESS: &str = "SELECT count(*) FROM flights a, flights b WHERE a.dep_delay < b.dep_delay";
const AT_ONCE: usize = 4;
/// Subjects that messages take turns in.
const SUBJECTS: u64 = 100;

fn payload(number: u64) -> String {
    let carrier = ["UA", "AA", "DL", "B6"][number as usize % 4];
    let delay = (number % 97).cast_signed() - 20;
    format!(
        r#"{{"carrier":"{carrier}","flight":{},"tailnum":"N{:05}","origin":"EWR","dest":"IAH","dep_delay":{delay},"distance":1400.5,"time_hour":"2013-02-07T10:00:00Z","remarks":"{}"}}"#,
        1000 + number % 9000,
        number % 100_000,
        "r".repeat(40)
    )
}

pub(crate) fn run(common: &Common, messages: u64, sink: &mut Sink) -> Result<()> {
    let stage = common.stage()?;
    let server = stage.start(Side::Ours, "query")?;
    let ours = stage.ours.as_path();
    let yaml = stage.folder.path().join("query.yaml");
    std::fs::write(
        &yaml,
        "kind: station\nname: flights\nsubjects: [\"flights.>\"]\n---\nkind: station\nname: beside\nsubjects: [\"beside.>\"]\n",
    )?;
    let applied = command(ours, &server)
        .arg("apply")
        .arg("-f")
        .arg(&yaml)
        .output()?;
    if !applied.status.success() {
        bail!("apply failed: {}", String::from_utf8_lossy(&applied.stderr));
    }
    publish(&server, "flights", &Plan::counting(200, messages))?;
    for (name, sql) in QUESTIONS {
        let (mut times, mut read) = (Vec::new(), 0);
        for _ in 0..common.rounds {
            let start = Instant::now();
            read = ask(ours, &server, sql)?;
            times.push(start.elapsed().as_secs_f64());
        }
        let (median, low, high) = spread(times);
        sink.row(
            "query",
            json!({ "question": name, "seconds": round(median), "spread": format!("{low:.3}-{high:.3}"), "messages read": read,
                "read/s": (read as f64 / median).round() }),
        )?;
    }
    let mut rates = [Vec::new(), Vec::new()];
    for _ in 0..=common.rounds {
        for (rates, asked) in rates.iter_mut().zip([0, AT_ONCE]) {
            let children = (0..asked).map(|_| endless(ours, &server));
            let children = children.collect::<Result<Vec<_>>>()?;
            rates.push(publish(
                &server,
                "beside",
                &Plan::lasting(200, common.time()),
            )?);
            for mut child in children {
                let ended = child.try_wait()?;
                child.kill()?;
                let said = child.wait_with_output()?;
                if let Some(status) = ended {
                    let said = String::from_utf8_lossy(&said.stderr);
                    bail!("a question that never ends has ended, {status}: {said}");
                }
            }
            while asked > 0 && !is_free(ours, &server)? {}
        }
    }
    let ratios = rates[1].iter().zip(&rates[0]).skip(1);
    let (median, spread_text) = ratio(ratios.map(|(beside, alone)| beside / alone).collect());
    let [alone, beside] = rates.map(|rates| spread(rates).0.round());
    sink.row(
        "publish beside questions",
        json!({ "questions": AT_ONCE, "ratio": median, "spread": spread_text, "alone/s": alone, "beside/s": beside }),
    )
}

fn command(binary: &std::path::Path, server: &Server) -> Command {
    let mut command = Command::new(binary);
    command.env("MILLSTREAM_SERVER", format!("http://{}", server.http));
    command
}

/// Asks, and answers how many messages were read for it.
fn ask(binary: &std::path::Path, server: &Server, sql: &str) -> Result<u64> {
    let asked = command(binary, server).args(["sql", "-c", sql]).output()?;
    let said = String::from_utf8_lossy(&asked.stderr);
    if !asked.status.success() {
        bail!("{sql}: {said}");
    }
    // "(1 row, 1000000 records read)"
    let read = said
        .rsplit_once(" records read)")
        .and_then(|(rest, _)| rest.rsplit(' ').next()?.parse().ok());
    read.context("the number of messages read")
}

fn endless(binary: &std::path::Path, server: &Server) -> Result<Child> {
    let mut asked = command(binary, server);
    asked.args(["sql", "--timeout", "600", "-c", ENDLESS]);
    Ok(asked.stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?)
}

/// Whether a server takes as many questions as it does at once: those before may not have noticed yet that nobody listens.
fn is_free(binary: &std::path::Path, server: &Server) -> Result<bool> {
    let ask = |_| {
        let mut asked = command(binary, server);
        asked.args(["sql", "-c", "SELECT count(*) FROM beside"]);
        asked.stdout(Stdio::null()).stderr(Stdio::null()).spawn()
    };
    let asked = (0..AT_ONCE).map(ask).collect::<std::io::Result<Vec<_>>>()?;
    let mut free = true;
    for mut child in asked {
        free &= child.wait()?.success();
    }
    Ok(free)
}

/// Messages a second.
fn publish(server: &Server, station: &str, plan: &Plan) -> Result<f64> {
    let mut client = Client::connect(&server.target())?;
    let watch = Watch::default();
    let ending = Ending::new(plan, &watch);
    let mut number = 0;
    let mut put = |reply: u64, buffer: &mut Vec<u8>| {
        number += 1;
        let subject = format!("{station}.{}", number % SUBJECTS);
        put_publish(
            buffer,
            &subject,
            ("_INBOX.q.", reply),
            payload(number).as_bytes(),
        );
    };
    let (messages, _latency) =
        publish_window(&mut client, "_INBOX.q.*", WINDOW, &ending, &mut put)?;
    Ok(messages as f64 / ending.since().elapsed().as_secs_f64())
}
