//! Acknowledgements on their way to the log, gathered for a moment: each write costs a sync, and nobody waits for these.
//!
//! Only those for which that is no loss come here: nobody asked to be told, and no message goes with them. After a kill
//! the messages of a moment may be delivered again, as they may be when an acknowledgement itself is lost.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use millstream_cluster::StreamCell;
use millstream_streams::Ack;

use crate::acks::propose;
use crate::service::Shared;

/// How long they are gathered.
const MOMENT: Duration = Duration::from_millis(5);
/// How many there are at most before they go at once.
const MOST: usize = 8192;

/// What of one consumer waits.
#[derive(Debug)]
struct Waiting {
    cell: Arc<StreamCell>,
    consumer: String,
    acks: Vec<Ack>,
}

#[derive(Debug, Default)]
struct Inside {
    waiting: Vec<Waiting>,
    count: usize,
    /// Whether somebody comes for them.
    expected: bool,
}

/// The queue.
#[derive(Debug, Default)]
pub(crate) struct AckQueue {
    inside: Mutex<Inside>,
}

impl AckQueue {
    /// Takes acknowledgements; they are proposed soon.
    pub(crate) fn put(
        &self,
        shared: &Arc<Shared>,
        cell: &Arc<StreamCell>,
        consumer: &str,
        acks: Vec<Ack>,
    ) {
        let mut inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        inside.count += acks.len();
        let known = inside
            .waiting
            .iter_mut()
            .find(|waiting| Arc::ptr_eq(&waiting.cell, cell) && waiting.consumer == consumer);
        match known {
            Some(waiting) => waiting.acks.extend(acks),
            None => inside.waiting.push(Waiting {
                cell: Arc::clone(cell),
                consumer: consumer.to_owned(),
                acks,
            }),
        }
        if inside.count >= MOST {
            drop(inside);
            self.flush(shared);
        } else if !inside.expected {
            inside.expected = true;
            let weak = Arc::downgrade(shared);
            shared.runtime.spawn(async move {
                tokio::time::sleep(MOMENT).await;
                if let Some(shared) = weak.upgrade() {
                    shared.ack_queue.come(&shared);
                }
            });
        }
    }

    fn come(&self, shared: &Arc<Shared>) {
        self.inside
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .expected = false;
        self.flush(shared);
    }

    /// Proposes what waits: before anything else is proposed that may rest on it, such as the end of a consumer, whose
    /// successor must not get its acknowledgements.
    pub(crate) fn flush(&self, shared: &Arc<Shared>) {
        let all = {
            let mut inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
            inside.count = 0;
            std::mem::take(&mut inside.waiting)
        };
        for Waiting {
            cell,
            consumer,
            acks,
        } in all
        {
            propose(shared, &cell, &consumer, acks, Vec::new());
        }
    }
}
