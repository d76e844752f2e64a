//! `apply`: all files are read, everything in them is checked against each other and against what is there, and either
//! all of it is committed in one log entry or nothing.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use millstream_admin::{ApplyRequest, Failure, FailureCode, FileText};
use millstream_cluster::{
    Catalog, CatalogChange, CatalogCommand, Command, Deployment, FunctionEntry, Kind, Outcome,
};
use millstream_schema_registry::{Compiled, Registry, RegistryError};
use millstream_spec::{
    Attachment, Document, FunctionSpec, Problem, SchemaText, SourceFile, Spec, StationSpec,
    TrialSpec, parse,
};
use millstream_types::Timestamp;
use serde_json::{Value, json};

use self::change::{Change, command_of, compared, flow_change, hidden};
use super::flows::Verdict;
use super::functions::{said, trial_of};
use super::{Manager, refused, streams};
use crate::blobs::digest;
use crate::schemas::declared;
use crate::stages::Modules;

mod change;

/// Who asks, why, and whether functions are only tried.
struct Asked {
    by: String,
    why: String,
    trial: Option<TrialSpec>,
}

/// Files sent along, decoded.
pub(super) struct Attached(BTreeMap<String, Vec<u8>>);

impl Attached {
    pub(super) fn read(request: &ApplyRequest) -> Result<Self, Failure> {
        let mut files = BTreeMap::new();
        for (path, text) in &request.attachments {
            let bytes = STANDARD.decode(text).map_err(|error| {
                Failure::new(
                    FailureCode::BadRequest,
                    format!("attachment `{path}` is not base64: {error}"),
                    "send the file's bytes in base64",
                )
            })?;
            files.insert(path.clone(), bytes);
        }
        Ok(Self(files))
    }

    pub(super) fn of(&self, document: &Document) -> Result<Option<&[u8]>, Problem> {
        self.find(document.attachment())
    }

    /// The modules of functions, by their digests.
    pub(super) fn modules(&self, documents: &[&Document]) -> BTreeMap<String, &[u8]> {
        let function = |document: &&&Document| matches!(document.spec, Spec::Function(_));
        let functions = documents.iter().filter(function);
        let bytes = functions.filter_map(|document| self.of(document).ok().flatten());
        bytes.map(|bytes| (digest(bytes), bytes)).collect()
    }

    /// The tests that come with a function.
    pub(super) fn tests(&self, document: &Document) -> Result<Option<&[u8]>, Problem> {
        self.find(document.tests())
    }

    fn find(&self, attachment: Option<Attachment>) -> Result<Option<&[u8]>, Problem> {
        let Some(attachment) = attachment else {
            return Ok(None);
        };
        let found = self
            .0
            .get(&attachment.key)
            .or_else(|| self.0.get(&attachment.path));
        found.map(|bytes| Some(bytes.as_slice())).ok_or_else(|| {
            attachment
                .at
                .problem(format!("file `{}` was not sent along", attachment.path))
                .with_hint("check that it exists beside the station file")
        })
    }
}

