//! A station read from inside the process: what sinks stand on. The cursor is an ordinary durable consumer, so it shows
//! in the JetStream API and survives a kill; it moves only when the destination accepted.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use millstream_cluster::StreamCell;
use millstream_pipeline::{Rejection, dead_letter};
use millstream_streams::{
    Ack, AckKind, Action, ApiError, ConsumerAction, ConsumerConfig, PullRequest,
};
use millstream_types::{Message, Timestamp};
use thiserror::Error;
use tokio::sync::{Mutex, Notify, oneshot};

use crate::api;
use crate::ingest::{IngestRecord, RecordEnd, dead_letter_stream};
use crate::read::{FrameCursor, StoredRecord};
use crate::service::{JetStream, Shared};

/// How long a sink may work on a record before it is given to it again.
const ACK_WAIT: Duration = Duration::from_secs(300);

/// Why a station cannot be read.
#[derive(Debug, Error)]
pub enum FeedError {
    /// There is no such station.
    #[error("there is no station `{0}`")]
    NoStation(String),
    /// The consumer could not be made.
    #[error("cursor `{name}` on station `{station}` cannot be made: {source}")]
    Cursor {
        /// The consumer's name.
        name: String,
        /// The station.
        station: String,
        /// Why.
        source: ApiError,
    },
    /// A stored message cannot be read.
    #[error(transparent)]
    Fetch(#[from] crate::read::FetchError),
    /// The log does not take what was asked.
    #[error("cursor is not moved: {0}")]
    Log(String),
    /// The consumer was deleted.
    #[error("cursor `{0}` was deleted")]
    Deleted(String),
}

/// A reader of one station with a durable cursor.
#[derive(Debug)]
pub struct Feed {
    shared: Arc<Shared>,
    cell: Arc<StreamCell>,
    name: String,
    wake: Arc<Notify>,
    cursor: Mutex<FrameCursor>,
    /// Sequence and delivery count of what was handed out and is not settled.
    outstanding: std::sync::Mutex<BTreeMap<u64, u64>>,
    /// Acknowledgements whose proposal failed; proposed again with the next ones.
    unsaved: std::sync::Mutex<Vec<Ack>>,
}

impl JetStream {
    /// Opens, or continues, the cursor `name` on a station.
    ///
    /// # Errors
    /// When there is no such station, or the cursor cannot be made.
    pub async fn feed(&self, station: &str, name: &str) -> Result<Feed, FeedError> {
        let shared = Arc::clone(&self.shared);
        let cell = shared
            .node
            .stream(station)
            .ok_or_else(|| FeedError::NoStation(station.to_owned()))?;
        shared.pumps.claim(&cell, name);
        if !cell.lock().consumers.contains_key(name) {
            let config = ConsumerConfig {
                durable_name: Some(name.to_owned()),
                name: Some(name.to_owned()),
                description: Some("cursor of a sink".to_owned()),
                ack_policy: millstream_streams::AckPolicy::Explicit,
                ack_wait: ACK_WAIT,
                max_ack_pending: -1,
                max_deliver: -1,
                ..ConsumerConfig::default()
            };
            api::put_consumer(&shared, &cell, config, ConsumerAction::default())
                .await
                .map_err(|source| FeedError::Cursor {
                    name: name.to_owned(),
                    station: station.to_owned(),
                    source,
                })?;
        }
        let wake = Arc::new(Notify::new());
        Ok(Feed {
            shared,
            cell,
            name: name.to_owned(),
            wake,
            cursor: Mutex::default(),
            outstanding: std::sync::Mutex::default(),
            unsaved: std::sync::Mutex::default(),
        })
    }
}

impl Feed {
    /// The next records, at least one; waits for it.
    ///
    /// # Errors
    /// When the cursor is gone or a message cannot be read.
    pub async fn next(
        &self,
        max: usize,
        max_bytes: usize,
    ) -> Result<Vec<(StoredRecord, u64)>, FeedError> {
        loop {
            let mut cursor = self.cursor.lock().await;
            let mut found = Vec::new();
            let until = self.poll(&mut cursor, max, max_bytes, &mut found)?;
            if !found.is_empty() {
                return Ok(found);
            }
            cursor.rest();
            drop(cursor);
            match until {
                None => self.wake.notified().await,
                Some(time) => {
                    let wait = time.since(Timestamp::now()).max(Duration::from_millis(1));
                    // Either way there is something to look at.
                    let _elapsed = tokio::time::timeout(wait, self.wake.notified()).await;
                }
            }
        }
    }

