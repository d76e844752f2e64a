//! Acknowledgements from consumers: gathered per read batch, applied to the leader's view at once, written to the log in
//! one command per consumer.

use std::sync::Arc;

use bytes::Bytes;
use millstream_broker::{Collector, Handler, Origin, Published};
use millstream_cluster::{Command, Outcome, StreamCell};
use millstream_streams::{
    Ack, AckKind, AckNumbers, AckPayload, AckSubject, Acks, Command as StreamCommand, PullRequest,
    RetentionPolicy, parse_ack_numbers, parse_ack_payload, parse_ack_subject,
};
use millstream_types::Timestamp;

use crate::service::Shared;

/// `$JS.ACK.>`.
#[derive(Debug)]
pub(crate) struct AckDoor(pub(crate) Arc<Shared>);

impl Handler for AckDoor {
    fn collector(&self, _origin: &Arc<Origin>) -> Box<dyn Collector> {
        Box::new(Gather {
            shared: Arc::clone(&self.0),
            groups: Vec::new(),
        })
    }
}

/// What one connection acknowledged on one consumer since its last flush.
struct AckGroup {
    /// What the subjects of its acknowledgements begin with.
    prefix: Box<[u8]>,
    cell: Arc<StreamCell>,
    consumer: String,
    acks: Vec<Ack>,
    /// Who wants to know that the log has it (double ack).
    replies: Vec<Bytes>,
}

impl AckGroup {
    fn answer(&mut self, reply: Option<&[u8]>) {
        self.replies.extend(reply.map(Bytes::copy_from_slice));
    }

    fn done(&mut self, stream_seq: u64, kind: AckKind) {
        self.acks.push(Ack { stream_seq, kind });
    }
}

struct Gather {
    shared: Arc<Shared>,
    /// The one used last is the last one.
    groups: Vec<AckGroup>,
}

impl Gather {
    /// The group an acknowledgement belongs to, as the last one, and what it says.
    fn find(&mut self, subject: &[u8]) -> Option<AckNumbers> {
        // Almost all of a batch are for one consumer: then only the numbers are looked at.
        if let Some(last) = self.groups.last()
            && let Some(numbers) = subject.strip_prefix(&*last.prefix)
            && let Some(numbers) = parse_ack_numbers(numbers)
        {
            return Some(numbers);
        }
        let AckSubject {
            stream,
            consumer,
            delivered,
            stream_seq,
            consumer_seq,
        } = parse_ack_subject(subject)?;
        let known = self
            .groups
            .iter()
            .position(|group| group.consumer == consumer && group.cell.name == stream);
        if let Some(index) = known {
            let last = self.groups.len() - 1;
            self.groups.swap(index, last);
        } else {
            self.groups.push(AckGroup {
                prefix: format!("$JS.ACK.{stream}.{consumer}.").into_bytes().into(),
                cell: self.shared.node.stream(stream)?,
                consumer: consumer.to_owned(),
                acks: Vec::new(),
                replies: Vec::new(),
            });
        }
        Some(AckNumbers {
            delivered,
            stream_seq,
            consumer_seq,
        })
    }
}

impl Collector for Gather {
    fn push(&mut self, message: &Published<'_>) {
        let Some(numbers) = self.find(message.subject) else {
            return;
        };
        let Some(group) = self.groups.last_mut() else {
            return;
        };
        let seq = numbers.stream_seq;
        match parse_ack_payload(message.payload) {
            AckPayload::Ack => group.done(seq, AckKind::Ack),
            AckPayload::Term { .. } => group.done(seq, AckKind::Term),
            AckPayload::Nak { delay } => {
                let now = Timestamp::now();
                group
                    .cell
                    .lock()
                    .nak(&group.consumer, seq, numbers.delivered, delay, now);
                self.shared.pumps.wake(&group.cell, &group.consumer);
            }
            AckPayload::Progress => {
                group
                    .cell
                    .lock()
                    .progress(&group.consumer, seq, Timestamp::now());
            }
            AckPayload::Next(request) => {
                group.done(seq, AckKind::Ack);
                if let Some(reply) = message.reply {
                    pull_next(&self.shared, group, reply, request);
                }
                return;
            }
        }
        group.answer(message.reply);
    }

