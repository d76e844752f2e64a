//! Tags on parts of a schema: in its text, as Confluent's registry has them, else, where texts are not written anew, in its metadata.

use std::collections::BTreeSet;

use millstream_schema_formats::{Entity, Format, tagged};
use serde_json::{Value, json};

use super::Planned;
use super::register::{Candidate, prepare_register, registered};
use crate::RegistryError;
use crate::compiled::Compiled;
use crate::data::{Metadata, RuleSet};
use crate::name::Name;
use crate::registry::Registry;
use crate::request::{Ask, EntityTags};
use crate::schema::Schema;

/// Changes of a schema's tags.
#[derive(Clone, Debug, Default)]
pub struct TagChanges {
    /// To be added.
    pub add: Vec<EntityTags>,
    /// To be taken away.
    pub remove: Vec<EntityTags>,
    /// Whether the version before lends its own.
    pub propagate: bool,
}

impl TagChanges {
    pub(super) fn of(ask: &Ask) -> Self {
        Self {
            add: ask.tags_to_add.clone(),
            remove: ask.tags_to_remove.clone(),
            propagate: ask.propagate_schema_tags,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.add.is_empty() && self.remove.is_empty() && !self.propagate
    }

    /// The tags that the version before lends.
    ///
    /// # Errors
    /// When that one cannot be compiled any more.
    pub(super) fn lent(
        &self,
        registry: &Registry,
        compiled: &Compiled,
        name: &Name,
        previous: Option<&Schema>,
    ) -> Result<Vec<(Entity, BTreeSet<String>)>, RegistryError> {
        let Some(previous) = previous.filter(|_| self.propagate) else {
            return Ok(Vec::new());
        };
        let references = registry.references(name, &previous.references)?;
        let schema = compiled.schema(previous.format, &previous.text, &references)?;
        Ok(schema.tags(&previous.text))
    }

    /// The text with these tags; those that are lent only where there is such a part.
    ///
    /// # Errors
    /// When there is no such part.
    pub(super) fn text(
        &self,
        format: Format,
        text: String,
        lent: Vec<(Entity, BTreeSet<String>)>,
    ) -> Result<String, RegistryError> {
        let mut text = text;
        if format == Format::Protobuf {
            return Ok(text);
        }
        for (entity, tags) in lent {
            let tags: Vec<String> = tags.into_iter().collect();
            text = tagged(format, &text, &entity, &tags, true).unwrap_or(text);
        }
        let changes = self.remove.iter().map(|one| (one, false));
        for (one, add) in changes.chain(self.add.iter().map(|one| (one, true))) {
            let entity = Entity {
                path: one.schema_entity.entity_path.clone(),
                is_field: one
                    .schema_entity
                    .entity_type
                    .eq_ignore_ascii_case("sr_field"),
            };
            let new = tagged(format, &text, &entity, &one.tags, add);
            text = new.ok_or_else(|| RegistryError::InvalidSchema {
                kind: format.as_str().to_ascii_uppercase(),
                reason: format!(
                    "it has no {} `{}` to tag",
                    if entity.is_field { "field" } else { "record" },
                    entity.path
                ),
            })?;
        }
        Ok(text)
    }

    /// The metadata with these tags, for a format whose texts have none.
    pub(super) fn metadata(
        &self,
        format: Format,
        metadata: Option<Metadata>,
        previous: Option<&Metadata>,
    ) -> Option<Metadata> {
        if format != Format::Protobuf || self.is_empty() {
            return metadata;
        }
        let mut metadata = metadata.unwrap_or_default();
        if let Some(previous) = previous.filter(|_| self.propagate) {
            for (path, tags) in &previous.tags {
                let own = metadata.tags.entry(path.clone()).or_default();
                own.extend(tags.iter().cloned());
            }
        }
        change(&mut metadata, &self.remove, false);
        change(&mut metadata, &self.add, true);
        Some(metadata)
    }
}

fn change(metadata: &mut Metadata, entities: &[EntityTags], add: bool) {
    for entity in entities {
        let path = &entity.schema_entity.entity_path;
        let tags = metadata.tags.entry(path.clone()).or_default();
        for tag in &entity.tags {
            if add {
                tags.insert(tag.clone());
            } else {
                tags.remove(tag);
            }
        }
    }
    metadata.tags.retain(|_, tags| !tags.is_empty());
}

/// What `findTags` shows.
pub(super) fn shown(
    registry: &Registry,
    compiled: &Compiled,
    home: &Name,
    schema: &Schema,
) -> Result<Value, RegistryError> {
    let texts = registry.references(home, &schema.references)?;
    let found = compiled.schema(schema.format, &schema.text, &texts)?;
    let tags = found.tags(&schema.text).into_iter().map(|(entity, tags)| {
        let kind = if entity.is_field {
            "sr_field"
        } else {
            "sr_record"
        };
        json!({ "schemaEntity": { "entityPath": entity.path, "entityType": kind }, "tags": tags })
    });
    Ok(tags.collect())
}

pub(super) fn tag(
    registry: &Registry,
    compiled: &Compiled,
    time: i64,
    name: &Name,
    ask: &Ask,
) -> Result<Planned, RegistryError> {
    let word = ask.version.as_deref().unwrap_or("latest");
    let found = registry.one(name, word, false)?;
    let metadata = ask.metadata.clone();
    let candidate = Candidate {
        kind: Some(found.schema.format.to_string()),
        text: found.schema.text.clone(),
        references: found.schema.references.clone(),
        metadata: metadata.or_else(|| found.schema.metadata.clone()),
        rule_set: RuleSet::merged(found.schema.rule_set.as_ref(), ask.rule_set.as_ref()),
        tags: TagChanges::of(ask),
        ..Candidate::default()
    };
    let prepared = prepare_register(registry, compiled, time, name, &candidate)?;
    Ok(registered(prepared, time))
}
