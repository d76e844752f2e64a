//! What is refused when it is deployed: text, place and hint.

use expect_test::expect;

use super::flight;
use crate::SqlStage;

/// Each statement with its error below.
fn refused(statements: &[&str]) -> String {
    let mut text = String::new();
    for statement in statements {
        let error = match SqlStage::compile("sql:1", statement, &flight()) {
            Err(error) => error.to_string(),
            Ok(_) => "accepted".to_owned(),
        };
        text.push_str(&format!("{statement}\n    {error}\n"));
    }
    text
}

#[test]
fn not_one_select() {
    expect![[r#"

            line 1, column 1: statement is empty; write `SELECT … FROM message`
          -- nothing
            line 1, column 1: statement is empty; write `SELECT … FROM message`
        SELEC carrier FROM message
            line 1, column 1: expected: an SQL statement, found: SELEC
        SELECT carrier FROM
            line 1, column 20: expected: identifier, found: the end of the statement
        SELECT carrier,
        flight +
        FROM message
            line 1, column 1: statement reads no table; add `FROM message`: the message at hand is the only row
        SELECT 'open FROM message
            line 1, column 8: unterminated string literal
        SELECT carrier FROM message; SELECT flight FROM message
            line 1, column 30: 2 statements where one is expected; make each statement a stage of its own
        INSERT INTO message VALUES (1)
            line 1, column 1: `INSERT` is no transform; a stage is one `SELECT … FROM message`
        CREATE TABLE t (a INT)
            line 1, column 1: `CREATE` is no transform; a stage is one `SELECT … FROM message`
        EXPLAIN SELECT carrier FROM message
            line 1, column 1: `EXPLAIN` is no transform; a stage is one `SELECT … FROM message`
        VALUES (1)
            line 1, column 1: `VALUES` is no transform; a stage is one `SELECT … FROM message`
        (SELECT carrier FROM message)
            line 1, column 2: statement stands in parentheses; leave them out
    "#]].assert_eq(&refused(&[
        "",
        "  -- nothing",
        "SELEC carrier FROM message",
        "SELECT carrier FROM",
        "SELECT carrier,\nflight +\nFROM message",
        "SELECT 'open FROM message",
        "SELECT carrier FROM message; SELECT flight FROM message",
        "INSERT INTO message VALUES (1)",
        "CREATE TABLE t (a INT)",
        "EXPLAIN SELECT carrier FROM message",
        "VALUES (1)",
        "(SELECT carrier FROM message)",
    ]));
}

