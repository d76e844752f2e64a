//! Flows: what is wrong with one before it is applied, the streams it needs, how it is doing, and what it can be told to do.

use std::collections::BTreeMap;

use millstream_admin::{Failure, FailureCode, FlowRequest};
use millstream_cluster::{
    Catalog, CatalogChange, CatalogCommand, Command, FlowEntry, FlowStart, Kind, Outcome,
};
use millstream_jetstream::{FlowState, FlowStatus, is_internal, shown_streams, state_stream};
use millstream_spec::{Document, FlowSpec, Policy, Problem, Spec, Storage};
use millstream_streams::{RetentionPolicy, StorageType, StreamConfig};
use millstream_types::{Timestamp, filters_overlap, nearest};
use serde_json::{Value, json};

use super::{Manager, not_found, refused, streams};
use crate::stages::Modules;

mod change;
mod foretold;
mod queries;

pub(super) use change::Verdict;

/// What a flow reads or writes.
struct End {
    subjects: Vec<String>,
    /// It keeps messages until consumers have acknowledged them.
    by_consumers: bool,
    in_memory: bool,
}

impl Manager {
    fn end(&self, new: &Catalog, name: &str) -> Option<End> {
        if let Some(station) = new.stations.get(name) {
            return Some(End {
                subjects: station.spec.subjects.clone(),
                by_consumers: station.spec.retention.policy != Policy::Limits,
                in_memory: station.spec.storage == Storage::Memory,
            });
        }
        // A station's dead letters are there when the station is.
        if let Some(station) = name.strip_suffix("-dead-letters")
            && new.stations.contains_key(station)
        {
            return Some(End {
                subjects: vec![format!("$MS.DEAD.{station}.>")],
                by_consumers: false,
                // Those of a station in memory are on disk, too.
                in_memory: false,
            });
        }
        let cell = self.node.stream(name).filter(|_| !is_internal(name))?;
        let stream = cell.lock();
        Some(End {
            subjects: stream.config.subjects.clone(),
            by_consumers: stream.config.retention != RetentionPolicy::Limits,
            in_memory: stream.config.storage == StorageType::Memory,
        })
    }

    fn unknown_end(&self, new: &Catalog, document: &Document, path: &str, name: &str) -> Problem {
        let mut known: Vec<String> = new.stations.keys().cloned().collect();
        let streams = shown_streams(&self.node);
        known.extend(streams.iter().map(|cell| cell.name.clone()));
        let near = nearest(name, known.iter().map(String::as_str)).map(str::to_owned);
        let problem = document
            .problem(path, format!("there is no station or stream `{name}`"))
            .with_hint("describe it in the same file with `kind: station`, or apply it first");
        problem.with_nearest(near.as_deref())
    }

    /// What is wrong with the declared flows among the stations, streams and functions there will be.
    pub(super) fn flow_problems(
        &self,
        new: &Catalog,
        documents: &[&Document],
        attached: Modules<'_>,
    ) -> Vec<Problem> {
        let mut problems = Vec::new();
        for document in documents {
            let Spec::Flow(spec) = &document.spec else {
                continue;
            };
            if let Some(problem) = self.form_problem(document, spec) {
                problems.push(problem);
                continue;
            }
            if let Some(query) = &spec.query {
                problems.extend(self.query_problems(new, document, query, attached));
                continue;
            }
            match self.end(new, &spec.from) {
                None => problems.push(self.unknown_end(new, document, "from", &spec.from)),
                Some(from) if from.by_consumers => {
                    let message = format!(
                        "`{}` drops messages when consumers have acknowledged them, whether the flow has read them or not",
                        spec.from
                    );
                    problems.push(document.problem("from", message));
                }
                Some(from) if from.in_memory => {
                    problems.push(memory_problem(document, "from", &spec.from));
                }
                Some(_) => {}
            }
            problems.extend(self.destination_problem(new, document, spec));
            problems.extend(bucket_problem(new, document, spec));
        }
        problems.extend(self.moved(new, documents, attached));
        problems.extend(self.shut_out(new, documents, attached));
        problems
    }

