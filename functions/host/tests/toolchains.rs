//! Goal: functions in every language that the examples show are built by their real toolchains, import what their
//! world grants and nothing else, and answer as their documents say. Method: each example's own `build` script makes
//! the module from source, the host runs it over a batch with default limits. The committed modules run over the same
//! batches without any toolchain.
//!
//! What a toolchain needs comes from the registries and is kept in `millstream-toolchains` of the user's cache folder:
//! the first run takes minutes, later ones seconds. Where it cannot be had the test says SKIPPED and passes.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use millstream_function_api::{
    Entry, FunctionHost as _, FunctionMessage, FunctionOutcome, Grants, Limits, LogLevel, Manifest,
    Outside, StateWrite, WebRequest, WebResponse,
};
use millstream_function_host::{Options, WasmtimeHost};
use wasmparser::{ComponentTypeRef, Parser, Payload};

/// What a guest may import without a grant.
const FREE: [&str; 2] = [
    "millstream:function/log@0.2.0",
    "millstream:function/types@0.2.0",
];

/// An example: what it is granted, and what it answers.
struct Example {
    name: &'static str,
    config: &'static [(&'static str, &'static str)],
    grants: Grants,
    /// The interface that it imports besides those that are free.
    import: Option<&'static str>,
    /// Payloads of one batch, and the outcome of each as [`told`] tells it.
    cases: &'static [(&'static str, &'static str)],
}

