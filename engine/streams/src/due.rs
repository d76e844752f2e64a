//! What comes due: messages that reach the end of their time, the markers that take their place, schedules.
//!
//! The leader's clock says when, and a command what: applying one reads no clock. Markers and scheduled messages lie in the
//! command as records, like published ones, because the index can only point to what is in the log.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use millstream_journal::Position;
use millstream_types::{HeadersBuilder, Timestamp, format_duration};

use crate::chunk::SPAN;
use crate::command::{Due, Fire};
use crate::log::Size;
use crate::publish::Wanted;
use crate::records::{RecordView, RecordsBuilder, parse};
use crate::stream::Stream;
use crate::ttl::Ttl;

/// Most messages that one command removes, and schedules it fires: the stream is locked as long.
const MOST: usize = 4096;

/// A schedule that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DueSchedule {
    /// Its sequence.
    pub seq: u64,
    /// When it was due.
    pub due: Timestamp,
    /// Whether it stands; not when another message took its place on the subject.
    pub stands: bool,
}

/// What a command has to do at some moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pending {
    /// Schedules to be fired.
    pub schedules: Vec<DueSchedule>,
    /// Subjects that need a marker when their messages go.
    pub markers: Vec<Vec<u8>>,
}

impl Stream {
    /// When something is due next: from then on a [`crate::Command::Due`] is worth proposing.
    #[must_use]
    pub fn next_due(&mut self) -> Option<Timestamp> {
        let own = self.log.first_due();
        let aged = self.first_aging().map(|(_, end)| end);
        match (own, aged) {
            (Some(own), Some(aged)) => Some(own.min(aged)),
            (own, aged) => own.or(aged),
        }
    }

    /// The oldest message that `max_age` removes, and when.
    fn first_aging(&mut self) -> Option<(u64, Timestamp)> {
        if self.config.max_age.is_zero() {
            return None;
        }
        let first = self.aging(self.aged)?;
        // Messages before it stay for ever: they need not be looked at again.
        self.aged = first.0;
        Some(first)
    }

    /// The first message at or after `from` that `max_age` removes, and when.
    fn aging(&self, from: u64) -> Option<(u64, Timestamp)> {
        let mut from = from.max(self.log.first_seq());
        loop {
            let seq = self.log.next_live(from)?;
            if self.log.ttl(seq) != Some(Ttl::FOR_EVER) {
                let time = self.log.place(seq)?.time;
                return Some((seq, time.plus(self.config.max_age)));
            }
            from = seq + 1;
        }
    }

    /// Messages to be removed at `now`, about [`MOST`] of them, in order.
    fn ending(&self, now: Timestamp) -> BTreeSet<u64> {
        let mut ending = BTreeSet::new();
        for (_, chunk) in self.log.due_chunks(now) {
            if ending.len() >= MOST {
                return ending;
            }
            let due = chunk.ends().filter(|(_, end)| *end <= now);
            ending.extend(due.map(|(seq, _)| seq));
        }
        if self.config.max_age.is_zero() {
            return ending;
        }
        let mut from = self.aged;
        while ending.len() < MOST
            && let Some((seq, _)) = self.aging(from).filter(|(_, end)| *end <= now)
        {
            ending.insert(seq);
            from = seq + 1;
        }
        ending
    }

    /// What a command has to bring along to deal with what is due.
    #[must_use]
    pub fn pending(&self, now: Timestamp) -> Pending {
        let mut pending = Pending::default();
        for (_, chunk) in self.log.due_chunks(now) {
            let due = chunk.schedules().filter(|(_, due)| *due <= now);
            pending.schedules.extend(due.map(|(seq, due)| DueSchedule {
                seq,
                due,
                stands: self.is_last_of_subject(seq),
            }));
            if pending.schedules.len() >= MOST {
                break;
            }
        }
        if self.marker_ttl().is_some() {
            pending.markers = self.markers(now);
        }
        pending
    }

    /// Subjects that lose their last message, which is not a marker itself.
    fn markers(&self, now: Timestamp) -> Vec<Vec<u8>> {
        let mut going: BTreeMap<u32, u32> = BTreeMap::new();
        let ending = self.ending(now);
        for meta in ending.iter().filter_map(|seq| self.log.meta(*seq)) {
            *going.entry(meta.subject).or_default() += 1;
        }
        let emptied = going.into_iter().filter_map(|(subject, count)| {
            let entry = self.log.subjects.get(subject);
            let last = self.log.meta(entry.last)?;
            let leaves = entry.count == count && !Size(last.size).is_marker();
            leaves.then(|| self.log.subjects.name(subject).to_vec())
        });
        emptied.collect()
    }

