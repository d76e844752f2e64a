//! Deletes: first hidden, then gone.

use serde_json::Value;

use super::{Planned, context_name, version_word};
use crate::change::RegistryChange;
use crate::name::Name;
use crate::registry::{Registry, Subject};
use crate::request::{Ask, Reply};
use crate::settings::Mode;
use crate::{RegistryError, Version};

fn writable(registry: &Registry, name: &Name) -> Result<(), RegistryError> {
    let mode = registry.effective_mode(&name.context, &name.subject);
    if matches!(mode, Mode::Readonly | Mode::ReadonlyOverride) {
        return Err(RegistryError::NotPermitted(format!(
            "Subject {} in context {} is in read-only mode",
            name.subject, name.context
        )));
    }
    Ok(())
}

/// Whether a live version of another subject, or another version of this one that stays, refers to a version.
fn unused(
    registry: &Registry,
    name: &Name,
    versions: &[u32],
    going: &[u32],
) -> Result<(), RegistryError> {
    for version in versions {
        let used = registry
            .users(name, Some(*version))
            .any(|(home, own, entry)| !entry.deleted && (home != *name || !going.contains(&own)));
        if used {
            return Err(RegistryError::ReferenceExists {
                subject: name.to_string(),
                version: *version,
            });
        }
    }
    Ok(())
}

fn gone(
    registry: &Registry,
    name: &Name,
    versions: Vec<u32>,
    permanent: bool,
) -> Vec<RegistryChange> {
    let subject = registry.find(name).map(|(_, subject)| subject);
    let stays = |own: &Subject| own.live().any(|(version, _)| !versions.contains(&version));
    let empty = subject.is_none_or(|own| !stays(own));
    let unset = subject.is_none_or(Subject::is_unset);
    let mut changes = vec![RegistryChange::DeleteVersions {
        context: name.context.clone(),
        subject: name.subject.clone(),
        versions,
        permanent,
    }];
    // Settings go with the last version.
    if !permanent && empty && !unset {
        changes.push(RegistryChange::Config {
            context: name.context.clone(),
            subject: name.subject.clone(),
            config: None,
        });
        changes.push(RegistryChange::Mode {
            context: name.context.clone(),
            subject: name.subject.clone(),
            mode: None,
        });
    }
    changes
}

pub(super) fn subject(
    registry: &Registry,
    name: &Name,
    ask: &Ask,
) -> Result<Planned, RegistryError> {
    let (_, subject) = registry.stored(name, true)?;
    writable(registry, name)?;
    let live = subject.latest().is_some();
    let versions: Vec<u32> = match (ask.permanent, live) {
        (false, false) => return Err(RegistryError::SubjectSoftDeleted(name.to_string())),
        (true, true) => return Err(RegistryError::SubjectNotSoftDeleted(name.to_string())),
        (false, true) => subject.live().map(|(version, _)| version).collect(),
        (true, false) => subject.versions.keys().copied().collect(),
    };
    unused(registry, name, &versions, &versions)?;
    let reply = Value::from(versions.clone());
    Ok(Planned {
        changes: gone(registry, name, versions, ask.permanent),
        reply: Reply::Json(reply),
    })
}

pub(super) fn version(
    registry: &Registry,
    name: &Name,
    ask: &Ask,
) -> Result<Planned, RegistryError> {
    let word = ask.version.as_deref().unwrap_or_default();
    let asked = version_word(word)?;
    let (_, subject) = registry.stored(name, true)?;
    writable(registry, name)?;
    let latest = || {
        let mut versions = subject.versions.iter();
        let newest = versions.rfind(|(_, entry)| ask.permanent || !entry.deleted);
        newest.map(|(version, _)| *version)
    };
    let number = match asked {
        Version::Number(number) => Some(number),
        Version::Latest => latest(),
    };
    let entry = number.and_then(|number| Some((number, subject.versions.get(&number)?)));
    let (number, entry) = entry.ok_or_else(|| RegistryError::VersionNotFound(word.to_owned()))?;
    match (ask.permanent, entry.deleted) {
        (false, true) => {
            return Err(RegistryError::VersionSoftDeleted(name.to_string(), number));
        }
        (true, false) => {
            return Err(RegistryError::VersionNotSoftDeleted(
                name.to_string(),
                number,
            ));
        }
        _ => {}
    }
    unused(registry, name, &[number], &[number])?;
    Ok(Planned {
        changes: gone(registry, name, vec![number], ask.permanent),
        reply: Reply::Json(number.into()),
    })
}

pub(super) fn context(registry: &Registry, ask: &Ask) -> Result<Planned, RegistryError> {
    let context = context_name(&ask.context);
    let Some(own) = registry.contexts.get(&context) else {
        return Err(RegistryError::SubjectNotFound(format!(":{context}:")));
    };
    if own.subjects.values().any(|own| !own.versions.is_empty()) {
        return Err(RegistryError::ContextNotEmpty(context));
    }
    Ok(Planned {
        changes: vec![RegistryChange::DeleteContext { context }],
        reply: Reply::Done,
    })
}
