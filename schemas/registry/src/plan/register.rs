//! New versions, and whether there is one already.

use millstream_schema_formats::{Format, ProtobufSchema, Schema as CompiledSchema};
use serde_json::{Value, json};

use super::check::incompatibilities;
use super::tag::TagChanges;
use super::{Found, Planned, version_word, with_schema};
use crate::change::RegistryChange;
use crate::compiled::Compiled;
use crate::data::{Metadata, RuleSet, SchemaReference};
use crate::name::Name;
use crate::registry::{Context, Registered, Registry, Subject};
use crate::request::{Ask, Reply};
use crate::schema::Schema;
use crate::settings::{Config, Mode};
use crate::{RegistryError, Version, canonical};

/// A schema that somebody would like to register.
#[derive(Clone, Debug, Default)]
pub struct Candidate {
    /// Its format; `AVRO` when absent.
    pub kind: Option<String>,
    /// Its text; empty to take the latest version's.
    pub text: String,
    /// What it refers to.
    pub references: Vec<SchemaReference>,
    /// Free properties; the latest version's when absent.
    pub metadata: Option<Metadata>,
    /// Rules; the latest version's when absent.
    pub rule_set: Option<RuleSet>,
    /// The id it must have; only while importing.
    pub id: Option<u32>,
    /// The version it must have.
    pub version: Option<u32>,
    /// Normalise it.
    pub normalize: bool,
    /// Compare by this level instead of the subject's, which is about to become it.
    pub level: Option<crate::Compatibility>,
    /// Changes of its tags.
    pub tags: TagChanges,
}

/// What a registration leads to.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// To be proposed; none when the subject has the schema already.
    pub change: Option<RegistryChange>,
    /// What it leads to.
    pub answer: Registered,
    /// The schema as it is stored.
    pub schema: Schema,
    /// The schema compiled, for whoever asks what it would break.
    pub compiled: CompiledSchema,
}

/// A candidate's text understood.
pub(super) struct Read {
    pub(super) schema: Schema,
    pub(super) compiled: CompiledSchema,
}

impl Candidate {
    pub(super) fn of(ask: &Ask, config: &Config) -> Result<Self, RegistryError> {
        let positive = |word: &Option<String>| {
            let number = word.as_ref().and_then(|word| word.parse::<i64>().ok());
            number
                .filter(|number| *number > 0)
                .map(u32::try_from)
                .transpose()
                .map_err(|error| RegistryError::Body(format!("number is too large: {error}")))
        };
        Ok(Self {
            kind: ask.schema_type.clone(),
            text: ask.schema.clone(),
            references: ask.references.clone(),
            metadata: ask.metadata.clone(),
            rule_set: ask.rule_set.clone(),
            id: positive(&ask.id)?,
            version: positive(&ask.version)?,
            normalize: ask.normalize || config.normalize == Some(true),
            level: None,
            tags: TagChanges::of(ask),
        })
    }

    /// Compiles it. `previous` lends what the candidate does not bring.
    pub(super) fn read(
        &self,
        registry: &Registry,
        compiled: &Compiled,
        name: &Name,
        config: &Config,
        previous: Option<&Schema>,
    ) -> Result<Read, RegistryError> {
        let reuse = self.text.trim().is_empty();
        let (format, text, references) = match previous {
            Some(previous) if reuse => (
                previous.format,
                previous.text.clone(),
                previous.references.clone(),
            ),
            _ => {
                let kind = self.kind.as_deref().unwrap_or("AVRO");
                let invalid = |reason: &str| RegistryError::InvalidSchema {
                    kind: kind.to_owned(),
                    reason: reason.to_owned(),
                };
                let format: Format = kind
                    .parse()
                    .map_err(|_| invalid("there is no such type; use AVRO, JSON or PROTOBUF"))?;
                if reuse {
                    return Err(invalid("Empty schema"));
                }
                let references = self.resolved(registry, name)?;
                (format, self.text.clone(), references)
            }
        };
        let texts = registry.references(name, &references)?;
        let lent = self.tags.lent(registry, compiled, name, previous)?;
        let text = self.tags.text(format, text, lent)?;
        let schema = compiled.schema(format, &text, &texts)?;
        let text = match &schema {
            _ if self.normalize => schema.normalized(),
            // Serializers register the compiled file; people want to read it.
            CompiledSchema::Protobuf(_) if ProtobufSchema::is_serialized(&text) => {
                schema.canonical()
            }
            _ => text,
        };
        // JSON texts are compared as releases before this one did: ids they gave must be found again.
        let key = match format {
            Format::Json => canonical(&text).unwrap_or_else(|_| schema.canonical()),
            _ if self.normalize => text.clone(),
            _ => schema.canonical(),
        };
        let metadata = self.metadata(format, config, previous);
        let same = |previous: &Schema| {
            previous.format == format
                && previous.canonical() == key
                && previous.references == references
        };
        let lender = previous.filter(|_| self.rule_set.is_none());
        let lent = lender.and_then(|previous| {
            let rules = previous.rule_set.as_ref()?;
            if same(previous) {
                Some(rules.clone())
            } else {
                rules.lent()
            }
        });
        let rules = self.rule_set.as_ref().or(lent.as_ref());
        let rules = RuleSet::merged(config.default_rule_set.as_ref(), rules);
        let rules = RuleSet::merged(rules.as_ref(), config.override_rule_set.as_ref());
        if let Some(rules) = &rules {
            rules.check()?;
        }
        Ok(Read {
            schema: Schema::new(format, text, key, references, metadata, rules),
            compiled: schema,
        })
    }

