//! The kill switch: counts the moments at which a process can die.

use std::sync::Mutex;

use tokio::sync::watch;

#[derive(Debug)]
pub(super) struct Steps {
    count: Mutex<u64>,
    stop_at: Option<u64>,
    killed: watch::Sender<bool>,
}

impl Steps {
    /// `None` never stops. Steps count from 1.
    pub(super) fn new(stop_at: Option<u64>) -> Self {
        Self {
            count: Mutex::new(0),
            stop_at,
            killed: watch::Sender::new(false),
        }
    }

    /// Passes one step, or stays in it for ever.
    pub(super) async fn pass(&self) {
        let now = {
            let mut count = self
                .count
                .lock()
                .expect("invariant: no panic under the lock");
            *count += 1;
            *count
        };
        if self.stop_at.is_some_and(|stop| now >= stop) {
            self.killed.send_replace(true);
            std::future::pending::<()>().await;
        }
    }

    pub(super) async fn killed(&self) {
        let mut receiver = self.killed.subscribe();
        receiver
            .wait_for(|killed| *killed)
            .await
            .expect("invariant: the sender lives in self");
    }
}
