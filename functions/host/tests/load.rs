//! Goal: whatever is deployed, what is wrong with it is said when it is loaded, and says what to do.

mod common;

use std::time::Duration;

use common::{host, load, manifest, message};
use millstream_function_api::{FaultCode, FunctionOutcome, LoadError};
use millstream_function_host::{Options, WasmtimeHost};

fn error(wasm: &[u8]) -> LoadError {
    load(&host(), wasm, &manifest(Duration::from_secs(1))).expect_err("this must not load")
}

fn error_of(text: &str) -> LoadError {
    error(&wat::parse_str(text).expect("well formed"))
}

/// A guest that answers nothing, with other parts put in: fields of the module, body of `configure`.
fn guest(fields: &str, configure: &str) -> String {
    format!(
        r#"(module
            (memory (export "memory") 1)
            (data (i32.const 32) "\01\00\00\00\40\00\00\00\0b\00\00\00")
            (data (i32.const 64) "no band set")
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
            (func (export "configure") (param i32 i32) (result i32) {configure})
            (func (export "process") (param i32 i32) (result i32) (i32.const 16))
            {fields})"#
    )
}

#[test]
fn the_template_itself_loads() {
    let wasm = wat::parse_str(guest("", "(i32.const 0)")).unwrap();
    load(&host(), &wasm, &manifest(Duration::from_secs(1))).unwrap();
}

#[test]
fn what_is_no_webassembly() {
    assert_eq!(
        error(b"fn main() {}").to_string(),
        "not a WebAssembly file: it starts with `fn main(`; give the path of a `.wasm` that a compiler wrote, not of its source"
    );
    assert!(matches!(error(b""), LoadError::NotWasm { found } if found == "nothing at all"));
    assert!(matches!(error(b"\0asm"), LoadError::Invalid { .. }));
    assert!(matches!(
        error(b"\0asm\x07\0\0\0garbage"),
        LoadError::Invalid { .. }
    ));
    assert!(matches!(
        error(b"\0asm\x01\0\0\0\x01\x7fgarbage"),
        LoadError::Invalid { .. }
    ));
    assert!(matches!(
        error(b"\0asm\x0d\0\x01\0\x01\x7fgarbage"),
        LoadError::Invalid { .. }
    ));
}

#[test]
fn damage_anywhere_is_an_error_and_no_panic() {
    let host = host();
    let whole = wat::parse_str(guest("", "(i32.const 0)")).unwrap();
    for cut in 0..whole.len() {
        // Custom sections at the end may be lost without harm; a cut through anything else may not.
        let _ = load(&host, &whole[..cut], &manifest(Duration::from_secs(1)));
        let mut flipped = whole.clone();
        flipped[cut] ^= 0x55;
        let _ = load(&host, &flipped, &manifest(Duration::from_millis(100)));
    }
}

#[test]
fn a_module_that_is_no_function() {
    let error = error_of(r#"(module (memory (export "memory") 1) (func (export "run")))"#);
    assert_eq!(
        error.to_string(),
        "the module is neither a component nor a core module that can be made one: it does not export `cabi_realloc`, `configure`, `process`; build it with the guest kit against a world of `millstream:function@0.2.0`"
    );
    let wrong_type = guest("", "(i32.const 0)")
        .replace("(param i32 i32) (result i32)", "(param i32) (result i32)");
    assert!(matches!(
        error_of(&wrong_type),
        LoadError::NotAFunction { .. }
    ));
}

#[test]
fn imports_are_refused_by_name() {
    let text = guest("", "(i32.const 0)").replace(
        "(module",
        r#"(module (import "wasi_snapshot_preview1" "random_get" (func (param i32 i32) (result i32))) (import "env" "now" (func))"#,
    );
    let error = error_of(&text);
    assert_eq!(
        error.to_string(),
        "the function imports what it was not granted: `wasi_snapshot_preview1.random_get`, `env.now`; functions have no WASI: build it without (JavaScript: `disableFeatures`, Python: `--stub-wasi`, Rust: `wasm32-unknown-unknown`)"
    );
    let error = error_of(
        r#"(component
            (import "wasi:clocks/wall-clock@0.2.0" (instance (export "now" (func (result u64)))))
            (import "millstream:function/types@0.1.0" (instance (type u32) (export "t" (type (eq 0)))))
            (import "fetch" (func (param "url" string))))"#,
    );
    let imports = vec![
        "wasi:clocks/wall-clock@0.2.0".to_owned(),
        "fetch".to_owned(),
    ];
    assert_eq!(error, LoadError::Imports { imports });
}

#[test]
fn components_without_the_right_exports() {
    let missing = error_of("(component)");
    assert!(matches!(missing, LoadError::Export { export, .. } if export == "process"));
    let other = error_of(
        r#"(component
            (core module $m (func (export "process") (result i32) (i32.const 1)))
            (core instance $i (instantiate $m))
            (func (export "process") (result u32) (canon lift (core func $i "process"))))"#,
    );
    assert!(
        matches!(other, LoadError::Export { export, reason } if export == "process" && reason != "it is missing")
    );
}

#[test]
fn a_start_that_misbehaves() {
    let start = |error: LoadError| match error {
        LoadError::Start { fault } => fault,
        other => panic!("{other}"),
    };
    let trap = start(error_of(&guest(
        "(func $s unreachable) (start $s)",
        "(i32.const 0)",
    )));
    assert_eq!(trap.code, FaultCode::Trap);
    let endless = start(error_of(&guest(
        "(func $s (loop $l (br $l))) (start $s)",
        "(i32.const 0)",
    )));
    assert_eq!(
        (endless.code, endless.reason.as_str()),
        (FaultCode::Timeout, "computed longer than the 1s it has")
    );
    let endless = start(error_of(&guest("", "(loop $l (br $l)) (i32.const 0)")));
    assert_eq!(endless.code, FaultCode::Timeout);
    let text = guest("", "(i32.const 0)").replace("\"memory\") 1", "\"memory\") 1000");
    let large = start(error_of(&text));
    assert_eq!(large.code, FaultCode::Memory, "{large}");
    let tables = start(error_of(&guest(
        "(table 100000000 funcref)",
        "(i32.const 0)",
    )));
    assert_eq!(tables.code, FaultCode::Memory, "{tables}");
}

#[test]
fn a_configuration_that_is_refused() {
    let error = error_of(&guest("", "(i32.const 32)"));
    assert_eq!(
        error,
        LoadError::Configure {
            reason: "no band set".to_owned()
        }
    );
}

#[test]
fn modules_have_a_size() {
    let host = WasmtimeHost::new(Options {
        max_module_bytes: 100,
        ..Options::default()
    })
    .unwrap();
    let error = load(&host, &[0; 101], &manifest(Duration::from_secs(1))).expect_err("too large");
    assert_eq!(
        error,
        LoadError::TooLarge {
            size: 101,
            limit: 100
        }
    );
}

#[test]
fn functions_outlive_their_host() {
    let wasm = wat::parse_str(include_str!("fixtures/guest.wat")).expect("well formed");
    let host = host();
    let first = load(&host, &wasm, &manifest(Duration::from_secs(10))).unwrap();
    let second = load(&host, &wasm, &manifest(Duration::from_secs(10))).unwrap();
    drop(host);
    assert_eq!(first.process(&[message("k")]), [Ok(FunctionOutcome::Keep)]);
    drop(first);
    assert_eq!(second.name(), "guest");
    assert_eq!(second.process(&[message("Z")]), [Ok(FunctionOutcome::Drop)]);
}
