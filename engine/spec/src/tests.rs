//! Whole files in, documents or problems out.

use expect_test::{Expect, expect};
use proptest::prelude::{any, proptest};

use crate::{Kind, SourceFile, Spec, attachments, parse, variable_names};

mod flows;

const FLIGHTS: &str = r#"# a comment
kind: schema
name: flight
format: json
file: flight.schema.json
compatibility: backward
---
kind: function
name: delay-band
component: ../delay_band.wasm
config: { late_after_minutes: "15" }
limits: { memory: 16MiB, timeout: 50ms }
adds: { band: string, minutes: integer }
---
kind: station
name: flights
subjects: ["flights.>"]
replicas: 1
retention: { max_age: 7d, max_bytes: 10GiB }
schema: { subject: flight, version: latest, on_violation: reject }
stages:
  - function: delay-band
  - sql: |
      SELECT carrier, band
      FROM message
dead_letters: { max_age: 30d }
---
kind: source
name: flights-file
connector: file
config: { path: flights.jsonl, subject: "flights.{carrier}", rate: 5000, typed: true, skip: [1, 2.5, x] }
---
kind: sink
name: late-to-webhook
connector: http
station: flights
config: { url: "http://127.0.0.1:9000/hook", secret: "${HOOK_SECRET}" }
"#;

fn file(text: &str) -> Vec<SourceFile> {
    vec![SourceFile {
        name: "dir/f.yaml".into(),
        text: text.into(),
    }]
}

fn known(name: &str) -> Option<String> {
    (name == "HOOK_SECRET").then(|| "s3cret".to_owned())
}

fn check(text: &str, expected: Expect) {
    let problems = parse(&file(text), &known).problems;
    let lines: Vec<String> = problems
        .iter()
        .map(|problem| format!("{problem}\n"))
        .collect();
    expected.assert_eq(&lines.concat());
}

