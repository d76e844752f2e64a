//! The connectors a server offers, by kind and name.

use std::sync::Arc;

use millstream_connector_api::{BuildError, Config, Connector, Kind, Problem};
use millstream_types::nearest;

/// Connectors by kind and name. The server fills it with what its features brought in.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    connectors: Vec<Arc<dyn Connector>>,
}

impl Catalog {
    /// A catalog of these connectors.
    #[must_use]
    pub fn new(connectors: Vec<Arc<dyn Connector>>) -> Self {
        Self { connectors }
    }

    /// All of them, in the order given.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<dyn Connector>> {
        self.connectors.iter()
    }

    /// One of them.
    #[must_use]
    pub fn find(&self, kind: Kind, name: &str) -> Option<Arc<dyn Connector>> {
        self.connectors
            .iter()
            .find(|connector| connector.kind() == kind && connector.name() == name)
            .cloned()
    }

    /// The names of one kind.
    pub fn names(&self, kind: Kind) -> impl Iterator<Item = &'static str> {
        self.connectors
            .iter()
            .filter(move |connector| connector.kind() == kind)
            .map(|connector| connector.name())
    }

    /// Finds the connector and checks the configuration. A problem about the name itself has option `connector`.
    ///
    /// # Errors
    /// An unknown name, or everything wrong with the configuration.
    pub fn validate(
        &self,
        kind: Kind,
        name: &str,
        config: &Config,
    ) -> Result<Arc<dyn Connector>, Vec<Problem>> {
        let Some(connector) = self.find(kind, name) else {
            let hint = match nearest(name, self.names(kind)) {
                Some(near) => format!("did you mean `{near}`?"),
                None => {
                    let names: Vec<String> =
                        self.names(kind).map(|name| format!("`{name}`")).collect();
                    format!("this server has {}", names.join(", "))
                }
            };
            return Err(vec![Problem::new(
                "connector",
                format!("there is no {kind} connector `{name}`"),
                hint,
            )]);
        };
        connector.validate(config)?;
        Ok(connector)
    }
}

/// The common way from a failed check to an error.
pub(crate) fn checked(
    connector: &Arc<dyn Connector>,
    config: &Config,
    wanted: Kind,
) -> Result<(), BuildError> {
    if connector.kind() != wanted {
        return Err(BuildError::WrongKind {
            connector: connector.name(),
            wanted,
        });
    }
    connector
        .validate(config)
        .map_err(|problems| BuildError::Invalid {
            connector: connector.name(),
            problems,
        })
}
