//! `kind: flow`.

use millstream_types::{SubjectTemplate, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Late, QuerySpec, RunningSpec, StageSpec};

/// Reads stations' stored messages and writes what they become into other stations: one station through stages, or what a
/// query names through that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlowSpec {
    /// Its name; its position is kept under it.
    pub name: String,
    /// The station or stream it reads; empty with `query`, which says itself what it reads.
    #[serde(default, skip_serializing_if = "String::is_empty")]
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
    /// The query that never ends, instead of `from`, `filter`, `to`, `subject`, `stages` and `running`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<QuerySpec>,
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

    /// A flow that is a query, from the beginning.
    #[must_use]
    pub fn of_query(name: &str, query: QuerySpec) -> Self {
        Self {
            name: name.to_owned(),
            from: String::new(),
            filter: None,
            start: FlowStart::Beginning,
            to: None,
            subject: None,
            stages: Vec::new(),
            running: RunningSpec::default(),
            paused: false,
            query: Some(query),
        }
    }

    /// The stations and streams that it names: what it reads, as far as it says that outside of a statement, and what it
    /// writes.
    pub fn stations(&self) -> impl Iterator<Item = &str> {
        let named = |name: &'_ String| !name.is_empty();
        let query = self.query.iter().flat_map(|query| {
            let late = match &query.late {
                Late::SideOutput(station) => Some(station),
                Late::Drop | Late::UpdateWithin(_) => None,
            };
            let sources = query.sources.iter();
            let sources = sources.map(|(name, source)| source.station.as_ref().unwrap_or(name));
            sources.chain([&query.into]).chain(late)
        });
        let own = [Some(&self.from), self.to.as_ref()];
        let own = own.into_iter().flatten().filter(move |name| named(name));
        own.chain(query).map(String::as_str)
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
