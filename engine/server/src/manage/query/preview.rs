//! Queries that never end, looked at: over what is stored and what comes, without a flow. Nothing is stored or published.
//!
//! The answer is JSON lines: `columns`; then `row`, or `change` where results change, the first messages that came `late` or were
//! `rejected`, and `progress`; at last `end`, or an error.

mod run;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use millstream_admin::{Failure, FailureCode, PreviewRequest, QueryRequest, Reply};
use millstream_cluster::{Catalog, FlowStart};
use millstream_jetstream::PreviewSetup;
use millstream_spec::QuerySpec;
use millstream_sql::continuous::previewed;
use millstream_sql::query::on_a_thread;
use millstream_types::{Timestamp, parse_duration};
use serde_json::json;
use tokio::sync::mpsc;

use self::run::Run;
use super::{MAX_TIME, MEMORY, Manager, WAITING, time, unavailable};
use crate::manage::MAX_QUERIES;
use crate::stages::{CompileProblem, Modules, QueryCompiled};

/// How a query is looked at.
pub(in crate::manage) struct Look {
    pub(in crate::manage) compiled: QueryCompiled,
    pub(in crate::manage) start: FlowStart,
    /// Whether it goes on behind what is stored.
    pub(in crate::manage) follow: bool,
    /// Ends it.
    pub(in crate::manage) limit: u64,
    /// Results that are told; the others are counted.
    pub(in crate::manage) told: u64,
    pub(in crate::manage) time: Duration,
    /// Whether subjects of results are told.
    pub(in crate::manage) subjects: bool,
    /// Whether it says on its way how far it is.
    pub(in crate::manage) progress: bool,
}

impl Manager {
    pub(super) async fn preview(
        &self,
        request: QueryRequest,
        asked: PreviewRequest,
    ) -> Result<Reply, Failure> {
        let bad = |error: &'static str, hint: &'static str| {
            Failure::new(FailureCode::BadRequest, error, hint)
        };
        if request.parquet {
            let hint = "ask for JSON lines, or make a flow and ask its station";
            return Err(bad("a preview is no file", hint));
        }
        let start = asked.from.as_deref().map(start_of).transpose()?;
        let follow = asked.follow || start.is_none();
        if request.reads_only && follow {
            let hint = "look at what is stored with `from`, or ask over HTTP";
            return Err(bad("an answer over NATS has an end", hint));
        }
        if asked.limit == Some(0) {
            return Err(bad("`limit` is 0", "leave it out, or let a result through"));
        }
        let look = Look {
            start: start.unwrap_or(FlowStart::End),
            follow,
            limit: asked.limit.unwrap_or(u64::MAX),
            told: u64::MAX,
            time: time(&request, MAX_TIME)?,
            progress: !request.reads_only,
            ..self.read(request.sql).await?
        };
        Ok(Reply::Lines(self.look(look)?))
    }

    /// Reads and compiles what is to be looked at.
    async fn read(&self, text: String) -> Result<Look, Failure> {
        let asked = previewed(&text).map_err(|error| {
            let problem = CompileProblem {
                path: String::new(),
                message: error.message,
                hint: error.hint,
                place: Some((error.line, error.column)),
            };
            wrong(&problem, (1, 1))
        })?;
        let catalog = self.node.catalog().clone();
        let me = self.me.upgrade();
        let me = me.ok_or_else(|| unavailable("server stops".to_owned(), "ask another one"))?;
        let (spec, start) = (asked.spec, asked.start);
        let compiling = move || {
            let modules = |digest: &str| me.compiler.functions().module(digest);
            me.previewed(&catalog, &spec, &modules)
        };
        let compiled = tokio::task::spawn_blocking(compiling).await;
        let compiled = compiled.map_err(|error| {
            let hint = "write it in another way and report it";
            Failure::new(FailureCode::BadRequest, error.to_string(), hint)
        })?;
        compiled.map_err(|problem| wrong(&problem, start))
    }

    /// Compiles a query to be looked at: all that is stored, up to now.
    pub(in crate::manage) fn previewed(
        &self,
        catalog: &Catalog,
        spec: &QuerySpec,
        modules: Modules<'_>,
    ) -> Result<Look, CompileProblem> {
        let mut spec = spec.clone();
        let limit = MEMORY as u64;
        spec.state_limit = Some(spec.state_limit.unwrap_or(limit).min(limit));
        // A station that is still to be made says nothing of subjects.
        if spec.subject.is_none() && !self.is_there(catalog, &spec.into) {
            spec.into.clear();
        }
        let compiled = self.compiler.preview(catalog, &spec, modules)?;
        Ok(Look {
            compiled,
            start: FlowStart::Beginning,
            follow: false,
            limit: u64::MAX,
            told: u64::MAX,
            time: Duration::from_secs(MAX_TIME),
            subjects: spec.subject.is_some(),
            progress: false,
        })
    }

