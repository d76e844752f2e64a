//! The queries of the suite, as they lie in the files of `suite/`: `-- case` and a name, options behind `--:`, the text.
//! Options of a flow are as in a station file; `check`, `tolerance`, `distinct_times` and `events` are the suite's own.

use std::time::Duration;

use millstream_nexmark::queries;
use millstream_spec::{QuerySpec, yaml_value};
use serde_json::{Map, Value, json};

use crate::data::DISORDER;

/// When the answer is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Completeness {
    /// At once: each message adds to it.
    Append,
    /// When event time has come to its end.
    Closed,
    /// At once, but what was told before may change.
    Updating,
}

/// A query.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) spec: QuerySpec,
    pub(crate) complete: Completeness,
    pub(crate) tolerance: f64,
    pub(crate) distinct_times: bool,
    /// Whether the streams have event time.
    pub(crate) events: bool,
}

/// Each file and its queries.
pub(crate) const FILES: [(&str, &str); 5] = [
    ("stateless", include_str!("suite/stateless.sql")),
    ("windows", include_str!("suite/windows.sql")),
    ("aggregates", include_str!("suite/aggregates.sql")),
    ("joins", include_str!("suite/joins.sql")),
    ("ranks", include_str!("suite/ranks.sql")),
];

pub(crate) fn cases(file: &str) -> Vec<Case> {
    let (name, text) = FILES
        .iter()
        .find(|(name, _)| *name == file)
        .expect("a file");
    let blocks = text.split("-- case ").skip(1);
    blocks
        .map(|block| {
            let (title, rest) = block.split_once('\n').expect("a title and a query");
            let options: String = rest
                .lines()
                .filter_map(|line| line.strip_prefix("--: "))
                .map(|line| format!("{line}\n"))
                .collect();
            let sql: String = rest
                .lines()
                .filter(|line| !line.starts_with("--"))
                .map(|line| format!("{line}\n"))
                .collect();
            case(
                &format!("{name}: {title}"),
                sql.trim(),
                &options,
                &["a", "b"],
                "ts",
            )
        })
        .collect()
}

/// Nexmark's, by their own options.
pub(crate) fn nexmark() -> Vec<Case> {
    let check = |name: &str| match name {
        "q5" | "q7" | "q8" | "q11" | "q12" => "closed",
        "q4" | "q6" | "q9" | "q15" | "q16" | "q17" | "q18" | "q19" => "updating",
        _ => "append",
    };
    let cases = queries().iter().map(|query| {
        let options = format!("{}check: {}\n", query.options(), check(query.name));
        let reads: Vec<&str> = query
            .reads()
            .into_iter()
            .map(millstream_nexmark::Station::name)
            .collect();
        case(query.name, query.sql().trim(), &options, &reads, "dateTime")
    });
    cases.collect()
}

fn case(name: &str, sql: &str, options: &str, streams: &[&str], time: &str) -> Case {
    let value = yaml_value(name, options).unwrap_or_else(|problems| panic!("{name}: {problems:?}"));
    let mut options: Map<String, Value> = value.as_object().cloned().unwrap_or_default();
    let complete = match options.remove("check").as_ref().and_then(Value::as_str) {
        None | Some("append") => Completeness::Append,
        Some("closed") => Completeness::Closed,
        Some("updating") => Completeness::Updating,
        Some(other) => panic!("{name}: `check: {other}`"),
    };
    let mut flag = |name: &str| {
        options
            .remove(name)
            .and_then(|value| value.as_bool())
            .unwrap_or(false)
    };
    let distinct_times = flag("distinct_times");
    // A clock on the wall needs no column.
    let events =
        flag("events") || complete == Completeness::Closed && !sql.contains("DESCRIPTOR(p_time)");
    let tolerance = options
        .remove("tolerance")
        .and_then(|value| value.as_f64())
        .unwrap_or(0.0);
    options.insert("sql".to_owned(), json!(sql));
    options.insert("into".to_owned(), json!("out"));
    let mut spec: QuerySpec = serde_json::from_value(Value::Object(options))
        .unwrap_or_else(|error| panic!("{name}: {error}"));
    if events {
        for stream in streams {
            let source = spec.sources.entry((*stream).to_owned()).or_default();
            source.event_time.get_or_insert_with(|| time.to_owned());
            source
                .watermark
                .get_or_insert(Duration::from_nanos(DISORDER.unsigned_abs()));
        }
    }
    if sql.contains(" dim") {
        spec.sources.entry("dim".to_owned()).or_default().table = true;
    }
    Case {
        name: name.to_owned(),
        spec,
        complete,
        tolerance,
        distinct_times,
        events,
    }
}
