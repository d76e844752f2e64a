//! The registry's state.

use std::collections::BTreeMap;

use millstream_types::{check_name, nearest};
use serde::{Deserialize, Serialize};

use millstream_schema_formats::Format;

use crate::schema::{Schema, SubjectView, Version, VersionView};
use crate::{Compatibility, DecodeError, RegisterError, RegistryError, canonical};

/// Layout of [`Registry::encode`] and of the serialised state.
const LAYOUT: u32 = 1;

/// All subjects and schemas. Deterministic: the same commands in the same order give the same state.
///
/// Numbers of schemas count up from 1 and belong to the canonical text: the same schema under another subject, or
/// registered again after a delete, keeps its number. Versions count up from 1 per subject, and start again when a subject
/// was deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Stored", into = "Stored")]
pub struct Registry {
    schemas: BTreeMap<u32, Schema>,
    subjects: BTreeMap<String, Subject>,
    /// Number of each canonical text; rebuilt when the state is read.
    numbers: BTreeMap<String, u32>,
}

/// The state as it is stored.
#[derive(Clone, Serialize, Deserialize)]
struct Stored {
    layout: u32,
    schemas: BTreeMap<u32, Schema>,
    subjects: BTreeMap<String, Subject>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Subject {
    format: Format,
    compatibility: Compatibility,
    /// Number of the schema of each version; never empty.
    versions: BTreeMap<u32, u32>,
}

impl Subject {
    fn latest(&self) -> (u32, u32) {
        let (version, id) = self
            .versions
            .last_key_value()
            .expect("invariant: a subject has a version");
        (*version, *id)
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
    /// Registers a schema as the subject's next version, unless one of its versions is the same schema already. The level
    /// of the subject is set in either case; an empty word leaves an existing subject's level as it is.
    ///
    /// # Errors
    /// What is wrong with the name, the format, the text's syntax or the level. Whether the text is a valid schema is
    /// for `schemas/formats` to say, before this is called.
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
        let format: Format = format.parse().map_err(|_| RegisterError::Format {
            format: format.to_owned(),
        })?;
        let level: Compatibility = compatibility.parse()?;
        let key = canonical(text).map_err(|error| RegisterError::Text {
            subject: subject.to_owned(),
            reason: error.to_string(),
        })?;
        let old = self.subjects.get(subject);
        if let Some(old) = old.filter(|old| old.format != format) {
            let (has, wants) = (old.format.to_string(), format.to_string());
            return Err(RegisterError::FormatChange {
                subject: subject.to_owned(),
                has,
                wants,
            });
        }
        let id = self.number(key, format, text)?;
        let new = Subject {
            format,
            compatibility: level,
            versions: BTreeMap::new(),
        };
        let entry = self.subjects.entry(subject.to_owned()).or_insert(new);
        if !compatibility.is_empty() {
            entry.compatibility = level;
        }
        let same = entry.versions.iter().rev().find(|(_, known)| **known == id);
        if let Some((version, _)) = same {
            return Ok(Registered {
                id,
                version: *version,
                created: false,
            });
        }
        let version = entry
            .versions
            .last_key_value()
            .map_or(0, |(version, _)| *version)
            + 1;
        entry.versions.insert(version, id);
        Ok(Registered {
            id,
            version,
            created: true,
        })
    }

    /// What [`Registry::register`] would answer, without changing anything.
    ///
    /// # Errors
    /// As `register`.
    pub fn preview(
        &self,
        subject: &str,
        format: &str,
        text: &str,
        compatibility: &str,
    ) -> Result<Registered, RegisterError> {
        self.clone().register(subject, format, text, compatibility)
    }

    fn number(&mut self, key: String, format: Format, text: &str) -> Result<u32, RegisterError> {
        if let Some(id) = self.numbers.get(&key) {
            return Ok(*id);
        }
        let last = self.last_id();
        let id = last.checked_add(1).ok_or(RegisterError::Full)?;
        self.numbers.insert(key, id);
        self.schemas.insert(
            id,
            Schema {
                format,
                text: text.to_owned(),
            },
        );
        Ok(id)
    }

    fn last_id(&self) -> u32 {
        self.schemas.last_key_value().map_or(0, |(id, _)| *id)
    }

