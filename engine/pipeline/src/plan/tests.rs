//! A batch ends as the sum of its inputs, and each outcome of a stage reaches the right place.

mod in_place;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use millstream_function_api::{
    Fault, FaultCode, Function, FunctionMessage, FunctionOutcome, Output,
};
use millstream_schema_formats::{Format, Schema};
use millstream_types::{HeaderBlock, HeadersBuilder, Message, Timestamp};
use proptest::prelude::*;
use serde_json::json;

use super::Plan;
use crate::{
    Ended, Framing, FunctionStage, FunctionVersion, OnRejection, PipelineMetrics, Record,
    Rejection, RuleFor, SchemaOptions, SchemaRule, SchemaStage, Stage, SubjectSchemas, Verdict,
    VersionSchema, Wanted,
};

/// Decides by a number in the payload's last token, so that a model can predict it.
#[derive(Debug)]
struct Scripted {
    label: String,
    /// For the n-th record of the batch's input number: what to do.
    script: BTreeMap<u64, Action>,
}

#[derive(Clone, Debug)]
enum Action {
    Keep,
    Replace,
    Emit(usize),
    Drop,
    Reject,
    Panic,
}

/// Payload `input[.step]*`.
fn number(record: &Record) -> u64 {
    let text = std::str::from_utf8(&record.message.payload).expect("text");
    text.split('.')
        .map(|part| part.parse::<u64>().expect("a number") + 1)
        .fold(0, |sum, part| sum * 7 + part)
        % 13
}

fn then(record: &Record, step: usize) -> Record {
    let text = std::str::from_utf8(&record.message.payload).expect("text");
    record.replaced(Bytes::from(format!("{text}.{step}")), None)
}

impl Scripted {
    fn action(&self, record: &Record) -> Action {
        self.script
            .get(&number(record))
            .cloned()
            .unwrap_or(Action::Keep)
    }
}

impl Stage for Scripted {
    fn label(&self) -> &str {
        &self.label
    }

    fn process(&self, batch: &mut [Record]) -> Vec<Verdict> {
        let verdict = |record: &mut Record| match self.action(record) {
            Action::Keep => Verdict::Keep,
            Action::Replace => Verdict::Replace(then(record, 0)),
            Action::Emit(count) => {
                Verdict::Emit((0..count).map(|step| then(record, step)).collect())
            }
            Action::Drop => Verdict::Drop,
            Action::Reject => Verdict::Reject(Rejection::new(&self.label, "scripted", "said so")),
            Action::Panic => std::panic::resume_unwind(Box::new("scripted")),
        };
        batch.iter_mut().map(verdict).collect()
    }
}

fn record(payload: impl Into<Bytes>) -> Record {
    let message = Message {
        subject: Bytes::from_static(b"flights.UA"),
        payload: payload.into(),
        ..Message::default()
    };
    Record::new(message, Timestamp(7))
}

/// `stored a,b` | `dropped stage` | `rejected stage code`.
fn shown(ended: &Ended) -> String {
    match ended {
        Ended::Stored(records) => {
            let payload =
                |record: &Record| String::from_utf8_lossy(&record.message.payload).into_owned();
            format!(
                "stored {}",
                records.iter().map(payload).collect::<Vec<_>>().join(",")
            )
        }
        Ended::Dropped { stage } => format!("dropped {stage}"),
        Ended::Retry { stage, after } => format!("retry {stage} {}s", after.as_secs()),
        Ended::Rejected(why) => format!("rejected {} {}", why.stage, why.code),
    }
}

/// One input alone, stage after stage.
fn predicted(stages: &[Arc<Scripted>], input: Record) -> String {
    let mut records = vec![input];
    for stage in stages {
        let mut next = Vec::new();
        let mut rejected = None;
        for record in records {
            match stage.action(&record) {
                Action::Keep => next.push(record),
                Action::Replace => next.push(then(&record, 0)),
                Action::Emit(count) => next.extend((0..count).map(|step| then(&record, step))),
                Action::Drop => {}
                Action::Reject => rejected = rejected.or(Some("scripted")),
                Action::Panic => rejected = rejected.or(Some("internal")),
            }
        }
        if let Some(code) = rejected {
            return format!("rejected {} {code}", stage.label);
        }
        if next.is_empty() {
            return format!("dropped {}", stage.label);
        }
        records = next;
    }
    shown(&Ended::Stored(records))
}