    fn outstanding(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, u64>> {
        self.outstanding
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn unsaved(&self) -> std::sync::MutexGuard<'_, Vec<Ack>> {
        self.unsaved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns deliveries that were not settled, so that they come again first.
    fn give_back(&self, seqs: impl Iterator<Item = u64>) {
        let now = Timestamp::now();
        let mut stream = self.cell.lock();
        for seq in seqs {
            if let Some(delivered) = self.outstanding().remove(&seq) {
                stream.nak(&self.name, seq, delivered, None, now);
            }
        }
    }

    /// The sink still works on these: they are not given out again yet.
    pub fn holding(&self, seqs: &[u64]) {
        let now = Timestamp::now();
        let mut stream = self.cell.lock();
        for seq in seqs {
            stream.progress(&self.name, *seq, now);
        }
    }

    /// Messages of the station that the cursor has not passed.
    #[must_use]
    pub fn behind(&self) -> Option<u64> {
        let info = self
            .cell
            .lock()
            .consumer_info(&self.name, Timestamp::now())?;
        Some(info.num_pending + info.num_ack_pending as u64)
    }

    fn poll(
        &self,
        cursor: &mut FrameCursor,
        max: usize,
        max_bytes: usize,
        found: &mut Vec<(StoredRecord, u64)>,
    ) -> Result<Option<Timestamp>, FeedError> {
        let now = Timestamp::now();
        let mut deliveries = Vec::new();
        let mut until = None;
        {
            let mut stream = self.cell.lock();
            // One request stands for this call; what is left of it is withdrawn at the end.
            let batch = u32::try_from(max).unwrap_or(u32::MAX).max(1);
            let request = PullRequest {
                reply: Bytes::from_static(b"feed"),
                batch,
                expires: None,
                no_wait: false,
                max_bytes: 0,
                idle_heartbeat: None,
            };
            stream
                .pull(&self.name, request, now)
                .map_err(|_| FeedError::Deleted(self.name.clone()))?;
            let mut bytes = 0;
            while deliveries.len() < max && bytes < max_bytes {
                match stream.poll_consumer(&self.name, now) {
                    None => return Err(FeedError::Deleted(self.name.clone())),
                    Some(Action::Deliver(deliver)) => {
                        bytes += deliver.size as usize;
                        deliveries.push(deliver);
                    }
                    Some(Action::Idle { .. }) => {
                        self.cell
                            .wake_on_message(&mut stream, &self.name, &self.wake);
                        break;
                    }
                    Some(Action::WaitUntil { time, .. }) => {
                        self.cell
                            .wake_on_message(&mut stream, &self.name, &self.wake);
                        until = Some(time);
                        break;
                    }
                    Some(_) => {}
                }
            }
            stream.take_waiting(&self.name);
        }
        for deliver in &deliveries {
            self.outstanding().insert(deliver.seq, deliver.delivered);
        }
        for deliver in &deliveries {
            match cursor.record(&self.shared, &self.cell, deliver.seq, deliver.place) {
                Ok(Some(record)) => found.push((record, deliver.delivered)),
                Ok(None) => {
                    self.outstanding().remove(&deliver.seq);
                }
                Err(error) => {
                    // All of them are given again, in order: nothing may be passed over.
                    self.give_back(deliveries.iter().map(|deliver| deliver.seq));
                    return Err(error.into());
                }
            }
        }
        Ok(until)
    }

    /// Moves the cursor over records the destination accepted; answers when the log has it.
    ///
    /// # Errors
    /// When the log does not take it; the records are given again then.
    pub async fn accepted(&self, seqs: &[u64]) -> Result<(), FeedError> {
        let acks = seqs
            .iter()
            .map(|seq| Ack {
                stream_seq: *seq,
                kind: AckKind::Ack,
            })
            .collect();
        let now = Timestamp::now();
        for seq in seqs {
            self.outstanding().remove(seq);
        }
        let acks = {
            // Those of a proposal that failed are no longer pending; only this feed still knows of them.
            let mut all = std::mem::take(&mut *self.unsaved());
            all.extend(self.cell.lock().acknowledge(&self.name, acks, now));
            all
        };
        if acks.is_empty() {
            return Ok(());
        }
        let kept = acks.clone();
        let command = millstream_cluster::Command::Stream(millstream_streams::Command::Acks(
            millstream_streams::Acks {
                stream: self.cell.id,
                consumer: self.name.clone(),
                time: now,
                acks,
            },
        ));
        let (done, wait) = oneshot::channel();
        self.shared
            .propose(&self.cell, 0, &command, move |outcome| {
                let _gone = done.send(outcome.map(|_| ()));
            });
        let error = match wait.await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "server is shutting down".to_owned(),
        };
        self.unsaved().extend(kept);
        Err(FeedError::Log(error))
    }

    /// Keeps a record the destination will never take among the station's dead letters.
    ///
    /// # Errors
    /// When it cannot be stored; the cursor must not move over it then.
    pub async fn dead_letter(&self, seq: u64, code: &str, reason: &str) -> Result<(), FeedError> {
        let Some(record) = crate::read::read(&self.shared, &self.cell, seq)? else {
            return Ok(());
        };
        let why = Rejection {
            stage: format!("sink:{}", self.name.trim_start_matches("sink-")),
            code: code.to_owned(),
            reason: reason.to_owned(),
            path: None,
            version: None,
        };
        let original: Message = record.message();
        let letter = dead_letter(&self.cell.name, &original, &why, Timestamp::now(), 0);
        let letters = dead_letter_stream(&self.cell.name);
        let ingest = crate::ingest::Ingest {
            shared: Arc::clone(&self.shared),
        };
        match ingest.commit(vec![IngestRecord::from(letter)], None).await {
            Ok(ends) => match ends.first() {
                Some(RecordEnd::Stored { .. } | RecordEnd::Duplicate { .. }) => Ok(()),
                other => Err(FeedError::Log(format!(
                    "`{letters}` does not take the record: {other:?}"
                ))),
            },
            Err(error) => Err(FeedError::Log(error.to_string())),
        }
    }
}

impl Drop for Feed {
    /// What was handed out and not settled goes to the next reader first, in order.
    fn drop(&mut self) {
        let seqs: Vec<u64> = self.outstanding().keys().copied().collect();
        self.give_back(seqs.into_iter());
    }
}
