//! Where results, late messages and dead letters of a query go.

use std::sync::Arc;

use bytes::Bytes;
use millstream_cluster::Command;
use millstream_pipeline::{
    Ended, Origin, Output, Plan, Record, Rejection, dead_letter, dead_letter_of_flow,
    without_orders,
};
use millstream_types::{HeaderBlock, HeadersBuilder, Message, Timestamp};

use super::super::made::{Condemned, Fate, condemn, forgets};
use super::super::setup::{FlowSetup, QuerySetup};
use super::store::Store;
use crate::ingest::{Stager, dead_letter_stream, run_to_end};
use crate::ingress::Ingress;
use crate::read::FrameCursor;
use crate::service::{Keep, Shared};

/// Owner of records that are no results and no late messages.
pub(super) const NOBODY: usize = usize::MAX;

/// What is to be published, as it is published.
#[derive(Debug, Default)]
pub(super) struct Prepared {
    pub(super) outputs: Vec<Message>,
    pub(super) late: Vec<Message>,
    /// Dead letters, with the station that each is of.
    pub(super) letters: Vec<(String, Message)>,
}

/// A command that is ready, but for what else belongs to the commit.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) commands: Vec<Command>,
    /// Per publish the result or, counted on, the late message of each of its records.
    pub(super) owners: Vec<Vec<usize>>,
    pub(super) count: u32,
    pub(super) keep: Keep,
    /// Why some are kept nowhere.
    pub(super) lost: Vec<String>,
}

/// Takes results of one query to the streams that they go to.
pub(super) struct Outlet<'a> {
    pub(super) shared: &'a Shared,
    pub(super) setup: &'a FlowSetup,
    pub(super) query: &'a QuerySetup,
}

