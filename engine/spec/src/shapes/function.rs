//! `kind: function`.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{ValueType, text};

/// A WASM function to load.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FunctionSpec {
    /// How stations refer to it.
    pub name: String,
    /// Attachment with the component or core module, a path relative to the station file.
    pub component: String,
    /// Handed to the function's `configure`.
    #[serde(default)]
    pub config: BTreeMap<String, String>,
    /// Bounds on what a call may use.
    #[serde(default)]
    pub limits: FunctionLimits,
    /// Which schema it was written for, as `subject:version`: a version that it could not read is not registered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reads: Option<String>,
    /// Columns it adds to a record, in the order written, so that SQL after it can be type-checked.
    #[serde(default)]
    pub adds: Vec<AddedColumn>,
    /// How SQL calls it; absent: it cannot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sql: Option<SqlCall>,
    /// The key-value bucket that it keeps its state in; absent: it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<StateSpec>,
    /// Stations and key-value buckets that it may read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lookup: Vec<String>,
    /// Hosts that it may ask; `*.example.org` is everything below `example.org`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub http: Vec<String>,
    /// Attachment with its tests, a path relative to the station file: they must pass before it is deployed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tests: Option<String>,
}

impl FunctionSpec {
    /// The bucket that it keeps its state in.
    #[must_use]
    pub fn bucket(&self) -> Option<&str> {
        let state = self.state.as_ref()?;
        Some(state.bucket.as_deref().unwrap_or(&self.name))
    }
}

/// Where a function remembers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StateSpec {
    /// The bucket's name; the function's when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bucket: Option<String>,
    /// How long a key stays that is not written; absent: for ever.
    #[serde(with = "text", skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Duration>,
}

/// Bounds on one function; what is absent takes the server's default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FunctionLimits {
    /// Bytes of linear memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// Time for one batch.
    #[serde(with = "text", skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// Time one batch may wait for other hosts.
    #[serde(with = "text", skip_serializing_if = "Option::is_none")]
    pub wait: Option<Duration>,
    /// Calls to the host for each message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_calls: Option<u64>,
    /// Bytes a batch may return.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_bytes: Option<u64>,
    /// Records a batch may return.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_records: Option<u64>,
    /// Lines a batch may log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_lines: Option<u64>,
}

/// A function as SQL calls it: `name(arguments…)`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SqlCall {
    /// Its arguments, in the order written: each call is a message whose payload is an object of them.
    pub arguments: Vec<AddedColumn>,
    /// What the payload that it answers is.
    pub returns: ValueType,
}

/// A column that is declared, such as those a function adds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddedColumn {
    /// The field's name in the record.
    pub name: String,
    /// What it holds. It may always be null.
    #[serde(rename = "type")]
    pub kind: ValueType,
}
