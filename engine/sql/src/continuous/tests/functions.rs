//! Deployed functions that flows call, with a stand-in for who runs them.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use expect_test::expect;
use millstream_pipeline::{Column, ColumnKind, Rejection, RowFunction};
use millstream_spec::QuerySpec;

use super::super::{Compiled, Stations, compile};
use super::{Known, bid, run, spec, stations, told};
use crate::{SqlError, SqlFunction, SqlFunctions};

/// Doubles `x`, rejects 7, and keeps how many rows each call has.
#[derive(Debug, Default)]
struct Twice {
    calls: Mutex<Vec<usize>>,
}

impl RowFunction for Twice {
    fn call(&self, arguments: Vec<Bytes>) -> Vec<Result<Option<Bytes>, Rejection>> {
        self.calls.lock().expect("whole").push(arguments.len());
        let answer = |arguments: &Bytes| {
            let value: serde_json::Value = serde_json::from_slice(arguments).expect("JSON");
            match value["x"].as_i64() {
                None => Ok(None),
                Some(7) => Err(Rejection::new("function:twice", "unlucky", "no").of_version(3)),
                Some(x) => Ok(Some(Bytes::from((x * 2).to_string()))),
            }
        };
        arguments.iter().map(answer).collect()
    }
}

struct Calling {
    stations: Known,
    version: u64,
    run: Arc<Twice>,
}

impl Calling {
    fn of(version: u64) -> Self {
        Self {
            stations: stations(),
            version,
            run: Arc::default(),
        }
    }

    fn compile(&self, sql: &str) -> Result<Compiled, SqlError> {
        let spec = QuerySpec {
            subject: Some("out.{auction}".to_owned()).filter(|_| sql.contains("auction")),
            ..spec(sql)
        };
        compile(&spec, self)
    }
}

impl Stations for Calling {
    fn columns(&self, name: &str) -> Result<Option<Vec<Column>>, String> {
        self.stations.columns(name)
    }

    fn names(&self) -> Vec<String> {
        self.stations.names()
    }

    fn subjects(&self, name: &str) -> Vec<String> {
        self.stations.subjects(name)
    }

    fn functions(&self, _: &str) -> Result<SqlFunctions, String> {
        let twice = SqlFunction {
            name: "twice".to_owned(),
            arguments: vec![Column::new("x", ColumnKind::Int64, true)],
            returns: ColumnKind::Int64,
            version: self.version,
            run: Arc::clone(&self.run) as Arc<dyn RowFunction>,
        };
        Ok(SqlFunctions {
            each: vec![twice],
            more: vec!["enrich".to_owned()],
            not_for_sql: vec!["mask".to_owned()],
            reaching_outside: vec!["weather".to_owned()],
        })
    }
}

