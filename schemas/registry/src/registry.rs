//! The registry's state, and what the rest of the server asks of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use millstream_types::{check_name, nearest};
use serde::{Deserialize, Serialize};

use millstream_schema_formats::Format;

use crate::data::MigrationRule;
use crate::name::{DEFAULT_CONTEXT, Name};
use crate::schema::{Schema, SubjectView, Version, VersionView};
use crate::settings::{Config, Mode};
use crate::stored::Stored;
use crate::{Compatibility, DecodeError, MissingError, RegisterError, canonical};

/// All subjects and schemas. Deterministic: the same changes in the same order give the same state.
///
/// Ids of schemas count up from 1 in each context and belong to the content: the same schema under another subject, or
/// registered again after a delete, keeps its id. Versions count up from 1 per subject; a number is given again only when
/// its version and all behind it were deleted for good.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Stored", into = "Stored")]
pub struct Registry {
    pub(crate) contexts: BTreeMap<String, Context>,
    /// For all contexts.
    pub(crate) config: Option<Config>,
    pub(crate) mode: Option<Mode>,
}

/// Subjects that share their ids.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Context {
    /// Shared, so that a copy of the registry to look at is cheap.
    pub(crate) schemas: BTreeMap<u32, Arc<Schema>>,
    pub(crate) subjects: BTreeMap<String, Subject>,
    pub(crate) config: Option<Config>,
    pub(crate) mode: Option<Mode>,
    /// Id of each GUID; rebuilt when the state is read.
    pub(crate) numbers: BTreeMap<String, u32>,
}

/// A subject; without versions it only has settings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Subject {
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) versions: BTreeMap<u32, VersionEntry>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) config: Option<Config>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) mode: Option<Mode>,
}

/// A version of a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct VersionEntry {
    pub(crate) id: u32,
    /// Hidden, and may be deleted for good.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) deleted: bool,
    /// Milliseconds since 1970; 0 where it is not known.
    #[serde(default)]
    pub(crate) time: i64,
}

impl Subject {
    pub(crate) fn is_unset(&self) -> bool {
        self.config.is_none() && self.mode.is_none()
    }

    /// Versions that are not hidden, oldest first.
    pub(crate) fn live(&self) -> impl DoubleEndedIterator<Item = (u32, &VersionEntry)> {
        self.versions
            .iter()
            .filter(|(_, entry)| !entry.deleted)
            .map(|(version, entry)| (*version, entry))
    }

    pub(crate) fn latest(&self) -> Option<(u32, u32)> {
        self.live()
            .next_back()
            .map(|(version, entry)| (version, entry.id))
    }

    /// The number a new version gets.
    pub(crate) fn next_version(&self) -> u32 {
        self.versions
            .last_key_value()
            .map_or(0, |(version, _)| *version)
            .saturating_add(1)
    }
}

impl Context {
    pub(crate) fn last_id(&self) -> u32 {
        self.schemas.last_key_value().map_or(0, |(id, _)| *id)
    }
}

/// What a registration led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registered {
    /// The schema's number.
    pub id: u32,
    /// Its version in the subject.
    pub version: u32,
    /// Whether this version is new; false when the subject had the same schema already.
    pub created: bool,
}

impl Registry {
    pub(crate) fn context_mut(&mut self, name: &str) -> &mut Context {
        self.contexts.entry(name.to_owned()).or_default()
    }

    fn default_context(&self) -> Option<&Context> {
        self.contexts.get(DEFAULT_CONTEXT)
    }

    fn subject(&self, subject: &str) -> Option<(&String, &Subject)> {
        let (name, entry) = self.default_context()?.subjects.get_key_value(subject)?;
        entry.latest().map(|_| (name, entry))
    }

