//! From messages to one command: the plan runs, what it stores and what it rejects become sections of a single log entry,
//! and every input is told what became of it. Connections, connectors and the management API all pass here.

use std::sync::Arc;

use bytes::Bytes;
use millstream_cluster::{Command, Outcome, StreamCell};
use millstream_pipeline::{
    Ended, OnRejection, Plan, Record, Rejection, dead_letter, without_orders,
};
use millstream_streams::{
    ApiError, Command as StreamCommand, Publish, RecordOutcome, RecordsBuilder,
};
use millstream_types::{HeaderBlock, HeadersBuilder, Message, Timestamp, check_subject};
use thiserror::Error;
use tokio::sync::oneshot;

use crate::group::{MAX_PAUSE, MIN_PAUSE, exhausted, unstaged};
use crate::ingress::Ingress;
use crate::service::{Keep, Shared};
use crate::traces;

/// The stream a station's dead letters go to.
pub(crate) fn dead_letter_stream(station: &str) -> String {
    format!("{station}-dead-letters")
}

/// For who follows a message through the log file; what is kept of it is in its dead letter.
fn note_rejected(station: &str, original: &Message, why: &Rejection) {
    if tracing::enabled!(target: "nats", tracing::Level::DEBUG) {
        let id = HeaderBlock::new(&original.headers).message_id();
        let id = id.map(String::from_utf8_lossy);
        let subject = String::from_utf8_lossy(&original.subject);
        tracing::debug!(
            target: "nats", station, %subject, msg_id = id.as_deref(), stage = why.stage, code = why.code,
            "rejected"
        );
    }
}

/// What became of one input, as far as the plan decides it.
#[derive(Debug)]
pub(crate) enum Answer {
    /// Its records are these of a section.
    Stored {
        section: usize,
        first: usize,
        count: usize,
        /// Sections and places of what it became in other stations.
        elsewhere: Vec<(usize, usize)>,
    },
    Dropped,
    Rejected {
        why: Rejection,
        letter: Option<(usize, usize)>,
    },
    NoStation,
}

/// What became of one input in the end.
pub(crate) enum Resolved<'a> {
    Record(RecordOutcome),
    Dropped,
    Rejected {
        why: &'a Rejection,
        letter: Option<u64>,
    },
    NoStation,
}

impl Answer {
    pub(crate) fn resolve(&self, outcome: &Result<Outcome, ApiError>) -> Resolved<'_> {
        match (self, outcome) {
            (Self::NoStation, _) => Resolved::NoStation,
            (_, Err(error)) => Resolved::Record(RecordOutcome::Refused(error.clone())),
            (Self::Dropped, Ok(_)) => Resolved::Dropped,
            (Self::Rejected { why, letter }, Ok(outcome)) => {
                match letter.and_then(|(section, index)| record(outcome, section, index)) {
                    Some(RecordOutcome::Stored(seq)) => Resolved::Rejected {
                        why,
                        letter: Some(seq),
                    },
                    // Not kept anywhere: whoever brought it must hear that, and not that it was dealt with.
                    Some(refused @ RecordOutcome::Refused(_)) => Resolved::Record(refused),
                    _ => Resolved::Rejected { why, letter: None },
                }
            }
            (
                Self::Stored {
                    section,
                    first,
                    count,
                    elsewhere,
                },
                Ok(outcome),
            ) => {
                // Whoever published it hears of what another station refused: it is nowhere.
                let refused = elsewhere
                    .iter()
                    .filter_map(|(section, index)| record(outcome, *section, *index))
                    .find(|end| matches!(end, RecordOutcome::Refused(_)));
                if let Some(refused) = refused {
                    return Resolved::Record(refused);
                }
                // An input that became several records is acknowledged with the last one, or with the first refusal.
                let mut each =
                    (*first..first + count).filter_map(|index| record(outcome, *section, index));
                let mut last = each.next();
                for next in each {
                    if matches!(last, Some(RecordOutcome::Refused(_))) {
                        break;
                    }
                    last = Some(next);
                }
                last.map_or(Resolved::Dropped, Resolved::Record)
            }
        }
    }
}

fn record(outcome: &Outcome, section: usize, index: usize) -> Option<RecordOutcome> {
    match outcome {
        Outcome::Records(records) if section == 0 => records.get(index).cloned(),
        Outcome::Several(sections) => match sections.get(section) {
            Some(Outcome::Records(records)) => records.get(index).cloned(),
            _ => None,
        },
        _ => None,
    }
}

