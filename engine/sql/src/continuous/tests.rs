//! Whole queries: what they say for what comes in.

mod functions;

use std::collections::BTreeMap;

use bytes::Bytes;
use expect_test::{Expect, expect};
use millstream_pipeline::{Batch, Column, ColumnKind, Dataflow, Effects, Record};
use millstream_spec::{QuerySource, QuerySpec, Results};
use millstream_types::{Message, Timestamp};

use super::{Compiled, Stations, compile};

/// Stations with columns.
#[derive(Debug, Default)]
pub(super) struct Known(BTreeMap<String, Vec<Column>>);

impl Known {
    fn with(mut self, name: &str, columns: &[(&str, ColumnKind)]) -> Self {
        let columns = columns.iter().map(|(name, kind)| Column {
            name: (*name).to_owned(),
            kind: kind.clone(),
            nullable: true,
        });
        self.0.insert(name.to_owned(), columns.collect());
        self
    }
}

impl Stations for Known {
    fn columns(&self, name: &str) -> Result<Option<Vec<Column>>, String> {
        Ok(self.0.get(name).cloned())
    }

    fn names(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }

    fn subjects(&self, name: &str) -> Vec<String> {
        vec![format!("{name}.all")]
    }
}

pub(super) fn stations() -> Known {
    let bid = [
        ("auction", ColumnKind::Int64),
        ("price", ColumnKind::Int64),
        ("ts", ColumnKind::Timestamp),
    ];
    Known::default()
        .with("bid", &bid)
        .with("out", &[("x", ColumnKind::Int64)])
}

pub(super) fn spec(sql: &str) -> QuerySpec {
    QuerySpec {
        sql: sql.to_owned(),
        into: "out".to_owned(),
        sources: BTreeMap::from([(
            "bid".to_owned(),
            QuerySource {
                watermark: Some(std::time::Duration::ZERO),
                ..QuerySource::default()
            },
        )]),
        ..QuerySpec::default()
    }
}

fn record(sequence: u64, payload: &str) -> Record {
    let message = Message {
        subject: Bytes::from_static(b"bid"),
        payload: Bytes::copy_from_slice(payload.as_bytes()),
        ..Message::default()
    };
    Record {
        sequence: Some(sequence),
        ..Record::new(message, Timestamp(0))
    }
}

pub(super) fn bid(sequence: u64, auction: i64, price: i64, second: u32) -> Record {
    let (minute, second) = (second / 60, second % 60);
    record(
        sequence,
        &format!(
            r#"{{"auction":{auction},"price":{price},"ts":"2026-01-01T00:{minute:02}:{second:02}Z"}}"#
        ),
    )
}

pub(super) fn run(flow: &mut dyn Dataflow, records: &[Record]) -> Effects {
    let effects = flow.step(&[Batch { source: 0, records }], Timestamp(1));
    assert_eq!(effects.failed, None);
    effects
}

pub(super) fn told(effects: &Effects) -> String {
    let mut text = String::new();
    for output in &effects.outputs {
        text.push_str(&String::from_utf8_lossy(&output.payload));
        text.push('\n');
    }
    for (origin, why) in &effects.rejected {
        text.push_str(&format!(
            "rejected {origin:?} {}: {}\n",
            why.code, why.reason
        ));
    }
    text
}

fn compiled(sql: &str) -> Compiled {
    compile(&spec(sql), &stations()).unwrap_or_else(|error| panic!("{error}"))
}

fn check(flow: &mut dyn Dataflow, records: &[Record], expected: &Expect) {
    expected.assert_eq(&told(&run(flow, records)));
}

