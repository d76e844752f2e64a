//! The state as it lies in the catalog's checkpoint.
//!
//! Layout 2: `{layout: 2, contexts: {name: {schemas: {id: schema}, subjects: {name: {versions, config, mode}}, config, mode}},
//! config, mode}`. Layout 1, of releases before the interface: `{layout: 1, schemas: {id: {format, text}}, subjects: {name:
//! {format, compatibility, versions: {version: id}}}}`, which becomes the default context.

use std::collections::BTreeMap;
use std::sync::Arc;

use millstream_schema_formats::Format;
use serde::{Deserialize, Serialize};

use crate::name::DEFAULT_CONTEXT;
use crate::registry::{Context, Registry, Subject, VersionEntry};
use crate::schema::Schema;
use crate::settings::{Config, Mode};
use crate::{Compatibility, DecodeError, canonical};

const LAYOUT: u32 = 2;

/// Either layout; what the other one has is empty.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(crate) struct Stored {
    layout: u32,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    contexts: BTreeMap<String, StoredContext>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    config: Option<Config>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mode: Option<Mode>,
    #[serde(default, skip_serializing)]
    schemas: BTreeMap<u32, OldSchema>,
    #[serde(default, skip_serializing)]
    subjects: BTreeMap<String, OldSubject>,
}

#[derive(Clone, Serialize, Deserialize)]
struct StoredContext {
    #[serde(default)]
    schemas: BTreeMap<u32, Schema>,
    #[serde(default)]
    subjects: BTreeMap<String, Subject>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    config: Option<Config>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mode: Option<Mode>,
}

#[derive(Clone, Deserialize)]
struct OldSchema {
    format: Format,
    text: String,
}

#[derive(Clone, Deserialize)]
struct OldSubject {
    compatibility: Compatibility,
    versions: BTreeMap<u32, u32>,
}

impl From<Registry> for Stored {
    fn from(registry: Registry) -> Self {
        let context = |(name, context): (String, Context)| {
            let schemas = context.schemas.into_iter();
            let stored = StoredContext {
                schemas: schemas
                    .map(|(id, schema)| (id, Arc::unwrap_or_clone(schema)))
                    .collect(),
                subjects: context.subjects,
                config: context.config,
                mode: context.mode,
            };
            (name, stored)
        };
        Self {
            layout: LAYOUT,
            contexts: registry.contexts.into_iter().map(context).collect(),
            config: registry.config,
            mode: registry.mode,
            ..Self::default()
        }
    }
}

impl TryFrom<Stored> for Registry {
    type Error = DecodeError;

    fn try_from(mut stored: Stored) -> Result<Self, DecodeError> {
        if stored.layout > LAYOUT {
            return Err(DecodeError::Newer {
                found: stored.layout,
                known: LAYOUT,
            });
        }
        if stored.layout == 1 {
            let old = first_layout(stored.schemas, stored.subjects)?;
            if !old.schemas.is_empty() || !old.subjects.is_empty() {
                stored.contexts.insert(DEFAULT_CONTEXT.to_owned(), old);
            }
        }
        let mut contexts = BTreeMap::new();
        for (name, context) in stored.contexts {
            contexts.insert(name, read(context)?);
        }
        Ok(Self {
            contexts,
            config: stored.config,
            mode: stored.mode,
        })
    }
}

fn first_layout(
    schemas: BTreeMap<u32, OldSchema>,
    subjects: BTreeMap<String, OldSubject>,
) -> Result<StoredContext, DecodeError> {
    let mut known = BTreeMap::new();
    for (id, OldSchema { format, text }) in schemas {
        let key = canonical(&text)?;
        known.insert(id, Schema::new(format, text, key, Vec::new(), None, None));
    }
    let subject = |(name, old): (String, OldSubject)| {
        let versions = old.versions.into_iter();
        let subject = Subject {
            versions: versions
                .map(|(version, id)| {
                    let entry = VersionEntry {
                        id,
                        deleted: false,
                        time: 0,
                    };
                    (version, entry)
                })
                .collect(),
            config: Some(Config {
                compatibility: Some(old.compatibility),
                ..Config::default()
            }),
            mode: None,
        };
        (name, subject)
    };
    // A subject without versions was not there for that release.
    let subjects = subjects
        .into_iter()
        .filter(|(_, old)| !old.versions.is_empty());
    Ok(StoredContext {
        schemas: known,
        subjects: subjects.map(subject).collect(),
        config: None,
        mode: None,
    })
}

fn read(stored: StoredContext) -> Result<Context, DecodeError> {
    for (name, subject) in &stored.subjects {
        let missing = subject
            .versions
            .iter()
            .find(|(_, entry)| !stored.schemas.contains_key(&entry.id));
        if let Some((version, entry)) = missing {
            return Err(DecodeError::Dangling {
                subject: name.clone(),
                version: *version,
                id: entry.id,
            });
        }
    }
    let mut numbers = BTreeMap::new();
    for (id, schema) in &stored.schemas {
        numbers.entry(schema.guid.clone()).or_insert(*id);
    }
    let schemas = stored.schemas.into_iter();
    Ok(Context {
        schemas: schemas.map(|(id, schema)| (id, Arc::new(schema))).collect(),
        subjects: stored.subjects,
        config: stored.config,
        mode: stored.mode,
        numbers,
    })
}
