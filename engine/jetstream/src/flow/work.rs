//! What becomes of a batch of inputs: stages, where outputs go, and the commands that store it all.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use millstream_cluster::{Command, StreamCell};
use millstream_pipeline::{Ended, Order, Record, Rejection, dead_letter_of_flow, without_orders};
use millstream_types::Timestamp;

use super::doors::Doors;
use super::ends::{End, Output, position_after};
use super::made::{Condemned, Fate, Made, Single, forgets, in_memory};
use super::position::Position;
use super::select::Input;
use super::setup::FlowSetup;
use crate::group::{MIN_PAUSE, exhausted, unstaged};
use crate::ingest::{Stager, dead_letter_stream};
use crate::service::{Keep, Shared};
use crate::traces;

/// Longest pause before an input is tried again.
const MAX_PAUSE: Duration = Duration::from_secs(7 * 86_400);

/// Most bytes of outputs that one commit holds; more only when one input makes them.
pub(crate) const MAX_OUTPUT: usize = 16 << 20;

/// Why nothing can be made of a batch now.
#[derive(Debug)]
pub(crate) enum Blocked {
    /// What has to change first.
    By(String),
    /// So many inputs make as much as one commit holds.
    TooMuch(usize),
}

/// Takes batches of one flow to their commands.
pub(crate) struct Work<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) setup: &'a FlowSetup,
    pub(crate) cell: &'a Arc<StreamCell>,
    /// Inputs that are not to be run again, and why.
    pub(crate) condemned: &'a Condemned,
}

