//! What each stage of a pipeline costs: the flights example, published through stations that differ in their stages only.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use millstream_load::Client;
use serde_json::json;

use crate::common::Common;
use crate::process::{Server, Side};
use crate::sink::{Sink, ratio};
use crate::stats::spread;

const WINDOW: usize = 1000;
const SQL: &str =
    "SELECT carrier, flight, origin, dest, time_hour, dep_delay FROM message WHERE distance > 0";

/// Stations by name, with the lines that make their pipeline.
fn variants() -> [(&'static str, String); 5] {
    let schema = "schema: { subject: flight, version: latest, on_violation: dead_letter }\n";
    let function = "  - function: delay-band\n";
    let sql = format!("  - sql: \"{SQL}\"\n");
    [
        ("none", String::new()),
        ("schema", schema.to_owned()),
        ("function", format!("stages:\n{function}")),
        ("sql", format!("{schema}stages:\n{sql}")),
        ("all", format!("{schema}stages:\n{function}{sql}")),
    ]
}

pub(crate) fn run(common: &Common, example: &Path, messages: usize, sink: &mut Sink) -> Result<()> {
    let stage = common.stage()?;
    let server = stage.start(Side::Ours, "pipeline")?;
    apply(&stage.ours, &server, example, stage.folder.path())?;
    let flights =
        fs::read_to_string(example.join("flights.jsonl")).context("the example's records")?;
    // Only records that every stage keeps, so that all variants store the same number.
    let records: Vec<&str> = flights
        .lines()
        .filter(|line| !line.contains("\"dep_delay\":null"))
        .collect();
    let variants = variants();
    let mut rates: Vec<Vec<f64>> = vec![Vec::new(); variants.len()];
    for round in 0..=common.rounds {
        for (index, (name, _)) in variants.iter().enumerate() {
            let rate = publish(&server, name, &records, messages)?;
            // The first round warms up.
            if round > 0 {
                rates[index].push(rate);
            }
        }
    }
    let base = rates[0].clone();
    for ((name, _), rates) in variants.iter().zip(rates) {
        let ratios = rates
            .iter()
            .zip(&base)
            .map(|(rate, base)| rate / base)
            .collect();
        let (median, spread_text) = ratio(ratios);
        sink.row(
            "pipeline",
            json!({ "stages": name, "ratio to none": median, "spread": spread_text,
                "messages/s": spread(rates).0.round() }),
        )?;
    }
    Ok(())
}

fn apply(binary: &Path, server: &Server, example: &Path, folder: &Path) -> Result<()> {
    let example = example.canonicalize().context("the example's folder")?;
    let schema = example.join("flight.schema.json");
    let component = example.join("../functions/delay-band/delay_band.wasm");
    let mut text = format!(
        "kind: schema\nname: flight\nformat: json\nfile: {}\n---\nkind: function\nname: delay-band\n\
         component: {}\nadds: {{ band: string }}\n",
        schema.display(),
        component.display()
    );
    for (name, pipeline) in variants() {
        text.push_str(&format!(
            "---\nkind: station\nname: {name}\nsubjects: [\"{name}.>\"]\n{pipeline}"
        ));
    }
    let file = folder.join("bench.yaml");
    fs::write(&file, text)?;
    let output = Command::new(binary)
        .arg("apply")
        .arg("-f")
        .arg(&file)
        .arg("--server")
        .arg(format!("http://{}", server.http))
        .output()?;
    if !output.status.success() {
        bail!(
            "apply failed: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
fn publish(server: &Server, station: &str, records: &[&str], messages: usize) -> Result<f64> {
    let mut client = Client::connect(&server.target())?;
    client.write(b"SUB _INBOX.p.* 1\r\n")?;
    client.round_trip()?;
    let since = Instant::now();
    let (mut sent, mut acked) = (0, 0);
    let mut buffer = String::new();
    while acked < messages {
        buffer.clear();
        while sent < messages && sent - acked < WINDOW && buffer.len() < 64 * 1024 {
            let record = records[sent % records.len()];
            buffer.push_str(&format!(
                "PUB {station}.x _INBOX.p.{sent} {}\r\n{record}\r\n",
                record.len()
            ));
            sent += 1;
        }
        client.write(buffer.as_bytes())?;
        if sent - acked >= WINDOW || sent == messages {
            acked += client.next(&mut |_| {})?;
        }
    }
    Ok(messages as f64 / since.elapsed().as_secs_f64())
}
