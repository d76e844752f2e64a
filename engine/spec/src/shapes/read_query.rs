//! From the mapping of a flow that is a query to its specification.

use std::collections::BTreeMap;
use std::time::Duration;

use millstream_types::{check_filter, parse_duration};

use crate::fields::{Context, Fields};
use crate::node::{Entry, Node, Value};

use super::read::name;
use super::read_flow::start;
use super::{Emit, FlowSpec, Late, QuerySource, QuerySpec, Results, ValueType};

const KEYS: [&str; 14] = [
    "kind",
    "name",
    "sql",
    "into",
    "subject",
    "sources",
    "emit",
    "late",
    "results",
    "state_ttl",
    "state_limit",
    "memory_limit",
    "start",
    "paused",
];

const SOURCE_KEYS: [&str; 7] = [
    "station",
    "event_time",
    "watermark",
    "idle",
    "columns",
    "table",
    "filter",
];

/// Whether the mapping declares a query and not stages.
pub(super) fn is_query(node: &Node) -> bool {
    let Value::Map(entries) = &node.value else {
        return false;
    };
    let own = |entry: &Entry| entry.key == "sql" || entry.key == "into";
    entries.iter().any(own)
}

pub(super) fn query(context: &Context<'_>, node: &Node) -> Option<FlowSpec> {
    let fields = Fields::open(context, node, "the flow", &KEYS, &[])?;
    let name = name(&fields);
    let sql = fields.raw_text("sql");
    if fields.node("sql").is_none() {
        fields.missing("sql");
    }
    let into = fields.required("into");
    let emit = [
        ("window_close", Emit::WindowClose),
        ("update", Emit::Update),
    ];
    let results = [
        ("upsert", Results::Upsert),
        ("changelog", Results::Changelog),
    ];
    let sources = fields.map("sources").iter();
    let sources: BTreeMap<String, QuerySource> = sources
        .filter_map(|entry| Some((entry.key.clone(), source(context, entry)?)))
        .collect();
    let late = late(&fields);
    check_loops(&fields, into.as_deref(), &sources, &late);
    let (subject, emit) = (
        fields.raw_text("subject"),
        fields.choice("emit", &emit, &[]),
    );
    let results = fields.choice("results", &results, &[]);
    let (state_ttl, state_limit) = (fields.duration("state_ttl"), fields.bytes("state_limit"));
    let memory_limit = fields.bytes("memory_limit");
    let (start, paused) = (start(&fields).unwrap_or_default(), fields.flag("paused"));
    let query = QuerySpec {
        sql: sql?,
        into: into?,
        subject,
        sources,
        emit,
        late,
        results,
        state_ttl,
        state_limit,
        memory_limit,
    };
    Some(FlowSpec {
        start,
        paused,
        ..FlowSpec::of_query(&name?, query)
    })
}

fn source(context: &Context<'_>, entry: &Entry) -> Option<QuerySource> {
    let what = format!("source `{}`", entry.key);
    if entry.value.is_null() {
        return Some(QuerySource::default());
    }
    let fields = Fields::open(context, &entry.value, what, &SOURCE_KEYS, &[])?;
    let columns: Vec<_> = fields.text_map("columns").collect();
    for (name, kind, place) in &columns {
        if let Err(why) = kind.parse::<ValueType>() {
            context.problem(*place, format!("`{name}`: {why}"));
        }
    }
    let columns = columns.into_iter();
    Some(QuerySource {
        station: fields
            .node("station")
            .and_then(|_| fields.required("station")),
        event_time: fields.raw_text("event_time"),
        watermark: no_less(&fields, "watermark"),
        idle: fields.duration("idle"),
        columns: columns.map(|(name, kind, _)| (name, kind)).collect(),
        table: fields.flag("table"),
        filter: fields.parsed("filter", |text| {
            let checked = check_filter(text.as_bytes());
            checked.map(|()| text.to_owned())
        }),
    })
}

/// A duration that may be none at all: messages that are in order.
fn no_less(fields: &Fields<'_, '_>, key: &str) -> Option<Duration> {
    fields.parsed(key, |text| {
        if text == "0" {
            return Ok(Duration::ZERO);
        }
        parse_duration(text).map_err(|error| error.to_string())
    })
}

/// `drop`, or a mapping with one of `side_output` and `update_within`.
fn late(fields: &Fields<'_, '_>) -> Late {
    let Some(node) = fields.node("late") else {
        return Late::Drop;
    };
    let context = fields.context();
    let Value::Map(_) = &node.value else {
        return fields
            .choice("late", &[("drop", ())], &[])
            .map_or(Late::Drop, |()| Late::Drop);
    };
    let known = ["side_output", "update_within"];
    let Some(late) = Fields::open(context, node, "`late`", &known, &[]) else {
        return Late::Drop;
    };
    let read =
        match (late.node("side_output"), late.node("update_within")) {
            (Some(_), None) => late.required("side_output").map(Late::SideOutput),
            (None, Some(_)) => late.duration("update_within").map(Late::UpdateWithin),
            _ => {
                let problem = context.at(node.place).problem("`late` says nothing clear");
                context.note(problem.with_hint(
                    "write `drop`, `{ side_output: STATION }` or `{ update_within: 1h }`",
                ));
                None
            }
        };
    read.unwrap_or_default()
}

/// Loops that show without a look at the statement.
fn check_loops(
    fields: &Fields<'_, '_>,
    into: Option<&str>,
    sources: &BTreeMap<String, QuerySource>,
    late: &Late,
) {
    let reads = |station: &str| {
        sources
            .iter()
            .any(|(name, source)| source.station.as_deref().unwrap_or(name) == station)
    };
    let context = fields.context();
    if let Some(into) = into.filter(|into| reads(into)) {
        let message = format!("`into` is `{into}`, which the flow reads: it would loop for ever");
        context.problem(fields.place_of("into"), message);
    }
    if let Late::SideOutput(station) = late
        && reads(station)
    {
        let message = format!(
            "late messages go to `{station}`, which the flow reads: it would loop for ever"
        );
        context.problem(fields.place_of("late"), message);
    }
}
