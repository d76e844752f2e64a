//! What statements answer, as text.

use expect_test::{Expect, expect};
use millstream_pipeline::{Stage, Verdict};

use super::{AA, NULLS, UA, compile, record, run, show};
use crate::SqlStage;

#[track_caller]
fn check(text: &str, answer: &Expect) {
    answer.assert_eq(&run(text, &[UA, AA, NULLS]));
}

#[test]
fn project_and_filter() {
    check(
        "SELECT carrier, flight FROM message",
        &expect![[r#"
        {"carrier":"UA","flight":1545}
        {"carrier":"AA","flight":7}
        {"carrier":"","flight":0}"#]],
    );
    check(
        "select carrier from message where dep_delay is not null",
        &expect![[r#"
        {"carrier":"UA"}
        {"carrier":"AA"}
        -"#]],
    );
    check(
        "SELECT flight AS n, carrier AS \"the carrier\" FROM message m WHERE m.late",
        &expect![[r#"
        -
        {"n":7,"the carrier":"AA"}
        -"#]],
    );
    check(
        "SELECT carrier FROM message WHERE dep_delay > 10 OR speed < 2",
        &expect![[r#"
        {"carrier":"UA"}
        {"carrier":"AA"}
        -"#]],
    );
    check(
        "SELECT 1 AS one FROM message WHERE false",
        &expect![[r#"
        -
        -
        -"#]],
    );
    check(
        "SELECT 1 AS one FROM message",
        &expect![[r#"
        {"one":1}
        {"one":1}
        {"one":1}"#]],
    );
    check(
        "SELECT tailNum FROM MESSAGE WHERE carrier <> ''",
        &expect![[r#"
        {"tailNum":"N14228"}
        {"tailNum":null}
        -"#]],
    );
}

#[test]
fn all_columns() {
    check(
        "SELECT * FROM message",
        &expect![[r#"
        {"carrier":"UA","flight":1545,"dep_delay":2,"speed":1.5,"late":false,"time_hour":"2013-01-01T10:00:00Z","extra":{"a":[1,2.5]},"tailNum":"N14228","band":null}
        {"carrier":"AA","flight":7,"dep_delay":33,"speed":1e+300,"late":true,"time_hour":null,"extra":null,"tailNum":null,"band":null}
        {"carrier":"","flight":0,"dep_delay":null,"speed":null,"late":null,"time_hour":null,"extra":null,"tailNum":null,"band":null}"#]],
    );
    check(
        "SELECT * EXCLUDE (extra, time_hour, speed, late), _subject FROM message",
        &expect![[r#"
            {"carrier":"UA","flight":1545,"dep_delay":2,"tailNum":"N14228","band":null}
            {"carrier":"AA","flight":7,"dep_delay":33,"tailNum":null,"band":null}
            {"carrier":"","flight":0,"dep_delay":null,"tailNum":null,"band":null}"#]],
    );
    check(
        "SELECT m.* EXCEPT (extra, carrier, speed, late, band), upper(carrier) AS c FROM message AS m",
        &expect![[r#"
        {"flight":1545,"dep_delay":2,"time_hour":"2013-01-01T10:00:00Z","tailNum":"N14228","c":"UA"}
        {"flight":7,"dep_delay":33,"time_hour":null,"tailNum":null,"c":"AA"}
        {"flight":0,"dep_delay":null,"time_hour":null,"tailNum":null,"c":""}"#]],
    );
    check(
        "SELECT * EXCEPT (extra, speed, late, band) REPLACE (lower(carrier) AS carrier) FROM message",
        &expect![[r#"
            {"carrier":"ua","flight":1545,"dep_delay":2,"time_hour":"2013-01-01T10:00:00Z","tailNum":"N14228"}
            {"carrier":"aa","flight":7,"dep_delay":33,"time_hour":null,"tailNum":null}
            {"carrier":"","flight":0,"dep_delay":null,"time_hour":null,"tailNum":null}"#]],
    );
    check(
        "SELECT upper(tailNum) AS carrier, carrier AS tailNum FROM message WHERE carrier = 'UA';",
        &expect![[r#"
            {"carrier":"N14228","tailNum":"UA"}
            -
            -"#]],
    );
}

#[test]
fn expressions() {
    check(
        "SELECT CASE WHEN dep_delay > 15 THEN 'late' WHEN dep_delay IS NULL THEN 'none' ELSE 'ok' END AS band FROM message",
        &expect![[r#"
            {"band":"ok"}
            {"band":"late"}
            {"band":"none"}"#]],
    );
    check(
        "SELECT dep_delay * 60 AS s, speed / 2 AS half, dep_delay + 0.5 AS f FROM message",
        &expect![[r#"
        {"s":120,"half":0.75,"f":2.5}
        {"s":1980,"half":5e+299,"f":33.5}
        {"s":null,"half":null,"f":null}"#]],
    );
    check(
        "SELECT CAST(flight AS VARCHAR) || '/' || carrier AS id FROM message",
        &expect![[r#"
        {"id":"1545/UA"}
        {"id":"7/AA"}
        {"id":"0/"}"#]],
    );
    check(
        "SELECT coalesce(dep_delay, -1) AS d, nullif(carrier, '') AS c FROM message",
        &expect![[r#"
        {"d":2,"c":"UA"}
        {"d":33,"c":"AA"}
        {"d":-1,"c":null}"#]],
    );
    check(
        "SELECT upper(tailNum) AS t, length(carrier) AS n, substr(tailNum, 2, 3) AS s FROM message",
        &expect![[r#"
        {"t":"N14228","n":2,"s":"142"}
        {"t":null,"n":2,"s":null}
        {"t":null,"n":0,"s":null}"#]],
    );
    check(
        "SELECT regexp_like(tailNum, '^N[0-9]+$') AS ok, regexp_replace(carrier, 'U', 'X') AS r FROM message",
        &expect![[r#"
        {"ok":true,"r":"XA"}
        {"ok":null,"r":"AA"}
        {"ok":null,"r":""}"#]],
    );
    check(
        "SELECT carrier IN ('UA', 'B6') AS known, dep_delay BETWEEN 0 AND 5 AS soon FROM message",
        &expect![[r#"
        {"known":true,"soon":true}
        {"known":false,"soon":false}
        {"known":false,"soon":null}"#]],
    );
    check(
        "SELECT CAST(speed AS DECIMAL(10, 2)) AS d FROM message WHERE speed < 10",
        &expect![[r#"
        {"d":1.50}
        -
        -"#]],
    );
    check(
        "SELECT try_cast(tailNum AS BIGINT) AS n, TRY_CAST('12' AS INT) AS m FROM message",
        &expect![[r#"
        {"n":null,"m":12}
        {"n":null,"m":12}
        {"n":null,"m":12}"#]],
    );
    check(
        "SELECT carrier LIKE 'U%' AS u, NOT late AS on_time, -flight AS neg FROM message",
        &expect![[r#"
        {"u":true,"on_time":true,"neg":-1545}
        {"u":false,"on_time":false,"neg":-7}
        {"u":false,"on_time":null,"neg":0}"#]],
    );
}

#[test]
fn times() {
    check(
        "SELECT time_hour FROM message",
        &expect![[r#"
        {"time_hour":"2013-01-01T10:00:00Z"}
        {"time_hour":null}
        {"time_hour":null}"#]],
    );
    check(
        "SELECT date_trunc('day', time_hour) AS day, extract(hour FROM time_hour) AS h FROM message",
        &expect![[r#"
        {"day":"2013-01-01T00:00:00Z","h":10}
        {"day":null,"h":null}
        {"day":null,"h":null}"#]],
    );
    check(
        "SELECT time_hour + INTERVAL '90 minutes' AS t, CAST(time_hour AS DATE) AS d FROM message",
        &expect![[r#"
        {"t":"2013-01-01T11:30:00Z","d":"2013-01-01"}
        {"t":null,"d":null}
        {"t":null,"d":null}"#]],
    );
    check(
        "SELECT carrier FROM message WHERE time_hour > TIMESTAMP '2013-01-01 09:00:00'",
        &expect![[r#"
        {"carrier":"UA"}
        -
        -"#]],
    );
    check(
        "SELECT carrier FROM message WHERE time_hour < '2013-01-01T11:00:00+02:00'",
        &expect![[r#"
        -
        -
        -"#]],
    );
    check(
        "SELECT to_timestamp('2020-02-03T04:05:06.7') AS t, to_timestamp_seconds(0) AS s FROM message",
        &expect![[r#"
        {"t":"2020-02-03T04:05:06.700Z","s":"1970-01-01T00:00:00Z"}
        {"t":"2020-02-03T04:05:06.700Z","s":"1970-01-01T00:00:00Z"}
        {"t":"2020-02-03T04:05:06.700Z","s":"1970-01-01T00:00:00Z"}"#]],
    );
    check(
        "SELECT time_hour AT TIME ZONE 'America/New_York' AS ny FROM message",
        &expect![[r#"
        {"ny":"2013-01-01T05:00:00-05:00"}
        {"ny":null}
        {"ny":null}"#]],
    );
}

#[test]
fn metadata() {
    check(
        "SELECT _subject AS s, _time AS t, _headers AS h FROM message WHERE carrier = 'UA'",
        &expect![[r#"
            {"s":"flights.UA","t":"2023-11-14T22:13:20.123Z","h":{"Nats-Msg-Id":"m1","Tag":"a, b"}}
            -
            -"#]],
    );
    check(
        "SELECT _headers['Nats-Msg-Id'] AS id, _headers['None'] AS none FROM message WHERE late",
        &expect![[r#"
        -
        {"id":"m1","none":null}
        -"#]],
    );
    check(
        "SELECT split_part(_subject, '.', 2) AS c FROM message WHERE late",
        &expect![[r#"
        -
        {"c":"UA"}
        -"#]],
    );
    check(
        "SELECT now() = _time AS same, current_date AS d, current_timestamp AS t, current_time AS c FROM message WHERE late",
        &expect![[r#"
        -
        {"same":true,"d":"2023-11-14","t":"2023-11-14T22:13:20.123Z","c":"22:13:20.123"}
        -"#]],
    );
}

/// An interval of days is longer than one of fewer days and many hours.
#[test]
fn lengths_of_time() {
    check(
        "SELECT now() - time_hour > INTERVAL '1 day' AS old, INTERVAL '4000 days' > now() - time_hour AS near FROM message",
        &expect![[r#"
        {"old":true,"near":true}
        {"old":null,"near":null}
        {"old":null,"near":null}"#]],
    );
    check(
        "SELECT _time - time_hour BETWEEN INTERVAL '1 hour' AND INTERVAL '3970 days 12 hours' AS x FROM message",
        &expect![[r#"
        {"x":true}
        {"x":null}
        {"x":null}"#]],
    );
    check(
        "SELECT now() - time_hour AS age FROM message AS m",
        &expect![[r#"
        {"age":"PT342965600.123S"}
        {"age":null}
        {"age":null}"#]],
    );
}

#[test]
fn nested() {
    check(
        "SELECT extra, carrier FROM message",
        &expect![[r#"
        {"extra":{"a":[1,2.5]},"carrier":"UA"}
        {"extra":null,"carrier":"AA"}
        {"extra":null,"carrier":""}"#]],
    );
    check(
        "SELECT CASE WHEN late THEN NULL ELSE extra END AS e, coalesce(extra, extra) AS f FROM message",
        &expect![[r#"
        {"e":{"a":[1,2.5]},"f":{"a":[1,2.5]}}
        {"e":null,"f":null}
        {"e":null,"f":null}"#]],
    );
    check(
        "SELECT length(extra) AS n FROM message",
        &expect![[r#"
        {"n":13}
        {"n":null}
        {"n":null}"#]],
    );
    check(
        "SELECT [dep_delay, flight] AS list, struct(carrier AS c, late AS l) AS s FROM message",
        &expect![[r#"
        {"list":[2,1545],"s":{"c":"UA","l":false}}
        {"list":[33,7],"s":{"c":"AA","l":true}}
        {"list":[null,0],"s":{"c":"","l":null}}"#]],
    );
    check(
        "SELECT string_to_array(tailNum, '1') AS parts, array_length([1, 2]) AS n FROM message",
        &expect![[r#"
        {"parts":["N","4228"],"n":2}
        {"parts":null,"n":2}
        {"parts":null,"n":2}"#]],
    );
}

#[test]
fn volatile_functions_differ_by_row() {
    let stage = compile("SELECT uuid() AS id, random() < 2 AS small FROM message");
    let verdicts = stage.process(&mut [record(UA), record(UA)]);
    let lines = show(&verdicts);
    let (first, second) = lines.split_once('\n').expect("two lines");
    assert_ne!(first, second);
    assert!(first.ends_with("\"small\":true}"), "{first}");
}

#[test]
fn subject_headers_and_time_stay() {
    let stage = compile("SELECT carrier FROM message");
    let before = record(UA);
    let mut verdicts = stage.process(&mut [before.clone()]);
    let Some(Verdict::Replace(after)) = verdicts.pop() else {
        panic!("replaced")
    };
    assert_eq!(after.message.subject, before.message.subject);
    assert_eq!(after.message.headers, before.message.headers);
    assert_eq!(after.time, before.time);
    assert_eq!(after.parsed, None);
}

#[test]
fn stages_chain() {
    let first = compile(
        "SELECT carrier, dep_delay, speed, late, time_hour, extra, _subject AS from_subject,
         CAST(time_hour AS DATE) AS day, [1] AS list, dep_delay * 2 AS twice FROM message",
    );
    let columns: Vec<_> = first
        .output()
        .expect("one output")
        .iter()
        .map(|column| {
            format!(
                "{}: {}{}",
                column.name,
                column.kind,
                if column.nullable { "?" } else { "" }
            )
        })
        .collect();
    expect!["carrier: string, dep_delay: int64?, speed: float64?, late: bool?, time_hour: timestamp?, extra: json?, from_subject: string, day: date?, list: list<int64>?, twice: int64?"].assert_eq(&columns.join(", "));
    let second = SqlStage::compile(
        "sql:2",
        "SELECT twice + 1 AS n, extra, list, time_hour, day FROM message WHERE from_subject LIKE 'flights.%'",
        first.output().expect("one output"),
    )
    .expect("the columns fit");
    let mut between: Vec<_> = first
        .process(&mut [record(UA), record(AA)])
        .into_iter()
        .filter_map(|verdict| match verdict {
            Verdict::Replace(record) => Some(record),
            _ => None,
        })
        .collect();
    expect![[r#"
        {"n":5,"extra":{"a":[1,2.5]},"list":[1],"time_hour":"2013-01-01T10:00:00Z","day":"2013-01-01"}
        {"n":67,"extra":null,"list":[1],"time_hour":null,"day":null}"#]].assert_eq(&show(&second.process(&mut between)));
}
