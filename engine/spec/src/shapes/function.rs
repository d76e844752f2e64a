//! `kind: function`.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::text;

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

/// A column a function adds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddedColumn {
    /// The field's name in the record.
    pub name: String,
    /// What it holds. It may always be null.
    #[serde(rename = "type")]
    pub kind: ValueType,
}

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ValueType {
    /// `true` or `false`.
    Bool,
    /// 64 bits, signed.
    Int,
    /// 64 bits, floating point.
    Float,
    /// Text.
    String,
    /// An RFC 3339 time.
    Timestamp,
    /// Any JSON value.
    Json,
}
