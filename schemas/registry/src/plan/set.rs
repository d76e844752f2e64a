//! Levels and modes.

use serde_json::{Map, Value, json};

use super::Planned;
use crate::RegistryError;
use crate::change::RegistryChange;
use crate::name::Name;
use crate::registry::Registry;
use crate::request::{Ask, Reply};
use crate::settings::{Config, Mode};

/// What is set for exactly this name: a subject, a context, or all.
fn own<'a>(registry: &'a Registry, name: &Name) -> (Option<&'a Config>, Option<Mode>) {
    if name.is_global() {
        return (registry.config.as_ref(), registry.mode);
    }
    let context = registry.contexts.get(&name.context);
    if name.subject.is_empty() {
        let config = context.and_then(|context| context.config.as_ref());
        return (config, context.and_then(|context| context.mode));
    }
    let subject = context.and_then(|context| context.subjects.get(&name.subject));
    let config = subject.and_then(|subject| subject.config.as_ref());
    (config, subject.and_then(|subject| subject.mode))
}

/// Whether a name is of the whole registry, which always has a level and a mode.
fn is_top(name: &Name) -> bool {
    name.subject.is_empty() && (name.context == crate::name::DEFAULT_CONTEXT || name.is_global())
}

fn effective(registry: &Registry, name: &Name) -> Config {
    let mut config = registry.effective_config(&name.context, &name.subject);
    config.compatibility.get_or_insert_default();
    config
}

fn valid(name: &Name) -> Result<(), RegistryError> {
    if name.subject.is_empty() {
        return Ok(());
    }
    name.check()
}

fn config_change(name: &Name, config: Option<Config>) -> RegistryChange {
    RegistryChange::Config {
        context: name.context.clone(),
        subject: name.subject.clone(),
        config: config.map(Box::new),
    }
}

fn mode_change(name: &Name, mode: Option<Mode>) -> RegistryChange {
    RegistryChange::Mode {
        context: name.context.clone(),
        subject: name.subject.clone(),
        mode,
    }
}

const SHOWN: &str = "compatibilityLevel";

pub(super) fn config(
    registry: &Registry,
    name: &Name,
    ask: &Ask,
) -> Result<Planned, RegistryError> {
    if ask.default_to_global || is_top(name) {
        return Ok(Planned::read(effective(registry, name).shown(SHOWN)));
    }
    match own(registry, name).0 {
        Some(config) => Ok(Planned::read(config.shown(SHOWN))),
        None => Err(RegistryError::NoSubjectConfig(name.to_string())),
    }
}

pub(super) fn set_config(
    registry: &Registry,
    name: &Name,
    body: &Map<String, Value>,
) -> Result<Planned, RegistryError> {
    valid(name)?;
    let before = own(registry, name).0.cloned().unwrap_or_default();
    let mut update = body.clone();
    update.remove("subject");
    let config = before.updated(&update)?;
    if let Some(alias) = &config.alias
        && name.beside(alias) == *name
    {
        return Err(RegistryError::InvalidSubject(alias.clone()));
    }
    let config = (config != Config::default()).then_some(config);
    Ok(Planned {
        changes: vec![config_change(name, config)],
        reply: Reply::Json(Value::Object(update)),
    })
}

pub(super) fn delete_config(registry: &Registry, name: &Name) -> Result<Planned, RegistryError> {
    let before = own(registry, name).0;
    let shown = match before {
        Some(config) => config.shown(SHOWN),
        None if is_top(name) => effective(registry, name).shown(SHOWN),
        None => return Err(RegistryError::SubjectNotFound(name.to_string())),
    };
    let changes = before.map(|_| config_change(name, None));
    Ok(Planned {
        changes: changes.into_iter().collect(),
        reply: Reply::Json(shown),
    })
}

fn shown(mode: Mode) -> Value {
    json!({ "mode": mode.as_str() })
}

pub(super) fn mode(registry: &Registry, name: &Name, ask: &Ask) -> Result<Planned, RegistryError> {
    if ask.default_to_global || is_top(name) {
        let mode = registry.effective_mode(&name.context, &name.subject);
        return Ok(Planned::read(shown(mode)));
    }
    match own(registry, name).1 {
        Some(mode) => Ok(Planned::read(shown(mode))),
        None => Err(RegistryError::NoSubjectMode(name.to_string())),
    }
}

/// Whether settings of `name` reach a subject.
fn reaches(name: &Name, subject: &Name) -> bool {
    if is_top(name) {
        return true;
    }
    name.context == subject.context && (name.subject.is_empty() || name.subject == subject.subject)
}

pub(super) fn set_mode(
    registry: &Registry,
    name: &Name,
    ask: &Ask,
    body: &Map<String, Value>,
) -> Result<Planned, RegistryError> {
    valid(name)?;
    let mode: Mode = ask.mode.parse()?;
    let mut changes = Vec::new();
    let before = registry.effective_mode(&name.context, &name.subject);
    if mode == Mode::Import && before != Mode::Import && !ask.force {
        let mut inside = registry.all().filter(|(home, ..)| reaches(name, home));
        if inside.any(|(_, _, entry, _)| !entry.deleted) {
            return Err(RegistryError::NotPermitted(
                "Cannot import since found existing subjects".to_owned(),
            ));
        }
        // What is hidden goes, so that an import finds its numbers free.
        let inside = registry.all().filter(|(home, ..)| reaches(name, home));
        for (home, version, ..) in inside {
            changes.push(RegistryChange::DeleteVersions {
                context: home.context,
                subject: home.subject,
                versions: vec![version],
                permanent: true,
            });
        }
    }
    changes.push(mode_change(name, Some(mode)));
    let mut echo = body.clone();
    echo.retain(|key, _| key == "mode");
    Ok(Planned {
        changes,
        reply: Reply::Json(Value::Object(echo)),
    })
}

pub(super) fn delete_mode(
    registry: &Registry,
    name: &Name,
    ask: &Ask,
) -> Result<Planned, RegistryError> {
    let before = own(registry, name).1;
    if before.is_none() && !is_top(name) {
        return Err(RegistryError::SubjectNotFound(name.to_string()));
    }
    let mut changes: Vec<RegistryChange> = before.iter().map(|_| mode_change(name, None)).collect();
    if ask.recursive && name.subject.is_empty() {
        for (context, inside) in &registry.contexts {
            for (subject, own) in &inside.subjects {
                let home = Name {
                    context: context.clone(),
                    subject: subject.clone(),
                };
                if own.mode.is_some() && reaches(name, &home) {
                    changes.push(mode_change(&home, None));
                }
            }
        }
    }
    Ok(Planned {
        changes,
        reply: Reply::Json(shown(before.unwrap_or_default())),
    })
}
