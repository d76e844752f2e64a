//! Single messages: `STREAM.MSG.GET`, `STREAM.MSG.DELETE`, `DIRECT.GET`.

use std::sync::Arc;

use bytes::Bytes;
use millstream_cluster::{Command, StreamCell};
use millstream_streams::{ApiError, Command as StreamCommand, StoredMessage};
use millstream_types::{HeaderBlock, HeadersBuilder, Timestamp};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use super::stream::{done, find};
use super::{Answer, Request, body, to_value};
use crate::internal::not_internal;
use crate::read::{StoredRecord, read};
use crate::service::Shared;

#[derive(Default, Deserialize)]
#[serde(default)]
struct GetRequest {
    seq: u64,
    /// The first message stored then or later, instead of a sequence.
    #[serde(deserialize_with = "rfc3339")]
    start_time: Option<Timestamp>,
    last_by_subj: Option<String>,
    next_by_subj: Option<String>,
}

fn rfc3339<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Timestamp>, D::Error> {
    let Some(text) = Option::<String>::deserialize(from)? else {
        return Ok(None);
    };
    let wrong = || D::Error::custom(format!("`{text}` is not an RFC 3339 time"));
    Timestamp::parse_rfc3339(&text).map(Some).ok_or_else(wrong)
}

impl GetRequest {
    fn find(&self, cell: &StreamCell) -> Result<u64, ApiError> {
        let stream = cell.lock();
        if let Some(time) = self.start_time {
            if self.seq > 0 || self.last_by_subj.is_some() {
                return Err(ApiError::bad_request());
            }
            let filter = self.next_by_subj.as_deref().unwrap_or(">");
            let found = stream.first_since(time);
            let found = found.and_then(|first| stream.next_for_filter(first, filter.as_bytes()));
            return found.ok_or_else(ApiError::no_message_found);
        }
        let found = match (&self.last_by_subj, &self.next_by_subj) {
            (Some(subject), None) if self.seq == 0 => stream.last_matching(subject.as_bytes()),
            (None, Some(filter)) => stream.next_for_filter(self.seq.max(1), filter.as_bytes()),
            (None, None) if self.seq > 0 => stream.locate(self.seq).map(|_| self.seq),
            _ => return Err(ApiError::bad_request()),
        };
        found.ok_or_else(ApiError::no_message_found)
    }
}

fn fetch(
    shared: &Shared,
    cell: &StreamCell,
    wanted: &GetRequest,
) -> Result<StoredRecord, ApiError> {
    let seq = wanted.find(cell)?;
    read(shared, cell, seq)
        .map_err(|error| ApiError::internal(&error.to_string()))?
        .ok_or_else(ApiError::no_message_found)
}

pub(super) fn get(shared: &Shared, name: &str, request: &Request) -> Result<Value, ApiError> {
    let wanted: GetRequest = body(request)?;
    let cell = find(shared, name)?;
    let record = fetch(shared, &cell, &wanted)?;
    let message = StoredMessage::new(record.seq, record.time, &record.view());
    Ok(json!({ "message": to_value(&message) }))
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct DeleteRequest {
    seq: u64,
    no_erase: bool,
}

pub(super) async fn delete(
    shared: &Arc<Shared>,
    name: &str,
    request: &Request,
) -> Result<Value, ApiError> {
    let wanted: DeleteRequest = body(request)?;
    let cell = find(shared, name)?;
    not_internal(name).map_err(ApiError::delete_message_failed)?;
    let command = Command::Stream(StreamCommand::DeleteMessage {
        stream: cell.id,
        seq: wanted.seq,
        erase: !wanted.no_erase,
    });
    done(shared.propose_wait(&command).await?)?;
    Ok(json!({ "success": true }))
}

/// `DIRECT.GET.<stream>` with a JSON body, or with the subject in the request's own subject: answered by the message
/// itself with where it stood in its headers, for KV reads without JSON.
pub(super) fn direct(
    shared: &Shared,
    name: &str,
    subject: Option<String>,
    request: &Request,
) -> Answer {
    let wanted = match subject {
        Some(subject) => GetRequest {
            last_by_subj: Some(subject),
            ..GetRequest::default()
        },
        None => match serde_json::from_slice(&request.payload) {
            Ok(wanted) => wanted,
            Err(_) => return status("408 Bad Request"),
        },
    };
    let Some(cell) = shared
        .node
        .stream(name)
        .filter(|cell| cell.lock().config.allow_direct)
    else {
        return Answer::Nothing;
    };
    match fetch(shared, &cell, &wanted) {
        Ok(record) => Answer::Message(direct_headers(name, &record), record.payload()),
        Err(error) if error.code == 404 => status("404 Message Not Found"),
        Err(error) if error.code == 400 => status("408 Bad Request"),
        Err(error) => status(&format!("500 {}", error.description)),
    }
}

fn direct_headers(stream: &str, record: &StoredRecord) -> Bytes {
    let view = record.view();
    let mut headers = HeadersBuilder::from_block(&HeaderBlock::new(view.headers));
    headers.push("Nats-Stream", stream);
    headers.push("Nats-Subject", &String::from_utf8_lossy(view.subject));
    headers.push("Nats-Sequence", &record.seq.to_string());
    headers.push("Nats-Time-Stamp", &Timestamp::to_rfc3339(record.time));
    headers.build()
}

fn status(line: &str) -> Answer {
    Answer::Message(HeadersBuilder::with_status(line).build(), Bytes::new())
}
