//! Parameters, and answers in other forms than JSON: as cells, and as a file that is read back.

use std::sync::Arc;
use std::sync::mpsc::channel;

use arrow::array::AsArray;
use arrow::array::types::Int64Type;
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::super::{
    Cell, CellKind, Described, Event, Form, Parameter, QueryError, Question, describe, start,
};
use super::{Known, LIMITS, Stored, stored};

fn events(stored: &Stored, question: Question) -> Vec<Event> {
    let (events, heard) = channel();
    let tables = Arc::new(Known(stored.clone()));
    start(question, tables, LIMITS, move |event| {
        events.send(event).is_ok()
    })
    .expect("a thread");
    heard.into_iter().collect()
}

fn cells(
    text: &str,
    parameters: Vec<Parameter>,
) -> Result<(Vec<CellKind>, Vec<String>), QueryError> {
    let question = Question {
        text: text.to_owned(),
        parameters,
        form: Form::Cells,
    };
    let (mut kinds, mut rows) = (Vec::new(), Vec::new());
    for event in events(&stored(20), question) {
        match event {
            Event::Kinds(found) => kinds = found.into_iter().map(|(_, kind)| kind).collect(),
            Event::Cells(found) => {
                let readers = found.readers();
                let row = |row| {
                    let cells: Vec<Cell<'_>> = readers.iter().map(|read| read(row)).collect();
                    format!("{cells:?}")
                };
                rows.extend((0..found.rows()).map(row));
            }
            Event::End(Err(error)) => return Err(error),
            _ => {}
        }
    }
    Ok((kinds, rows))
}

#[test]
fn values_keep_their_types() {
    let text = "SELECT true AS a, CAST(1 AS SMALLINT) AS b, CAST(2 AS INT) AS c, 3 AS d, CAST(1.5 AS REAL) AS e, 2.5 AS f, \
        CAST('12.340' AS DECIMAL(10,3)) AS g, 'x' AS h, CAST('2024-02-29' AS DATE) AS i, CAST('10:00:01' AS TIME) AS j, \
        TIMESTAMP '1970-01-01T00:00:02' AS k, _time AS l, more AS m, [1, NULL] AS n, named_struct('a', 1) AS o, NULL AS p, \
        INTERVAL '1 day' AS q, [[1]] AS r FROM flights WHERE _sequence = 1";
    let (kinds, rows) = cells(text, Vec::new()).expect("an answer");
    let list = || CellKind::List(Box::new(CellKind::Int64));
    assert_eq!(
        kinds,
        [
            CellKind::Bool,
            CellKind::Int16,
            CellKind::Int32,
            CellKind::Int64,
            CellKind::Float32,
            CellKind::Float64,
            CellKind::Decimal {
                precision: 10,
                scale: 3
            },
            CellKind::Text,
            CellKind::Date,
            CellKind::Time,
            CellKind::Timestamp,
            CellKind::TimestampUtc,
            CellKind::Json,
            list(),
            CellKind::Json,
            CellKind::Text,
            CellKind::Text,
            CellKind::Json,
        ]
    );
    let want = "[Bool(true), Int(1), Int(2), Int(3), Float32(1.5), Float(2.5), Decimal(12340), Text(\"x\"), Date(19782), \
        Time(36001000000), Timestamp(2000000), Timestamp(1000000), Text(\"{\\\"n\\\":[1]}\"), List([Int(1), Null]), \
        Text(\"{\\\"a\\\":1}\"), Null, Text(\"1 days\"), Text(\"[[1]]\")]";
    assert_eq!(rows, [want]);
}

