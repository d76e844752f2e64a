//! How the rest of the process gets messages: without a socket, on the publisher's own task, batched per read.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// Bytes a publisher may have on their way into handlers before its socket is no longer read.
pub(crate) const MAX_INFLIGHT: usize = 8 * 1024 * 1024;

/// A published message, borrowed from the publisher's read buffer.
#[derive(Clone, Copy, Debug)]
pub struct Published<'a> {
    /// Where it was published.
    pub subject: &'a [u8],
    /// Where an answer is expected.
    pub reply: Option<&'a [u8]>,
    /// The raw header block; empty when there is none.
    pub headers: &'a [u8],
    /// The body.
    pub payload: &'a [u8],
}

/// Who published, and how much of it is not dealt with yet.
#[derive(Debug)]
pub struct Origin {
    /// The connection's number; publishers inside the process have numbers too.
    pub cid: u64,
    inflight: AtomicUsize,
    resume: Notify,
}

impl Origin {
    pub(crate) fn new(cid: u64) -> Self {
        Self {
            cid,
            inflight: AtomicUsize::new(0),
            resume: Notify::new(),
        }
    }

    /// Counts bytes that a handler took and has not dealt with.
    pub fn add_inflight(&self, bytes: usize) {
        self.inflight.fetch_add(bytes, Ordering::AcqRel);
    }

    /// They are dealt with.
    pub fn done_inflight(&self, bytes: usize) {
        let before = self.inflight.fetch_sub(bytes, Ordering::AcqRel);
        if before > MAX_INFLIGHT && before - bytes <= MAX_INFLIGHT {
            self.resume.notify_one();
        }
    }

    /// Completes when the publisher may go on.
    pub(crate) async fn ready(&self) {
        while self.inflight.load(Ordering::Acquire) > MAX_INFLIGHT {
            self.resume.notified().await;
        }
    }
}

/// Gets messages of the filters it is attached to.
pub trait Handler: Send + Sync {
    /// A gatherer for one publisher; kept as long as the publisher lives or the handler is attached.
    fn collector(&self, origin: &Arc<Origin>) -> Box<dyn Collector>;
}

/// Gathers one publisher's messages.
pub trait Collector: Send {
    /// One message, in the order of publishing. Copies what it keeps; must not block.
    fn push(&mut self, message: &Published<'_>);

    /// The end of what was read at once; called when `push` was.
    fn flush(&mut self);
}

/// A handler with its number, as the router knows it.
#[derive(Clone)]
pub(crate) struct Attached {
    pub(crate) id: u64,
    pub(crate) handler: Arc<dyn Handler>,
}

impl fmt::Debug for Attached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attached")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
