//! Questions.

use std::collections::BTreeSet;

use millstream_schema_formats::Format;
use serde_json::{Value, json};

use super::{Found, Planned, context_name, has_prefix, page, resolved, tag, with_schema};
use crate::RegistryError;
use crate::compiled::Compiled;
use crate::name::{DEFAULT_CONTEXT, Name};
use crate::registry::{Context, Registry, VersionEntry};
use crate::request::{Ask, Reply};
use crate::schema::Schema;

const ANY: &str = ":*:";

pub(super) fn schemas(registry: &Registry, ask: &Ask) -> Result<Planned, RegistryError> {
    let prefix = ask.subject_prefix.as_deref().unwrap_or(ANY);
    let versions = registry.all().filter(|(name, version, entry, _)| {
        let newest = || {
            let (_, subject) = registry.find(name)?;
            let mut versions = subject.versions.iter();
            let newest = versions.rfind(|(_, entry)| ask.deleted || !entry.deleted)?;
            Some(*newest.0)
        };
        has_prefix(name, prefix)
            && (ask.deleted || !entry.deleted)
            && (!ask.latest_only || newest() == Some(*version))
    });
    Ok(page(
        ask,
        versions.map(|(name, version, entry, schema)| {
            Found {
                version,
                entry: *entry,
                schema,
            }
            .shown(&name)
        }),
    ))
}

/// The context, id and schema that are meant: of the subject's context, or of any where that subject has the id.
fn identified<'a>(
    registry: &'a Registry,
    ask: &Ask,
) -> Result<(&'a str, &'a Context, u32, &'a Schema), RegistryError> {
    let word = ask.id.as_deref().unwrap_or_default();
    let number: i64 = word.parse().map_err(|_| RegistryError::NotFound)?;
    let missing = || RegistryError::SchemaNotFound(Some(word.to_owned()));
    let id = u32::try_from(number).map_err(|_| missing())?;
    let name = Name::read(&ask.subject);
    let own = registry.contexts.get_key_value(&name.context);
    let named = !name.subject.is_empty();
    let has = |context: &Context, subject: &str| {
        let subject = context.subjects.get(subject);
        subject.is_some_and(|own| own.versions.values().any(|entry| entry.id == id))
    };
    let elsewhere = registry
        .contexts
        .iter()
        .filter(|(_, context)| named && has(context, &name.subject));
    let found = own
        .into_iter()
        .filter(|(_, context)| !named || has(context, &name.subject));
    let found = found
        .chain(elsewhere)
        .chain(own)
        .find_map(|(key, context)| {
            // What was deleted for good is not found here, though the server still reads messages with it.
            let used = |entry: &VersionEntry| entry.id == id;
            let mut subjects = context.subjects.values();
            subjects
                .any(|subject| subject.versions.values().any(used))
                .then_some(())?;
            Some((
                key.as_str(),
                context,
                id,
                context.schemas.get(&id)?.as_ref(),
            ))
        });
    found.ok_or_else(missing)
}

pub(super) fn by_id(
    registry: &Registry,
    compiled: &Compiled,
    ask: &Ask,
) -> Result<Planned, RegistryError> {
    let (key, context, _, schema) = identified(registry, ask)?;
    let mut out = json!({});
    with_schema(&mut out, schema);
    out["schema"] = resolved::text(registry, &home(key), schema, &ask.format).into();
    if ask.find_tags {
        out["schemaTags"] = tag::shown(registry, compiled, &home(key), schema)?;
    }
    if ask.fetch_max_id {
        out["maxId"] = context.last_id().into();
    }
    Ok(Planned::read(out))
}

pub(super) fn text_of_id(registry: &Registry, ask: &Ask) -> Result<Planned, RegistryError> {
    let (key, .., schema) = identified(registry, ask)?;
    Ok(text(registry, &home(key), schema, ask))
}

/// Where a schema's references are looked up when only its context is known.
fn home(context: &str) -> Name {
    Name {
        context: context.to_owned(),
        subject: String::new(),
    }
}

fn text(registry: &Registry, home: &Name, schema: &Schema, ask: &Ask) -> Planned {
    let text = resolved::text(registry, home, schema, &ask.format);
    let reply = match schema.format {
        Format::Protobuf => Reply::Text(text),
        Format::Json | Format::Avro => match serde_json::from_str(&text) {
            Ok(value) => Reply::Json(value),
            Err(_) => Reply::Text(text),
        },
    };
    Planned {
        changes: Vec::new(),
        reply,
    }
}

/// Subjects and versions that have an id.
fn places(registry: &Registry, ask: &Ask) -> Result<Vec<(Name, u32)>, RegistryError> {
    let (key, context, id, _) = identified(registry, ask)?;
    let wanted = Name::read(&ask.subject).subject;
    let mut found = Vec::new();
    for (subject, own) in &context.subjects {
        for (version, entry) in &own.versions {
            let meant = wanted.is_empty() || wanted == *subject;
            if entry.id == id && meant && (ask.deleted || !entry.deleted) {
                let name = Name {
                    context: key.to_owned(),
                    subject: subject.clone(),
                };
                found.push((name, *version));
            }
        }
    }
    Ok(found)
}

pub(super) fn subjects_of_id(registry: &Registry, ask: &Ask) -> Result<Planned, RegistryError> {
    let names: BTreeSet<String> = places(registry, ask)?
        .into_iter()
        .map(|(name, _)| name.to_string())
        .collect();
    Ok(page(ask, names.into_iter()))
}

pub(super) fn versions_of_id(registry: &Registry, ask: &Ask) -> Result<Planned, RegistryError> {
    let places = places(registry, ask)?.into_iter();
    Ok(page(
        ask,
        places.map(|(name, version)| json!({ "subject": name.to_string(), "version": version })),
    ))
}