#[test]
fn more_than_one_row() {
    expect![[r#"
        SELECT DISTINCT carrier FROM message
            line 1, column 8: `DISTINCT` cannot be used in a stage; a stage sees one message at a time: `SELECT … FROM message WHERE …`
        SELECT carrier FROM message
        ORDER BY carrier
            line 2, column 1: `ORDER BY` cannot be used in a stage; a stage sees one message at a time: `SELECT … FROM message WHERE …`
        SELECT carrier FROM message LIMIT 3
            line 1, column 29: `LIMIT` cannot be used in a stage; a stage sees one message at a time: `SELECT … FROM message WHERE …`
        SELECT carrier FROM message OFFSET 3
            line 1, column 29: `OFFSET` cannot be used in a stage; a stage sees one message at a time: `SELECT … FROM message WHERE …`
        SELECT carrier FROM message FETCH FIRST 1 ROW ONLY
            line 1, column 29: `FETCH` cannot be used in a stage; a stage sees one message at a time: `SELECT … FROM message WHERE …`
        SELECT carrier FROM message GROUP BY carrier
            line 1, column 29: `GROUP BY` cannot be used in a stage; a stage sees one message at a time: `SELECT … FROM message WHERE …`
        SELECT carrier FROM message HAVING true
            line 1, column 29: `HAVING` cannot be used in a stage; a stage sees one message at a time: `SELECT … FROM message WHERE …`
        SELECT carrier FROM message QUALIFY true
            line 1, column 29: `QUALIFY` cannot be used in a stage; a stage sees one message at a time: `SELECT … FROM message WHERE …`
        SELECT count(*) AS n FROM message
            line 1, column 8: the aggregate `count` cannot be used in a stage; a stage sees one message at a time: `SELECT … FROM message WHERE …`
        SELECT flight, 1 + max(dep_delay) AS n FROM message
            line 1, column 20: the aggregate `max` cannot be used in a stage; a stage sees one message at a time: `SELECT … FROM message WHERE …`
        SELECT row_number() OVER (ORDER BY flight) AS n FROM message
            line 1, column 8: the window function `row_number` cannot be used in a stage; a stage sees one message at a time: `SELECT … FROM message WHERE …`
        SELECT sum(flight) OVER () AS n FROM message
            line 1, column 8: the window function `sum` cannot be used in a stage; a stage sees one message at a time: `SELECT … FROM message WHERE …`
        SELECT carrier FROM message UNION ALL SELECT carrier FROM message
            line 1, column 29: `UNION` cannot be used in a stage; a stage sees one message at a time: `SELECT … FROM message WHERE …`
        SELECT carrier FROM message EXCEPT SELECT carrier FROM message
            line 1, column 29: `EXCEPT` cannot be used in a stage; a stage sees one message at a time: `SELECT … FROM message WHERE …`
        WITH a AS (SELECT 1) SELECT carrier FROM message
            line 1, column 1: `WITH` cannot be used in a stage; a stage sees one message at a time: `SELECT … FROM message WHERE …`
        SELECT carrier FROM (SELECT carrier FROM message) AS m
            line 1, column 22: a subquery cannot be used in a stage; a stage sees one message at a time: `SELECT … FROM message WHERE …`
        SELECT (SELECT 1) AS x FROM message
            line 1, column 9: a subquery cannot be used in a stage; a stage sees one message at a time: `SELECT … FROM message WHERE …`
        SELECT carrier FROM message WHERE flight IN (SELECT 1)
            line 1, column 46: a subquery cannot be used in a stage; a stage sees one message at a time: `SELECT … FROM message WHERE …`
        SELECT carrier FROM message WHERE EXISTS (SELECT 1)
            line 1, column 43: a subquery cannot be used in a stage; a stage sees one message at a time: `SELECT … FROM message WHERE …`
        SELECT carrier FROM message JOIN planes ON true
            line 1, column 34: `JOIN` cannot be used in a stage; a stage sees one message at a time: `SELECT … FROM message WHERE …`
        SELECT carrier FROM message, planes
            line 1, column 30: a second table cannot be used in a stage; a stage sees one message at a time: `SELECT … FROM message WHERE …`
        SELECT carrier FROM message TABLESAMPLE (10)
            line 1, column 21: anything but an alias behind `message` cannot be used in a stage; a stage sees one message at a time: `SELECT … FROM message WHERE …`
        SELECT unnest([1, 2]) AS x FROM message
            line 1, column 8: `unnest` cannot be used in a stage; make several messages of one in a function, which may emit many
        SELECT carrier INTO t FROM message
            line 1, column 16: `INTO` cannot be used in a stage; a stage sees one message at a time: `SELECT … FROM message WHERE …`
    "#]].assert_eq(&refused(&[
        "SELECT DISTINCT carrier FROM message",
        "SELECT carrier FROM message\nORDER BY carrier",
        "SELECT carrier FROM message LIMIT 3",
        "SELECT carrier FROM message OFFSET 3",
        "SELECT carrier FROM message FETCH FIRST 1 ROW ONLY",
        "SELECT carrier FROM message GROUP BY carrier",
        "SELECT carrier FROM message HAVING true",
        "SELECT carrier FROM message QUALIFY true",
        "SELECT count(*) AS n FROM message",
        "SELECT flight, 1 + max(dep_delay) AS n FROM message",
        "SELECT row_number() OVER (ORDER BY flight) AS n FROM message",
        "SELECT sum(flight) OVER () AS n FROM message",
        "SELECT carrier FROM message UNION ALL SELECT carrier FROM message",
        "SELECT carrier FROM message EXCEPT SELECT carrier FROM message",
        "WITH a AS (SELECT 1) SELECT carrier FROM message",
        "SELECT carrier FROM (SELECT carrier FROM message) AS m",
        "SELECT (SELECT 1) AS x FROM message",
        "SELECT carrier FROM message WHERE flight IN (SELECT 1)",
        "SELECT carrier FROM message WHERE EXISTS (SELECT 1)",
        "SELECT carrier FROM message JOIN planes ON true",
        "SELECT carrier FROM message, planes",
        "SELECT carrier FROM message TABLESAMPLE (10)",
        "SELECT unnest([1, 2]) AS x FROM message",
        "SELECT carrier INTO t FROM message",
    ]));
}