    /// How long markers stay; `None` when there are none.
    pub(crate) fn marker_ttl(&self) -> Option<Ttl> {
        let ttl = self.config.subject_delete_marker_ttl;
        (!ttl.is_zero()).then(|| Ttl::of(ttl))
    }

    /// Puts the markers of subjects into records.
    pub fn put_markers(&self, subjects: &[Vec<u8>], records: &mut RecordsBuilder) {
        let Some(ttl) = self.marker_ttl() else { return };
        let time = std::time::Duration::from_secs(u64::from(ttl.seconds()));
        let headers = HeadersBuilder::new()
            .with("Nats-Marker-Reason", "MaxAge")
            .with("Nats-TTL", &format_duration(time))
            .with("Nats-Rollup", "sub")
            .build();
        for subject in subjects {
            records.push(subject, &headers, b"");
        }
    }

    fn is_last_of_subject(&self, seq: u64) -> bool {
        self.log.meta(seq).is_some() && self.log.next_of(seq).is_none()
    }

    /// Deals with what is due: stores what its schedules made, removes what reached its end, stores markers. Answers how many
    /// messages it removed. `at` is the frame that holds the records and `body_offset` is where in its body they begin.
    pub fn come_due(&mut self, due: &Due, at: Position, body_offset: u32) -> u64 {
        let time = self
            .log
            .last_time()
            .map_or(due.now, |last| last.max(due.now));
        let mut records = Records::new(due, at, body_offset);
        let removed = self.fire_all(due, &mut records, time);
        let markers: HashMap<&[u8], (RecordView<'_>, (Position, u32))> = records
            .map(|(record, place)| (record.subject, (record, place)))
            .collect();
        let mut gone = 0;
        for seq in self.ending(due.now) {
            // Limits may have taken it, since markers are messages too.
            let Some(meta) = self.log.meta(seq).copied() else {
                continue;
            };
            let is_last = self.log.subjects.get(meta.subject).count == 1;
            let ttl = self.marker_ttl().filter(|_| is_last);
            let marker = match ttl.filter(|_| !Size(meta.size).is_marker()) {
                None => None,
                Some(ttl) => match markers.get(self.log.subjects.name(meta.subject)) {
                    Some((record, place)) => Some((ttl, record, *place)),
                    // The leader did not know that it is the last one: it stays until its marker is brought along.
                    None => continue,
                },
            };
            self.log.remove(seq);
            gone += 1;
            if let Some((ttl, record, place)) = marker {
                self.keep(record, place, time, &Wanted::marker(ttl));
            }
        }
        let looked_at: Vec<u64> = self.log.due_chunks(due.now).map(|(no, _)| no).collect();
        looked_at
            .into_iter()
            .for_each(|no| self.log.look_for_due(no));
        self.dedup.expire(due.now, self.config.duplicate_window);
        self.tell_removed();
        self.log.relax();
        removed + gone
    }

    fn fire_all(&mut self, due: &Due, records: &mut Records<'_>, time: Timestamp) -> u64 {
        let mut removed = 0;
        for fire in &due.fires {
            let made = if fire.makes { records.next() } else { None };
            let known = self.log.schedule(fire.seq);
            // Not fired twice for the same time, whatever was proposed meanwhile.
            let is_due = known
                .is_some_and(|known| known <= due.now && fire.next.is_none_or(|next| next > known));
            if !is_due {
                continue;
            }
            if !self.is_last_of_subject(fire.seq) {
                self.log.set_schedule(fire.seq, None);
            } else {
                if let Some((record, place)) = made {
                    self.store_made(&record, place, time);
                }
                removed += self.schedule_again(fire);
            }
            self.log.look_for_due(fire.seq / SPAN);
        }
        removed
    }

    fn schedule_again(&mut self, fire: &Fire) -> u64 {
        match fire.next {
            // Storing what it made may have taken it away.
            Some(_) if self.log.meta(fire.seq).is_none() => 0,
            Some(next) => {
                self.log.set_schedule(fire.seq, Some(next));
                0
            }
            None => u64::from(self.log.remove(fire.seq).is_some()),
        }
    }
}

/// The records of a command, with their places.
struct Records<'a> {
    due: &'a Due,
    left: u32,
    offset: usize,
    at: Position,
    body_offset: u32,
}

impl<'a> Records<'a> {
    fn new(due: &'a Due, at: Position, body_offset: u32) -> Self {
        Self {
            due,
            left: due.count,
            offset: 0,
            at,
            body_offset,
        }
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = (RecordView<'a>, (Position, u32));

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let (record, next) = parse(&self.due.records, self.offset).ok()?;
        let offset = u32::try_from(self.offset).expect("invariant: a frame's body fits 4 GiB");
        self.offset = next;
        Some((record, (self.at, self.body_offset + offset)))
    }
}

#[cfg(test)]
mod tests;