#[test]
fn rows_are_chosen_and_changed_one_by_one() {
    let compiled = compiled("SELECT auction, price * 2 AS twice FROM bid WHERE price > 10");
    let mut flow = compiled.start();
    check(
        &mut *flow,
        &[bid(1, 1, 5, 0), bid(2, 1, 20, 1), record(3, "x")],
        &expect![[r#"
        {"auction":1,"twice":40}
        rejected Message { source: 0, sequence: 3 } bad_json: payload is not JSON: expected value at line 1 column 1
    "#]],
    );
}

#[test]
fn fixed_windows_are_told_when_they_end() {
    for sql in [
        "SELECT window_start, auction, count(*) AS n, max(price) AS best FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(ts), INTERVAL '10' SECOND)) GROUP BY window_start, window_end, auction",
        "SELECT window_start, auction, count(*) AS n, max(price) AS best FROM TUMBLE(bid, ts, INTERVAL '10 seconds') GROUP BY window_start, window_end, auction EMIT ON WINDOW CLOSE",
    ] {
        let mut flow = compiled(sql).start();
        check(
            &mut *flow,
            &[bid(1, 1, 5, 0), bid(2, 2, 7, 9), bid(3, 1, 6, 3)],
            &expect![""],
        );
        let effects = run(&mut *flow, &[bid(4, 1, 1, 10)]);
        expect![[r#"
            {"window_start":"2026-01-01T00:00:00Z","auction":1,"n":2,"best":6}
            {"window_start":"2026-01-01T00:00:00Z","auction":2,"n":1,"best":7}
        "#]]
        .assert_eq(&told(&effects));
        check(&mut *flow, &[bid(5, 1, 1, 5)], &expect![""]);
        assert_eq!(flow.status().late, 1);
    }
}

#[test]
fn nexmark_five_is_told_when_its_windows_end() {
    let sql = "SELECT AuctionBids.auction, AuctionBids.num FROM (
        SELECT auction, count(*) AS num, window_start AS starttime, window_end AS endtime
        FROM TABLE(HOP(TABLE bid, DESCRIPTOR(ts), INTERVAL '2' SECOND, INTERVAL '10' SECOND))
        GROUP BY auction, window_start, window_end) AS AuctionBids
        JOIN (SELECT max(CountBids.num) AS maxn, CountBids.starttime, CountBids.endtime FROM (
            SELECT count(*) AS num, window_start AS starttime, window_end AS endtime
            FROM TABLE(HOP(TABLE bid, DESCRIPTOR(ts), INTERVAL '2' SECOND, INTERVAL '10' SECOND))
            GROUP BY auction, window_start, window_end) AS CountBids
          GROUP BY CountBids.starttime, CountBids.endtime) AS MaxBids
        ON AuctionBids.starttime = MaxBids.starttime AND AuctionBids.endtime = MaxBids.endtime AND AuctionBids.num >= MaxBids.maxn";
    let mut flow = compiled(sql).start();
    run(
        &mut *flow,
        &[bid(1, 1, 5, 0), bid(2, 2, 5, 1), bid(3, 2, 5, 1)],
    );
    check(
        &mut *flow,
        &[bid(4, 3, 5, 4)],
        &expect![[r#"
        {"auction":2,"num":2}
        {"auction":2,"num":2}
    "#]],
    );
}

#[test]
fn windows_say_when_they_close() {
    let told = [
        "SELECT auction, window_end, count(*) AS n FROM TUMBLE(bid, ts, INTERVAL '10 seconds') GROUP BY auction, window_end",
        "SELECT window_start, count(*) AS n FROM TUMBLE(bid, ts, INTERVAL '10 seconds') GROUP BY window_start HAVING count(*) > 0",
        "SELECT auction, window_start, window_end, max(price) AS p FROM HOP(bid, ts, INTERVAL '5 seconds', INTERVAL '10 seconds') GROUP BY auction, window_start, window_end",
        "SELECT auction, window_end, count(*) AS n FROM SESSION(TABLE bid PARTITION BY auction, DESCRIPTOR(ts), INTERVAL '4 seconds') GROUP BY auction, window_start, window_end",
        "SELECT * FROM (SELECT auction, window_end, row_number() OVER (PARTITION BY window_end ORDER BY price) AS r FROM TUMBLE(bid, ts, INTERVAL '10 seconds')) WHERE r <= 2",
    ];
    for sql in told {
        let mut flow = compiled(sql).start();
        let (mut before, mut found) = (None, 0);
        for (at, second) in [1, 3, 12, 14, 25, 41, 80].into_iter().enumerate() {
            let auction = second % 2;
            let effects = run(&mut *flow, &[bid(at as u64, auction.into(), 7, second)]);
            let after = flow.status().watermark;
            for output in &effects.outputs {
                found += 1;
                let closes = output.closes;
                assert!(
                    before < closes && closes <= after,
                    "{sql}: {before:?} {output:?} {after:?}"
                );
            }
            before = after;
        }
        assert!(found > 3, "{sql}: {found}");
    }
    for sql in [
        "SELECT auction, ts FROM bid WHERE price > 1",
        "SELECT a.auction, a.ts FROM bid AS a JOIN bid AS b ON a.auction = b.auction AND b.ts BETWEEN a.ts AND a.ts + INTERVAL '5 seconds'",
    ] {
        let mut flow = compiled(sql).start();
        let effects = run(&mut *flow, &[bid(1, 1, 7, 1), bid(2, 1, 7, 2)]);
        assert!(!effects.outputs.is_empty(), "{sql}");
        assert!(
            effects.outputs.iter().all(|output| output.closes.is_none()),
            "{sql}"
        );
    }
}

#[test]
fn groups_without_windows_change() {
    let sql = "SELECT auction, count(*) AS n, sum(price) AS total, count(DISTINCT price) AS prices FROM bid GROUP BY auction";
    let mut spec = spec(sql);
    spec.subject = Some("out.{auction}".to_owned());
    let compiled = compile(&spec, &stations()).expect("fits");
    let mut flow = compiled.start();
    check(
        &mut *flow,
        &[bid(1, 1, 5, 0), bid(2, 2, 7, 9), bid(3, 1, 6, 3)],
        &expect![[r#"
        {"auction":1,"n":2,"total":11,"prices":2}
        {"auction":2,"n":1,"total":7,"prices":1}
    "#]],
    );
    check(
        &mut *flow,
        &[bid(4, 1, 5, 0)],
        &expect![[r#"
        {"auction":1,"n":3,"total":16,"prices":2}
    "#]],
    );
}

#[test]
fn flows_are_declared_in_sql() {
    let text = "CREATE TABLE bid (auction BIGINT, price DECIMAL_IS_NONE);";
    let error = super::declared(text).expect_err("no such type");
    expect!["line 1, column 41: `DECIMAL_IS_NONE` is no type: one of bool, int, float, string, timestamp, date, json, decimal(12, 2), list<…>, map<…>, struct<name: …>; types are BIGINT, DOUBLE, VARCHAR, BOOLEAN, TIMESTAMP, DATE, DECIMAL(12, 2) and JSON"].assert_eq(&error.to_string());
    let text = "CREATE TABLE bid (
      auction BIGINT NOT NULL, price DOUBLE PRECISION, fee DECIMAL(12, 2), \"dateTime\" TIMESTAMP(3) WITH TIME ZONE,
      WATERMARK FOR \"dateTime\" AS \"dateTime\" - INTERVAL '4' SECOND
    ) WITH ('station' = 'bids', idle = '1m');
    CREATE FLOW busy INTO totals SUBJECT 'totals.{auction}' WITH (state_ttl = '1d', state_limit = '2MiB') AS
    SELECT auction, count(*) AS n FROM bid GROUP BY auction LATE UPDATE WITHIN INTERVAL '1' HOUR;";
    let flows = super::declared(text).expect("declared");
    assert_eq!(flows[0].places["sql"], (6, 5));
    assert_eq!(flows[0].places["state_ttl"], (5, 67));
    let flows: Vec<_> = flows.iter().map(|flow| (&flow.name, &flow.spec)).collect();
    let json = serde_json::to_string_pretty(&flows).expect("JSON");
    expect![[r#"
        [
          [
            "busy",
            {
              "sql": "SELECT auction, count(*) AS n FROM bid GROUP BY auction LATE UPDATE WITHIN INTERVAL '1' HOUR",
              "into": "totals",
              "subject": "totals.{auction}",
              "sources": {
                "bid": {
                  "station": "bids",
                  "event_time": "dateTime",
                  "watermark": "4s",
                  "idle": "1m",
                  "columns": {
                    "auction": "int64",
                    "dateTime": "timestamp",
                    "fee": "decimal(12, 2)",
                    "price": "float64"
                  }
                }
              },
              "state_ttl": "1d",
              "state_limit": 2097152
            }
          ]
        ]"#]].assert_eq(&json);
    let text = "CREATE FLOW a INTO b WITH (state_limit = 'much') AS SELECT 1";
    let error = super::declared(text).expect_err("no size");
    expect!["line 1, column 28: `much` is not a size; write a number and a unit, such as `16MiB` or `10GB`"]
        .assert_eq(&error.to_string());
}

fn refused(sql: &str, subject: Option<&str>) -> String {
    let mut spec = spec(sql);
    spec.subject = subject.map(str::to_owned);
    spec.results = Some(millstream_spec::Results::Upsert);
    let compiled = compile(&spec, &stations());
    compiled.expect_err("refused").to_string()
}

#[test]
fn windows_at_the_end_of_time_end_as_well() {
    let sql = "SELECT window_end, count(*) AS n FROM CUMULATE(bid, ts, INTERVAL '1 hour', INTERVAL '1 day') GROUP BY window_start, window_end EMIT ON UPDATE";
    let mut flow = compiled(sql).start();
    let last = record(1, r#"{"auction":1,"price":1,"ts":"2262-04-11T23:30:00Z"}"#);
    let effects = run(&mut *flow, &[last]);
    assert!(effects.outputs.len() <= 24, "{}", told(&effects));
}

#[test]
fn a_filter_behind_a_session_leaves_the_session_as_it_is() {
    let sql = "SELECT window_start, price FROM TABLE(SESSION(TABLE bid PARTITION BY auction, DESCRIPTOR(ts), INTERVAL '10' SECOND)) WHERE price = 7";
    let mut flow = compiled(sql).start();
    run(
        &mut *flow,
        &[bid(1, 1, 1, 0), bid(2, 1, 2, 8), bid(3, 1, 7, 16)],
    );
    check(
        &mut *flow,
        &[bid(4, 2, 1, 60)],
        &expect![[r#"
        {"window_start":"2026-01-01T00:00:00Z","price":7}
    "#]],
    );
}

#[test]
fn a_sum_without_room_costs_its_group_alone() {
    let sql = "SELECT auction, sum(price) AS total FROM bid GROUP BY auction";
    let mut flow = compiled(sql).start();
    let most = i64::MAX;
    run(&mut *flow, &[bid(1, 1, most, 0)]);
    let effects = run(&mut *flow, &[bid(2, 1, most, 1), bid(3, 2, 5, 1)]);
    assert_eq!(effects.rejected.len(), 1, "{}", told(&effects));
    assert!(told(&effects).contains(r#"{"auction":2,"total":5}"#));
    // It goes on, and the group is back when it has room again.
    run(&mut *flow, &[bid(4, 2, 1, 2)]);
    let effects = run(&mut *flow, &[bid(5, 1, -most, 3)]);
    assert!(
        told(&effects).contains(&format!(r#""total":{most}"#)),
        "{}",
        told(&effects)
    );
}

#[test]
fn what_cannot_be_right_is_refused() {
    let grouped = "SELECT auction, price, count(*) AS n FROM bid GROUP BY auction, price";
    let told = refused(grouped, Some("out.{auction}"));
    assert!(
        told.contains("several rows would have the same subject"),
        "{told}"
    );
    let moving = "SELECT auction, count(*) AS n, now() AS at FROM bid GROUP BY auction";
    let told = refused(moving, Some("out.{auction}"));
    assert!(told.contains("says something else each time"), "{told}");
    let late = "SELECT price FROM SESSION(bid, ts, INTERVAL '1 second') LATE UPDATE WITHIN INTERVAL '1' HOUR";
    let told = refused(late, None);
    assert!(told.contains("and nothing else"), "{told}");
}

#[test]
fn lateness_does_not_depend_on_how_the_input_is_cut() {
    // Far more disorder than the watermark allows.
    let times = [0, 40, 7, 41, 80, 3, 39, 79, 120, 60, 121, 119, 5, 200];
    let record = |(at, time): (usize, &u32)| bid(at as u64 + 1, 1, 1, *time);
    let records: Vec<Record> = times.iter().enumerate().map(record).collect();
    for sql in [
        "SELECT count(*) AS n, window_start FROM TUMBLE(bid, ts, INTERVAL '10 seconds') GROUP BY window_start, window_end LATE SIDE OUTPUT TO b",
        "SELECT count(*) AS n, window_start FROM SESSION(bid PARTITION BY auction, ts, INTERVAL '10 seconds') GROUP BY window_start, window_end LATE SIDE OUTPUT TO b",
        "SELECT price, ts, window_end FROM SESSION(bid PARTITION BY auction, ts, INTERVAL '10 seconds') LATE SIDE OUTPUT TO b",
        "SELECT a.price, a.ts AS x, b.ts AS y FROM bid a JOIN bid b ON a.auction = b.auction AND a.ts BETWEEN b.ts AND b.ts + INTERVAL '9 seconds' LATE SIDE OUTPUT TO b",
        "SELECT * FROM (SELECT price, ts, window_end, row_number() OVER (PARTITION BY window_start, window_end ORDER BY ts) AS n FROM TUMBLE(bid, ts, INTERVAL '10 seconds')) WHERE n <= 2 LATE SIDE OUTPUT TO b",
    ] {
        let mut answers = Vec::new();
        let mut spec = spec(sql);
        let source = spec.sources.get_mut("bid").expect("a source");
        source.event_time = Some("ts".to_owned());
        let compiled = compile(&spec, &stations()).expect("compiles");
        for cut in [1, 2, 3, 5, records.len()] {
            let mut flow = compiled.start();
            let mut lines: Vec<String> = Vec::new();
            for batch in records.chunks(cut) {
                let effects = run(&mut *flow, batch);
                lines.extend(told(&effects).lines().map(str::to_owned));
                lines.extend(effects.late.iter().map(|(origin, _)| format!("{origin:?}")));
            }
            lines.sort();
            answers.push((lines, flow.status().late));
        }
        assert!(answers[0].1 > 0, "{sql}");
        for answer in &answers {
            assert_eq!(answer, &answers[0], "{sql}");
        }
    }
}

#[test]
fn rows_are_late_for_over_whatever_they_were_read_with() {
    // Results change with what comes: how often they are told depends on the cuts, what is late does not.
    let sql = "SELECT ts, sum(price) OVER (PARTITION BY auction ORDER BY ts ROWS BETWEEN 2 PRECEDING AND CURRENT ROW) AS s FROM bid LATE SIDE OUTPUT TO b";
    let times = [0, 40, 7, 41, 80, 3, 39, 79, 120, 60, 121, 119, 5, 200];
    let record = |(at, time): (usize, &u32)| bid(at as u64 + 1, 1, 1, *time);
    let records: Vec<Record> = times.iter().enumerate().map(record).collect();
    let mut spec = QuerySpec {
        results: Some(Results::Changelog),
        ..spec(sql)
    };
    let source = spec.sources.get_mut("bid").expect("a source");
    source.event_time = Some("ts".to_owned());
    let compiled = compile(&spec, &stations()).unwrap_or_else(|error| panic!("{error}"));
    let late = |cut: usize| {
        let mut flow = compiled.start();
        let batches = records.chunks(cut);
        let told = batches.flat_map(|batch| run(&mut *flow, batch).late);
        told.map(|(origin, _)| format!("{origin:?}"))
            .collect::<Vec<_>>()
    };
    let one_by_one = late(1);
    assert!(one_by_one.len() > 3, "{one_by_one:?}");
    for cut in [2, 3, 5, records.len()] {
        assert_eq!(late(cut), one_by_one, "{cut}");
    }
}

/// A flow with little memory, and a folder for the rest.
fn small(sql: &str, folder: &str) -> Compiled {
    let spec = QuerySpec {
        memory_limit: Some(2000),
        ..spec(sql)
    };
    let compiled = compile(&spec, &stations()).unwrap_or_else(|error| panic!("{error}"));
    compiled.spilling_to(folder.into())
}

const GROUPS: &str = "SELECT auction, count(*) AS n FROM bid GROUP BY auction";

#[test]
fn what_stays_in_memory_is_named() {
    let whole = compiled("SELECT count(*) AS n FROM bid");
    let explain = whole.explain();
    assert!(explain.contains("` keeps its state in memory"), "{explain}");
    let groups = compiled(GROUPS);
    let explain = groups.explain();
    assert!(!explain.contains("in memory"), "{explain}");
    // More than it may have: it stands still and says what to do.
    let sql = "SELECT array_agg(price ORDER BY price) AS all FROM bid";
    let mut flow = small(sql, "/tmp").start();
    let bids: Vec<Record> = (0..100).map(|at| bid(at + 1, 1, at as i64, 0)).collect();
    let records = &bids[..];
    let effects = flow.step(&[Batch { source: 0, records }], Timestamp(1));
    let why = effects.failed.expect("it stands still");
    assert!(why.contains("keeps its state in memory"), "{why}");
    assert!(why.contains("may have 2000: raise `memory_limit`"), "{why}");
}

#[test]
fn state_that_finds_no_place_stops_the_flow() {
    let mut flow = small(GROUPS, "/nowhere").start();
    let bids: Vec<Record> = (0..50).map(|at| bid(at + 1, at as i64, 1, 0)).collect();
    let records = &bids[..];
    let effects = flow.step(&[Batch { source: 0, records }], Timestamp(1));
    let why = effects.failed.expect("it stands still");
    assert!(why.contains("cannot be written to `/nowhere`"), "{why}");
    // The same while it is restored: it says so with its first step.
    let folder = tempfile::tempdir().expect("a folder");
    let mut good = small(GROUPS, &folder.path().display().to_string()).start();
    let effects = run(&mut *good, records);
    let status = good.status();
    assert!(status.spilled_rows > 20, "{status:?}");
    assert_eq!(status.state_rows, 50);
    assert!(status.state_bytes > status.spilled_bytes, "{status:?}");
    let mut bad = small(GROUPS, "/nowhere").start();
    for change in &effects.state {
        let value = change.value.as_ref().expect("nothing went");
        bad.restore(&change.key, value).expect("its own");
    }
    let effects = bad.step(&[], Timestamp(2));
    let why = effects.failed.expect("it stands still");
    assert!(why.contains("cannot be written to `/nowhere`"), "{why}");
    assert!(effects.outputs.is_empty() && effects.state.is_empty());
}
