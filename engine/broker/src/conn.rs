//! A connection as others see it: where its bytes are put, and how they get out.
//!
//! Publishers append under one short lock. Whoever ends a batch tries to write at once, on its own thread, which saves
//! waking a task; what the socket does not take is left to the connection's writer task, which is there only as long as
//! there is such.
//!
//! Routes that publishers remember keep a `Conn` alive long after its client went. So the socket is not in it for good:
//! it is dropped when the connection ends, together with everything that waits.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError, Weak};
use std::time::Duration;

use millstream_types::Timestamp;
use millstream_wire::{ConnectOptions, put_error, put_message};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::Notify;

use crate::handler::Published;
use crate::queue::{Draining, Filling, Pool};
use crate::stats::{ConnectionInfo, Counters, SubscriptionInfo};
use crate::writer::writer;

/// More than any line of a message has besides its words and its payload.
const LINE: usize = 64;

/// One subscription of a client.
#[derive(Debug)]
pub(crate) struct Subscription {
    pub(crate) id: u64,
    pub(crate) sid: Box<[u8]>,
    pub(crate) filter: Box<[u8]>,
    pub(crate) queue: Option<Box<[u8]>>,
    /// After how many messages it ends; 0 is never. Changed and compared under the connection's lock.
    max: AtomicU64,
    delivered: AtomicU64,
}

impl Subscription {
    pub(crate) fn new(id: u64, sid: &[u8], filter: &[u8], queue: Option<&[u8]>) -> Self {
        Self {
            id,
            sid: sid.into(),
            filter: filter.into(),
            queue: queue.map(Into::into),
            max: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
        }
    }
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
    /// More waits for it than may.
    SlowPending,
    /// It took nothing for too long.
    SlowDeadline,
    /// It did something wrong, and is told so.
    Error(&'static str),
    /// It is gone.
    Client,
    /// The server stops. Clients get no `-ERR`: some of them would not come back after one.
    Shutdown,
}

impl Close {
    /// Whether what waits still goes out.
    fn flushes(self) -> bool {
        matches!(self, Self::Error(_) | Self::Shutdown)
    }
}

#[derive(Debug, Default)]
struct Out {
    filling: Filling,
    /// Bytes appended and not yet written.
    pending: usize,
    /// Whether somebody has undertaken to flush.
    claimed: bool,
    /// Whether there is a writer task.
    writer: bool,
    close: Option<Close>,
    /// Whether nothing will be written any more.
    finished: bool,
    msgs: u64,
    bytes: u64,
}

#[derive(Debug)]
struct Writing {
    draining: Draining,
    /// Dropped when the connection ends.
    socket: Option<Arc<TcpStream>>,
}

/// How a flush ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flush {
    Done,
    /// The socket takes no more now; whether it took something.
    Blocked {
        progress: bool,
    },
    Broken,
}

/// What became of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Appended {
    /// Nobody else has undertaken to flush: the caller must.
    pub(crate) must_flush: bool,
    /// Bytes that wait.
    pub(crate) pending: usize,
    /// It was the last message of its subscription.
    pub(crate) last: bool,
}

/// What all connections of a broker share.
#[derive(Debug)]
pub(crate) struct Ground {
    pub(crate) pool: Pool,
    /// Where writer tasks run: publishers are on threads of their own, too.
    pub(crate) runtime: Handle,
    /// See [`crate::Options`].
    pub(crate) max_pending: usize,
    /// See [`crate::Options`].
    pub(crate) write_deadline: Duration,
}

