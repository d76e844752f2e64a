//! From a document's mapping to its specification.

use std::time::Duration;

use millstream_types::{check_filter, check_name, filters_overlap};

use crate::document::Spec;
use crate::fields::{Context, Fields};
use crate::kind::Kind;
use crate::node::{Node, Value};
use millstream_types::nearest;

use super::read_flow::flow;
use super::read_function::{columns, function};
use super::read_schema::{encode_use, schema_use};
use super::{
    Compatibility, Compression, DeadLettersSpec, DedupBy, DedupSpec, Discard, MigrationsSpec,
    OnRejection, OrderSpec, PersistMode, Policy, RetentionSpec, RunningSpec, SchemaFormat,
    SchemaReference, SchemaSpec, SchemaText, SinkSpec, SourceSpec, StageSpec, StationSpec, Storage,
};

/// Longest station name: its dead letters' stream name must still fit into 255 bytes.
const MAX_STATION_NAME: usize = 255 - "-dead-letters".len();

/// Reads a document. Problems are in the context. `Err` holds kind and name, as far as they could
/// be read, of what is too broken to have a specification.
pub(crate) fn read_spec(
    context: &Context<'_>,
    node: &Node,
) -> Result<Spec, Option<(Kind, String)>> {
    let Value::Map(entries) = &node.value else {
        let problem = context
            .at(node.place)
            .problem(format!("a document must be a mapping, not {}", node.what()));
        context.note(problem.with_hint("start with `kind: station` and `name: …`"));
        return Err(None);
    };
    let word = |key: &str| {
        let entry = entries.iter().find(|entry| entry.key == key)?;
        match &entry.value.value {
            Value::Scalar(scalar) => Some((scalar.text.as_str(), entry.value.place)),
            Value::List(_) | Value::Map(_) => None,
        }
    };
    let Some((kind_word, place)) = word("kind") else {
        let kinds: Vec<&str> = Kind::ALL.iter().map(|kind| kind.as_str()).collect();
        let problem = context.at(node.place).problem("`kind` is missing");
        context.note(problem.with_hint(format!("one of {}", kinds.join(", "))));
        return Err(None);
    };
    let Some(kind) = Kind::ALL
        .into_iter()
        .find(|kind| kind.as_str() == kind_word)
    else {
        let problem = context
            .at(place)
            .problem(format!("unknown kind `{kind_word}`"));
        let names = Kind::ALL.map(Kind::as_str);
        let problem = problem.with_hint(format!("one of {}", names.join(", ")));
        context.note(problem.with_nearest(nearest(kind_word, names)));
        return Err(None);
    };
    let spec = match kind {
        Kind::Schema => schema(context, node).map(Spec::Schema),
        Kind::Function => function(context, node).map(Spec::Function),
        Kind::Station => station(context, node).map(Spec::Station),
        Kind::Flow => flow(context, node).map(Spec::Flow),
        Kind::Source => source(context, node).map(Spec::Source),
        Kind::Sink => sink(context, node).map(Spec::Sink),
    };
    spec.ok_or_else(|| word("name").map(|(name, _)| (kind, name.to_owned())))
}

/// `kind` and `name`, and every document's own keys.
pub(super) fn name(fields: &Fields<'_, '_>) -> Option<String> {
    let name = fields.required("name")?;
    if let Err(error) = check_name(&name) {
        fields
            .context()
            .problem(fields.place_of("name"), format!("`name`: {error}"));
    }
    Some(name)
}

fn schema(context: &Context<'_>, node: &Node) -> Option<SchemaSpec> {
    let keys = [
        "kind",
        "name",
        "format",
        "file",
        "schema",
        "compatibility",
        "references",
        "migrations",
    ];
    let fields = Fields::open(context, node, "the schema", &keys, &["metadata"])?;
    let name = name(&fields);
    let format = fields.choice("format", &SchemaFormat::WORDS, &[]);
    let words = [
        ("none", Compatibility::None),
        ("backward", Compatibility::Backward),
        ("backward_transitive", Compatibility::BackwardTransitive),
        ("forward", Compatibility::Forward),
        ("forward_transitive", Compatibility::ForwardTransitive),
        ("full", Compatibility::Full),
        ("full_transitive", Compatibility::FullTransitive),
    ];
    let compatibility = fields.choice("compatibility", &words, &[]);
    let text = schema_text(&fields);
    let references = fields.list("references").iter();
    let references = references.filter_map(|node| schema_reference(context, node));
    let references = references.collect();
    let text = text?;
    let by_name = match &text {
        SchemaText::File(file) => SchemaFormat::of_file(file),
        SchemaText::Inline(_) => SchemaFormat::default(),
    };
    Some(SchemaSpec {
        name: name?,
        format: format.unwrap_or(by_name),
        text,
        compatibility: compatibility.unwrap_or_default(),
        references,
        migrations: migrations(&fields),
    })
}

