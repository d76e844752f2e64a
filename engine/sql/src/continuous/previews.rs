//! Queries that are looked at before they are flows.

use millstream_pipeline::{Batch, Dataflow};
use millstream_types::Timestamp;

use super::tests::{bid, spec, stations, told};
use super::{Previewed, preview, previewed};

fn read(text: &str) -> Previewed {
    previewed(text).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn a_text_is_a_query_or_a_flow_behind_tables() {
    let bare = read("-- all\n  SELECT a\nFROM t;");
    assert_eq!(bare.name, None);
    assert_eq!(bare.spec.sql, "SELECT a\nFROM t");
    assert_eq!(bare.spec.into, "");
    assert_eq!(bare.start, (2, 3));
    let with = "CREATE TABLE t (a BIGINT, WATERMARK FOR b AS b - INTERVAL '2' SECOND);\n WITH x AS (SELECT a FROM t) SELECT a FROM x EMIT ON UPDATE";
    let with = read(with);
    assert_eq!(with.spec.sources["t"].event_time.as_deref(), Some("b"));
    assert!(with.spec.sql.starts_with("WITH x") && with.spec.sql.ends_with("EMIT ON UPDATE"));
    assert_eq!(with.start, (2, 2));
    let flow = read("CREATE FLOW f INTO s SUBJECT 's.{a}' AS\nSELECT a FROM t");
    assert_eq!(flow.name.as_deref(), Some("f"));
    assert_eq!((flow.spec.into.as_str(), flow.start), ("s", (2, 1)));
    for (wrong, why) in [
        ("", "line 1, column 1: there is no query to preview"),
        ("CREATE TABLE t (a BIGINT);", "there is no query to preview"),
        (
            "SELECT 1;\nSELECT 2",
            "line 2, column 1: one query is previewed at a time",
        ),
        ("CREATE INDEX x", "`INDEX` cannot be created here"),
    ] {
        let error = previewed(wrong).expect_err(wrong).to_string();
        assert!(error.contains(why), "{wrong}: {error}");
    }
}

/// What a query says to each batch.
fn says(flow: &mut dyn Dataflow, batches: &[&[(u64, i64, i64, u32)]]) -> String {
    let mut text = String::new();
    for batch in batches {
        let records = batch.iter();
        let records = records
            .map(|(sequence, auction, price, second)| bid(*sequence, *auction, *price, *second));
        let records: Vec<_> = records.collect();
        let batch = Batch {
            source: 0,
            records: &records,
        };
        let effects = flow.step(&[batch], Timestamp(1));
        assert_eq!(effects.failed, None);
        text.push_str(&told(&effects));
        for (origin, why) in &effects.late {
            text.push_str(&format!("late {origin:?}: {}\n", why.reason));
        }
    }
    text
}

#[test]
fn changes_are_paired_by_what_tells_rows_apart() {
    let mut spec =
        spec("SELECT count(*) AS n, auction FROM bid GROUP BY auction HAVING count(*) < 3");
    spec.into.clear();
    let compiled = preview(&spec, &stations()).expect("a query");
    assert!(compiled.is_updating());
    let said = says(
        &mut *compiled.start(),
        &[
            &[(1, 7, 1, 0), (2, 8, 1, 0)],
            &[(3, 8, 1, 0)],
            &[(4, 8, 1, 0)],
        ],
    );
    assert_eq!(
        said,
        "{\"op\":\"insert\",\"before\":null,\"after\":{\"n\":1,\"auction\":7}}\n\
         {\"op\":\"insert\",\"before\":null,\"after\":{\"n\":1,\"auction\":8}}\n\
         {\"op\":\"update\",\"before\":{\"n\":1,\"auction\":8},\"after\":{\"n\":2,\"auction\":8}}\n\
         {\"op\":\"delete\",\"before\":{\"n\":2,\"auction\":8},\"after\":null}\n"
    );
    // What would be upserts are changes as well, for people; what is wrong with a flow is still wrong.
    spec.into = "out".to_owned();
    spec.subject = Some("out.{auction}".to_owned());
    let compiled = preview(&spec, &stations()).expect("a query");
    assert_eq!(compiled.results(), Some(millstream_spec::Results::Upsert));
    let said = says(&mut *compiled.start(), &[&[(1, 7, 1, 0)], &[(2, 7, 1, 0)]]);
    assert!(said.contains("\"op\":\"update\""), "{said}");
    spec.subject = Some("out.{nothing}".to_owned());
    assert!(preview(&spec, &stations()).is_err());
}

#[test]
fn late_messages_are_told_though_nobody_is_to_get_them() {
    let mut spec = spec(
        "SELECT auction, count(*) AS n FROM TUMBLE(bid, ts, INTERVAL '10 seconds') GROUP BY auction, window_start, window_end",
    );
    spec.into.clear();
    let compiled = preview(&spec, &stations()).expect("a query");
    assert!(!compiled.is_updating());
    let said = says(
        &mut *compiled.start(),
        &[&[(1, 7, 1, 0)], &[(2, 7, 1, 12)], &[(3, 7, 1, 3)]],
    );
    assert_eq!(
        said,
        "{\"auction\":7,\"n\":1}\nlate Message { source: 0, sequence: 3 }: its window has ended\n"
    );
}