fn scripts() -> impl Strategy<Value = Vec<BTreeMap<u64, Action>>> {
    let action = prop_oneof![
        Just(Action::Keep),
        Just(Action::Replace),
        (0..4_usize).prop_map(Action::Emit),
        Just(Action::Drop),
        Just(Action::Reject),
        Just(Action::Panic),
    ];
    prop::collection::vec(prop::collection::btree_map(0..13_u64, action, 0..13), 0..4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// A batch ends as its inputs would alone, in order and on however many threads: nothing is lost, repeated or half stored, and the numbers add up.
    #[test]
    fn a_batch_is_the_sum_of_its_inputs(scripts in scripts(), inputs in 0..40_usize, workers in 1..5_usize) {
        let stages: Vec<_> = scripts
            .into_iter()
            .enumerate()
            .map(|(at, script)| Arc::new(Scripted { label: format!("sql:{at}"), script }))
            .collect();
        let each = stages.iter().map(|stage| Arc::clone(stage) as Arc<dyn Stage>).collect();
        let plan = Plan::new(1, None, each, OnRejection::DeadLetter);
        let records = || (0..inputs).map(|input| record(input.to_string()));
        let ended = plan.run_split(records().collect(), workers);
        let got: Vec<_> = ended.iter().map(shown).collect();
        let want: Vec<_> = records().map(|record| predicted(&stages, record)).collect();
        prop_assert_eq!(got, want);
        let snapshots = plan.snapshot();
        let mut coming = inputs as u64;
        for stage in &snapshots {
            prop_assert_eq!(stage.records_in, coming, "{:?}", stage);
            coming = stage.records_out;
        }
        let stored: usize = ended.iter().map(|end| if let Ended::Stored(records) = end { records.len() } else { 0 }).sum();
        prop_assert_eq!(coming, stored as u64);
    }
}

fn schema_stage(on_violation: OnRejection) -> SchemaStage {
    let schema =
        json!({"type": "object", "properties": {"dep_delay": {"type": ["integer", "null"]}}});
    let schema = Schema::compile(Format::Json, &schema.to_string(), &[]).expect("valid");
    let version = VersionSchema::new("flight", 2, 7, 0, schema);
    SchemaStage::new(SchemaOptions {
        default: Some(SubjectSchemas {
            subject: "flight".to_owned(),
            versions: vec![Arc::new(version)],
            wanted: Wanted::Exactly(2),
            migrations: Arc::default(),
        }),
        rules: Vec::new(),
        framing: Framing::Auto,
        on_violation,
        as_json: true,
    })
}

#[test]
fn a_rejection_names_the_schema_that_the_rules_chose() {
    let only = |subject: &str, kind: &str| {
        let text = json!({ "type": kind }).to_string();
        let schema = Schema::compile(Format::Json, &text, &[]).expect("valid");
        SubjectSchemas {
            subject: subject.to_owned(),
            versions: vec![Arc::new(VersionSchema::new(subject, 1, 7, 0, schema))],
            wanted: Wanted::Compatible,
            migrations: Arc::default(),
        }
    };
    let rule = |filter: &str, schemas| SchemaRule {
        messages: RuleFor::Subject(filter.to_owned()),
        schemas,
    };
    let stage = SchemaStage::new(SchemaOptions {
        default: None,
        rules: vec![
            rule("gates.>", only("gate", "string")),
            rule("flights.>", only("flight", "object")),
        ],
        framing: Framing::Auto,
        on_violation: OnRejection::Reject,
        as_json: false,
    });
    let plan = Plan::new(1, Some(stage), Vec::new(), OnRejection::DeadLetter);
    let mut nobodys = record("1");
    nobodys.message.subject = Bytes::from_static(b"seats.1");
    let mut gates = record("1");
    gates.message.subject = Bytes::from_static(b"gates.1");
    let ended = plan.run(vec![record("1"), record("{"), gates, nobodys]);
    for ended in &ended {
        let Ended::Rejected(why) = ended else {
            panic!("not rejected: {ended:?}")
        };
        assert_eq!(plan.on_rejection(why), OnRejection::Reject);
    }
    let got: Vec<_> = ended.iter().map(shown).collect();
    let want = [
        "rejected schema:flight schema_violation",
        "rejected schema:flight bad_json",
        "rejected schema:gate schema_violation",
        "rejected schema:gate no_schema",
    ];
    assert_eq!(got, want);
}

/// Checks that the JSON is there already, and that nobody parses again: the payload says something else by then.
#[derive(Debug)]
struct NeedsParsed;

impl Stage for NeedsParsed {
    fn label(&self) -> &'static str {
        "sql:1"
    }

    fn process(&self, batch: &mut [Record]) -> Vec<Verdict> {
        let verdict = |record: &mut Record| {
            assert!(record.parsed.is_some(), "parsed by the stage before");
            record.message.payload = Bytes::from_static(b"not json any more");
            let late = record
                .json("sql:1")
                .is_ok_and(|value| value["dep_delay"] == 5);
            if late { Verdict::Keep } else { Verdict::Drop }
        };
        batch.iter_mut().map(verdict).collect()
    }
}

