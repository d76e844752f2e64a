//! Whether a schema gets along with the versions there are.

use std::collections::BTreeSet;

use millstream_schema_formats::{Incompatibility, Schema as CompiledSchema};
use serde_json::{Value, json};

use super::register::{Candidate, Read};
use super::{Found, Planned};
use crate::compiled::Compiled;
use crate::name::Name;
use crate::registry::Registry;
use crate::request::Ask;
use crate::schema::Schema;
use crate::settings::Config;
use crate::{Compatibility, RegistryError};

/// The metadata property with reserved names, between commas.
const RESERVED: &str = "confluent:reserved";
/// Longest text of an older schema in a message, in characters.
const MAX_SHOWN: usize = 4096;

/// What keeps a candidate from becoming a version: empty when nothing does. The newest version first; the first one that
/// something breaks with ends it, and its number, its text and the level are the last messages. `only` is the one version
/// to compare with.
pub(super) fn incompatibilities(
    registry: &Registry,
    compiled: &Compiled,
    name: &Name,
    read: &Read,
    config: &Config,
    only: Option<u32>,
) -> Vec<String> {
    let level = config.compatibility.unwrap_or_default();
    if config.other.get("validateFields") == Some(&Value::Bool(true)) {
        let previous = registry.one(name, "latest", false).ok();
        let messages = reserved(read, previous.map(|found| found.schema));
        if !messages.is_empty() {
            return messages;
        }
    }
    let Some((context, subject)) = registry.find(name) else {
        return Vec::new();
    };
    if level == Compatibility::None {
        return Vec::new();
    }
    let live = subject.live().rev().filter_map(|(version, entry)| {
        Some(Found {
            version,
            entry: *entry,
            schema: context.schemas.get(&entry.id)?,
        })
    });
    let group = |schema: &Schema| {
        let key = config.group.as_ref()?;
        schema.metadata.as_ref()?.properties.get(key).cloned()
    };
    let own = group(&read.schema);
    let compared: Vec<Found<'_>> = match only {
        Some(version) => live.filter(|found| found.version == version).collect(),
        None => {
            let count = if level.transitive() { usize::MAX } else { 1 };
            live.filter(|found| group(found.schema) == own)
                .take(count)
                .collect()
        }
    };
    for found in compared {
        let mut messages = between(registry, compiled, name, read, config, level, found.schema);
        if !messages.is_empty() {
            let text: String = found.schema.text.chars().take(MAX_SHOWN).collect();
            messages.push(format!("{{oldSchemaVersion: {}}}", found.version));
            messages.push(format!("{{oldSchema: '{text}'}}"));
            messages.push(format!(
                "{{compatibility: '{}'}}",
                level.as_str().to_ascii_uppercase()
            ));
            return messages;
        }
    }
    Vec::new()
}

/// Names that no field of the top level may have, listed in the metadata: they stay reserved, and are not used.
fn reserved(read: &Read, previous: Option<&Schema>) -> Vec<String> {
    let names = |schema: &Schema| -> BTreeSet<String> {
        let metadata = schema.metadata.as_ref();
        let list = metadata.and_then(|metadata| metadata.properties.get(RESERVED));
        let names = list.into_iter().flat_map(|list| list.split(','));
        let names = names.map(|name| name.trim().to_owned());
        names.filter(|name| !name.is_empty()).collect()
    };
    let told = |kind: &str, name: &str, why: &str| {
        format!("{{errorType:'{kind}', description:'{why}', additionalInfo:'{name}'}}")
    };
    let now = names(&read.schema);
    let before = previous.map(names).unwrap_or_default();
    let gone = before.difference(&now).map(|name| {
        let why =
            format!("field `{name}` is reserved in the version before, and no longer in this one");
        told("RESERVED_FIELD_REMOVED", name, &why)
    });
    let columns = read.compiled.columns().unwrap_or_default();
    let used = now
        .iter()
        .filter(|name| columns.iter().any(|column| column.name == **name));
    let used = used.map(|name| {
        let why = format!("field `{name}` is there, though its name is reserved");
        told("FIELD_CONFLICTS_WITH_RESERVED_FIELD", name, &why)
    });
    gone.chain(used).collect()
}

fn between(
    registry: &Registry,
    compiled: &Compiled,
    name: &Name,
    read: &Read,
    config: &Config,
    level: Compatibility,
    old: &Schema,
) -> Vec<String> {
    let texts = registry.references(name, &old.references);
    let old = match texts.and_then(|texts| compiled.schema(old.format, &old.text, &texts)) {
        Ok(old) => old,
        Err(error) => {
            return vec![format!(
                "{{errorType:'OLD_SCHEMA_UNUSABLE', description:'{error}'}}"
            )];
        }
    };
    let policy = config.policy.unwrap_or_default();
    let new: &CompiledSchema = &read.compiled;
    let mut messages = Vec::new();
    if level.backward() {
        messages.extend(new.cannot_read(&old, policy).iter().map(told));
    }
    if level.forward() {
        for message in old.cannot_read(new, policy).iter().map(told) {
            if !messages.contains(&message) {
                messages.push(message);
            }
        }
    }
    messages
}

fn told(found: &Incompatibility) -> String {
    format!(
        "{{errorType:'{}', description:'{}', additionalInfo:'{}'}}",
        found.kind, found.message, found.path
    )
}

pub(super) fn asked(
    registry: &Registry,
    compiled: &Compiled,
    name: &Name,
    ask: &Ask,
) -> Result<Planned, RegistryError> {
    name.check()?;
    let config = registry.effective_config(&name.context, &name.subject);
    let only = match &ask.version {
        Some(word) => Some(registry.one(name, word, false)?.version),
        None => None,
    };
    let mut candidate = Candidate::of(ask, &config)?;
    (candidate.id, candidate.version) = (None, None);
    let previous = registry.one(name, "latest", false).ok();
    let previous = previous.map(|found| found.schema);
    let read = candidate.read(registry, compiled, name, &config, previous)?;
    let messages = incompatibilities(registry, compiled, name, &read, &config, only);
    let mut out = json!({ "is_compatible": messages.is_empty() });
    if ask.verbose {
        out["messages"] = json!(messages);
    }
    Ok(Planned::read(out))
}