    /// Its metadata, or what the version before lends, with what the settings say.
    fn metadata(
        &self,
        format: Format,
        config: &Config,
        previous: Option<&Schema>,
    ) -> Option<Metadata> {
        let before = previous.and_then(|previous| previous.metadata.as_ref());
        let own = self.metadata.as_ref().or(before);
        let merged = Metadata::merged(config.default_metadata.as_ref(), own);
        let merged = Metadata::merged(merged.as_ref(), config.override_metadata.as_ref());
        self.tags.metadata(format, merged, before)
    }

    /// References with numbers for `latest`.
    fn resolved(
        &self,
        registry: &Registry,
        name: &Name,
    ) -> Result<Vec<SchemaReference>, RegistryError> {
        let one = |reference: &SchemaReference| {
            let mut reference = reference.clone();
            if reference.version == -1 {
                let target = name.beside(&reference.subject);
                if let Ok(found) = registry.one(&target, "latest", false) {
                    reference.version = i64::from(found.version);
                }
            }
            if reference.version == 0 || reference.version < -1 {
                let word = reference.version.to_string();
                return Err(RegistryError::InvalidVersion(word));
            }
            Ok(reference)
        };
        self.references.iter().map(one).collect()
    }
}

/// The version of a subject that a schema is already, the newest first. With `normalize` the stored texts count as they
/// would be if they were normalised, too.
fn known<'a>(
    registry: &'a Registry,
    compiled: &Compiled,
    name: &Name,
    read: &Read,
    (normalize, deleted): (bool, bool),
) -> Option<Found<'a>> {
    let (context, subject) = registry.find(name)?;
    let wanted = &read.schema;
    let same = |schema: &Schema| {
        if schema.guid == wanted.guid {
            return true;
        }
        if !normalize || schema.format != wanted.format || schema.references != wanted.references {
            return false;
        }
        let texts = registry.references(name, &schema.references);
        let schema_compiled =
            texts.and_then(|texts| compiled.schema(schema.format, &schema.text, &texts));
        schema_compiled.is_ok_and(|found| {
            found.normalized() == wanted.text
                && schema.metadata == wanted.metadata
                && schema.rule_set == wanted.rule_set
        })
    };
    newest(context, subject, deleted).find(|found| same(found.schema))
}

fn newest<'a>(
    context: &'a Context,
    subject: &'a Subject,
    deleted: bool,
) -> impl Iterator<Item = Found<'a>> {
    let versions = subject.versions.iter().rev();
    versions
        .filter(move |(_, entry)| deleted || !entry.deleted)
        .filter_map(|(version, entry)| {
            Some(Found {
                version: *version,
                entry: *entry,
                schema: context.schemas.get(&entry.id)?,
            })
        })
}

fn latest<'a>(registry: &'a Registry, name: &Name) -> Option<Found<'a>> {
    registry.one(name, "latest", false).ok()
}

/// Checks a registration: the name, the text, what it refers to, whether the mode allows it, whether the subject has it, and
/// whether it gets along with the versions there are.
///
/// # Errors
/// Why it is refused.
pub fn prepare_register(
    registry: &Registry,
    compiled: &Compiled,
    time: i64,
    name: &Name,
    candidate: &Candidate,
) -> Result<Prepared, RegistryError> {
    name.check()?;
    let mut config = registry.effective_config(&name.context, &name.subject);
    config.compatibility = candidate.level.or(config.compatibility);
    let previous = latest(registry, name);
    let previous = previous.map(|found| found.schema);
    let read = candidate.read(registry, compiled, name, &config, previous)?;
    let filter = (candidate.normalize, false);
    if let Some(found) = known(registry, compiled, name, &read, filter)
        && candidate.id.is_none_or(|id| id == found.entry.id)
    {
        return Ok(Prepared {
            change: None,
            answer: Registered {
                id: found.entry.id,
                version: found.version,
                created: false,
            },
            schema: found.schema.clone(),
            compiled: read.compiled,
        });
    }
    let mode = permitted(registry, name, candidate)?;
    let importing = matches!(mode, Mode::Import | Mode::Forward);
    if !importing {
        let messages = incompatibilities(registry, compiled, name, &read, &config, None);
        if !messages.is_empty() {
            return Err(RegistryError::Incompatible {
                subject: name.to_string(),
                messages,
            });
        }
    }
    let (id, version) = numbers(registry, name, candidate, &read.schema, importing)?;
    let change = RegistryChange::Register {
        context: name.context.clone(),
        subject: name.subject.clone(),
        version,
        id,
        time,
        schema: Box::new(read.schema.clone()),
    };
    Ok(Prepared {
        change: Some(change),
        answer: Registered {
            id,
            version,
            created: true,
        },
        schema: read.schema,
        compiled: read.compiled,
    })
}