fn migrations(fields: &Fields<'_, '_>) -> MigrationsSpec {
    let context = fields.context();
    let keys = ["upgrade", "downgrade"];
    let open = |node| Fields::open(context, node, "`migrations`", &keys, &[]);
    let Some(declared) = fields.node("migrations").and_then(open) else {
        return MigrationsSpec::default();
    };
    let direction = |word| declared.node(word).and_then(|node| stage(context, node));
    MigrationsSpec {
        upgrade: direction("upgrade"),
        downgrade: direction("downgrade"),
    }
}

fn schema_reference(context: &Context<'_>, node: &Node) -> Option<SchemaReference> {
    let keys = ["name", "subject", "version"];
    let fields = Fields::open(context, node, "the reference", &keys, &[])?;
    let version = fields.parsed("version", |text| match text.parse::<u32>() {
        _ if text == "latest" => Ok(None),
        Ok(number) if number > 0 => Ok(Some(number)),
        _ => Err(format!(
            "`{text}` is neither `latest` nor a version number from 1"
        )),
    });
    Some(SchemaReference {
        name: fields.required("name")?,
        subject: fields.required("subject")?,
        version: version.flatten(),
    })
}

fn schema_text(fields: &Fields<'_, '_>) -> Option<SchemaText> {
    let context = fields.context();
    match (fields.node("file"), fields.node("schema")) {
        (Some(_), None) => fields.required("file").map(SchemaText::File),
        (None, Some(node)) => match &node.value {
            Value::Scalar(_) => fields.raw_text("schema").map(SchemaText::Inline),
            // Written as YAML: the same values as JSON text.
            Value::Map(_) | Value::List(_) => {
                Some(SchemaText::Inline(format!("{:#}", context.json(node))))
            }
        },
        (None, None) => {
            let message = "the schema has no text";
            let problem = context.at(fields.place_of("name")).problem(message);
            context.note(problem.with_hint("give `file: PATH` or `schema: |` with the text"));
            None
        }
        (Some(_), Some(node)) => {
            context.problem(
                node.place,
                "the schema has both `file` and `schema`; give one",
            );
            None
        }
    }
}

/// Keys of a station.
const STATION: [&str; 20] = [
    "kind",
    "name",
    "subjects",
    "replicas",
    "storage",
    "persist_mode",
    "schedules",
    "compression",
    "retention",
    "dedup",
    "schema",
    "columns",
    "on_rejection",
    "stages",
    "order",
    "key",
    "workers",
    "max_retries",
    "encode",
    "dead_letters",
];
/// Keys that a later release brings.
const STATION_LATER: [&str; 5] = ["mirror", "sources", "compact", "tiering", "placement"];

fn station(context: &Context<'_>, node: &Node) -> Option<StationSpec> {
    let fields = Fields::open(context, node, "the station", &STATION, &STATION_LATER)?;
    let name = name(&fields);
    if name
        .as_ref()
        .is_some_and(|name| name.len() > MAX_STATION_NAME)
    {
        let message = format!("`name` is longer than {MAX_STATION_NAME} bytes");
        context.problem(fields.place_of("name"), message);
    }
    let subjects = subjects(&fields);
    if fields
        .count("replicas")
        .is_some_and(|replicas| replicas > 1)
    {
        context.later(fields.place_of("replicas"), "`replicas` above 1");
    }
    let (storage, persist_mode) = storage(&fields);
    let words = [
        ("reject", OnRejection::Reject),
        ("dead_letter", OnRejection::DeadLetter),
    ];
    let on_rejection = fields
        .choice("on_rejection", &words, &[])
        .unwrap_or_default();
    let retention = retention(&fields);
    let schema = schema_use(&fields, on_rejection);
    if schema.is_some() && fields.node("columns").is_some() {
        let message = "`columns` are for a station without a schema: this one's schema says them";
        context.problem(fields.place_of("columns"), message);
    }
    let stages = fields
        .list("stages")
        .iter()
        .filter_map(|node| stage(context, node))
        .collect();
    Some(StationSpec {
        name: name?,
        subjects: subjects?,
        replicas: 1,
        storage,
        persist_mode,
        schedules: fields.flag("schedules"),
        compression: compression(&fields),
        retention,
        dedup: dedup(&fields),
        schema,
        columns: columns(&fields, "columns"),
        on_rejection,
        stages,
        running: running(&fields),
        encode: encode_use(&fields),
        dead_letters: dead_letters(&fields),
    })
}

