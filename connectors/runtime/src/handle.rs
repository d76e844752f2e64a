//! What the owner of a running connector holds.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::{State, Status};

/// A running connector. Clones share it; when the last one is dropped the connector is told to stop.
#[derive(Clone, Debug)]
pub struct Handle {
    status: watch::Receiver<Status>,
    stop: Arc<watch::Sender<bool>>,
    task: Arc<JoinHandle<()>>,
}

impl Handle {
    pub(crate) fn new(
        status: watch::Receiver<Status>,
        stop: watch::Sender<bool>,
        task: JoinHandle<()>,
    ) -> Self {
        Self {
            status,
            stop: Arc::new(stop),
            task: Arc::new(task),
        }
    }

    /// What it is doing now.
    #[must_use]
    pub fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    /// Tells it to stop and waits until it has ended. Records in hand that are not committed or accepted come again on the
    /// next start. At most about ten seconds: after that a write that does not end is dropped.
    pub async fn stop(&self) -> Status {
        self.stop.send_replace(true);
        self.ended().await
    }

    /// Waits until it has ended by itself or was stopped.
    pub async fn ended(&self) -> Status {
        self.until(|status| status.state.is_final()).await
    }

    /// Waits for a status that satisfies, or for the end of the task.
    pub async fn until(&self, satisfied: impl FnMut(&Status) -> bool) -> Status {
        let mut receiver = self.status.clone();
        // An error means that the task is gone: the last status stands.
        let _ = receiver.wait_for(satisfied).await;
        receiver.borrow().clone()
    }

    /// Drops the task where it stands, as kill -9 would, and waits until it is gone.
    pub async fn kill(self) {
        self.task.abort();
        let mut receiver = self.status.clone();
        // The task owns the sender; an error here is what is waited for.
        while receiver.changed().await.is_ok() {}
    }

    /// Whether the task has ended.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.task.is_finished() || self.status.borrow().state.is_final()
    }
}

/// Resolves when `stop` becomes true or its sender is gone.
pub(crate) async fn stopped(stop: &watch::Receiver<bool>) {
    let mut receiver = stop.clone();
    // An error means that every handle is gone, which stops the connector too.
    let _ = receiver.wait_for(|stop| *stop).await;
}

/// The final state after an end without error.
pub(crate) fn end_state(stop: &watch::Receiver<bool>) -> State {
    let stopped = *stop.borrow() || stop.has_changed().is_err();
    if stopped {
        State::Stopped
    } else {
        State::Finished
    }
}