fn permitted(
    registry: &Registry,
    name: &Name,
    candidate: &Candidate,
) -> Result<Mode, RegistryError> {
    let mode = registry.effective_mode(&name.context, &name.subject);
    let wrong = match mode {
        Mode::Readonly | Mode::ReadonlyOverride => "is in read-only mode",
        Mode::Readwrite if candidate.id.is_some() => "is not in import mode",
        Mode::Import | Mode::Forward if candidate.id.is_none() => "is not in read-write mode",
        _ => return Ok(mode),
    };
    Err(RegistryError::NotPermitted(format!(
        "Subject {} in context {} {wrong}",
        name.subject, name.context
    )))
}

/// The id and version a new schema gets.
fn numbers(
    registry: &Registry,
    name: &Name,
    candidate: &Candidate,
    schema: &Schema,
    importing: bool,
) -> Result<(u32, u32), RegistryError> {
    let full = || RegistryError::NotPermitted("there are no free schema ids left".to_owned());
    let context = registry.contexts.get(&name.context);
    let subject = context.and_then(|context| context.subjects.get(&name.subject));
    let given = context.and_then(|context| context.numbers.get(&schema.guid).copied());
    let next = context.map_or(0, Context::last_id).checked_add(1);
    let id = match (candidate.id, given) {
        (Some(wants), Some(has)) if has != wants => {
            return Err(RegistryError::IdDoesNotMatch { has, wants });
        }
        (Some(id), None) if context.is_some_and(|context| context.schemas.contains_key(&id)) => {
            return Err(RegistryError::NotPermitted(format!(
                "Overwrite new schema with id {id} is not permitted."
            )));
        }
        (Some(id), _) | (None, Some(id)) => id,
        (None, None) => next.filter(|id| *id <= 0x7fff_ffff).ok_or_else(full)?,
    };
    let next = subject.map_or(1, Subject::next_version);
    match candidate.version {
        Some(version) if importing => {
            let known = subject.and_then(|subject| subject.versions.get(&version));
            if known.is_some_and(|known| known.id != id) {
                return Err(RegistryError::NotPermitted(format!(
                    "Overwrite version {version} of subject {name} is not permitted."
                )));
            }
            Ok((id, version))
        }
        Some(version) if version != next => Err(RegistryError::InvalidSchema {
            kind: schema.format.as_str().to_ascii_uppercase(),
            reason: format!("Version is not one more than previous version; it would be {next}"),
        }),
        _ => Ok((id, next)),
    }
}

pub(super) fn register(
    registry: &Registry,
    compiled: &Compiled,
    time: i64,
    name: &Name,
    ask: &Ask,
) -> Result<Planned, RegistryError> {
    let config = registry.effective_config(&name.context, &name.subject);
    let candidate = Candidate::of(ask, &config)?;
    let prepared = prepare_register(registry, compiled, time, name, &candidate)?;
    Ok(registered(prepared, time))
}

/// The interface's answer to a registration.
pub(super) fn registered(prepared: Prepared, time: i64) -> Planned {
    let mut out = json!({ "id": prepared.answer.id, "version": prepared.answer.version });
    with_schema(&mut out, &prepared.schema);
    if prepared.answer.created {
        out["ts"] = time.into();
    }
    Planned {
        changes: prepared.change.into_iter().collect(),
        reply: Reply::Json(out),
    }
}

pub(super) fn lookup(
    registry: &Registry,
    compiled: &Compiled,
    name: &Name,
    ask: &Ask,
) -> Result<Planned, RegistryError> {
    let (context, subject) = registry.stored(name, ask.deleted)?;
    let config = registry.effective_config(&name.context, &name.subject);
    let candidate = Candidate::of(ask, &config)?;
    let previous = newest(context, subject, ask.deleted).next();
    let read = candidate.read(
        registry,
        compiled,
        name,
        &config,
        previous.map(|found| found.schema),
    )?;
    let filter = (candidate.normalize, ask.deleted);
    let found = known(registry, compiled, name, &read, filter).or_else(|| {
        // Who does not tell metadata means any.
        let loose = ask.metadata.is_none() && ask.rule_set.is_none();
        newest(context, subject, ask.deleted).find(|found| {
            loose
                && found.schema.format == read.schema.format
                && found.schema.canonical() == read.schema.canonical()
                && found.schema.references == read.schema.references
        })
    });
    let found = found.ok_or(RegistryError::SchemaNotFound(None))?;
    if let Some(word) = &ask.version
        && let Version::Number(version) = version_word(word)?
        && version != found.version
    {
        return Err(RegistryError::SchemaNotFound(None));
    }
    let shown: Value = found.shown(name);
    Ok(Planned::read(shown))
}
