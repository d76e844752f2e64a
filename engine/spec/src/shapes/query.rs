//! The specification of a flow that is declared as SQL: a query that never ends.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::text;

/// A continuous query: what it reads, how it treats time, and where its results go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuerySpec {
    /// One `SELECT`; its tables are stations, or names among `sources`.
    pub sql: String,
    /// The station or stream that gets the results.
    pub into: String,
    /// The subject of a result, with columns of it in braces: `delays.{carrier}`. Absent: the one subject of `into`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// What is to be known of tables, by the name that the query gives them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sources: BTreeMap<String, QuerySource>,
    /// When results come. Absent: on window close where the query has windows, on update otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub emit: Option<Emit>,
    /// What becomes of messages that come behind the end of their window.
    #[serde(default, skip_serializing_if = "Late::is_default")]
    pub late: Late,
    /// How results that change are written. Absent: as upserts when `subject` names columns, as a changelog otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub results: Option<Results>,
    /// State that no message has touched for so long is forgotten, where no window ends it. Absent: never.
    #[serde(default, with = "text", skip_serializing_if = "Option::is_none")]
    pub state_ttl: Option<Duration>,
    /// Bytes of state that it may have, in memory and on local disk. Absent: 16 GiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state_limit: Option<u64>,
    /// Bytes of it that may be in memory. Absent: 256 MiB where the rest can go to local disk, else 1 GiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_limit: Option<u64>,
}

/// What a query is told of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuerySource {
    /// The station or stream that it is; absent: the one of the same name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub station: Option<String>,
    /// The column that says when something happened; `_time` is when the message was stored. Absent: the column that the
    /// query's windows name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_time: Option<String>,
    /// How far messages may be out of order. Absent: 5 s.
    #[serde(default, with = "text", skip_serializing_if = "Option::is_none")]
    pub watermark: Option<Duration>,
    /// A source without messages for so long does not hold up the others. Absent: 30 s.
    #[serde(default, with = "text", skip_serializing_if = "Option::is_none")]
    pub idle: Option<Duration>,
    /// Its columns and their types; absent: those of its schema.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub columns: BTreeMap<String, String>,
    /// Whether each subject has one row, its last message, which a message with `KV-Operation: DEL` or `PURGE` or without
    /// payload takes away: a bucket or a compacted station. It is read to its end before the streams of the query.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub table: bool,
    /// Only messages on subjects that match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
}

/// When a query tells results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Emit {
    /// Once, when no more messages belong to their window.
    WindowClose,
    /// Whenever they change.
    Update,
}

/// What becomes of a message that comes behind the end of its window. `"drop"`, `{"side_output": "late"}` or
/// `{"update_within": "1h"}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Late {
    /// It is counted and dropped.
    #[default]
    Drop,
    /// It is stored in this station or stream.
    SideOutput(String),
    /// It changes the result while its window ended no longer ago than this; later it is dropped.
    UpdateWithin(#[serde(with = "within")] Duration),
}

impl Late {
    fn is_default(&self) -> bool {
        *self == Self::Drop
    }
}

/// How results that change are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Results {
    /// The last message of a subject is its result; one with `KV-Operation: DEL` and without payload takes it away.
    Upsert,
    /// Each change is a message: `{"op": "insert" | "update" | "delete", "before": …, "after": …}`.
    Changelog,
}

/// A duration that must be there.
mod within {
    use std::time::Duration;

    use serde::de::Error;
    use serde::{Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &Duration, to: S) -> Result<S::Ok, S::Error> {
        super::text::serialize(&Some(*value), to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        let value = super::text::deserialize(from)?;
        value.ok_or_else(|| D::Error::custom("a duration like `1h` is expected"))
    }
}
