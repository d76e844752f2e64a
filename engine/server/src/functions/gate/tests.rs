//! What the examples' tests say of their functions, and how a failure is told.

use std::path::Path;

use millstream_spec::{SourceFile, Spec, parse};

use super::Report;
use crate::functions::test_offline;

/// Runs an example's tests against its committed module.
fn report(folder: &str, module: &str, document: &str, tests: Option<&str>) -> Report {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../examples/functions")
        .join(folder);
    let text = format!("kind: function\nname: f\ncomponent: f.wasm\n{document}");
    let name = "f.yaml".into();
    let parsed = parse(&[SourceFile { name, text }], &|_| None);
    let Spec::Function(spec) = parsed.into_result().expect("no problems").remove(0).spec else {
        panic!("a function");
    };
    let wasm = std::fs::read(root.join(module)).expect("the module is committed");
    let own = std::fs::read_to_string(root.join("tests.yaml")).unwrap_or_default();
    test_offline(&spec, &wasm, tests.unwrap_or(&own)).expect("the tests run")
}

#[test]
fn the_examples_pass_their_tests() {
    for (folder, module, document) in [
        ("enrich", "enrich.wasm", "lookup: [planes, airports]"),
        ("late", "late.wasm", "state: {}"),
        (
            "probe",
            "probe.wasm",
            "http: [api.example.org]\nconfig: { url: \"https://api.example.org/flight\" }",
        ),
        ("keep-late", "keep_late.wasm", ""),
    ] {
        let report = report(folder, module, document, None);
        assert_eq!(report.failures(), Vec::<String>::new(), "{folder}");
        assert!(report.passed > 0, "{folder}");
    }
}

#[test]
fn failures_say_what_was_expected() {
    let tests = r#"
tests:
  - name: right
    given: { subject: flights.UA, payload: { dep_delay: 20 } }
    expect: { replace: { subject: flights.UA, payload: { band: late, dep_delay: 20.0 } } }
  - name: wrong payload
    given: { subject: flights.UA, payload: { dep_delay: 20 } }
    expect: { replace: { payload: { dep_delay: 20, band: early } } }
  - name: wrong outcome
    given: [ { subject: flights.UA, payload: { dep_delay: null } }, { subject: a, text: "no" } ]
    expect: [ drop, { reject: { code: not_a_flight } } ]
  - name: wrong code
    given: { subject: flights.UA, text: "no" }
    expect: { reject: { code: bad_flight } }
  - name: too few
    given: [ { subject: a }, { subject: b } ]
    expect: keep
"#;
    let report = report("delay-band", "delay_band.wasm", "", Some(tests));
    assert_eq!((report.passed, report.failed), (1, 4));
    assert_eq!(
        report.failures(),
        [
            r#"test `wrong payload`: expected payload {"dep_delay":20,"band":"early"}, got {"dep_delay":20,"band":"late"}"#,
            "test `wrong outcome`: message 1: expected `drop`, got `keep`",
            r#"test `wrong code`: expected `reject: { code: bad_flight }`, got `reject: {"code":"not_a_flight","reason":"no JSON object: expected ident at line 1 column 2","path":null}`"#,
            "test `too few`: gives 2 messages and expects 1 outcomes",
        ]
    );
}
