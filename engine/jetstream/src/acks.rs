//! Acknowledgements from consumers: gathered per read batch, applied to the leader's view at once, written to the log in
//! one command per consumer.

use std::sync::Arc;

use bytes::Bytes;
use millstream_broker::{Collector, Handler, Origin, Published};
use millstream_cluster::{Command, Outcome, StreamCell};
use millstream_streams::{
    Ack, AckKind, AckPayload, Acks, Command as StreamCommand, PullRequest, parse_ack_payload,
    parse_ack_subject,
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
}

struct Gather {
    shared: Arc<Shared>,
    groups: Vec<AckGroup>,
}

impl Gather {
    fn group(&mut self, stream: &str, consumer: &str) -> Option<&mut AckGroup> {
        let known = self
            .groups
            .iter()
            .position(|group| group.consumer == consumer && group.cell.name == stream);
        let index = match known {
            Some(index) => index,
            None => {
                let cell = self.shared.node.stream(stream)?;
                let consumer = consumer.to_owned();
                self.groups.push(AckGroup {
                    cell,
                    consumer,
                    acks: Vec::new(),
                    replies: Vec::new(),
                });
                self.groups.len() - 1
            }
        };
        self.groups.get_mut(index)
    }
}

impl Collector for Gather {
    fn push(&mut self, message: &Published<'_>) {
        let Some(subject) = parse_ack_subject(message.subject) else {
            return;
        };
        let payload = parse_ack_payload(message.payload);
        let shared = Arc::clone(&self.shared);
        let Some(group) = self.group(subject.stream, subject.consumer) else {
            return;
        };
        let seq = subject.stream_seq;
        let kind = match payload {
            AckPayload::Ack => AckKind::Ack,
            AckPayload::Term { .. } => AckKind::Term,
            AckPayload::Nak { delay } => {
                let now = Timestamp::now();
                group
                    .cell
                    .lock()
                    .nak(&group.consumer, seq, subject.delivered, delay, now);
                shared.pumps.wake(&group.cell, &group.consumer);
                group.answer(message.reply);
                return;
            }
            AckPayload::Progress => {
                group
                    .cell
                    .lock()
                    .progress(&group.consumer, seq, Timestamp::now());
                group.answer(message.reply);
                return;
            }
            AckPayload::Next(request) => {
                group.acks.push(Ack {
                    stream_seq: seq,
                    kind: AckKind::Ack,
                });
                if let Some(reply) = message.reply {
                    pull_next(&shared, group, reply, request);
                }
                return;
            }
        };
        group.acks.push(Ack {
            stream_seq: seq,
            kind,
        });
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
    let (acks, made_room) = {
        let mut stream = cell.lock();
        let acks = stream.acknowledge(consumer, acks, now);
        (acks, stream.has_woken())
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
        return;
    }
    let command = Command::Stream(StreamCommand::Acks(Acks {
        stream: cell.id,
        consumer: consumer.to_owned(),
        time: now,
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
