//! Publishing from inside the process.

use std::sync::Arc;

use crate::broker::Inner;
use crate::handler::{Origin, Published};
use crate::sender::Sender;

/// What became of one message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// How many got it.
    pub receivers: u32,
    /// Bytes that wait for the slowest of them.
    pub pending: usize,
}

/// Publishes without a socket; one per task or thread.
#[derive(Debug)]
pub struct Publisher {
    inner: Arc<Inner>,
    sender: Sender,
}

impl Publisher {
    pub(crate) fn new(inner: Arc<Inner>, cid: u64) -> Self {
        let sender = inner.sender(cid);
        Self { inner, sender }
    }

    /// Who this publisher is to handlers.
    #[must_use]
    pub fn origin(&self) -> &Arc<Origin> {
        self.sender.origin()
    }

    /// Publishes a message. It is on its way after [`Publisher::flush`].
    pub fn send(
        &mut self,
        subject: &[u8],
        reply: Option<&[u8]>,
        headers: &[u8],
        payload: &[u8],
    ) -> Sent {
        self.deliver(subject, subject, reply, headers, payload)
    }

    /// Sends to those who listen on `route`, and shows them `subject`: how JetStream delivers.
    pub fn deliver(
        &mut self,
        route: &[u8],
        subject: &[u8],
        reply: Option<&[u8]>,
        headers: &[u8],
        payload: &[u8],
    ) -> Sent {
        let message = Published {
            subject,
            reply,
            headers,
            payload,
        };
        let delivered = self.sender.send(route, &message, None);
        Sent {
            receivers: delivered.receivers,
            pending: delivered.pending,
        }
    }

    /// Ends a batch: handlers get theirs, and sockets that take it at once get theirs on this thread. Never blocks.
    pub fn flush(&mut self) {
        self.inner.counters.sent(self.sender.take_counts());
        self.sender.flush();
    }
}
