//! `STREAM.*`: create, update, info, names, list, delete, purge, and single messages.

use std::sync::Arc;

use millstream_cluster::{Command, Outcome, StreamCell};
use millstream_streams::{ApiError, Command as StreamCommand, Purge, StreamConfig};
use millstream_types::{Timestamp, filters_overlap};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, Request, body, message, not_supported, page, to_value};
use crate::internal::{not_internal, shown_streams};
use crate::service::Shared;

const NAMES_PAGE: usize = 1024;
const LIST_PAGE: usize = 256;

pub(super) async fn handle(shared: &Arc<Shared>, parts: &[&str], request: &Request) -> Answer {
    match parts {
        ["CREATE", name] => Answer::Json(
            "stream_create_response",
            create(shared, name, request).await,
        ),
        ["UPDATE", name] => Answer::Json(
            "stream_update_response",
            update(shared, name, request).await,
        ),
        ["NAMES"] => Answer::Json("stream_names_response", names(shared, request)),
        ["LIST"] => Answer::Json("stream_list_response", list(shared, request)),
        ["INFO", name] => Answer::Json("stream_info_response", info(shared, name, request)),
        ["DELETE", name] => Answer::Json("stream_delete_response", delete(shared, name).await),
        ["PURGE", name] => {
            Answer::Json("stream_purge_response", purge(shared, name, request).await)
        }
        ["MSG", "GET", name] => Answer::Json(
            "stream_msg_get_response",
            message::get(shared, name, request),
        ),
        ["MSG", "DELETE", name] => Answer::Json(
            "stream_msg_delete_response",
            message::delete(shared, name, request).await,
        ),
        _ => Answer::Json("error_response", Err(not_supported(&request.subject))),
    }
}

pub(super) fn find(shared: &Shared, name: &str) -> Result<Arc<StreamCell>, ApiError> {
    shared
        .node
        .stream(name)
        .ok_or_else(ApiError::stream_not_found)
}

fn config_of(name: &str, request: &Request) -> Result<StreamConfig, ApiError> {
    let config: StreamConfig = serde_json::from_slice(&request.payload)
        .map_err(|error| ApiError::invalid_json(format!("invalid JSON: {error}")))?;
    if config.name != name {
        return Err(ApiError::stream_mismatch());
    }
    Ok(config)
}

fn describe(cell: &StreamCell) -> Value {
    to_value(&cell.lock().info(Timestamp::now()))
}

async fn create(shared: &Arc<Shared>, name: &str, request: &Request) -> Result<Value, ApiError> {
    let config = config_of(name, request)?.checked()?;
    not_internal(name).map_err(ApiError::stream_create_failed)?;
    if let Some(cell) = shared.node.stream(name) {
        // Creating again with the same configuration is no error, so that clients may just try.
        if cell.lock().config == config {
            return Ok(describe(&cell));
        }
        return Err(ApiError::stream_name_exist());
    }
    let command = Command::Stream(StreamCommand::CreateStream {
        id: shared.node.next_stream_id(),
        time: Timestamp::now(),
        config: Box::new(config),
    });
    done(shared.propose_wait(&command).await?)?;
    Ok(describe(&*find(shared, name)?))
}

async fn update(shared: &Arc<Shared>, name: &str, request: &Request) -> Result<Value, ApiError> {
    let cell = find(shared, name)?;
    not_internal(name).map_err(ApiError::stream_update_failed)?;
    let config = config_of(name, request)?;
    let config = cell.lock().config.checked_update(config)?;
    if config.subjects != cell.lock().config.subjects {
        not_of_a_station(shared, name).map_err(ApiError::stream_update_failed)?;
    }
    let command = Command::Stream(StreamCommand::UpdateStream {
        id: cell.id,
        time: Timestamp::now(),
        config: Box::new(config),
    });
    done(shared.propose_wait(&command).await?)?;
    Ok(describe(&cell))
}

