//! Ages: the leader's clock becomes a command, because applying one must not read a clock.

use std::sync::Arc;
use std::time::Duration;

use millstream_cluster::{Command, StreamCell};
use millstream_streams::Command as StreamCommand;
use millstream_types::Timestamp;

use crate::service::Shared;

/// How late a message may leave after its `max_age`.
const TICK: Duration = Duration::from_millis(250);

/// Starts looking for streams whose oldest message is too old.
pub(crate) fn start(shared: &Arc<Shared>) {
    let weak = Arc::downgrade(shared);
    shared.runtime.spawn(async move {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let Some(shared) = weak.upgrade() else { return };
            let now = Timestamp::now();
            for cell in shared.node.streams() {
                if due(&cell, now) {
                    let command = Command::Stream(StreamCommand::Expire { stream: cell.id, now });
                    // Waited for, so that a slow log is not flooded with the same question.
                    if let Err(error) = shared.propose_wait(&command).await {
                        tracing::warn!(target: "nats", "messages of `{}` stay past their age: {error}", cell.name);
                    }
                }
            }
        }
    });
}

fn due(cell: &StreamCell, now: Timestamp) -> bool {
    let stream = cell.lock();
    stream.next_expiry().is_some_and(|at| at <= now)
}
