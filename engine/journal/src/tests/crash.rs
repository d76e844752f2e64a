//! Random histories with a fault at some storage call, a restart, and what must hold then: every acknowledged frame is
//! there, in order; nothing is that was refused; what was neither may be, as a prefix of what was tried.

use bytes::Bytes;

use super::mutations::Mutation;
use super::{Chance, Rig, frame, options};
use crate::{
    AppendError, Checkpoint, CheckpointError, Cipher, Durability, Fault, Form, Keys, MemoryStorage,
    Options, Position, Storage, read_checkpoint, write_checkpoint,
};

const SEEDS: u64 = 500;

/// What must be in the log: the entry with index n is at n - 1.
#[derive(Debug, Default)]
struct Model {
    log: Vec<(Position, Bytes)>,
    /// Up to which index they are synced; those behind were handed on once written.
    safe: u64,
    /// Bodies whose fate is unknown, in order.
    unknown: Vec<Bytes>,
    /// Files that were removed have a lower number.
    oldest: u32,
}

/// One life of a journal: batches until a fault kills it, or until it is stopped between two of them.
fn live(
    rig: &mut Rig,
    storage: &dyn Storage,
    model: &mut Model,
    chance: &mut Chance,
    way: Way,
) -> Result<(), String> {
    for _ in 0..=chance.below(8) {
        if chance.one_in(6) {
            rig.journal().rotate();
        }
        let frames: Vec<_> = (0..=chance.below(5))
            .map(|_| {
                let large = if chance.one_in(20) { 700 } else { 60 };
                let mut frame = frame(chance.bytes(20), chance.bytes(large));
                frame.durability = match chance.below(10) {
                    0 => Durability::Memory,
                    1..=3 => Durability::Written,
                    _ => Durability::Synced,
                };
                frame.important = chance.one_in(8);
                if way.forms {
                    // Such bodies get smaller, random ones do not.
                    frame.body = Bytes::from(vec![frame.body.len() as u8; frame.body.len() * 4]);
                    frame.form = Form::of(chance.one_in(2));
                }
                frame
            })
            .collect();
        let bodies: Vec<_> = frames
            .iter()
            .map(|frame| {
                let body = Bytes::from([&frame.head[..], &frame.body[..]].concat());
                (body, frame.durability)
            })
            .collect();
        let done = rig.commit(frames);
        model.safe = rig.journal().status().last_index;
        for ((body, durability), done) in bodies.into_iter().zip(done) {
            match done.result {
                Ok(()) if done.index == 0 => {}
                Ok(()) => {
                    model.log.push((done.position, body.clone()));
                    let safe = rig.journal().status().last_index;
                    if durability == Durability::Synced && safe < done.index {
                        return Err(format!("frame {} was handed on unsynced", done.index));
                    }
                    if done.body != body || done.index != model.log.len() as u64 {
                        return Err(format!("frame {} was handed on as another one", done.index));
                    }
                }
                Err(AppendError::Full(_)) => {}
                Err(_) => model.unknown.push(body),
            }
        }
        if !model.unknown.is_empty() {
            return Ok(());
        }
        if chance.one_in(2) {
            rig.writer.seal();
        }
        if chance.one_in(3) {
            rig.writer.sync_rest();
            model.safe = rig.journal().status().last_index;
        }
        if chance.one_in(3) && !checkpoint(rig, storage, model, chance) {
            return Ok(());
        }
    }
    Ok(())
}

/// Writes a checkpoint and sometimes removes what the one before it does not need; `false` when the storage failed.
fn checkpoint(rig: &Rig, storage: &dyn Storage, model: &mut Model, chance: &mut Chance) -> bool {
    let index = model.safe.min(model.log.len() as u64);
    let Some((position, _)) = model.log[..index as usize].last().cloned() else {
        return true;
    };
    let before = read_checkpoint(storage).ok().flatten();
    let bytes = index.to_le_bytes().to_vec();
    if write_checkpoint(
        storage,
        &Checkpoint {
            position,
            index,
            bytes,
        },
    )
    .is_err()
    {
        return false;
    }
    let Some(before) = before else { return true };
    if chance.one_in(2) {
        for file in rig
            .journal()
            .files()
            .iter()
            .filter(|file| file.id < before.position.file)
        {
            // One that cannot be removed for certain may be gone all the same.
            model.oldest = model.oldest.max(file.id + 1);
            if rig.journal().remove(file.id).is_err() {
                return false;
            }
        }
    }
    true
}

