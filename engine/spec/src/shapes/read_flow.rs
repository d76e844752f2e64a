//! From a flow's mapping to its specification.

use millstream_types::{Timestamp, check_filter};

use crate::fields::{Context, Fields};
use crate::node::{Node, Value};

use super::read::{name, running, stage};
use super::read_query::{is_query, query};
use super::{FlowSpec, FlowStart, StageSpec};

const KEYS: [&str; 13] = [
    "kind",
    "name",
    "from",
    "filter",
    "start",
    "to",
    "subject",
    "stages",
    "order",
    "key",
    "workers",
    "max_retries",
    "paused",
];

pub(super) fn flow(context: &Context<'_>, node: &Node) -> Option<FlowSpec> {
    if is_query(node) {
        return query(context, node);
    }
    let fields = Fields::open(context, node, "the flow", &KEYS, &[])?;
    let (name, from) = (name(&fields), fields.required("from"));
    let (filter, running) = (filter(&fields), running(&fields));
    let stages = fields
        .list("stages")
        .iter()
        .filter_map(|node| stage(context, node))
        .collect();
    let spec = FlowSpec {
        name: name?,
        from: from?,
        filter,
        start: start(&fields).unwrap_or_default(),
        to: fields.node("to").and_then(|_| fields.required("to")),
        subject: fields.raw_text("subject"),
        stages,
        running,
        paused: fields.flag("paused"),
        query: None,
    };
    check_destination(&fields, &spec);
    Some(spec)
}

fn filter(fields: &Fields<'_, '_>) -> Option<String> {
    fields.parsed("filter", |text| {
        let checked = check_filter(text.as_bytes());
        checked.map(|()| text.to_owned())
    })
}

/// A word, or a mapping with `sequence` or `time`.
pub(super) fn start(fields: &Fields<'_, '_>) -> Option<FlowStart> {
    let node = fields.node("start")?;
    let context = fields.context();
    let Value::Map(_) = &node.value else {
        let words = [("beginning", FlowStart::Beginning), ("end", FlowStart::End)];
        return fields.choice("start", &words, &[]);
    };
    let start = Fields::open(context, node, "`start`", &["sequence", "time"], &[])?;
    match (start.node("sequence"), start.node("time")) {
        (Some(_), None) => start.count("sequence").map(FlowStart::Sequence),
        (None, Some(_)) => start.parsed("time", |text| {
            let time = Timestamp::parse_rfc3339(text).map(FlowStart::Time);
            time.ok_or_else(|| format!("`{text}` is no time; write it like 2026-01-01T00:00:00Z"))
        }),
        _ => {
            let problem = context.at(node.place).problem("`start` says nothing clear");
            context.note(problem.with_hint(
                "write `beginning`, `end`, `{ sequence: 1000 }` or `{ time: 2026-01-01T00:00:00Z }`",
            ));
            None
        }
    }
}

/// What can be said of where it writes without knowing the stations.
fn check_destination(fields: &Fields<'_, '_>, spec: &FlowSpec) {
    let context = fields.context();
    match &spec.to {
        None if spec.subject.is_some() => {
            let message = "`subject` is the subject in `to`, and there is no `to`";
            context.problem(fields.place_of("subject"), message);
        }
        None if !spec
            .stages
            .iter()
            .any(|stage| matches!(stage, StageSpec::Function(_))) =>
        {
            let problem = context.at(fields.place_of("name")).problem(
                "`to` is missing: only a function gives a message another subject, and without one all of them stay as they are",
            );
            context.note(problem.with_hint("write `to: STATION`"));
        }
        Some(to) if *to == spec.from => {
            let message = format!("`to` is `{to}`, which the flow reads: it would loop for ever");
            context.problem(fields.place_of("to"), message);
        }
        _ => {}
    }
    if let Err(why) = spec.template() {
        context.problem(fields.place_of("subject"), format!("`subject`: {why}"));
    }
}
