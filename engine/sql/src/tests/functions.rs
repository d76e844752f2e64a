//! Deployed functions that statements call, with a stand-in for who runs them.

use std::sync::Arc;
use std::sync::Mutex;

use bytes::Bytes;
use expect_test::expect;
use millstream_pipeline::{ColumnKind, Rejection, RowFunction, Stage};

use super::{AA, NULLS, UA, column, flight, records, show};
use crate::{SqlFunction, SqlFunctions, SqlStage, Surroundings};

/// Doubles `amount`; rejects 7, times out on 33, answers text for 1545, and keeps what it was asked.
#[derive(Debug, Default)]
struct Risk {
    calls: Mutex<Vec<Vec<String>>>,
}

impl RowFunction for Risk {
    fn call(&self, arguments: Vec<Bytes>) -> Vec<Result<Option<Bytes>, Rejection>> {
        let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
        self.calls
            .lock()
            .expect("not poisoned")
            .push(arguments.iter().map(text).collect());
        let answer = |arguments: &Bytes| {
            let value: serde_json::Value = serde_json::from_slice(arguments).expect("JSON");
            let reject = |code: &str| Err(Rejection::new("function:risk", code, "no"));
            match value["amount"].as_f64() {
                None => Ok(None),
                Some(7.0) => reject("too_small"),
                Some(33.0) => reject("timeout"),
                Some(1545.0) => Ok(Some(Bytes::from_static(b"\"high\""))),
                Some(amount) => Ok(Some(Bytes::from((amount * 2.0).to_string()))),
            }
        };
        arguments.iter().map(answer).collect()
    }
}

fn risk(run: &Arc<Risk>) -> SqlFunction {
    SqlFunction {
        name: "risk".to_owned(),
        arguments: vec![
            column("amount", ColumnKind::Float64, true),
            column("country", ColumnKind::String, true),
        ],
        returns: ColumnKind::Float64,
        version: 3,
        run: Arc::clone(run) as Arc<dyn RowFunction>,
    }
}

fn answer(text: &str, payloads: &[&str], run: &Arc<Risk>) -> String {
    let columns = flight();
    let around = Surroundings {
        columns: Some(&columns),
        functions: &SqlFunctions {
            each: vec![risk(run)],
            ..SqlFunctions::default()
        },
        ..Surroundings::default()
    };
    match SqlStage::among("sql:1", text, &around) {
        Ok(stage) => show(&stage.process(&mut records(payloads))),
        Err(error) => error.to_string(),
    }
}

#[test]
fn one_call_for_a_batch() {
    let run = Arc::new(Risk::default());
    let text = "SELECT carrier, risk(dep_delay, carrier) AS score FROM message WHERE flight > 0 OR risk(dep_delay, carrier) IS NULL";
    let two = r#"{"carrier":"UA","flight":1,"dep_delay":2}"#;
    expect![[r#"
        {"carrier":"UA","score":4.0}
        {"carrier":"UA","score":4.0}
        {"carrier":"","score":null}"#]]
    .assert_eq(&answer(text, &[UA, two, NULLS], &run));
    let calls = run.calls.lock().expect("not poisoned").clone();
    let asked: usize = calls.iter().map(Vec::len).sum();
    assert_eq!(asked, 2, "equal arguments are asked once: {calls:?}");
}

#[test]
fn a_row_that_is_rejected_is_rejected_alone_and_asked_once() {
    let run = Arc::new(Risk::default());
    let text = "SELECT risk(flight, 'x') AS score FROM message";
    let of = |flight: i64| format!(r#"{{"carrier":"UA","flight":{flight}}}"#);
    let payloads: Vec<String> = [1, 2, 7, 3, 33, 4, 5, 1545, 6].map(of).to_vec();
    let payloads: Vec<&str> = payloads.iter().map(String::as_str).collect();
    expect![[r#"
        {"score":2.0}
        {"score":4.0}
        ! sql:1 too_small: function:risk: no
        {"score":6.0}
        ! sql:1 timeout: function:risk: no
        {"score":8.0}
        {"score":10.0}
        ! sql:1 bad_output: risk: `risk` answers text `high` where a number is declared
        {"score":12.0}"#]]
    .assert_eq(&answer(text, &payloads, &run));
    let calls = run.calls.lock().expect("not poisoned").clone();
    assert_eq!(calls.len(), 1, "one call for the batch: {calls:?}");
    assert_eq!(calls[0][0], r#"{"amount":1.0,"country":"x"}"#);
}

#[test]
fn in_a_filter_and_within_case() {
    let run = Arc::new(Risk::default());
    expect![[r#"
        {"flight":1545,"c":null}
        -
        -"#]]
    .assert_eq(&answer(
        "SELECT flight, CASE WHEN late THEN risk(flight, carrier) END AS c FROM message WHERE risk(dep_delay, carrier) < 50 AND NOT late",
        &[UA, r#"{"carrier":"AA","flight":7,"dep_delay":40,"late":true}"#, NULLS],
        &run,
    ));
}

#[test]
fn types_are_checked_when_it_is_applied() {
    let run = Arc::new(Risk::default());
    let error = |text: &str| answer(text, &[AA], &run);
    expect!["line 1, column 8: no function `risky`; did you mean `risk`?"]
        .assert_eq(&error("SELECT risky(1, 'x') AS s FROM message"));
    expect!["line 1, column 8: `risk` takes 2 arguments, not 1; call it as risk(amount float64, country string)"]
        .assert_eq(&error("SELECT risk(1) AS s FROM message"));
    expect!["line 1, column 8: argument `amount` of `risk` is float64, not String; write CAST(… AS …) around it"]
        .assert_eq(&error("SELECT risk(carrier, carrier) AS s FROM message"));
    expect!["line 1, column 8: argument `country` of `risk` is string, not Int64; write CAST(… AS …) around it"]
        .assert_eq(&error("SELECT risk(1, 2) AS s FROM message"));
}