/// What a power cut leaves of what was not synced.
fn cut(storage: &MemoryStorage, chance: &mut Chance) -> MemoryStorage {
    let how = chance.below(4);
    let names = chance.one_in(2);
    let mut chance = Chance(chance.next());
    let torn_at = chance.below(400);
    let salt = chance.next();
    let keep = move |_: &str, change: usize, byte: usize| match how {
        0 => false,
        1 => true,
        // Torn at a byte.
        2 => (byte as u64) < torn_at,
        // Blocks reach the disk in any order.
        _ => Chance(salt ^ ((change as u64) << 32) ^ (byte as u64 / 16)).one_in(2),
    };
    if names {
        let some = storage.unsynced_names() as u64 + 1;
        storage.restart_with_some_names(chance.below(some) as usize, keep)
    } else {
        storage.restart(keep)
    }
}

/// Opens after a restart, once more after each fault that hits the opening itself.
fn reopen(
    storage: &mut MemoryStorage,
    model: &mut Model,
    chance: &mut Chance,
    way: Way,
) -> Result<Rig, String> {
    for attempt in 0.. {
        if chance.one_in(4) && attempt < 3 {
            storage.fail_at(storage.calls() + 1 + chance.below(4), Fault::PowerCut);
        }
        let over = way.mutation.over(storage);
        let after = match read_checkpoint(&*over) {
            Ok(checkpoint) => checkpoint.map(|checkpoint| (checkpoint.position, checkpoint.index)),
            Err(CheckpointError::Io(_)) => None,
            Err(error) => return Err(error.to_string()),
        };
        // Every other life has the keys the other way round: what one wrote, the next one reads.
        let keys = match (way.forms, chance.one_in(2)) {
            (false, _) => None,
            (true, true) => Some(Keys::new(Cipher::Aes, Some("a"), Some("b"))),
            (true, false) => Some(Keys::new(Cipher::ChaCha, Some("b"), Some("a"))),
        };
        let options = Options { keys, ..options() };
        match Rig::open_over(over, after, &options) {
            Ok((rig, replayed)) => {
                let from = after.map_or(0, |(_, index)| index);
                model.compare(from, &replayed)?;
                model.read_back(&rig)?;
                // Whether a footer that was being written, or the first of the last frame's two copies, was torn or
                // damaged nobody can tell. Neither costs anything, and the log was compared above.
                let damage = rig.journal().damage();
                let harmless = [crate::DamageKind::Footer, crate::DamageKind::First];
                let lost = damage
                    .iter()
                    .find(|damage| !harmless.contains(&damage.kind));
                if let Some(damage) = lost {
                    return Err(format!("no power cut damages anything, but {damage}"));
                }
                return Ok(rig);
            }
            Err(error) if attempt > 3 => return Err(error.to_string()),
            Err(crate::OpenError::File { .. }) => *storage = cut(storage, chance),
            Err(error) => return Err(error.to_string()),
        }
    }
    unreachable!("the loop has no end")
}

impl Model {
    fn compare(&mut self, from: u64, replayed: &[crate::Replayed]) -> Result<(), String> {
        let known = self.log.len() as u64;
        if known < from {
            return Err(format!(
                "the checkpoint is at {from}, acknowledged were {known}"
            ));
        }
        let end = from + replayed.len() as u64;
        if end < self.safe {
            return Err(format!("{} were synced and {end} are there", self.safe));
        }
        // What was only written may be missing, from some frame on.
        if end < known {
            self.log.truncate(end as usize);
            self.unknown.clear();
        }
        let known = self.log.len() as u64;
        if end - known > self.unknown.len() as u64 {
            return Err(format!(
                "{end} are there, tried were {}",
                known as usize + self.unknown.len()
            ));
        }
        let unknown = std::mem::take(&mut self.unknown);
        for (number, frame) in replayed.iter().enumerate() {
            let index = from + number as u64 + 1;
            let expected = match self.log.get(index as usize - 1) {
                Some((position, body)) if *position == frame.position => body,
                Some(_) => return Err(format!("frame {index} moved")),
                None => &unknown[(index - known) as usize - 1],
            };
            if frame.lost {
                return Err(format!("frame {index} is called lost"));
            }
            if frame.index != index || frame.body != *expected {
                return Err(format!("frame {index} is not what was appended"));
            }
            if index > known {
                self.log.push((frame.position, frame.body.clone()));
            }
        }
        // The start syncs what it finds.
        self.safe = end;
        Ok(())
    }