#[test]
fn the_designs_file_reads_as_meant() {
    let documents = parse(&file(FLIGHTS), &known)
        .into_result()
        .expect("no problems");
    let specs: Vec<&Spec> = documents.iter().map(|document| &document.spec).collect();
    let json = serde_json::to_string(&specs).expect("specs are JSON");
    expect![[r#"[{"kind":"schema","name":"flight","format":"json","text":{"file":"flight.schema.json"},"compatibility":"backward"},{"kind":"function","name":"delay-band","component":"../delay_band.wasm","config":{"late_after_minutes":"15"},"limits":{"memory":16777216,"timeout":"50ms"},"adds":[{"name":"band","type":"string"},{"name":"minutes","type":"int"}]},{"kind":"station","name":"flights","subjects":["flights.>"],"replicas":1,"storage":"file","retention":{"policy":"limits","max_age":"1w","max_bytes":10737418240,"discard":"old"},"schema":{"subject":"flight","version":"latest","on_violation":"reject"},"on_rejection":"dead_letter","stages":[{"function":"delay-band"},{"sql":"SELECT carrier, band\nFROM message\n"}],"dead_letters":{"max_age":"30d"}},{"kind":"source","name":"flights-file","connector":"file","config":{"path":"flights.jsonl","subject":"flights.{carrier}","rate":5000,"typed":true,"skip":[1,2.5,"x"]}},{"kind":"sink","name":"late-to-webhook","connector":"http","station":"flights","config":{"url":"http://127.0.0.1:9000/hook","secret":"s3cret"}}]"#]].assert_eq(&json);
    let again: Vec<Spec> = serde_json::from_str(&json).expect("reads back");
    assert_eq!(again.iter().collect::<Vec<_>>(), specs);
}

#[test]
fn a_station_may_be_compressed() {
    let station = "kind: station\nname: a\nsubjects: [a.>]\n";
    for (line, in_json) in [
        ("compression: lz4\n", true),
        ("compression: none\n", false),
        ("", false),
    ] {
        let documents = parse(&file(&format!("{station}{line}")), &known)
            .into_result()
            .expect("no problems");
        let json = serde_json::to_string(&documents[0].spec).expect("specs are JSON");
        assert_eq!(json.contains(r#""compression":"lz4""#), in_json, "{json}");
        let again: Spec = serde_json::from_str(&json).expect("reads back");
        assert_eq!(again, documents[0].spec);
    }
    check(
        &format!("{station}compression: gzip\n"),
        expect![[r#"
        dir/f.yaml:4:14: `compression` cannot be `gzip`; one of none, lz4
    "#]],
    );
}

#[test]
fn the_shipped_example_has_no_problem() {
    let text = include_str!("../../../examples/flights/flights.yaml");
    let parsed = parse(&file(text), &known);
    assert!(parsed.check_references(&|_| Vec::new()).is_empty());
    let documents = parsed.into_result().expect("no problems");
    assert!(documents.len() >= 3);
}

#[test]
fn places_are_kept() {
    let documents = parse(&file(FLIGHTS), &known)
        .into_result()
        .expect("no problems");
    let station = &documents[2];
    assert_eq!(station.at("subjects[0]").to_string(), "dir/f.yaml:17:12");
    assert_eq!(station.at("schema.version").to_string(), "dir/f.yaml:20:37");
    assert_eq!(station.at("schema.colour").to_string(), "dir/f.yaml:20:9");
    assert_eq!(station.at("nowhere").to_string(), "dir/f.yaml:15:1");
    assert_eq!(
        station.text_at("stages[1].sql", 2, 6).to_string(),
        "dir/f.yaml:25:12"
    );
    let sink = &documents[4];
    assert_eq!(
        sink.text_at("config.url", 1, 8).to_string(),
        "dir/f.yaml:37:24"
    );
    let found = attachments(&documents);
    let keys: Vec<&str> = found.iter().map(|found| found.key.as_str()).collect();
    assert_eq!(keys, ["dir/flight.schema.json", "delay_band.wasm"]);
    assert_eq!(found[1].at.to_string(), "dir/f.yaml:10:12");
    assert_eq!(variable_names(&file(FLIGHTS)), ["HOOK_SECRET"]);
}

#[test]
fn dedup_is_a_word_or_a_mapping() {
    let station = |line: &str| format!("kind: station\nname: s\nsubjects: [s]\n{line}\n");
    let dedup = |line: &str| {
        let documents = parse(&file(&station(line)), &known).into_result();
        let spec = documents.expect("no problems").remove(0).spec;
        let json = serde_json::to_value(&spec).expect("specs are JSON");
        let again: Spec = serde_json::from_value(json.clone()).expect("reads back");
        assert_eq!(again, spec);
        json.get("dedup").map(ToString::to_string)
    };
    assert_eq!(dedup(""), None);
    assert_eq!(dedup("dedup: id"), None);
    assert_eq!(
        dedup("dedup: content").as_deref(),
        Some(r#"{"by":"content"}"#)
    );
    assert_eq!(
        dedup("dedup: { by: content, headers: [Kind, A], window: 2d }").as_deref(),
        Some(r#"{"by":"content","headers":["Kind","A"],"window":"2d"}"#)
    );
    assert_eq!(
        dedup("dedup: { window: 1h }").as_deref(),
        Some(r#"{"by":"id","window":"1h"}"#)
    );
    check(
        &station("dedup: contents"),
        expect![[r#"
            dir/f.yaml:4:8: `dedup` cannot be `contents`; did you mean `content`?
        "#]],
    );
    check(
        &station("dedup: { by: id, headers: [\"A:\"], window: 0s, since: x }"),
        expect![[r#"
            dir/f.yaml:4:27: `headers` of `dedup` have a meaning with `by: content` only
            dir/f.yaml:4:28: `headers` of `dedup`: `A:` is no header name
            dir/f.yaml:4:43: `window` must be more than 0; leave it out to have no limit or the default
            dir/f.yaml:4:47: unknown key `since` of `dedup`; known keys: by, headers, window
        "#]],
    );
}

#[test]
fn times_of_messages() {
    check(
        "kind: station\nname: s\nsubjects: [s]\nschedules: true\nretention: { message_ttl: true, delete_markers: 1m }\n",
        expect![[""]],
    );
    check(
        "kind: station\nname: s\nsubjects: [s]\nschedules: often\nretention: { message_ttl: 5, delete_markers: 10ms }\n",
        expect![[r#"
            dir/f.yaml:4:12: `schedules` cannot be `often`; one of true, false
            dir/f.yaml:5:27: `message_ttl` cannot be `5`; one of true, false
            dir/f.yaml:5:46: `delete_markers` must be at least a second
        "#]],
    );
}

#[test]
fn all_problems_at_once() {
    check(
        r#"
kind: station
nmae: flights
subjects: ["flights..x", "a.*", "a.b"]
replicas: 3
retention: { max_age: 7x, max_bytes: 0, policy: interest, discard: newest }
schema: { subjct: flight, version: 0, on_violation: dead-letter }
stages:
  - functoin: x
  - { function: a, sql: b }
  - sql: ""
  - [1]
encode: { format: avro }
---
kind: schema
name: "a b"
format: avro
---
kind: functoin
name: x
---
kind: flow
name: y
---
name: z
---
[1, 2]
---
kind: sink
name: s
connector: http
station: [x]
config: { secret: "${NOT_SET}", url: "${" }
"#,
        expect![[r#"
            dir/f.yaml:2:1: `name` of the station is missing
            dir/f.yaml:3:1: unknown key `nmae` of the station; did you mean `name`?
            dir/f.yaml:4:12: subject `flights..x`: subject has an empty token
            dir/f.yaml:4:33: `a.b` overlaps `a.*` of the same station
            dir/f.yaml:5:11: `replicas` above 1 is not supported yet; take it out; a later release will bring it
            dir/f.yaml:6:23: `max_age`: `7x` is not a duration; write a number and a unit, such as `50ms` or `7d`
            dir/f.yaml:6:38: `max_bytes` must be more than 0; leave it out to have no limit or the default
            dir/f.yaml:6:49: `policy: interest` is not supported yet; take it out; a later release will bring it
            dir/f.yaml:6:68: `discard` cannot be `newest`; one of old, new
            dir/f.yaml:7:9: `subject` of `schema` is missing
            dir/f.yaml:7:11: unknown key `subjct` of `schema`; did you mean `subject`?
            dir/f.yaml:7:36: `version`: `0` is neither `latest`, `compatible` nor a version number from 1
            dir/f.yaml:7:53: `on_violation` cannot be `dead-letter`; did you mean `dead_letter`?
            dir/f.yaml:9:5: unknown key `functoin` of the stage; did you mean `function`?
            dir/f.yaml:9:5: the stage does nothing; write `- function: NAME` or `- sql: SELECT …`
            dir/f.yaml:10:25: a stage is either a function or SQL; start a new item with `- sql:`
            dir/f.yaml:11:10: `sql` of the stage is empty
            dir/f.yaml:12:5: the stage must be a mapping, not a list
            dir/f.yaml:16:7: `name`: name contains ` `; blanks, dots, `*`, `>`, slashes and control characters are not allowed
            dir/f.yaml:16:7: the schema has no text; give `file: PATH` or `schema: |` with the text
            dir/f.yaml:19:7: unknown kind `functoin`; did you mean `function`?
            dir/f.yaml:22:1: `from` of the flow is missing
            dir/f.yaml:25:1: `kind` is missing; one of schema, function, station, flow, source, sink
            dir/f.yaml:27:1: a document must be a mapping, not a list; start with `kind: station` and `name: …`
            dir/f.yaml:32:10: `station` must be a single value, not a list
            dir/f.yaml:33:19: variable `NOT_SET` is not set; set it in the environment: `NOT_SET=… millstream apply …`
            dir/f.yaml:33:38: `${` without `}`; write `$${` for the characters themselves
        "#]],
    );
}

#[test]
fn what_is_no_yaml_is_placed_and_the_rest_still_checked() {
    check(
        "kind: station\nname: a\nsubjcts: [x]\n---\nkind: \"sta\nname: b\n",
        expect![[r#"
        dir/f.yaml:1:1: `subjects` of the station is missing
        dir/f.yaml:3:1: unknown key `subjcts` of the station; did you mean `subjects`?
        dir/f.yaml:5:7: not valid YAML: invalid indentation in quoted scalar
    "#]],
    );
    check(
        "kind: station\n\tname: a\n",
        expect![[r#"
        dir/f.yaml:1:7: not valid YAML: while scanning a plain scalar, found a tab
    "#]],
    );
    check(
        "",
        expect![[r#"
        dir/f.yaml:1:1: the file describes nothing; start with `kind: station` and `name: …`
    "#]],
    );
    check(
        "# only a comment\n---\n",
        expect![[r#"
        dir/f.yaml:1:1: the file describes nothing; start with `kind: station` and `name: …`
    "#]],
    );
    check(
        "kind: station\nname: a\nname: b\nsubjects: [x]\n? [1]\n: 2\nstorage: !disk file\n",
        expect![[r#"
            dir/f.yaml:3:1: `name` stands twice; first in line 2
            dir/f.yaml:5:3: a key must be a single word
            dir/f.yaml:7:10: tags such as `!disk` mean nothing here
        "#]],
    );
}

#[test]
fn names_and_subjects_are_unique() {
    check(
        "kind: station\nname: a\nsubjects: [x.>]\n---\nkind: station\nname: a\nsubjects: [y]\n---\nkind: station\nname: b\nsubjects: [z, x.*]\n",
        expect![[r#"
            dir/f.yaml:6:7: station `a` is described twice; first at dir/f.yaml:2:7
            dir/f.yaml:11:15: `x.*` overlaps `x.>` of station `a`; a subject belongs to one station
        "#]],
    );
}

#[test]
fn bombs_are_refused() {
    let mut text = "kind: source\nname: s\nconnector: file\nconfig:\n  a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..9 {
        let item = format!("*a{}", level - 1);
        let items = [item.as_str(); 10].join(", ");
        text.push_str(&format!("  a{level}: &a{level} [{items}]\n"));
    }
    check(
        &text,
        expect![[r#"
        dir/f.yaml:9:27: more than 50000 values, aliases counted
    "#]],
    );
    check(
        "&a [*a]",
        expect![[r#"
        dir/f.yaml:1:5: the alias stands inside what it repeats
    "#]],
    );
    check(
        &format!("kind: {}1{}", "[".repeat(200), "]".repeat(200)),
        expect![[r#"
        dir/f.yaml:1:70: nested deeper than 64 levels
    "#]],
    );
    check(
        &"x".repeat((1 << 20) + 1),
        expect![[r#"
        dir/f.yaml:1:1: the file has 1048577 bytes; at most 1048576 are read; put large texts into attachments
    "#]],
    );
    check(
        "kind: source\nname: s\nconnector: file\nconfig: { a: &x [1, 2], b: *x }\n",
        expect![[""]],
    );
}

#[test]
fn references_are_looked_up_here_and_on_the_server() {
    let text = "kind: station\nname: flights\nsubjects: [x]\nschema: { subject: fligth }\nstages: [{ function: old }, { function: broken }]\n---\n\
                kind: function\nname: broken\n---\nkind: sink\nname: s\nconnector: file\nstation: flights-dead-letters\n---\n\
                kind: sink\nname: t\nconnector: file\nstation: fligts\n";
    let on_server = |kind: Kind| match kind {
        Kind::Schema => vec!["flight".to_owned()],
        Kind::Function => vec!["old".to_owned()],
        _ => vec![],
    };
    let problems = parse(&file(text), &known).check_references(&on_server);
    let lines: Vec<String> = problems
        .iter()
        .map(|problem| format!("{problem}\n"))
        .collect();
    expect![[r#"
        dir/f.yaml:4:20: there is no schema `fligth`; did you mean `flight`?
        dir/f.yaml:18:10: there is no station `fligts`; did you mean `flights`?
    "#]]
    .assert_eq(&lines.concat());
}

#[test]
fn a_schema_may_stand_in_the_file() {
    let text = "kind: schema\nname: a\nschema: |\n  {\"type\": \"${object}\"}\n---\nkind: schema\nname: b\nschema: { type: object, required: [x], minimum: 1.5 }\n";
    let documents = parse(&file(text), &known)
        .into_result()
        .expect("no problems");
    let texts: Vec<String> = documents
        .iter()
        .map(|document| format!("{:?}\n", document.spec))
        .collect();
    expect![[r#"
        Schema(SchemaSpec { name: "a", format: Json, text: Inline("{\"type\": \"${object}\"}\n"), compatibility: Backward, references: [], migrations: MigrationsSpec { upgrade: None, downgrade: None } })
        Schema(SchemaSpec { name: "b", format: Json, text: Inline("{\n  \"type\": \"object\",\n  \"required\": [\n    \"x\"\n  ],\n  \"minimum\": 1.5\n}"), compatibility: Backward, references: [], migrations: MigrationsSpec { upgrade: None, downgrade: None } })
    "#]].assert_eq(&texts.concat());
}

proptest! {
    /// Whatever is in a file, reading it ends, without a panic.
    #[test]
    fn any_text_is_read(text in "[a-z:{}\\[\\],&*!|>'\"#$ \\n\\t-]{0,60}", any_text in any::<String>()) {
        drop(parse(&file(&text), &known));
        drop(parse(&file(&any_text), &known));
    }

    /// A valid file with one line damaged gives a problem or a document, never a panic.
    #[test]
    fn damaged_files_are_read(line in 0usize..37, with in "[a-z:{}\\[\\],&*!|>'\" -]{0,12}") {
        let mut lines: Vec<&str> = FLIGHTS.lines().collect();
        lines[line] = &with;
        let parsed = parse(&file(&lines.join("\n")), &known);
        assert!(!parsed.documents.is_empty() || !parsed.problems.is_empty());
    }
}

#[test]
fn what_sql_is_told_of_functions_and_columns() {
    check(
        r#"kind: function
name: risk
component: risk.wasm
sql: { arguments: { amount: float, parts: "list<struct<a: int>>" }, returns: "decimal(12, 2)" }
---
kind: station
name: loose
subjects: ["loose.>"]
columns: { carrier: string, stops: "list<string>" }
"#,
        expect![""],
    );
    check(
        r#"kind: function
name: risk
component: risk.wasm
sql: { arguments: { amount: flaot } }
state: {}
---
kind: station
name: loose
subjects: ["loose.>"]
schema: { subject: flight }
columns: { stops: "list<string" }
"#,
        expect![[r#"
            dir/f.yaml:4:6: `returns` of `sql` is missing
            dir/f.yaml:4:6: a function with `state` cannot have `sql`: only a stage of its own in a flow commits what it keeps
            dir/f.yaml:4:29: `amount`: `flaot` is no type: did you mean `float`?
            dir/f.yaml:11:10: `columns` are for a station without a schema: this one's schema says them
            dir/f.yaml:11:19: `stops`: `>` is expected at the end
        "#]],
    );
}