#[test]
fn parameters_stand_for_values() {
    let text = |text: &str, kind| Parameter::Text(text.to_owned(), kind);
    for (statement, parameters, want) in [
        (
            "SELECT delay FROM flights WHERE delay > $1 AND carrier = $2 LIMIT $3",
            vec![
                Parameter::Int(3),
                text("UA", CellKind::Text),
                Parameter::Int(1),
            ],
            "[Int(6)]",
        ),
        (
            "SELECT delay FROM flights WHERE _time = $1",
            vec![text("1970-01-01T00:00:05Z", CellKind::TimestampUtc)],
            "[Int(5)]",
        ),
        (
            "SELECT $1 AS a, $2 AS b, $1 AS c, $3 AS d",
            vec![
                Parameter::Bool(true),
                Parameter::Float(f64::NEG_INFINITY),
                Parameter::Null(CellKind::Int64),
            ],
            "[Bool(true), Float(-inf), Bool(true), Null]",
        ),
        // What looks like SQL is text.
        (
            "SELECT $1 AS a",
            vec![text("'; DROP TABLE flights --", CellKind::Text)],
            "[Text(\"'; DROP TABLE flights --\")]",
        ),
    ] {
        let (_, rows) = cells(statement, parameters).expect("an answer");
        assert_eq!(rows, [want], "{statement}");
    }
    let error = cells("SELECT $2", vec![Parameter::Bool(true)]).expect_err("one value");
    assert_eq!(
        error.to_string(),
        "line 1, column 8: `$2` is a parameter without a value; write the value itself"
    );
}

fn described(text: &str, known: Vec<Option<CellKind>>) -> Result<Described, QueryError> {
    let (tell, heard) = channel();
    let tables = Arc::new(Known(stored(5)));
    let tell = move |found| tell.send(found).expect("heard");
    describe(text.to_owned(), known, tables, LIMITS, tell).expect("a thread");
    heard.recv().expect("told")
}

#[test]
fn a_statement_tells_what_it_needs_and_answers() {
    let found = described(
        "SELECT *, $3 AS said FROM flights WHERE delay > $1 AND _time < $2",
        vec![None, None, Some(CellKind::Int32)],
    )
    .expect("a description");
    assert_eq!(
        found.parameters,
        [CellKind::Int64, CellKind::TimestampUtc, CellKind::Int32]
    );
    let columns: Vec<_> = found
        .columns
        .iter()
        .map(|(name, kind)| (name.as_str(), kind))
        .collect();
    assert_eq!(
        columns,
        [
            ("carrier", &CellKind::Text),
            ("delay", &CellKind::Int64),
            ("more", &CellKind::Json),
            ("said", &CellKind::Int32)
        ]
    );
    // What nothing tells is text.
    let found = described("SELECT $1 AS a", Vec::new()).expect("a description");
    assert_eq!(found.parameters, [CellKind::Text]);
    let error = described("SELECT whom FROM flights", Vec::new()).expect_err("no such column");
    assert!(error.to_string().starts_with("line 1, column 8"), "{error}");
}

#[test]
fn a_file_is_read_back() {
    let question = Question {
        text: "SELECT delay, carrier, _time, more FROM flights".to_owned(),
        form: Form::Parquet,
        ..Question::default()
    };
    let mut file = Vec::new();
    for event in events(&stored(5000), question) {
        match event {
            Event::File(bytes) => file.extend(bytes),
            Event::End(ended) => assert_eq!(ended.expect("a file").rows, 4500),
            _ => {}
        }
    }
    let reader =
        ParquetRecordBatchReaderBuilder::try_new(Bytes::from(file)).expect("a Parquet file");
    let names: Vec<_> = reader
        .schema()
        .fields()
        .iter()
        .map(|field| field.name().clone())
        .collect();
    assert_eq!(names, ["delay", "carrier", "_time", "more"]);
    let batches: Vec<_> = reader
        .build()
        .expect("rows")
        .map(|batch| batch.expect("a batch"))
        .collect();
    let rows: usize = batches
        .iter()
        .map(arrow::array::RecordBatch::num_rows)
        .sum();
    assert_eq!(rows, 4500);
    let sum: i64 = batches
        .iter()
        .flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values())
        .sum();
    assert_eq!(sum, (1..=5000).filter(|n| n % 10 != 0).sum::<i64>());
    assert_eq!(
        batches[0].column(3).as_string::<i32>().value(0),
        r#"{"n":[1]}"#
    );
}
