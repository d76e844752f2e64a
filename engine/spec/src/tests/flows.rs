//! `kind: flow`: what it reads as, and what is wrong with it.

use expect_test::expect;

use super::{check, file, known};
use crate::{FlowSpec, FlowStart, Kind, RunningSpec, Spec, StageSpec, parse};

fn flow(text: &str) -> FlowSpec {
    let documents = parse(&file(text), &known)
        .into_result()
        .unwrap_or_else(|problems| panic!("{problems:?}"));
    let Spec::Flow(spec) = &documents[0].spec else {
        panic!("a flow");
    };
    let json = serde_json::to_string(spec).expect("specs are JSON");
    let again: FlowSpec = serde_json::from_str(&json).expect("reads back");
    assert_eq!(again, *spec);
    again
}

#[test]
fn everything_can_be_said() {
    let spec = flow(
        "kind: flow\nname: late\nfrom: flights\nfilter: \"flights.*.*\"\nstart: { sequence: 1000 }\nto: alerts\n\
         subject: \"late.$1.{{wildcard(2)}}\"\nstages: [ { function: detect }, { sql: \"SELECT 1\" } ]\norder: key\n\
         key: header:Aircraft\nworkers: 3\nmax_retries: 4\npaused: true\n",
    );
    expect![[r#"{"name":"late","from":"flights","filter":"flights.*.*","start":{"sequence":1000},"to":"alerts","subject":"late.$1.{{wildcard(2)}}","stages":[{"function":"detect"},{"sql":"SELECT 1"}],"running":{"order":"key","key":"header:Aircraft","workers":3,"max_retries":4},"paused":true}"#]]
        .assert_eq(&serde_json::to_string(&spec).expect("JSON"));
    assert_eq!(spec.functions().collect::<Vec<_>>(), ["detect"]);
    let made = spec.template().expect("right").expect("there is one");
    assert_eq!(
        made.apply(b"flights.UA.7").as_deref(),
        Ok(&b"late.UA.7"[..])
    );
}

#[test]
fn little_needs_to_be_said() {
    let spec = flow("kind: flow\nname: copy\nfrom: a\nto: b\n");
    assert_eq!((spec.filter(), spec.start), (">", FlowStart::Beginning));
    assert_eq!((spec.running, spec.paused), (RunningSpec::default(), false));
    let spec = flow("kind: flow\nname: own\nfrom: a\nstart: end\nstages: [{function: f}]");
    assert_eq!(spec.start, FlowStart::End);
    assert_eq!(spec.stages, [StageSpec::Function("f".to_owned())]);
    let spec = flow("kind: flow\nname: t\nfrom: a\nto: b\nstart: { time: 2026-01-01T00:00:00Z }\n");
    let json = serde_json::to_string(&spec.start).expect("JSON");
    assert!(
        json.starts_with(r#"{"time":"2026-01-01T00:00:00"#),
        "{json}"
    );
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    check(
        "kind: flow\nname: a.b\nfilter: a..b\nstart: middle\norder: fifo\nkey: colour\nworkers: 0\nmax_retries: many\nstage: []\n",
        expect![[r#"
            dir/f.yaml:1:1: `from` of the flow is missing
            dir/f.yaml:2:7: `name`: name contains `.`; blanks, dots, `*`, `>`, slashes and control characters are not allowed
            dir/f.yaml:3:9: `filter`: subject has an empty token
            dir/f.yaml:5:8: `order` cannot be `fifo`; one of station, key, none
            dir/f.yaml:6:6: `key`: write `subject`, `header:NAME` or `field:NAME`
            dir/f.yaml:7:10: `workers` must be more than 0; leave it out to have no limit or the default
            dir/f.yaml:8:14: `max_retries`: `many` is not a whole number
            dir/f.yaml:9:1: unknown key `stage` of the flow; did you mean `stages`?
        "#]],
    );
    check(
        "kind: flow\nname: a\nfrom: x\nto: x\nsubject: late.$1\n",
        expect![[r#"
            dir/f.yaml:4:5: `to` is `x`, which the flow reads: it would loop for ever
            dir/f.yaml:5:10: `subject`: there is no wildcard 1 in filter `>`, which has 0 `*`
        "#]],
    );
    check(
        "kind: flow\nname: a\nfrom: x\nstart: { sequence: 1, time: 2026-01-01T00:00:00Z }\nsubject: late\nstages: [{sql: SELECT 1}]\n",
        expect![[r#"
            dir/f.yaml:4:8: `start` says nothing clear; write `beginning`, `end`, `{ sequence: 1000 }` or `{ time: 2026-01-01T00:00:00Z }`
            dir/f.yaml:5:10: `subject` is the subject in `to`, and there is no `to`
        "#]],
    );
    check(
        "kind: flow\nname: a\nfrom: x\nto: y\nstart: { time: noon }\n",
        expect![[r#"
            dir/f.yaml:5:16: `time`: `noon` is no time; write it like 2026-01-01T00:00:00Z
        "#]],
    );
}

#[test]
fn a_query_says_all_it_has_to() {
    let spec = flow(
        "kind: flow\nname: late-by-carrier\nsql: |\n  SELECT carrier, count(*) FROM flights GROUP BY carrier\ninto: delays\n\
         subject: \"delays.{carrier}\"\nsources:\n  flights: { event_time: time_hour, watermark: 10s, idle: 1m, filter: \"flights.UA.>\" }\n  \
         carriers: { station: KV_carriers, table: true, columns: { name: text } }\n  plain:\nemit: update\nlate: { update_within: 1h }\n\
         results: upsert\nstate_ttl: 7d\nstate_limit: 2MiB\nmemory_limit: 1MiB\nstart: end\npaused: true\n",
    );
    expect![[r#"{"name":"late-by-carrier","start":"end","stages":[],"paused":true,"query":{"sql":"SELECT carrier, count(*) FROM flights GROUP BY carrier\n","into":"delays","subject":"delays.{carrier}","sources":{"carriers":{"station":"KV_carriers","columns":{"name":"text"},"table":true},"flights":{"event_time":"time_hour","watermark":"10s","idle":"1m","filter":"flights.UA.>"},"plain":{}},"emit":"update","late":{"update_within":"1h"},"results":"upsert","state_ttl":"1w","state_limit":2097152,"memory_limit":1048576}}"#]]
        .assert_eq(&serde_json::to_string(&spec).expect("JSON"));
    let stations: Vec<&str> = spec.stations().collect();
    assert_eq!(stations, ["KV_carriers", "flights", "plain", "delays"]);
    let spec =
        flow("kind: flow\nname: q\nsql: SELECT 1\ninto: b\nlate: { side_output: too-late }\n");
    assert_eq!(spec.stations().collect::<Vec<_>>(), ["b", "too-late"]);
    let spec = flow("kind: flow\nname: q\nsql: SELECT 1\ninto: b\nlate: drop\n");
    expect![[r#"{"name":"q","start":"beginning","stages":[],"paused":false,"query":{"sql":"SELECT 1","into":"b"}}"#]]
        .assert_eq(&serde_json::to_string(&spec).expect("JSON"));
}

#[test]
fn what_is_stored_by_releases_without_queries_is_read() {
    let old = r#"{"name":"late","from":"flights","start":"beginning","to":"alerts","stages":[],"paused":false}"#;
    let spec: FlowSpec = serde_json::from_str(old).expect("reads");
    assert_eq!((spec.from.as_str(), &spec.query), ("flights", &None));
    assert_eq!(serde_json::to_string(&spec).expect("JSON"), old);
}

#[test]
fn what_is_wrong_with_a_query_is_told_with_its_place() {
    check(
        "kind: flow\nname: q\ninto: b\nfrom: a\nsources:\n  b: { watermark: soon, tabel: true }\n  c: none\nemit: sometimes\nlate: {}\n\
         results: some\nstate_ttl: 0s\nstate_limit: much\n",
        expect![[r#"
            dir/f.yaml:1:1: `sql` of the flow is missing
            dir/f.yaml:3:7: `into` is `b`, which the flow reads: it would loop for ever
            dir/f.yaml:4:1: unknown key `from` of the flow; known keys: kind, name, sql, into, subject, sources, emit, late, results, state_ttl, state_limit, memory_limit, start, paused
            dir/f.yaml:6:19: `watermark`: `soon` is not a duration; write a number and a unit, such as `50ms` or `7d`
            dir/f.yaml:6:25: unknown key `tabel` of source `b`; did you mean `table`?
            dir/f.yaml:7:6: source `c` must be a mapping, not a single value
            dir/f.yaml:8:7: `emit` cannot be `sometimes`; one of window_close, update
            dir/f.yaml:9:7: `late` says nothing clear; write `drop`, `{ side_output: STATION }` or `{ update_within: 1h }`
            dir/f.yaml:10:10: `results` cannot be `some`; one of upsert, changelog
            dir/f.yaml:11:12: `state_ttl` must be more than 0; leave it out to have no limit or the default
            dir/f.yaml:12:14: `state_limit`: `much` is not a size; write a number and a unit, such as `16MiB` or `10GB`
        "#]],
    );
    check(
        "kind: flow\nname: q\nsql: SELECT 1\nlate: { side_output: a }\nsources: { a: }\n",
        expect![[r#"
            dir/f.yaml:1:1: `into` of the flow is missing
            dir/f.yaml:4:7: late messages go to `a`, which the flow reads: it would loop for ever
        "#]],
    );
}

#[test]
fn functions_must_be_there() {
    let text =
        "kind: flow\nname: a\nfrom: x\nto: y\nstages: [{ function: dela }, { function: delay }]\n";
    let parsed = parse(&file(text), &known);
    let names = |kind| match kind {
        Kind::Function => vec!["delay".to_owned()],
        _ => Vec::new(),
    };
    let problems = parsed.check_references(&names);
    assert_eq!(problems.len(), 1);
    assert!(
        problems[0]
            .to_string()
            .contains("there is no function `dela`; did you mean `delay`?"),
        "{}",
        problems[0]
    );
}

#[test]
fn columns_of_a_querys_sources_are_types() {
    let file = |columns: &str| {
        format!(
            "kind: flow\nname: q\nsql: SELECT 1\ninto: b\nsources:\n  a: {{ columns: {columns} }}\n"
        )
    };
    let spec = flow(&file("{ n: BIGINT, price: \"decimal(12, 2)\", at: int64 }"));
    let query = spec.query.expect("a query");
    // As they are written, so that the same file says the same.
    assert_eq!(query.sources["a"].columns["n"], "BIGINT");
    check(
        &file("{ n: int, at: timestmp }"),
        expect![[r#"
            dir/f.yaml:6:31: `at`: `timestmp` is no type: did you mean `timestamp`?
        "#]],
    );
}
