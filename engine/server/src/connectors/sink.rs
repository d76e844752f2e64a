//! The broker's side of a sink: a feed with a durable cursor, and the station's dead letters.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use millstream_cluster::Node;
use millstream_connector_api::{BoxFuture, ConnectorError, SinkFeed, SinkRecord};
use millstream_jetstream::{Feed, FeedError, JetStream, StoredRecord};
use millstream_pipeline::{Reading, Schemas};
use tokio::sync::OnceCell;

/// Where one sink's records come from.
pub(super) struct Outlet {
    jetstream: JetStream,
    node: Arc<Node>,
    station: String,
    cursor: String,
    /// In which form the destination wants records.
    reading: Option<Reading>,
    schemas: Arc<dyn Schemas>,
    /// Opened by the first call, so that what goes wrong shows in the sink's status and is tried again.
    feed: OnceCell<Feed>,
    hand: Mutex<Hand>,
}

#[derive(Default)]
struct Hand {
    /// Taken from the feed and more than the caller had room for; with why, what cannot be had as it is wanted.
    waiting: VecDeque<(SinkRecord, Option<String>)>,
    /// A dead letter over which the cursor has not moved yet: it is not written twice when only the move is repeated.
    buried: Option<u64>,
}

impl Outlet {
    pub(super) fn new(
        name: &str,
        station: &str,
        reading: Option<Reading>,
        schemas: Arc<dyn Schemas>,
        jetstream: JetStream,
        node: Arc<Node>,
    ) -> Self {
        let cursor = format!("sink-{name}");
        let (feed, hand) = (OnceCell::new(), Mutex::default());
        Self {
            jetstream,
            node,
            station: station.to_owned(),
            cursor,
            reading,
            schemas,
            feed,
            hand,
        }
    }

    async fn feed(&self) -> Result<&Feed, ConnectorError> {
        let opened = self
            .feed
            .get_or_try_init(|| self.jetstream.feed(&self.station, &self.cursor))
            .await;
        opened.map_err(|error| connector_error(&error))
    }

    /// The record as the destination wants it, or why it cannot be.
    fn converted(&self, mut record: SinkRecord) -> (SinkRecord, Option<String>) {
        let Some(reading) = &self.reading else {
            return (record, None);
        };
        match reading.convert(&*self.schemas, &record.headers, &record.payload) {
            Ok(None) => (record, None),
            Ok(Some((headers, payload))) => {
                (record.headers, record.payload) = (headers, payload);
                (record, None)
            }
            Err(error) => (record, Some(error.to_string())),
        }
    }

    /// Records that cannot be had as they are wanted go to the dead letters when it is their turn.
    async fn bury_unfit(&self) -> Result<(), ConnectorError> {
        loop {
            let unfit = self.hand().unfit();
            let Some((record, reason)) = unfit else {
                return Ok(());
            };
            self.bury(&record, "cannot_convert", &reason).await?;
            self.hand().waiting.pop_front();
        }
    }

    fn hand(&self) -> MutexGuard<'_, Hand> {
        self.hand.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn bury(
        &self,
        record: &SinkRecord,
        code: &str,
        reason: &str,
    ) -> Result<(), ConnectorError> {
        let feed = self.feed().await?;
        let written = self.hand().buried == Some(record.seq);
        if !written {
            let letters = format!("{}-dead-letters", self.station);
            if self.node.stream(&letters).is_none() {
                let station = &self.station;
                return Err(ConnectorError::retryable(format!(
                    "there is no stream `{letters}` for the record the destination refused: apply station `{station}` again"
                )));
            }
            feed.dead_letter(record.seq, code, reason)
                .await
                .map_err(|error| connector_error(&error))?;
            self.hand().buried = Some(record.seq);
        }
        feed.accepted(&[record.seq])
            .await
            .map_err(|error| connector_error(&error))?;
        self.hand().buried = None;
        Ok(())
    }
}

