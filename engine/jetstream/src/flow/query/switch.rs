//! How a query that was built takes over: what it publishes then, and the one command that does it.

use std::sync::Arc;

use bytes::Bytes;
use millstream_cluster::{CatalogChange, StreamCell, flow_key};
use millstream_pipeline::{DataflowStatus, Output};
use millstream_streams::Filters;
use serde_json::{Map, Value};

use super::super::setup::{FlowSetup, OwnRows};
use super::super::status::FlowState;
use super::build::{Before, Kept};
use super::commit::{Committer, Discard, Last, direct};
use super::outputs::{Outlet, Prepared};
use super::place::Place;
use super::store::{Owner, Store, Unread};
use crate::read::FrameCursor;
use crate::service::Shared;

/// What became of it.
pub(super) enum Switched {
    /// It has taken over and goes on as this; or it is made anew first, because results wait with its state that could not be
    /// published yet.
    Over(Arc<FlowSetup>, bool),
    /// The version that runs has read more.
    Further,
    /// That one has something to do first.
    Waits(String),
}

impl Committer {
    /// Takes over from the version that runs. That one stands still, or else the command is refused when it has gone on.
    ///
    /// # Errors
    /// When the query is to be made anew.
    pub(super) fn switch(&mut self, status: &DataflowStatus) -> Result<Switched, Discard> {
        let inner = Arc::clone(&self.inner);
        let before = Before::of(&inner.shared, &self.setup).ok_or_else(Discard::quiet)?;
        if self.is_behind(&before) {
            return Ok(Switched::Further);
        }
        if self.publishes(&before)? {
            let reason = "the version that runs has results that it could not publish yet";
            return Ok(Switched::Waits(reason.to_owned()));
        }
        let kept = self.kept.as_ref().ok_or_else(Discard::quiet)?;
        let mut outputs = self.news(kept, &before)?;
        let place = self.place_after(&before, outputs.len() as u64);
        let later = outputs.split_off(direct(&outputs));
        let last = self.write_ahead(self.store.results(&later, place.epoch))?;
        let prepared = Prepared {
            outputs: Outlet::outputs(outputs),
            ..Prepared::default()
        };
        let change = CatalogChange::SwitchFlow {
            name: self.setup.name.clone(),
            run: place.run,
            before: before.stored,
            position: String::from_utf8_lossy(&place.encode()).into_owned(),
        };
        self.publish(&prepared, &last, &[], Last::Switch(&change))?;
        self.over(place, status);
        let drained = later.is_empty() || self.published_later();
        Ok(Switched::Over(Arc::clone(&self.setup), drained))
    }

    fn published_later(&mut self) -> bool {
        let inner = Arc::clone(&self.inner);
        let found = self.store.find_pending(&inner.shared, self.place.epoch);
        found.is_ok() && self.drain().is_ok()
    }

    /// Whether the version that runs has read what this one has not.
    fn is_behind(&self, before: &Before) -> bool {
        let streams: Vec<u32> = self
            .place
            .sources
            .iter()
            .map(|place| place.stream)
            .collect();
        let reads = before.read_of(&streams);
        let mut sources = self
            .place
            .sources
            .iter()
            .zip(&self.query.sources)
            .zip(reads);
        sources.any(|((place, table), read)| {
            let Some(read) = read else { return false };
            let filter = table.filter.as_deref().unwrap_or(">");
            let cell = self.inner.shared.node.stream_by_id(place.stream);
            let next = cell.and_then(|cell| {
                let filters = Filters::one(filter.as_bytes());
                cell.lock().next_matching(place.read + 1, &filters)
            });
            next.is_some_and(|next| next <= read)
        })
    }

    /// Whether the version that runs has results with its state that are not published.
    fn publishes(&self, before: &Before) -> Result<bool, Unread> {
        let owner = Owner {
            run: before.place.run,
            layout: before.place.layout,
        };
        let cell = Arc::clone(&self.store.cell);
        let mut store = Store::new(cell, (&self.setup.name, before.part), owner);
        store.find_pending(&self.inner.shared, before.place.epoch)?;
        Ok(!store.pending.is_empty())
    }

    /// Where it stands when it has taken over: where the other one does.
    fn place_after(&self, before: &Before, outputs: u64) -> Place {
        let mut place = self.place.clone();
        let streams: Vec<u32> = place.sources.iter().map(|place| place.stream).collect();
        for (source, read) in place.sources.iter_mut().zip(before.read_of(&streams)) {
            source.read = read.map_or(source.read, |read| source.read.max(read));
        }
        place.epoch += 1;
        place.totals.outputs = outputs;
        place.told = before.told().filter(|_| !self.query.upserts);
        place
    }

