//! Dead letters: list, show, send again, drop.

use millstream_admin::{Failure, FailureCode};
use millstream_cluster::{Command, Kind, Outcome};
use millstream_jetstream::{IngestRecord, RecordEnd, Resent, StoredRecord};
use millstream_pipeline::DeadLetter;
use millstream_streams::{Command as StreamCommand, RESENT};
use millstream_types::{HeaderBlock, HeadersBuilder};
use serde_json::{Map, Value, json};

use super::messages::{headers_of, put_payload};
use super::streams::letters_name;
use super::{Manager, not_found, refused};

/// Letters listed when no limit is given.
const DEFAULT_LIMIT: u64 = 100;

impl Manager {
    /// The name of a station's dead-letter stream, when there is such a station.
    fn letters(&self, station: &str) -> Result<String, Failure> {
        let name = letters_name(station);
        if self.node.stream(&name).is_some() {
            return Ok(name);
        }
        let catalog = self.node.catalog();
        let known: Vec<&str> = catalog.stations.keys().map(String::as_str).collect();
        Err(not_found(Kind::Station, station, &known))
    }

    pub(super) fn dead_letters(&self, station: &str, limit: Option<u64>) -> Result<Value, Failure> {
        let stream = self.letters(station)?;
        let limit = usize::try_from(limit.unwrap_or(DEFAULT_LIMIT)).unwrap_or(usize::MAX);
        let found = self
            .jetstream()?
            .reader()
            .range(&stream, 1, limit)
            .map_err(|error| damaged(&error))?;
        let items: Vec<Value> = found.iter().map(shown).collect();
        let total = self
            .node
            .stream(&stream)
            .map_or(0, |cell| cell.lock().state().messages);
        Ok(json!({ "items": items, "total": total }))
    }

    fn letter(&self, station: &str, id: u64) -> Result<StoredRecord, Failure> {
        let stream = self.letters(station)?;
        let found = self
            .jetstream()?
            .reader()
            .get(&stream, id)
            .map_err(|error| damaged(&error))?;
        found.ok_or_else(|| {
            Failure::new(
                FailureCode::NotFound,
                format!("station `{station}` has no dead letter {id}"),
                format!("`millstream dead-letters list {station}` lists them"),
            )
        })
    }

    pub(super) fn dead_letter(&self, station: &str, id: u64) -> Result<Value, Failure> {
        Ok(shown(&self.letter(station, id)?))
    }

    pub(super) async fn resend(&self, station: &str, id: u64) -> Result<Value, Failure> {
        let record = self.letter(station, id)?;
        let letter = DeadLetter::read(&record.message()).ok_or_else(|| {
            Failure::new(
                FailureCode::Refused,
                format!("message {id} is no dead letter"),
                "somebody published it into the dead-letter stream; drop it",
            )
        })?;
        if let Some(flow) = letter.flow.clone() {
            return self.resend_through(&flow, id, letter).await;
        }
        let mut original = letter.original();
        original.reply = None;
        // A message that a sink refused was stored: the same id, or the same content, would count as its duplicate.
        let headers = HeadersBuilder::without(&HeaderBlock::new(&original.headers), RESENT).build();
        let again = HeadersBuilder::without_message_id(&HeaderBlock::new(&headers));
        original.headers = again.with(RESENT, &id.to_string()).build();
        let ends = self
            .jetstream()?
            .ingest()
            .commit(vec![IngestRecord::from(original)], None)
            .await
            .map_err(|error| {
                Failure::new(
                    FailureCode::Unavailable,
                    error.to_string(),
                    "the letter stays; try again",
                )
            })?;
        match ends.into_iter().next() {
            Some(RecordEnd::Stored { stream, seq } | RecordEnd::Duplicate { stream, seq }) => {
                self.drop_letter(station, id).await?;
                Ok(json!({ "id": id, "stream": stream, "seq": seq }))
            }
            Some(RecordEnd::Dropped) => {
                self.drop_letter(station, id).await?;
                Ok(json!({ "id": id, "dropped": true }))
            }
            Some(RecordEnd::Rejected {
                stage,
                code,
                reason,
                letter,
            }) => {
                let hint = match letter {
                    // It became a new letter with the new reason; the old one says nothing more.
                    Some(new) => {
                        self.drop_letter(station, id).await?;
                        format!("mend the station, then send letter {new} again")
                    }
                    None => "the letter stays; mend the station, then send it again".to_owned(),
                };
                Err(Failure::new(
                    FailureCode::Refused,
                    format!("rejected again by {stage}: {reason} ({code})"),
                    hint,
                ))
            }
            Some(RecordEnd::Refused(error)) => Err(refused(&error)),
            Some(RecordEnd::NoStation) | None => Err(Failure::new(
                FailureCode::NotFound,
                "no station stores the message's subject any more",
                "apply one, then send it again",
            )),
        }
    }

