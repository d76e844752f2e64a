//! Questions over tables in memory: answers, what is read for them, what is refused, and where they end.

mod forms;
mod functions;
mod stars;

use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use millstream_pipeline::{Column, ColumnKind, Record};
use millstream_types::{HeadersBuilder, Message, Timestamp};
use serde_json::{Value, json};

use super::{Bounds, Event, Limits, Looked, Page, Pages, QueryError, Table, Tables, start};

/// Numbered messages from 1, a second apart, and what was asked of them.
#[derive(Clone, Debug)]
struct Stored {
    payloads: Arc<Vec<Bytes>>,
    asked: Arc<Mutex<Vec<Bounds>>>,
    is_stored: bool,
}

#[derive(Debug)]
struct Known(Stored);

impl Tables for Known {
    fn groups(&self) -> Vec<String> {
        vec!["stations".to_owned(), "system".to_owned()]
    }

    fn names(&self, group: &str) -> Vec<String> {
        match group {
            "stations" => vec!["flights".to_owned(), "broken".to_owned()],
            _ => vec!["streams".to_owned()],
        }
    }

    fn table(&self, group: &str, name: &str) -> Result<Option<Arc<dyn Table>>, String> {
        match (group, name) {
            ("stations", "flights") => Ok(Some(Arc::new(self.0.clone()))),
            ("stations", "broken") => Err("its schema cannot be read".to_owned()),
            ("system", "streams") => Ok(Some(Arc::new(Stored {
                is_stored: false,
                payloads: Arc::new(vec![Bytes::from(r#"{"carrier":"streams"}"#)]),
                ..self.0.clone()
            }))),
            _ => Ok(None),
        }
    }
}

impl Table for Stored {
    fn columns(&self) -> Vec<Column> {
        [
            ("carrier", ColumnKind::String),
            ("delay", ColumnKind::Int64),
            ("more", ColumnKind::Json),
        ]
        .map(|(name, kind)| Column {
            name: name.to_owned(),
            kind,
            nullable: false,
        })
        .into()
    }

    fn is_stored(&self) -> bool {
        self.is_stored
    }

    fn pages(&self, bounds: &Bounds) -> Box<dyn Pages> {
        self.asked.lock().expect("unpoisoned").push(bounds.clone());
        let last = bounds.last.min(self.payloads.len() as u64);
        Box::new(Read {
            payloads: Arc::clone(&self.payloads),
            next: bounds.first.max(1),
            last,
        })
    }
}

struct Read {
    payloads: Arc<Vec<Bytes>>,
    next: u64,
    last: u64,
}

impl Pages for Read {
    fn next(&mut self) -> Result<Page, String> {
        let mut page = Page::default();
        while self.next <= self.last && page.records.len() < 1000 {
            let payload = self.payloads[self.next as usize - 1].clone();
            let mut headers = HeadersBuilder::new();
            headers.push("Kind", "test");
            let message = Message {
                subject: Bytes::from(format!("flights.{}", self.next % 3)),
                reply: None,
                headers: headers.build(),
                payload,
            };
            let time = Timestamp(self.next as i64 * 1_000_000_000);
            page.records.push(Record::new(message, time));
            page.sequences.push(self.next);
            self.next += 1;
        }
        Ok(page)
    }
}

/// Flights with delays 1, 2, 3, …; every tenth is no JSON, every seventh lacks its carrier.
fn stored(count: u64) -> Stored {
    let payload = |n: u64| {
        if n.is_multiple_of(10) {
            return Bytes::from("no JSON");
        }
        let mut payload = json!({ "delay": n, "more": { "n": [n] } });
        if !n.is_multiple_of(7) {
            payload["carrier"] = ["UA", "AA", "DL"][n as usize % 3].into();
        }
        payload.to_string().into()
    };
    Stored {
        payloads: Arc::new((1..=count).map(payload).collect()),
        asked: Arc::default(),
        is_stored: true,
    }
}

const LIMITS: Limits = Limits {
    memory: 16 << 20,
    time: Duration::from_secs(60),
};

fn ask(stored: &Stored, text: &str, limits: Limits) -> Receiver<Event> {
    let (events, heard) = channel();
    let tables = Arc::new(Known(stored.clone()));
    let tell = move |event| events.send(event).is_ok();
    start(text.to_owned(), tables, limits, tell).expect("a thread");
    heard
}

type Answer = (Vec<(String, &'static str)>, Vec<Value>, Looked);

fn answer(stored: &Stored, text: &str, limits: Limits) -> Result<Answer, QueryError> {
    let (mut columns, mut rows) = (Vec::new(), Vec::new());
    for event in ask(stored, text, limits) {
        match event {
            Event::Columns(found) => columns = found,
            Event::Rows(lines) => {
                let lines = String::from_utf8(lines).expect("text");
                let row = |line: &str| serde_json::from_str::<Value>(line).expect("JSON");
                rows.extend(lines.lines().map(row));
            }
            Event::Progress(_) | Event::Kinds(_) | Event::Cells(_) | Event::File(_) => {}
            Event::End(ended) => return ended.map(|looked| (columns, rows, looked)),
        }
    }
    panic!("no end")
}

fn rows(stored: &Stored, text: &str) -> Vec<Value> {
    let answer = answer(stored, text, LIMITS);
    answer.unwrap_or_else(|error| panic!("{text}: {error}")).1
}

#[test]
fn rows_have_the_columns_of_the_payload_and_of_the_message() {
    let stored = stored(12);
    let (columns, rows, looked) = answer(
        &stored,
        "SELECT carrier, delay, more, _subject, _time, _sequence, _headers['Kind'] AS kind FROM flights WHERE delay > 10",
        LIMITS,
    )
    .expect("an answer");
    let kinds: Vec<_> = columns
        .iter()
        .map(|(name, kind)| (name.as_str(), *kind))
        .collect();
    let want = [
        ("carrier", "string"),
        ("delay", "int64"),
        ("more", "json"),
        ("_subject", "string"),
        ("_time", "timestamp"),
        ("_sequence", "int64"),
        ("kind", "string"),
    ];
    assert_eq!(kinds, want);
    let row = |n: u64, carrier: &str| {
        json!({ "carrier": carrier, "delay": n, "more": { "n": [n] }, "_subject": format!("flights.{}", n % 3),
            "_time": format!("1970-01-01T00:00:{n}Z"), "_sequence": n, "kind": "test" })
    };
    assert_eq!(rows, [row(11, "DL"), row(12, "UA")]);
    let first = "message 10: payload is not JSON: expected ident at line 1 column 2";
    assert_eq!(
        looked,
        Looked {
            records: 12,
            rows: 2,
            skipped: 1,
            first_skipped: Some(first.to_owned())
        }
    );
}

#[test]
fn all_of_sql_over_one_and_several_tables() {
    let stored = stored(5000);
    for (text, want) in [
        // What is not read need not be JSON.
        ("SELECT count(*) AS n FROM flights", json!([{ "n": 5000 }])),
        (
            "SELECT count(delay) AS n, count(carrier) AS known FROM flights",
            json!([{ "n": 4500, "known": 3857 }]),
        ),
        (
            "SELECT carrier, max(delay) AS latest FROM flights GROUP BY carrier ORDER BY latest DESC LIMIT 2",
            json!([{ "carrier": "AA", "latest": 4999 }, { "carrier": null, "latest": 4998 }]),
        ),
        (
            "WITH late AS (SELECT * FROM flights WHERE delay >= 4997) SELECT a.delay, b.delay AS next FROM late a JOIN late b ON b.delay = a.delay + 1 ORDER BY 1",
            json!([{ "delay": 4997, "next": 4998 }, { "delay": 4998, "next": 4999 }]),
        ),
        (
            "SELECT delay, row_number() OVER (PARTITION BY carrier ORDER BY delay) AS n FROM flights WHERE carrier = 'UA' ORDER BY delay LIMIT 2",
            json!([{ "delay": 3, "n": 1 }, { "delay": 6, "n": 2 }]),
        ),
        (
            "SELECT carrier FROM system.streams",
            json!([{ "carrier": "streams" }]),
        ),
        (
            "SELECT now() > TIMESTAMP '2020-01-01' AS later FROM flights LIMIT 1",
            json!([{ "later": true }]),
        ),
        ("SELECT 1 + 1 AS two", json!([{ "two": 2 }])),
        (
            "SELECT value FROM generate_series(1, 2)",
            json!([{ "value": 1 }, { "value": 2 }]),
        ),
    ] {
        assert_eq!(Value::from(rows(&stored, text)), want, "{text}");
    }
}

/// Filters, and what of them a table can use.
fn places() -> Vec<(&'static str, Bounds)> {
    let second = |n: i64| Some(Timestamp(n * 1_000_000_000));
    let all = Bounds::default;
    vec![
        (
            "_sequence = 7",
            Bounds {
                first: 7,
                last: 7,
                ..all()
            },
        ),
        (
            "_sequence > 3 AND 9 >= _sequence AND delay > 2",
            Bounds {
                first: 4,
                last: 9,
                ..all()
            },
        ),
        (
            "_sequence BETWEEN 2 AND 5",
            Bounds {
                first: 2,
                last: 5,
                ..all()
            },
        ),
        ("_sequence < 4", Bounds { last: 3, ..all() }),
        ("_sequence < 4 OR _sequence > 8", all()),
        ("NOT _sequence < 4", Bounds { first: 4, ..all() }),
        (
            "_time >= '1970-01-01T00:00:03Z' AND _time < TIMESTAMP '1970-01-01T00:00:05Z'",
            Bounds {
                from: second(3),
                until: second(5),
                ..all()
            },
        ),
        (
            "_time >= to_timestamp(3) + INTERVAL '1 second'",
            Bounds {
                from: second(4),
                ..all()
            },
        ),
        (
            "_subject = 'flights.1'",
            Bounds {
                subject: Some("flights.1".to_owned()),
                ..all()
            },
        ),
        (
            "_subject LIKE 'flights.%'",
            Bounds {
                subject: Some("flights.>".to_owned()),
                ..all()
            },
        ),
        ("_subject LIKE '%.1'", all()),
        ("_subject = 'flights.*'", all()),
        ("upper(_subject) = 'FLIGHTS.1'", all()),
    ]
}

#[test]
fn filters_by_place_are_told_to_the_table() {
    for (filter, want) in places() {
        let stored = stored(20);
        let text = format!("SELECT _sequence AS n FROM flights WHERE {filter} ORDER BY 1");
        let found = rows(&stored, &text);
        let asked = stored.asked.lock().expect("unpoisoned").clone();
        assert_eq!(asked, [want], "{filter}");
        // The same without the table's help.
        let whole = text.replace(
            "FROM flights",
            "FROM (SELECT *, _subject, _time, _sequence FROM flights OFFSET 0) AS all_of_them",
        );
        assert_eq!(found, rows(&stored, &whole), "{filter}");
    }
}

#[test]
fn a_limit_ends_the_reading() {
    let stored = stored(100_000);
    let (_, rows, looked) =
        answer(&stored, "SELECT _sequence FROM flights LIMIT 3", LIMITS).expect("an answer");
    assert_eq!(rows.len(), 3);
    assert!(looked.records <= 2000, "{looked:?}");
    let filtered =
        "SELECT _sequence FROM flights WHERE _subject LIKE 'flights.%' AND delay > 50 LIMIT 60";
    assert_eq!(
        answer(&stored, filtered, LIMITS)
            .expect("an answer")
            .1
            .len(),
        60
    );
}

#[test]
fn what_cannot_be_asked_says_where_and_what_to_do() {
    let stored = stored(10);
    for (text, want) in [
        (
            "SELECT carier FROM flights",
            "line 1, column 8: there is no column `carier`; did you mean `carrier`?",
        ),
        (
            "SELECT 1 FROM flight",
            "line 1, column 15: there is no table `flight`; did you mean `flights`?",
        ),
        (
            "SELECT 1 FROM system.stream",
            "line 1, column 22: there is no table `system.stream`; did you mean `streams`?",
        ),
        (
            "SELECT 1 FROM other.flights",
            "line 1, column 21: there is no table `millstream.other.flights`; tables are in stations and system",
        ),
        ("SELECT * FROM broken", "its schema cannot be read"),
        (
            "DROP TABLE flights",
            "line 1, column 1: `DROP` is no question; write `SELECT …`, or `EXPLAIN SELECT …`; stations change by `millstream apply`",
        ),
        (
            "INSERT INTO flights VALUES (1)",
            "line 1, column 1: `INSERT` is no question; write `SELECT …`, or `EXPLAIN SELECT …`; stations change by `millstream apply`",
        ),
        (
            "COPY flights TO 'x.csv'",
            "line 1, column 1: `COPY` is no question; write `SELECT …`, or `EXPLAIN SELECT …`; stations change by `millstream apply`",
        ),
        (
            "EXPLAIN DROP TABLE flights",
            "line 1, column 1: `EXPLAIN` is no question; write `SELECT …`, or `EXPLAIN SELECT …`; stations change by `millstream apply`",
        ),
        (
            "SELECT 1; SELECT 2",
            "line 1, column 11: 2 statements where one is expected; ask them one after the other",
        ),
        (
            "",
            "line 1, column 1: statement is empty; write `SELECT … FROM message`",
        ),
        (
            "SELECT encode(carrier, 'x') FROM flights",
            "there is no built-in encoding named 'x', currently supported encodings are: base64, base64pad, hex",
        ),
        (
            "SELECT arrow_cast(1, 'Binary') AS b",
            "line 1, column 1: column `b` is binary, which JSON cannot hold. Write `encode(…, 'base64')`",
        ),
        (
            "SELECT 1 / (delay - delay) AS x FROM flights",
            "divide by zero",
        ),
        (
            "SELECT range(1, 1000000000000)",
            "line 1, column 8: there is no function `range`; the functions are those of Apache DataFusion, `json_…`, and deployed ones with `sql:` in their document",
        ),
    ] {
        let error = answer(&stored, text, LIMITS).expect_err(text).to_string();
        assert_eq!(error, want, "{text}");
    }
}

#[test]
fn a_plan_is_shown_with_what_is_read() {
    let stored = stored(10);
    let shown = rows(
        &stored,
        "EXPLAIN SELECT count(*) FROM flights WHERE _sequence > 5",
    );
    let text = Value::from(shown).to_string();
    assert!(
        text.contains("StreamingTableExec") && text.contains("AggregateExec"),
        "{text}"
    );
    let measured = rows(&stored, "EXPLAIN ANALYZE SELECT count(*) FROM flights");
    assert!(Value::from(measured).to_string().contains("output_rows=1"));
}

#[test]
fn hungry_and_endless_questions_end_in_words() {
    let stored = stored(20_000);
    let tight = Limits {
        memory: 256 << 10,
        ..LIMITS
    };
    let sort = "SELECT a.more FROM flights a ORDER BY a.more";
    assert_eq!(
        answer(&stored, sort, tight).expect_err("too much"),
        QueryError::Memory(256 << 10)
    );
    let short = Limits {
        time: Duration::from_millis(300),
        ..LIMITS
    };
    for endless in [
        "SELECT count(*) FROM flights a, flights b, flights c",
        "SELECT count(*) FROM flights a JOIN flights b ON a.delay < b.delay JOIN flights c ON b.delay < c.delay",
        "SELECT sum(a.delay) FROM flights a JOIN flights b ON a.carrier = b.carrier JOIN flights c ON c.carrier = b.carrier",
        "SELECT max(value) FROM generate_series(1, 1000000000000)",
    ] {
        let error = answer(&stored, endless, short).expect_err(endless);
        assert_eq!(error, QueryError::Deadline(short.time), "{endless}");
    }
}

#[test]
fn a_query_that_nobody_listens_to_ends() {
    let stored = stored(20_000);
    let weak = Arc::downgrade(&stored.payloads);
    let heard = ask(&stored, "SELECT a.delay FROM flights a, flights b", LIMITS);
    assert!(matches!(heard.recv(), Ok(Event::Columns(_))));
    drop((heard, stored));
    // Its tables are let go when its thread ends.
    while weak.strong_count() > 0 {
        std::thread::yield_now();
    }
}