    fn read_back(&self, rig: &Rig) -> Result<(), String> {
        for (position, body) in self
            .log
            .iter()
            .filter(|(position, _)| position.file >= self.oldest)
        {
            match rig.journal().read(*position) {
                Ok(read) if read == *body => {}
                other => return Err(format!("{position:?} reads as {other:?}")),
            }
        }
        Ok(())
    }
}

/// How a history goes.
#[derive(Clone, Copy, Debug)]
struct Way {
    mutation: Mutation,
    /// Bodies are stored in every form there is, all encrypted, with keys that rotate.
    forms: bool,
}

fn history(seed: u64, way: Way) -> Result<(), String> {
    let mut chance = Chance(seed);
    let mut storage = MemoryStorage::new();
    let mut model = Model::default();
    for _ in 0..5 {
        let mut rig = reopen(&mut storage, &mut model, &mut chance, way)?;
        let fault = match chance.below(7) {
            0..=2 => Fault::PowerCut,
            3 | 4 => Fault::Full,
            5 => Fault::NoFiles,
            _ => Fault::Error,
        };
        for _ in 0..=chance.below(3) {
            storage.fail_at(storage.calls() + 1 + chance.below(20), fault);
        }
        let over = way.mutation.over(&storage);
        live(&mut rig, &*over, &mut model, &mut chance, way)?;
        storage = cut(&storage, &mut chance);
    }
    reopen(&mut storage, &mut model, &mut chance, way).map(|_| ())
}

/// `MILLSTREAM_SEEDS=N` runs that many instead.
#[test]
fn acknowledged_frames_survive_and_no_others_appear() {
    let seeds = std::env::var("MILLSTREAM_SEEDS").ok();
    let seeds = seeds.map_or(SEEDS, |seeds| seeds.parse().expect("a number of seeds"));
    for seed in 0..seeds {
        for forms in [false, true] {
            let mutation = Mutation::None;
            if let Err(what) = history(seed, Way { mutation, forms }) {
                panic!("seed {seed}, forms {forms}: {what}");
            }
        }
    }
}

/// The checker is checked: journals that break one law each are found out.
#[test]
fn broken_laws_are_caught() {
    for mutation in [Mutation::NoSync, Mutation::NoFolderSync, Mutation::CutShort] {
        for forms in [false, true] {
            let caught = (0..100)
                .filter(|seed| history(*seed, Way { mutation, forms }).is_err())
                .count();
            assert!(
                caught > 10,
                "{mutation:?}, forms {forms}: caught in {caught} of 100 histories"
            );
        }
    }
}

#[test]
fn a_power_cut_at_every_call_of_one_history() {
    for forms in [false, true] {
        power_cut_at_every_call(forms);
    }
}

fn power_cut_at_every_call(forms: bool) {
    let way = Way {
        mutation: Mutation::None,
        forms,
    };
    let options = Options {
        keys: forms.then(|| Keys::new(Cipher::Aes, Some("b"), None)),
        ..options()
    };
    for call in 1.. {
        let storage = MemoryStorage::new();
        let mut model = Model::default();
        let (mut rig, _) = Rig::open_with(&storage, None, &options).expect("opens");
        let start = storage.calls();
        storage.fail_at(start + call, Fault::PowerCut);
        for number in 0..12_u8 {
            let bodies = [vec![number; 40], vec![number; 90]];
            let frames = bodies
                .iter()
                .map(|body| crate::Frame {
                    form: Form::of(forms),
                    ..frame(Vec::new(), body.clone())
                })
                .collect();
            let all = rig.commit(frames);
            model.safe = rig.journal().status().last_index;
            for (body, done) in bodies.into_iter().zip(all) {
                match done.result {
                    Ok(()) => model.log.push((done.position, body.into())),
                    Err(_) => model.unknown.push(body.into()),
                }
            }
        }
        let done = model.unknown.is_empty();
        for torn_at in [0, 30, 60, 96, 97, 200, usize::MAX] {
            let mut after = storage.restart_with_names(|_, _, byte| byte < torn_at);
            let mut model = Model {
                log: model.log.clone(),
                unknown: model.unknown.clone(),
                safe: model.safe,
                oldest: 0,
            };
            let checked = reopen(&mut after, &mut model, &mut Chance(1), way);
            assert!(
                checked.is_ok(),
                "forms {forms}, call {call}, torn at {torn_at}: {:?}",
                checked.err()
            );
        }
        if done {
            assert!(call > 30, "{call} calls");
            return;
        }
    }
}
