//! The stage against plain DataFusion: the same statement over the same rows gives the same members.
//!
//! Rows and statements are random. The oracle gets the rows as arrays that are built here, plans and runs with a whole
//! session, and prints with Arrow's own JSON writer, so it shares no step with the stage but the evaluation.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, StringArray, TimestampNanosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::json::writer::{LineDelimited, WriterBuilder};
use arrow::record_batch::RecordBatch;
use datafusion::catalog::MemTable;
use datafusion::common::DataFusionError;
use datafusion::prelude::{SessionConfig, SessionContext};
use millstream_pipeline::{Column, ColumnKind, Stage, Verdict};
use millstream_types::Timestamp;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::{column, record};
use crate::SqlStage;

/// One random message.
#[derive(Clone, Debug)]
struct Row {
    number: Option<i64>,
    other: i64,
    real: Option<f64>,
    flag: Option<bool>,
    text: Option<String>,
    time: Option<i64>,
}

fn columns() -> Vec<Column> {
    vec![
        column("number", ColumnKind::Int64, true),
        column("other", ColumnKind::Int64, false),
        column("real", ColumnKind::Float64, true),
        column("flag", ColumnKind::Bool, true),
        column("text", ColumnKind::String, true),
        column("time", ColumnKind::Timestamp, true),
    ]
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let text = prop_oneof![
        Just(String::new()),
        "[a-c]{1,3}",
        "[ -~é€]{0,6}",
        "[0-9]{1,3}"
    ];
    let row = (
        prop::option::of(-5_i64..20),
        -3_i64..4,
        prop::option::of(prop_oneof![
            -10.0..10.0,
            Just(0.0),
            Just(-0.0),
            Just(1e300),
            Just(0.1)
        ]),
        prop::option::of(any::<bool>()),
        prop::option::of(text),
        prop::option::of(prop_oneof![
            0_i64..4_000_000_000_000_000_000,
            Just(1_357_034_400_000_000_000)
        ]),
    );
    let row = row.prop_map(|(number, other, real, flag, text, time)| Row {
        number,
        other,
        real,
        flag,
        text,
        time,
    });
    prop::collection::vec(row, 1..12)
}

/// Expressions of each type. Numbers stay small: overflow is where the stage differs on purpose.
fn number() -> impl Strategy<Value = String> + Clone {
    let leaf = prop_oneof![
        Just("number".to_owned()),
        Just("other".to_owned()),
        (-3_i64..9).prop_map(|n| format!("({n})")),
        Just("length(text)".to_owned()),
        Just("CAST(date_part('hour', time) AS BIGINT)".to_owned()),
        Just("CAST(text AS BIGINT)".to_owned()),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            (
                inner.clone(),
                inner.clone(),
                prop::sample::select(vec!["+", "-", "*", "/", "%"])
            )
                .prop_map(|(left, right, op)| format!("({left} {op} {right})")),
            inner.clone().prop_map(|of| format!("abs({of})")),
            (inner.clone(), inner.clone()).prop_map(|(of, or)| format!("coalesce({of}, {or})")),
            (inner.clone(), inner.clone()).prop_map(|(of, or)| format!("nullif({of}, {or})")),
            (inner.clone(), inner)
                .prop_map(|(of, or)| format!("CASE WHEN flag THEN {of} ELSE {or} END")),
        ]
    })
}

fn text() -> impl Strategy<Value = String> + Clone {
    let leaf = prop_oneof![
        Just("text".to_owned()),
        prop::sample::select(vec!["''", "'a'", "'it''s'", "'é'", "NULL"]).prop_map(str::to_owned),
        number().prop_map(|of| format!("CAST({of} AS VARCHAR)")),
        Just("CAST(flag AS VARCHAR)".to_owned()),
    ];
    leaf.prop_recursive(2, 8, 2, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(left, right)| format!("({left} || {right})")),
            inner.clone().prop_map(|of| format!("upper({of})")),
            (inner.clone(), number()).prop_map(|(of, n)| format!("substr({of}, {n}, 2)")),
            inner
                .clone()
                .prop_map(|of| format!("replace({of}, 'a', 'bb')")),
            inner.prop_map(|of| format!("CASE text WHEN 'a' THEN {of} WHEN '' THEN 'none' END")),
        ]
    })
}