/// A batch that went through its plan.
pub(crate) struct Staged {
    /// `None` when nothing is to be written.
    pub(crate) command: Option<Command>,
    pub(crate) count: u32,
    /// As whatever in it asks for most: a memory station's dead letters belong on disk.
    pub(crate) keep: Keep,
    pub(crate) answers: Vec<Answer>,
}

/// What is to be written for one station's batch that went through its plan.
pub(crate) fn settle(
    shared: &Shared,
    cell: &Arc<StreamCell>,
    plan: Option<&Plan>,
    ended: Vec<Ended>,
    originals: &[Message],
    time: Timestamp,
) -> Staged {
    let mut stager = Stager::new(shared, time);
    let answers = stager.settle(cell, plan, ended, originals);
    stager.finish(answers, None)
}

/// What a [`Stager`] gathered.
#[derive(Debug, Default)]
pub(crate) struct Publishes {
    pub(crate) commands: Vec<Command>,
    pub(crate) count: u32,
    /// As whatever in it asks for most; `None` when there is nothing.
    pub(crate) keep: Option<Keep>,
    /// Per command the input of each record.
    pub(crate) owners: Vec<Vec<usize>>,
}

/// Stations whose stages may send a message on, one to the next.
const MAX_HOPS: usize = 8;

/// Runs a plan until every input has ended, waiting where a stage asks for it.
pub(crate) fn run_to_end(plan: &Plan, inputs: Vec<Record>) -> Vec<Ended> {
    let mut again: Vec<Record> = inputs.clone();
    let mut ended = plan.run_split(inputs, plan.running().workers);
    for retries in 0.. {
        let waiting = ended.iter().filter_map(|ended| match ended {
            Ended::Retry { after, .. } => Some(*after),
            _ => None,
        });
        let Some(pause) = waiting.max() else { break };
        if retries == plan.running().max_retries {
            for ended in &mut ended {
                if let Ended::Retry { stage, .. } = ended {
                    *ended = Ended::Rejected(exhausted(stage, retries));
                }
            }
            break;
        }
        std::thread::sleep(pause.clamp(MIN_PAUSE, MAX_PAUSE));
        let open: Vec<usize> = (0..ended.len())
            .filter(|index| matches!(ended[*index], Ended::Retry { .. }))
            .collect();
        let inputs = open.iter().map(|index| {
            again[*index].deliveries = retries + 1;
            again[*index].clone()
        });
        for (index, end) in open.iter().zip(plan.run(inputs.collect())) {
            ended[*index] = end;
        }
    }
    ended
}

pub(crate) struct Stager<'a> {
    shared: &'a Shared,
    time: Timestamp,
    /// How many stations' stages sent the message on that is looked at.
    hops: usize,
    /// The input that is looked at: what is added is noted to be of it.
    pub(crate) owner: usize,
    /// Per stream its records, each with the input that it was made of.
    sections: Vec<(Arc<StreamCell>, RecordsBuilder, Vec<usize>)>,
}

