//! What the check of a payload costs: publishes to stations that differ in their schema only, and the walks over bytes beside
//! the libraries that decode whole values.

use std::fs;
use std::hint::black_box;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use apache_avro::reader::datum::GenericDatumReader;
use millstream_load::{Client, Ending, Plan, Watch, publish_window, put_publish};
use millstream_schema_formats::{Format, Schema, Value};
use serde_json::json;

use crate::cases::WINDOW;
use crate::common::Common;
use crate::process::{Server, Side};
use crate::sink::{Sink, ratio, round};
use crate::stats::spread;

/// Payload sizes that are measured, in bytes.
const SIZES: [usize; 2] = [200, 1024];
/// Different payloads of one size.
const RECORDS: usize = 64;

const JSON: &str = r#"{"type":"object","properties":{
"carrier":{"type":"string","maxLength":3},"flight":{"type":"integer","minimum":1},"tailnum":{"type":["string","null"]},
"origin":{"enum":["EWR","JFK","LGA"]},"dest":{"type":"string","minLength":3,"maxLength":3},
"dep_delay":{"type":["integer","null"]},"distance":{"type":"number","minimum":0},"time_hour":{"type":"string"},
"stops":{"type":"array","items":{"type":"object","properties":{"airport":{"type":"string"},"minutes":{"type":"integer"},
"note":{"type":"string"}},"required":["airport","minutes"]}},"remarks":{"type":"string"}},
"required":["carrier","flight","origin","dest","time_hour"]}"#;

const AVRO: &str = r#"{"type":"record","name":"Leg","namespace":"bench","fields":[
{"name":"carrier","type":"string"},{"name":"flight","type":"int"},{"name":"tailnum","type":["null","string"]},
{"name":"origin","type":{"type":"enum","name":"Origin","symbols":["EWR","JFK","LGA"]}},{"name":"dest","type":"string"},
{"name":"dep_delay","type":["null","int"]},{"name":"distance","type":"double"},{"name":"time_hour","type":"string"},
{"name":"stops","type":{"type":"array","items":{"type":"record","name":"Stop","fields":[{"name":"airport","type":"string"},
{"name":"minutes","type":"int"},{"name":"note","type":"string"}]}}},{"name":"remarks","type":"string"}]}"#;

const PROTOBUF: &str = r#"syntax = "proto3";
package bench;
enum Origin { EWR = 0; JFK = 1; LGA = 2; }
message Leg {
  string carrier = 1; int32 flight = 2; optional string tailnum = 3; Origin origin = 4; string dest = 5;
  optional int32 dep_delay = 6; double distance = 7; string time_hour = 8; repeated Stop stops = 9; string remarks = 10;
}
message Stop { string airport = 1; int32 minutes = 2; string note = 3; }
"#;

fn text_of(format: Format) -> &'static str {
    match format {
        Format::Json => JSON,
        Format::Avro => AVRO,
        Format::Protobuf => PROTOBUF,
    }
}

/// Flights of exactly `size` bytes in the schema's format: the larger ones have stops, the rest is remarks.
fn payloads(schema: &Schema, size: usize) -> Result<Vec<Vec<u8>>> {
    let encode = |number: usize, remarks: usize| {
        let stops = if size < 512 { 0 } else { 6 };
        let stops: Vec<_> = (0..stops)
            .map(|stop| json!({ "airport": "ORD", "minutes": 35 + stop, "note": "gate changed twice" }))
            .collect();
        let origin = ["EWR", "JFK", "LGA"][number % 3];
        let delay = json!(i64::try_from(number).unwrap_or(0) - 20);
        let document = json!({ "carrier": "UA", "flight": 1000 + number, "tailnum": format!("N{:05}", 10_000 + number),
            "origin": origin, "dest": "IAH", "dep_delay": delay,
            "distance": 1400.5, "time_hour": "2013-02-07T10:00:00Z", "stops": stops, "remarks": "r".repeat(remarks) });
        schema
            .encode(&Value::from(document))
            .map_err(|why| anyhow!("{}: {why}", why.path))
    };
    (0..RECORDS)
        .map(|number| {
            let bare = encode(number, 0)?.len();
            let mut remarks = size.saturating_sub(bare);
            // The length before the text may take a byte more.
            while encode(number, remarks)?.len() > size && remarks > 0 {
                remarks -= 1;
            }
            encode(number, remarks)
        })
        .collect()
}

/// A station of its own for each format and size, and one without a schema.
struct Variant {
    name: String,
    size: usize,
    format: Format,
    payloads: Vec<Vec<u8>>,
}

