//! `CONSUMER.*`: create in its three forms, info, names, list, delete, and pull requests.

use std::sync::Arc;

use bytes::Bytes;
use millstream_cluster::{Command, StreamCell};
use millstream_pipeline::Reading;
use millstream_streams::{
    ApiError, Command as StreamCommand, ConsumerAction, ConsumerConfig, PullRequest,
};
use millstream_types::{HeadersBuilder, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};

use super::stream::{done, find};
use super::{Answer, Request, body, not_supported, page, to_value};
use crate::service::Shared;

const NAMES_PAGE: usize = 1024;
const LIST_PAGE: usize = 256;

pub(super) async fn handle(shared: &Arc<Shared>, parts: &[&str], request: &Request) -> Answer {
    match parts {
        ["CREATE", stream] => created(create(shared, stream, None, None, request).await),
        ["CREATE", stream, name] => {
            created(create(shared, stream, Some(name), None, request).await)
        }
        ["CREATE", stream, name, filter @ ..] => {
            created(create(shared, stream, Some(name), Some(filter.join(".")), request).await)
        }
        ["DURABLE", "CREATE", stream, name] => {
            created(create(shared, stream, Some(name), None, request).await)
        }
        ["NAMES", stream] => {
            Answer::Json("consumer_names_response", names(shared, stream, request))
        }
        ["LIST", stream] => Answer::Json("consumer_list_response", list(shared, stream, request)),
        ["INFO", stream, name] => {
            Answer::Json("consumer_info_response", info(shared, stream, name))
        }
        ["DELETE", stream, name] => Answer::Json(
            "consumer_delete_response",
            delete(shared, stream, name).await,
        ),
        _ => Answer::Json("error_response", Err(not_supported(&request.subject))),
    }
}

fn created(result: Result<Value, ApiError>) -> Answer {
    Answer::Json("consumer_create_response", result)
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct CreateRequest {
    stream_name: String,
    config: ConsumerConfig,
    action: ConsumerAction,
}

async fn create(
    shared: &Arc<Shared>,
    stream: &str,
    name: Option<&str>,
    filter: Option<String>,
    request: &Request,
) -> Result<Value, ApiError> {
    let wanted: CreateRequest = serde_json::from_slice(&request.payload)
        .map_err(|error| ApiError::invalid_json(format!("invalid JSON: {error}")))?;
    if !wanted.stream_name.is_empty() && wanted.stream_name != stream {
        return Err(ApiError::stream_mismatch());
    }
    let mut config = wanted.config;
    let durable_subject = request.subject.starts_with("CONSUMER.DURABLE.");
    check_name(&mut config, name, durable_subject)?;
    if let Some(filter) = filter {
        if !config.filter_subjects.is_empty() {
            return Err(ApiError::multiple_filters_in_subject());
        }
        if config.filter_subject.as_deref() != Some(filter.as_str()) {
            return Err(ApiError::create_filter_mismatch());
        }
    }
    Reading::of_metadata(|key| config.metadata.get(key).map(String::as_str))
        .map_err(|error| ApiError::consumer_metadata(&error.to_string()))?;
    let cell = find(shared, stream)?;
    put(shared, &cell, config, wanted.action).await
}

/// Brings the name in the subject and the names in the body together, by nats-server's rules.
fn check_name(
    config: &mut ConsumerConfig,
    name: Option<&str>,
    durable: bool,
) -> Result<(), ApiError> {
    match (name, durable) {
        (Some(name), true) => match config.durable_name.as_deref() {
            None => return Err(ApiError::consumer_durable_not_set()),
            Some(own) if own != name => return Err(ApiError::consumer_durable_mismatch()),
            Some(_) => {}
        },
        (Some(name), false) => {
            let own = config.durable_name.as_deref().or(config.name.as_deref());
            if own.is_some_and(|own| own != name) {
                return Err(ApiError::consumer_durable_mismatch());
            }
            config.name = Some(name.to_owned());
        }
        (None, _) => {
            if config.durable_name.is_some() {
                return Err(ApiError::consumer_ephemeral_with_durable());
            }
        }
    }
    if config.name.is_none() {
        // The name is made up here, before the command: applying must not need chance.
        config.name = Some(config.durable_name.clone().unwrap_or_else(random_name));
    }
    Ok(())
}

fn random_name() -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let mut bytes = [0_u8; 8];
    // Without system entropy the clock still keeps names apart on this node.
    if getrandom::fill(&mut bytes).is_err() {
        bytes = Timestamp::now().0.to_le_bytes();
    }
    bytes
        .iter()
        .map(|byte| char::from(LETTERS[usize::from(*byte) % LETTERS.len()]))
        .collect()
}

