//! How inputs end, and where the flow stands then.

use std::sync::Arc;
use std::time::Duration;

use millstream_pipeline::{Ended, Order, Plan, Rejection};
use millstream_types::{Message, Timestamp};

use super::position::{Parked, Position};
use super::select::Input;
use crate::ingress::Ingress;

/// An output on its way into the stream that it goes to.
pub(super) struct Output {
    pub(super) door: Arc<Ingress>,
    pub(super) plan: Option<Arc<Plan>>,
    /// As it is published there.
    pub(super) message: Message,
    /// What that station's own stages make of it.
    pub(super) ended: Option<Ended>,
}

impl Output {
    pub(super) fn size(&self) -> usize {
        let Message {
            subject,
            headers,
            payload,
            ..
        } = &self.message;
        subject.len() + headers.len() + payload.len()
    }
}

/// How an input ends.
pub(super) enum End {
    Outputs(Vec<Output>),
    Dropped,
    Rejected(Rejection),
    Retry(Duration),
    /// Nothing is kept of it, and why: no stream takes its dead letter.
    Lost(String),
    /// It waits for one before it.
    Waits,
}

impl End {
    pub(super) fn waits(&self) -> bool {
        matches!(self, Self::Retry(_) | Self::Waits)
    }
}

/// Where the flow stands when a batch is committed: `after` is where it would if nothing waited.
pub(super) fn position_after(
    inputs: &[Input],
    ends: &[End],
    before: &Position,
    after: Position,
    (order, now): (Order, Timestamp),
) -> Position {
    let mut after = after;
    // With `Order::Station` new inputs behind one that waits are read again.
    let (mut read, mut unread) = (before.read, false);
    for (input, end) in inputs.iter().zip(ends) {
        let seq = input.seq.unwrap_or_default();
        let totals = &mut after.totals;
        let waits = match end {
            End::Retry(pause) => {
                totals.retried += 1;
                Some(Parked {
                    tries: input.tries() + 1,
                    due: now.plus(*pause),
                    key: input.key.clone(),
                })
            }
            End::Waits if input.parked.is_none() && order == Order::Station => {
                unread = true;
                continue;
            }
            End::Waits => Some(input.parked.clone().unwrap_or_else(|| Parked {
                key: input.key.clone(),
                ..Parked::default()
            })),
            End::Outputs(outputs) => {
                totals.inputs += 1;
                totals.outputs += outputs.len() as u64;
                None
            }
            End::Dropped => {
                (totals.inputs, totals.dropped) = (totals.inputs + 1, totals.dropped + 1);
                None
            }
            End::Rejected(_) => {
                (totals.inputs, totals.rejected) = (totals.inputs + 1, totals.rejected + 1);
                None
            }
            End::Lost(_) => {
                totals.lost += 1;
                None
            }
        };
        if let Some(parked) = waits {
            after.parked.insert(seq, parked);
        }
        if input.parked.is_none() {
            read = read.max(seq);
        }
    }
    if unread {
        after.read = read;
    }
    after
}
