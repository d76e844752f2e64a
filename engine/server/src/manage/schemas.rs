//! What users ask about schemas that needs the server: proposals from stored messages, differences, and what would break.

mod breaks;
mod history;

use std::sync::Arc;

use millstream_admin::{
    CheckRequest, DiffRequest, Failure, FailureCode, HistoryRange, InferRequest, Reply, SchemaText,
};
use millstream_cluster::Catalog;
use millstream_jetstream::{StoredRecord, shown_streams};
use millstream_pipeline::Reading;
use millstream_schema_formats::{Format, Inference, Schema, diff};
use millstream_schema_registry::{Name, SchemaReference, Version};
use millstream_types::Timestamp;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use self::history::History;
use super::scan::{Lines, Range, Visit, gone_wrong, line, scan};
use super::{Manager, not_found};
use crate::shelf::Shelf;

/// Messages a schema is proposed from when no limit is given.
const INFER_LIMIT: u64 = 10_000;
/// Lines of an answer that may wait.
const WAITING: usize = 16;

impl Manager {
    /// The range of a station's messages. `newest` starts so that the newest are in it.
    fn range(
        &self,
        station: &str,
        from_seq: Option<u64>,
        from_time: Option<Timestamp>,
        limit: u64,
        newest: bool,
    ) -> Result<Range, Failure> {
        let Some(cell) = self.node.stream(station) else {
            let streams = shown_streams(&self.node);
            let names: Vec<&str> = streams.iter().map(|cell| cell.name.as_str()).collect();
            return Err(not_found(
                millstream_cluster::Kind::Station,
                station,
                &names,
            ));
        };
        let stream = cell.lock();
        let (first, last) = (stream.first_seq(), stream.state().last_seq);
        let since = from_time.map(|time| stream.first_since(time).unwrap_or(last + 1));
        let start = match from_seq.or(since) {
            None if newest => (last + 1).saturating_sub(limit),
            asked => asked.unwrap_or(first),
        };
        Ok(Range {
            station: station.to_owned(),
            from: start.max(first).max(since.unwrap_or(0)),
            to: last,
            limit,
        })
    }

    pub(super) fn schema_infer(
        &self,
        station: &str,
        request: &InferRequest,
    ) -> Result<Reply, Failure> {
        let format = format_of(request.format.as_deref())?;
        let limit = request.limit.unwrap_or(INFER_LIMIT);
        let range = self.range(station, request.from_seq, None, limit, true)?;
        let visitor = Observer {
            inference: Inference::default(),
            reading: Reading {
                format: Some(Format::Json),
                ..Reading::default()
            },
            schemas: Arc::clone(self.compiler.shelf()),
            strangers: 0,
            stranger: None,
        };
        let reader = self.jetstream()?.reader();
        let (lines, receiver) = mpsc::channel(WAITING);
        let station = station.to_owned();
        tokio::spawn(async move {
            let found = scan(reader, range, visitor, &lines).await;
            let answer = match found {
                Ok(Some((observer, looked_at))) => {
                    let made = tokio::task::spawn_blocking(move || {
                        observer.proposal(&station, format, looked_at)
                    });
                    made.await
                        .unwrap_or_else(|error| Err(gone_wrong(&error.to_string())))
                }
                Ok(None) => return,
                Err(failure) => Err(failure),
            };
            end(&lines, answer).await;
        });
        Ok(Reply::Lines(receiver))
    }

    pub(super) async fn schema_diff(&self, request: DiffRequest) -> Result<Value, Failure> {
        let catalog = self.node.catalog().clone();
        let shelf = Arc::clone(self.compiler.shelf());
        let compared = tokio::task::spawn_blocking(move || {
            let old = read_schema(&catalog, &shelf, &request.old)?;
            let new = read_schema(&catalog, &shelf, &request.new)?;
            let differences = diff(&old, &new);
            let lines: Vec<String> = differences.iter().map(ToString::to_string).collect();
            Ok(json!({ "differences": differences, "lines": lines }))
        });
        compared
            .await
            .unwrap_or_else(|error| Err(gone_wrong(&error.to_string())))
    }

    pub(super) async fn schema_check(&self, request: CheckRequest) -> Result<Reply, Failure> {
        let text = SchemaText {
            // References are looked for beside it.
            subject: Some(request.subject.clone()),
            version: None,
            schema: Some(request.schema.clone()),
            format: request.format.clone(),
            references: request.references.clone(),
        };
        let catalog = self.node.catalog().clone();
        let shelf = Arc::clone(self.compiler.shelf());
        let candidate =
            tokio::task::spawn_blocking(move || read_schema(&catalog, &shelf, &text)).await;
        let candidate = candidate.map_err(|error| gone_wrong(&error.to_string()))??;
        let history = match &request.against_history {
            Some(history) => Some(self.history(history)?),
            None => None,
        };
        let mut result = self.what_breaks(&request).await?;
        let reader = self.jetstream()?.reader();
        let shelf = Arc::clone(self.compiler.shelf());
        let (lines, receiver) = mpsc::channel(WAITING);
        tokio::spawn(async move {
            if let Some(range) = history {
                let station = range.station.clone();
                match scan(reader, range, History::new(candidate, shelf), &lines).await {
                    Ok(Some((history, looked_at))) => {
                        let mut report = history.report(looked_at);
                        report["station"] = station.into();
                        result["history"] = report;
                    }
                    Ok(None) => return,
                    Err(failure) => return end(&lines, Err(failure)).await,
                }
            }
            end(&lines, Ok(result)).await;
        });
        Ok(Reply::Lines(receiver))
    }

