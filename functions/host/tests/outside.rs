//! Goal: what a guest reaches outside is what it was granted, counted and bounded, and what a failing call wrote is
//! forgotten; compiled modules on disk are used when they are whole and never when they are not. Method: the committed
//! examples over a pretended outside.

mod common;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use common::{manifest, message};
use millstream_function_api::{
    Entry, FaultCode, Function, FunctionHost as _, FunctionOutcome, Grants, Limits, LoadError,
    LogLevel, Manifest, Outside, StateWrite, WebRequest, WebResponse,
};
use millstream_function_host::{Options, WasmtimeHost};

const LATE: &[u8] = include_bytes!("../../../examples/functions/late/late.wasm");
const ENRICH: &[u8] = include_bytes!("../../../examples/functions/enrich/enrich.wasm");
const PROBE: &[u8] = include_bytes!("../../../examples/functions/probe/probe.wasm");

/// Remembers what it was asked and told.
#[derive(Debug, Default)]
struct Pretended {
    bucket: Mutex<BTreeMap<String, Bytes>>,
    lines: Mutex<Vec<String>>,
    asked: Mutex<Vec<String>>,
}

impl Outside for Pretended {
    fn log(&self, level: LogLevel, text: &str) {
        let line = format!("{} {text}", level.as_str());
        self.lines.lock().expect("no panic").push(line);
    }

    fn state(&self, key: &str) -> Result<Option<Bytes>, String> {
        Ok(self.bucket.lock().expect("no panic").get(key).cloned())
    }

    fn write_state(&self, writes: Vec<StateWrite>) {
        let mut bucket = self.bucket.lock().expect("no panic");
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
        let asked = format!("{bucket}/{key}");
        self.asked.lock().expect("no panic").push(asked);
        Ok(None)
    }

    fn fetch(&self, request: WebRequest, _within: Duration) -> Result<WebResponse, String> {
        self.asked.lock().expect("no panic").push(request.url);
        Ok(WebResponse {
            status: 200,
            body: b"{\"ok\":true}".to_vec(),
            ..WebResponse::default()
        })
    }
}

fn host(options: Options) -> WasmtimeHost {
    WasmtimeHost::new(options).expect("the engine starts")
}

fn granted(grants: Grants, limits: Limits, config: &[(&str, &str)]) -> Manifest {
    let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    Manifest {
        grants,
        limits,
        config: config.iter().map(pair).collect(),
        ..manifest(Duration::from_secs(5))
    }
}

fn limits() -> Limits {
    Limits {
        timeout: Duration::from_secs(5),
        ..Limits::default()
    }
}

fn state() -> Grants {
    Grants {
        state: true,
        ..Grants::default()
    }
}

fn lookup(names: &[&str]) -> Grants {
    Grants {
        lookup: names.iter().map(|name| (*name).to_owned()).collect(),
        ..Grants::default()
    }
}

fn load(wasm: &[u8], manifest: &Manifest, outside: &Arc<Pretended>) -> Arc<dyn Function> {
    let outside = Arc::clone(outside) as Arc<dyn Outside>;
    host(Options::default())
        .load(wasm, manifest, outside)
        .expect("it loads")
}

#[test]
fn what_is_not_granted_is_refused_by_name_and_says_how_to_grant_it() {
    let refused = |wasm: &[u8]| {
        let manifest = granted(Grants::default(), limits(), &[]);
        let loaded = common::load(&common::host(), wasm, &manifest);
        loaded.expect_err("it is not granted").to_string()
    };
    for (wasm, interface, hint) in [
        (
            LATE,
            "`millstream:function/bucket@0.2.0`",
            "write `state: {}`",
        ),
        (
            ENRICH,
            "`millstream:function/stations@0.2.0`",
            "under `lookup:`",
        ),
        (PROBE, "`millstream:function/web@0.2.0`", "under `http:`"),
    ] {
        let told = refused(wasm);
        assert!(told.contains(interface) && told.contains(hint), "{told}");
    }
}