/// Where a station keeps its messages, and when it acknowledges them.
/// In which order, by how many threads and how often stages are run; for stations and flows.
pub(super) fn running(fields: &Fields<'_, '_>) -> RunningSpec {
    let words = [
        ("station", OrderSpec::Station),
        ("key", OrderSpec::Key),
        ("none", OrderSpec::None),
    ];
    let most = |key: &str, most: u64| {
        let count = fields.count(key)?;
        if count > most {
            let message = format!("`{key}` is {count}, at most {most} are allowed");
            fields.context().problem(fields.place_of(key), message);
        }
        u32::try_from(count).ok()
    };
    let key = fields.parsed("key", |text| match text.split_once(':') {
        None if text == "subject" => Ok(text.to_owned()),
        Some(("header" | "field", name)) if !name.is_empty() => Ok(text.to_owned()),
        _ => Err("write `subject`, `header:NAME` or `field:NAME`"),
    });
    RunningSpec {
        order: fields.choice("order", &words, &[]).unwrap_or_default(),
        key,
        workers: most("workers", 64),
        max_retries: most("max_retries", 1000),
    }
}

fn storage(fields: &Fields<'_, '_>) -> (Storage, PersistMode) {
    let storage = fields.choice(
        "storage",
        &[("file", Storage::File), ("memory", Storage::Memory)],
        &[],
    );
    let persist_mode = fields.choice(
        "persist_mode",
        &[
            ("default", PersistMode::Default),
            ("async", PersistMode::Async),
        ],
        &[],
    );
    if persist_mode == Some(PersistMode::Async) && storage == Some(Storage::Memory) {
        let message = "`persist_mode: async` needs `storage: file`: memory is never synced";
        fields
            .context()
            .problem(fields.place_of("persist_mode"), message);
    }
    (
        storage.unwrap_or_default(),
        persist_mode.unwrap_or_default(),
    )
}

fn compression(fields: &Fields<'_, '_>) -> Compression {
    let words = [("none", Compression::None), ("lz4", Compression::Lz4)];
    fields
        .choice("compression", &words, &[])
        .unwrap_or_default()
}

fn subjects(fields: &Fields<'_, '_>) -> Option<Vec<String>> {
    let context = fields.context();
    if fields.node("subjects").is_none() {
        fields.missing("subjects");
        return None;
    }
    let subjects = fields.texts("subjects");
    if matches!(fields.node("subjects"), Some(Node { value: Value::List(items), .. }) if items.is_empty())
    {
        context.problem(fields.place_of("subjects"), "`subjects` needs at least one");
    }
    for (index, (subject, place)) in subjects.iter().enumerate() {
        if let Err(error) = check_filter(subject.as_bytes()) {
            context.problem(*place, format!("subject `{subject}`: {error}"));
            continue;
        }
        let meets =
            |(other, _): &&(String, _)| filters_overlap(subject.as_bytes(), other.as_bytes());
        if let Some((other, _)) = subjects[..index].iter().find(meets) {
            context.problem(
                *place,
                format!("`{subject}` overlaps `{other}` of the same station"),
            );
        }
    }
    Some(subjects.into_iter().map(|(subject, _)| subject).collect())
}

fn retention(fields: &Fields<'_, '_>) -> RetentionSpec {
    let keys = [
        "policy",
        "max_age",
        "max_bytes",
        "max_msgs",
        "max_msgs_per_subject",
        "max_msg_size",
        "message_ttl",
        "delete_markers",
        "discard",
    ];
    let open = |node| Fields::open(fields.context(), node, "`retention`", &keys, &[]);
    let Some(retention) = fields.node("retention").and_then(open) else {
        return RetentionSpec::default();
    };
    let policies = [("limits", Policy::Limits), ("workqueue", Policy::Workqueue)];
    let discards = [("old", Discard::Old), ("new", Discard::New)];
    let delete_markers = retention.duration("delete_markers");
    if delete_markers.is_some_and(|time| time < Duration::from_secs(1)) {
        let message = "`delete_markers` must be at least a second";
        let place = retention.place_of("delete_markers");
        fields.context().problem(place, message);
    }
    RetentionSpec {
        policy: retention
            .choice("policy", &policies, &["interest"])
            .unwrap_or_default(),
        max_age: retention.duration("max_age"),
        max_bytes: retention.bytes("max_bytes"),
        max_msgs: retention.count("max_msgs"),
        max_msgs_per_subject: retention.count("max_msgs_per_subject"),
        max_msg_size: retention.bytes("max_msg_size"),
        message_ttl: retention.flag("message_ttl"),
        delete_markers,
        discard: retention
            .choice("discard", &discards, &[])
            .unwrap_or_default(),
    }
}

