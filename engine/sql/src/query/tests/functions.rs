//! Deployed functions that questions call, with a stand-in for who runs them.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use millstream_pipeline::{Column, ColumnKind, Rejection, RowFunction};

use super::super::{Event, Limits, Looked, QueryError, Table, Tables, start};
use super::{Known, LIMITS, stored};
use crate::{SqlFunction, SqlFunctions};

/// Doubles `x`, times out on 33, takes its time when it is told to, and keeps how many rows each call has.
#[derive(Debug, Default)]
struct Twice {
    calls: Mutex<Vec<usize>>,
    slow: Duration,
}

impl RowFunction for Twice {
    fn call(&self, arguments: Vec<Bytes>) -> Vec<Result<Option<Bytes>, Rejection>> {
        self.calls.lock().expect("whole").push(arguments.len());
        let end = Instant::now() + self.slow;
        while Instant::now() < end {
            std::hint::spin_loop();
        }
        let answer = |arguments: &Bytes| {
            let value: serde_json::Value = serde_json::from_slice(arguments).expect("JSON");
            match value["x"].as_i64() {
                None => Ok(None),
                Some(33) => {
                    Err(Rejection::new("function:twice", "timeout", "took longer").of_version(3))
                }
                Some(x) => Ok(Some(Bytes::from((x * 2).to_string()))),
            }
        };
        arguments.iter().map(answer).collect()
    }
}

#[derive(Debug)]
struct Calling(Known, Arc<Twice>);

impl Tables for Calling {
    fn groups(&self) -> Vec<String> {
        self.0.groups()
    }

    fn names(&self, group: &str) -> Vec<String> {
        self.0.names(group)
    }

    fn table(&self, group: &str, name: &str) -> Result<Option<Arc<dyn Table>>, String> {
        self.0.table(group, name)
    }

    fn functions(&self, _: &str) -> Result<SqlFunctions, String> {
        let named = |name: &str| SqlFunction {
            name: name.to_owned(),
            arguments: vec![Column::new("x", ColumnKind::Int64, true)],
            returns: ColumnKind::Int64,
            version: 3,
            run: Arc::clone(&self.1) as Arc<dyn RowFunction>,
        };
        Ok(SqlFunctions {
            each: vec![named("twice"), named("abs")],
            reaching_outside: vec!["weather".to_owned()],
            ..SqlFunctions::default()
        })
    }
}

/// The rows of an answer, or why there is none.
fn ask(run: &Arc<Twice>, count: u64, text: &str, limits: Limits) -> Result<String, QueryError> {
    let (events, heard) = std::sync::mpsc::channel();
    let tables = Arc::new(Calling(Known(stored(count)), Arc::clone(run)));
    let tell = move |event| events.send(event).is_ok();
    start(text.to_owned(), tables, limits, tell).expect("a thread");
    let mut rows = String::new();
    for event in heard {
        match event {
            Event::Rows(more) => rows.push_str(&String::from_utf8(more).expect("UTF-8")),
            Event::End(ended) => return ended.map(|_: Looked| rows),
            _ => {}
        }
    }
    panic!("no end");
}

#[test]
fn what_a_function_answers_is_selected_filtered_and_added_up() {
    let run = Arc::<Twice>::default();
    let answer = |text: &str| ask(&run, 9, text, LIMITS).expect(text);
    let text = "SELECT delay, twice(delay) AS t FROM flights WHERE twice(delay) > 14";
    assert_eq!(
        answer(text),
        "{\"delay\":8,\"t\":16}\n{\"delay\":9,\"t\":18}\n"
    );
    assert_eq!(
        *run.calls.lock().expect("whole"),
        [9],
        "one call for a batch"
    );
    assert_eq!(
        answer("SELECT sum(twice(delay)) AS s FROM flights WHERE delay < 4"),
        "{\"s\":12}\n"
    );
    let grouped = "SELECT twice(delay) % 4 AS g, count(*) AS n FROM flights GROUP BY twice(delay) % 4 ORDER BY g";
    assert_eq!(answer(grouped), "{\"g\":0,\"n\":4}\n{\"g\":2,\"n\":5}\n");
    let joined = "SELECT a.delay, twice(b.delay) AS t FROM flights a JOIN flights b ON twice(a.delay) = b.delay ORDER BY 1 LIMIT 1";
    assert_eq!(answer(joined), "{\"delay\":1,\"t\":4}\n");
    assert_eq!(answer("SELECT twice(4) AS t"), "{\"t\":8}\n");
    // SQL's own functions go before deployed ones of the same name.
    assert_eq!(answer("SELECT abs(-4) AS t"), "{\"t\":4}\n");
}

#[test]
fn what_fails_ends_the_question_and_names_function_and_message() {
    let run = Arc::<Twice>::default();
    let failed = |text: &str| ask(&run, 50, text, LIMITS).expect_err(text).to_string();
    let known = "function `twice`, version 3, fails on message 33 with `timeout`: took longer";
    assert_eq!(failed("SELECT twice(delay) FROM flights"), known);
    assert_eq!(
        failed("SELECT count(*) FROM flights f GROUP BY twice(f.delay)"),
        known
    );
    assert_eq!(
        failed("SELECT 1 FROM flights WHERE twice(delay) > 1 ORDER BY delay"),
        known
    );
    assert_eq!(
        failed("SELECT twice(n) FROM (SELECT delay + 0 AS n FROM flights)"),
        "function `twice`, version 3, fails on a row with `timeout`: took longer"
    );
    // Rows that are not there are not asked about.
    let few = "SELECT twice(delay) AS t FROM flights WHERE _sequence < 2";
    assert_eq!(ask(&run, 50, few, LIMITS).expect("rows"), "{\"t\":2}\n");
}

#[test]
fn what_cannot_be_called_is_told_with_its_place() {
    let run = Arc::<Twice>::default();
    let failed = |text: &str| ask(&run, 5, text, LIMITS).expect_err(text).to_string();
    assert_eq!(
        failed("SELECT 1,\n  twicee(delay) FROM flights"),
        "line 2, column 3: there is no function `twicee`; did you mean `twice`?"
    );
    let text = failed("SELECT weather(delay) FROM flights");
    assert!(
        text.starts_with("line 1, column 8: there is no function `weather`; it is deployed, but"),
        "{text}"
    );
    assert_eq!(
        failed("SELECT twice(carrier) FROM flights"),
        "line 1, column 8: argument `x` of `twice` is int64, not String; write CAST(… AS …) around it"
    );
    assert_eq!(
        failed("SELECT twice(delay, _sequence) FROM flights"),
        "line 1, column 8: `twice` takes 1 arguments, not 2; call it as twice(x int64)"
    );
}

#[test]
fn a_slow_function_is_not_asked_beyond_the_deadline() {
    let run = Arc::new(Twice {
        slow: Duration::from_millis(300),
        ..Twice::default()
    });
    let limits = Limits {
        time: Duration::from_millis(200),
        ..LIMITS
    };
    let text = "SELECT twice(delay + 100) FROM flights";
    let ended = ask(&run, 900, text, limits).expect_err("too slow");
    assert_eq!(ended, QueryError::Deadline(limits.time));
    let calls = run.calls.lock().expect("whole").len();
    assert!(calls <= 1, "{calls} calls");
}