    fn flush(&mut self) {
        for group in &mut self.groups {
            if group.acks.is_empty() && group.replies.is_empty() {
                continue;
            }
            let acks = std::mem::take(&mut group.acks);
            let replies = std::mem::take(&mut group.replies);
            commit(&self.shared, &group.cell, &group.consumer, acks, replies);
        }
        // A stream may be deleted and made anew under its name: the next batch looks it up again.
        self.groups.clear();
    }
}

fn pull_next(shared: &Arc<Shared>, group: &AckGroup, reply: &[u8], request: &[u8]) {
    if let Ok(pull) = PullRequest::parse(request, Bytes::copy_from_slice(reply))
        && group
            .cell
            .lock()
            .pull(&group.consumer, pull, Timestamp::now())
            .is_ok()
    {
        shared.pumps.wake(&group.cell, &group.consumer);
    }
}

/// Takes acknowledgements: not redelivered from now on, and in the log soon; `replies` are answered when they are there.
pub(crate) fn commit(
    shared: &Arc<Shared>,
    cell: &Arc<StreamCell>,
    consumer: &str,
    acks: Vec<Ack>,
    replies: Vec<Bytes>,
) {
    let now = Timestamp::now();
    let (acks, made_room, may_wait) = {
        let mut stream = cell.lock();
        let acks = stream.acknowledge(consumer, acks, now);
        // Elsewhere the message goes with its acknowledgement.
        let may_wait = stream.config.retention == RetentionPolicy::Limits;
        (acks, stream.has_woken(), may_wait)
    };
    if made_room {
        cell.wake_pollers();
    }
    if acks.is_empty() {
        // This may run inside a flush of the acker itself, whose own messages want no answer.
        if !replies.is_empty() {
            for reply in replies {
                shared.acker.plain(&reply);
            }
            shared.acker.flush();
        }
    } else if may_wait && replies.is_empty() {
        shared.ack_queue.put(shared, cell, consumer, acks);
    } else {
        propose(shared, cell, consumer, acks, replies);
    }
}

/// Writes acknowledgements that were taken to the log.
pub(crate) fn propose(
    shared: &Arc<Shared>,
    cell: &Arc<StreamCell>,
    consumer: &str,
    acks: Vec<Ack>,
    replies: Vec<Bytes>,
) {
    let command = Command::Stream(StreamCommand::Acks(Acks {
        stream: cell.id,
        consumer: consumer.to_owned(),
        time: Timestamp::now(),
        acks: acks.clone(),
    }));
    let owner = Arc::clone(shared);
    let home = Arc::clone(cell);
    let consumer = consumer.to_owned();
    shared.propose(cell, 0, &command, move |outcome| {
        if matches!(outcome, Ok(answer) if !matches!(answer, Outcome::Refused(_))) {
            for reply in replies {
                owner.acker.plain(&reply);
            }
        } else {
            home.lock().unacknowledge(&consumer, &acks);
            owner.pumps.wake(&home, &consumer);
        }
    });
}

/// `$JS.FC.<stream>.<consumer>.<n>`: a push client has caught up with what it was sent.
#[derive(Debug)]
pub(crate) struct FlowDoor(pub(crate) Arc<Shared>);

impl Handler for FlowDoor {
    fn collector(&self, _origin: &Arc<Origin>) -> Box<dyn Collector> {
        Box::new(Flow(Arc::clone(&self.0)))
    }
}

struct Flow(Arc<Shared>);

impl Collector for Flow {
    fn push(&mut self, message: &Published<'_>) {
        let Ok(subject) = std::str::from_utf8(message.subject) else {
            return;
        };
        let mut parts = subject.split('.').skip(2);
        let (Some(stream), Some(consumer)) = (parts.next(), parts.next()) else {
            return;
        };
        let Some(cell) = self.0.node.stream(stream) else {
            return;
        };
        cell.lock().flow_control_reply(consumer, message.subject);
        self.0.pumps.wake(&cell, consumer);
    }

    fn flush(&mut self) {}
}