    /// Registers a JSON schema as the subject's next version, as releases before the registry's interface did: logs they
    /// wrote are applied with this. Unless one of its versions is the same schema already. The level of the subject is set in
    /// either case; an empty word leaves an existing subject's level as it is.
    ///
    /// # Errors
    /// What is wrong with the name, the format, the text's syntax or the level.
    pub fn register(
        &mut self,
        subject: &str,
        format: &str,
        text: &str,
        compatibility: &str,
    ) -> Result<Registered, RegisterError> {
        let refuse = |source| RegisterError::Subject {
            subject: subject.to_owned(),
            source,
        };
        check_name(subject).map_err(refuse)?;
        if format != Format::Json.as_str() {
            return Err(RegisterError::Format {
                format: format.to_owned(),
            });
        }
        let level: Compatibility = compatibility.parse()?;
        let key = canonical(text).map_err(|error| RegisterError::Text {
            subject: subject.to_owned(),
            reason: error.to_string(),
        })?;
        let schema = Schema::new(Format::Json, text.to_owned(), key, Vec::new(), None, None);
        let context = self.context_mut(DEFAULT_CONTEXT);
        let id = match context.numbers.get(&schema.guid) {
            Some(id) => *id,
            None => context
                .last_id()
                .checked_add(1)
                .ok_or(RegisterError::Full)?,
        };
        context.numbers.entry(schema.guid.clone()).or_insert(id);
        context
            .schemas
            .entry(id)
            .or_insert_with(|| Arc::new(schema));
        let entry = context.subjects.entry(subject.to_owned()).or_default();
        if !compatibility.is_empty() || entry.config.is_none() {
            let config = entry.config.get_or_insert_default();
            config.compatibility = Some(level);
        }
        let same = entry.live().rev().find(|(_, known)| known.id == id);
        if let Some((version, _)) = same {
            return Ok(Registered {
                id,
                version,
                created: false,
            });
        }
        let version = entry.next_version();
        entry.versions.insert(
            version,
            VersionEntry {
                id,
                deleted: false,
                time: 0,
            },
        );
        Ok(Registered {
            id,
            version,
            created: true,
        })
    }