#[test]
fn a_batch_sees_its_own_writes_and_the_next_one_does() {
    let outside = Arc::new(Pretended::default());
    let late = load(
        LATE,
        &granted(state(), limits(), &[("times", "2")]),
        &outside,
    );
    let flight = || message(&br#"{"carrier":"UA","dep_delay":60}"#[..]);
    let answers = late.process(&[flight(), flight()]);
    assert_eq!(answers[0], Ok(FunctionOutcome::Keep));
    assert!(
        matches!(answers[1], Ok(FunctionOutcome::Emit(_))),
        "{answers:?}"
    );
    assert_eq!(outside.state("UA"), Ok(Some(Bytes::from_static(b"2"))));
    let lines = outside.lines.lock().expect("no panic").clone();
    assert_eq!(lines, ["info UA was late 2 times in a row"]);
    let _more = late.process(&[flight()]);
    assert_eq!(outside.state("UA"), Ok(Some(Bytes::from_static(b"3"))));
}

#[test]
fn a_storm_of_calls_ends_the_message_and_forgets_what_it_wrote() {
    let outside = Arc::new(Pretended::default());
    // It asks twice for each message: what is there, and to set it.
    let few = Limits {
        host_calls: 1,
        ..limits()
    };
    let late = load(LATE, &granted(state(), few, &[]), &outside);
    let answers = late.process(&[message(&br#"{"carrier":"UA","dep_delay":60}"#[..])]);
    let fault = answers[0].as_ref().expect_err("too many calls");
    assert_eq!(fault.code, FaultCode::HostCalls);
    assert_eq!(
        fault.reason,
        "calls the host more than the 1 times it may for its messages"
    );
    assert_eq!(outside.state("UA"), Ok(None));
}

#[test]
fn only_what_is_listed_can_be_read_and_asked() {
    let outside = Arc::new(Pretended::default());
    let enrich = load(
        ENRICH,
        &granted(lookup(&["planes"]), limits(), &[]),
        &outside,
    );
    let flight = message(&br#"{"tailnum":"N1","origin":"EWR","dest":"IAH"}"#[..]);
    let answers = enrich.process(&[flight]);
    let Ok(FunctionOutcome::Reject { reason, .. }) = &answers[0] else {
        panic!("airports are not listed: {answers:?}")
    };
    assert!(reason.contains("`airports` is not listed"), "{reason}");
    let asked = outside.asked.lock().expect("no panic").clone();
    assert!(
        asked.iter().all(|asked| asked.starts_with("planes/")),
        "{asked:?}"
    );

    let hosts = Grants {
        http: vec!["api.example.org".to_owned()],
        ..Grants::default()
    };
    let asks = |url: &str| {
        let outside = Arc::new(Pretended::default());
        let manifest = granted(hosts.clone(), limits(), &[("url", url)]);
        let probe = load(PROBE, &manifest, &outside);
        let answers = probe.process(&[message("{}")]);
        let asked = outside.asked.lock().expect("no panic").len();
        (answers, asked)
    };
    let (answers, asked) = asks("https://api.example.org/x");
    assert!(
        matches!(answers[0], Ok(FunctionOutcome::Replace(_))),
        "{answers:?}"
    );
    assert_eq!(asked, 1);
    let (_, asked) = asks("https://evil.example.org/x");
    assert_eq!(asked, 0, "the request never leaves the host");
}

#[test]
fn lines_are_bounded_and_what_is_left_out_is_said() {
    let outside = Arc::new(Pretended::default());
    let one = Limits {
        log_lines: 1,
        ..limits()
    };
    let late = load(LATE, &granted(state(), one, &[("times", "1")]), &outside);
    let flight = |carrier: &str| message(format!("{{\"carrier\":\"{carrier}\",\"dep_delay\":60}}"));
    let _answers = late.process(&[flight("AA"), flight("UA"), flight("DL")]);
    let lines = outside.lines.lock().expect("no panic").clone();
    assert_eq!(
        lines,
        [
            "info AA was late 1 times in a row",
            "warn 2 more lines in this batch are left out: see `log_lines`"
        ]
    );
}

#[test]
fn compiled_modules_are_kept_and_damage_is_noticed() {
    let folder = tempfile::tempdir().expect("a folder");
    let options = || Options {
        artefacts: Some(folder.path().to_owned()),
        ..Options::default()
    };
    let manifest = granted(state(), limits(), &[]);
    let works = || {
        let outside = Arc::new(Pretended::default());
        let late = host(options())
            .load(LATE, &manifest, outside)
            .expect("it loads");
        let answers = late.process(&[message(&br#"{"carrier":"UA","dep_delay":1}"#[..])]);
        assert_eq!(answers, [Ok(FunctionOutcome::Keep)]);
    };
    let files = || {
        let entries = std::fs::read_dir(folder.path()).expect("the folder");
        let paths = entries.map(|entry| entry.expect("an entry").path());
        paths.collect::<Vec<_>>()
    };
    works();
    let [file] = &files()[..] else {
        panic!("one module, one file: {:?}", files())
    };
    let whole = std::fs::read(file).expect("read");
    works();
    assert_eq!(std::fs::read(file).expect("read"), whole, "used as it is");
    for damage in [whole.len() / 2, whole.len() - 1, 70] {
        let mut broken = whole.clone();
        broken[damage] ^= 1;
        std::fs::write(file, &broken).expect("written");
        works();
        assert_eq!(
            std::fs::read(file).expect("read").len(),
            whole.len(),
            "made anew"
        );
        assert_ne!(std::fs::read(file).expect("read"), broken);
    }
    std::fs::write(file, &whole[..100]).expect("cut");
    works();
    // Named by its digest it need not be read at all.
    let digest: [u8; 32] = sha2::Digest::finalize(sha2::Digest::chain_update(
        <sha2::Sha256 as sha2::Digest>::new(),
        LATE,
    ))
    .into();
    let kept = |module: &[u8; 32]| {
        let outside = Arc::new(Pretended::default());
        host(options()).load_kept(module, &manifest, outside)
    };
    assert!(kept(&digest).is_some_and(|loaded| loaded.is_ok()));
    assert!(kept(&[7; 32]).is_none());
    // Grants are checked whichever way a module comes.
    let error = host(options())
        .load(
            LATE,
            &granted(Grants::default(), limits(), &[]),
            Arc::new(Pretended::default()),
        )
        .expect_err("not granted");
    assert!(matches!(error, LoadError::Imports { .. }), "{error}");
}

#[test]
fn a_module_that_takes_the_compiler_too_long_is_refused() {
    let options = Options {
        compile_budget: Duration::from_millis(1),
        ..Options::default()
    };
    let manifest = granted(state(), limits(), &[]);
    let error = host(options)
        .load(LATE, &manifest, Arc::new(Pretended::default()))
        .expect_err("no time");
    let after = Duration::from_millis(1);
    assert_eq!(error, LoadError::Budget { after });
    assert_eq!(
        error.to_string(),
        "the module is not compiled after 1ms; make it smaller, or split it"
    );
}