impl Outlet<'_> {
    pub(super) fn outputs(outputs: Vec<Output>) -> Vec<Message> {
        let deletes = HeadersBuilder::new().with("KV-Operation", "DEL").build();
        let message = |output: Output| Message {
            subject: output.subject,
            reply: None,
            headers: if output.delete {
                deletes.clone()
            } else {
                Bytes::new()
            },
            payload: output.payload,
        };
        outputs.into_iter().map(message).collect()
    }

    /// Late messages and rejected ones as they are published: the originals are read once more.
    ///
    /// # Errors
    /// When one of them cannot be read.
    pub(super) fn prepare(
        &self,
        outputs: Vec<Output>,
        late: Vec<(Origin, Rejection)>,
        rejected: Vec<(Origin, Rejection)>,
    ) -> Result<Prepared, String> {
        let mut prepared = Prepared {
            outputs: Self::outputs(outputs),
            ..Prepared::default()
        };
        let now = Timestamp::now();
        let mut cursors: Vec<FrameCursor> = self
            .query
            .sources
            .iter()
            .map(|_| FrameCursor::default())
            .collect();
        if let Some(station) = &self.query.late {
            let subjects = self.shared.node.stream(station).map(|cell| {
                let stream = cell.lock();
                stream.config.subjects.clone()
            });
            let subjects = subjects.ok_or_else(|| no_stream(station))?;
            for (origin, why) in late {
                if let Some(original) = self.original(&mut cursors, &origin)? {
                    let message = self.late(&subjects, &original, &why);
                    prepared.late.push(message);
                }
            }
        }
        for (origin, why) in rejected {
            let Some(original) = self.original(&mut cursors, &origin)? else {
                continue;
            };
            let (source, sequence) = match &origin {
                Origin::Message { source, sequence } => (*source, Some(*sequence)),
                Origin::Row(_) => (0, None),
            };
            let station = self
                .query
                .sources
                .get(source)
                .map(|table| table.station.clone());
            let station = station.unwrap_or_default();
            let flow = (self.setup.name.as_str(), sequence);
            let when = (now, self.setup.version);
            let letter = dead_letter_of_flow(flow, &station, &original, &why, when);
            prepared.letters.push((station, letter));
        }
        Ok(prepared)
    }

    /// The message that something came of; `None` when it is gone.
    fn original(
        &self,
        cursors: &mut [FrameCursor],
        origin: &Origin,
    ) -> Result<Option<Message>, String> {
        let (source, sequence) = match origin {
            Origin::Message { source, sequence } => (*source, *sequence),
            Origin::Row(row) => {
                return Ok(Some(Message {
                    subject: Bytes::from(self.setup.name.clone()),
                    payload: row.clone(),
                    ..Message::default()
                }));
            }
        };
        let (Some(table), Some(cursor)) = (self.query.sources.get(source), cursors.get_mut(source))
        else {
            return Err(format!("the query has no source {source}"));
        };
        let cell = self.shared.node.stream(&table.station);
        let cell = cell.ok_or_else(|| no_stream(&table.station))?;
        let place = cell.lock().locate(sequence);
        let Some(place) = place else { return Ok(None) };
        let record = cursor.record(self.shared, &cell, sequence, place);
        let record = record.map_err(|error| error.to_string())?;
        Ok(record.map(|record| record.message()))
    }

    /// A late message as it is stored: with its reason, and with a subject of the station that gets it.
    fn late(&self, subjects: &[String], original: &Message, why: &Rejection) -> Message {
        let headers = &original.headers;
        let headers = without_orders(headers, headers).unwrap_or_else(|| headers.clone());
        let mut told = HeadersBuilder::without_message_id(&HeaderBlock::new(&headers));
        told.push("Ms-Late-Flow", &self.setup.name);
        // On one line, and bounded.
        let why = Rejection::new(&why.stage, &why.code, &why.reason);
        told.push("Ms-Late-Reason", &why.reason);
        Message {
            subject: late_subject(subjects, &original.subject),
            reply: None,
            headers: told.build(),
            payload: original.payload.clone(),
        }
    }

    fn door(&self, name: &str) -> Result<Arc<Ingress>, String> {
        let cell = self.shared.node.stream(name);
        let door = cell.and_then(|cell| self.shared.ingress_of(&cell));
        let door = door.ok_or_else(|| no_stream(name))?;
        if forgets(&door.cell) {
            return Err(format!(
                "stream `{name}` is in memory, and what a flow writes must stay; make it anew with file storage"
            ));
        }
        Ok(door)
    }

    /// The publishes that store it all.
    ///
    /// # Errors
    /// What has to change before it can be stored.
    pub(super) fn make(
        &self,
        prepared: &Prepared,
        (store, internal): (&Store, &[Message]),
        condemned: &mut Condemned,
    ) -> Result<Made, String> {
        let mut stager = Stager::new(self.shared, Timestamp::now());
        let mut lost = Vec::new();
        let into = self.setup.to.as_deref().unwrap_or_default();
        let ends = [
            (Some(into), &prepared.outputs, 0),
            (
                self.query.late.as_deref(),
                &prepared.late,
                prepared.outputs.len(),
            ),
        ];
        for (station, messages, first) in ends {
            let Some(station) = station.filter(|_| !messages.is_empty()) else {
                continue;
            };
            let door = self.door(station)?;
            let plan = door.plan.load_full();
            self.refuse(&door, messages, first, condemned);
            let mut delivery = Delivery {
                outlet: self,
                stager: &mut stager,
                door: &door,
                plan: plan.as_deref(),
            };
            lost.extend(delivery.deliver(messages, first, condemned)?);
        }
        stager.owner = NOBODY;
        for (station, letter) in &prepared.letters {
            let name = dead_letter_stream(station);
            let letters = self.shared.node.stream(&name);
            let letters = letters.ok_or_else(|| no_letters(&name))?;
            stager.add(&letters, letter);
        }
        for message in internal {
            stager.add(&store.cell, message);
        }
        let made = stager.publishes();
        Ok(Made {
            commands: made.commands,
            owners: made.owners,
            count: made.count,
            keep: made.keep.unwrap_or_default().or(Keep::default()),
            lost,
        })
    }

    /// Finds those that their station cannot take at all.
    fn refuse(
        &self,
        door: &Ingress,
        messages: &[Message],
        first: usize,
        condemned: &mut Condemned,
    ) {
        let stage = format!("flow:{}", self.setup.name);
        let name = &door.cell.name;
        let most = self.shared.broker.options().max_payload;
        let stream = door.cell.lock();
        for (index, message) in messages.iter().enumerate() {
            let size = message.payload.len();
            let (code, reason) = if size > most {
                let reason = format!("result has {size} bytes, `max_payload` allows {most}");
                ("too_large", reason)
            } else if !stream.captures(&message.subject) {
                let subject = message.subject_str();
                let reason = format!(
                    "subject `{subject}` is not one of station `{name}`; give the flow another `subject`"
                );
                ("subject_outside_station", reason)
            } else {
                continue;
            };
            let owner = (first + index) as u64;
            if !condemned.contains_key(&owner) {
                condemn(condemned, owner, Rejection::new(&stage, code, &reason));
            }
        }
    }
}