    /// What differs from what the other version has published.
    fn news(&self, kept: &Kept, before: &Before) -> Result<Vec<Output>, Discard> {
        if !self.query.upserts {
            return Ok(kept.windows_after(before.told()));
        }
        let shared = &self.inner.shared;
        let into = self.setup.to.as_deref().unwrap_or_default();
        let blocked = |reason: String| Discard::because(FlowState::Blocked, reason);
        let cell = shared.node.stream(into);
        let cell = cell.ok_or_else(|| blocked(format!("there is no stream `{into}`")))?;
        let stored = Stored {
            shared,
            // What its stages make of a row is not what this one would publish.
            changed: shared
                .ingress_of(&cell)
                .is_some_and(|door| door.plan.load().is_some()),
            cell,
        };
        let rows = self
            .setup
            .build
            .as_ref()
            .and_then(|build| build.rows.as_ref());
        stored.difference(kept, rows).map_err(blocked)
    }

    /// It runs from now on.
    fn over(&mut self, place: Place, status: &DataflowStatus) {
        let catalog = self.inner.shared.node.catalog();
        let entry = catalog.flows.get(&self.setup.name);
        let version = entry.map_or(self.setup.version, |entry| entry.version);
        drop(catalog);
        self.setup = Arc::new(FlowSetup {
            key: flow_key(&self.setup.name),
            version,
            build: None,
            ..(*self.setup).clone()
        });
        self.inner.setup.store(Arc::clone(&self.setup));
        self.kept = None;
        self.store.keeps(false);
        self.place = place;
        self.inner.stands(&self.place, status);
    }
}

/// What the station that gets the results stores.
struct Stored<'a> {
    shared: &'a Shared,
    cell: Arc<StreamCell>,
    /// Whether the station's own stages change what goes there.
    changed: bool,
}

impl Stored<'_> {
    /// Rows that are not there as they are to be, and those of the other version that are not to be there.
    fn difference(&self, kept: &Kept, rows: Option<&OwnRows>) -> Result<Vec<Output>, String> {
        let mut cursor = FrameCursor::default();
        let mut outputs = Vec::new();
        for subject in self.gone(kept, rows, &mut cursor)? {
            outputs.push(Output {
                subject: subject.into(),
                payload: Bytes::new(),
                delete: true,
                closes: None,
            });
        }
        for (subject, payload) in kept.rows() {
            if !self.changed && self.last(subject, &mut cursor)?.as_ref() == Some(payload) {
                continue;
            }
            outputs.push(Output {
                subject: subject.clone(),
                payload: payload.clone(),
                delete: false,
                closes: None,
            });
        }
        Ok(outputs)
    }

    fn gone(
        &self,
        kept: &Kept,
        rows: Option<&OwnRows>,
        cursor: &mut FrameCursor,
    ) -> Result<Vec<String>, String> {
        let Some(rows) = rows else {
            return Ok(Vec::new());
        };
        let subjects = self.cell.lock().subjects(rows.filter.as_bytes());
        let mut gone = Vec::new();
        for subject in subjects.into_keys() {
            if kept.rows().contains_key(subject.as_bytes()) {
                continue;
            }
            let last = self.last(subject.as_bytes(), cursor)?;
            let there = last.filter(|payload| !payload.is_empty());
            if there.is_some_and(|payload| is_row(&payload, rows)) {
                gone.push(subject);
            }
        }
        Ok(gone)
    }

    /// The last message of a subject.
    fn last(&self, subject: &[u8], cursor: &mut FrameCursor) -> Result<Option<Bytes>, String> {
        let found = {
            let stream = self.cell.lock();
            let sequence = stream.last_for(subject);
            sequence.and_then(|sequence| Some((sequence, stream.locate(sequence)?)))
        };
        let Some((sequence, place)) = found else {
            return Ok(None);
        };
        let record = cursor.record(self.shared, &self.cell, sequence, place);
        let record = record.map_err(|error| error.to_string())?;
        Ok(record.map(|record| record.payload()))
    }
}

/// Whether a message looks like a row of the version that runs: others may have published to a subject of this form.
fn is_row(payload: &[u8], rows: &OwnRows) -> bool {
    let Some(columns) = &rows.columns else {
        return true;
    };
    let members: Option<Map<String, Value>> = serde_json::from_slice(payload).ok();
    members.is_some_and(|members| {
        let mut names: Vec<&String> = members.keys().collect();
        names.sort();
        names.into_iter().eq(columns)
    })
}
