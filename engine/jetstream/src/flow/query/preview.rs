//! A query over what is stored and what comes, of which nothing is stored.

use std::sync::Arc;
use std::time::Duration;

use millstream_cluster::FlowStart;
use millstream_pipeline::{DataflowStatus, FlowTable, Origin, Output, Rejection};
use millstream_types::{Message, Timestamp};
use tokio::sync::Notify;

use super::super::setup::Query;
use super::super::status::SourceStatus;
use super::engine::{Engine, Stop, Turn, places};
use super::input::Source;
use super::open::first;
use super::place::Place;
use crate::service::{JetStream, Shared};

/// What is looked at.
#[derive(Debug)]
pub struct PreviewSetup {
    /// Makes the query.
    pub query: Arc<dyn Query>,
    /// What it reads.
    pub sources: Vec<FlowTable>,
    /// Where it begins in its sources that are no tables.
    pub start: FlowStart,
    /// Whether it goes on with what comes; otherwise it ends with what is stored now.
    pub follow: bool,
}

/// A query that is looked at. Dropping it ends it.
pub struct Preview {
    shared: Arc<Shared>,
    wake: Arc<Notify>,
    engine: Engine,
}

impl std::fmt::Debug for Preview {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Preview").finish_non_exhaustive()
    }
}

/// What some steps came to.
#[derive(Debug)]
pub struct PreviewTurn {
    /// Results, in order.
    pub outputs: Vec<Output>,
    /// Messages that came behind the end of their window, and why.
    pub late: Vec<(Origin, Rejection)>,
    /// Messages and rows that cannot be evaluated, and why.
    pub rejected: Vec<(Origin, Rejection)>,
    /// How many messages were read.
    pub messages: u64,
    /// Whether nothing is left to read now.
    pub caught_up: bool,
    /// What the query says of itself.
    pub status: DataflowStatus,
}

/// What a late or rejected row was.
#[derive(Debug)]
pub enum Shown {
    /// A message of a source.
    Message {
        /// The station or stream.
        station: String,
        /// Its sequence there.
        sequence: u64,
        /// `None` when it is gone.
        message: Option<Message>,
    },
    /// Several messages made it: the row, as JSON.
    Row(bytes::Bytes),
}

impl JetStream {
    /// Begins to look at a query.
    ///
    /// # Errors
    /// When a stream that it reads is not there.
    pub fn preview(&self, setup: &PreviewSetup) -> Result<Preview, String> {
        let shared = Arc::clone(&self.shared);
        let source = |table: &FlowTable| {
            let cell = shared.node.stream(&table.station);
            let cell = cell.ok_or_else(|| gone(&table.station))?;
            let read = first(&cell, table, setup.start);
            let source = Source::new(cell, table, read);
            Ok::<_, String>(match setup.follow {
                true => source,
                false => source.up_to_now(),
            })
        };
        let sources = setup.sources.iter().map(source);
        let sources: Vec<Source> = sources.collect::<Result<_, String>>()?;
        let place = Place {
            sources: places(&sources),
            clock: Timestamp::now(),
            ..Place::default()
        };
        let engine = Engine::new(setup.query.start(), sources, place, "preview");
        Ok(Preview {
            shared,
            wake: Arc::default(),
            engine,
        })
    }
}

impl Preview {
    /// Takes steps for a moment, or until there is nothing to read. Blocks.
    ///
    /// # Errors
    /// Why it cannot go on.
    pub fn turn(&mut self) -> Result<PreviewTurn, String> {
        for source in &self.engine.sources {
            let now = self.shared.node.stream(&source.cell.name);
            if now.is_none_or(|now| now.id != source.cell.id) {
                return Err(gone(&source.cell.name));
            }
        }
        let turn = self.engine.turn(&self.shared, &self.wake);
        let Turn {
            gathered,
            caught_up,
            status,
        } = turn.map_err(|stop| match stop {
            Stop::Query(why) | Stop::Read(why) => why,
        })?;
        Ok(PreviewTurn {
            outputs: gathered.outputs,
            late: gathered.late,
            rejected: gathered.rejected,
            messages: gathered.messages,
            caught_up,
            status,
        })
    }

    /// What a late or rejected row was.
    pub fn shown(&mut self, origin: Origin) -> Shown {
        match origin {
            Origin::Row(row) => Shown::Row(row),
            Origin::Message { source, sequence } => {
                let source = &mut self.engine.sources[source];
                Shown::Message {
                    message: source.message(&self.shared, sequence),
                    station: source.cell.name.clone(),
                    sequence,
                }
            }
        }
    }

    /// How far its sources are read.
    #[must_use]
    pub fn sources(&self) -> Vec<SourceStatus> {
        let times = self.engine.dataflow.status().sources;
        let sources = self.engine.sources.iter().zip(times);
        let status = sources.map(|(source, watermark)| {
            let (left, oldest) = source.left();
            SourceStatus {
                station: source.cell.name.clone(),
                position: source.read,
                lag_messages: left,
                lag_seconds: oldest.map_or(0, |time| Timestamp::now().since(time).as_secs()),
                watermark: watermark.map(Timestamp::to_rfc3339),
            }
        });
        status.collect()
    }

    /// Waits until a source has more or a time has come.
    pub async fn wait(&self, at_most: Duration) {
        // Either way there is something to look at.
        let _elapsed = tokio::time::timeout(at_most, self.wake.notified()).await;
    }
}

fn gone(stream: &str) -> String {
    format!("there is no stream `{stream}` to read any more")
}
