//! Pages of records as batches of a plan.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::common::{DataFusionError, Result, exec_datafusion_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use futures_util::stream;

use super::{Bounds, Looked, Pages, Table};
use crate::catalog::Source;
use crate::functions::Remembered;
use crate::scan::Scan;

/// What all scans of a query have seen, and whether it shall end.
#[derive(Debug, Default)]
pub(super) struct Watch {
    records: AtomicU64,
    skipped: AtomicU64,
    first: Mutex<Option<String>>,
    stop: AtomicBool,
}

impl Watch {
    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// So far, with so many rows of the answer.
    pub(super) fn looked(&self, rows: u64) -> Looked {
        Looked {
            records: self.records.load(Ordering::Relaxed),
            rows,
            skipped: self.skipped.load(Ordering::Relaxed),
            first_skipped: self.first().clone(),
        }
    }

    fn first(&self) -> MutexGuard<'_, Option<String>> {
        // A text is whole whoever panicked.
        self.first.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn skip(&self, count: usize, why: impl FnOnce() -> String) {
        if count > 0 {
            self.skipped.fetch_add(count as u64, Ordering::Relaxed);
            self.first().get_or_insert_with(why);
        }
    }
}

/// The records of a table within bounds.
pub(super) struct Records {
    table: Arc<dyn Table>,
    bounds: Bounds,
    /// The columns that are read.
    sources: Vec<Source>,
    schema: SchemaRef,
    watch: Arc<Watch>,
}

impl Records {
    pub(super) fn new(
        table: Arc<dyn Table>,
        bounds: Bounds,
        sources: Vec<Source>,
        watch: Arc<Watch>,
    ) -> Self {
        let schema = Arc::clone(Scan::new(sources.clone()).schema());
        Self {
            table,
            bounds,
            sources,
            schema,
            watch,
        }
    }
}

impl fmt::Debug for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Records")
            .field("bounds", &self.bounds)
            .finish_non_exhaustive()
    }
}

impl PartitionStream for Records {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let reader = Reader {
            pages: self.table.pages(&self.bounds),
            scan: Scan::any_payload(self.sources.clone()),
            watch: Arc::clone(&self.watch),
        };
        let batches = stream::unfold(Some(reader), async |reader| {
            let mut reader = reader?;
            match reader.next() {
                Ok(None) => None,
                Ok(Some(batch)) => Some((Ok(batch), Some(reader))),
                Err(error) => Some((Err(error), None)),
            }
        });
        let schema = Arc::clone(&self.schema);
        Box::pin(RecordBatchStreamAdapter::new(schema, batches))
    }
}

struct Reader {
    pages: Box<dyn Pages>,
    scan: Scan,
    watch: Arc<Watch>,
}

impl Reader {
    /// The next batch with rows.
    fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if self.watch.stop.load(Ordering::Relaxed) {
                return Err(exec_datafusion_err!("query was stopped"));
            }
            let page = self.pages.next().map_err(external)?;
            if page.records.is_empty() {
                return Ok(None);
            }
            let scanned = self.scan.read_numbered(&page.records, &page.sequences)?;
            let count = page.records.len() as u64;
            self.watch.records.fetch_add(count, Ordering::Relaxed);
            self.watch.skip(scanned.refused.len(), || {
                let first = scanned.refused.first();
                let (at, why) = first.map_or((0, ""), |(at, why)| (*at, why.reason.as_str()));
                let sequence = page.sequences.get(at);
                sequence.map_or_else(
                    || why.to_owned(),
                    |sequence| format!("message {sequence}: {why}"),
                )
            });
            if scanned.batch.num_rows() > 0 {
                Remembered::next_batch();
                return Ok(Some(scanned.batch));
            }
        }
    }
}

fn external(why: String) -> DataFusionError {
    DataFusionError::External(why.into())
}