    /// One version of a subject.
    ///
    /// # Errors
    /// When there is no such subject, with the nearest name, or no such version.
    pub fn get(&self, subject: &str, version: Version) -> Result<VersionView<'_>, RegistryError> {
        let Some((name, entry)) = self.subjects.get_key_value(subject) else {
            return Err(self.unknown(subject));
        };
        let (latest, _) = entry.latest();
        let version = match version {
            Version::Latest => latest,
            Version::Number(number) => number,
        };
        let id = *entry
            .versions
            .get(&version)
            .ok_or_else(|| RegistryError::Version {
                subject: subject.to_owned(),
                version,
                latest,
            })?;
        let schema = &self.schemas[&id];
        Ok(VersionView {
            subject: name,
            version,
            id,
            format: schema.format,
            compatibility: entry.compatibility,
            text: &schema.text,
        })
    }

    /// The schema with a number, whether or not a subject still has it.
    ///
    /// # Errors
    /// When the number was never given out.
    pub fn by_id(&self, id: u32) -> Result<&Schema, RegistryError> {
        self.schemas.get(&id).ok_or_else(|| RegistryError::Id {
            id,
            last: self.last_id(),
        })
    }

    /// Whether there is such a subject.
    #[must_use]
    pub fn contains(&self, subject: &str) -> bool {
        self.subjects.contains_key(subject)
    }

    /// All versions of a subject, oldest first.
    ///
    /// # Errors
    /// When there is no such subject, with the nearest name.
    pub fn versions(&self, subject: &str) -> Result<Vec<VersionView<'_>>, RegistryError> {
        let entry = self
            .subjects
            .get(subject)
            .ok_or_else(|| self.unknown(subject))?;
        entry
            .versions
            .keys()
            .map(|version| self.get(subject, Version::Number(*version)))
            .collect()
    }

    /// All subjects by name.
    #[must_use]
    pub fn list(&self) -> Vec<SubjectView> {
        let view = |(name, entry): (&String, &Subject)| {
            let (latest, id) = entry.latest();
            SubjectView {
                name: name.clone(),
                format: entry.format,
                compatibility: entry.compatibility,
                latest,
                id,
                versions: entry.versions.len(),
            }
        };
        self.subjects.iter().map(view).collect()
    }

    /// Removes a subject with all its versions, and answers how many those were. Schemas stay known by their numbers, for
    /// the messages that name them.
    ///
    /// # Errors
    /// When there is no such subject, with the nearest name.
    pub fn delete(&mut self, subject: &str) -> Result<usize, RegistryError> {
        match self.subjects.remove(subject) {
            Some(entry) => Ok(entry.versions.len()),
            None => Err(self.unknown(subject)),
        }
    }

    fn unknown(&self, subject: &str) -> RegistryError {
        let nearest = nearest(subject, self.subjects.keys().map(String::as_str));
        RegistryError::Subject {
            subject: subject.to_owned(),
            nearest: nearest.map(str::to_owned),
        }
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

impl From<Registry> for Stored {
    fn from(registry: Registry) -> Self {
        Self {
            layout: LAYOUT,
            schemas: registry.schemas,
            subjects: registry.subjects,
        }
    }
}

impl TryFrom<Stored> for Registry {
    type Error = DecodeError;

    fn try_from(stored: Stored) -> Result<Self, DecodeError> {
        let Stored {
            layout,
            schemas,
            mut subjects,
        } = stored;
        if layout > LAYOUT {
            return Err(DecodeError::Newer {
                found: layout,
                known: LAYOUT,
            });
        }
        subjects.retain(|_, entry| !entry.versions.is_empty());
        for (subject, entry) in &subjects {
            let missing = entry
                .versions
                .iter()
                .find(|(_, id)| !schemas.contains_key(id));
            if let Some((version, id)) = missing {
                let subject = subject.clone();
                return Err(DecodeError::Dangling {
                    subject,
                    version: *version,
                    id: *id,
                });
            }
        }
        let mut numbers = BTreeMap::new();
        for (id, schema) in &schemas {
            numbers.entry(canonical(&schema.text)?).or_insert(*id);
        }
        Ok(Self {
            schemas,
            subjects,
            numbers,
        })
    }
}

#[cfg(test)]
mod tests;