#[test]
fn names() {
    expect![[r#"
        SELECT bnad FROM message
            line 1, column 8: no column `bnad`; did you mean `band`?
        SELECT carrier,
               dep_dealy * 2 AS twice
        FROM message
            line 2, column 8: no column `dep_dealy`; did you mean `dep_delay`?
        SELECT carrier FROM message WHERE Carrier = 'UA'
            line 1, column 35: no column `Carrier`; did you mean `carrier`?
        SELECT tailnum FROM message
            line 1, column 8: no column `tailnum`; did you mean `tailNum`?
        SELECT weather FROM message
            line 1, column 8: no column `weather`; not in the schema; if a function adds it, declare it under the function's `adds:`
        SELECT carrier FROM message WHERE carrier = "UA"
            line 1, column 45: no column `UA`; text stands in single quotes: 'UA'
        SELECT m.carrier FROM message
            line 1, column 8: no table or alias `m`; the table is called `message` here
        SELECT message.carrier FROM message AS m
            line 1, column 8: no table or alias `message`; the table is called `m` here
        SELECT extra.a FROM message
            line 1, column 8: value has no members to name; objects and arrays in the payload are kept as JSON text
        SELECT m.bnad FROM message AS m
            line 1, column 8: no column `bnad`; did you mean `band`?
        SELECT _sequence FROM message
            line 1, column 8: no column `_sequence`; the log gives a message its number after all stages
        SELECT _key FROM message
            line 1, column 8: no column `_key`; take the key from the payload or from `_subject`
        SELECT carrier FROM mesage
            line 1, column 21: no table `mesage`; did you mean `message`?
        SELECT carrier FROM flights
            line 1, column 21: no table `flights`; a stage reads the message at hand: write `FROM message`
        SELECT carrier FROM a.b.message
            line 1, column 21: no table `a.b.message`; a stage reads the message at hand: write `FROM message`
        SELECT 1 AS one
            line 1, column 1: statement reads no table; add `FROM message`: the message at hand is the only row
        SELECT uper(carrier) AS c FROM message
            line 1, column 8: no function `uper`; did you mean `upper`?
        SELECT carrier, nosuchfunction(flight) AS c FROM message
            line 1, column 17: no function `nosuchfunction`; the functions are those of Apache DataFusion
        SELECT upper(carrier) FROM message
            line 1, column 8: `upper(carrier)` has no name; add `AS name`: it becomes the member's name in the payload
        SELECT flight + 1 FROM message
            line 1, column 8: `flight + 1` has no name; add `AS name`: it becomes the member's name in the payload
        SELECT carrier, flight AS carrier FROM message
            line 1, column 27: two outputs are called `carrier`; give one another name with `AS`, or leave it out of the wildcard: `* EXCLUDE (carrier)`
        SELECT *, upper(carrier) AS carrier FROM message
            line 1, column 29: two outputs are called `carrier`; give one another name with `AS`, or leave it out of the wildcard: `* EXCLUDE (carrier)`
        SELECT * EXCLUDE (nothing) FROM message
            line 1, column 19: no column `nothing` to leave out
        SELECT * RENAME (carrier AS c) FROM message
            line 1, column 8: wildcard * with RENAME not supported
        SELECT * ILIKE '%a%' FROM message
            accepted
        SELECT * EXCLUDE (carrier, flight, dep_delay, speed, late, time_hour, extra, tailNum, band) FROM message
            line 1, column 8: SELECT list is empty after resolving * expressions, the wildcard expanded to zero columns
        SELECT a FROM message AS m (a)
            line 1, column 15: columns cannot be renamed behind the table; rename them in the `SELECT` list with `AS`
        SELECT carrier FROM message WHERE flight = $1
            line 1, column 44: `$1` is a parameter without a value; write the value itself
    "#]].assert_eq(&refused(&[
        "SELECT bnad FROM message",
        "SELECT carrier,\n       dep_dealy * 2 AS twice\nFROM message",
        "SELECT carrier FROM message WHERE Carrier = 'UA'",
        "SELECT tailnum FROM message",
        "SELECT weather FROM message",
        "SELECT carrier FROM message WHERE carrier = \"UA\"",
        "SELECT m.carrier FROM message",
        "SELECT message.carrier FROM message AS m",
        "SELECT extra.a FROM message",
        "SELECT m.bnad FROM message AS m",
        "SELECT _sequence FROM message",
        "SELECT _key FROM message",
        "SELECT carrier FROM mesage",
        "SELECT carrier FROM flights",
        "SELECT carrier FROM a.b.message",
        "SELECT 1 AS one",
        "SELECT uper(carrier) AS c FROM message",
        "SELECT carrier, nosuchfunction(flight) AS c FROM message",
        "SELECT upper(carrier) FROM message",
        "SELECT flight + 1 FROM message",
        "SELECT carrier, flight AS carrier FROM message",
        "SELECT *, upper(carrier) AS carrier FROM message",
        "SELECT * EXCLUDE (nothing) FROM message",
        "SELECT * RENAME (carrier AS c) FROM message",
        "SELECT * ILIKE '%a%' FROM message",
        "SELECT * EXCLUDE (carrier, flight, dep_delay, speed, late, time_hour, extra, tailNum, band) FROM message",
        "SELECT a FROM message AS m (a)",
        "SELECT carrier FROM message WHERE flight = $1",
    ]));
}

