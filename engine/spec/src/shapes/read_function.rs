//! Reads `kind: function`.

use millstream_types::check_name;

use super::function::StateSpec;
use super::read::name;
use super::{AddedColumn, FunctionLimits, FunctionSpec, SqlCall};
use crate::fields::{Context, Fields};
use crate::node::Node;

/// `kind: function`.
pub(super) fn function(context: &Context<'_>, node: &Node) -> Option<FunctionSpec> {
    let keys = [
        "kind",
        "name",
        "component",
        "config",
        "limits",
        "reads",
        "adds",
        "sql",
        "state",
        "lookup",
        "http",
        "tests",
    ];
    let later = ["version", "world", "secrets", "egress"];
    let fields = Fields::open(context, node, "the function", &keys, &later)?;
    let name = name(&fields);
    let component = fields.required("component");
    let config = fields
        .text_map("config")
        .map(|(key, value, _)| (key, value))
        .collect();
    let limits = limits(&fields);
    Some(FunctionSpec {
        name: name?,
        component: component?,
        config,
        reads: fields.raw_text("reads"),
        limits,
        adds: columns(&fields, "adds"),
        sql: sql(&fields),
        state: state(&fields),
        lookup: listed(&fields, "lookup", |name| {
            check_name(name).map_err(|error| error.to_string())
        }),
        http: listed(&fields, "http", check_host),
        tests: fields.raw_text("tests"),
    })
}

/// Names with what they hold.
pub(super) fn columns(fields: &Fields<'_, '_>, key: &str) -> Vec<AddedColumn> {
    let names: Vec<&str> = fields
        .map(key)
        .iter()
        .map(|entry| entry.key.as_str())
        .collect();
    let what = format!("`{key}`");
    let open = |node| Fields::open(fields.context(), node, &what, &names, &[]);
    let Some(own) = fields.node(key).and_then(open) else {
        return Vec::new();
    };
    let read = |name: &&str| {
        let kind = own.parsed(name, str::parse)?;
        Some(AddedColumn {
            name: (*name).to_owned(),
            kind,
        })
    };
    names.iter().filter_map(read).collect()
}

fn sql(fields: &Fields<'_, '_>) -> Option<SqlCall> {
    let node = fields.node("sql")?;
    let keys = ["arguments", "returns"];
    let own = Fields::open(fields.context(), node, "`sql`", &keys, &[])?;
    if own.node("returns").is_none() {
        own.missing("returns");
    }
    if fields.node("state").is_some() {
        let message = "a function with `state` cannot have `sql`: only a stage of its own in a flow commits what it keeps";
        fields.context().problem(node.place, message);
    }
    let arguments = columns(&own, "arguments");
    let returns = own.parsed("returns", str::parse)?;
    Some(SqlCall { arguments, returns })
}

fn state(fields: &Fields<'_, '_>) -> Option<StateSpec> {
    let node = fields.node("state")?;
    let own = Fields::open(fields.context(), node, "`state`", &["bucket", "ttl"], &[])?;
    let bucket = own.parsed("bucket", |text| {
        check_name(text)
            .map(|()| text.to_owned())
            .map_err(|error| error.to_string())
    });
    Some(StateSpec {
        bucket,
        ttl: own.duration("ttl"),
    })
}

/// A list of texts, each checked, none twice.
fn listed(
    fields: &Fields<'_, '_>,
    key: &str,
    check: impl Fn(&str) -> Result<(), String>,
) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for (text, place) in fields.texts(key) {
        if let Err(why) = check(&text) {
            fields.context().problem(place, format!("`{key}`: {why}"));
        } else if !found.contains(&text) {
            found.push(text);
        }
    }
    found
}

/// A host, one with a port, or `*.` and what it is below.
fn check_host(text: &str) -> Result<(), String> {
    let host = text.strip_prefix("*.").unwrap_or(text);
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte);
    if !host.is_empty() && host.bytes().all(fine) && host.contains(['.', ':'])
        || host == "localhost"
    {
        return Ok(());
    }
    Err(format!(
        "`{text}` is no host; write `api.example.org`, `api.example.org:8443` or `*.example.org`"
    ))
}

fn limits(fields: &Fields<'_, '_>) -> FunctionLimits {
    let keys = [
        "memory",
        "timeout",
        "wait",
        "host_calls",
        "output_bytes",
        "output_records",
        "log_lines",
    ];
    let open = |node| {
        Fields::open(
            fields.context(),
            node,
            "`limits`",
            &keys,
            &["fuel", "stack"],
        )
    };
    let Some(limits) = fields.node("limits").and_then(open) else {
        return FunctionLimits::default();
    };
    FunctionLimits {
        memory: limits.bytes("memory"),
        timeout: limits.duration("timeout"),
        wait: limits.duration("wait"),
        host_calls: limits.count("host_calls"),
        output_bytes: limits.bytes("output_bytes"),
        output_records: limits.count("output_records"),
        log_lines: limits.count("log_lines"),
    }
}
