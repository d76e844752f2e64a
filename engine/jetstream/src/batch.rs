//! What one connection published on one stream in one read. It lies as it will lie in the log, and that is all it needs as
//! long as it is stored as it came: members and records are made of it when a stage decides otherwise.

use std::sync::Arc;

use bytes::Bytes;
use millstream_broker::Origin;
use millstream_cluster::PUBLISH_HEAD;
use millstream_pipeline::{Plan, seen};
use millstream_streams::{RecordView, parse_record};
use millstream_types::{Message, Timestamp};

use crate::group::{Group, Member};
use crate::replies::Replies;

/// See the module.
#[derive(Debug)]
pub(crate) struct Batch {
    /// The command that stores them as they came, at the time when they came.
    pub(crate) command: Bytes,
    pub(crate) count: u32,
    pub(crate) replies: Replies,
    pub(crate) origin: Arc<Origin>,
    /// What its connection has under way with it.
    pub(crate) bytes: usize,
    pub(crate) way: Way,
}

/// What has still to be done with a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Nothing: it is as it is to be stored.
    Straight,
    /// It goes through the plan.
    Staged {
        /// Whether a message that all stages keep is to be stored as it came.
        plain: bool,
    },
}

impl Batch {
    /// They alone, for a command with another head.
    pub(crate) fn records(&self) -> Bytes {
        self.command.slice(PUBLISH_HEAD..)
    }

    fn views(&self) -> impl Iterator<Item = RecordView<'_>> {
        let mut offset = 0;
        let records = &self.command[PUBLISH_HEAD..];
        std::iter::from_fn(move || {
            if offset == records.len() {
                return None;
            }
            let (view, next) =
                parse_record(records, offset).expect("invariant: it was laid out here");
            offset = next;
            Some(view)
        })
    }

    /// Its messages, which lie where they lay.
    pub(crate) fn members(&self) -> impl Iterator<Item = Member> {
        self.views().zip(self.replies.each()).map(|(view, reply)| {
            let message = Message {
                subject: self.command.slice_ref(view.subject),
                reply,
                headers: self.command.slice_ref(view.headers),
                payload: self.command.slice_ref(view.payload),
            };
            Member::new(message, Arc::clone(&self.origin))
        })
    }
}

/// Lets a plan's stages look at batches where they lie. `None`: they are to be stored as they are.
pub(crate) fn look(plan: &Plan, batches: &[Batch], time: Timestamp) -> Option<Group> {
    let count = batches.iter().map(|batch| batch.count as usize).sum();
    let mut bytes = 0;
    let mut messages = Vec::with_capacity(count);
    for RecordView {
        subject,
        headers,
        payload,
    } in batches.iter().flat_map(Batch::views)
    {
        bytes += subject.len() + headers.len() + payload.len();
        messages.push(seen(subject, headers, payload, time));
    }
    let mut group = None;
    let ended = plan.run_in_place(&messages, bytes, || {
        let members = batches.iter().flat_map(Batch::members).collect();
        group.insert(Group::new(members, time)).records()
    })?;
    let mut group = group?;
    group.end(plan, ended);
    Some(group)
}