    fn is_there(&self, catalog: &Catalog, name: &str) -> bool {
        catalog.stations.contains_key(name) || self.node.stream(name).is_some()
    }

    /// Begins to look; ends when nobody listens any more.
    pub(in crate::manage) fn look(&self, look: Look) -> Result<mpsc::Receiver<Bytes>, Failure> {
        let turn = Arc::clone(&self.previews).try_acquire_owned();
        let turn = turn.map_err(|_| {
            let error = format!("{MAX_QUERIES} previews run already");
            unavailable(error, "try again when one of them is done")
        })?;
        let setup = PreviewSetup {
            query: Arc::clone(&look.compiled.query),
            sources: look.compiled.sources.clone(),
            start: look.start,
            follow: look.follow,
        };
        let preview = self.jetstream()?.preview(&setup).map_err(|error| {
            Failure::new(FailureCode::NotFound, error, "apply the station first")
        })?;
        let (lines, receiver) = mpsc::channel(WAITING);
        let run = Run::new(look, preview, lines, tokio::runtime::Handle::current());
        let started = on_a_thread(move || {
            // Held until it is done.
            let _turn = turn;
            run.run();
        });
        started.map_err(|error| {
            let error = format!("no thread for the preview: {error}");
            unavailable(error, "try again when there is less to do")
        })?;
        Ok(receiver)
    }
}

/// Where a preview begins.
pub(in crate::manage) fn start_of(text: &str) -> Result<FlowStart, Failure> {
    if text == "beginning" {
        return Ok(FlowStart::Beginning);
    }
    if let Some(sequence) = text.parse::<u64>().ok().filter(|sequence| *sequence > 0) {
        return Ok(FlowStart::Sequence(sequence));
    }
    if let Some(time) = Timestamp::parse_rfc3339(text) {
        return Ok(FlowStart::Time(time));
    }
    let age = parse_duration(text).map_err(|_| {
        let hint = "write `beginning`, 1h, a time like 2026-01-01T00:00:00Z, or a sequence";
        let error = format!("`{text}` is no place to begin");
        Failure::new(FailureCode::BadRequest, error, hint)
    })?;
    let age = i64::try_from(age.as_nanos()).unwrap_or(i64::MAX);
    let time = Timestamp::now().0.saturating_sub(age).max(0);
    Ok(FlowStart::Time(Timestamp(time)))
}

/// What is wrong with a query that begins somewhere in a text, as that of a question.
fn wrong(problem: &CompileProblem, (first, indent): (u32, u32)) -> Failure {
    let hint = problem.hint.clone();
    let hint = hint.unwrap_or_else(|| "mend the query".to_owned());
    let Some((line, column)) = problem.place else {
        return Failure::new(FailureCode::BadRequest, problem.message.clone(), hint);
    };
    let column = if line == 1 {
        column + indent - 1
    } else {
        column
    };
    let line = line + first - 1;
    let error = format!("line {line}, column {column}: {}", problem.message);
    Failure::new(FailureCode::BadRequest, error, hint)
        .with_details(json!({ "line": line, "column": column }))
}

#[cfg(test)]
mod tests {
    use millstream_cluster::FlowStart;
    use millstream_types::Timestamp;

    use super::{start_of, wrong};
    use crate::stages::CompileProblem;

    #[test]
    fn where_a_preview_begins() {
        let of = |text: &str| start_of(text).ok();
        assert_eq!(of("beginning"), Some(FlowStart::Beginning));
        assert_eq!(of("7"), Some(FlowStart::Sequence(7)));
        let time = Timestamp::parse_rfc3339("2026-01-01T00:00:00Z").expect("a time");
        assert_eq!(of("2026-01-01T00:00:00Z"), Some(FlowStart::Time(time)));
        let before = Timestamp::now().0;
        let Some(FlowStart::Time(time)) = of("1h") else {
            panic!("a time");
        };
        let hour = 3_600_000_000_000;
        assert!((before - hour..=Timestamp::now().0 - hour).contains(&time.0));
        for wrong in ["0", "", "soon", "-1", "2026-01-01"] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn places_are_those_of_the_whole_text() {
        let at = |place| {
            let mut problem = CompileProblem::new("sql", "no");
            problem.place = Some(place);
            let body = wrong(&problem, (3, 5)).body();
            (body["line"].as_u64(), body["column"].as_u64())
        };
        assert_eq!(at((1, 1)), (Some(3), Some(5)));
        assert_eq!(at((2, 4)), (Some(4), Some(4)));
    }
}
