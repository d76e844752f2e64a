//! `kind: source` and `kind: sink`.

use serde::{Deserialize, Serialize};

use super::SchemaFormat;

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
    /// In which format records are handed over: `json` whatever is stored, or that of `read_as`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decode: Option<SchemaFormat>,
    /// As which schema records are handed over: `subject` or `subject:version`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_as: Option<String>,
    /// The connector's options.
    #[serde(default)]
    pub config: ConnectorConfig,
}

impl SinkSpec {
    /// The registry subject that it reads by, without the version.
    #[must_use]
    pub fn schema(&self) -> Option<&str> {
        let text = self.read_as.as_deref()?;
        Some(text.rsplit_once(':').map_or(text, |(subject, _)| subject))
    }
}
