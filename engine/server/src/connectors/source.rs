//! The broker's side of a source: records enter by the door every stored message enters by.

use std::sync::Arc;

use bytes::Bytes;
use millstream_cluster::Node;
use millstream_connector_api::{
    BoxFuture, ConnectorError, RecordResult, SourceContext, SourceRecord,
};
use millstream_jetstream::{Ingest, IngestRecord, RecordEnd};
use millstream_pipeline::Rejection;
use millstream_streams::ApiError;
use millstream_types::Message;
use tokio::sync::RwLock;
use tracing::warn;

/// Read while a commit of the source is under way. Kept over restarts of the source, so that the next run asks for its
/// position only after a commit that the last one left behind is decided.
pub(super) type Gate = Arc<RwLock<()>>;

/// Where one source's records enter.
#[derive(Clone)]
pub(super) struct Inlet {
    name: String,
    ingest: Ingest,
    node: Arc<Node>,
    gate: Gate,
}

impl Inlet {
    pub(super) fn new(name: &str, ingest: Ingest, node: Arc<Node>, gate: Gate) -> Self {
        Self {
            name: name.to_owned(),
            ingest,
            node,
            gate,
        }
    }

    fn record(&self, record: SourceRecord) -> IngestRecord {
        let fault = record.fault.map(|fault| {
            Rejection::new(&format!("source:{}", self.name), fault.code, &fault.reason)
        });
        let message = Message {
            subject: Bytes::from(record.subject),
            reply: None,
            headers: record.headers,
            payload: record.payload,
        };
        IngestRecord { message, fault }
    }

    async fn store(
        &self,
        records: Vec<IngestRecord>,
        position: Option<Bytes>,
    ) -> Result<Vec<RecordResult>, ConnectorError> {
        // With a position the input moves on and nobody sends a refused record again.
        let keeps = position.is_some();
        if keeps {
            self.homes(&records)?;
        }
        let position = position.map(|position| (self.name.clone(), position));
        let ends = self
            .ingest
            .commit(records.clone(), position)
            .await
            .map_err(|error| ConnectorError::retryable(error.to_string()))?;
        let mut refused = Vec::new();
        let results = ends
            .into_iter()
            .zip(&records)
            .map(|(end, record)| {
                if let (RecordEnd::Refused(error), true) = (&end, keeps) {
                    refused.push(IngestRecord {
                        fault: Some(refusal(&self.name, error)),
                        ..record.clone()
                    });
                }
                self.result(end, &record.message.subject)
            })
            .collect();
        if !refused.is_empty() {
            self.keep(refused).await;
        }
        Ok(results)
    }

    /// A record that no station takes has no dead letters to go to either: the source waits for a station.
    fn homes(&self, records: &[IngestRecord]) -> Result<(), ConnectorError> {
        let mut last: &[u8] = &[];
        for record in records {
            let subject = &record.message.subject[..];
            if subject != last && self.node.stream_for(subject).is_none() {
                return Err(ConnectorError::retryable(format!(
                    "no station takes `{}`; apply one with that subject, or mend the source's `subject`",
                    String::from_utf8_lossy(subject)
                )));
            }
            last = subject;
        }
        Ok(())
    }

    fn result(&self, end: RecordEnd, subject: &[u8]) -> RecordResult {
        match end {
            RecordEnd::Stored { stream, seq } => RecordResult::Stored { stream, seq },
            RecordEnd::Duplicate { .. } => RecordResult::Duplicate,
            RecordEnd::Dropped => RecordResult::Dropped,
            RecordEnd::NoStation => RecordResult::NoStation,
            RecordEnd::Rejected {
                stage: _,
                code,
                reason,
                letter: _,
            } => {
                let lost = self.without_letters(subject).map(|station| {
                    format!(
                        "; it is not kept because there is no stream `{station}-dead-letters`: apply station `{station}` again"
                    )
                });
                RecordResult::Rejected {
                    code,
                    reason: reason + &lost.unwrap_or_default(),
                }
            }
            RecordEnd::Refused(error) => {
                let why = refusal(&self.name, &error);
                RecordResult::Rejected {
                    code: why.code,
                    reason: why.reason,
                }
            }
        }
    }

    /// The station this subject belongs to, when its dead letters have nowhere to go.
    fn without_letters(&self, subject: &[u8]) -> Option<String> {
        let station = self.node.stream_for(subject)?.name.clone();
        self.node
            .stream(&format!("{station}-dead-letters"))
            .is_none()
            .then_some(station)
    }

    /// Records that passed the pipeline and that the stream's own limits refused. The log has them after the position, not
    /// with it: only the log's answer tells which they are.
    async fn keep(&self, refused: Vec<IngestRecord>) {
        let count = refused.len();
        let kept = match self.ingest.commit(refused, None).await {
            Ok(ends) => ends
                .iter()
                .filter(|end| matches!(end, RecordEnd::Rejected { .. }))
                .count(),
            Err(_) => 0,
        };
        warn!(
            source = self.name,
            count, kept, "the stream refused records of a source; kept ones are dead letters"
        );
    }
}

fn refusal(source: &str, error: &ApiError) -> Rejection {
    Rejection::new(
        &format!("source:{source}"),
        "stream_refused",
        &format!("the stream refused it: {error}"),
    )
}

impl SourceContext for Inlet {
    fn position(&self) -> BoxFuture<'_, Result<Option<Bytes>, ConnectorError>> {
        Box::pin(async {
            let _decided = self.gate.write().await;
            Ok(self
                .node
                .catalog()
                .positions
                .get(&self.name)
                .cloned()
                .map(Bytes::from))
        })
    }

    fn commit(
        &self,
        records: Vec<SourceRecord>,
        position: Option<Bytes>,
    ) -> BoxFuture<'_, Result<Vec<RecordResult>, ConnectorError>> {
        Box::pin(async move {
            let under_way = Arc::clone(&self.gate).read_owned().await;
            let own = self.clone();
            let records = records
                .into_iter()
                .map(|record| self.record(record))
                .collect();
            // A task of its own: it ends with the commit, also when the source is gone by then.
            let commit = tokio::spawn(async move {
                let results = own.store(records, position).await;
                drop(under_way);
                results
            });
            commit
                .await
                .unwrap_or_else(|_| Err(ConnectorError::retryable("the server is shutting down")))
        })
    }

    fn cancelled(&self) -> BoxFuture<'_, ()> {
        // The supervisor's own stop is all there is.
        Box::pin(std::future::pending())
    }
}