#[test]
fn a_payload_is_parsed_once() {
    let stages: Vec<Arc<dyn Stage>> = vec![Arc::new(NeedsParsed), Arc::new(NeedsParsed)];
    let plan = Plan::new(
        1,
        Some(schema_stage(OnRejection::Reject)),
        stages,
        OnRejection::Reject,
    );
    let ended = plan.run(vec![record(r#"{"dep_delay":5}"#)]);
    assert_eq!(shown(&ended[0]), "stored not json any more");
    let fresh = record("{}")
        .replaced(Bytes::from_static(b"[1]"), None)
        .json("x")
        .cloned();
    assert_eq!(fresh, Ok(json!([1])));
}

#[test]
fn the_schema_stage_names_the_place_or_where_json_ends() {
    let plan = Plan::new(
        1,
        Some(schema_stage(OnRejection::Reject)),
        Vec::new(),
        OnRejection::DeadLetter,
    );
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let inputs = vec![
        record(r#"{"dep_delay":"late"}"#),
        record(r#"{"dep_delay":"#),
        record(""),
        record(deep),
        record(&b"{\"a\":\"\xff\"}"[..]),
        record(r#"{"dep_delay":5,"dep_delay":null}"#),
    ];
    let show = |ended: Ended| match ended {
        Ended::Rejected(why) => {
            assert_eq!(why.stage, "schema:flight");
            assert_eq!(plan.on_rejection(&why), OnRejection::Reject);
            format!("{} {:?} {}", why.code, why.path, why.reason)
        }
        other => shown(&other),
    };
    let got: Vec<_> = plan.run(inputs).into_iter().map(show).collect();
    let want = [
        r#"schema_violation Some("/dep_delay") expected null or integer, found string "late""#,
        "bad_json None payload is not JSON: EOF while parsing a value at line 1 column 13",
        "bad_json None payload is empty where a JSON document is expected",
        "bad_json None payload is not JSON: nested more than 128 levels deep at line 1 column 128",
        "bad_json None payload is not JSON: invalid unicode code point at line 1 column 7",
        r#"stored {"dep_delay":5,"dep_delay":null}"#,
    ];
    assert_eq!(got, want);
    let other = Rejection::new("function:f", "x", "y");
    assert_eq!(plan.on_rejection(&other), OnRejection::DeadLetter);
}

fn with_headers(payload: impl Into<Bytes>, headers: HeadersBuilder) -> Record {
    let mut record = record(payload);
    record.message.headers = headers.build();
    record
}

fn headers_of(ended: &Ended) -> Vec<(String, String)> {
    let Ended::Stored(records) = ended else {
        panic!("not stored: {ended:?}")
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let block = HeaderBlock::new(&records[0].message.headers);
    assert_eq!(block.check(), Ok(()));
    block
        .iter()
        .map(|(name, value)| (text(name), text(value)))
        .collect()
}

#[test]
fn only_the_server_says_what_a_message_was_checked_against() {
    let forged = || {
        HeadersBuilder::new()
            .with("Ms-Schema", "secret:9")
            .with("Trace", "1")
            .with("Ms-Schema-Violation", "none")
    };
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let checked = Plan::new(
        1,
        Some(schema_stage(OnRejection::Tag)),
        Vec::new(),
        OnRejection::Tag,
    );
    let ended = checked.run(vec![
        record("{}"),
        with_headers("{}", forged()),
        with_headers(r#"{"dep_delay":true}"#, forged()),
        record("no json"),
    ]);
    let mark = [pair("Ms-Schema", "flight:2"), pair("Ms-Schema-Id", "7")];
    assert_eq!(headers_of(&ended[0]), mark);
    let [subject, id] = mark;
    assert_eq!(headers_of(&ended[1]), [pair("Trace", "1"), subject, id]);
    let why = "schema_violation at /dep_delay: expected null or integer, found boolean true";
    assert_eq!(
        headers_of(&ended[2]),
        [pair("Trace", "1"), pair("Ms-Schema-Violation", why)]
    );
    assert!(
        headers_of(&ended[3])[0]
            .1
            .starts_with("bad_json at /: payload is not JSON")
    );
    let unchecked = Plan::new(1, None, Vec::new(), OnRejection::Reject);
    assert!(unchecked.is_empty());
    assert_eq!(
        headers_of(&unchecked.run(vec![with_headers("{}", forged())])[0]),
        [pair("Trace", "1")]
    );
}

#[test]
fn a_closed_plan_takes_nothing_and_says_why() {
    let plan = Plan::closed("function `f` is gone");
    let ended = plan.run(vec![record("{}"), record("x")]);
    assert_eq!(plan.version, 0);
    for end in ended {
        let Ended::Rejected(why) = end else {
            panic!("{end:?}")
        };
        assert!(
            why.reason.contains("function `f` is gone"),
            "{}",
            why.reason
        );
        assert_eq!(plan.on_rejection(&why), OnRejection::Reject);
    }
}

/// Answers by the payload's first word.
#[derive(Debug)]
struct Answers;

impl Function for Answers {
    fn name(&self) -> &'static str {
        "answers"
    }

    fn process(&self, batch: &[FunctionMessage<'_>]) -> Vec<Result<FunctionOutcome, Fault>> {
        let output = |text: &'static str| Output {
            payload: Bytes::from_static(text.as_bytes()),
            ..Output::default()
        };
        let answer = |message: &FunctionMessage<'_>| match &message.payload[..] {
            b"replace" => Ok(FunctionOutcome::Replace(Output {
                subject: Some(Bytes::from_static(b"flights.new")),
                headers: Some(vec![("A".to_owned(), "1\r\nB: 2".to_owned())]),
                ..output("new")
            })),
            b"emit" => Ok(FunctionOutcome::Emit(vec![output("one"), output("two")])),
            b"none" => Ok(FunctionOutcome::Emit(Vec::new())),
            b"drop" => Ok(FunctionOutcome::Drop),
            b"retry" => Ok(FunctionOutcome::Retry(Duration::from_secs(5))),
            b"reject" => Ok(FunctionOutcome::Reject {
                code: "odd".to_owned(),
                reason: "a\nb".to_owned(),
                path: Some("/x".to_owned()),
            }),
            b"fault" => Err(Fault {
                code: FaultCode::Trap,
                reason: "unreachable".to_owned(),
            }),
            b"header" => {
                let headers = Some(vec![("a: b".to_owned(), String::new())]);
                Ok(FunctionOutcome::Replace(Output {
                    headers,
                    ..output("x")
                }))
            }
            _ => {
                assert_eq!(message.headers, [("Trace".into(), "1".into())]);
                assert_eq!(
                    (message.schema_id, message.timestamp),
                    (Some(4), Timestamp(7))
                );
                Ok(FunctionOutcome::Keep)
            }
        };
        batch.iter().map(answer).collect()
    }

    fn memory(&self) -> u64 {
        0
    }
}

#[test]
fn outcomes_of_functions_become_verdicts() {
    let stage = FunctionStage::new(FunctionVersion::new(Arc::new(Answers), 3), None);
    let plan = Plan::new(1, None, vec![Arc::new(stage)], OnRejection::DeadLetter);
    let words = [
        "keep", "replace", "emit", "none", "drop", "retry", "reject", "fault", "header",
    ];
    let schema = Schema::compile(Format::Json, "true", &[]).expect("valid");
    let version = Arc::new(VersionSchema::new("any", 1, 4, 0, schema));
    let inputs = words.map(|word| Record {
        schema: Some(Arc::clone(&version)),
        ..with_headers(word, HeadersBuilder::new().with("Trace", "1"))
    });
    let ended = plan.run(inputs.into());
    let got: Vec<_> = ended.iter().map(shown).collect();
    let want = [
        "stored keep",
        "stored new",
        "stored one,two",
        "dropped function:answers",
        "dropped function:answers",
        "retry function:answers 5s",
        "rejected function:answers odd",
        "rejected function:answers trap",
        "rejected function:answers bad_output",
    ];
    assert_eq!(got, want);
    let Ended::Stored(new) = &ended[1] else {
        panic!("stored above")
    };
    assert_eq!(new[0].message.subject, "flights.new");
    let marked = |name: &str, value: &str| {
        [(name, value), ("Ms-Schema", "any:1"), ("Ms-Schema-Id", "4")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
    };
    assert_eq!(headers_of(&ended[1]), marked("A", "1  B: 2"));
    assert_eq!(headers_of(&ended[2]), marked("Trace", "1"));
    let Ended::Rejected(why) = &ended[6] else {
        panic!("rejected above")
    };
    assert_eq!(why.reason, "a b");
    assert_eq!((why.path.as_deref(), why.version), (Some("/x"), Some(3)));
}

#[test]
fn numbers_outlive_a_swapped_plan() {
    let metrics = PipelineMetrics::default();
    let stage = || {
        Arc::new(FunctionStage::new(
            FunctionVersion::new(Arc::new(Answers), 3),
            None,
        )) as Arc<dyn Stage>
    };
    let plan = |version| {
        Plan::new(
            version,
            None,
            vec![stage(), stage()],
            OnRejection::DeadLetter,
        )
        .with_metrics(&metrics, "flights")
    };
    for version in [1, 2] {
        let ended = plan(version).run(vec![record("drop"), record("emit")]);
        assert_eq!(ended.len(), 2);
    }
    let snapshots = plan(3).snapshot();
    let show = |s: &crate::StageSnapshot| {
        format!(
            "{} {} {} {} {}",
            s.label, s.records_in, s.records_out, s.dropped, s.bytes_in
        )
    };
    assert_eq!(show(&snapshots[0]), "function:answers 4 4 2 56");
    assert!(snapshots[0].busy > Duration::ZERO);
    assert_eq!(snapshots[1].label, "function:answers #2");
    let mut registry = prometheus_client::registry::Registry::with_prefix("millstream");
    metrics.register(&mut registry);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).expect("encodes");
    let line =
        "millstream_stage_records_in_total{station=\"flights\",stage=\"function:answers\"} 4";
    assert!(text.contains(line), "{text}");
    assert!(
        text.contains("millstream_stage_batch_seconds_count{"),
        "{text}"
    );
    metrics.forget("flights", "function:answers");
    assert_eq!(plan(4).snapshot()[0].records_in, 0);
}