    /// One version of a subject of the default context.
    ///
    /// # Errors
    /// When there is no such subject, with the nearest name, or no such version.
    pub fn get(&self, subject: &str, version: Version) -> Result<VersionView<'_>, MissingError> {
        let found = self.subject(subject);
        let Some(((name, entry), (latest, _))) = found.and_then(|own| Some((own, own.1.latest()?)))
        else {
            return Err(self.unknown(subject));
        };
        let version = match version {
            Version::Latest => latest,
            Version::Number(number) => number,
        };
        let found = entry.versions.get(&version).filter(|entry| !entry.deleted);
        let schema = found.and_then(|found| {
            let schema = self.default_context()?.schemas.get(&found.id)?;
            Some((found.id, schema))
        });
        let (id, schema) = schema.ok_or_else(|| MissingError::Version {
            subject: subject.to_owned(),
            version,
            latest,
        })?;
        Ok(VersionView {
            subject: name,
            version,
            id,
            format: schema.format,
            compatibility: self.level(DEFAULT_CONTEXT, subject),
            text: &schema.text,
            schema,
        })
    }

    /// The schema with a number in the default context, whether or not a subject still has it.
    ///
    /// # Errors
    /// When the number was never given out.
    pub fn by_id(&self, id: u32) -> Result<&Schema, MissingError> {
        let context = self.default_context();
        let schema = context.and_then(|context| context.schemas.get(&id));
        schema.map(Arc::as_ref).ok_or_else(|| MissingError::Id {
            id,
            last: context.map_or(0, Context::last_id),
        })
    }

    /// Context and id of the schema with a GUID, the default context first.
    #[must_use]
    pub fn by_guid(&self, guid: &str) -> Option<(&str, u32, &Schema)> {
        let first = self.contexts.get_key_value(DEFAULT_CONTEXT);
        first
            .into_iter()
            .chain(&self.contexts)
            .find_map(|(name, context)| {
                let id = *context.numbers.get(guid)?;
                Some((name.as_str(), id, context.schemas.get(&id)?.as_ref()))
            })
    }

    /// Whether there is such a subject in the default context.
    #[must_use]
    pub fn contains(&self, subject: &str) -> bool {
        self.subject(subject).is_some()
    }

    /// All versions of a subject of the default context, oldest first.
    ///
    /// # Errors
    /// When there is no such subject, with the nearest name.
    pub fn versions(&self, subject: &str) -> Result<Vec<VersionView<'_>>, MissingError> {
        let (_, entry) = self.subject(subject).ok_or_else(|| self.unknown(subject))?;
        entry
            .live()
            .map(|(version, _)| self.get(subject, Version::Number(version)))
            .collect()
    }

    /// The versions of the default context whose messages a function carries to or from the version before.
    #[must_use]
    pub fn migrated_by(&self, function: &str) -> Vec<(&str, u32)> {
        let context = self.default_context();
        let subjects = context.into_iter().flat_map(|context| &context.subjects);
        let versions = subjects.flat_map(|(name, entry)| entry.live().map(move |own| (name, own)));
        let uses = |id: u32| {
            let schema = context.and_then(|context| context.schemas.get(&id));
            let rules = schema.and_then(|schema| schema.rule_set.as_ref());
            let rules = rules.into_iter().flat_map(|rules| {
                let up = rules.migrations("UPGRADE");
                up.chain(rules.migrations("DOWNGRADE"))
            });
            rules
                .into_iter()
                .any(|(_, rule)| rule == MigrationRule::Function(function))
        };
        versions
            .filter(|(_, (_, entry))| uses(entry.id))
            .map(|(name, (version, _))| (name.as_str(), version))
            .collect()
    }

    /// All subjects of the default context by name.
    #[must_use]
    pub fn list(&self) -> Vec<SubjectView> {
        let context = self.default_context();
        let subjects = context.into_iter().flat_map(|context| &context.subjects);
        let view = |(name, entry): (&String, &Subject)| {
            let (latest, id) = entry.latest()?;
            let schema = context?.schemas.get(&id)?;
            Some(SubjectView {
                name: name.clone(),
                format: schema.format,
                compatibility: self.level(DEFAULT_CONTEXT, name),
                latest,
                id,
                versions: entry.live().count(),
            })
        };
        subjects.filter_map(view).collect()
    }

    /// Removes a subject of the default context for good, with its settings, and answers how many versions those were.
    /// Schemas stay known by their numbers, for the messages that name them.
    ///
    /// # Errors
    /// When there is no such subject, with the nearest name.
    pub fn delete(&mut self, subject: &str) -> Result<usize, MissingError> {
        let context = self.contexts.get_mut(DEFAULT_CONTEXT);
        match context.and_then(|context| context.subjects.remove(subject)) {
            Some(entry) => Ok(entry.versions.len()),
            None => Err(self.unknown(subject)),
        }
    }

    fn unknown(&self, subject: &str) -> MissingError {
        let known = self.default_context();
        let known = known
            .iter()
            .flat_map(|context| context.subjects.keys().map(String::as_str));
        MissingError::Subject {
            subject: subject.to_owned(),
            nearest: nearest(subject, known).map(str::to_owned),
        }
    }

    /// What is set for a subject itself.
    #[must_use]
    pub fn own_config(&self, name: &Name) -> Option<&Config> {
        let context = self.contexts.get(&name.context)?;
        context.subjects.get(&name.subject)?.config.as_ref()
    }

    /// What is set for a subject, with what it leaves to its context and to all.
    pub(crate) fn effective_config(&self, context: &str, subject: &str) -> Config {
        let own = self.contexts.get(context);
        let layers = [
            own.and_then(|own| own.subjects.get(subject)?.config.as_ref()),
            own.and_then(|own| own.config.as_ref()),
            self.default_context().and_then(|own| own.config.as_ref()),
            self.config.as_ref(),
        ];
        let mut config = Config::default();
        for layer in layers.into_iter().flatten() {
            config = if config == Config::default() {
                layer.clone()
            } else {
                config.over(layer)
            };
        }
        config
    }

    pub(crate) fn level(&self, context: &str, subject: &str) -> Compatibility {
        self.effective_config(context, subject)
            .compatibility
            .unwrap_or_default()
    }

    /// The mode that counts for a subject.
    pub(crate) fn effective_mode(&self, context: &str, subject: &str) -> Mode {
        let own = self.contexts.get(context);
        let layers = [
            own.and_then(|own| own.subjects.get(subject)?.mode),
            own.and_then(|own| own.mode),
            self.default_context().and_then(|own| own.mode),
            self.mode,
        ];
        if layers[1..].contains(&Some(Mode::ReadonlyOverride)) {
            return Mode::ReadonlyOverride;
        }
        layers.into_iter().flatten().next().unwrap_or_default()
    }

    /// The state as bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("invariant: the registry is plain data")
    }

    /// Reads [`Registry::encode`].
    ///
    /// # Errors
    /// When the bytes are damaged or from a newer release.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        serde_json::from_slice::<Stored>(bytes)?.try_into()
    }
}

#[cfg(test)]
mod tests;
