//! What functions cost: publishes to stations that differ in their stages only, what a misbehaving function takes from its
//! neighbours, and what it takes to switch a version under load.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use millstream_load::{Client, Ending, Plan, Watch, publish_window, put_publish};
use serde_json::json;

use crate::cases::WINDOW;
use crate::common::Common;
use crate::process::{Server, Side};
use crate::sink::{Sink, ratio, round};
use crate::stats::spread;

/// Payload sizes that are measured, in bytes.
const SIZES: [usize; 2] = [256, 1024];
/// How long the misbehaving function gets messages before its neighbour is measured.
const WARM: Duration = Duration::from_millis(300);
/// Switches under load.
const SWITCHES: usize = 10;

/// A guest that keeps everything and looks at nothing: 40 bytes of zeros are an outcome `keep`.
const IDENTITY: &str = r#"(module
  (memory (export "memory") 4)
  (global $next (mut i32) (i32.const 65536))
  (func $alloc (param $size i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
    (global.set $next (i32.add (local.get $at) (local.get $size)))
    (loop $grow
      (if (i32.gt_u (global.get $next) (i32.shl (memory.size) (i32.const 16)))
        (then (drop (memory.grow (i32.const 16))) (br $grow))))
    (local.get $at))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (call $alloc (local.get 3)))
  (func (export "configure") (param i32 i32) (result i32)
    (global.set $next (i32.const 65536)) (i32.const 64))
  (func (export "process") (param $batch i32) (param $len i32) (result i32)
    (i32.store (i32.const 16) (call $alloc (i32.mul (local.get $len) (i32.const 40))))
    (memory.fill (i32.load (i32.const 16)) (i32.const 0) (i32.mul (local.get $len) (i32.const 40)))
    (i32.store (i32.const 20) (local.get $len))
    (i32.const 16))
  (func (export "cabi_post_process") (param i32) (global.set $next (i32.const 65536))))"#;

/// A guest that never answers.
const ENDLESS: &str = r#"(module
  (memory (export "memory") 4)
  (global $next (mut i32) (i32.const 65536))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (global.set $next (i32.add (global.get $next) (i32.const 4096)))
    (i32.rem_u (global.get $next) (i32.const 200000)))
  (func (export "configure") (param i32 i32) (result i32) (i32.const 64))
  (func (export "process") (param i32 i32) (result i32) (loop $ever (br $ever)) (i32.const 0))
  (func (export "cabi_post_process") (param i32)))"#;

/// Stations by name, with their stages.
const STAGES: [(&str, &[&str]); 4] = [
    ("none", &[]),
    ("identity", &["identity"]),
    ("filter", &["filter"]),
    ("chain", &["identity", "second", "third"]),
];

pub(crate) fn run(common: &Common, example: &Path, sink: &mut Sink) -> Result<()> {
    let stage = common.stage()?;
    let server = stage.start(Side::Ours, "functions")?;
    let folder = stage.folder.path();
    apply(&stage.ours, &server, example, folder)?;
    for size in SIZES {
        overhead(common, &server, size, sink)?;
    }
    neighbours(common, &server, sink)?;
    switching(common, &stage.ours, &server, folder, sink)
}

fn payload(size: usize) -> Vec<u8> {
    let record = r#"{"carrier":"UA","flight":1545,"tailnum":"N14228","origin":"EWR","dest":"IAH","dep_delay":42,"distance":1400,"remarks":""#;
    let mut payload = record.as_bytes().to_vec();
    payload.resize(size - 2, b'r');
    payload.extend_from_slice(b"\"}");
    payload
}

fn overhead(common: &Common, server: &Server, size: usize, sink: &mut Sink) -> Result<()> {
    let payload = payload(size);
    let mut rates = vec![Vec::new(); STAGES.len()];
    let mut cpu = vec![Vec::new(); STAGES.len()];
    for number in 0..=common.rounds {
        for (index, (name, _)) in STAGES.iter().enumerate() {
            let before = server.cpu();
            let subject = format!("{name}.x");
            let (messages, elapsed) = publish(server, &subject, &payload, common.time())?;
            // The first round warms up.
            if number > 0 {
                rates[index].push(messages / elapsed);
                cpu[index].push((server.cpu() - before) * 1e6 / messages.max(1.0));
            }
        }
    }
    for (index, (name, functions)) in STAGES.iter().enumerate() {
        let ratios = rates[index]
            .iter()
            .zip(&rates[0])
            .map(|(with, none)| with / none);
        let (median, spread_text) = ratio(ratios.collect());
        let added = cpu[index]
            .iter()
            .zip(&cpu[0])
            .map(|(with, none)| with - none);
        let mut busy = Vec::new();
        for function in *functions {
            busy.push(micros(server, function)?);
        }
        sink.row(
            "functions",
            json!({ "stages": name, "bytes": size, "ratio to none": median, "spread": spread_text,
                "messages/s": spread(rates[index].clone()).0.round(), "added CPU us": round(spread(added.collect()).0),
                "call us": round(busy.iter().sum::<f64>()) }),
        )?;
    }
    Ok(())
}

/// Microseconds that a function's calls took per message, since the server started.
fn micros(server: &Server, function: &str) -> Result<f64> {
    let described = server.get(&format!("/api/v1/functions/{function}"))?;
    let numbers = &described["numbers"];
    let busy = numbers["busy"].as_f64().context("a function's numbers")?;
    let messages = numbers["messages"]
        .as_f64()
        .context("a function's numbers")?;
    Ok(busy * 1e6 / messages.max(1.0))
}

