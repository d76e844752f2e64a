//! Requests to answers and changes: every rule of the interface, as a function of the state.

mod check;
mod read;
mod register;
mod remove;
mod resolved;
mod set;
mod tag;

use serde_json::{Value, json};

pub use self::register::{Candidate, Prepared, prepare_register};
pub use self::tag::TagChanges;
use crate::change::RegistryChange;
use crate::compiled::Compiled;
use crate::data::SchemaReference;
use crate::name::{DEFAULT_CONTEXT, Name};
use crate::registry::{Context, Registry, Subject, VersionEntry};
use crate::request::{Ask, Reply, Request, Verb};
use crate::schema::Schema;
use crate::{RegistryError, Version};
use millstream_schema_formats::Reference;

/// Schemas that one schema may refer to, also through others.
const MAX_REFERENCES: usize = 500;
/// References through references.
const MAX_REFERENCE_DEPTH: usize = 50;

/// What a request leads to.
#[derive(Clone, Debug)]
pub struct Planned {
    /// To be applied in order, together or not at all. Empty when nothing changes.
    pub changes: Vec<RegistryChange>,
    /// The answer, when they are applied.
    pub reply: Reply,
}

impl Planned {
    fn read(value: impl Into<Value>) -> Self {
        Self {
            changes: Vec::new(),
            reply: Reply::Json(value.into()),
        }
    }
}

impl Verb {
    /// Whether carrying it out may change the registry or takes compiling: then it is not for the threads that carry data,
    /// and one after the other.
    #[must_use]
    pub fn is_heavy(self) -> bool {
        matches!(
            self,
            Self::Lookup
                | Self::DeleteSubject
                | Self::Register
                | Self::DeleteVersion
                | Self::Tag
                | Self::Check
                | Self::SetConfig
                | Self::DeleteConfig
                | Self::SetMode
                | Self::DeleteMode
                | Self::DeleteContext
        )
    }
}

/// Works a request out. `time` is the proposer's clock in milliseconds since 1970. Pure but for `compiled`, which only
/// remembers.
///
/// # Errors
/// Why it is refused.
pub fn plan(
    registry: &Registry,
    compiled: &Compiled,
    time: i64,
    request: &Request,
) -> Result<Planned, RegistryError> {
    let ask = &request.ask;
    let name = registry.meant(&Name::read(&ask.subject));
    let own = Name::read(&ask.subject);
    match request.verb {
        Verb::Types => Ok(Planned::read(json!(["JSON", "PROTOBUF", "AVRO"]))),
        Verb::Schemas => read::schemas(registry, ask),
        Verb::Id => read::by_id(registry, compiled, ask),
        Verb::IdSchema => read::text_of_id(registry, ask),
        Verb::IdSubjects => read::subjects_of_id(registry, ask),
        Verb::IdVersions => read::versions_of_id(registry, ask),
        Verb::Guid => read::by_guid(registry, ask),
        Verb::GuidIds => read::ids_of_guid(registry, ask),
        Verb::Subjects => read::subjects(registry, ask),
        Verb::Versions => read::versions(registry, &name, ask),
        Verb::Version => read::version(registry, compiled, &name, ask),
        Verb::VersionSchema => read::text_of_version(registry, &name, ask),
        Verb::ReferencedBy => read::referenced_by(registry, &name, ask),
        Verb::ByMetadata => read::by_metadata(registry, &name, ask),
        Verb::Contexts => read::contexts(registry, ask),
        Verb::Lookup => register::lookup(registry, compiled, &name, ask),
        Verb::Register => register::register(registry, compiled, time, &name, ask),
        Verb::Tag => tag::tag(registry, compiled, time, &name, ask),
        Verb::Check => check::asked(registry, compiled, &name, ask),
        Verb::DeleteSubject => remove::subject(registry, &name, ask),
        Verb::DeleteVersion => remove::version(registry, &name, ask),
        Verb::DeleteContext => remove::context(registry, ask),
        Verb::Config => set::config(registry, &own, ask),
        Verb::SetConfig => set::set_config(registry, &own, &request.body),
        Verb::DeleteConfig => set::delete_config(registry, &own),
        Verb::Mode => set::mode(registry, &own, ask),
        Verb::SetMode => set::set_mode(registry, &own, ask, &request.body),
        Verb::DeleteMode => set::delete_mode(registry, &own, ask),
    }
}