pub(crate) fn run(common: &Common, sink: &mut Sink) -> Result<()> {
    walks(sink)?;
    let stage = common.stage()?;
    let server = stage.start(Side::Ours, "schema")?;
    let mut variants = Vec::new();
    for format in Format::ALL {
        let schema = compiled(format)?;
        for size in SIZES {
            let (name, payloads) = (format!("{format}-{size}"), payloads(&schema, size)?);
            variants.push(Variant {
                name,
                size,
                format,
                payloads,
            });
        }
    }
    apply(&stage.ours, &server, &variants, stage.folder.path())?;
    for variant in &variants {
        let mut rates = [Vec::new(), Vec::new()];
        let mut cpu = [Vec::new(), Vec::new()];
        for number in 0..=common.rounds {
            for (index, station) in ["plain", "checked"].into_iter().enumerate() {
                let before = server.cpu();
                let subject = format!("{station}.{}.x", variant.name);
                let (messages, elapsed) =
                    publish(&server, &subject, &variant.payloads, common.time())?;
                // The first round warms up.
                if number > 0 {
                    rates[index].push(messages / elapsed);
                    cpu[index].push((server.cpu() - before) * 1e6 / messages.max(1.0));
                }
            }
        }
        let ratios = rates[1]
            .iter()
            .zip(&rates[0])
            .map(|(with, none)| with / none);
        let (median, spread_text) = ratio(ratios.collect());
        let [none, with] = rates.map(|rates| spread(rates).0.round());
        let [cpu_none, cpu_with] = cpu.map(|cpu| round(spread(cpu).0));
        sink.row(
            "schema",
            json!({ "format": variant.format.as_str(), "bytes": variant.size, "ratio": median, "spread": spread_text,
                "none/s": none, "checked/s": with, "none CPU us": cpu_none, "checked CPU us": cpu_with }),
        )?;
    }
    Ok(())
}

fn compiled(format: Format) -> Result<Schema> {
    Schema::compile(format, text_of(format), &[]).map_err(|why| anyhow!("{why}"))
}

fn apply(
    binary: &std::path::Path,
    server: &Server,
    variants: &[Variant],
    folder: &std::path::Path,
) -> Result<()> {
    let mut text = String::new();
    for format in Format::ALL {
        let path = folder.join(format!("leg.{format}"));
        fs::write(&path, text_of(format))?;
        text.push_str(&format!(
            "kind: schema\nname: leg-{format}\nformat: {format}\nfile: {}\n---\n",
            path.display()
        ));
    }
    for variant in variants {
        let (name, format) = (&variant.name, variant.format);
        text.push_str(&format!(
            "kind: station\nname: plain-{name}\nsubjects: [\"plain.{name}.>\"]\n---\n\
             kind: station\nname: checked-{name}\nsubjects: [\"checked.{name}.>\"]\nschema: {{ subject: leg-{format} }}\n---\n"
        ));
    }
    let file = folder.join("schema.yaml");
    fs::write(&file, text)?;
    let output = Command::new(binary)
        .args(["apply", "-f"])
        .arg(&file)
        .args(["--server", &format!("http://{}", server.http)])
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

/// Messages stored, and seconds taken.
#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
fn publish(
    server: &Server,
    subject: &str,
    payloads: &[Vec<u8>],
    time: Duration,
) -> Result<(f64, f64)> {
    let mut client = Client::connect(&server.target())?;
    let watch = Watch::default();
    let ending = Ending::new(&Plan::lasting(payloads[0].len(), time), &watch);
    let mut number = 0;
    let mut put = |reply: u64, buffer: &mut Vec<u8>| {
        number += 1;
        put_publish(
            buffer,
            subject,
            ("_INBOX.v.", reply),
            &payloads[number % payloads.len()],
        );
    };
    let (messages, _latency) =
        publish_window(&mut client, "_INBOX.v.*", WINDOW, &ending, &mut put)?;
    Ok((messages as f64, ending.since().elapsed().as_secs_f64()))
}

/// The walks beside the libraries' decoders, one thread, in turns.
fn walks(sink: &mut Sink) -> Result<()> {
    let avro = apache_avro::Schema::parse_str(AVRO).context("the Avro schema")?;
    let reader = GenericDatumReader::builder(&avro)
        .build()
        .context("the Avro schema")?;
    let Schema::Protobuf(protobuf) = compiled(Format::Protobuf)? else {
        bail!("a Protobuf schema compiles to one");
    };
    let message = protobuf.descriptor();
    for format in Format::ALL {
        let schema = compiled(format)?;
        for size in SIZES {
            let payloads = payloads(&schema, size)?;
            let walk = |payload: &[u8]| schema.check(payload).is_ok();
            let value = |payload: &[u8]| match format {
                Format::Json => serde_json::from_slice::<serde_json::Value>(payload).is_ok(),
                Format::Avro => {
                    let mut rest = payload;
                    reader.read_value(&mut rest).is_ok()
                }
                Format::Protobuf => {
                    prost_reflect::DynamicMessage::decode(message.clone(), payload).is_ok()
                }
            };
            let mut nanos = [Vec::new(), Vec::new()];
            for _ in 0..7 {
                nanos[0].push(per_payload(&payloads, &walk)?);
                nanos[1].push(per_payload(&payloads, &value)?);
            }
            let ratios = nanos[1]
                .iter()
                .zip(&nanos[0])
                .map(|(value, walk)| value / walk);
            let (median, spread_text) = ratio(ratios.collect());
            let [walk, value] = nanos.map(|nanos| round(spread(nanos).0));
            sink.row(
                "walk",
                json!({ "format": format.as_str(), "bytes": size, "faster": median, "spread": spread_text,
                    "walk ns": walk, "value ns": value }),
            )?;
        }
    }
    Ok(())
}

/// Nanoseconds per payload.
#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
fn per_payload(payloads: &[Vec<u8>], check: &dyn Fn(&[u8]) -> bool) -> Result<f64> {
    const TURNS: usize = 300;
    let started = Instant::now();
    for _ in 0..TURNS {
        for payload in payloads {
            if !black_box(check(black_box(payload))) {
                bail!("a payload of the benchmark does not fit its schema");
            }
        }
    }
    Ok(started.elapsed().as_nanos() as f64 / (TURNS * payloads.len()) as f64)
}
