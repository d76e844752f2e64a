//! What a query keeps back while it is built beside the version that runs, and how far that one is.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use millstream_cluster::flow_key;
use millstream_pipeline::{BrokenState, Output};
use millstream_types::Timestamp;

use super::super::setup::FlowSetup;
use super::input::Source;
use super::place::Place;
use crate::service::Shared;

/// Changes of what is kept, to be stored as state is.
pub(super) type Changes = HashMap<Bytes, Option<Bytes>>;

/// Bytes that an entry takes besides subject and payload, about.
const ENTRY: u64 = 64;

/// The version that runs, as the log has it.
#[derive(Debug)]
pub(in super::super) struct Before {
    /// Its position, as it is stored.
    pub(super) stored: String,
    pub(super) place: Place,
    /// The part of the state stream that is its own.
    pub(super) part: Option<u64>,
}

impl Before {
    /// `None` when this is not what is to be built any more, or the other one has not begun.
    pub(in super::super) fn of(shared: &Shared, setup: &FlowSetup) -> Option<Self> {
        let catalog = shared.node.catalog();
        let entry = catalog.flows.get(&setup.name)?;
        let build = entry.build.as_ref()?;
        if build.run != setup.run {
            return None;
        }
        let stored = catalog.positions.get(&flow_key(&setup.name))?;
        let place = Place::of_run(stored, entry.run).ok()??;
        Some(Self {
            stored: String::from_utf8(stored.clone()).ok()?,
            place,
            part: entry.part,
        })
    }

    /// How far it has read the stream of each source; `None` where it does not read it. One that it reads several times is
    /// matched in order.
    fn reads<'a>(&'a self, streams: &'a [u32]) -> impl Iterator<Item = Option<u64>> + 'a {
        streams.iter().enumerate().map(|(at, stream)| {
            let before = streams[..at].iter().filter(|other| *other == stream);
            let own = self.place.sources.iter();
            let mut own = own.filter(|place| place.stream == *stream);
            let last = own.clone().next_back();
            let same = own.nth(before.count()).or(last)?;
            Some(same.read)
        })
    }

    /// Windows that close until then are told.
    pub(super) fn told(&self) -> Option<Timestamp> {
        self.place.watermark.max(self.place.told)
    }

    /// Sources are read as far as it has read them, and others to the end that they have when that is not known yet.
    pub(super) fn bound(&self, sources: &mut [Source]) {
        let streams: Vec<u32> = sources.iter().map(|source| source.cell.id).collect();
        for (source, read) in sources.iter_mut().zip(self.reads(&streams)) {
            source.until = match read {
                Some(read) => read,
                None if source.until == u64::MAX => source.cell.lock().last_seq(),
                None => source.until,
            };
        }
    }

    /// How far a source is to be read, when this one reads it as well.
    pub(in super::super) fn read_of(&self, streams: &[u32]) -> Vec<Option<u64>> {
        self.reads(streams).collect()
    }
}

/// What a query keeps back: the row that each subject would have, or windows that the other version has not told.
#[derive(Debug)]
pub(super) struct Kept {
    upserts: bool,
    rows: BTreeMap<Bytes, Bytes>,
    /// By the time at which they close, and in the order in which they came.
    windows: BTreeMap<(i64, u64), (Bytes, Bytes)>,
    bytes: u64,
    next: u64,
}

impl Kept {
    pub(super) fn new(upserts: bool) -> Self {
        Self {
            upserts,
            rows: BTreeMap::new(),
            windows: BTreeMap::new(),
            bytes: 0,
            next: 0,
        }
    }

    /// About so many bytes of memory.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes in what the query would publish; `told`: windows that close until then are told already, and those whose time
    /// is not known are taken for told.
    pub(super) fn take(&mut self, outputs: Vec<Output>, told: Option<Timestamp>) -> Changes {
        let mut changes = Changes::new();
        for output in outputs {
            if self.upserts {
                let (subject, payload) = owned(&output);
                let value = (!output.delete).then_some(payload);
                self.put_row(subject.clone(), value.clone());
                changes.insert(subject, value);
            } else if let (Some(closes), Some(told)) = (output.closes, told)
                && closes > told
            {
                let (subject, payload) = owned(&output);
                let key = (closes.0, self.next);
                changes.insert(window_key(key), Some(window_value(&subject, &payload)));
                self.put_window(key, (subject, payload));
            }
        }
        if let Some(told) = told {
            let open = self.windows.split_off(&(told.0.saturating_add(1), 0));
            for (key, (subject, payload)) in std::mem::replace(&mut self.windows, open) {
                self.bytes -= size(&subject, &payload);
                changes.insert(window_key(key), None);
            }
        }
        changes
    }

    fn put_row(&mut self, subject: Bytes, payload: Option<Bytes>) {
        let before = match payload {
            Some(payload) => {
                self.bytes += size(&subject, &payload);
                self.rows.insert(subject.clone(), payload)
            }
            None => self.rows.remove(&subject),
        };
        if let Some(before) = before {
            self.bytes -= size(&subject, &before);
        }
    }

    fn put_window(&mut self, key: (i64, u64), (subject, payload): (Bytes, Bytes)) {
        self.bytes += size(&subject, &payload);
        self.next = self.next.max(key.1 + 1);
        self.windows.insert(key, (subject, payload));
    }

