//! Tags on parts of a schema: a new version with the same text and other metadata.

use super::Planned;
use super::register::{Candidate, prepare_register, registered};
use crate::RegistryError;
use crate::compiled::Compiled;
use crate::data::{Metadata, RuleSet};
use crate::name::Name;
use crate::registry::Registry;
use crate::request::{Ask, EntityTags};

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

pub(super) fn tag(
    registry: &Registry,
    compiled: &Compiled,
    time: i64,
    name: &Name,
    ask: &Ask,
) -> Result<Planned, RegistryError> {
    let word = ask.version.as_deref().unwrap_or("latest");
    let found = registry.one(name, word, false)?;
    let mut metadata = ask
        .metadata
        .clone()
        .or_else(|| found.schema.metadata.clone())
        .unwrap_or_default();
    change(&mut metadata, &ask.tags_to_remove, false);
    change(&mut metadata, &ask.tags_to_add, true);
    let candidate = Candidate {
        kind: Some(found.schema.format.to_string()),
        text: found.schema.text.clone(),
        references: found.schema.references.clone(),
        metadata: Some(metadata),
        rule_set: RuleSet::merged(found.schema.rule_set.as_ref(), ask.rule_set.as_ref()),
        ..Candidate::default()
    };
    let prepared = prepare_register(registry, compiled, time, name, &candidate)?;
    Ok(registered(prepared, time))
}
