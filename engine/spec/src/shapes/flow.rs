//! `kind: flow`.

use millstream_types::{SubjectTemplate, Timestamp};
use serde::{Deserialize, Serialize};

use super::{RunningSpec, StageSpec};

/// Reads a station's stored messages, runs them through stages and writes what they become into other stations.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlowSpec {
    /// Its name; its position is kept under it.
    pub name: String,
    /// The station or stream it reads.
    pub from: String,
    /// Only messages on subjects that match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// Where it begins when it is new.
    #[serde(default)]
    pub start: FlowStart,
    /// The station or stream that gets what keeps its subject.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// The subject that it gets there, a [`SubjectTemplate`]; absent: the one it has. Only with `to`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Applied in this order.
    #[serde(default)]
    pub stages: Vec<StageSpec>,
    /// In which order, by how many threads and how often they are run.
    #[serde(default, skip_serializing_if = "RunningSpec::is_default")]
    pub running: RunningSpec,
    /// Whether it stands still.
    #[serde(default)]
    pub paused: bool,
}

impl FlowSpec {
    /// The filter, which is `>` when there is none.
    #[must_use]
    pub fn filter(&self) -> &str {
        self.filter.as_deref().unwrap_or(">")
    }

    /// The template of subjects in `to`; `None` without one.
    ///
    /// # Errors
    /// What is wrong with it. One that was read from a file is right.
    pub fn template(&self) -> Result<Option<SubjectTemplate>, String> {
        let parse = |text: &String| SubjectTemplate::parse(text, self.filter());
        self.subject.as_ref().map(parse).transpose()
    }

    /// The functions that its stages name.
    pub fn functions(&self) -> impl Iterator<Item = &str> {
        self.stages.iter().filter_map(|stage| match stage {
            StageSpec::Function(name) => Some(name.as_str()),
            StageSpec::Sql(_) => None,
        })
    }
}

/// Where a flow begins: `"beginning"`, `"end"`, `{"sequence": 7}` or `{"time": "2026-01-01T00:00:00Z"}` in JSON.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FlowStart {
    /// With the oldest message that is stored.
    #[default]
    Beginning,
    /// Behind the newest one.
    End,
    /// With this sequence.
    Sequence(u64),
    /// With the first message stored at this time or later.
    #[serde(with = "time_text")]
    Time(Timestamp),
}

/// Times as RFC 3339.
mod time_text {
    use millstream_types::Timestamp;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(time: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&time.to_rfc3339())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Timestamp, D::Error> {
        let text = String::deserialize(from)?;
        Timestamp::parse_rfc3339(&text).ok_or_else(|| {
            D::Error::custom(format!(
                "`{text}` is no time; write it like 2026-01-01T00:00:00Z"
            ))
        })
    }
}