    fn destination_problem(
        &self,
        new: &Catalog,
        document: &Document,
        spec: &FlowSpec,
    ) -> Option<Problem> {
        let name = spec.to.as_ref()?;
        let Some(to) = self.end(new, name) else {
            return Some(self.unknown_end(new, document, "to", name));
        };
        if to.in_memory {
            return Some(memory_problem(document, "to", name));
        }
        let template = spec.template().ok()?;
        let filter = spec.filter();
        let shape = match &template {
            Some(template) => template.shape(filter),
            None => filter.to_owned(),
        };
        let fits = |subject: &String| filters_overlap(subject.as_bytes(), shape.as_bytes());
        // Subjects that the flow reads belong to `from`, and no other stream has them as well.
        let own = self.end(new, &spec.from);
        let own = own.filter(|_| template.is_none());
        let keeps = own.is_some_and(|own| {
            !own.subjects.iter().any(|own| {
                to.subjects
                    .iter()
                    .any(|subject| filters_overlap(own.as_bytes(), subject.as_bytes()))
            })
        });
        if to.subjects.iter().any(fits) && !keeps {
            return None;
        }
        let (path, message) = match &spec.subject {
            Some(subject) => (
                "subject",
                format!(
                    "`{subject}` is no subject of `{name}`, which stores {}",
                    to.subjects.join(", ")
                ),
            ),
            None => (
                "to",
                format!(
                    "messages keep their subjects, and `{name}` stores {}",
                    to.subjects.join(", ")
                ),
            ),
        };
        let hint = "give `subject`, such as `late.$1` or `late.{subject}`";
        Some(document.problem(path, message).with_hint(hint))
    }

