//! A connection as others see it: where its bytes are put, and how they get out.
//!
//! Publishers append to `out` under a short lock. Whoever ends a batch tries to write at once, on its own thread, which
//! saves waking a task; what the socket does not take is left to the connection's writer task.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use millstream_types::Timestamp;
use millstream_wire::{ConnectOptions, put_error, put_message};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::stats::{ConnectionInfo, Counters, SubscriptionInfo};

/// A buffer larger than this is given back when it is empty.
const KEEP: usize = 64 * 1024;

/// One subscription of a client.
#[derive(Debug)]
pub(crate) struct Subscription {
    pub(crate) id: u64,
    pub(crate) sid: Box<[u8]>,
    pub(crate) filter: Box<[u8]>,
    pub(crate) queue: Option<Box<[u8]>>,
    /// After how many messages it ends; 0 is never.
    pub(crate) max: AtomicU64,
    pub(crate) delivered: AtomicU64,
}

/// Where a client's messages go.
#[derive(Clone, Debug)]
pub(crate) struct Receiver {
    pub(crate) conn: Arc<Conn>,
    pub(crate) subscription: Arc<Subscription>,
}

/// Why a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Close {
    SlowPending,
    SlowDeadline,
    Error(&'static str),
}

#[derive(Debug, Default)]
struct Out {
    bytes: Vec<u8>,
    /// Whether somebody has undertaken to flush.
    claimed: bool,
    closed: bool,
}

#[derive(Debug, Default)]
struct Writing {
    bytes: Vec<u8>,
    at: usize,
}

/// How a flush ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flush {
    Done,
    Blocked,
    Broken,
}