impl Work<'_> {
    /// Runs a batch. `before` is where the flow stands, `after` where it stands when all inputs have ended.
    ///
    /// # Errors
    /// When what it makes has nowhere to go now; effects have been told that it is not committed.
    pub(crate) fn make(
        &self,
        inputs: Vec<Input>,
        before: &Position,
        after: Position,
    ) -> Result<Made, Blocked> {
        let made = self.ends(&inputs).and_then(|ends| {
            let now = Timestamp::now();
            let order = self.setup.running.order;
            let after = position_after(&inputs, &ends, before, after, (order, now));
            self.gather(&inputs, ends, after, now)
        });
        if let (Err(_), Some(effects)) = (&made, &self.setup.effects) {
            effects.committed(false);
        }
        made
    }

    fn ends(&self, inputs: &[Input]) -> Result<Vec<End>, Blocked> {
        if let Some(effects) = &self.setup.effects {
            effects.begin();
        }
        let all: Vec<usize> = (0..inputs.len()).collect();
        let mut ends = self.run(inputs, &all)?;
        self.hold_back(inputs, &mut ends);
        // State must not see inputs that are not committed: when some have to wait, the others are run once more alone.
        let mut ran = inputs.len();
        while let Some(effects) = &self.setup.effects {
            let left: Vec<usize> = (0..ends.len())
                .filter(|index| !ends[*index].waits())
                .collect();
            if left.len() == ran {
                break;
            }
            ran = left.len();
            effects.committed(false);
            effects.begin();
            let again = self.run(inputs, &left)?;
            for (index, end) in left.into_iter().zip(again) {
                ends[index] = end;
            }
            self.hold_back(inputs, &mut ends);
        }
        Ok(ends)
    }

    /// Some of the inputs through the stages, their outputs through those of where they go.
    fn run(&self, inputs: &[Input], which: &[usize]) -> Result<Vec<End>, Blocked> {
        let faults: Vec<Option<End>> = which
            .iter()
            .map(|index| self.fault(&inputs[*index]))
            .collect();
        let fit = which.iter().zip(&faults).filter(|(_, why)| why.is_none());
        let records: Vec<Record> = fit
            .map(|(index, _)| inputs[*index].record.clone())
            .collect();
        let workers = match self.setup.effects {
            None => self.setup.running.workers,
            Some(_) => 1,
        };
        let ended = match &self.setup.plan {
            Ok(Some(plan)) => plan.run_split(records, workers),
            Ok(None) => records.into_iter().map(unstaged).collect(),
            Err(why) => return Err(Blocked::By(why.clone())),
        };
        let mut ended = ended.into_iter();
        let mut doors = Doors::new(self.shared, self.setup)?;
        let mut ends = Vec::with_capacity(which.len());
        for (index, fault) in which.iter().zip(faults) {
            ends.push(match fault {
                Some(end) => end,
                None => {
                    let ended = ended
                        .next()
                        .expect("invariant: a plan answers for each input");
                    let input = &inputs[*index];
                    if let Some(trace) = &input.record.trace {
                        let place = ("flow", self.setup.name.as_str());
                        traces::send(self.shared, trace, place, &input.message, &ended);
                    }
                    self.routed(&mut doors, &inputs[*index], ended)
                }
            });
        }
        self.arrive(&doors, &mut ends);
        for (index, end) in which.iter().zip(&mut ends) {
            self.received(&inputs[*index], end)?;
        }
        Ok(ends)
    }

    /// How an input ends that no stage is to see.
    fn fault(&self, input: &Input) -> Option<End> {
        let condemned = input.seq.and_then(|seq| self.condemned.get(&seq));
        let why = match condemned {
            Some(Fate::Lost(why)) => return Some(End::Lost(why.clone())),
            Some(Fate::Letter(why)) => Some(why),
            None => input.fault.as_ref(),
        };
        Some(End::Rejected(why?.clone()))
    }

    fn retry(&self, input: &Input, stage: &str, after: Duration) -> End {
        let tries = input.tries();
        if tries >= self.setup.running.max_retries {
            return End::Rejected(exhausted(stage, tries));
        }
        End::Retry(after.clamp(MIN_PAUSE, MAX_PAUSE))
    }

    /// Where the outputs of an input go; one that cannot go anywhere rejects the input.
    fn routed(&self, doors: &mut Doors, input: &Input, ended: Ended) -> End {
        let records = match ended {
            Ended::Stored(records) => records,
            Ended::Dropped { .. } => return End::Dropped,
            Ended::Rejected(why) => return End::Rejected(why),
            Ended::Retry { stage, after } => return self.retry(input, &stage, after),
        };
        let mut outputs = Vec::with_capacity(records.len());
        for record in records {
            match self.output(doors, input, record) {
                Ok(output) => outputs.push(output),
                Err(why) => return End::Rejected(why),
            }
        }
        End::Outputs(outputs)
    }

    fn output(
        &self,
        doors: &mut Doors,
        input: &Input,
        record: Record,
    ) -> Result<Output, Rejection> {
        let reject = |code, reason: &str| {
            let stage = format!("flow:{}", self.setup.name);
            Err(Rejection::new(&stage, code, reason))
        };
        let mut message = record.message;
        let keeps_subject = message.subject == input.message.subject;
        if let (true, Some(template)) = (keeps_subject, &self.setup.subject) {
            match template.apply(&message.subject) {
                Ok(subject) => message.subject = subject,
                Err(why) => return reject("bad_subject", &why),
            }
        }
        let subject = String::from_utf8_lossy(&message.subject).into_owned();
        let door = match (keeps_subject, &doors.to) {
            (true, Some(to)) if to.cell.lock().captures(&message.subject) => Arc::clone(to),
            (true, Some(to)) => {
                let name = &to.cell.name;
                let reason = format!(
                    "subject `{subject}` is not one of station `{name}`; give the flow another `subject`"
                );
                return reject("subject_outside_station", &reason);
            }
            (true, None) => {
                let reason = "output keeps its subject and the flow has no `to`: it would come in again; let the function emit on another subject";
                return reject("loops", reason);
            }
            (false, _) => match doors.find(self.shared, &message.subject) {
                Some(door) => door,
                None => {
                    let reason = format!("no station stores subject `{subject}`: declare one");
                    return reject("no_station", &reason);
                }
            },
        };
        if door.cell.id == self.cell.id {
            let name = &self.cell.name;
            let reason = format!(
                "subject `{subject}` is one of station `{name}`, which the flow reads: it would come in again"
            );
            return reject("loops", &reason);
        }
        if forgets(&door.cell) {
            return Err(in_memory(&self.setup.name, &door.cell.name));
        }
        let (size, most) = (
            message.payload.len(),
            self.shared.broker.options().max_payload,
        );
        if size > most {
            let reason = format!("output has {size} bytes, `max_payload` allows {most}");
            return reject("too_large", &reason);
        }
        if let Some(headers) = without_orders(&message.headers, &input.message.headers) {
            message.headers = headers;
        }
        message.reply = None;
        Ok(Output {
            plan: doors.plan(&door),
            door,
            message,
            ended: None,
        })
    }

    /// Outputs through the stages of the stations that they go to, all those of a station together.
    fn arrive(&self, doors: &Doors, ends: &mut [End]) {
        let time = Timestamp::now();
        for (door, plan) in &doors.found {
            let mut arriving: Vec<&mut Output> = ends
                .iter_mut()
                .filter_map(|end| match end {
                    End::Outputs(outputs) => Some(outputs),
                    _ => None,
                })
                .flatten()
                .filter(|output| output.door.cell.id == door.cell.id)
                .collect();
            let records: Vec<Record> = arriving
                .iter()
                .map(|output| Record::new(output.message.clone(), time))
                .collect();
            let ended = match plan {
                Some(plan) => plan.run_split(records, plan.running().workers),
                None => records.into_iter().map(unstaged).collect(),
            };
            for (output, ended) in arriving.iter_mut().zip(ended) {
                output.ended = Some(ended);
            }
        }
    }

    /// What an input comes to when its outputs have arrived.
    fn received(&self, input: &Input, end: &mut End) -> Result<(), Blocked> {
        let End::Outputs(outputs) = end else {
            return Ok(());
        };
        let mut later = None;
        for output in &*outputs {
            let station = &output.door.cell.name;
            let letters = || self.shared.node.stream(&dead_letter_stream(station));
            match &output.ended {
                Some(Ended::Retry { stage, after }) => later = Some((stage.clone(), *after)),
                // A later look at its outputs may reject them too.
                Some(_) if output.plan.is_some() && letters().is_none() => {
                    return Err(no_letters(station));
                }
                _ => {}
            }
        }
        if let Some((stage, after)) = later {
            *end = self.retry(input, &stage, after);
        }
        Ok(())
    }

    /// What has to wait for an input that is to be tried again.
    fn hold_back(&self, inputs: &[Input], ends: &mut [End]) {
        let mut keys = BTreeSet::new();
        let mut all = false;
        for (input, end) in inputs.iter().zip(ends) {
            let behind = all || input.key.as_ref().is_some_and(|key| keys.contains(key));
            if behind {
                *end = End::Waits;
            }
            match (end.waits(), self.setup.running.order) {
                (true, Order::Station) => all = true,
                (true, Order::Key) => keys.extend(input.key.clone()),
                (true, Order::None) | (false, _) => {}
            }
        }
    }

    /// The commands.
    fn gather(
        &self,
        inputs: &[Input],
        ends: Vec<End>,
        after: Position,
        now: Timestamp,
    ) -> Result<Made, Blocked> {
        let mut stager = Stager::new(self.shared, now);
        let (mut live, mut lost, mut single) = (Vec::new(), Vec::new(), Single::default());
        let mut bytes = 0;
        for (index, (input, end)) in inputs.iter().zip(ends).enumerate() {
            stager.owner = index;
            if let End::Outputs(outputs) = &end {
                bytes += outputs.iter().map(Output::size).sum::<usize>();
            }
            if bytes > MAX_OUTPUT && index > 0 {
                return Err(Blocked::TooMuch(index));
            }
            single = match end {
                End::Outputs(outputs) => {
                    let count = outputs.len();
                    for output in outputs {
                        let ended = output
                            .ended
                            .unwrap_or(Ended::Stored(vec![Record::default()]));
                        let (cell, plan) = (&output.door.cell, output.plan.as_deref());
                        live.push(output.message.clone());
                        let originals = [output.message];
                        // What its station rejects is among its dead letters.
                        let _answers = stager.settle(cell, plan, vec![ended], &originals);
                    }
                    Single::Outputs(count)
                }
                End::Rejected(why) => {
                    let place = self.letter(&mut stager, input, &why, now)?;
                    Single::Rejected(why, place)
                }
                End::Retry(after) => Single::Retry(after),
                End::Lost(why) => {
                    lost.extend(input.seq.map(|seq| (seq, why)));
                    Single::Dropped
                }
                End::Dropped | End::Waits => Single::Dropped,
            };
        }
        if let Some(effects) = &self.setup.effects {
            stager.owner = usize::MAX;
            for (stream, message) in effects.take() {
                let cell = self.shared.node.stream(&stream);
                let cell =
                    cell.ok_or_else(|| Blocked::By(format!("there is no stream `{stream}`")))?;
                if forgets(&cell) {
                    return Err(forgetful(&stream));
                }
                stager.add(&cell, &message);
            }
        }
        let made = stager.publishes();
        let mut commands = made.commands;
        commands.push(Command::Position {
            source: self.setup.key.clone(),
            value: after.encode(),
        });
        Ok(Made {
            commands,
            owners: made.owners,
            count: made.count,
            keep: made.keep.unwrap_or_default().or(Keep::default()),
            live,
            inputs: inputs.iter().map(|input| input.seq).collect(),
            lost,
            bytes,
            after,
            single,
        })
    }

    /// A rejected input among the dead letters of the station that it was read from.
    fn letter(
        &self,
        stager: &mut Stager<'_>,
        input: &Input,
        why: &Rejection,
        now: Timestamp,
    ) -> Result<(usize, usize), Blocked> {
        let station = &self.cell.name;
        let letters = self.shared.node.stream(&dead_letter_stream(station));
        let letters = letters.ok_or_else(|| no_letters(station))?;
        if forgets(&letters) {
            return Err(forgetful(&letters.name));
        }
        let version = self
            .setup
            .plan
            .as_ref()
            .ok()
            .and_then(|plan| plan.as_ref())
            .map_or(0, |plan| plan.version);
        let flow = (self.setup.name.as_str(), input.seq);
        let letter = dead_letter_of_flow(flow, station, &input.message, why, (now, version));
        Ok(stager.add(&letters, &letter))
    }
}

fn no_letters(station: &str) -> Blocked {
    let letters = dead_letter_stream(station);
    Blocked::By(format!(
        "there is no stream `{letters}` for what is rejected; apply station or flow again"
    ))
}

fn forgetful(stream: &str) -> Blocked {
    Blocked::By(format!(
        "stream `{stream}` is in memory, and what a flow writes must stay; make it anew with file storage"
    ))
}