    /// Streams that declared flows need and that are not there: dead letters of a plain stream. The
    /// numbers from `id` on are free.
    pub(super) fn flow_streams(
        &self,
        new: &Catalog,
        (documents, attached): (&[&Document], Modules<'_>),
        time: Timestamp,
    ) -> Result<Vec<Command>, Vec<Problem>> {
        let mut configs: BTreeMap<String, (&Document, _)> = BTreeMap::new();
        for document in documents {
            let Spec::Flow(spec) = &document.spec else {
                continue;
            };
            let mut ends = vec![spec.from.clone()];
            if let Some(query) = &spec.query {
                let state = streams::state(&spec.name);
                configs.insert(state_stream(&spec.name), (document, state));
                ends = self.sources_of(new, query, attached);
                ends.extend(spec.stations().map(str::to_owned));
            }
            for end in ends {
                let station = end.strip_suffix("-dead-letters").unwrap_or(&end);
                if !new.stations.contains_key(station) {
                    let letters = streams::dead_letters(&end, &Default::default());
                    configs.insert(streams::letters_name(&end), (document, letters));
                }
            }
        }
        // What is there stays as it is: it may be somebody else's as well.
        configs.retain(|name, _| self.node.stream(name).is_none());
        let (mut commands, mut problems) = (Vec::new(), Vec::new());
        for (document, config) in configs.into_values() {
            let command =
                config.and_then(|config: StreamConfig| streams::command(&self.node, config, time));
            match command {
                Ok(command) => commands.extend(command),
                Err(error) => problems.push(document.problem("name", error.to_string())),
            }
        }
        if problems.is_empty() {
            Ok(commands)
        } else {
            Err(problems)
        }
    }

    pub(super) fn flow_line(&self, entry: &FlowEntry) -> Value {
        let spec = &entry.spec;
        let status = self
            .flows
            .as_ref()
            .and_then(|flows| flows.status(&spec.name));
        let (from, to) = match &spec.query {
            None => (spec.from.clone(), spec.to.clone()),
            Some(query) => {
                let setup = self.flows.as_ref().and_then(|flows| flows.get(&spec.name));
                let setup = setup.map(|flow| flow.setup());
                let sources = setup.iter().filter_map(|setup| setup.query.as_ref());
                let sources = sources.flat_map(|query| &query.sources);
                let sources: Vec<&str> = sources.map(|source| source.station.as_str()).collect();
                (sources.join(", "), Some(query.into.clone()))
            }
        };
        let mut line = json!({ "name": spec.name, "from": from, "to": to, "state": "starting", "reason": null });
        if let (Some(status), Some(fields)) = (status, line.as_object_mut())
            && let Value::Object(status) = json!(status)
        {
            fields.extend(status);
            // Where a table has its columns.
            if let Some(Value::Object(query)) = fields.remove("query") {
                let all = [
                    "watermark",
                    "state_bytes",
                    "state_rows",
                    "spilled_bytes",
                    "spilled_rows",
                ];
                let shown = query
                    .into_iter()
                    .filter(|(name, _)| all.contains(&name.as_str()));
                fields.extend(shown);
                fields.entry("late").or_insert_with(|| 0.into());
            }
        }
        line["version"] = entry.version.into();
        if let Some(told) = self.build_told(entry) {
            let reason = line["reason"]
                .as_str()
                .map(|reason| format!("{reason}; {told}"));
            line["reason"] = reason.unwrap_or(told).into();
        }
        line
    }

    pub(super) fn describe_flow(&self, entry: &FlowEntry) -> Value {
        let name = &entry.spec.name;
        let flow = self.flows.as_ref().and_then(|flows| flows.get(name));
        let status = flow.as_ref().map(|flow| flow.status());
        let next_try = status.as_ref().and_then(|status| status.next_try);
        let stages = flow.and_then(|flow| {
            let setup = flow.setup();
            let plan = setup.plan.as_ref().ok()?.as_ref()?;
            Some(json!(plan.snapshot()))
        });
        let rerun = entry.rerun.as_ref().map(|rerun| {
            let status = self
                .flows
                .as_ref()
                .and_then(|flows| flows.rerun_status(name));
            json!({ "from_seq": rerun.from_seq, "to_seq": rerun.to_seq, "to": rerun.to,
                "started": Timestamp(rerun.started).to_rfc3339(), "status": status })
        });
        json!({ "name": name, "version": entry.version, "created": Timestamp(entry.created).to_rfc3339(),
            "updated": Timestamp(entry.updated).to_rfc3339(), "spec": entry.spec, "status": status,
            "next_try": next_try.map(Timestamp::to_rfc3339), "stages": stages, "rerun": rerun,
            "query": self.described_query(entry), "build": self.described_build(entry) })
    }

    /// Carries out `pause`, `resume`, `restart`, `rerun` or `cancel`.
    pub(super) async fn flow_action(
        &self,
        name: &str,
        action: &str,
        request: FlowRequest,
    ) -> Result<Value, Failure> {
        let _one_at_a_time = self.apply.lock().await;
        let entry = {
            let catalog = self.node.catalog();
            catalog.flows.get(name).cloned().ok_or_else(|| {
                let known: Vec<&str> = catalog.flows.keys().map(String::as_str).collect();
                not_found(Kind::Flow, name, &known)
            })?
        };
        let changes = match action {
            "pause" | "resume" => standing(&entry, action == "pause"),
            "restart" => vec![CatalogChange::RestartFlow {
                name: name.to_owned(),
                start: start_of(&request)?,
            }],
            "cancel" => vec![cancel(&entry)?],
            _ => vec![self.rerun_of(&entry, request)?],
        };
        if !changes.is_empty() {
            let command = Command::Catalog(CatalogCommand {
                time: Timestamp::now().0,
                changes,
            });
            match self.jetstream()?.propose(&command).await {
                Ok(Outcome::Refused(error)) | Err(error) => return Err(refused(&error)),
                Ok(_) => {}
            }
            self.flows()?.sync().await;
        }
        let catalog = self.node.catalog().clone();
        let entry = catalog.flows.get(&entry.spec.name).unwrap_or(&entry);
        Ok(self.describe_flow(entry))
    }

    /// Why a flow cannot look at something a second time.
    fn no_rerun(&self, spec: &FlowSpec) -> Option<String> {
        let name = &spec.name;
        if spec.query.is_some() {
            let why = "is a query, and a second look would change its state";
            return Some(format!("flow `{name}` {why}"));
        }
        let keeps = buckets(&self.node.catalog(), spec).next().is_some();
        let why = "has a function that keeps state, which a second look would change";
        keeps.then(|| format!("flow `{name}` {why}"))
    }

    fn rerun_of(&self, entry: &FlowEntry, request: FlowRequest) -> Result<CatalogChange, Failure> {
        let bad = |error: String, hint: &'static str| {
            Err(Failure::new(FailureCode::BadRequest, error, hint))
        };
        let spec = &entry.spec;
        let name = spec.name.clone();
        if request.from_time.is_some() || request.from_end {
            return bad(
                "a rerun is from one sequence to another".to_owned(),
                "give `from_seq` and `to_seq`",
            );
        }
        if let Some(why) = self.no_rerun(spec) {
            return bad(why, "restart the flow instead");
        }
        let rerun = self.flows()?.rerun_status(&name);
        // One that cannot go on is given up for another.
        let ended =
            |status: FlowStatus| matches!(status.state, FlowState::Done | FlowState::Failed);
        if rerun.is_some_and(|status| !ended(status)) {
            return Err(Failure::new(
                FailureCode::Conflict,
                format!("flow `{name}` reads a range once more already"),
                "wait until it is done, see `millstream describe flow`",
            ));
        }
        let Some(from) = self.node.stream(&spec.from) else {
            return bad(
                format!("there is no stream `{}`", spec.from),
                "apply the station first",
            );
        };
        let last = from.lock().last_seq();
        let (from_seq, to_seq) = (
            request.from_seq.unwrap_or(1),
            request.to_seq.unwrap_or(last),
        );
        if from_seq == 0 || from_seq > to_seq || to_seq > last {
            return bad(
                format!(
                    "there is no range from {from_seq} to {to_seq}: `{}` ends with {last}",
                    spec.from
                ),
                "give a range of messages that are stored",
            );
        }
        if let Some(to) = &request.to {
            if *to == spec.from {
                return bad(
                    format!("the flow reads `{to}`: it would loop"),
                    "name another station",
                );
            }
            let Some(cell) = self.node.stream(to) else {
                return bad(format!("there is no station `{to}`"), "apply it first");
            };
            if cell.lock().config.storage == StorageType::Memory {
                return bad(in_memory(to), ON_DISK);
            }
        }
        Ok(CatalogChange::RerunFlow {
            name,
            from_seq,
            to_seq,
            to: request.to,
        })
    }
}

