//! From one publisher to all receivers. Each connection and each in-process publisher has its own, so nothing here is
//! shared but the receivers' buffers.

use std::collections::HashMap;
use std::sync::Arc;

use millstream_router::{RouteCache, Router};
use tokio::sync::watch;
use tracing::trace;

use crate::conn::{Conn, Receiver, lock};
use crate::handler::{Attached, Collector, Origin, Published};

/// Bytes waiting for one receiver above which a publishing client is slowed down a little, so that a receiver that
/// keeps reading is not cut off by one that publishes faster.
const SLOW: usize = 4 * 1024 * 1024;
/// Collectors kept per publisher.
const KEPT: usize = 1024;

/// Who can be routed to.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    Client(Receiver),
    Handler(Attached),
}

/// What became of one message.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Delivered {
    pub(crate) receivers: u32,
    pub(crate) pending: usize,
}

struct Kept {
    collector: Box<dyn Collector>,
    touched: bool,
}

/// A publisher's memory: routes, collectors, and whom it must flush.
pub(crate) struct Sender {
    cache: RouteCache<Target>,
    outlets: Outlets,
}

/// All of it but the routes, which are borrowed while a message goes out.
struct Outlets {
    router: Arc<Router<Target>>,
    interest: watch::Sender<u64>,
    origin: Arc<Origin>,
    collectors: HashMap<u64, Kept, foldhash::fast::RandomState>,
    touched_collectors: Vec<u64>,
    touched: Vec<Arc<Conn>>,
    slow: Option<Arc<Conn>>,
    random: u64,
    msgs: u64,
    bytes: u64,
    trace: bool,
}

impl std::fmt::Debug for Sender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sender")
            .field("origin", &self.outlets.origin)
            .finish_non_exhaustive()
    }
}

impl Sender {
    pub(crate) fn new(
        router: Arc<Router<Target>>,
        interest: watch::Sender<u64>,
        cid: u64,
        trace: bool,
    ) -> Self {
        let outlets = Outlets {
            router,
            interest,
            origin: Arc::new(Origin::new(cid)),
            collectors: HashMap::default(),
            touched_collectors: Vec::new(),
            touched: Vec::new(),
            slow: None,
            random: cid.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            msgs: 0,
            bytes: 0,
            trace,
        };
        Self {
            cache: RouteCache::default(),
            outlets,
        }
    }

    pub(crate) fn origin(&self) -> &Arc<Origin> {
        &self.outlets.origin
    }

    /// Sends to everybody who listens on `route`; they see `message.subject`. `skip` is a connection that gets nothing.
    #[inline]
    pub(crate) fn send(
        &mut self,
        route: &[u8],
        message: &Published<'_>,
        skip: Option<u64>,
    ) -> Delivered {
        let Self { cache, outlets } = self;
        let routes = cache.get(&outlets.router, route);
        let mut delivered = Delivered::default();
        for target in &routes.plain {
            outlets.one(target, message, skip, &mut delivered);
        }
        for members in &routes.queues {
            let start = outlets.next_random(members.len());
            // The first member that can take it, from a random one on.
            for step in 0..members.len() {
                let target = &members[(start + step) % members.len()];
                if outlets.one(target, message, skip, &mut delivered) {
                    break;
                }
            }
        }
        delivered
    }

    /// Tells a client that nobody listens on `subject`: on its own subscription to `reply`, if it has one.
    pub(crate) fn nobody(&mut self, cid: u64, subject: &[u8], reply: &[u8]) {
        let Self { cache, outlets } = self;
        let own =
            cache.get(&outlets.router, reply).plain.iter().find(
                |target| matches!(target, Target::Client(receiver) if receiver.conn.cid == cid),
            );
        if let Some(target) = own {
            let headers = [b"NATS/1.0 503\r\nNats-Subject: ", subject, b"\r\n\r\n"].concat();
            let message = Published {
                subject: reply,
                reply: None,
                headers: &headers,
                payload: &[],
            };
            outlets.one(target, &message, None, &mut Delivered::default());
        }
    }

    /// Appends protocol bytes for a client, to go out with this batch.
    pub(crate) fn answer(&mut self, conn: &Arc<Conn>, bytes: &[u8]) {
        if conn
            .append(bytes)
            .is_some_and(|appended| appended.must_flush)
        {
            self.outlets.touched.push(Arc::clone(conn));
        }
    }

