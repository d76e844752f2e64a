//! `publish` and `tail`.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use millstream_admin::{Failure, FailureCode, MessagesRequest, PublishRequest, Reply};
use millstream_cluster::Node;
use millstream_jetstream::{IngestRecord, Reader, RecordEnd, StoredRecord, shown_streams};
use millstream_pipeline::Reading;
use millstream_types::{HeaderBlock, HeadersBuilder, Message, check_filter, check_subject};
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;

use super::{Manager, not_found, refused};
use crate::shelf::Shelf;

/// Messages read from the log at once.
const PAGE: usize = 256;
/// Messages listed when no limit is given and nothing is followed.
const DEFAULT_LIMIT: u64 = 100;

impl Manager {
    pub(super) async fn publish(&self, request: PublishRequest) -> Result<Value, Failure> {
        let bad =
            |error: String, hint: &'static str| Failure::new(FailureCode::BadRequest, error, hint);
        check_subject(request.subject.as_bytes()).map_err(|error| {
            bad(
                error.to_string(),
                "name a literal subject, such as `flights.UA`",
            )
        })?;
        let payload = match (request.payload, request.payload_base64) {
            (Some(text), None) => Bytes::from(text),
            (None, Some(text)) => STANDARD
                .decode(text)
                .map_err(|error| {
                    bad(
                        format!("payload is not base64: {error}"),
                        "encode the bytes in base64",
                    )
                })?
                .into(),
            (None, None) => Bytes::new(),
            (Some(_), Some(_)) => {
                return Err(bad(
                    "two payloads are given".to_owned(),
                    "give `payload` or `payload_base64`",
                ));
            }
        };
        let most = self.broker.options().max_payload;
        if payload.len() > most {
            return Err(bad(
                format!(
                    "payload has {} bytes, `max_payload` allows {most}",
                    payload.len()
                ),
                "send less, or raise `max_payload` in the server's configuration",
            ));
        }
        let mut headers = HeadersBuilder::new();
        for (name, value) in &request.headers {
            headers.push(name, value);
        }
        let message = Message {
            subject: Bytes::from(request.subject.clone()),
            reply: None,
            headers: headers.build(),
            payload,
        };
        let ends = self
            .jetstream()?
            .ingest()
            .commit(vec![IngestRecord::from(message)], None)
            .await
            .map_err(|error| {
                Failure::new(
                    FailureCode::Unavailable,
                    error.to_string(),
                    "nothing was stored; try again",
                )
            })?;
        published(ends.into_iter().next(), &request.subject)
    }