impl Hand {
    /// As many as fit, at least one when there is one, up to the next that cannot be had as it is wanted.
    fn take(&mut self, max: usize, max_bytes: usize) -> Vec<SinkRecord> {
        let mut bytes = 0;
        let mut fits = 0;
        for (record, fault) in self.waiting.iter().take(max) {
            if fault.is_some() {
                break;
            }
            bytes += record.weight();
            if fits > 0 && bytes > max_bytes {
                break;
            }
            fits += 1;
        }
        self.waiting
            .drain(..fits)
            .map(|(record, _)| record)
            .collect()
    }

    /// The next record, when it cannot be had as it is wanted.
    fn unfit(&self) -> Option<(SinkRecord, String)> {
        let (record, fault) = self.waiting.front()?;
        Some((record.clone(), fault.clone()?))
    }
}

fn sink_record((stored, deliveries): (StoredRecord, u64)) -> SinkRecord {
    let message = stored.message();
    SinkRecord {
        seq: stored.seq,
        time: stored.time,
        subject: message.subject,
        headers: message.headers,
        payload: message.payload,
        deliveries: u32::try_from(deliveries).unwrap_or(u32::MAX),
    }
}

fn connector_error(error: &FeedError) -> ConnectorError {
    match error {
        FeedError::NoStation(station) => ConnectorError::fatal(format!(
            "there is no station `{station}`: apply it and the sink"
        )),
        FeedError::Deleted(_) => ConnectorError::fatal(format!(
            "{error}: apply the sink again to begin with the station's first record"
        )),
        FeedError::Cursor { .. } | FeedError::Fetch(_) | FeedError::Log(_) => {
            ConnectorError::retryable(error.to_string())
        }
    }
}

impl SinkFeed for Outlet {
    fn next(
        &self,
        max: usize,
        max_bytes: usize,
    ) -> BoxFuture<'_, Result<Vec<SinkRecord>, ConnectorError>> {
        Box::pin(async move {
            loop {
                self.bury_unfit().await?;
                let left = self.hand().take(max, max_bytes);
                if !left.is_empty() {
                    return Ok(left);
                }
                let feed = self.feed().await?;
                let found = feed
                    .next(max, max_bytes)
                    .await
                    .map_err(|error| connector_error(&error))?;
                // No await from here to the next look into the hand: what was taken from the feed waits there.
                let records = found.into_iter().map(sink_record);
                let records = records.map(|record| self.converted(record));
                self.hand().waiting.extend(records);
            }
        })
    }

    fn accepted<'a>(&'a self, seqs: &'a [u64]) -> BoxFuture<'a, Result<(), ConnectorError>> {
        Box::pin(async move {
            let feed = self.feed().await?;
            feed.accepted(seqs)
                .await
                .map_err(|error| connector_error(&error))
        })
    }

    fn dead_letter<'a>(
        &'a self,
        record: &'a SinkRecord,
        code: &'a str,
        reason: &'a str,
    ) -> BoxFuture<'a, Result<(), ConnectorError>> {
        Box::pin(self.bury(record, code, reason))
    }

    fn holding<'a>(&'a self, seqs: &'a [u64]) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            if let Some(feed) = self.feed.get() {
                feed.holding(seqs);
            }
        })
    }

    fn behind(&self) -> Option<u64> {
        self.feed.get()?.behind()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use millstream_connector_api::SinkRecord;
    use millstream_types::Timestamp;

    use super::Hand;

    #[test]
    fn a_batch_holds_its_limits_and_the_rest_comes_next() {
        let mut hand = Hand::default();
        for (seq, size) in [(1, 10), (2, 4), (3, 4), (4, 4), (5, 1)] {
            let record = SinkRecord {
                seq,
                time: Timestamp(0),
                subject: Bytes::new(),
                headers: Bytes::new(),
                payload: Bytes::from(vec![b'x'; size]),
                deliveries: 1,
            };
            hand.waiting.push_back((record, None));
        }
        let mut seqs = |max, bytes| {
            hand.take(max, bytes)
                .iter()
                .map(|record| record.seq)
                .collect::<Vec<_>>()
        };
        assert_eq!(seqs(9, 8), [1], "the first goes though it is larger");
        assert_eq!(seqs(9, 8), [2, 3]);
        assert_eq!(seqs(1, 8), [4]);
        assert_eq!(seqs(9, 8), [5]);
        assert_eq!(seqs(9, 8), Vec::<u64>::new());
    }
}