impl<'a> Stager<'a> {
    pub(crate) fn new(shared: &'a Shared, time: Timestamp) -> Self {
        Self {
            shared,
            time,
            hops: 0,
            owner: 0,
            sections: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, cell: &Arc<StreamCell>, message: &Message) -> (usize, usize) {
        let known = self
            .sections
            .iter()
            .position(|(known, ..)| known.id == cell.id);
        let section = known.unwrap_or_else(|| {
            self.sections
                .push((Arc::clone(cell), RecordsBuilder::default(), Vec::new()));
            self.sections.len() - 1
        });
        let (_, records, owners) = &mut self.sections[section];
        records.push(&message.subject, &message.headers, &message.payload);
        owners.push(self.owner);
        (section, owners.len() - 1)
    }

    /// Runs a batch to its end, also where a stage wants to see a message again: nobody else waits for this thread.
    fn run(
        &mut self,
        cell: &Arc<StreamCell>,
        plan: Option<&Plan>,
        inputs: Vec<Record>,
        originals: &[Message],
    ) -> Vec<Answer> {
        let traces: Vec<_> = inputs.iter().map(|input| input.trace.clone()).collect();
        let ended: Vec<Ended> = match plan {
            Some(plan) => run_to_end(plan, inputs),
            None => inputs.into_iter().map(unstaged).collect(),
        };
        for ((trace, end), original) in traces.iter().zip(&ended).zip(originals) {
            if let Some(trace) = trace {
                traces::send(self.shared, trace, ("stream", &cell.name), original, end);
            }
        }
        self.settle(cell, plan, ended, originals)
    }

    pub(crate) fn settle(
        &mut self,
        cell: &Arc<StreamCell>,
        plan: Option<&Plan>,
        ended: Vec<Ended>,
        originals: &[Message],
    ) -> Vec<Answer> {
        let letters = self.shared.node.stream(&dead_letter_stream(&cell.name));
        let each = ended.into_iter().zip(originals);
        each.map(|(ended, original)| {
            let (ended, elsewhere) = match ended {
                Ended::Stored(records) => self.captured(cell, records, original),
                other => (other, Vec::new()),
            };
            let why = match ended {
                Ended::Stored(records) if records.is_empty() && elsewhere.is_empty() => {
                    return Answer::Dropped;
                }
                Ended::Stored(records) => return self.store(cell, &records, elsewhere),
                Ended::Dropped { .. } => return Answer::Dropped,
                // Whoever may wait has waited: this one came by another station's stage.
                Ended::Retry { stage, .. } => Rejection::new(
                    &stage,
                    "cannot_retry",
                    "asks for the message again, which came from another station's stage; send it again from the dead letters",
                ),
                Ended::Rejected(why) => why,
            };
            note_rejected(&cell.name, original, &why);
            let version = plan.map_or(0, |plan| plan.version);
            let wanted = plan.is_none_or(|plan| {
                plan.on_rejection(&why) == OnRejection::DeadLetter || original.reply.is_none()
            });
            let letter = letters.as_ref().filter(|_| wanted).map(|letters| {
                let letter = dead_letter(&cell.name, original, &why, self.time, version);
                self.add(letters, &letter)
            });
            Answer::Rejected { why, letter }
        })
        .collect()
    }

    /// A record that came with its rejection: nobody waits for an answer to it, so it is kept whatever the plan says.
    fn unfit(&mut self, cell: &StreamCell, original: &Message, why: Rejection) -> Answer {
        note_rejected(&cell.name, original, &why);
        let letters = self.shared.node.stream(&dead_letter_stream(&cell.name));
        let letter = letters.map(|letters| {
            let letter = dead_letter(&cell.name, original, &why, self.time, 0);
            self.add(&letters, &letter)
        });
        Answer::Rejected { why, letter }
    }

    /// The records that this station stores. What a stage wrote on another station's subjects goes through that station's
    /// own door: its rules are not passed by.
    fn captured(
        &mut self,
        cell: &Arc<StreamCell>,
        records: Vec<Record>,
        original: &Message,
    ) -> (Ended, Vec<(usize, usize)>) {
        let rejected = |stage, code, reason: &str| {
            (
                Ended::Rejected(Rejection::new(stage, code, reason)),
                Vec::new(),
            )
        };
        let most = self.shared.broker.options().max_payload;
        if let Some(large) = records
            .iter()
            .map(|record| record.message.payload.len())
            .find(|size| *size > most)
        {
            let reason = format!("record has {large} bytes, `max_payload` allows {most}");
            return rejected("station:output", "too_large", &reason);
        }
        // What kept its subject is here because the station stores that.
        if records
            .iter()
            .all(|record| record.message.subject == original.subject)
        {
            return (Ended::Stored(records), Vec::new());
        }
        let own = {
            let stream = cell.lock();
            let own = |record: &Record| stream.captures(&record.message.subject);
            records.iter().map(own).collect::<Vec<_>>()
        };
        if !own.contains(&false) {
            return (Ended::Stored(records), Vec::new());
        }
        // All of them are looked for before the first is stored anywhere.
        let doors: Vec<Option<Arc<Ingress>>> = records
            .iter()
            .zip(&own)
            .map(|(record, own)| {
                let elsewhere = (!own).then_some(&record.message.subject)?;
                self.shared.ingress_for(elsewhere)
            })
            .collect();
        let mut each = records.iter().zip(&own).zip(&doors);
        if let Some(((record, _), _)) = each.find(|((_, own), door)| !**own && door.is_none()) {
            let subject = record.message.subject_str();
            let reason = format!(
                "no station stores subject `{subject}`: declare one, or let the function emit on another subject"
            );
            return rejected("function:output", "no_station", &reason);
        }
        if self.hops == MAX_HOPS {
            let reason = format!(
                "stages of {MAX_HOPS} stations sent it on, one to the next: they may go in a circle"
            );
            return rejected("function:output", "too_many_hops", &reason);
        }
        self.hops += 1;
        let mut stays = Vec::with_capacity(records.len());
        let mut elsewhere = Vec::new();
        for (record, door) in records.into_iter().zip(doors) {
            match door {
                None => stays.push(record),
                Some(door) => elsewhere.extend(self.send_on(&door, record, original)),
            }
        }
        self.hops -= 1;
        (Ended::Stored(stays), elsewhere)
    }

    /// A message for another station: like one that was published there, without anybody who waits for the answer.
    /// Where its records are in the command.
    fn send_on(
        &mut self,
        door: &Arc<Ingress>,
        record: Record,
        original: &Message,
    ) -> Vec<(usize, usize)> {
        let headers = &record.message.headers;
        let message = Message {
            reply: None,
            // The input's id and what it asks of its stream (sequences, ages) are not meant for the other one.
            headers: without_orders(headers, &original.headers).unwrap_or_else(|| headers.clone()),
            ..record.message
        };
        let originals = [message];
        self.shared.broadcast(&originals);
        let plan = door.plan.load_full();
        let input = Record::new(originals[0].clone(), self.time);
        let ended = match plan.as_deref() {
            Some(plan) => plan.run(vec![input]),
            None => vec![unstaged(input)],
        };
        let answers = self.settle(&door.cell, plan.as_deref(), ended, &originals);
        // What the other station's stages reject is among its dead letters, and that is how it ends.
        let places = answers.into_iter().map(|answer| match answer {
            Answer::Stored {
                section,
                first,
                count,
                mut elsewhere,
            } => {
                elsewhere.extend((first..first + count).map(|index| (section, index)));
                elsewhere
            }
            Answer::Rejected { letter, .. } => letter.into_iter().collect(),
            Answer::Dropped | Answer::NoStation => Vec::new(),
        });
        places.flatten().collect()
    }

    fn store(
        &mut self,
        cell: &Arc<StreamCell>,
        records: &[Record],
        elsewhere: Vec<(usize, usize)>,
    ) -> Answer {
        let mut place = None;
        for (index, record) in records.iter().enumerate() {
            let id = HeaderBlock::new(&record.message.headers).message_id();
            let id = id.map(String::from_utf8_lossy);
            let at = match id {
                // Copies of one input must not count as duplicates of each other.
                Some(id) if index > 0 => {
                    let headers = with_id(&record.message.headers, &format!("{id}-{index}"));
                    self.add(
                        cell,
                        &Message {
                            headers,
                            ..record.message.clone()
                        },
                    )
                }
                _ => self.add(cell, &record.message),
            };
            place.get_or_insert(at);
        }
        let (section, first) = place.unwrap_or_default();
        Answer::Stored {
            section,
            first,
            count: records.len(),
            elsewhere,
        }
    }

    /// The commands that store it all, one per stream.
    pub(crate) fn publishes(self) -> Publishes {
        let mut made = Publishes::default();
        for (cell, mut records, owners) in self.sections {
            let (records, count) = records.take();
            let own = Keep::of(&cell, count);
            made.keep = Some(made.keep.map_or(own, |keep| keep.or(own)));
            made.count += count;
            made.owners.push(owners);
            made.commands
                .push(Command::Stream(StreamCommand::Publish(Publish {
                    stream: cell.id,
                    time: self.time,
                    count,
                    records,
                })));
        }
        made
    }

    fn finish(self, answers: Vec<Answer>, position: Option<(String, Bytes)>) -> Staged {
        let Publishes {
            mut commands,
            count: total,
            mut keep,
            owners: _,
        } = self.publishes();
        if position.is_some() {
            keep = Some(keep.map_or(Keep::default(), |keep| keep.or(Keep::default())));
        }
        if let Some((source, value)) = position {
            commands.push(Command::Position { source, value });
        }
        let command = match commands.len() {
            0 => None,
            1 => commands.pop(),
            _ => Some(Command::Several(commands)),
        };
        Staged {
            command,
            count: total,
            keep: keep.unwrap_or_default(),
            answers,
        }
    }
}

fn with_id(headers: &[u8], id: &str) -> Bytes {
    let mut new = HeadersBuilder::without_message_id(&HeaderBlock::new(headers));
    new.push("Nats-Msg-Id", id);
    new.build()
}

/// A record that enters without a connection.
#[derive(Clone, Debug)]
pub struct IngestRecord {
    /// What is published; its reply is not used.
    pub message: Message,
    /// Set when whoever brings it knows already that it is unfit: then no stage and no live subscriber sees it, and it goes
    /// to the dead letters of the station that its subject belongs to.
    pub fault: Option<Rejection>,
}

impl From<Message> for IngestRecord {
    fn from(message: Message) -> Self {
        Self {
            message,
            fault: None,
        }
    }
}

/// What became of a record.
#[derive(Clone, Debug, PartialEq)]
pub enum RecordEnd {
    /// It is on disk.
    Stored {
        /// In which stream.
        stream: String,
        /// Under which sequence.
        seq: u64,
    },
    /// The same message id was stored before, under this sequence.
    Duplicate {
        /// In which stream.
        stream: String,
        /// Under which sequence.
        seq: u64,
    },
    /// A stage left it out.
    Dropped,
    /// A stage rejected it.
    Rejected {
        /// Which stage.
        stage: String,
        /// The reason's code.
        code: String,
        /// Why, for people.
        reason: String,
        /// Its sequence among the station's dead letters, when it is kept there.
        letter: Option<u64>,
    },
    /// The stream's rules refused it.
    Refused(ApiError),
    /// No stream stores this subject.
    NoStation,
}

/// Why nothing of a batch was committed.
#[derive(Debug, Error)]
pub enum IngestError {
    /// The log does not take it.
    #[error("batch is not committed: {0}")]
    Log(ApiError),
    /// The server is going down.
    #[error("server is shutting down")]
    Closed,
}

/// Publishing from inside the process, with an answer per record. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Ingest {
    pub(crate) shared: Arc<Shared>,
}