fn condition() -> impl Strategy<Value = String> + Clone {
    let compare = || prop::sample::select(vec!["=", "<>", "<", ">="]);
    let leaf = prop_oneof![
        Just("flag".to_owned()),
        (number(), number(), compare())
            .prop_map(|(left, right, op)| format!("({left} {op} {right})")),
        (text(), text(), compare()).prop_map(|(left, right, op)| format!("({left} {op} {right})")),
        number().prop_map(|of| format!("({of} IN (1, 2, 3))")),
        number().prop_map(|of| format!("({of} BETWEEN 0 AND other)")),
        text().prop_map(|of| format!("({of} LIKE '%a_')")),
        text().prop_map(|of| format!("({of} IS NOT NULL)")),
        Just("(real * 2 > 1 / 3.0)".to_owned()),
        Just("(time >= TIMESTAMP '2013-01-01 10:00:00')".to_owned()),
        Just("regexp_like(text, '^[a-b]+$')".to_owned()),
    ];
    leaf.prop_recursive(3, 10, 2, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone())
                .prop_map(|(left, right)| format!("({left} AND {right})")),
            (inner.clone(), inner.clone()).prop_map(|(left, right)| format!("({left} OR {right})")),
            inner.clone().prop_map(|of| format!("(NOT {of})")),
            inner.prop_map(|of| format!("({of} IS TRUE)")),
        ]
    })
}

fn statement() -> impl Strategy<Value = String> {
    let output = prop_oneof![
        number(),
        text(),
        condition(),
        Just("real".to_owned()),
        Just("real / 3 - other".to_owned()),
        Just("time".to_owned()),
        Just("date_trunc('hour', time)".to_owned()),
        Just("CAST(time AS DATE)".to_owned()),
        Just("[number, other]".to_owned()),
    ];
    (
        prop::collection::vec(output, 1..4),
        prop::option::of(condition()),
    )
        .prop_map(|(outputs, filter)| {
            let outputs: Vec<_> = outputs
                .iter()
                .enumerate()
                .map(|(n, output)| format!("{output} AS c{n}"))
                .collect();
            let filter = filter
                .map(|filter| format!(" WHERE {filter}"))
                .unwrap_or_default();
            format!("SELECT {} FROM message{filter}", outputs.join(", "))
        })
}

/// The message's payload; members that are null are sometimes left out.
fn payload(row: &Row, index: usize) -> String {
    let time = row.time.map(|time| Timestamp(time).to_rfc3339());
    let members = [
        ("text", json!(row.text)),
        ("unknown", json!({"a": [1, "x"]})),
        ("number", json!(row.number)),
        ("real", json!(row.real)),
        ("other", json!(row.other)),
        ("time", json!(time)),
        ("flag", json!(row.flag)),
    ];
    let kept = members
        .into_iter()
        .filter(|(_, value)| index.is_multiple_of(2) || !value.is_null());
    let object: Map<String, Value> = kept.map(|(name, value)| (name.to_owned(), value)).collect();
    Value::Object(object).to_string()
}

