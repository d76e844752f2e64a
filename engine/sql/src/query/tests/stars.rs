//! What `*` has and leaves out.

use super::{LIMITS, answer, stored};

fn columns(text: &str) -> Vec<String> {
    let found = answer(&stored(3), text, LIMITS);
    let (columns, ..) = found.unwrap_or_else(|error| panic!("{text}: {error}"));
    columns.into_iter().map(|(name, _)| name).collect()
}

const PAYLOAD: [&str; 3] = ["carrier", "delay", "more"];

#[test]
fn a_star_is_the_payload() {
    for text in [
        "SELECT * FROM flights",
        "SELECT flights.* FROM flights",
        "SELECT f.* FROM flights AS f",
        "SELECT * FROM stations.flights",
        "SELECT * FROM (SELECT * FROM flights) AS f",
        "WITH f AS (SELECT * FROM flights) SELECT * FROM f",
        "SELECT * FROM flights UNION ALL SELECT * FROM flights",
        "SELECT * FROM flights WHERE _sequence < 9 ORDER BY _time",
        "SELECT * FROM system.streams",
        "SELECT * EXCLUDE (_time) FROM flights",
    ] {
        assert_eq!(columns(text), PAYLOAD, "{text}");
    }
}

#[test]
fn metadata_is_there_by_name() {
    assert_eq!(
        columns("SELECT *, _sequence AS n, _subject FROM flights"),
        ["carrier", "delay", "more", "n", "_subject"]
    );
    // One that is called like a table is not taken for it.
    assert_eq!(
        columns("WITH flights AS (SELECT 1 AS _sequence, 2 AS x) SELECT * FROM flights"),
        ["_sequence", "x"]
    );
    assert_eq!(
        columns("SELECT * EXCLUDE (more, delay) FROM flights"),
        ["carrier"]
    );
}

#[test]
fn each_of_several_tables_leaves_its_own_out() {
    let six: Vec<&str> = PAYLOAD.iter().chain(&PAYLOAD).copied().collect();
    // The columns of a JSON object have names of their own, so that they are asked for as a count.
    let found = answer(
        &stored(3),
        "SELECT count(*) AS n FROM (SELECT * FROM flights a JOIN flights b ON a.delay = b.delay) AS j",
        LIMITS,
    );
    assert_eq!(found.expect("an answer").1[0]["n"], 3);
    assert_eq!(
        columns("SELECT * FROM flights a JOIN flights b ON a.delay = b.delay"),
        six
    );
    assert_eq!(
        columns("SELECT b.*, a.delay AS d FROM flights a, flights b"),
        ["carrier", "delay", "more", "d"]
    );
}