#[test]
fn a_function_is_asked_once_for_a_batch_and_the_row_it_rejects_is_rejected_alone() {
    let calling = Calling::of(3);
    let sql = "SELECT auction, twice(price) AS t FROM bid WHERE twice(price) > 10";
    let mut flow = calling.compile(sql).expect("fits").start();
    let bids = [
        bid(1, 1, 5, 0),
        bid(2, 2, 6, 1),
        bid(3, 3, 7, 2),
        bid(4, 4, 8, 3),
        bid(5, 5, 6, 4),
    ];
    let effects = run(&mut *flow, &bids);
    expect![[r#"
        {"auction":2,"t":12}
        {"auction":4,"t":16}
        {"auction":5,"t":12}
        rejected Message { source: 0, sequence: 3 } unlucky: function:twice: no
    "#]]
    .assert_eq(&told(&effects));
    assert_eq!(effects.rejected[0].1.version, Some(3));
    assert_eq!(*calling.run.calls.lock().expect("whole"), [4]);
    // Nothing is remembered beyond a batch.
    run(&mut *flow, &bids[..2]);
    assert_eq!(*calling.run.calls.lock().expect("whole"), [4, 2]);
}

const WINDOWED: &str = "SELECT window_start, sum(twice(price)) AS total FROM TUMBLE(bid, ts, INTERVAL '10 seconds') GROUP BY window_start, window_end";

#[test]
fn aggregates_are_over_what_a_function_answers() {
    let calling = Calling::of(3);
    let mut flow = calling.compile(WINDOWED).expect("fits").start();
    let bids = [
        bid(1, 1, 5, 0),
        bid(2, 1, 7, 1),
        bid(3, 1, 1, 2),
        bid(4, 1, 1, 10),
    ];
    expect![[r#"
        {"window_start":"2026-01-01T00:00:00Z","total":12}
        rejected Message { source: 0, sequence: 2 } unlucky: function:twice: no
    "#]]
    .assert_eq(&told(&run(&mut *flow, &bids)));
    let grouped =
        "SELECT twice(auction) AS auction, count(*) AS n FROM bid GROUP BY twice(auction)";
    let mut flow = calling.compile(grouped).expect("fits").start();
    let bids = [bid(1, 1, 5, 0), bid(2, 1, 7, 1), bid(3, 2, 1, 2)];
    expect![[r#"
        {"auction":2,"n":2}
        {"auction":4,"n":1}
    "#]]
    .assert_eq(&told(&run(&mut *flow, &bids)));
}

#[test]
fn the_layout_has_the_versions_of_what_is_kept_in_state() {
    let layout = |version: u64, sql: &str| {
        let compiled = Calling::of(version).compile(sql);
        compiled
            .unwrap_or_else(|error| panic!("{sql}: {error}"))
            .layout()
    };
    for kept in [
        WINDOWED,
        "SELECT twice(auction) AS auction, count(*) AS n FROM bid GROUP BY twice(auction)",
        "SELECT auction, count(*) AS n FROM bid WHERE twice(price) > 10 GROUP BY auction",
        "SELECT auction, max(price) FILTER (WHERE twice(price) > 10) AS n FROM bid GROUP BY auction",
        "SELECT a.auction, b.price FROM bid a JOIN bid b ON twice(a.auction) = b.auction",
        "SELECT a.auction, b.price FROM bid a JOIN bid b ON a.auction = b.auction AND twice(a.price) > b.price",
        "SELECT auction, price FROM (SELECT auction, price, row_number() OVER (PARTITION BY twice(auction) ORDER BY price) AS n FROM bid) WHERE n <= 3",
        "SELECT auction, price FROM (SELECT auction, price, row_number() OVER (PARTITION BY auction ORDER BY twice(price)) AS n FROM bid) WHERE n <= 3",
    ] {
        assert_ne!(layout(1, kept), layout(2, kept), "{kept}");
        assert_eq!(layout(1, kept), layout(1, kept), "{kept}");
    }
    for passed_on in [
        "SELECT auction, twice(price) AS t FROM bid WHERE twice(price) > 10",
        "SELECT window_start, twice(n) AS t FROM (SELECT window_start, count(*) AS n FROM TUMBLE(bid, ts, INTERVAL '10 seconds') GROUP BY window_start, window_end)",
    ] {
        assert_eq!(layout(1, passed_on), layout(2, passed_on), "{passed_on}");
    }
}

#[test]
fn what_is_wrong_with_a_call_is_told_with_its_place() {
    let error = |sql: &str| match Calling::of(3).compile(sql) {
        Ok(_) => "compiles".to_owned(),
        Err(error) => error.to_string(),
    };
    expect!["line 1, column 17: there is no function `enrichh`; did you mean `enrich`?"]
        .assert_eq(&error("SELECT auction, enrichh(price) AS t FROM bid"));
    expect!["line 2, column 2: there is no function `twicee`; did you mean `twice`?"]
        .assert_eq(&error("SELECT auction FROM bid WHERE\n Twicee(price) > 1"));
    expect![[r#"line 1, column 17: there is no function `mask`; it is deployed, but its document has no `sql:`; write there what it takes and returns: sql: { arguments: { x: float }, returns: float }"#]]
        .assert_eq(&error("SELECT auction, mask(price) AS t FROM bid"));
    expect!["line 1, column 17: there is no function `weather`; it is deployed, but what it reads or asks outside (`lookup`, `http`) may be another thing each time: let a stage call it, and query what that stores"]
        .assert_eq(&error("SELECT auction, weather(price) AS t FROM bid"));
    expect!["line 1, column 17: `twice` takes 1 arguments, not 2; call it as twice(x int64)"]
        .assert_eq(&error("SELECT auction, twice(price, 2) AS t FROM bid"));
    expect!["line 1, column 17: argument `x` of `twice` is int64, not Timestamp; write CAST(… AS …) around it"]
        .assert_eq(&error("SELECT auction, twice(ts) AS t FROM bid"));
}

#[test]
fn rows_that_are_taken_back_are_given_to_no_function() {
    for sql in [
        "SELECT auction, twice(n) AS t FROM (SELECT auction, count(*) AS n FROM bid GROUP BY auction)",
        "SELECT auction, n FROM (SELECT auction, count(*) AS n FROM bid GROUP BY auction) WHERE twice(n) > 2",
        "SELECT auction, price FROM (SELECT auction, price, row_number() OVER (PARTITION BY auction ORDER BY price) AS n FROM bid) WHERE n <= 3 AND twice(price) > 10",
        "SELECT g.auction, b.price FROM bid b JOIN (SELECT auction, count(*) AS n FROM bid GROUP BY auction) g ON b.auction = g.auction AND twice(g.n) > b.price",
    ] {
        let error = Calling::of(3).compile(sql).expect_err("refused");
        let text = error.to_string();
        assert!(
            text.contains("`twice` may have no answer when it is asked again"),
            "{sql}: {text}"
        );
    }
}