impl Manager {
    pub(super) async fn apply(&self, request: ApplyRequest) -> Result<Value, Failure> {
        let one_at_a_time = self.apply.lock().await;
        self.jetstream()?;
        if request.history.is_some() && !request.dry_run {
            let error = "`history` is for a dry run";
            let hint = "send `dry_run: true` with it";
            return Err(Failure::new(FailureCode::BadRequest, error, hint));
        }
        let attached = Attached::read(&request)?;
        let file = |file: &FileText| SourceFile {
            name: file.name.clone(),
            text: file.text.clone(),
        };
        let files: Vec<SourceFile> = request.files.iter().map(file).collect();
        let mut parsed = parse(&files, &|name| request.variables.get(name).cloned());
        let old = self.node.catalog().clone();
        stay_paused(&old, &mut parsed.documents);
        let mut problems = parsed.problems.clone();
        problems.extend(parsed.check_references(&|kind| names(&old, kind)));
        let mut documents: Vec<&Document> = parsed.documents.iter().collect();
        documents.sort_by_key(|document| document.spec.kind());
        let time = Timestamp::now();
        let asked = Asked {
            by: said(request.by.as_deref()),
            why: said(request.why.as_deref()),
            trial: request.trial.as_ref().map(trial_of).transpose()?,
        };
        let (mut changes, found) = self.changes(&old, &documents, &attached, &asked, time);
        problems.extend(found);
        let mut command = command_of(&changes, time);
        let mut commands = Vec::new();
        let mut new = old.clone();
        if problems.is_empty() {
            if let Err(error) = new.apply(command.clone()) {
                return Err(Failure::new(
                    FailureCode::Refused,
                    error.to_string(),
                    "nothing was applied",
                ));
            }
            match self.checked(&new, &documents, &attached, time).await {
                Ok(found) => {
                    commands = found;
                    problems.extend(self.queries(
                        (&old, &new),
                        &mut changes,
                        &documents,
                        &attached,
                    ));
                    command = command_of(&changes, time);
                }
                Err(found) => problems.extend(found),
            }
        }
        if !problems.is_empty() {
            return Err(problems_found(problems));
        }
        let mut lines: Vec<Value> = changes.iter().map(Change::line).collect();
        if request.dry_run {
            drop(one_at_a_time);
            let history = request.history.as_deref();
            self.foretell(&new, (&documents, &attached), history, &mut lines)
                .await?;
        } else {
            self.commit(command, commands, &documents, &attached)
                .await?;
        }
        Ok(json!({ "changes": lines, "problems": [], "dry_run": request.dry_run }))
    }

    /// Adds to the lines of flows what they would do.
    async fn foretell(
        &self,
        new: &Catalog,
        (documents, attached): (&[&Document], &Attached),
        history: Option<&str>,
        lines: &mut [Value],
    ) -> Result<(), Failure> {
        let sent = attached.modules(documents);
        let bytes = |name: &str| {
            let sent = sent.get(name);
            sent.map_or_else(|| self.blobs.get(name), |bytes| Ok(bytes.to_vec()))
        };
        for document in documents {
            let Spec::Flow(spec) = &document.spec else {
                continue;
            };
            let is_its = |line: &&mut Value| {
                line["kind"] == json!(Kind::Flow) && line["name"] == spec.name.as_str()
            };
            if let Some(line) = lines.iter_mut().find(is_its)
                && let Some(would) = self.would(new, spec, &bytes, history).await?
            {
                line["would"] = would;
            }
        }
        Ok(())
    }

    /// The streams that the catalog as it would be needs; or all that is wrong with it.
    async fn checked(
        &self,
        new: &Catalog,
        documents: &[&Document],
        attached: &Attached,
        time: Timestamp,
    ) -> Result<Vec<Command>, Vec<Problem>> {
        // First: it has loaded what queries are compiled with then.
        let mut problems = self.compile_all(new, documents, attached).await;
        let modules = attached.modules(documents);
        let bytes = |name: &str| {
            let sent = modules.get(name);
            sent.map_or_else(|| self.blobs.get(name), |bytes| Ok(bytes.to_vec()))
        };
        problems.extend(self.flow_problems(new, documents, &bytes));
        let commands = self.stream_commands(new, (documents, &bytes), time);
        match commands {
            Ok(commands) if problems.is_empty() => Ok(commands),
            Ok(_) => Err(problems),
            Err(found) => {
                problems.extend(found);
                Err(problems)
            }
        }
    }