impl Ingest {
    /// Takes records through their stations' pipelines and commits what they became, and the position when one is
    /// given, in one log entry. Answers after the commit, per record and in order.
    ///
    /// # Errors
    /// When the log cannot take the batch; then nothing of it is stored.
    pub async fn commit(
        &self,
        records: Vec<IngestRecord>,
        position: Option<(String, Bytes)>,
    ) -> Result<Vec<RecordEnd>, IngestError> {
        let (done, wait) = oneshot::channel();
        let shared = Arc::clone(&self.shared);
        self.shared
            .runtime
            .spawn_blocking(move || shared.commit(records, position, done));
        wait.await.map_err(|_| IngestError::Closed)?
    }
}

type Done = oneshot::Sender<Result<Vec<RecordEnd>, IngestError>>;

impl Shared {
    fn commit(
        self: &Arc<Self>,
        records: Vec<IngestRecord>,
        position: Option<(String, Bytes)>,
        done: Done,
    ) {
        let time = Timestamp::now();
        let mut stager = Stager::new(self, time);
        let mut answers = Vec::with_capacity(records.len());
        let mut names = Vec::with_capacity(records.len());
        let mut rest = records.into_iter().peekable();
        // Runs of records for the same station go through its plan together and keep their order.
        while let Some(IngestRecord {
            message: first,
            fault,
        }) = rest.next()
        {
            let Some(ingress) = self.ingress_for(&first.subject) else {
                answers.push(Answer::NoStation);
                names.push(String::new());
                continue;
            };
            if let Some(why) = fault {
                answers.push(stager.unfit(&ingress.cell, &first, why));
                names.push(ingress.cell.name.clone());
                continue;
            }
            let mut run = vec![first];
            while let Some(next) = rest.next_if(|next| {
                let subject = &next.message.subject;
                next.fault.is_none()
                    && check_subject(subject).is_ok()
                    && ingress.cell.lock().captures(subject)
            }) {
                run.push(next.message);
            }
            self.broadcast(&run);
            let inputs = run
                .iter()
                .map(|message| Record::new(message.clone(), time))
                .collect();
            let plan = ingress.plan.load_full();
            answers.extend(stager.run(&ingress.cell, plan.as_deref(), inputs, &run));
            names.extend(run.iter().map(|_| ingress.cell.name.clone()));
        }
        let staged = stager.finish(answers, position);
        let answers = staged.answers;
        let finish = move |outcome: Result<Outcome, ApiError>| {
            let result = match &outcome {
                Err(error) => Err(IngestError::Log(error.clone())),
                Ok(_) => Ok(answers
                    .iter()
                    .zip(names)
                    .map(|(answer, stream)| end(answer.resolve(&outcome), stream))
                    .collect()),
            };
            // A caller that went away needs no answer.
            let _gone = done.send(result);
        };
        match staged.command {
            Some(command) => self.propose_raw(0, staged.count, staged.keep, &command, finish),
            None => finish(Ok(Outcome::Done)),
        }
    }
}

fn end(resolved: Resolved<'_>, stream: String) -> RecordEnd {
    match resolved {
        Resolved::Record(RecordOutcome::Stored(seq)) => RecordEnd::Stored { stream, seq },
        Resolved::Record(RecordOutcome::Duplicate(seq)) => RecordEnd::Duplicate { stream, seq },
        Resolved::Record(RecordOutcome::Refused(error)) => RecordEnd::Refused(error),
        Resolved::Dropped => RecordEnd::Dropped,
        Resolved::NoStation => RecordEnd::NoStation,
        Resolved::Rejected { why, letter } => RecordEnd::Rejected {
            stage: why.stage.clone(),
            code: why.code.clone(),
            reason: why.reason.clone(),
            letter,
        },
    }
}