    /// The messages that are meant.
    pub(super) fn history(&self, history: &HistoryRange) -> Result<Range, Failure> {
        let time = match &history.from_time {
            None => None,
            Some(text) => Some(Timestamp::parse_rfc3339(text).ok_or_else(|| {
                let hint = "write it like 2026-11-23T07:45:00Z";
                bad(format!("`{text}` is no point in time"), hint)
            })?),
        };
        let limit = history.limit.unwrap_or(u64::MAX);
        self.range(&history.station, history.from_seq, time, limit, false)
    }
}

/// The last line of an answer.
async fn end(lines: &Lines, answer: Result<Value, Failure>) {
    let last = match answer {
        Ok(result) => json!({ "result": result }),
        Err(failure) => failure.body(),
    };
    // Whether anybody still listens no longer matters.
    let _gone = line(lines, &last).await;
}

fn bad(error: String, hint: &'static str) -> Failure {
    Failure::new(FailureCode::BadRequest, error, hint)
}

fn format_of(word: Option<&str>) -> Result<Format, Failure> {
    word.map_or(Ok(Format::Json), |word| {
        let unknown = |error: millstream_schema_formats::UnknownFormat| {
            bad(error.to_string(), "leave it out for `json`")
        };
        word.parse().map_err(unknown)
    })
}

fn references(values: &[Value]) -> Result<Vec<SchemaReference>, Failure> {
    let hint = "write objects with `name`, `subject` and `version`";
    let each = values.iter().cloned().map(serde_json::from_value);
    each.collect::<Result<_, _>>()
        .map_err(|error: serde_json::Error| {
            bad(format!("references cannot be read: {error}"), hint)
        })
}

/// The schema that a request names or brings.
fn read_schema(catalog: &Catalog, shelf: &Shelf, text: &SchemaText) -> Result<Schema, Failure> {
    let missing = |error: String| {
        let hint = "`millstream schema list` lists subjects and versions";
        Failure::new(FailureCode::NotFound, error, hint)
    };
    match (&text.subject, &text.schema) {
        (Some(subject), None) => {
            let version = text.version.map_or(Version::Latest, Version::Number);
            let found = shelf.find(catalog, subject, version).map_err(missing)?;
            Ok(found.schema.clone())
        }
        (_, Some(schema)) => {
            let format = format_of(text.format.as_deref())?;
            let references = references(&text.references)?;
            let home = Name::read(text.subject.as_deref().unwrap_or_default());
            let references = catalog.schemas.references(&home, &references);
            let references = references.map_err(|error| missing(error.to_string()))?;
            Schema::compile(format, schema, &references).map_err(|error| {
                let hint = "mend it; is it the right format?";
                Failure::new(FailureCode::Refused, error.to_string(), hint)
            })
        }
        (None, None) => Err(bad(
            "no schema is named".to_owned(),
            "give `subject`, or `schema` with `format`",
        )),
    }
}

/// Looks at payloads for a proposal, as JSON whatever they are stored in.
struct Observer {
    inference: Inference,
    reading: Reading,
    schemas: Arc<Shelf>,
    /// Messages that are no JSON and have no schema that says what they are.
    strangers: u64,
    /// The first of them, and why.
    stranger: Option<(u64, String)>,
}

impl Visit for Observer {
    fn message(&mut self, record: &StoredRecord) {
        let view = record.view();
        let read = self
            .reading
            .convert(&*self.schemas, view.headers, view.payload);
        let seen = match read {
            Ok(None) => self
                .inference
                .observe(view.payload)
                .map_err(|error| error.to_string()),
            Ok(Some((_, json))) => self
                .inference
                .observe(&json)
                .map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        if let Err(reason) = seen {
            self.strangers += 1;
            self.stranger.get_or_insert((record.seq, reason));
        }
    }
}

impl Observer {
    fn proposal(&self, station: &str, format: Format, looked_at: u64) -> Result<Value, Failure> {
        if self.inference.count() == 0 {
            let (error, hint) = match &self.stranger {
                None => (
                    format!("station `{station}` holds no messages in this range"),
                    "publish some, or ask for another range",
                ),
                Some((seq, reason)) => (
                    format!(
                        "none of {looked_at} messages can be read; the first is {seq}: {reason}"
                    ),
                    "proposals are made from JSON, and from messages with an `Ms-Schema` header",
                ),
            };
            return Err(Failure::new(FailureCode::NotFound, error, hint));
        }
        let proposal = self.inference.proposal(station);
        let text = match format {
            Format::Json => proposal.json_schema,
            other => Schema::text_of(other, &proposal.shape),
        };
        Schema::compile(format, &text, &[]).map_err(|error| {
            Failure::new(
                FailureCode::Refused,
                format!("what was seen cannot be said in {format}: {error}"),
                "ask for `json`",
            )
        })?;
        Ok(json!({
            "station": station,
            "format": format,
            "looked_at": looked_at,
            "observed": self.inference.count(),
            "not_read": self.strangers,
            "first_not_read": self.stranger.as_ref().map(|(seq, reason)| json!({ "seq": seq, "reason": reason })),
            "schema": text,
            "evidence": proposal.evidence,
        }))
    }
}