pub(super) fn by_guid(registry: &Registry, ask: &Ask) -> Result<Planned, RegistryError> {
    let missing = || RegistryError::SchemaNotFound(Some(ask.guid.clone()));
    let (key, _, schema) = registry.by_guid(&ask.guid).ok_or_else(missing)?;
    let mut out = json!({});
    with_schema(&mut out, schema);
    out["schema"] = resolved::text(registry, &home(key), schema, &ask.format).into();
    Ok(Planned::read(out))
}

pub(super) fn ids_of_guid(registry: &Registry, ask: &Ask) -> Result<Planned, RegistryError> {
    let contexts = registry.contexts.iter();
    let ids: Vec<Value> = contexts
        .filter_map(|(name, context)| {
            let id = context.numbers.get(&ask.guid)?;
            Some(json!({ "context": name, "id": id }))
        })
        .collect();
    if ids.is_empty() {
        return Err(RegistryError::SchemaNotFound(Some(ask.guid.clone())));
    }
    Ok(Planned::read(ids))
}

pub(super) fn subjects(registry: &Registry, ask: &Ask) -> Result<Planned, RegistryError> {
    let prefix = ask.subject_prefix.as_deref().unwrap_or(ANY);
    let mut names = Vec::new();
    for (context, inside) in &registry.contexts {
        for (subject, own) in &inside.subjects {
            let name = Name {
                context: context.clone(),
                subject: subject.clone(),
            };
            let live = own.latest().is_some();
            let wanted = match (ask.deleted_only, ask.deleted) {
                (true, _) => !live && !own.versions.is_empty(),
                (false, true) => !own.versions.is_empty(),
                (false, false) => live,
            };
            if wanted && has_prefix(&name, prefix) {
                names.push(name.to_string());
            }
        }
    }
    Ok(page(ask, names.into_iter()))
}

pub(super) fn versions(
    registry: &Registry,
    name: &Name,
    ask: &Ask,
) -> Result<Planned, RegistryError> {
    let (_, subject) = registry.stored(name, ask.deleted || ask.deleted_only)?;
    let versions = subject.versions.iter().filter(|(_, entry)| {
        if ask.deleted_only {
            entry.deleted
        } else {
            ask.deleted || !entry.deleted
        }
    });
    let numbers: Vec<i64> = versions
        .map(|(version, entry)| match i64::from(*version) {
            number if entry.deleted && ask.deleted_as_negative => -number,
            number => number,
        })
        .collect();
    if numbers.is_empty() {
        return Err(RegistryError::SubjectNotFound(name.to_string()));
    }
    Ok(page(ask, numbers.into_iter()))
}

fn asked<'a>(registry: &'a Registry, name: &Name, ask: &Ask) -> Result<Found<'a>, RegistryError> {
    let word = ask.version.as_deref().unwrap_or("latest");
    registry.one(name, word, ask.deleted)
}

pub(super) fn version(
    registry: &Registry,
    compiled: &Compiled,
    name: &Name,
    ask: &Ask,
) -> Result<Planned, RegistryError> {
    let found = asked(registry, name, ask)?;
    let mut out = found.shown(name);
    out["schema"] = resolved::text(registry, name, found.schema, &ask.format).into();
    if ask.find_tags {
        out["schemaTags"] = tag::shown(registry, compiled, name, found.schema)?;
    }
    Ok(Planned::read(out))
}

pub(super) fn text_of_version(
    registry: &Registry,
    name: &Name,
    ask: &Ask,
) -> Result<Planned, RegistryError> {
    let found = asked(registry, name, ask)?;
    Ok(text(registry, name, found.schema, ask))
}

pub(super) fn referenced_by(
    registry: &Registry,
    name: &Name,
    ask: &Ask,
) -> Result<Planned, RegistryError> {
    let found = asked(registry, name, ask)?;
    let users = registry
        .users(name, Some(found.version))
        .filter(|(_, _, entry)| ask.deleted || !entry.deleted);
    let ids: BTreeSet<u32> = users.map(|(_, _, entry)| entry.id).collect();
    Ok(page(ask, ids.into_iter()))
}

pub(super) fn by_metadata(
    registry: &Registry,
    name: &Name,
    ask: &Ask,
) -> Result<Planned, RegistryError> {
    let (context, subject) = registry.stored(name, ask.deleted)?;
    let fits = |schema: &Schema| {
        let mut pairs = ask.key.iter().zip(&ask.value);
        let own = schema.metadata.as_ref().map(|own| &own.properties);
        ask.key.len() == ask.value.len()
            && pairs.all(|(key, value)| own.and_then(|own| own.get(key)) == Some(value))
    };
    let mut versions = subject.versions.iter().rev();
    let found = versions.find_map(|(version, entry)| {
        let schema = context.schemas.get(&entry.id)?;
        let found = Found {
            version: *version,
            entry: *entry,
            schema,
        };
        ((ask.deleted || !entry.deleted) && fits(schema)).then_some(found)
    });
    match found {
        Some(found) => Ok(Planned::read(found.shown(name))),
        None => Err(RegistryError::SchemaNotFound(None)),
    }
}

pub(super) fn contexts(registry: &Registry, ask: &Ask) -> Result<Planned, RegistryError> {
    let mut names: BTreeSet<&str> = registry.contexts.keys().map(String::as_str).collect();
    names.insert(DEFAULT_CONTEXT);
    let prefix = match ask.context_prefix.as_str() {
        "" => String::new(),
        prefix => context_name(prefix),
    };
    let names = names.into_iter().filter(|name| name.starts_with(&prefix));
    Ok(page(ask, names))
}