/// The shared half of a connection.
#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) cid: u64,
    pub(crate) peer: SocketAddr,
    /// What came from the client.
    pub(crate) counters: Counters,
    pub(crate) subscriptions: Mutex<HashMap<Box<[u8]>, Arc<Subscription>>>,
    /// What CONNECT said, and as whom.
    pub(crate) options: Mutex<(ConnectOptions, Option<String>)>,
    pub(crate) echo: AtomicBool,
    pub(crate) last_activity: AtomicI64,
    pub(crate) rtt_nanos: AtomicU64,
    start: Timestamp,
    ground: Arc<Ground>,
    this: Weak<Self>,
    out: Mutex<Out>,
    writing: Mutex<Writing>,
    /// Wakes the writer task.
    pub(crate) wake: Notify,
    /// Wakes the reader task to end.
    pub(crate) closing: Notify,
    /// Wakes those who wait for pending bytes to go.
    drained: Notify,
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Conn {
    pub(crate) fn new(
        cid: u64,
        peer: SocketAddr,
        socket: Arc<TcpStream>,
        ground: Arc<Ground>,
    ) -> Arc<Self> {
        let now = Timestamp::now();
        Arc::new_cyclic(|this| Self {
            this: Weak::clone(this),
            cid,
            peer,
            counters: Counters::default(),
            subscriptions: Mutex::default(),
            options: Mutex::default(),
            echo: AtomicBool::new(true),
            last_activity: AtomicI64::new(now.0),
            rtt_nanos: AtomicU64::new(0),
            start: now,
            ground,
            out: Mutex::default(),
            writing: Mutex::new(Writing {
                draining: Draining::default(),
                socket: Some(socket),
            }),
            wake: Notify::new(),
            closing: Notify::new(),
            drained: Notify::new(),
        })
    }

    /// Bytes that may wait.
    pub(crate) fn max_pending(&self) -> usize {
        self.ground.max_pending
    }

    /// Appends protocol bytes; `None` when the connection is ending.
    pub(crate) fn append(&self, bytes: &[u8]) -> Option<Appended> {
        let mut out = lock(&self.out);
        if out.close.is_some() {
            return None;
        }
        out.filling
            .room(bytes.len(), &self.ground.pool)
            .extend_from_slice(bytes);
        self.account(out, bytes.len())
    }

    /// Appends a message for a subscription; `None` when the connection or the subscription is ending.
    #[inline]
    pub(crate) fn append_message(
        &self,
        subscription: &Subscription,
        message: &Published<'_>,
    ) -> Option<Appended> {
        let Published {
            subject,
            reply,
            headers,
            payload,
        } = *message;
        let size = headers.len() + payload.len();
        let words = subject.len() + subscription.sid.len() + reply.map_or(0, <[u8]>::len);
        let mut out = lock(&self.out);
        if out.close.is_some() {
            return None;
        }
        // The lock orders these, so plain loads and stores do.
        let count = subscription.delivered.load(Ordering::Relaxed) + 1;
        let max = subscription.max.load(Ordering::Relaxed);
        if max > 0 && count > max {
            return None;
        }
        subscription.delivered.store(count, Ordering::Relaxed);
        let buffer = out.filling.room(LINE + words + size, &self.ground.pool);
        let before = buffer.len();
        put_message(buffer, subject, &subscription.sid, reply, headers, payload);
        let added = buffer.len() - before;
        out.msgs += 1;
        out.bytes += size as u64;
        let appended = self.account(out, added)?;
        Some(Appended {
            last: max > 0 && count >= max,
            ..appended
        })
    }

    #[inline]
    fn account(&self, mut out: MutexGuard<'_, Out>, added: usize) -> Option<Appended> {
        let must_flush = !std::mem::replace(&mut out.claimed, true);
        out.pending += added;
        let pending = out.pending;
        drop(out);
        if pending > self.ground.max_pending {
            self.end(Close::SlowPending);
            return None;
        }
        Some(Appended {
            must_flush,
            pending,
            last: false,
        })
    }

    /// Appends and tries to write at once.
    pub(crate) fn say(&self, bytes: &[u8]) {
        if self
            .append(bytes)
            .is_some_and(|appended| appended.must_flush)
        {
            self.flush();
        }
    }

    /// Bounds a subscription to `max` messages since its start; answers whether it has had them.
    pub(crate) fn bound(&self, subscription: &Subscription, max: u64) -> bool {
        let _order = lock(&self.out);
        subscription.max.store(max, Ordering::Relaxed);
        subscription.delivered.load(Ordering::Relaxed) >= max
    }

    /// Bytes that wait.
    pub(crate) fn pending(&self) -> usize {
        lock(&self.out).pending
    }

    pub(crate) fn close_reason(&self) -> Option<Close> {
        lock(&self.out).close
    }

    /// Completes when fewer than `below` bytes wait, or nothing will be written any more.
    pub(crate) async fn drained(&self, below: usize) {
        loop {
            let progress = self.drained.notified();
            {
                let out = lock(&self.out);
                if out.pending < below || out.finished {
                    return;
                }
            }
            progress.await;
        }
    }

    /// Ends the connection; the first reason counts.
    pub(crate) fn end(&self, why: Close) {
        {
            let mut out = lock(&self.out);
            if out.close.is_some() {
                return;
            }
            out.close = Some(why);
            if let Close::Error(text) = why {
                let mut line = Vec::with_capacity(LINE);
                put_error(&mut line, text);
                out.filling
                    .room(line.len(), &self.ground.pool)
                    .extend_from_slice(&line);
                out.pending += line.len();
            }
        }
        if why.flushes() {
            self.flush();
            // To finish it when everything is written.
            self.leave_to_writer();
        } else {
            self.finish();
            self.wake.notify_one();
        }
        self.closing.notify_one();
    }

    /// The socket, until the connection has ended.
    pub(crate) fn socket(&self) -> Option<Arc<TcpStream>> {
        lock(&self.writing).socket.clone()
    }

    /// Has the writer task go on with what could not be written at once; starts it when there is none.
    fn leave_to_writer(&self) {
        let there = std::mem::replace(&mut lock(&self.out).writer, true);
        if there {
            self.wake.notify_one();
        } else if let Some(conn) = self.this.upgrade() {
            let deadline = self.ground.write_deadline;
            self.ground.runtime.spawn(writer(conn, deadline));
        }
    }

    /// Whether the writer task may go: nobody has undertaken to flush since it did, and nobody counts on it to finish.
    pub(crate) fn writer_may_go(&self) -> bool {
        let mut out = lock(&self.out);
        out.writer = out.claimed || out.close.is_some();
        !out.writer
    }

    /// Drops the socket and what was not written.
    pub(crate) fn finish(&self) {
        let mut writing = lock(&self.writing);
        writing.socket = None;
        writing.draining.clear();
        drop(writing);
        let mut out = lock(&self.out);
        out.filling.clear();
        out.pending = 0;
        out.finished = true;
        drop(out);
        self.drained.notify_waiters();
    }

    /// Writes what the socket takes, unless somebody is at it; leaves the rest to the writer task.
    pub(crate) fn flush(&self) {
        let writing = match self.writing.try_lock() {
            Ok(writing) => writing,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return self.leave_to_writer(),
        };
        if self.write(writing) != Flush::Done {
            self.leave_to_writer();
        }
    }

    /// The same for the writer task, which waits for its turn: nobody holds it across an await.
    pub(crate) fn flush_fully(&self) -> Flush {
        self.write(lock(&self.writing))
    }

    fn write(&self, mut writing: MutexGuard<'_, Writing>) -> Flush {
        let Writing { draining, socket } = &mut *writing;
        let Some(socket) = socket else {
            return Flush::Broken;
        };
        let mut progress = false;
        loop {
            if draining.is_empty() {
                let mut out = lock(&self.out);
                draining.take(&mut out.filling);
                if draining.is_empty() {
                    out.claimed = false;
                    return Flush::Done;
                }
            }
            match draining.slices(|slices| socket.try_write_vectored(slices)) {
                Ok(0) => return Flush::Broken,
                Ok(count) => {
                    progress = true;
                    draining.advance(count, &self.ground.pool);
                    lock(&self.out).pending -= count;
                    self.drained.notify_waiters();
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    return Flush::Blocked { progress };
                }
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
        let (pending_bytes, out_msgs, out_bytes) = {
            let out = lock(&self.out);
            (out.pending, out.msgs, out.bytes)
        };
        ConnectionInfo {
            cid: self.cid,
            peer: self.peer,
            start: self.start,
            last_activity: Timestamp(self.last_activity.load(Ordering::Relaxed)),
            rtt: Duration::from_nanos(self.rtt_nanos.load(Ordering::Relaxed)),
            pending_bytes,
            in_msgs: self.counters.in_msgs.load(Ordering::Relaxed),
            out_msgs,
            in_bytes: self.counters.in_bytes.load(Ordering::Relaxed),
            out_bytes,
            subscriptions,
            name: options.name,
            lang: options.lang,
            version: options.version,
            user,
        }
    }
}