    /// Finds what changed queries come to: they keep their state, or are rebuilt.
    fn queries(
        &self,
        catalogs: (&Catalog, &Catalog),
        changes: &mut [Change],
        documents: &[&Document],
        attached: &Attached,
    ) -> Vec<Problem> {
        let modules = attached.modules(documents);
        let bytes = |name: &str| {
            let sent = modules.get(name);
            sent.map_or_else(|| self.blobs.get(name), |bytes| Ok(bytes.to_vec()))
        };
        let mut problems = Vec::new();
        for change in changes {
            let [CatalogChange::PutFlow { spec }] = change.changes.as_slice() else {
                continue;
            };
            let same = |document: &&&Document| matches!(&document.spec, Spec::Flow(own) if own.name == spec.name);
            let Some(document) = documents.iter().find(same) else {
                continue;
            };
            match self.query_change(catalogs, (document, spec), &bytes) {
                None => {}
                Some(Ok(Verdict { changes, note })) => {
                    (change.changes, change.note) = (changes, note)
                }
                Some(Err(problem)) => problems.push(problem),
            }
        }
        problems
    }

    /// What all documents change, and what is wrong with those that cannot.
    fn changes(
        &self,
        old: &Catalog,
        documents: &[&Document],
        attached: &Attached,
        asked: &Asked,
        time: Timestamp,
    ) -> (Vec<Change>, Vec<Problem>) {
        let (mut changes, mut problems) = (Vec::<Change>::new(), Vec::new());
        // A schema may refer to one that stands before it in the files.
        let mut schemas = old.schemas.clone();
        for document in documents {
            match self.change((old, &schemas), document, attached, asked, time) {
                Ok(change) => {
                    for change in &change.changes {
                        if let CatalogChange::Registry { registry } = change {
                            schemas.apply(registry.clone());
                        }
                    }
                    changes.push(change);
                }
                Err(found) => problems.extend(found),
            }
        }
        (changes, problems)
    }

    fn change(
        &self,
        (old, schemas): (&Catalog, &Registry),
        document: &Document,
        attached: &Attached,
        asked: &Asked,
        time: Timestamp,
    ) -> Result<Change, Vec<Problem>> {
        let bytes = attached.of(document).map_err(|problem| vec![problem])?;
        match &document.spec {
            Spec::Schema(spec) => {
                schema_change(schemas, &self.schemas, document, spec, bytes, time)
            }
            Spec::Function(spec) => {
                Ok(function_change(old, spec, bytes.unwrap_or_default(), asked))
            }
            Spec::Station(spec) => {
                let before = old.stations.get(&spec.name).map(|entry| json!(entry.spec));
                let change = CatalogChange::PutStation { spec: spec.clone() };
                Ok(compared(
                    Kind::Station,
                    &spec.name,
                    before,
                    &json!(spec),
                    change,
                ))
            }
            Spec::Flow(spec) => {
                let mut change = flow_change(old, spec);
                if spec.paused && !document.is_written("paused") {
                    change.diff.push(format!(
                        "paused: true, as it was: `millstream flow resume {}` lets it go on",
                        spec.name
                    ));
                }
                Ok(change)
            }
            Spec::Source(spec) => {
                self.check_connector(document, &spec.connector, &spec.config)?;
                let before = old.sources.get(&spec.name).map(|entry| json!(entry.spec));
                let change = CatalogChange::PutSource { spec: spec.clone() };
                Ok(hidden(compared(
                    Kind::Source,
                    &spec.name,
                    before,
                    &json!(spec),
                    change,
                )))
            }
            Spec::Sink(spec) => {
                self.check_connector(document, &spec.connector, &spec.config)?;
                let before = old.sinks.get(&spec.name).map(|entry| json!(entry.spec));
                let change = CatalogChange::PutSink { spec: spec.clone() };
                Ok(hidden(compared(
                    Kind::Sink,
                    &spec.name,
                    before,
                    &json!(spec),
                    change,
                )))
            }
        }
    }

