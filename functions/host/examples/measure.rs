//! What a function costs without a server around it: time per message in batches, and the start of a module that was
//! compiled before.
//!
//! `cargo run --release -p millstream-function-host --example measure -- FOLDER examples/functions/keep-late/keep_late.wasm …`
//!
//! What is compiled is kept in the folder.

use std::borrow::Cow;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use millstream_function_api::{Function, FunctionHost as _, FunctionMessage, Manifest, Nothing};
use millstream_function_host::{Options, WasmtimeHost};
use millstream_types::Timestamp;
use sha2::{Digest as _, Sha256};

const BATCH: usize = 256;
const RECORD: &str = r#"{"carrier":"UA","flight":1545,"tailnum":"N14228","origin":"EWR","dest":"IAH","dep_delay":42,"distance":1400,"remarks":"#;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().expect("a folder"));
    for path in arguments {
        let wasm = std::fs::read(&path).expect("the module");
        let (_compiled, first) = load(&folder, &wasm);
        let mut starts: Vec<Duration> = (0..9).map(|_| load(&folder, &wasm).1).collect();
        starts.sort();
        let (function, _) = load(&folder, &wasm);
        say(&format!(
            "{path}: {} KB, compiled and started in {first:.0?}, compiled before in {:.2?} ({:.2?} to {:.2?})",
            wasm.len() / 1024,
            starts[4],
            starts[0],
            starts[8]
        ));
        for size in [256, 1024] {
            let batch = messages(size);
            let per_message = per_message(function.as_ref(), &batch);
            say(&format!(
                "  {size} B in batches of {BATCH}: {per_message:.0} ns per message, {:.2} M/s per core",
                1e3 / per_message
            ));
        }
    }
}

/// A host of its own each time, so that only what is on disk is known.
fn load(folder: &Path, wasm: &[u8]) -> (Arc<dyn Function>, Duration) {
    let options = Options {
        artefacts: Some(folder.to_owned()),
        ..Options::default()
    };
    let host = WasmtimeHost::new(options).expect("the engine starts");
    let manifest = Manifest {
        name: "measured".to_owned(),
        ..Manifest::default()
    };
    // As at the start of a server: it knows the module by its hash.
    let module = Sha256::digest(wasm).into();
    let began = Instant::now();
    let function = host
        .load_kept(&module, &manifest, Arc::new(Nothing))
        .unwrap_or_else(|| host.load(wasm, &manifest, Arc::new(Nothing)));
    (function.expect("it loads"), began.elapsed())
}

fn messages(size: usize) -> Vec<FunctionMessage<'static>> {
    let mut payload = RECORD.as_bytes().to_vec();
    payload.push(b'"');
    payload.resize(size - 2, b'r');
    payload.extend_from_slice(b"\"}");
    let message = FunctionMessage {
        subject: Cow::Borrowed(b"flights.UA"),
        timestamp: Timestamp::now(),
        payload: payload.into(),
        ..FunctionMessage::default()
    };
    vec![message; BATCH]
}

/// The middle of nine rounds of at least a tenth of a second, in nanoseconds.
fn per_message(function: &dyn Function, batch: &[FunctionMessage<'_>]) -> f64 {
    let mut rounds: Vec<f64> = (0..9)
        .map(|_| {
            let began = Instant::now();
            let mut calls = 0_u32;
            while began.elapsed() < Duration::from_millis(100) {
                std::hint::black_box(function.process(std::hint::black_box(batch)));
                calls += 1;
            }
            began.elapsed().as_secs_f64() * 1e9 / (f64::from(calls) * BATCH as f64)
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    rounds[4]
}

fn say(text: &str) {
    let mut out = std::io::stdout();
    writeln!(out, "{text}").expect("standard output");
}