impl Registry {
    /// The subject that a name stands for.
    fn meant(&self, name: &Name) -> Name {
        let subject = self.find(name).map(|(_, subject)| subject);
        let config = subject.and_then(|subject| subject.config.as_ref());
        match config.and_then(|config| config.alias.as_ref()) {
            Some(alias) => name.beside(alias),
            None => name.clone(),
        }
    }

    fn find(&self, name: &Name) -> Option<(&Context, &Subject)> {
        let context = self.contexts.get(&name.context)?;
        Some((context, context.subjects.get(&name.subject)?))
    }

    /// A subject that has versions: live ones, or with `deleted` any.
    fn stored(&self, name: &Name, deleted: bool) -> Result<(&Context, &Subject), RegistryError> {
        self.find(name)
            .filter(|(_, subject)| {
                subject.latest().is_some() || deleted && !subject.versions.is_empty()
            })
            .ok_or_else(|| RegistryError::SubjectNotFound(name.to_string()))
    }

    fn one(&self, name: &Name, word: &str, deleted: bool) -> Result<Found<'_>, RegistryError> {
        let asked = version_word(word)?;
        let (context, subject) = self.stored(name, deleted)?;
        let mut versions = subject.versions.iter();
        let found = match asked {
            Version::Latest => versions.rfind(|(_, entry)| deleted || !entry.deleted),
            Version::Number(number) => {
                versions.find(|(version, entry)| **version == number && (deleted || !entry.deleted))
            }
        };
        let (version, entry) =
            found.ok_or_else(|| RegistryError::VersionNotFound(word.to_owned()))?;
        Ok(Found {
            version: *version,
            entry: *entry,
            schema: &context.schemas[&entry.id],
        })
    }

    /// The texts a schema needs, those without references of their own first. `home` is the schema's own name.
    ///
    /// # Errors
    /// When one is missing, or there are too many.
    pub fn references(
        &self,
        home: &Name,
        references: &[SchemaReference],
    ) -> Result<Vec<Reference>, RegistryError> {
        let mut found = Vec::new();
        self.gather(home, references, 0, &mut found)?;
        Ok(found)
    }

    fn gather(
        &self,
        home: &Name,
        references: &[SchemaReference],
        depth: usize,
        found: &mut Vec<Reference>,
    ) -> Result<(), RegistryError> {
        let refuse = |reason: String| {
            Err(RegistryError::InvalidSchema {
                kind: "REFERENCE".to_owned(),
                reason,
            })
        };
        if depth > MAX_REFERENCE_DEPTH {
            return refuse(format!(
                "references go through more than {MAX_REFERENCE_DEPTH} others"
            ));
        }
        for reference in references {
            if found.iter().any(|known| known.name == reference.name) {
                continue;
            }
            if found.len() >= MAX_REFERENCES {
                return refuse(format!("it refers to more than {MAX_REFERENCES} schemas"));
            }
            let name = home.beside(&reference.subject);
            let version = reference.version;
            // A hidden version still carries what refers to it.
            let word = version.to_string();
            let Ok(target) = self.one(&name, &word, version > 0) else {
                return refuse(format!(
                    "no schema reference found for subject \"{}\" and version {version}",
                    reference.subject
                ));
            };
            self.gather(&name, &target.schema.references, depth + 1, found)?;
            found.push(Reference {
                name: reference.name.clone(),
                text: target.schema.text.clone(),
            });
        }
        Ok(())
    }

    /// Versions that refer to one, as context, subject, version and entry.
    fn users<'a>(
        &'a self,
        name: &'a Name,
        version: Option<u32>,
    ) -> impl Iterator<Item = (Name, u32, &'a VersionEntry)> {
        self.all().filter_map(move |(home, number, entry, schema)| {
            let meant = |reference: &&SchemaReference| {
                home.beside(&reference.subject) == *name
                    && version.is_none_or(|version| reference.version == i64::from(version))
            };
            schema.references.iter().find(meant)?;
            Some((home, number, entry))
        })
    }

    /// Every version there is.
    fn all(&self) -> impl Iterator<Item = (Name, u32, &VersionEntry, &Schema)> {
        self.contexts.iter().flat_map(|(context, inside)| {
            inside.subjects.iter().flat_map(move |(subject, own)| {
                own.versions.iter().filter_map(move |(version, entry)| {
                    let name = Name {
                        context: context.clone(),
                        subject: subject.clone(),
                    };
                    let schema = inside.schemas.get(&entry.id)?;
                    Some((name, *version, entry, schema.as_ref()))
                })
            })
        })
    }

    /// Names of live versions of other subjects that refer to one of this subject, as `subject:version`.
    #[must_use]
    pub fn referring(&self, subject: &str) -> Vec<String> {
        let name = Name::read(subject);
        let users = self.users(&name, None);
        users
            .filter(|(home, _, entry)| !entry.deleted && *home != name)
            .map(|(home, version, _)| format!("{home}:{version}"))
            .collect()
    }
}

