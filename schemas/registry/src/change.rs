//! How the state changes: what was decided is carried whole, nothing is looked up or compiled again.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::name::{GLOBAL_CONTEXT, Name};
use crate::registry::{Registry, Subject, VersionEntry};
use crate::schema::Schema;
use crate::settings::{Config, Mode};

/// One change, checked before it was proposed. Applying it never fails: what does not fit the state any more, on a log that
/// was tampered with, changes nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum RegistryChange {
    /// A version of a subject.
    Register {
        /// The context, `.` is the default.
        context: String,
        /// The subject in it.
        subject: String,
        /// Its version, from 1.
        version: u32,
        /// The schema's id in its context.
        id: u32,
        /// When, milliseconds since 1970.
        time: i64,
        /// The schema; what is known under the id stays as it is.
        schema: Box<Schema>,
    },
    /// Versions of a subject go.
    DeleteVersions {
        /// The context.
        context: String,
        /// The subject in it.
        subject: String,
        /// Which.
        versions: Vec<u32>,
        /// For good; otherwise they are only hidden.
        permanent: bool,
    },
    /// What is set for a subject, a context (the subject is empty), or all (context `.__GLOBAL`).
    Config {
        /// The context.
        context: String,
        /// The subject in it, or nothing.
        subject: String,
        /// Everything that is set from now on.
        config: Option<Box<Config>>,
    },
    /// As `Config`, for the mode.
    Mode {
        /// The context.
        context: String,
        /// The subject in it, or nothing.
        subject: String,
        /// The mode; none is that of what is above.
        mode: Option<Mode>,
    },
    /// A context without subjects goes.
    DeleteContext {
        /// Which.
        context: String,
    },
}

impl Registry {
    /// Applies a change. Deterministic: the same changes in the same order give the same state, on every machine.
    pub fn apply(&mut self, change: RegistryChange) {
        match change {
            RegistryChange::Register {
                context,
                subject,
                version,
                id,
                time,
                schema,
            } => {
                let context = self.context_mut(&context);
                context.numbers.entry(schema.guid.clone()).or_insert(id);
                context
                    .schemas
                    .entry(id)
                    .or_insert_with(|| Arc::new(*schema));
                let entry = VersionEntry {
                    id,
                    deleted: false,
                    time,
                };
                let subject = context.subjects.entry(subject).or_default();
                subject.versions.insert(version, entry);
            }
            RegistryChange::DeleteVersions {
                context,
                subject,
                versions,
                permanent,
            } => self.delete_versions(&context, &subject, &versions, permanent),
            RegistryChange::Config {
                context,
                subject,
                config,
            } => {
                let config = config.map(|config| *config);
                self.set(&Name { context, subject }, |(own, _)| *own = config);
            }
            RegistryChange::Mode {
                context,
                subject,
                mode,
            } => self.set(&Name { context, subject }, |(_, own)| *own = mode),
            RegistryChange::DeleteContext { context } => {
                let empty = |known: &&crate::registry::Context| {
                    known.subjects.values().all(|own| own.versions.is_empty())
                };
                if self.contexts.get(&context).filter(empty).is_some() {
                    self.contexts.remove(&context);
                }
            }
        }
    }

    fn delete_versions(&mut self, context: &str, name: &str, versions: &[u32], permanent: bool) {
        let Some(context) = self.contexts.get_mut(context) else {
            return;
        };
        let Some(subject) = context.subjects.get_mut(name) else {
            return;
        };
        for version in versions {
            if permanent {
                subject.versions.remove(version);
            } else if let Some(entry) = subject.versions.get_mut(version) {
                entry.deleted = true;
            }
        }
        if subject.versions.is_empty() && subject.is_unset() {
            context.subjects.remove(name);
        }
    }

    fn set(&mut self, name: &Name, change: impl FnOnce((&mut Option<Config>, &mut Option<Mode>))) {
        if name.context == GLOBAL_CONTEXT {
            return change((&mut self.config, &mut self.mode));
        }
        let context = self.context_mut(&name.context);
        if name.subject.is_empty() {
            return change((&mut context.config, &mut context.mode));
        }
        let subject = context.subjects.entry(name.subject.clone()).or_default();
        change((&mut subject.config, &mut subject.mode));
        if *subject == Subject::default() {
            context.subjects.remove(&name.subject);
        }
    }
}