    fn check_connector(
        &self,
        document: &Document,
        connector: &str,
        config: &millstream_spec::ConnectorConfig,
    ) -> Result<(), Vec<Problem>> {
        use millstream_connector_api::Kind as Direction;
        let direction = if document.spec.kind() == Kind::Source {
            Direction::Source
        } else {
            Direction::Sink
        };
        let Some(connectors) = &self.connectors else {
            return Ok(());
        };
        let catalog = connectors.catalog();
        if catalog.find(direction, connector).is_none() {
            let near = millstream_types::nearest(connector, catalog.names(direction));
            let known: Vec<_> = catalog.names(direction).collect();
            let problem = document.problem(
                "connector",
                format!(
                    "there is no {} connector `{connector}`, only {}",
                    document.spec.kind(),
                    known.join(", ")
                ),
            );
            return Err(vec![problem.with_nearest(near)]);
        }
        if let Spec::Sink(sink) = &document.spec
            && let Some(before) = self.node.catalog().sinks.get(&sink.name)
            && before.spec.station != sink.station
            && before.spec.connector == sink.connector
            && before
                .spec
                .config
                .get("path")
                .is_some_and(|path| config.get("path") == Some(path))
        {
            // The file's last line says how far its station's records are written; another station's would be compared with it.
            let problem = document.problem(
                "station",
                format!(
                    "the sink's file holds records of station `{}`",
                    before.spec.station
                ),
            );
            return Err(vec![
                problem.with_hint("give the sink another `path`".to_owned()),
            ]);
        }
        catalog
            .validate(direction, connector, config)
            .map(|_| ())
            .map_err(|problems| {
                let one = |problem: millstream_connector_api::Problem| {
                    let path = format!("config.{}", problem.option);
                    let place = document.problem(&path, problem.message);
                    if problem.hint.is_empty() {
                        place
                    } else {
                        place.with_hint(problem.hint)
                    }
                };
                problems.into_iter().map(one).collect()
            })
    }

