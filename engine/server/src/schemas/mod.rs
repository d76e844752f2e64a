//! The schema registry in the server: requests are worked out against the catalog, and what changes is committed to the log.

mod declared;

use std::sync::Arc;

use millstream_cluster::{CatalogChange, CatalogCommand, Command, Outcome};
use millstream_schema_registry::{Planned, RegistryChange, RegistryError, Reply, Request, plan};
use millstream_types::Timestamp;

pub(crate) use self::declared::declared;
use crate::manage::Manager;

const NANOS_PER_MILLI: i64 = 1_000_000;

impl Manager {
    /// Answers a request to the registry. What changes is in the log, and in force, when this returns.
    ///
    /// # Errors
    /// Why it is refused; nothing has changed then, except after [`RegistryError::Timeout`].
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
        let planned = self.work_out(request, time).await?;
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
        Ok(())
    }
}

/// The registry tells time in milliseconds.
pub(crate) fn millis(time: Timestamp) -> i64 {
    time.0 / NANOS_PER_MILLI
}
