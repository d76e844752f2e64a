//! The journal over a storage that fails, against a list of what was acknowledged.

mod ahead;
mod copies;
mod crash;
mod damage;
mod disk;
mod erase;
mod faults;
mod forms;
mod live;
mod mutations;
mod sealed;
mod verify;

use std::sync::{Arc, Mutex};

use bytes::Bytes;

use crate::journal::{Inner, Journal, Options};
use crate::writer::Writer;
use crate::{
    Committed, Durability, Form, Frame, MemoryStorage, OpenError, Position, Replayed, Storage,
};

/// Small files, so that histories of a few frames cross many of them.
const FILE_SIZE: u64 = 768;

fn options() -> Options {
    Options {
        file_size: FILE_SIZE,
        ..Options::default()
    }
}

fn frame(head: Vec<u8>, body: Vec<u8>) -> Frame<()> {
    let (head, body) = (Bytes::from(head), Bytes::from(body));
    Frame {
        group: 1,
        term: 1,
        stream: 7,
        count: 1,
        head,
        body,
        durability: Durability::Synced,
        important: false,
        form: Form::plain(),
        ticket: (),
    }
}

/// A journal whose thread is the test's: the same calls in the same order every time.
struct Rig {
    inner: Arc<Inner<()>>,
    writer: Writer<()>,
    /// Frames that were handed on before the others of their batch were synced.
    early: Arc<Mutex<Vec<Committed<()>>>>,
}

impl Rig {
    fn open(
        storage: &MemoryStorage,
        after: Option<(Position, u64)>,
    ) -> Result<(Self, Vec<Replayed>), OpenError> {
        Self::open_with(storage, after, &options())
    }

    fn open_with(
        storage: &MemoryStorage,
        after: Option<(Position, u64)>,
        options: &Options,
    ) -> Result<(Self, Vec<Replayed>), OpenError> {
        Self::open_over(Arc::new(storage.clone()), after, options)
    }

    fn open_over(
        storage: Arc<dyn Storage>,
        after: Option<(Position, u64)>,
        options: &Options,
    ) -> Result<(Self, Vec<Replayed>), OpenError> {
        let mut replayed = Vec::new();
        let early = Arc::<Mutex<Vec<_>>>::default();
        let sink = Arc::clone(&early);
        let (inner, writer) = Journal::parts(
            options,
            storage,
            after,
            &mut |frame| {
                replayed.push(frame);
                Ok(())
            },
            Box::new(move |frames| sink.lock().expect("whole").extend(frames)),
        )?;
        let rig = Self {
            inner,
            writer,
            early,
        };
        Ok((rig, replayed))
    }

    /// Commits frames and answers all of them.
    fn commit(&mut self, frames: Vec<Frame<()>>) -> Vec<Committed<()>> {
        let rest = self.writer.commit(frames);
        let mut done = std::mem::take(&mut *self.early.lock().expect("whole"));
        done.extend(rest);
        done
    }

    /// Commits frames with these bodies, which must work; answers where they are.
    fn put(&mut self, bodies: &[&[u8]]) -> Vec<Position> {
        let frames = bodies
            .iter()
            .map(|body| frame(Vec::new(), body.to_vec()))
            .collect();
        let done = self.commit(frames);
        done.iter()
            .for_each(|frame| assert!(frame.result.is_ok(), "{:?}", frame.result));
        done.iter()
            .map(|frame: &Committed<()>| frame.position)
            .collect()
    }

    /// Gives all full files their footers.
    fn seal(&mut self) {
        while self.journal().status().unsealed > 0 {
            self.writer.seal();
        }
    }

    fn journal(&self) -> Journal<()> {
        Journal::of(Arc::clone(&self.inner))
    }
}

/// Repeatable chance (splitmix64).
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    pub(crate) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    fn bytes(&mut self, limit: u64) -> Vec<u8> {
        let len = self.below(limit + 1);
        (0..len).map(|_| (self.next() & 0xff) as u8).collect()
    }
}