/// A station without stages, alone and beside one whose function never answers.
fn neighbours(common: &Common, server: &Server, sink: &mut Sink) -> Result<()> {
    let payload = payload(256);
    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    for number in 0..=common.rounds {
        let (messages, elapsed) = publish(server, "none.x", &payload, common.time())?;
        let stop = AtomicBool::new(false);
        let (other, after) = thread::scope(|scope| {
            let greedy = scope.spawn(|| feed(server, &stop));
            thread::sleep(WARM);
            let measured = publish(server, "none.x", &payload, common.time());
            stop.store(true, Ordering::Relaxed);
            let fed = greedy.join();
            measured.and_then(|(messages, elapsed)| {
                fed.map_err(|_| anyhow::anyhow!("the greedy publisher failed"))??;
                Ok((messages, elapsed))
            })
        })?;
        if number > 0 {
            alone.push(messages / elapsed);
            beside.push(other / after);
        }
    }
    let ratios = beside
        .iter()
        .zip(&alone)
        .map(|(beside, alone)| beside / alone);
    let (median, spread_text) = ratio(ratios.collect());
    sink.row(
        "functions",
        json!({ "stages": "none, beside an endless function", "bytes": 256, "ratio to none": median, "spread": spread_text,
            "messages/s": spread(beside).0.round() }),
    )
}

/// Keeps the endless function busy: a message now and then, more than it ever gets done.
fn feed(server: &Server, stop: &AtomicBool) -> Result<()> {
    let mut client = Client::connect(&server.target())?;
    while !stop.load(Ordering::Relaxed) {
        client.write(b"PUB endless.x 2\r\n{}\r\n")?;
        client.round_trip()?;
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// One message after the other while versions change: the longest answer with and without a switch.
fn switching(
    common: &Common,
    binary: &Path,
    server: &Server,
    folder: &Path,
    sink: &mut Sink,
) -> Result<()> {
    let mut calm = Vec::new();
    let mut switched = Vec::new();
    for number in 0..SWITCHES {
        calm.push(longest(server, common.time(), || Ok(()))?);
        let config = format!("round: \"{number}\"");
        let file = folder.join("switch.yaml");
        let text = format!(
            "kind: function\nname: identity\ncomponent: identity.wasm\nconfig: {{ {config} }}\n"
        );
        fs::write(&file, text)?;
        switched.push(longest(server, common.time(), || {
            server.cli(binary, &["function", "deploy", "-f"], &file)
        })?);
    }
    let calm = spread(calm).0;
    let during = spread(switched).0;
    sink.row(
        "functions",
        json!({ "stages": "longest answer while a version changes, ms", "calm": round(calm * 1e3),
            "switching": round(during * 1e3) }),
    )
}

/// The longest time an answer took, in seconds, while `work` is done beside.
fn longest(
    server: &Server,
    time: Duration,
    work: impl FnOnce() -> Result<()> + Send,
) -> Result<f64> {
    thread::scope(|scope| {
        let beside = scope.spawn(work);
        let mut client = Client::connect(&server.target())?;
        client.write(b"SUB _INBOX.l.* 1\r\n")?;
        client.round_trip()?;
        let began = Instant::now();
        let mut longest: f64 = 0.0;
        while began.elapsed() < time || !beside.is_finished() {
            let sent = Instant::now();
            client.write(b"PUB identity.x _INBOX.l.1 2\r\n{}\r\n")?;
            while client.next(&mut |_| {})? == 0 {}
            longest = longest.max(sent.elapsed().as_secs_f64());
        }
        match beside.join() {
            Ok(done) => done.map(|()| longest),
            Err(_) => bail!("what is done beside failed"),
        }
    })
}

fn apply(binary: &Path, server: &Server, example: &Path, folder: &Path) -> Result<()> {
    let filter = example.join("../functions/keep-late/keep_late.wasm");
    fs::copy(&filter, folder.join("filter.wasm")).context("the filter example's module")?;
    for (name, text) in [("identity.wasm", IDENTITY), ("endless.wasm", ENDLESS)] {
        fs::write(folder.join(name), wat::parse_str(text)?)?;
    }
    let mut text = String::new();
    for (name, module) in [
        ("identity", "identity"),
        ("second", "identity"),
        ("third", "identity"),
        ("filter", "filter"),
        ("endless", "endless"),
    ] {
        text.push_str(&format!(
            "kind: function\nname: {name}\ncomponent: {module}.wasm\n---\n"
        ));
    }
    let endless: (&str, &[&str]) = ("endless", &["endless"]);
    for (name, functions) in STAGES.into_iter().chain([endless]) {
        let stages: Vec<String> = functions
            .iter()
            .map(|name| format!("{{ function: {name} }}"))
            .collect();
        text.push_str(&format!(
            "kind: station\nname: {name}\nsubjects: [\"{name}.>\"]\nstages: [{}]\n---\n",
            stages.join(", ")
        ));
    }
    let file = folder.join("functions.yaml");
    fs::write(&file, text)?;
    server.cli(binary, &["apply", "-f"], &file)
}

/// Messages stored, and seconds taken.
#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
fn publish(server: &Server, subject: &str, payload: &[u8], time: Duration) -> Result<(f64, f64)> {
    let mut client = Client::connect(&server.target())?;
    let watch = Watch::default();
    let ending = Ending::new(&Plan::lasting(payload.len(), time), &watch);
    let mut put = |reply: u64, buffer: &mut Vec<u8>| {
        put_publish(buffer, subject, ("_INBOX.f.", reply), payload);
    };
    let (messages, _latency) =
        publish_window(&mut client, "_INBOX.f.*", WINDOW, &ending, &mut put)?;
    Ok((messages as f64, ending.since().elapsed().as_secs_f64()))
}