fn table(rows: &[Row]) -> MemTable {
    let times = rows
        .iter()
        .map(|row| row.time)
        .collect::<TimestampNanosecondArray>();
    let arrays: [(&str, ArrayRef); 6] = [
        (
            "number",
            Arc::new(rows.iter().map(|row| row.number).collect::<Int64Array>()),
        ),
        (
            "other",
            Arc::new(
                rows.iter()
                    .map(|row| Some(row.other))
                    .collect::<Int64Array>(),
            ),
        ),
        (
            "real",
            Arc::new(rows.iter().map(|row| row.real).collect::<Float64Array>()),
        ),
        (
            "flag",
            Arc::new(rows.iter().map(|row| row.flag).collect::<BooleanArray>()),
        ),
        (
            "text",
            Arc::new(
                rows.iter()
                    .map(|row| row.text.clone())
                    .collect::<StringArray>(),
            ),
        ),
        ("time", Arc::new(times.with_timezone("UTC"))),
    ];
    let field = |(name, array): &(&str, ArrayRef)| {
        let data_type: DataType = array.data_type().clone();
        Field::new(*name, data_type, *name != "other")
    };
    let schema = Arc::new(Schema::new(arrays.iter().map(field).collect::<Vec<_>>()));
    let arrays = arrays.into_iter().map(|(_, array)| array).collect();
    let batch = RecordBatch::try_new(Arc::clone(&schema), arrays).expect("arrays fit");
    MemTable::try_new(schema, vec![vec![batch]]).expect("one batch")
}

/// The oracle's rows that pass the filter.
fn oracle(text: &str, rows: &[Row]) -> Result<Vec<Value>, DataFusionError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("runtime");
    runtime.block_on(async {
        let context =
            SessionContext::new_with_config(SessionConfig::new().with_target_partitions(1));
        context.register_table("message", Arc::new(table(rows)))?;
        let batches = context.sql(text).await?.collect().await?;
        let mut writer = WriterBuilder::new()
            .with_explicit_nulls(true)
            .build::<_, LineDelimited>(Vec::new());
        for batch in &batches {
            writer.write(batch)?;
        }
        let lines = String::from_utf8(writer.into_inner()).expect("JSON is UTF-8");
        Ok(lines
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect())
    })
}

/// The stage's answers; `Err` for a row that is rejected.
fn stage(text: &str, rows: &[Row]) -> Vec<Result<Option<Value>, String>> {
    let stage = SqlStage::compile("sql:1", text, &columns()).expect("the oracle took it");
    let mut records: Vec<_> = rows
        .iter()
        .enumerate()
        .map(|(index, row)| record(&payload(row, index)))
        .collect();
    let answer = |verdict| match verdict {
        Verdict::Replace(record) => Ok(Some(
            serde_json::from_slice(&record.message.payload).expect("answers are JSON"),
        )),
        Verdict::Drop => Ok(None),
        Verdict::Reject(why) => Err(format!("{}: {}", why.code, why.reason)),
        other => panic!("unexpected {other:?}"),
    };
    stage
        .process(&mut records)
        .into_iter()
        .map(answer)
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn answers_are_those_of_plain_datafusion(text in statement(), rows in rows()) {
        if let Err(error) = SqlStage::compile("sql:1", &text, &columns()) {
            prop_assert!(oracle(&text, &rows).is_err(), "{}\n{}", text, error);
            return Ok(());
        }
        let answers = stage(&text, &rows);
        match oracle(&text, &rows) {
            Ok(expected) => {
                let got: Vec<_> = answers.into_iter().filter_map(Result::transpose).collect::<Result<_, _>>()
                    .map_err(|why| TestCaseError::fail(format!("{text}\n{why}")))?;
                prop_assert_eq!(got, expected, "{}", text);
            }
            // Some row fails: each row alone.
            Err(_) => for (row, answer) in rows.iter().zip(answers) {
                match (oracle(&text, std::slice::from_ref(row)), answer) {
                    (Ok(expected), Ok(got)) => {
                        prop_assert_eq!(got.into_iter().collect::<Vec<_>>(), expected, "{}", text);
                    }
                    // A session may project before it filters, and then fails for a row that nobody asked for.
                    (Err(_), Ok(None)) => {}
                    (Err(_), Err(why)) => prop_assert!(why.starts_with("sql_error: "), "{}", why),
                    (expected, got) => prop_assert!(false, "{text}\n{row:?}\n{expected:?}\n{got:?}"),
                }
            },
        }
    }
}
