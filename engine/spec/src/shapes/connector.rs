//! `kind: source` and `kind: sink`.

use serde::{Deserialize, Serialize};

/// A connector's own options, checked by the connector. May hold secrets.
pub type ConnectorConfig = serde_json::Map<String, serde_json::Value>;

/// Brings records in; each goes to the station whose subjects match the record's subject.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceSpec {
    /// Its name; its position is kept under it.
    pub name: String,
    /// Which connector: `file`, `http` …
    pub connector: String,
    /// The connector's options.
    #[serde(default)]
    pub config: ConnectorConfig,
}

/// Takes a station's records out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SinkSpec {
    /// Its name; its cursor is kept under it.
    pub name: String,
    /// Which connector: `file`, `http` …
    pub connector: String,
    /// Where the records come from.
    pub station: String,
    /// The connector's options.
    #[serde(default)]
    pub config: ConnectorConfig,
}
