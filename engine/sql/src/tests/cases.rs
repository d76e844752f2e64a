//! Statements with their input and what they make of it, as text files.
//!
//! Blocks are apart by an empty line. `use NAME` chooses columns, `messages` is followed by payloads, and a statement by
//! `----` and what becomes of each message. `UPDATE_EXPECT=1 cargo test -p millstream-sql` writes the answers anew.

use expect_test::{ExpectFile, expect_file};
use millstream_pipeline::{Column, ColumnKind, Item, Stage};

use super::{column, flight, records, show};
use crate::{SqlStage, Station, Surroundings};

/// Orders with everything nested.
fn order() -> Vec<Column> {
    use ColumnKind::{Date, Decimal, Float64, Int64, Json, Map, String, Struct};
    let money = Decimal {
        precision: 12,
        scale: 2,
    };
    let item = Struct(vec![
        column("sku", String, false),
        column("qty", Int64, true),
        column("price", money.clone(), true),
        column("tags", String.list(), true),
    ]);
    let place = Struct(vec![
        column("lat", Float64, false),
        column("lon", Float64, false),
    ]);
    let ship = Struct(vec![
        column("city", String, false),
        column("geo", place, true),
    ]);
    let texts = Item {
        kind: String,
        nullable: true,
    };
    let scores = Item {
        kind: Int64,
        nullable: true,
    };
    vec![
        column("id", Int64, false),
        column("items", item.list(), true),
        column("ship", ship, true),
        column("attrs", Map(Box::new(texts)), true),
        column("scores", ColumnKind::List(Box::new(scores)), true),
        column("day", Date, true),
        column("total", money, true),
        column(
            "precise",
            Decimal {
                precision: 30,
                scale: 10,
            },
            true,
        ),
        column("anything", Json.list(), true),
        column("raw", Json, true),
        column(
            "bag",
            Map(Box::new(Item {
                kind: Json,
                nullable: true,
            })),
            true,
        ),
        column("note", String, true),
    ]
}

fn answer(statement: &str, columns: Option<&[Column]>, messages: &[&str]) -> String {
    let station = |name: &str, subjects: &[&str]| Station {
        name: name.to_owned(),
        subjects: subjects.iter().map(|&subject| subject.to_owned()).collect(),
    };
    let around = Surroundings {
        columns,
        stations: &[
            station("alerts", &["alerts"]),
            station("others", &["others.>", "more.*"]),
        ],
        ..Surroundings::default()
    };
    let stage = match SqlStage::among("sql:1", statement, &around) {
        Ok(stage) => stage,
        Err(error) => return format!("refused: {error}"),
    };
    let raw = show(&stage.process(&mut records(messages)));
    let mut parsed = records(messages);
    for record in &mut parsed {
        let _ = record.json("test");
    }
    let parsed = show(&stage.process(&mut parsed));
    assert_eq!(raw, parsed, "with parsed JSON: {statement}");
    raw
}

fn check(text: &str, file: &ExpectFile) {
    let mut columns = Some(flight());
    let mut messages: Vec<&str> = Vec::new();
    let mut blocks = Vec::new();
    for block in text.trim_end().split("\n\n") {
        let block = block.trim_matches('\n');
        if let Some(name) = block.strip_prefix("use ") {
            columns = match name {
                "flight" => Some(flight()),
                "order" => Some(order()),
                "nothing" => None,
                other => panic!("no columns `{other}`"),
            };
        } else if let Some(lines) = block.strip_prefix("messages\n") {
            messages = lines.lines().collect();
        } else if let Some((statement, _)) = block.split_once("\n----") {
            let answer = answer(statement, columns.as_deref(), &messages);
            blocks.push(format!("{statement}\n----\n{}", answer.trim_end()));
            continue;
        }
        blocks.push(block.to_owned());
    }
    file.assert_eq(&format!("{}\n", blocks.join("\n\n")));
}

#[test]
fn unnest() {
    check(
        include_str!("cases/unnest.slt"),
        &expect_file!["cases/unnest.slt"],
    );
}

#[test]
fn json_paths() {
    check(
        include_str!("cases/json.slt"),
        &expect_file!["cases/json.slt"],
    );
}

#[test]
fn metadata() {
    check(
        include_str!("cases/metadata.slt"),
        &expect_file!["cases/metadata.slt"],
    );
}

#[test]
fn nested_types() {
    check(
        include_str!("cases/nested.slt"),
        &expect_file!["cases/nested.slt"],
    );
}

#[test]
fn several_outputs() {
    check(
        include_str!("cases/outputs.slt"),
        &expect_file!["cases/outputs.slt"],
    );
}

#[test]
fn bounds_and_patterns() {
    check(
        include_str!("cases/bounds.slt"),
        &expect_file!["cases/bounds.slt"],
    );
}

/// One message becomes at most so many, and a neighbour does not suffer from it.
#[test]
fn one_message_becomes_at_most_ten_thousand() {
    let around = Surroundings {
        columns: Some(&order()),
        ..Surroundings::default()
    };
    let text = "SELECT id, score FROM message, UNNEST(scores) AS score";
    let stage = SqlStage::among("sql:1", text, &around).expect("compiles");
    let of = |count: usize| format!(r#"{{"id":1,"scores":[{}]}}"#, vec!["7"; count].join(","));
    let payloads = [of(10_000), of(10_001), of(2)];
    let payloads: Vec<&str> = payloads.iter().map(String::as_str).collect();
    let shown = show(&stage.process(&mut records(&payloads)));
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(lines.len(), 10_002 + 1 + 4, "{}", lines.len());
    assert_eq!(
        lines[10_002],
        "! sql:1 sql_error: `unnest` makes 10001 messages of one, at most 10000 are allowed"
    );
    // What would be copied counts as well.
    let text = "SELECT note, score FROM message, UNNEST(scores) AS score";
    let stage = SqlStage::among("sql:1", text, &around).expect("compiles");
    let large = of(5_000).replace(
        "\"id\":1",
        &format!(r#""id":1,"note":"{}""#, "x".repeat(100_000)),
    );
    expect_test::expect![
        "! sql:1 sql_error: `unnest` copies 500000000 bytes into its messages, at most 67108864 are allowed"
    ]
    .assert_eq(&show(&stage.process(&mut records(&[&large]))));
}