/// `dedup: content`, or a mapping.
fn dedup(fields: &Fields<'_, '_>) -> DedupSpec {
    let words = [("id", DedupBy::Id), ("content", DedupBy::Content)];
    let Some(node) = fields.node("dedup") else {
        return DedupSpec::default();
    };
    if matches!(node.value, Value::Scalar(_)) {
        let by = fields.choice("dedup", &words, &[]).unwrap_or_default();
        return DedupSpec {
            by,
            ..DedupSpec::default()
        };
    }
    let keys = ["by", "headers", "window"];
    let Some(dedup) = Fields::open(fields.context(), node, "`dedup`", &keys, &[]) else {
        return DedupSpec::default();
    };
    let by = dedup.choice("by", &words, &[]).unwrap_or_default();
    let headers = dedup.texts("headers");
    for (name, place) in &headers {
        let right = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b':' | b',');
        if name.is_empty() || !name.bytes().all(right) {
            let message = format!("`headers` of `dedup`: `{name}` is no header name");
            fields.context().problem(*place, message);
        }
    }
    if by == DedupBy::Id && !headers.is_empty() {
        let message = "`headers` of `dedup` have a meaning with `by: content` only";
        fields.context().problem(dedup.place_of("headers"), message);
    }
    DedupSpec {
        by,
        headers: headers.into_iter().map(|(name, _)| name).collect(),
        window: dedup.duration("window"),
    }
}

pub(super) fn stage(context: &Context<'_>, node: &Node) -> Option<StageSpec> {
    let stage = Fields::open(context, node, "the stage", &["function", "sql"], &[])?;
    match (stage.node("function"), stage.node("sql")) {
        (Some(_), None) => stage.required("function").map(StageSpec::Function),
        (None, Some(_)) => stage.raw_text("sql").map(StageSpec::Sql),
        (Some(_), Some(sql)) => {
            let problem = context
                .at(sql.place)
                .problem("a stage is either a function or SQL");
            context.note(problem.with_hint("start a new item with `- sql:`"));
            None
        }
        (None, None) => {
            let problem = context.at(node.place).problem("the stage does nothing");
            context.note(problem.with_hint("write `- function: NAME` or `- sql: SELECT …`"));
            None
        }
    }
}

fn dead_letters(fields: &Fields<'_, '_>) -> DeadLettersSpec {
    let open = |node| {
        Fields::open(
            fields.context(),
            node,
            "`dead_letters`",
            &["max_age", "max_bytes"],
            &["retries"],
        )
    };
    let letters = fields.node("dead_letters").and_then(open);
    letters.map_or_else(DeadLettersSpec::default, |letters| DeadLettersSpec {
        max_age: letters.duration("max_age"),
        max_bytes: letters.bytes("max_bytes"),
    })
}

fn source(context: &Context<'_>, node: &Node) -> Option<SourceSpec> {
    let keys = ["kind", "name", "connector", "config"];
    let fields = Fields::open(context, node, "the source", &keys, &["stages", "schema"])?;
    let (name, connector) = (name(&fields), fields.required("connector"));
    let config = fields.json_map("config");
    Some(SourceSpec {
        name: name?,
        connector: connector?,
        config,
    })
}

fn sink(context: &Context<'_>, node: &Node) -> Option<SinkSpec> {
    let keys = [
        "kind",
        "name",
        "connector",
        "station",
        "decode",
        "read_as",
        "config",
    ];
    let fields = Fields::open(
        context,
        node,
        "the sink",
        &keys,
        &["filter", "subjects", "stages"],
    )?;
    let (name, connector) = (name(&fields), fields.required("connector"));
    let station = fields.required("station");
    let config = fields.json_map("config");
    Some(SinkSpec {
        name: name?,
        connector: connector?,
        station: station?,
        decode: fields.choice("decode", &SchemaFormat::WORDS, &[]),
        read_as: fields.raw_text("read_as"),
        config,
    })
}
