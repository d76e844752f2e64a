//! The schema registry in the server: requests are worked out against the catalog, and what changes is committed to the log.

mod declared;
mod dependents;

use std::sync::Arc;

use millstream_cluster::{CatalogChange, CatalogCommand, Command, Kind, Outcome, StationEntry};
use millstream_schema_registry::{
    DEFAULT_CONTEXT, Planned, RegistryChange, RegistryError, Reply, Request, plan,
};
use millstream_types::Timestamp;

pub(crate) use self::declared::declared;
use self::dependents::broken;
pub(crate) use self::dependents::readers;
use crate::manage::Manager;

const NANOS_PER_MILLI: i64 = 1_000_000;

impl Manager {
    /// Answers a request to the registry. What changes is in the log, and in force, when this returns.
    ///
    /// # Errors
    /// Why it is refused; nothing has changed then.
    pub(crate) async fn schema_registry(&self, request: Request) -> Result<Reply, RegistryError> {
        if !request.verb.is_heavy() {
            let time = Timestamp::now();
            let catalog = self.node.catalog();
            let planned = plan(&catalog.schemas, &self.schemas, millis(time), &request)?;
            return Ok(planned.reply);
        }
        // What is checked must still hold when it is proposed.
        let _one_at_a_time = self.apply.lock().await;
        let time = Timestamp::now();
        let force = request.ask.force;
        let planned = self.work_out(request, time).await?;
        self.check_deletes(&planned.changes).await?;
        self.check_readers(&planned.changes, force).await?;
        if !planned.changes.is_empty() {
            self.change_schemas(planned.changes, time).await?;
        }
        Ok(planned.reply)
    }

    /// Compiling takes its time: the workers that carry data go on.
    async fn work_out(&self, request: Request, time: Timestamp) -> Result<Planned, RegistryError> {
        let schemas = self.node.catalog().schemas.clone();
        let compiled = Arc::clone(&self.schemas);
        let worked =
            tokio::task::spawn_blocking(move || plan(&schemas, &compiled, millis(time), &request));
        worked
            .await
            .unwrap_or_else(|error| Err(RegistryError::Store(format!("checking failed: {error}"))))
    }

    /// Refuses to take away what a station or sink works with.
    async fn check_deletes(&self, changes: &[RegistryChange]) -> Result<(), RegistryError> {
        let deleted = changes.iter().find_map(|change| match change {
            RegistryChange::DeleteVersions {
                context, subject, ..
            } if context == DEFAULT_CONTEXT => Some(subject.clone()),
            _ => None,
        });
        let Some(subject) = deleted else {
            return Ok(());
        };
        let mut catalog = self.node.catalog().clone();
        let users = catalog.users_of(Kind::Schema, &subject);
        if users.is_empty() {
            return Ok(());
        }
        for change in changes {
            catalog.schemas.apply(change.clone());
        }
        if !catalog.schemas.contains(&subject) {
            return Err(in_use(&subject, &users.join(", ")));
        }
        let compiler = Arc::clone(&self.compiler);
        let blobs = self.blobs.clone();
        let compiled = tokio::task::spawn_blocking(move || {
            let modules = |name: &str| blobs.get(name);
            let uses = |entry: &&StationEntry| entry.spec.schemas().any(|(_, own)| own == subject);
            for entry in catalog.stations.values().filter(uses) {
                if let Err(problem) = compiler.plan(&catalog, entry, &modules) {
                    let user = format!("station `{}` ({})", entry.spec.name, problem.message);
                    return Err(in_use(&subject, &user));
                }
            }
            Ok(())
        });
        compiled
            .await
            .unwrap_or_else(|error| Err(RegistryError::Store(format!("checking failed: {error}"))))
    }

    /// Refuses a version whose migrations cannot be run, or that somebody who reads the subject could not work with; with `force` it is only logged.
    async fn check_readers(
        &self,
        changes: &[RegistryChange],
        force: bool,
    ) -> Result<(), RegistryError> {
        let registered = changes.iter().find_map(|change| match change {
            RegistryChange::Register {
                context, subject, ..
            } if context == DEFAULT_CONTEXT => Some(subject.clone()),
            _ => None,
        });
        let Some(subject) = registered else {
            return Ok(());
        };
        let mut catalog = self.node.catalog().clone();
        for change in changes {
            catalog.schemas.apply(change.clone());
        }
        let compiler = Arc::clone(&self.compiler);
        let (blobs, name) = (self.blobs.clone(), subject.clone());
        let broken = tokio::task::spawn_blocking(move || {
            let modules = |digest: &str| blobs.get(digest);
            let migrations = compiler.shelf().migrations_of(&catalog, &name, &modules);
            migrations.map_err(RegistryError::RuleSet)?;
            Ok(broken(&compiler, &catalog, &name, &modules))
        });
        let messages = broken.await.unwrap_or_else(|error| {
            Err(RegistryError::Store(format!("checking failed: {error}")))
        })?;
        if messages.is_empty() {
            return Ok(());
        }
        if force {
            for message in &messages {
                tracing::warn!(target: "nats", "a version of schema `{subject}` is registered by force: {message}");
            }
            return Ok(());
        }
        Err(RegistryError::Dependents { subject, messages })
    }

    async fn change_schemas(
        &self,
        changes: Vec<RegistryChange>,
        time: Timestamp,
    ) -> Result<(), RegistryError> {
        let store = |reason: String| RegistryError::Store(reason);
        let jetstream = self
            .jetstream
            .as_ref()
            .ok_or_else(|| store("JetStream is off; start the server with `-js`".to_owned()))?;
        let changes = changes
            .into_iter()
            .map(|registry| CatalogChange::Registry { registry });
        let command = CatalogCommand {
            time: time.0,
            changes: changes.collect(),
        };
        let outcome = jetstream.propose(&Command::Catalog(command)).await;
        match outcome {
            Ok(Outcome::Refused(error)) | Err(error) => return Err(store(error.to_string())),
            Ok(_) => {}
        }
        let own = jetstream.clone();
        let swapped = tokio::task::spawn_blocking(move || own.refresh_plans()).await;
        if let Err(error) = swapped {
            tracing::error!(target: "nats", "plans were not swapped: {error}");
        }
        if let Some(flows) = &self.flows {
            flows.sync().await;
        }
        Ok(())
    }
}

fn in_use(subject: &str, users: &str) -> RegistryError {
    RegistryError::NotPermitted(format!(
        "Subject {subject} is used by {users}; change or delete those first"
    ))
}

/// The registry tells time in milliseconds.
pub(crate) fn millis(time: Timestamp) -> i64 {
    time.0 / NANOS_PER_MILLI
}