#[derive(Clone, Copy)]
struct Found<'a> {
    version: u32,
    entry: VersionEntry,
    schema: &'a Schema,
}

impl Found<'_> {
    /// The interface's `Schema`.
    fn shown(&self, name: &Name) -> Value {
        let mut out =
            json!({ "subject": name.to_string(), "version": self.version, "id": self.entry.id });
        with_schema(&mut out, self.schema);
        if self.entry.time > 0 {
            out["ts"] = self.entry.time.into();
        }
        if self.entry.deleted {
            out["deleted"] = true.into();
        }
        out
    }
}

/// Adds what is the schema's own.
fn with_schema(out: &mut Value, schema: &Schema) {
    out["guid"] = schema.guid.clone().into();
    out["schemaType"] = schema.format.as_str().to_ascii_uppercase().into();
    if !schema.references.is_empty() {
        out["references"] = json!(schema.references);
    }
    if let Some(metadata) = &schema.metadata {
        out["metadata"] = json!(metadata);
    }
    if let Some(rules) = &schema.rule_set {
        out["ruleSet"] = json!(rules);
    }
    out["schema"] = schema.text.clone().into();
}

/// `latest`, -1, or a number from 1 to 2^31-1.
fn version_word(word: &str) -> Result<Version, RegistryError> {
    if word == "-1" {
        return Ok(Version::Latest);
    }
    let number = word.parse().ok();
    match number
        .filter(|number| !matches!(number, Version::Number(number) if *number > 0x7fff_ffff))
    {
        Some(version) => Ok(version),
        None => Err(RegistryError::InvalidVersion(word.to_owned())),
    }
}

/// The part of a list that was asked for.
fn page<T: Into<Value>>(ask: &Ask, items: impl Iterator<Item = T>) -> Planned {
    let number = |word: &Option<String>| word.as_ref().and_then(|word| word.parse::<i64>().ok());
    let offset = usize::try_from(number(&ask.offset).unwrap_or(0)).unwrap_or(0);
    let limit = usize::try_from(number(&ask.limit).unwrap_or(-1)).unwrap_or(usize::MAX);
    let items: Vec<Value> = items.skip(offset).take(limit).map(Into::into).collect();
    Planned::read(items)
}

/// Whether a subject is one of those a prefix means: `:*:` is any context.
fn has_prefix(name: &Name, prefix: &str) -> bool {
    match prefix.strip_prefix(":*:") {
        Some(rest) => name.subject.starts_with(rest),
        None => {
            let prefix = Name::read(prefix);
            name.context == prefix.context && name.subject.starts_with(&prefix.subject)
        }
    }
}

/// A context's name as the state has it.
fn context_name(text: &str) -> String {
    let text = text.trim_start_matches(':').trim_end_matches(':');
    if text.is_empty() || text == DEFAULT_CONTEXT {
        return DEFAULT_CONTEXT.to_owned();
    }
    if text.starts_with('.') {
        text.to_owned()
    } else {
        format!(".{text}")
    }
}

#[cfg(test)]
mod tests;