#[test]
fn types() {
    expect![[r#"
        SELECT late + 1 AS x FROM message
            line 1, column 8: cannot coerce arithmetic expression Boolean + Int64 to valid types; `CAST(x AS type)` converts
        SELECT carrier, dep_delay + late AS x FROM message
            line 1, column 17: cannot coerce arithmetic expression Int64 + Boolean to valid types; `CAST(x AS type)` converts
        SELECT carrier FROM message WHERE flight
            line 1, column 35: cannot create filter with non-boolean predicate 'message.flight' returning Int64; `CAST(x AS type)` converts
        SELECT carrier FROM message WHERE flight = 1 AND carrier
            line 1, column 35: cannot infer common argument type for logical boolean operation Boolean AND String; `CAST(x AS type)` converts
        SELECT sqrt(carrier, 1) AS x FROM message
            line 1, column 8: failed to coerce arguments to satisfy a call to 'sqrt' function: coercion from String, Int64 to the signature Uniform(1, [Float64, Float32]) failed; no function matches the given name and argument types 'sqrt(String, Int64)'. You might need to add explicit type casts. Candidate functions: sqrt(Float64/Float32)
        SELECT date_trunc('day', flight) AS x FROM message
            line 1, column 8: function 'date_trunc' failed to match any signature, errors: Function 'date_trunc' requires Timestamp, but received Int64 (DataType: Int64).,Function 'date_trunc' requires Time, but received Int64 (DataType: Int64); candidate functions: date_trunc(String, Timestamp) date_trunc(String, Time)
        SELECT carrier,
          substr(late) AS x FROM message
            line 2, column 10: substring without for/from is not valid
        SELECT carrier FROM message WHERE late > time_hour
            line 1, column 35: cannot infer common argument type for comparison operation Boolean > Timestamp; `CAST(x AS type)` converts
        SELECT CAST(late AS TIMESTAMP) AS x FROM message
            line 1, column 13: unsupported CAST from Boolean to Timestamp; `CAST(x AS type)` converts
        SELECT CAST(carrier AS NOSUCHTYPE) AS x FROM message
            line 1, column 13: unsupported SQL type NOSUCHTYPE; `CAST(x AS type)` converts
        SELECT decode(carrier, 'base64') AS x FROM message
            line 1, column 8: `x` is binary, which JSON cannot hold; write `encode(…, 'base64')`
        SELECT 9223372036854775807 + 1 AS x FROM message
            line 1, column 8: arithmetic overflow: 9223372036854775807 + 1
        SELECT flight, CASE WHEN late THEN flight * (2 * 9223372036854775807) END AS x FROM message
            line 1, column 46: arithmetic overflow: 2 * 9223372036854775807
        SELECT CASE WHEN late THEN 1 ELSE [1] END AS x FROM message
            line 1, column 8: failed to coerce then (Int64) and else (List(Int64)) to common types in CASE WHEN expression; `CAST(x AS type)` converts
        SELECT regexp_like(carrier, '(') AS x FROM message
            line 1, column 8: regular expression is wrong: unclosed group
        SELECT time_hour - 'x' AS x FROM message
            line 1, column 8: cannot coerce arithmetic expression Timestamp - String to valid types; `CAST(x AS type)` converts
        SELECT now() - time_hour > INTERVAL '1 month' AS x FROM message
            line 1, column 8: interval of months or years has no fixed length; write it in days
        SELECT carrier FROM message WHERE to_timestamp(flight) - time_hour > dep_delay * INTERVAL '1 day'
            line 1, column 70: cannot get result type for temporal operation Int64 * Interval(MonthDayNano): Invalid argument error: Invalid interval arithmetic operation: Interval(MonthDayNano) * Interval(MonthDayNano); `CAST(x AS type)` converts
        SELECT length(extra, 1, 2) AS x FROM message
            line 1, column 8: function 'character_length' expects 1 arguments but received 3; no function matches the given name and argument types 'character_length(String, Int64, Int64)'. You might need to add explicit type casts. Candidate functions: character_length(String)
    "#]].assert_eq(&refused(&[
        "SELECT late + 1 AS x FROM message",
        "SELECT carrier, dep_delay + late AS x FROM message",
        "SELECT carrier FROM message WHERE flight",
        "SELECT carrier FROM message WHERE flight = 1 AND carrier",
        "SELECT sqrt(carrier, 1) AS x FROM message",
        "SELECT date_trunc('day', flight) AS x FROM message",
        "SELECT carrier,\n  substr(late) AS x FROM message",
        "SELECT carrier FROM message WHERE late > time_hour",
        "SELECT CAST(late AS TIMESTAMP) AS x FROM message",
        "SELECT CAST(carrier AS NOSUCHTYPE) AS x FROM message",
        "SELECT decode(carrier, 'base64') AS x FROM message",
        "SELECT 9223372036854775807 + 1 AS x FROM message",
        "SELECT flight, CASE WHEN late THEN flight * (2 * 9223372036854775807) END AS x FROM message",
        "SELECT CASE WHEN late THEN 1 ELSE [1] END AS x FROM message",
        "SELECT regexp_like(carrier, '(') AS x FROM message",
        "SELECT time_hour - 'x' AS x FROM message",
        "SELECT now() - time_hour > INTERVAL '1 month' AS x FROM message",
        "SELECT carrier FROM message WHERE to_timestamp(flight) - time_hour > dep_delay * INTERVAL '1 day'",
        "SELECT length(extra, 1, 2) AS x FROM message",
    ]));
}

#[test]
fn too_much() {
    let long = format!("SELECT '{}' AS x FROM message", "x".repeat(70_000));
    let error = SqlStage::compile("sql:1", &long, &flight()).expect_err("too long");
    expect!["line 1, column 1: statement has 70027 bytes, at most 65536 are allowed"]
        .assert_eq(&error.to_string());
}