/// Messages on their way into one station.
struct Delivery<'a, 'b> {
    outlet: &'a Outlet<'a>,
    stager: &'a mut Stager<'b>,
    door: &'a Ingress,
    plan: Option<&'a Plan>,
}

impl Delivery<'_, '_> {
    /// Answers why some are kept nowhere.
    fn deliver(
        &mut self,
        messages: &[Message],
        first: usize,
        condemned: &Condemned,
    ) -> Result<Vec<String>, String> {
        let (cell, now) = (&self.door.cell, Timestamp::now());
        let letters = dead_letter_stream(&cell.name);
        let mut lost = Vec::new();
        let mut ended = self.ended(messages, first, condemned, now).into_iter();
        if self.plan.is_some() && self.outlet.shared.node.stream(&letters).is_none() {
            return Err(no_letters(&letters));
        }
        for (index, message) in messages.iter().enumerate() {
            self.stager.owner = first + index;
            match condemned.get(&((first + index) as u64)) {
                Some(Fate::Lost(why)) => lost.push(why.clone()),
                Some(Fate::Letter(why)) => {
                    let to = self.outlet.shared.node.stream(&letters);
                    let to = to.ok_or_else(|| no_letters(&letters))?;
                    let version = self.plan.map_or(0, |plan| plan.version);
                    let letter = dead_letter(&cell.name, message, why, now, version);
                    self.stager.add(&to, &letter);
                }
                None if self.plan.is_none() => {
                    self.stager.add(cell, message);
                }
                None => {
                    let originals = std::slice::from_ref(message);
                    let ended = ended.next().into_iter().collect();
                    // What its station rejects is among its dead letters.
                    let _answers = self.stager.settle(cell, self.plan, ended, originals);
                }
            }
        }
        Ok(lost)
    }

    /// What the station's own stages make of those that go there.
    fn ended(
        &self,
        messages: &[Message],
        first: usize,
        condemned: &Condemned,
        now: Timestamp,
    ) -> Vec<Ended> {
        let Some(plan) = self.plan else {
            return Vec::new();
        };
        let goes = |index: usize| !condemned.contains_key(&((first + index) as u64));
        let records = messages.iter().enumerate();
        let records = records.filter(|(index, _)| goes(*index));
        let records = records.map(|(_, message)| Record::new(message.clone(), now));
        run_to_end(plan, records.collect())
    }
}

/// The subject of a late message: the station's own, or what it stores everything below of.
fn late_subject(subjects: &[String], original: &[u8]) -> Bytes {
    let Some(first) = subjects.first() else {
        return Bytes::copy_from_slice(original);
    };
    match first.strip_suffix('>') {
        Some(below) => [below.as_bytes(), original].concat().into(),
        None => Bytes::from(first.clone()),
    }
}

fn no_stream(name: &str) -> String {
    format!("there is no stream `{name}`")
}

fn no_letters(name: &str) -> String {
    format!("there is no stream `{name}` for what is rejected; apply station or flow again")
}