fn enrich() -> Example {
    Example {
        name: "enrich",
        config: &[],
        grants: Grants {
            lookup: vec!["planes".to_owned(), "airports".to_owned()],
            ..Grants::default()
        },
        import: Some("millstream:function/stations@0.2.0"),
        cases: &[
            (
                r#"{"tailnum":"N14228","origin":"EWR"}"#,
                r#"replace {"tailnum":"N14228","origin":"EWR","manufacturer":"BOEING","model":"737-824","seats":149,"origin_name":"Newark"}"#,
            ),
            (r#"{"tailnum":"N1"}"#, r#"replace {"tailnum":"N1"}"#),
            (r#"{"dest":"I.H"}"#, "reject bad_code /dest"),
            ("{", "reject not_json"),
        ],
    }
}

fn late() -> Example {
    Example {
        name: "late",
        config: &[("times", "2")],
        grants: Grants {
            state: true,
            ..Grants::default()
        },
        import: Some("millstream:function/bucket@0.2.0"),
        cases: &[
            (r#"{"carrier":"AA","dep_delay":20}"#, "keep"),
            (r#"{"carrier":"UA","dep_delay":20}"#, "keep"),
            (r#"{"carrier":"AA","dep_delay":3}"#, "keep"),
            (
                r#"{"carrier":"UA","dep_delay":20,"flight":7}"#,
                r#"emit {"carrier":"UA","dep_delay":20,"flight":7}, alerts.late.UA {"carrier":"UA","times":2,"flight":7,"time_hour":null}"#,
            ),
            (
                r#"{"carrier":"*","dep_delay":20}"#,
                "reject bad_carrier /carrier",
            ),
        ],
    }
}

fn probe() -> Example {
    Example {
        name: "probe",
        config: &[("url", "https://api.example.org/flight")],
        grants: Grants {
            http: vec!["api.example.org".to_owned()],
            ..Grants::default()
        },
        import: Some("millstream:function/web@0.2.0"),
        cases: &[
            (
                r#"{"dest":"IAH"}"#,
                r#"replace {"dest":"IAH","answer":{"risk":0.2}}"#,
            ),
            ("x", "reject not_json"),
        ],
    }
}

fn mask() -> Example {
    Example {
        name: "mask",
        config: &[("blank", "flight"), ("hash", "tailnum"), ("salt", "s")],
        grants: Grants::default(),
        import: None,
        cases: &[
            (
                r#"{"carrier":"UA","flight":7,"tailnum":"N14228"}"#,
                r#"replace {"carrier":"UA","flight":null,"tailnum":"HASH"}"#,
            ),
            (r#"{"carrier":"UA"}"#, "keep"),
            ("7", "reject not_a_record"),
            ("{", "reject not_json"),
        ],
    }
}

fn split() -> Example {
    Example {
        name: "split",
        config: &[],
        grants: Grants::default(),
        import: None,
        cases: &[
            (
                r#"{"carrier":"UA","flight":7,"origin":"EWR","dest":"IAH","dep_time":517,"dep_delay":2,"arr_time":830,"arr_delay":11}"#,
                r#"emit departures.EWR {"carrier":"UA","flight":7,"tailnum":null,"time":517,"delay":2,"to":"IAH"}, arrivals.IAH {"carrier":"UA","flight":7,"tailnum":null,"time":830,"delay":11,"from":"EWR"}"#,
            ),
            (
                r#"{"carrier":"UA","origin":"EWR"}"#,
                r#"emit cancelled.EWR {"carrier":"UA","flight":null,"tailnum":null}"#,
            ),
            (r#"{"origin":"E*"}"#, "reject bad_airport /origin"),
            ("{", "reject not_json"),
        ],
    }
}

fn keep_late() -> Example {
    Example {
        name: "keep-late",
        config: &[("late_after_minutes", "30")],
        grants: Grants::default(),
        import: None,
        cases: &[
            (r#"{"carrier":"UA","dep_delay":30}"#, "keep"),
            (r#"{"legs":[{"dep_delay":99}],"dep_delay":2}"#, "drop"),
            (r#"{"dep_delay":null}"#, "drop"),
            ("[1]", "reject not_a_flight"),
        ],
    }
}

/// The outside world of the examples, with a bucket that remembers what was committed.
#[derive(Debug, Default)]
struct World(Mutex<BTreeMap<String, Bytes>>);

impl Outside for World {
    fn log(&self, _level: LogLevel, _text: &str) {}

    fn state(&self, key: &str) -> Result<Option<Bytes>, String> {
        Ok(self.0.lock().expect("no panic").get(key).cloned())
    }

    fn write_state(&self, writes: Vec<StateWrite>) {
        let mut bucket = self.0.lock().expect("no panic");
        for (key, value) in writes {
            match value {
                Some(value) => bucket.insert(key, value),
                None => bucket.remove(&key),
            };
        }
    }

    fn last(&self, _station: &str, _subject: &str) -> Result<Option<Entry>, String> {
        Ok(None)
    }

    fn value(&self, bucket: &str, key: &str) -> Result<Option<Bytes>, String> {
        Ok(match (bucket, key) {
            ("planes", "N14228") => Some(Bytes::from_static(
                br#"{"manufacturer":"BOEING","model":"737-824","seats":149,"engines":2}"#,
            )),
            ("airports", "EWR") => Some(Bytes::from_static(br#"{"name":"Newark"}"#)),
            _ => None,
        })
    }

    fn fetch(&self, request: WebRequest, _within: Duration) -> Result<WebResponse, String> {
        assert_eq!(request.method, "POST");
        Ok(WebResponse {
            status: 200,
            body: br#"{"risk":0.2}"#.to_vec(),
            ..WebResponse::default()
        })
    }
}

fn message(payload: &'static str) -> FunctionMessage<'static> {
    FunctionMessage {
        subject: Cow::Borrowed(b"flights.all"),
        payload: Cow::Borrowed(payload.as_bytes()),
        ..FunctionMessage::default()
    }
}

/// An outcome in a line.
fn told(outcome: &FunctionOutcome) -> String {
    let output = |output: &millstream_function_api::Output| {
        let subject = output.subject.as_deref().map(String::from_utf8_lossy);
        let payload = String::from_utf8_lossy(&output.payload).into_owned();
        subject.map_or_else(|| payload.clone(), |subject| format!("{subject} {payload}"))
    };
    match outcome {
        FunctionOutcome::Keep => "keep".to_owned(),
        FunctionOutcome::Drop => "drop".to_owned(),
        FunctionOutcome::Replace(it) => format!("replace {}", output(it)),
        FunctionOutcome::Emit(all) => {
            let all: Vec<String> = all.iter().map(output).collect();
            format!("emit {}", all.join(", "))
        }
        FunctionOutcome::Retry(after) => format!("retry {after:?}"),
        FunctionOutcome::Reject { code, path, .. } => match path {
            Some(path) => format!("reject {code} {path}"),
            None => format!("reject {code}"),
        },
    }
}

/// What a module or component imports by name.
fn imports(wasm: &[u8]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    // Only those of the outermost level: a component's modules import from one another.
    let mut depth = 0usize;
    for payload in Parser::new(0).parse_all(wasm) {
        match payload.expect("it is WebAssembly") {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    let import = import.expect("an import");
                    // A type is a name for something that is imported elsewhere.
                    if !matches!(import.ty, ComponentTypeRef::Type(_)) {
                        found.insert(import.name.name.to_owned());
                    }
                }
            }
            Payload::ImportSection(section) if depth == 0 => {
                for import in section.into_imports() {
                    found.insert(import.expect("an import").module.to_owned());
                }
            }
            _ => {}
        }
    }
    found
}

/// Runs the example's batch in the host and compares.
fn check(example: &Example, wasm: &[u8]) {
    let mut imported = imports(wasm);
    imported.retain(|name| !FREE.contains(&name.as_str()));
    let granted = example.import.map(str::to_owned).into_iter().collect();
    assert_eq!(imported, granted, "imports of {}", example.name);

    let config = example.config.iter();
    let manifest = Manifest {
        name: example.name.to_owned(),
        version: "1".to_owned(),
        config: config
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        limits: Limits::default(),
        grants: example.grants.clone(),
    };
    let host = WasmtimeHost::new(Options::default()).expect("the engine starts");
    let began = Instant::now();
    let function = host
        .load(wasm, &manifest, Arc::new(World::default()))
        .unwrap_or_else(|error| panic!("{}: {error}", example.name));
    let loaded = began.elapsed();
    let batch: Vec<_> = example.cases.iter().map(|(it, _)| message(it)).collect();
    let began = Instant::now();
    let answers = function.process(&batch);
    report(&format!(
        "{}: {} bytes, loaded in {loaded:?}, {} messages in {:?}, {} MiB of memory",
        example.name,
        wasm.len(),
        batch.len(),
        began.elapsed(),
        function.memory() >> 20,
    ));
    let hash = "445191cc4956a984";
    for ((payload, expect), answer) in example.cases.iter().zip(answers) {
        let answer = answer.map(|outcome| told(&outcome));
        let expect = expect.replace("HASH", hash);
        assert_eq!(answer, Ok(expect), "{} of {payload}", example.name);
    }
}

/// Past the test runner, which hides what a test that passes prints.
fn skipped(name: &str, why: &str) {
    let line = format!("SKIPPED: `{name}` was NOT tested, {why}\n");
    std::io::stderr()
        .write_all(line.as_bytes())
        .expect("stderr");
}

#[expect(clippy::print_stderr, reason = "sizes and times, with --nocapture")]
fn report(line: &str) {
    eprintln!("{line}");
}

fn root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    root.canonicalize().expect("the workspace")
}

/// Where toolchains stay from run to run.
fn cache() -> PathBuf {
    let home = || env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
    let base = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let base = base.or_else(home).unwrap_or_else(env::temp_dir);
    base.join("millstream-toolchains")
}

/// A copy of an example and of the WIT package, laid out as in the repository, so that nothing is written there.
fn copied(name: &str) -> PathBuf {
    let place = cache().join("source").join(name);
    for folder in [
        Path::new("functions/api/wit").to_owned(),
        Path::new("examples/functions").join(name),
    ] {
        fs::create_dir_all(place.join(&folder)).expect("the cache can be written");
        for entry in fs::read_dir(root().join(&folder)).expect("the repository") {
            let entry = entry.expect("the repository");
            if entry.file_type().expect("the repository").is_file() {
                let to = place.join(&folder).join(entry.file_name());
                fs::copy(entry.path(), to).expect("the cache can be written");
            }
        }
    }
    place.join("examples/functions").join(name)
}

/// What a command that went wrong said.
fn run(command: &mut Command) -> Result<(), String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{}: {error}", command.get_program().display()))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!(
        "{} {}\n{}{}",
        command.get_program().display(),
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    ))
}

/// Runs the `build` script of an example and reads what it made.
fn built(folder: &Path, name: &str, set: &[(&str, &Path)]) -> Vec<u8> {
    let to = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.wasm"));
    let mut command = Command::new(folder.join("build"));
    command.arg(&to).envs(set.iter().copied());
    let began = Instant::now();
    run(&mut command).unwrap_or_else(|why| panic!("`{name}` does not build: {why}"));
    report(&format!("{name}: built in {:?}", began.elapsed()));
    let wasm = fs::read(&to).expect("the script made it");
    fs::remove_file(&to).expect("it is ours");
    wasm
}

/// A Python with a package, in an environment that stays.
fn python(package: &str, proof: &str) -> Result<PathBuf, String> {
    let place = cache().join(package);
    let python = place.join("bin/python");
    if run(Command::new(&python).args(["-c", proof])).is_err() {
        run(Command::new("python3").args(["-m", "venv"]).arg(&place))?;
        let quiet = ["--quiet", "--disable-pip-version-check", package];
        run(Command::new(&python)
            .args(["-m", "pip", "install"])
            .args(quiet))?;
    }
    Ok(place)
}

fn committed(path: &str) -> Vec<u8> {
    fs::read(root().join("examples/functions").join(path)).expect("it is committed")
}

#[test]
fn committed_modules_answer_as_their_documents_say() {
    check(&enrich(), &committed("enrich/enrich.wasm"));
    check(&late(), &committed("late/late.wasm"));
    check(&probe(), &committed("probe/probe.wasm"));
    check(&keep_late(), &committed("keep-late/keep_late.wasm"));
}

#[test]
fn rust() {
    let mut rustup = Command::new("rustup");
    let targets = rustup.args(["target", "list", "--installed"]).output();
    let installed = targets.is_ok_and(|found| {
        String::from_utf8_lossy(&found.stdout).contains("wasm32-unknown-unknown")
    });
    if !installed && env::var_os("GUEST_CARGO").is_none() {
        skipped(
            "Rust",
            "there is no target wasm32-unknown-unknown and GUEST_CARGO is not set",
        );
        return;
    }
    let target = cache().join("rust-target");
    for example in [enrich(), late(), probe()] {
        let folder = root().join("examples/functions").join(example.name);
        let mut fetch = Command::new("cargo");
        if let Err(why) = run(fetch.current_dir(&folder).args(["fetch", "--locked"])) {
            return skipped("Rust", &format!("cargo has no crates for it: {why}"));
        }
        let set = [("CARGO_TARGET_DIR", target.as_path())];
        check(&example, &built(&folder, example.name, &set));
    }
}

#[test]
fn javascript() {
    let folder = copied("mask");
    let quiet = ["--silent", "--no-package-lock", "--no-audit", "--no-fund"];
    let npm = run(Command::new("npm")
        .current_dir(&folder)
        .arg("install")
        .args(quiet));
    if let Err(why) = npm {
        return skipped("JavaScript", &format!("npm has nothing for it: {why}"));
    }
    check(&mask(), &built(&folder, "mask", &[]));
}

#[test]
fn python_code() {
    match python("componentize-py==0.25.1", "import componentize_py") {
        Ok(venv) => {
            let set = [("VENV", venv.as_path())];
            check(&split(), &built(&copied("split"), "split", &set));
        }
        Err(why) => skipped("Python", &format!("pip has nothing for it: {why}")),
    }
}

#[test]
fn c() {
    match python("ziglang==0.17.1", "import ziglang") {
        Ok(venv) => {
            let set = [("VENV", venv.as_path())];
            check(
                &keep_late(),
                &built(&copied("keep-late"), "keep-late", &set),
            );
        }
        Err(why) => skipped("C", &format!("pip has no compiler for it: {why}")),
    }
}