    /// Puts back an entry that a change told.
    ///
    /// # Errors
    /// When it is none.
    pub(super) fn restore(&mut self, key: &Bytes, value: &Bytes) -> Result<(), BrokenState> {
        if self.upserts {
            self.put_row(key.clone(), Some(value.clone()));
            return Ok(());
        }
        let wrong = || BrokenState("a window that is kept back has another form".to_owned());
        let (closes, number) = key.split_first_chunk::<8>().ok_or_else(wrong)?;
        let number: [u8; 8] = number.try_into().map_err(|_| wrong())?;
        let (length, rest) = value.split_first_chunk::<4>().ok_or_else(wrong)?;
        let length = u32::from_be_bytes(*length) as usize;
        let (subject, payload) = rest.split_at_checked(length).ok_or_else(wrong)?;
        let row = (value.slice_ref(subject), value.slice_ref(payload));
        self.put_window(
            (i64::from_be_bytes(*closes), u64::from_be_bytes(number)),
            row,
        );
        Ok(())
    }

    /// The row of each subject.
    pub(super) fn rows(&self) -> &BTreeMap<Bytes, Bytes> {
        &self.rows
    }

    /// Windows that close behind this time, as they are told.
    pub(super) fn windows_after(&self, told: Option<Timestamp>) -> Vec<Output> {
        let Some(told) = told else {
            return Vec::new();
        };
        let open = self.windows.range((told.0.saturating_add(1), 0)..);
        let output = |(_, (subject, payload)): (_, &(Bytes, Bytes))| Output {
            subject: subject.clone(),
            payload: payload.clone(),
            delete: false,
            closes: None,
        };
        open.map(output).collect()
    }
}

/// Copies: results of a step share their bytes.
fn owned(output: &Output) -> (Bytes, Bytes) {
    (
        Bytes::copy_from_slice(&output.subject),
        Bytes::copy_from_slice(&output.payload),
    )
}

fn size(subject: &[u8], payload: &[u8]) -> u64 {
    ENTRY + subject.len() as u64 + payload.len() as u64
}

fn window_key((closes, number): (i64, u64)) -> Bytes {
    [closes.to_be_bytes(), number.to_be_bytes()].concat().into()
}

fn window_value(subject: &[u8], payload: &[u8]) -> Bytes {
    let length = subject.len() as u32;
    [&length.to_be_bytes(), subject, payload].concat().into()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use millstream_pipeline::Output;
    use millstream_types::Timestamp;

    use super::{Changes, Kept};

    fn output(subject: &'static str, payload: &'static str, closes: Option<i64>) -> Output {
        Output {
            subject: Bytes::from_static(subject.as_bytes()),
            payload: Bytes::from_static(payload.as_bytes()),
            delete: payload.is_empty(),
            closes: closes.map(Timestamp),
        }
    }

    /// What is stored, given back.
    fn restored(upserts: bool, steps: &[Changes]) -> Kept {
        let mut stored = std::collections::HashMap::new();
        for step in steps {
            for (key, value) in step {
                match value {
                    Some(value) => stored.insert(key.clone(), value.clone()),
                    None => stored.remove(key),
                };
            }
        }
        let mut kept = Kept::new(upserts);
        for (key, value) in &stored {
            kept.restore(key, value).expect("an entry");
        }
        kept
    }

    #[test]
    fn the_last_row_of_a_subject_is_kept_also_when_given_back() {
        let mut kept = Kept::new(true);
        let first = vec![output("a", "1", None), output("b", "1", None)];
        let then = vec![output("a", "22", None), output("b", "", None)];
        let steps = [kept.take(first, None), kept.take(then, None)];
        for kept in [&restored(true, &steps), &kept] {
            let rows: Vec<_> = kept.rows().iter().collect();
            assert_eq!(rows, [(&Bytes::from("a"), &Bytes::from("22"))]);
            assert_eq!(kept.bytes(), 67);
        }
    }

    #[test]
    fn windows_that_were_told_are_not_kept() {
        let mut kept = Kept::new(false);
        let told = Some(Timestamp(10));
        let first = vec![
            output("a", "10", Some(10)),
            output("a", "12", Some(12)),
            output("a", "11", Some(11)),
            output("a", "no time", None),
        ];
        let steps = [
            kept.take(first, told),
            kept.take(vec![output("b", "12", Some(12))], Some(Timestamp(11))),
        ];
        for kept in [&mut restored(false, &steps), &mut kept] {
            let shown = |told: i64| -> Vec<Bytes> {
                let open = kept.windows_after(Some(Timestamp(told)));
                open.into_iter().map(|output| output.subject).collect()
            };
            assert_eq!(shown(11), ["a", "b"]);
            assert!(shown(12).is_empty() && kept.windows_after(None).is_empty());
            assert!(kept.take(Vec::new(), Some(Timestamp(12))).len() == 2 && kept.bytes() == 0);
        }
    }

    #[test]
    fn what_is_no_window_is_refused() {
        for (key, value) in [
            ("", ""),
            ("12345678", "abcd"),
            ("1234567812345678", "\0\0\0\x09a"),
        ] {
            let mut kept = Kept::new(false);
            let (key, value) = (Bytes::from(key), Bytes::from(value));
            kept.restore(&key, &value).expect_err("no window");
        }
    }
}
