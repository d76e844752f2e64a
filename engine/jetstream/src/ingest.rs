//! From messages to one command: the plan runs, what it stores and what it rejects become sections of a single log entry,
//! and every input is told what became of it. Connections, connectors and the management API all pass here.

use std::sync::Arc;

use bytes::Bytes;
use millstream_cluster::{Command, Outcome, StreamCell};
use millstream_pipeline::{Ended, OnRejection, Plan, Record, Rejection, dead_letter, unforged};
use millstream_streams::{
    ApiError, Command as StreamCommand, Publish, RecordOutcome, RecordsBuilder,
};
use millstream_types::{HeaderBlock, HeadersBuilder, Message, Timestamp, check_subject};
use thiserror::Error;
use tokio::sync::oneshot;

use crate::service::{Keep, Shared};

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
                },
                Ok(outcome),
            ) => {
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

/// Runs one station's batch.
pub(crate) fn stage(
    shared: &Shared,
    cell: &Arc<StreamCell>,
    plan: Option<&Plan>,
    inputs: Vec<Record>,
    originals: &[Message],
    time: Timestamp,
) -> Staged {
    let mut stager = Stager::new(shared, time);
    let answers = stager.run(cell, plan, inputs, originals);
    stager.finish(answers, None)
}

struct Stager<'a> {
    shared: &'a Shared,
    time: Timestamp,
    sections: Vec<(Arc<StreamCell>, RecordsBuilder, usize)>,
}

impl<'a> Stager<'a> {
    fn new(shared: &'a Shared, time: Timestamp) -> Self {
        Self {
            shared,
            time,
            sections: Vec::new(),
        }
    }

    fn add(&mut self, cell: &Arc<StreamCell>, message: &Message) -> (usize, usize) {
        let known = self
            .sections
            .iter()
            .position(|(known, ..)| known.id == cell.id);
        let section = known.unwrap_or_else(|| {
            self.sections
                .push((Arc::clone(cell), RecordsBuilder::default(), 0));
            self.sections.len() - 1
        });
        let (_, records, count) = &mut self.sections[section];
        records.push(&message.subject, &message.headers, &message.payload);
        *count += 1;
        (section, *count - 1)
    }

    fn run(
        &mut self,
        cell: &Arc<StreamCell>,
        plan: Option<&Plan>,
        inputs: Vec<Record>,
        originals: &[Message],
    ) -> Vec<Answer> {
        let ended = match plan {
            Some(plan) => plan.run(inputs),
            None => inputs
                .into_iter()
                .map(|mut record| {
                    if let Some(clean) = unforged(&record.message.headers) {
                        record.message.headers = clean;
                    }
                    Ended::Stored(vec![record])
                })
                .collect(),
        };
        let letters = self.shared.node.stream(&dead_letter_stream(&cell.name));
        let each = ended.into_iter().zip(originals);
        each.map(|(ended, original)| {
            let ended = match ended {
                Ended::Stored(records) => self.captured(cell, records),
                other => other,
            };
            match ended {
                Ended::Stored(records) if records.is_empty() => Answer::Dropped,
                Ended::Stored(records) => self.store(cell, &records),
                Ended::Dropped { .. } => Answer::Dropped,
                Ended::Rejected(why) => {
                    note_rejected(&cell.name, original, &why);
                    let version = plan.map_or(0, |plan| plan.version);
                    let wanted = plan.is_none_or(|plan| {
                        plan.on_rejection(&why) == OnRejection::DeadLetter
                            || original.reply.is_none()
                    });
                    let letter = letters.as_ref().filter(|_| wanted).map(|letters| {
                        let letter = dead_letter(&cell.name, original, &why, self.time, version);
                        self.add(letters, &letter)
                    });
                    Answer::Rejected { why, letter }
                }
            }
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

    /// A stage may rename a message only within the station's subjects: elsewhere another station's rules would be passed by.
    fn captured(&self, cell: &StreamCell, records: Vec<Record>) -> Ended {
        let most = self.shared.broker.options().max_payload;
        if let Some(large) = records
            .iter()
            .map(|record| record.message.payload.len())
            .find(|size| *size > most)
        {
            return Ended::Rejected(Rejection {
                stage: "station:output".to_owned(),
                code: "too_large".to_owned(),
                reason: format!("record has {large} bytes, `max_payload` allows {most}"),
                path: None,
            });
        }
        let stream = cell.lock();
        let outside = records
            .iter()
            .find(|record| !stream.captures(&record.message.subject));
        match outside {
            None => Ended::Stored(records),
            Some(record) => Ended::Rejected(Rejection {
                stage: "function:output".to_owned(),
                code: "subject_outside_station".to_owned(),
                reason: format!(
                    "subject `{}` is not one of station `{}`; emit on its own subjects",
                    record.message.subject_str(),
                    cell.name
                ),
                path: None,
            }),
        }
    }

    fn store(&mut self, cell: &Arc<StreamCell>, records: &[Record]) -> Answer {
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
        }
    }

    fn finish(self, answers: Vec<Answer>, position: Option<(String, Bytes)>) -> Staged {
        let mut commands = Vec::with_capacity(self.sections.len() + 1);
        let mut total = 0;
        let mut keep = position.is_some().then(Keep::default);
        for (cell, mut records, _) in self.sections {
            let (records, count) = records.take();
            let own = Keep::of(&cell.lock().config, count);
            keep = Some(keep.map_or(own, |keep| keep.or(own)));
            total += count;
            commands.push(Command::Stream(StreamCommand::Publish(Publish {
                stream: cell.id,
                time: self.time,
                count,
                records,
            })));
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