/// The shared half of a connection.
#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) cid: u64,
    pub(crate) peer: SocketAddr,
    pub(crate) socket: TcpStream,
    pub(crate) counters: Counters,
    pub(crate) subscriptions: Mutex<HashMap<Box<[u8]>, Arc<Subscription>>>,
    /// What CONNECT said, and as whom.
    pub(crate) options: Mutex<(ConnectOptions, Option<String>)>,
    pub(crate) echo: AtomicBool,
    pub(crate) last_activity: AtomicI64,
    pub(crate) rtt_nanos: AtomicU64,
    start: Timestamp,
    max_pending: usize,
    out: Mutex<Out>,
    writing: Mutex<Writing>,
    pending: AtomicUsize,
    /// Wakes the writer task.
    pub(crate) wake: Notify,
    /// Wakes the reader task to end.
    pub(crate) closing: Notify,
    close: Mutex<Option<Close>>,
    /// Wakes those who wait for pending bytes to go.
    pub(crate) drained: Notify,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Conn {
    pub(crate) fn new(cid: u64, peer: SocketAddr, socket: TcpStream, max_pending: usize) -> Self {
        let now = Timestamp::now();
        Self {
            cid,
            peer,
            socket,
            counters: Counters::default(),
            subscriptions: Mutex::default(),
            options: Mutex::default(),
            echo: AtomicBool::new(true),
            last_activity: AtomicI64::new(now.0),
            rtt_nanos: AtomicU64::new(0),
            start: now,
            max_pending,
            out: Mutex::default(),
            writing: Mutex::default(),
            pending: AtomicUsize::new(0),
            wake: Notify::new(),
            closing: Notify::new(),
            close: Mutex::default(),
            drained: Notify::new(),
        }
    }

    /// Appends with `write`; answers whether the caller must flush, or `None` when the connection is closed.
    pub(crate) fn append(&self, write: impl FnOnce(&mut Vec<u8>)) -> Option<bool> {
        let mut out = lock(&self.out);
        if out.closed {
            return None;
        }
        let before = out.bytes.len();
        write(&mut out.bytes);
        let added = out.bytes.len() - before;
        let must_flush = !std::mem::replace(&mut out.claimed, true);
        let pending = self.pending.fetch_add(added, Ordering::AcqRel) + added;
        if pending > self.max_pending {
            out.closed = true;
            drop(out);
            self.end(Close::SlowPending);
            return None;
        }
        Some(must_flush)
    }

    /// Appends a message for a subscription; see [`Conn::append`].
    pub(crate) fn append_message(
        &self,
        subject: &[u8],
        sid: &[u8],
        reply: Option<&[u8]>,
        headers: &[u8],
        payload: &[u8],
    ) -> Option<bool> {
        self.append(|out| put_message(out, subject, sid, reply, headers, payload))
    }

    /// Appends and tries to write at once.
    pub(crate) fn say(&self, write: impl FnOnce(&mut Vec<u8>)) {
        if self.append(write) == Some(true) {
            self.flush();
        }
    }

    /// Bytes that wait.
    pub(crate) fn pending(&self) -> usize {
        self.pending.load(Ordering::Acquire)
    }

    pub(crate) fn is_closed(&self) -> bool {
        lock(&self.out).closed
    }

    /// Ends the connection; the first reason counts.
    pub(crate) fn end(&self, why: Close) {
        let mut close = lock(&self.close);
        if close.is_none() {
            *close = Some(why);
            drop(close);
            if let Close::Error(text) = why {
                self.say(|out| put_error(out, text));
            }
            lock(&self.out).closed = true;
            self.closing.notify_one();
            self.wake.notify_one();
            self.drained.notify_waiters();
        }
    }

    pub(crate) fn close_reason(&self) -> Option<Close> {
        *lock(&self.close)
    }

    /// Writes what the socket takes, unless somebody is at it; leaves the rest to the writer task.
    pub(crate) fn flush(&self) {
        match self.writing.try_lock() {
            Ok(writing) => {
                if self.write(writing) != Flush::Done {
                    self.wake.notify_one();
                }
            }
            Err(TryLockError::Poisoned(poisoned)) => drop(self.write(poisoned.into_inner())),
            Err(TryLockError::WouldBlock) => self.wake.notify_one(),
        }
    }

    /// The same for the writer task, which waits for its turn: nobody holds it across an await.
    pub(crate) fn flush_fully(&self) -> Flush {
        self.write(lock(&self.writing))
    }

    fn write(&self, mut writing: MutexGuard<'_, Writing>) -> Flush {
        loop {
            if writing.at == writing.bytes.len() {
                writing.at = 0;
                writing.bytes.clear();
                if writing.bytes.capacity() > KEEP {
                    writing.bytes = Vec::new();
                }
                let mut out = lock(&self.out);
                if out.bytes.is_empty() {
                    out.claimed = false;
                    return Flush::Done;
                }
                std::mem::swap(&mut out.bytes, &mut writing.bytes);
            }
            match self.socket.try_write(&writing.bytes[writing.at..]) {
                Ok(0) => return Flush::Broken,
                Ok(count) => {
                    writing.at += count;
                    self.pending.fetch_sub(count, Ordering::AcqRel);
                    self.drained.notify_waiters();
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Flush::Blocked,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => return Flush::Broken,
            }
        }
    }

    pub(crate) fn info(&self) -> ConnectionInfo {
        let (options, user) = lock(&self.options).clone();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let subscriptions = lock(&self.subscriptions)
            .values()
            .map(|subscription| SubscriptionInfo {
                subject: text(&subscription.filter),
                queue: subscription.queue.as_deref().map(text),
                sid: text(&subscription.sid),
                msgs: subscription.delivered.load(Ordering::Relaxed),
            })
            .collect();
        ConnectionInfo {
            cid: self.cid,
            peer: self.peer,
            start: self.start,
            last_activity: Timestamp(self.last_activity.load(Ordering::Relaxed)),
            rtt: Duration::from_nanos(self.rtt_nanos.load(Ordering::Relaxed)),
            pending_bytes: self.pending(),
            in_msgs: self.counters.in_msgs.load(Ordering::Relaxed),
            out_msgs: self.counters.out_msgs.load(Ordering::Relaxed),
            in_bytes: self.counters.in_bytes.load(Ordering::Relaxed),
            out_bytes: self.counters.out_bytes.load(Ordering::Relaxed),
            subscriptions,
            name: options.name,
            lang: options.lang,
            version: options.version,
            user,
        }
    }
}
