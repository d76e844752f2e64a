//! Plans as people see them.

use super::super::preview;
use super::super::tests::{spec, stations};
use super::readable;

fn plan(sql: &str) -> String {
    let compiled = preview(&spec(sql), &stations()).expect("a query");
    compiled.explain().to_owned()
}

#[test]
fn scratch() {
    let queries = [
        "SELECT auction, price * 2 AS twice FROM bid WHERE price > 5 AND auction <> 7",
        "SELECT auction, window_start, count(*) AS n, avg(price) AS p, sum(price) FILTER (WHERE price > 3) FROM TUMBLE(bid, ts, INTERVAL '10 seconds') GROUP BY auction, window_start, window_end",
        "SELECT auction, window_start, count(DISTINCT price) AS n FROM HOP(bid, ts, INTERVAL '2 seconds', INTERVAL '10 seconds') WHERE price > 1 GROUP BY auction, window_start",
        "SELECT auction, window_start, max(price) AS n FROM TABLE(SESSION(TABLE bid PARTITION BY auction, DESCRIPTOR(ts), INTERVAL '10' SECOND)) GROUP BY auction, window_start, window_end",
        "SELECT a.auction, b.price FROM bid AS a JOIN bid AS b ON a.auction = b.auction AND b.ts BETWEEN a.ts AND a.ts + INTERVAL '1 minute'",
        "SELECT * FROM (SELECT *, row_number() OVER (PARTITION BY auction ORDER BY price DESC) AS n FROM bid) WHERE n <= 3",
        "SELECT auction, count(*) AS n FROM bid GROUP BY auction HAVING count(*) > 3",
        "SELECT auction FROM bid UNION ALL SELECT price FROM bid",
        "SELECT auction, CASE WHEN price > 3 THEN 'dear' ELSE 'cheap' END AS k, upper('x') || CAST(price AS VARCHAR) AS v, sum(price) OVER (PARTITION BY auction ORDER BY ts) AS s FROM bid",
        "SELECT a.auction, x.x FROM bid AS a LEFT JOIN out AS x ON a.auction = x.x",
    ];
    for sql in queries {
        println!("{sql}\n{}", plan(sql));
    }
}

#[test]
fn what_the_planner_says_in_the_words_of_sql() {
    let interval = "IntervalMonthDayNano(\"IntervalMonthDayNano { months: 0, days: 1, nanoseconds: 3600000000000 }\")";
    for (text, wanted) in [
        (
            "price@1 > 5 AND auction@0 != 7",
            "price > 5 AND auction != 7",
        ),
        ("count(Int64(1))@2 as n", "count(*) as n"),
        ("avg(bid.price) by bid.auction", "avg(price) by auction"),
        ("name@3 = Utf8(\"a@1 Int64(b\")", "name = 'a@1 Int64(b'"),
        ("Float64(1.5) * Decimal128(Some(-5),5,2)", "1.5 * -0.05"),
        (
            "TimestampNanosecond(0, Some(\"UTC\"))",
            "1970-01-01T00:00:00Z",
        ),
        ("Decimal128(NULL,5,2)", "NULL"),
        ("Boolean(NULL)", "NULL"),
        ("get_field(w@0, window_end)", "window_end"),
        ("get_field(bid.ship, Utf8(\"city\"))", "ship.city"),
        ("f(g(1, 2), 'x, (')", "f(g(1, 2), 'x, (')"),
        ("'never closed", "'never closed"),
        ("open(1, (2", "open(1, (2)"),
        ("1.5 + a.b", "1.5 + b"),
        ("ümlaut@4 || \u{1f600}", "ümlaut || \u{1f600}"),
        ("", ""),
    ] {
        assert_eq!(readable(text, false), wanted, "{text}");
    }
    assert_eq!(
        readable(&format!("tumble_start(bid.ts,{interval})"), true),
        "tumble 1d 1h over bid.ts"
    );
}