    /// Ends a batch: handlers get what was gathered, sockets get what was appended.
    pub(crate) fn flush(&mut self) {
        let outlets = &mut self.outlets;
        for id in outlets.touched_collectors.drain(..) {
            if let Some(kept) = outlets.collectors.get_mut(&id) {
                kept.touched = false;
                kept.collector.flush();
            }
        }
        for conn in outlets.touched.drain(..) {
            conn.flush();
        }
        // Handlers come and go with streams; what is gone is not kept for ever.
        if outlets.collectors.len() > KEPT {
            outlets.collectors.clear();
        }
    }

    /// A receiver that had a lot waiting when it last got something in this batch.
    pub(crate) fn take_slow(&mut self) -> Option<Arc<Conn>> {
        self.outlets.slow.take()
    }

    /// Messages and bytes sent to clients since the last call.
    pub(crate) fn take_counts(&mut self) -> (u64, u64) {
        (
            std::mem::take(&mut self.outlets.msgs),
            std::mem::take(&mut self.outlets.bytes),
        )
    }
}

/// From how many waiting bytes on a receiver slows its publishers down.
pub(crate) fn slow_at(conn: &Conn) -> usize {
    SLOW.min(conn.max_pending() / 2)
}

impl Outlets {
    #[inline]
    fn one(
        &mut self,
        target: &Target,
        message: &Published<'_>,
        skip: Option<u64>,
        delivered: &mut Delivered,
    ) -> bool {
        let taken = match target {
            Target::Handler(attached) => self.collect(attached, message).then_some(0),
            Target::Client(receiver) if skip == Some(receiver.conn.cid) => None,
            Target::Client(receiver) => self.reach(receiver, message),
        };
        let Some(pending) = taken else { return false };
        delivered.receivers += 1;
        delivered.pending = delivered.pending.max(pending);
        true
    }

    /// Bytes that wait for the client; `None` when it did not get the message.
    #[inline]
    fn reach(&mut self, receiver: &Receiver, message: &Published<'_>) -> Option<usize> {
        let Receiver { conn, subscription } = receiver;
        let appended = conn.append_message(subscription, message)?;
        if appended.must_flush {
            self.touched.push(Arc::clone(conn));
        }
        if appended.last {
            self.ended(receiver);
        }
        if appended.pending > slow_at(conn)
            && self
                .slow
                .as_ref()
                .is_none_or(|slow| !Arc::ptr_eq(slow, conn))
        {
            self.slow = Some(Arc::clone(conn));
        }
        self.msgs += 1;
        self.bytes += (message.headers.len() + message.payload.len()) as u64;
        if self.trace {
            trace!(
                target: "nats",
                "{} - cid:{} - ->> [MSG {} {} {}]",
                conn.peer,
                conn.cid,
                message.subject.escape_ascii(),
                subscription.sid.escape_ascii(),
                message.headers.len() + message.payload.len(),
            );
        }
        Some(appended.pending)
    }

    /// A subscription has had all it asked for.
    #[cold]
    fn ended(&self, Receiver { conn, subscription }: &Receiver) {
        let filter = &subscription.filter;
        self.router
            .remove(filter, subscription.queue.as_deref(), subscription.id);
        lock(&conn.subscriptions).remove(&subscription.sid);
        self.interest.send_replace(self.router.generation());
    }

    /// `false` for a subject that is no text: streams keep subjects as text.
    fn collect(&mut self, attached: &Attached, message: &Published<'_>) -> bool {
        // Almost all are ASCII, which is told faster.
        if !message.subject.is_ascii() && std::str::from_utf8(message.subject).is_err() {
            return false;
        }
        let origin = &self.origin;
        let kept = self.collectors.entry(attached.id).or_insert_with(|| Kept {
            collector: attached.handler.collector(origin),
            touched: false,
        });
        if !kept.touched {
            kept.touched = true;
            self.touched_collectors.push(attached.id);
        }
        kept.collector.push(message);
        true
    }

    fn next_random(&mut self, below: usize) -> usize {
        // xorshift64: fair enough to share work, and costs nothing.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        usize::try_from(self.random >> 1).unwrap_or(0) % below.max(1)
    }
}