/// Creates or updates a consumer; also the way in for connectors.
pub(crate) async fn put(
    shared: &Arc<Shared>,
    cell: &Arc<StreamCell>,
    config: ConsumerConfig,
    action: ConsumerAction,
) -> Result<Value, ApiError> {
    let time = Timestamp::now();
    let (name, config, exists) = {
        let stream = cell.lock();
        let config = config.checked(&stream.config)?;
        let name = config.name.clone().unwrap_or_default();
        let exists = stream.consumers.contains_key(&name);
        stream.check_consumer(&name, &config, action)?;
        (name, Box::new(config), exists)
    };
    let stream = cell.id;
    let command = if exists {
        StreamCommand::UpdateConsumer {
            stream,
            name: name.clone(),
            time,
            config,
        }
    } else {
        StreamCommand::CreateConsumer {
            stream,
            name: name.clone(),
            time,
            config,
        }
    };
    done(shared.propose_wait(&Command::Stream(command)).await?)?;
    describe(cell, &name)
}

fn describe(cell: &StreamCell, name: &str) -> Result<Value, ApiError> {
    let info = cell.lock().consumer_info(name, Timestamp::now());
    Ok(to_value(&info.ok_or_else(ApiError::consumer_not_found)?))
}

fn info(shared: &Shared, stream: &str, name: &str) -> Result<Value, ApiError> {
    describe(&*find(shared, stream)?, name)
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Listing {
    offset: usize,
}

fn names(shared: &Shared, stream: &str, request: &Request) -> Result<Value, ApiError> {
    let listing: Listing = body(request)?;
    let all: Vec<String> = find(shared, stream)?
        .lock()
        .consumers
        .keys()
        .cloned()
        .collect();
    let (total, some) = page(all, listing.offset, NAMES_PAGE);
    Ok(json!({ "total": total, "offset": listing.offset, "limit": NAMES_PAGE, "consumers": some }))
}

fn list(shared: &Shared, stream: &str, request: &Request) -> Result<Value, ApiError> {
    let listing: Listing = body(request)?;
    let cell = find(shared, stream)?;
    let all: Vec<String> = cell.lock().consumers.keys().cloned().collect();
    let (total, some) = page(all, listing.offset, LIST_PAGE);
    let infos: Vec<Value> = some
        .iter()
        .filter_map(|name| describe(&cell, name).ok())
        .collect();
    Ok(json!({ "total": total, "offset": listing.offset, "limit": LIST_PAGE, "consumers": infos }))
}

async fn delete(shared: &Arc<Shared>, stream: &str, name: &str) -> Result<Value, ApiError> {
    let cell = find(shared, stream)?;
    if !cell.lock().consumers.contains_key(name) {
        return Err(ApiError::consumer_not_found());
    }
    remove(shared, &cell, name).await?;
    Ok(json!({ "success": true }))
}

/// Deletes a consumer and tells those who wait on it.
pub(crate) async fn remove(
    shared: &Arc<Shared>,
    cell: &Arc<StreamCell>,
    name: &str,
) -> Result<(), ApiError> {
    let waiting = cell.lock().take_waiting(name);
    let command = StreamCommand::DeleteConsumer {
        stream: cell.id,
        name: name.to_owned(),
    };
    done(shared.propose_wait(&Command::Stream(command)).await?)?;
    let mut publisher = shared.broker.publisher();
    let gone = HeadersBuilder::with_status("409 Consumer Deleted").build();
    for reply in waiting {
        publisher.send(&reply, None, &gone, &[]);
    }
    publisher.flush();
    Ok(())
}

/// A pull request: queued at the consumer, then its pump is woken. Refusals are status messages, never JSON.
pub(super) fn pull(shared: &Arc<Shared>, rest: &str, reply: &[u8], payload: &[u8]) {
    let Some((stream, name)) = rest.split_once('.') else {
        return;
    };
    let Some(cell) = shared.node.stream(stream) else {
        return;
    };
    let refused = match PullRequest::parse(payload, Bytes::copy_from_slice(reply)) {
        Err(status) => Some(status),
        Ok(pull) => {
            let mut stream = cell.lock();
            stream.pull(name, pull, Timestamp::now()).err()
        }
    };
    match refused {
        None => shared.pumps.wake(&cell, name),
        Some(status) => {
            let mut publisher = shared.broker.publisher();
            publisher.send(
                reply,
                None,
                &HeadersBuilder::with_status(&status).build(),
                &[],
            );
            publisher.flush();
        }
    }
}