/// Has a flow stand still or go on, and what is built of it when it takes over.
fn standing(entry: &FlowEntry, paused: bool) -> Vec<CatalogChange> {
    let mut changes = Vec::new();
    let changed = |spec: &FlowSpec| {
        let standing = FlowSpec {
            paused,
            ..spec.clone()
        };
        (spec.paused != paused).then_some(standing)
    };
    if let Some(spec) = changed(&entry.spec) {
        changes.push(CatalogChange::PutFlow { spec });
    }
    if let Some(spec) = entry.build.as_ref().and_then(|build| changed(&build.spec)) {
        changes.push(CatalogChange::BuildFlow { spec });
    }
    changes
}

/// Gives up what is built.
fn cancel(entry: &FlowEntry) -> Result<CatalogChange, Failure> {
    let name = entry.spec.name.clone();
    if entry.build.is_none() {
        return Err(Failure::new(
            FailureCode::Conflict,
            format!("nothing is built of flow `{name}`"),
            "only a changed query that is built in the background can be given up; `millstream flow pause` has a flow stand still",
        ));
    }
    Ok(CatalogChange::CancelBuild { name })
}

const ON_DISK: &str = "take a station with `storage: file`";

fn in_memory(name: &str) -> String {
    format!(
        "`{name}` is in memory and empty after a restart: a flow would not count each message once"
    )
}

fn memory_problem(document: &Document, path: &str, name: &str) -> Problem {
    document.problem(path, in_memory(name)).with_hint(ON_DISK)
}

/// Where a restart begins.
fn start_of(request: &FlowRequest) -> Result<FlowStart, Failure> {
    let bad = |error: &str| {
        let hint = "give one of `from_seq`, `from_time`, `from_end`, or nothing for the beginning";
        Err(Failure::new(
            FailureCode::BadRequest,
            error.to_owned(),
            hint,
        ))
    };
    if request.to.is_some() || request.to_seq.is_some() {
        return bad("a restart has no end and no other station");
    }
    match (request.from_seq, &request.from_time, request.from_end) {
        (None, None, false) => Ok(FlowStart::Beginning),
        (None, None, true) => Ok(FlowStart::End),
        (Some(seq), None, false) => Ok(FlowStart::Sequence(seq)),
        (None, Some(text), false) => match Timestamp::parse_rfc3339(text) {
            Some(time) => Ok(FlowStart::Time(time)),
            None => bad(&format!(
                "`{text}` is no time; write it like 2026-01-01T00:00:00Z"
            )),
        },
        _ => bad("a restart begins in one place"),
    }
}

/// The buckets of a flow's functions.
fn buckets<'a>(catalog: &'a Catalog, spec: &'a FlowSpec) -> impl Iterator<Item = &'a str> {
    spec.functions()
        .filter_map(|name| catalog.functions.get(name)?.spec.bucket())
}

/// One function in one flow writes a bucket: what it reads there is what it wrote.
fn bucket_problem(new: &Catalog, document: &Document, spec: &FlowSpec) -> Option<Problem> {
    let own: Vec<&str> = buckets(new, spec).collect();
    let twice = own
        .iter()
        .enumerate()
        .find(|(at, bucket)| own[..*at].contains(bucket));
    let taken = new.flows.values().find_map(|other| {
        let theirs = buckets(new, &other.spec).find(|bucket| own.contains(bucket))?;
        (other.spec.name != spec.name).then_some((theirs, other.spec.name.as_str()))
    });
    let message = match (twice, taken) {
        (Some((_, bucket)), _) => format!("two of its functions keep their state in `{bucket}`"),
        (None, Some((bucket, other))) => {
            format!("flow `{other}` keeps state in `{bucket}` as well")
        }
        (None, None) => return None,
    };
    let hint = "give one of the functions another `state: { bucket: NAME }`";
    Some(document.problem("stages", message).with_hint(hint))
}
