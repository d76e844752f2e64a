//! A bad row is refused alone, and says why.

use expect_test::expect;
use millstream_pipeline::Stage;

use super::{AA, UA, compile, record, records, run, show};

#[test]
fn payloads_that_are_no_flight() {
    let text = "SELECT carrier, dep_delay, speed, late, time_hour FROM message";
    expect![[r#"
        {"carrier":"AA","dep_delay":33,"speed":1e+300,"late":true,"time_hour":null}
        ! sql:1 bad_json: payload is empty where a JSON object is expected
        ! sql:1 bad_json: payload is not JSON: EOF while parsing a value at line 1 column 11
        ! sql:1 bad_json: payload is not JSON: trailing characters at line 1 column 29
        ! sql:1 wrong_type at ``: payload is an array where a JSON object is expected
        ! sql:1 wrong_type at ``: payload is null where a JSON object is expected
        ! sql:1 wrong_type at ``: payload is text `text` where a JSON object is expected
        ! sql:1 wrong_type at ``: payload is number 17 where a JSON object is expected
        ! sql:1 wrong_type at `/carrier`: column `carrier`: expected text, found nothing
        ! sql:1 wrong_type at `/carrier`: column `carrier`: expected text, found null
        ! sql:1 wrong_type at `/carrier`: column `carrier`: expected text, found number 1
        ! sql:1 wrong_type at `/dep_delay`: column `dep_delay`: expected a whole number of 64 bits, found text `12`
        ! sql:1 wrong_type at `/dep_delay`: column `dep_delay`: expected a whole number of 64 bits, found number 1.5
        {"carrier":"B6","dep_delay":3,"speed":3.0,"late":null,"time_hour":null}
        ! sql:1 wrong_type at `/dep_delay`: column `dep_delay`: expected a whole number of 64 bits, found number 9223372036854775808
        ! sql:1 wrong_type at `/speed`: column `speed`: expected a number, found an object
        ! sql:1 wrong_type at `/late`: column `late`: expected true or false, found text `true`
        ! sql:1 wrong_type at `/time_hour`: column `time_hour`: expected a time as RFC 3339 text between the years 1678 and 2261, found text `yesterday`
        {"carrier":"B6","dep_delay":null,"speed":null,"late":null,"time_hour":"2013-01-01T08:00:00.500Z"}
        ! sql:1 wrong_type at `/time_hour`: column `time_hour`: expected a time as RFC 3339 text between the years 1678 and 2261, found number 1357034400
        {"carrier":"DL","dep_delay":null,"speed":null,"late":null,"time_hour":null}
        {"carrier":"é\n\"\\\u0001","dep_delay":null,"speed":null,"late":null,"time_hour":null}
        {"carrier":"UA","dep_delay":2,"speed":1.5,"late":false,"time_hour":"2013-01-01T10:00:00Z"}"#]].assert_eq(&run(
        text,
        &[
            AA,
            "",
            "{\"carrier\":",
            "{\"carrier\":\"UA\",\"flight\":1} x",
            "[1]",
            "null",
            "\"text\"",
            "17",
            "{}",
            r#"{"carrier":null}"#,
            r#"{"carrier":1}"#,
            r#"{"carrier":"B6","dep_delay":"12"}"#,
            r#"{"carrier":"B6","dep_delay":1.5}"#,
            r#"{"carrier":"B6","dep_delay":3.0,"speed":3}"#,
            r#"{"carrier":"B6","dep_delay":9223372036854775808}"#,
            r#"{"carrier":"B6","speed":{"a":1}}"#,
            r#"{"carrier":"B6","late":"true"}"#,
            r#"{"carrier":"B6","time_hour":"yesterday"}"#,
            r#"{"carrier":"B6","time_hour":"2013-01-01T10:00:00.5+02:00"}"#,
            r#"{"carrier":"B6","time_hour":1357034400}"#,
            r#"{"carrier":"B6","carrier":"DL"}"#,
            r#"{"carrier":"\u00e9\n\"\\\u0001"}"#,
            UA,
        ],
    ));
}

