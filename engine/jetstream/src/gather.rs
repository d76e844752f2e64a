//! What a connection publishes on a stream's subjects, laid out for the log while it is still in the connection's read buffer.
//!
//! A stream without stages stores that as it is. So does a station without stages that only checks messages against a schema, as
//! long as they fit: the check walks over them where they lie.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use millstream_broker::{Collector, Handler, Origin, Published};
use millstream_cluster::{PUBLISH_HEAD, publish_head};
use millstream_pipeline::{Plan, is_plain, unforged};
use millstream_streams::RecordsBuilder;
use millstream_types::Timestamp;

use crate::batch::{Batch, Way};
use crate::ingress::Ingress;
use crate::replies::Replies;

/// Makes one collector per connection that publishes here.
#[derive(Debug)]
pub(crate) struct Door(pub(crate) Arc<Ingress>);

impl Handler for Door {
    fn collector(&self, origin: &Arc<Origin>) -> Box<dyn Collector> {
        if self.0.shared.is_live(origin.cid) {
            return Box::new(Ignore);
        }
        Box::new(Gather {
            ingress: Arc::clone(&self.0),
            origin: Arc::clone(origin),
            records: RecordsBuilder::with_room(PUBLISH_HEAD),
            replies: Replies::default(),
            bytes: 0,
            way: Way::Straight,
            plan: None,
            passed: Passed::default(),
        })
    }
}

/// For what came in by [`crate::Ingest`] and is only shown to live subscribers.
struct Ignore;

impl Collector for Ignore {
    fn push(&mut self, _message: &Published<'_>) {}

    fn flush(&mut self) {}
}

/// What a connection has published since its last flush, or since a buffer was full.
struct Gather {
    ingress: Arc<Ingress>,
    origin: Arc<Origin>,
    records: RecordsBuilder,
    replies: Replies,
    bytes: usize,
    way: Way,
    /// The plan that the batch began with.
    plan: Option<Arc<Plan>>,
    passed: Passed,
}

/// What the plan let through without a worker.
#[derive(Debug, Default)]
struct Passed {
    bytes: usize,
    /// How long the first check took: a look at the clock costs as much as a check.
    first: Duration,
}

impl Gather {
    /// Lays a message out as it is to be stored, unless it has to go through the plan.
    fn straight(&mut self, message: &Published<'_>) -> bool {
        if self.records.is_empty() {
            self.plan = self.ingress.plan.load_full();
        }
        let Some(plan) = &self.plan else {
            let clean = unforged(message.headers);
            let headers = clean.as_deref().unwrap_or(message.headers);
            self.records.push(message.subject, headers, message.payload);
            return true;
        };
        let started = self.records.is_empty().then(Instant::now);
        let Some(version) = plan.passes(message.subject, message.headers, message.payload) else {
            return false;
        };
        let stamped;
        let headers: &[u8] = if message.headers.is_empty() {
            version.block()
        } else {
            stamped = version.stamped(message.headers);
            &stamped
        };
        if let Some(started) = started {
            self.passed.first = started.elapsed();
        }
        self.passed.bytes += message.subject.len() + message.headers.len() + message.payload.len();
        self.records.push(message.subject, headers, message.payload);
        true
    }

    /// Lays a message out as it came.
    fn staged(&mut self, message: &Published<'_>) {
        let Published {
            subject,
            headers,
            payload,
            ..
        } = message;
        if let Way::Staged { plain } = &mut self.way {
            *plain &= is_plain(headers);
        }
        self.records.push(subject, headers, payload);
    }

    fn submit(&mut self) {
        let count = self.records.count();
        let way = std::mem::replace(&mut self.way, Way::Straight);
        if count == 0 {
            return;
        }
        let head = publish_head(self.ingress.cell.id, Timestamp::now(), count);
        let command = self.records.take_behind(&head);
        let passed = std::mem::take(&mut self.passed);
        if let Some(plan) = self.plan.take()
            && way == Way::Straight
        {
            plan.count_passed(count as usize, passed.bytes, passed.first * count);
        }
        let bytes = std::mem::take(&mut self.bytes);
        self.origin.add_inflight(bytes);
        self.ingress.submit(Batch {
            command,
            count,
            replies: std::mem::take(&mut self.replies),
            origin: Arc::clone(&self.origin),
            bytes,
            way,
        });
    }
}

impl Collector for Gather {
    fn push(&mut self, message: &Published<'_>) {
        let parts = [message.subject, message.headers, message.payload];
        let bytes = parts.iter().map(|part| part.len()).sum::<usize>();
        if !self.records.is_empty() && !self.records.fits(bytes) {
            self.submit();
        }
        // Behind a message that goes through the plan all others do, or they would overtake it.
        if self.way == Way::Straight && !self.straight(message) {
            self.submit();
            self.way = Way::Staged { plain: true };
        }
        if self.way != Way::Straight {
            self.staged(message);
        }
        // With `no_ack` the reply subject is somebody else's business.
        let answers = self.ingress.answers.load(Ordering::Relaxed);
        let reply = message.reply.filter(|_| answers);
        self.replies.push(reply);
        self.bytes += reply.map_or(0, <[u8]>::len) + bytes;
    }

    fn flush(&mut self) {
        self.submit();
        self.records.rest();
    }
}