    fn stream_commands(
        &self,
        new: &Catalog,
        (documents, modules): (&[&Document], Modules<'_>),
        time: Timestamp,
    ) -> Result<Vec<Command>, Vec<Problem>> {
        let mut commands = Vec::new();
        let mut problems = Vec::new();
        for document in documents {
            let configs = match &document.spec {
                Spec::Station(spec) => {
                    problems.extend(self.overlaps(new, documents, document, spec));
                    let letters = streams::dead_letters(&spec.name, &spec.dead_letters);
                    vec![streams::station(spec), letters]
                }
                Spec::Function(spec) => {
                    problems.extend(bucket_taken(new, document, spec));
                    problems.extend(tried_with_state(new, document));
                    streams::bucket(&self.node, spec).into_iter().collect()
                }
                _ => continue,
            };
            for config in configs {
                match config.and_then(|config| streams::command(&self.node, config, time)) {
                    Ok(command) => commands.extend(command),
                    Err(error) => problems.push(document.problem("name", error.to_string())),
                }
            }
        }
        match self.flow_streams(new, (documents, modules), time) {
            Ok(streams) => commands.extend(streams),
            Err(found) => problems.extend(found),
        }
        if problems.is_empty() {
            Ok(commands)
        } else {
            Err(problems)
        }
    }

    /// Streams whose subjects a station would take.
    fn overlaps(
        &self,
        new: &Catalog,
        documents: &[&Document],
        document: &Document,
        spec: &StationSpec,
    ) -> Vec<Problem> {
        let mut problems = Vec::new();
        for cell in self.node.streams() {
            let own = cell.name == spec.name;
            let stream = cell.lock();
            // A station in the same request may give a subject up that another takes.
            let moved = new
                .stations
                .get(&cell.name)
                .is_some_and(|entry| entry.spec.subjects != stream.config.subjects)
                && documents.iter().any(
                    |other| matches!(&other.spec, Spec::Station(other) if other.name == cell.name),
                );
            if !own && !moved && stream.overlaps(&spec.subjects) {
                problems.push(document.problem(
                    "subjects",
                    format!(
                        "subjects overlap with those of stream `{}`: {:?}",
                        cell.name, stream.config.subjects
                    ),
                ));
            }
        }
        problems
    }

    async fn commit(
        &self,
        command: CatalogCommand,
        streams: Vec<Command>,
        documents: &[&Document],
        attached: &Attached,
    ) -> Result<(), Failure> {
        if command.changes.is_empty() && streams.is_empty() {
            return Ok(());
        }
        for document in documents {
            if let (Spec::Function(_), Ok(Some(bytes))) = (&document.spec, attached.of(document)) {
                self.blobs.put(bytes).map_err(|error| {
                    Failure::new(
                        FailureCode::Unavailable,
                        format!("{error:#}"),
                        "nothing was applied",
                    )
                })?;
            }
        }
        // The catalog first: a stream that appears finds its declaration, and never takes a message unchecked. Updates before
        // creations: who gives a subject up does so before another takes it.
        let (updates, creations): (Vec<_>, Vec<_>) = streams.into_iter().partition(|command| {
            matches!(
                command,
                Command::Stream(millstream_streams::Command::UpdateStream { .. })
            )
        });
        let streams = updates.into_iter().chain(creations);
        let mut commands = vec![Command::Catalog(command)];
        commands.extend(streams);
        let jetstream = self.jetstream()?;
        let outcome = jetstream
            .propose(&Command::Several(commands))
            .await
            .map_err(|error| refused(&error))?;
        match outcome {
            Outcome::Refused(error) => return Err(refused(&error)),
            Outcome::Several(outcomes) => {
                for outcome in outcomes {
                    if let Outcome::Refused(error) = outcome {
                        tracing::error!(target: "nats", "a part of an apply was refused: {error}");
                    }
                }
            }
            _ => {}
        }
        let own = jetstream.clone();
        let swapped = tokio::task::spawn_blocking(move || own.refresh_plans()).await;
        if let Err(error) = swapped {
            tracing::error!(target: "nats", "plans were not swapped: {error}");
        }
        self.connectors()?.sync().await;
        self.flows()?.sync().await;
        Ok(())
    }
}

/// A flow that stands still goes on when it is told to, not when a file says nothing of it.
fn stay_paused(old: &Catalog, documents: &mut [Document]) {
    for document in documents {
        let silent = !document.is_written("paused");
        if let Spec::Flow(spec) = &mut document.spec
            && silent
            && let Some(before) = old.flows.get(&spec.name)
        {
            spec.paused = before.spec.paused;
        }
    }
}

fn function_change(old: &Catalog, spec: &FunctionSpec, bytes: &[u8], asked: &Asked) -> Change {
    let digest = digest(bytes);
    let known = old.functions.get(&spec.name);
    let before = known.map(|entry| json!({ "spec": entry.spec, "module": entry.digest }));
    let after = json!({ "spec": spec, "module": digest });
    let deployment = Deployment {
        spec: spec.clone(),
        digest,
        size: bytes.len() as u64,
        by: asked.by.clone(),
        why: asked.why.clone(),
    };
    // There is nothing to try it beside, the first time.
    let change = match asked.trial.clone().filter(|_| known.is_some()) {
        Some(trial) => CatalogChange::TryFunction { deployment, trial },
        None => CatalogChange::PutFunction(deployment),
    };
    let mut change = compared(Kind::Function, &spec.name, before, &after, change);
    let newest = known.map_or(0, FunctionEntry::newest);
    change.version = match change.action {
        "unchanged" => known.map(|entry| entry.version),
        _ => Some(newest + 1),
    };
    change
}

/// A bucket has one writer: what two functions wrote into it would not be what either of them remembers.
fn bucket_taken(new: &Catalog, document: &Document, spec: &FunctionSpec) -> Option<Problem> {
    let bucket = spec.bucket()?;
    let users: Vec<&str> = new
        .flows
        .values()
        .filter(|flow| flow.spec.functions().any(|name| name == spec.name))
        .map(|flow| flow.spec.name.as_str())
        .collect();
    if let [first, second, ..] = users.as_slice() {
        let message =
            format!("flows `{first}` and `{second}` run it, and only one may write its bucket");
        return Some(document.problem("state", message));
    }
    let other = new
        .functions
        .values()
        .find(|other| other.spec.name != spec.name && other.spec.bucket() == Some(bucket))?;
    let message = format!(
        "bucket `{bucket}` is what function `{}` remembers",
        other.spec.name
    );
    Some(
        document
            .problem("state", message)
            .with_hint("give it another `bucket`"),
    )
}

/// Two versions that run beside each other would both write what only one of them remembers.
fn tried_with_state(new: &Catalog, document: &Document) -> Option<Problem> {
    let entry = new.functions.get(document.spec.name())?;
    let (_, tried) = entry.tried()?;
    if entry.spec.state.is_none() && tried.spec.state.is_none() {
        return None;
    }
    let message =
        "a version that keeps state is not tried beside another: both would write its bucket";
    let hint = "look at it over what is stored with `--dry-run`, deploy it, and take it back with `rollback`";
    Some(document.problem("state", message).with_hint(hint))
}

/// All that is wrong, as one answer.
pub(super) fn problems_found(mut problems: Vec<Problem>) -> Failure {
    problems.sort();
    problems.dedup();
    let count = problems.len();
    let noun = if count == 1 { "problem" } else { "problems" };
    Failure::new(
        FailureCode::Problems,
        format!("{count} {noun}, nothing was applied"),
        "mend what is listed and apply again",
    )
    .with_details(json!({ "problems": problems }))
}

pub(super) fn names(catalog: &Catalog, kind: Kind) -> Vec<String> {
    match kind {
        Kind::Schema => catalog
            .schemas
            .list()
            .into_iter()
            .map(|subject| subject.name)
            .collect(),
        Kind::Function => catalog.functions.keys().cloned().collect(),
        Kind::Station => catalog.stations.keys().cloned().collect(),
        Kind::Flow => catalog.flows.keys().cloned().collect(),
        Kind::Source => catalog.sources.keys().cloned().collect(),
        Kind::Sink => catalog.sinks.keys().cloned().collect(),
    }
}

fn schema_change(
    schemas: &Registry,
    compiled: &Compiled,
    document: &Document,
    spec: &millstream_spec::SchemaSpec,
    bytes: Option<&[u8]>,
    time: Timestamp,
) -> Result<Change, Vec<Problem>> {
    let (path, text) = match &spec.text {
        SchemaText::Inline(text) => ("schema", text.clone()),
        SchemaText::File(file) => match std::str::from_utf8(bytes.unwrap_or_default()) {
            Ok(text) => ("file", text.to_owned()),
            Err(error) => {
                return Err(vec![
                    document.problem("file", format!("`{file}` is not text: {error}")),
                ]);
            }
        },
    };
    let file = match &spec.text {
        SchemaText::File(file) => format!("`{file}`: "),
        SchemaText::Inline(_) => String::new(),
    };
    let declared = declared(schemas, compiled, spec, text, time)
        .map_err(|error| refused_schema(document, path, &file, &error))?;
    let diff = if declared.action == "changed" {
        vec![format!("version {}", declared.version)]
    } else {
        Vec::new()
    };
    let changes = declared.changes.into_iter();
    Ok(Change {
        kind: Kind::Schema,
        name: spec.name.clone(),
        action: declared.action,
        diff,
        version: None,
        note: None,
        changes: changes
            .map(|registry| CatalogChange::Registry { registry })
            .collect(),
    })
}

/// A refusal at the place of the text, one problem for each thing that breaks.
fn refused_schema(
    document: &Document,
    path: &str,
    file: &str,
    error: &RegistryError,
) -> Vec<Problem> {
    match error {
        RegistryError::InvalidSchema { reason, .. } | RegistryError::TooLarge(reason) => {
            vec![document.problem(path, format!("{file}{reason}"))]
        }
        RegistryError::Incompatible { messages, .. } => messages
            .iter()
            .filter(|message| !message.starts_with("{oldSchema"))
            .map(|message| {
                let told = format!("{file}not compatible with what is registered: {message}");
                document.problem(path, told).with_hint(
                    "change it so that both versions get along, or set another `compatibility`",
                )
            })
            .collect(),
        other => vec![document.problem(path, format!("{file}{other}"))],
    }
}