#[test]
fn columns_that_are_not_read_do_not_count() {
    expect![[r#"{"carrier":"UA"}"#]].assert_eq(&run(
        "SELECT carrier FROM message",
        &[r#"{"carrier":"UA","flight":"x"}"#],
    ));
    expect![[r#"
        {}
        ! sql:1 wrong_type at ``: payload is number 17 where a JSON object is expected
        ! sql:1 bad_json: payload is not JSON: expected value at line 1 column 1"#]]
    .assert_eq(&run("SELECT _subject FROM message", &["{}", "17", "x"]));
}

/// Numbers at the ends of their range, and a zero to divide by.
const NUMBERS: [&str; 6] = [
    r#"{"carrier":"UA","dep_delay":1,"flight":10}"#,
    r#"{"carrier":"UA","dep_delay":0,"flight":10}"#,
    r#"{"carrier":"UA","dep_delay":null,"flight":10}"#,
    r#"{"carrier":"UA","dep_delay":-1,"flight":-9223372036854775808}"#,
    r#"{"carrier":"UA","dep_delay":2,"flight":9223372036854775807}"#,
    r#"{"carrier":"UA","dep_delay":5,"flight":20}"#,
];

#[test]
fn arithmetic_fails_for_the_row_alone() {
    expect![[r#"
        {"q":10}
        ! sql:1 sql_error: divide by zero
        {"q":null}
        ! sql:1 sql_error: arithmetic overflow: -9223372036854775808 / -1
        {"q":4611686018427387903}
        {"q":4}"#]]
    .assert_eq(&run(
        "SELECT flight / dep_delay AS q FROM message",
        &NUMBERS,
    ));
    expect![[r#"
        {"p":10}
        {"p":0}
        {"p":null}
        ! sql:1 sql_error: arithmetic overflow: -9223372036854775808 * -1
        ! sql:1 sql_error: arithmetic overflow: 9223372036854775807 * 2
        {"p":100}"#]]
    .assert_eq(&run(
        "SELECT flight * dep_delay AS p FROM message",
        &NUMBERS,
    ));
    expect![[r#"
        {"s":10}
        {"s":9}
        {"s":null}
        ! sql:1 sql_error: arithmetic overflow: -9223372036854775808 + -1
        ! sql:1 sql_error: arithmetic overflow: 9223372036854775807 + 2
        {"s":24}"#]]
    .assert_eq(&run(
        "SELECT flight + dep_delay - 1 AS s FROM message",
        &NUMBERS,
    ));
}

#[test]
fn filters_fail_for_the_row_alone() {
    expect![[r#"
        {"flight":10}
        ! sql:1 sql_error: divide by zero
        -
        -
        {"flight":9223372036854775807}
        {"flight":20}"#]]
    .assert_eq(&run(
        "SELECT flight FROM message WHERE 100 / dep_delay > 10",
        &NUMBERS,
    ));
    expect![[r#"
        {"flight":10}
        -
        -
        -
        {"flight":9223372036854775807}
        {"flight":20}"#]]
    .assert_eq(&run(
        "SELECT flight FROM message WHERE dep_delay <> 0 AND 100 / dep_delay > 10",
        &NUMBERS,
    ));
}

#[test]
fn functions_fail_for_the_row_alone() {
    expect![[r#"
        {"n":10,"a":10}
        {"n":10,"a":10}
        {"n":10,"a":10}
        ! sql:1 sql_error: can't cast value -9223372036854775808 to type Int32
        ! sql:1 sql_error: can't cast value 9223372036854775807 to type Int32
        {"n":20,"a":20}"#]]
    .assert_eq(&run(
        "SELECT CAST(flight AS INT) AS n, abs(flight) AS a FROM message",
        &NUMBERS,
    ));
    expect![[r#"
        {"n":-10}
        {"n":-10}
        {"n":-10}
        ! sql:1 sql_error: arithmetic overflow: 0 - -9223372036854775808
        {"n":-9223372036854775807}
        {"n":-20}"#]]
    .assert_eq(&run("SELECT -flight AS n FROM message", &NUMBERS));
    expect![[r#"
        {"n":10}
        {"n":10}
        {"n":10}
        ! sql:1 sql_error: Int64Array overflow on abs(-9223372036854775808)
        {"n":9223372036854775807}
        {"n":20}"#]]
    .assert_eq(&run("SELECT abs(flight) AS n FROM message", &NUMBERS));
    expect![[r#"
        {"n":0,"p":100.0}
        ! sql:1 sql_error: divide by zero
        {"n":null,"p":100.0}
        {"n":0,"p":8.507059173023462e+37}
        {"n":1,"p":8.507059173023462e+37}
        {"n":0,"p":400.0}"#]]
    .assert_eq(&run(
        "SELECT flight % dep_delay AS n, power(flight, 2) AS p FROM message",
        &NUMBERS,
    ));
    expect![[r#"
        {"n":1,"m":-1.5}
        ! sql:1 sql_error: can't cast value 1e300 to type Int64"#]]
    .assert_eq(&run(
        "SELECT CAST(speed AS BIGINT) AS n, -speed AS m FROM message",
        &[UA, AA],
    ));
}

#[test]
fn conversions_fail_for_the_row_alone() {
    expect![[r#"
        ! sql:1 sql_error: column `n` is inf, which JSON cannot hold
        ! sql:1 sql_error: column `n` is inf, which JSON cannot hold
        {"n":null}"#]]
    .assert_eq(&run(
        "SELECT speed / 0 AS n FROM message",
        &[UA, AA, r#"{"carrier":"","flight":1}"#],
    ));
    expect![[r#"
        ! sql:1 sql_error: cannot cast string 'UA12' to value of Int64 type
        {"n":112}"#]]
    .assert_eq(&run(
        "SELECT CAST(carrier || '12' AS BIGINT) AS n FROM message",
        &[NUMBERS[0], r#"{"carrier":"1","flight":1}"#],
    ));
    expect![[r#"
        ! sql:1 sql_error: error parsing timestamp from 'UA': timestamp must contain at least 10 characters
        {"n":"2013-01-01T00:00:00Z"}"#]].assert_eq(&run("SELECT to_timestamp(carrier) AS n FROM message", &[NUMBERS[0], r#"{"carrier":"2013-01-01","flight":1}"#]));
    expect![[r#"
        ! sql:1 sql_error: timestamp out of range
        {"n":null}"#]]
    .assert_eq(&run(
        "SELECT time_hour + INTERVAL '400 years' AS n FROM message",
        &[UA, AA],
    ));
}

#[test]
fn many_rows_with_few_bad_ones() {
    let stage = compile("SELECT 100 / dep_delay AS q FROM message");
    let mut batch: Vec<_> = (0..1_000)
        .map(|n| {
            record(&format!(
                r#"{{"carrier":"UA","flight":1,"dep_delay":{}}}"#,
                n % 250
            ))
        })
        .collect();
    let text = show(&stage.process(&mut batch));
    for (n, line) in text.lines().enumerate() {
        let expected = match n % 250 {
            0 => "! sql:1 sql_error: divide by zero".to_owned(),
            n => format!("{{\"q\":{}}}", 100 / n),
        };
        assert_eq!(line, expected, "row {n}");
    }
    assert_eq!(text.lines().count(), 1_000);
}

#[test]
fn an_empty_batch() {
    assert!(
        compile("SELECT carrier FROM message")
            .process(&mut records(&[]))
            .is_empty()
    );
}

#[test]
fn nested_json_becomes_one_line() {
    let payload = "{\"carrier\":\"UA\",\"flight\":1,\"extra\":{\n  \"a b\": [1,\r\n\t2]\n}}";
    let stage = compile("SELECT extra FROM message");
    expect![[r#"{"extra":{"a b": [1,2]}}"#]]
        .assert_eq(&show(&stage.process(&mut records(&[payload]))));
}