/// Turns a refusal at apply into an error.
pub(super) fn done(outcome: Outcome) -> Result<u64, ApiError> {
    match outcome {
        Outcome::Refused(error) => Err(error),
        Outcome::Purged(count) => Ok(count),
        _ => Ok(0),
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Listing {
    offset: usize,
    subject: Option<String>,
}

fn matching(shared: &Shared, listing: &Listing) -> Vec<Arc<StreamCell>> {
    let mut streams = shown_streams(&shared.node);
    if let Some(subject) = &listing.subject {
        streams.retain(|cell| {
            let subjects = &cell.lock().config.subjects;
            subjects
                .iter()
                .any(|own| filters_overlap(own.as_bytes(), subject.as_bytes()))
        });
    }
    streams
}

fn names(shared: &Shared, request: &Request) -> Result<Value, ApiError> {
    let listing: Listing = body(request)?;
    let all = matching(shared, &listing)
        .iter()
        .map(|cell| cell.name.clone())
        .collect();
    let (total, streams): (_, Vec<String>) = page(all, listing.offset, NAMES_PAGE);
    Ok(json!({ "total": total, "offset": listing.offset, "limit": NAMES_PAGE, "streams": streams }))
}

fn list(shared: &Shared, request: &Request) -> Result<Value, ApiError> {
    let listing: Listing = body(request)?;
    let (total, cells) = page(matching(shared, &listing), listing.offset, LIST_PAGE);
    let streams: Vec<Value> = cells.iter().map(|cell| describe(cell)).collect();
    Ok(json!({ "total": total, "offset": listing.offset, "limit": LIST_PAGE, "streams": streams }))
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct InfoRequest {
    deleted_details: bool,
    subjects_filter: Option<String>,
    offset: usize,
}

/// Most subjects one answer lists, as in nats-server.
const SUBJECTS_PAGE: usize = 100_000;

fn info(shared: &Shared, name: &str, request: &Request) -> Result<Value, ApiError> {
    let wanted: InfoRequest = body(request)?;
    let cell = find(shared, name)?;
    let stream = cell.lock();
    let mut info = stream.info(Timestamp::now());
    if wanted.deleted_details {
        info.state.deleted = Some(stream.deleted());
    }
    let mut total = None;
    if let Some(filter) = &wanted.subjects_filter {
        let all: Vec<_> = stream.subjects(filter.as_bytes()).into_iter().collect();
        let (count, some) = page(all, wanted.offset, SUBJECTS_PAGE);
        total = Some(count);
        info.state.subjects = Some(some.into_iter().collect());
    }
    let mut value = to_value(&info);
    if let (Some(total), Some(value)) = (total, value.as_object_mut()) {
        value.insert("total".to_owned(), total.into());
        value.insert("offset".to_owned(), wanted.offset.into());
        value.insert("limit".to_owned(), SUBJECTS_PAGE.into());
    }
    Ok(value)
}

/// A station's stream and its dead letters go with the station: without them its sources and sinks hang in the air.
fn not_of_a_station(shared: &Shared, name: &str) -> Result<(), String> {
    let catalog = shared.node.catalog();
    let station = name.strip_suffix("-dead-letters").unwrap_or(name);
    match [name, station]
        .into_iter()
        .find(|name| catalog.stations.contains_key(*name))
    {
        Some(station) => Err(format!(
            "the stream belongs to station `{station}`: use `millstream apply` or `millstream delete station {station}`"
        )),
        None => Ok(()),
    }
}

async fn delete(shared: &Arc<Shared>, name: &str) -> Result<Value, ApiError> {
    let cell = find(shared, name)?;
    not_internal(name).map_err(ApiError::stream_delete_failed)?;
    not_of_a_station(shared, name).map_err(ApiError::stream_delete_failed)?;
    let command = Command::Stream(StreamCommand::DeleteStream { id: cell.id });
    done(shared.propose_wait(&command).await?)?;
    Ok(json!({ "success": true }))
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PurgeRequest {
    filter: Option<String>,
    seq: u64,
    keep: u64,
}

async fn purge(shared: &Arc<Shared>, name: &str, request: &Request) -> Result<Value, ApiError> {
    let wanted: PurgeRequest = body(request)?;
    if wanted.seq > 0 && wanted.keep > 0 {
        return Err(ApiError::bad_request());
    }
    let cell = find(shared, name)?;
    not_internal(name).map_err(ApiError::purge_failed)?;
    let command = Command::Stream(StreamCommand::Purge(Purge {
        stream: cell.id,
        time: Timestamp::now(),
        filter: wanted.filter.filter(|filter| !filter.is_empty()),
        sequence: wanted.seq,
        keep: wanted.keep,
    }));
    let purged = done(shared.propose_wait(&command).await?)?;
    Ok(json!({ "success": true, "purged": purged }))
}