    /// What a flow rejected is stored already: it goes through that flow once more, and not into the station.
    async fn resend_through(
        &self,
        name: &str,
        id: u64,
        letter: DeadLetter,
    ) -> Result<Value, Failure> {
        let from = letter.station.clone();
        let flow = self.flows()?.get(name);
        let flow = flow.filter(|flow| flow.setup().reads(&from));
        let flow = flow.ok_or_else(|| {
            Failure::new(
                FailureCode::NotFound,
                format!("there is no flow `{name}` that reads `{from}` any more"),
                "apply it again, or drop the letter",
            )
        })?;
        match flow.resend(id, letter.sequence, letter.original()).await {
            Resent::Stored(outputs) => Ok(json!({ "id": id, "flow": name, "outputs": outputs })),
            Resent::Dropped => Ok(json!({ "id": id, "flow": name, "dropped": true })),
            Resent::Rejected(why, new) => Err(Failure::new(
                FailureCode::Refused,
                format!(
                    "rejected again by {}: {} ({})",
                    why.stage, why.reason, why.code
                ),
                format!("mend the flow, then send letter {new} again"),
            )),
            Resent::Retry(after) => Err(Failure::new(
                FailureCode::Refused,
                format!(
                    "a stage asks to be tried again in {}",
                    millstream_types::format_duration(after)
                ),
                "the letter stays; send it again then",
            )),
            Resent::Refused(why) => Err(Failure::new(
                FailureCode::Refused,
                why,
                "the letter stays; send it again when that is mended",
            )),
        }
    }

    pub(super) async fn drop_letter(&self, station: &str, id: u64) -> Result<Value, Failure> {
        self.letter(station, id)?;
        let stream = self.letters(station)?;
        let Some(cell) = self.node.stream(&stream) else {
            return Ok(json!({ "id": id }));
        };
        let command = Command::Stream(StreamCommand::DeleteMessage {
            stream: cell.id,
            seq: id,
            erase: true,
        });
        match self.jetstream()?.propose(&command).await {
            Ok(Outcome::Refused(error)) | Err(error) => Err(refused(&error)),
            Ok(_) => Ok(json!({ "id": id, "dropped": true })),
        }
    }
}

fn damaged(error: &dyn std::error::Error) -> Failure {
    Failure::new(
        FailureCode::Damaged,
        error.to_string(),
        "see the server's log",
    )
}

fn shown(record: &StoredRecord) -> Value {
    let mut value = Map::new();
    value.insert("id".to_owned(), record.seq.into());
    let message = record.message();
    match DeadLetter::read(&message) {
        Some(letter) => {
            value.insert("time".to_owned(), letter.time.to_rfc3339().into());
            value.insert(
                "subject".to_owned(),
                String::from_utf8_lossy(&letter.subject).into_owned().into(),
            );
            value.insert("stage".to_owned(), letter.stage.clone().into());
            value.insert("code".to_owned(), letter.code.clone().into());
            value.insert("reason".to_owned(), letter.reason.clone().into());
            value.insert("path".to_owned(), letter.path.clone().into());
            value.insert("version".to_owned(), letter.version.into());
            if let Some(version) = letter.function_version {
                value.insert("function_version".to_owned(), version.into());
            }
            if let Some(flow) = &letter.flow {
                value.insert("flow".to_owned(), flow.clone().into());
                value.insert("sequence".to_owned(), letter.sequence.into());
            }
            put_payload(&mut value, &letter.payload);
            value.insert("headers".to_owned(), headers_of(&letter.headers));
        }
        None => {
            value.insert("time".to_owned(), record.time.to_rfc3339().into());
            value.insert("subject".to_owned(), message.subject_str().into());
            put_payload(&mut value, &message.payload);
            value.insert("headers".to_owned(), headers_of(&message.headers));
        }
    }
    value.into()
}