    pub(super) fn messages(
        &self,
        station: &str,
        request: &MessagesRequest,
    ) -> Result<Reply, Failure> {
        let Some(cell) = self.node.stream(station) else {
            let names: Vec<String> = shown_streams(&self.node)
                .iter()
                .map(|cell| cell.name.clone())
                .collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            return Err(not_found(
                millstream_cluster::Kind::Station,
                station,
                &names,
            ));
        };
        let first = cell.lock().first_seq();
        let from = request.from_seq.unwrap_or(first).max(first);
        let limit = request.limit.unwrap_or(if request.follow {
            u64::MAX
        } else {
            DEFAULT_LIMIT
        });
        let reading = Reading::parse(request.decode.as_deref(), request.r#as.as_deref(), None);
        let reading = reading.map_err(|error| {
            let hint = "ask for `decode=json`, or for `as=SUBJECT:VERSION`";
            Failure::new(FailureCode::BadRequest, error.to_string(), hint)
        })?;
        let look = Look {
            reading,
            schemas: Arc::clone(self.compiler.shelf()),
        };
        let filter = request.subject.clone().unwrap_or_else(|| ">".to_owned());
        check_filter(filter.as_bytes()).map_err(|error| {
            let hint = "ask for `subject=flights.UA`, or `subject=flights.*`";
            Failure::new(FailureCode::BadRequest, error.to_string(), hint)
        })?;
        let (lines, receiver) = mpsc::channel(PAGE);
        let listing = Listing {
            reader: self.jetstream()?.reader(),
            node: Arc::clone(&self.node),
            station: station.to_owned(),
            filter,
            from,
            left: limit,
            follow: request.follow,
            look,
        };
        tokio::spawn(listing.run(lines));
        Ok(Reply::Lines(receiver))
    }
}

/// What became of a message, as an answer.
fn published(end: Option<RecordEnd>, subject: &str) -> Result<Value, Failure> {
    match end {
        Some(RecordEnd::Stored { stream, seq }) => Ok(json!({ "stream": stream, "seq": seq })),
        Some(RecordEnd::Duplicate { stream, seq }) => {
            Ok(json!({ "stream": stream, "seq": seq, "duplicate": true }))
        }
        Some(RecordEnd::Dropped) => Ok(json!({ "stream": null, "seq": 0, "dropped": true })),
        Some(RecordEnd::Rejected {
            stage,
            code,
            reason,
            letter: _,
        }) => Err(Failure::new(
            FailureCode::Refused,
            format!("rejected by {stage}: {reason} ({code})"),
            "mend the message, or look at the station's dead letters",
        )
        .with_details(json!({ "stage": stage, "reason_code": code }))),
        Some(RecordEnd::Refused(error)) => Err(refused(&error)),
        Some(RecordEnd::NoStation) | None => Err(Failure::new(
            FailureCode::NotFound,
            format!("no station stores `{}`", subject),
            "apply a station with that subject, or publish with a NATS client for live subscribers only",
        )),
    }
}

/// Messages that are listed.
struct Listing {
    reader: Reader,
    node: Arc<Node>,
    station: String,
    filter: String,
    from: u64,
    left: u64,
    follow: bool,
    look: Look,
}

impl Listing {
    /// Sends messages until the limit, the end of the station, or the listener's end.
    async fn run(self, lines: mpsc::Sender<Bytes>) {
        let Self {
            reader,
            node,
            station,
            filter,
            mut from,
            mut left,
            follow,
            look,
        } = self;
        while left > 0 {
            let page = PAGE.min(usize::try_from(left).unwrap_or(PAGE));
            // What is behind it now is looked at in the next round, whether it matches or not.
            let last = node
                .stream(&station)
                .map_or(0, |cell| cell.lock().last_seq());
            let found = match reader.matching(&station, from, filter.as_bytes(), (page, usize::MAX))
            {
                Ok(found) => found,
                Err(error) => {
                    let line = format!("{}\n", json!({ "error": error.to_string() }));
                    // Whether anybody still listens no longer matters.
                    let _gone = lines.send(line.into()).await;
                    return;
                }
            };
            for record in &found {
                let line = format!("{}\n", look.shown(record));
                if lines.send(line.into()).await.is_err() {
                    return;
                }
                from = record.seq + 1;
                left -= 1;
            }
            if found.is_empty() {
                if !follow {
                    return;
                }
                from = from.max(last + 1);
                tokio::select! {
                    () = reader.changed(&station, from - 1) => {}
                    () = lines.closed() => return,
                }
            }
        }
    }
}

/// In which form messages are listed.
struct Look {
    reading: Option<Reading>,
    schemas: Arc<Shelf>,
}

impl Look {
    /// A message as it is asked for; where that cannot be, as it is stored, with the reason as `schema_error`.
    fn shown(&self, record: &StoredRecord) -> Value {
        let mut value = shown(record);
        let view = record.view();
        let converted = self
            .reading
            .as_ref()
            .map(|reading| reading.convert(&*self.schemas, view.headers, view.payload));
        let Value::Object(members) = &mut value else {
            return value;
        };
        match converted {
            None | Some(Ok(None)) => {}
            Some(Ok(Some((headers, payload)))) => {
                members.insert("headers".to_owned(), headers_of(&headers));
                members.remove("payload");
                members.remove("payload_base64");
                put_payload(members, &payload);
            }
            Some(Err(error)) => {
                members.insert("schema_error".to_owned(), error.to_string().into());
            }
        }
        value
    }
}

/// A message as JSON: its payload as JSON where it is JSON, as text where it is text, else in base64.
pub(super) fn shown(record: &StoredRecord) -> Value {
    let view = record.view();
    let mut value = Map::new();
    value.insert("seq".to_owned(), record.seq.into());
    value.insert("time".to_owned(), record.time.to_rfc3339().into());
    value.insert(
        "subject".to_owned(),
        String::from_utf8_lossy(view.subject).into_owned().into(),
    );
    value.insert("headers".to_owned(), headers_of(view.headers));
    put_payload(&mut value, view.payload);
    value.into()
}

pub(super) fn headers_of(raw: &[u8]) -> Value {
    let mut headers = Map::new();
    for (name, value) in HeaderBlock::new(raw).iter() {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        headers
            .entry(text(name))
            .or_insert_with(|| text(value).into());
    }
    headers.into()
}

pub(super) fn put_payload(value: &mut Map<String, Value>, payload: &[u8]) {
    match std::str::from_utf8(payload) {
        Ok(text) => {
            let json = serde_json::from_str(text).unwrap_or_else(|_| text.into());
            value.insert("payload".to_owned(), json);
        }
        Err(_) => {
            value.insert("payload_base64".to_owned(), STANDARD.encode(payload).into());
        }
    }
}
