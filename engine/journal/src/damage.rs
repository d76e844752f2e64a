//! What is known to be damaged: each place is logged, counted and told to whoever listens, once.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tracing::error;

/// Most places that are remembered; more are logged and counted, and may be told more than once.
const MOST: usize = 4096;

/// What was hit, and so what it costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DamageKind {
    /// A frame, or several in a row: they are lost.
    Frame,
    /// The first of a frame's two copies: the second is served.
    First,
    /// The second of a frame's two copies: nothing is lost.
    Copy,
    /// A file's header: written anew from what the frames say.
    Header,
    /// A sealed file's footer: written anew from a scan.
    Footer,
    /// A checkpoint: the one before it stands in.
    Checkpoint,
    /// One copy of the list of keys: written anew from the other one at the next start.
    Keys,
}

impl DamageKind {
    /// One lower-case word, for machines.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Frame => "frame",
            Self::First => "first",
            Self::Copy => "copy",
            Self::Header => "header",
            Self::Footer => "footer",
            Self::Checkpoint => "checkpoint",
            Self::Keys => "keys",
        }
    }
}

/// A damaged place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file's name in the store's journal folder.
    pub name: String,
    /// The file's number; 0 for a checkpoint or the list of keys.
    pub file: u32,
    /// Bytes from the file's beginning to what is damaged.
    pub offset: u64,
    /// What was hit.
    pub kind: DamageKind,
    /// Index of the frame, or of the first one of a row; 0 when it is not known.
    pub index: u64,
    /// How many frames; 0 when what was hit is no frame.
    pub frames: u64,
    /// What the header or the footer tells of a single frame.
    pub told: Option<Told>,
}

/// What is known of a frame whose body may be lost. From a footer it is certain; from the frame's own header, the frame
/// behind it agrees with its length and place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// Which group's log it belongs to.
    pub group: u32,
    /// Which stream it is for.
    pub stream: u32,
    /// How many records it holds.
    pub count: u32,
    /// Bytes of its body.
    pub len: u32,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is damaged at {}: ", self.name, self.offset)?;
        match self.kind {
            DamageKind::Frame if self.index == 0 => f.write_str("a frame is lost")?,
            DamageKind::Frame if self.frames == 1 => write!(f, "frame {} is lost", self.index)?,
            DamageKind::Frame => write!(
                f,
                "frames {} to {} are lost",
                self.index,
                self.index + self.frames - 1
            )?,
            DamageKind::First => write!(
                f,
                "the first copy of frame {}; the second is used",
                self.index
            )?,
            DamageKind::Copy => write!(
                f,
                "the second copy of frame {}; nothing is lost",
                self.index
            )?,
            DamageKind::Header => f.write_str("its header; the frames say what it was")?,
            DamageKind::Footer => f.write_str("its footer; a scan of the file replaces it")?,
            DamageKind::Checkpoint => f.write_str("another checkpoint has to stand in")?,
            DamageKind::Keys => f.write_str("one copy of the list of keys; the other is used")?,
        }
        if let Some(told) = self.told {
            write!(
                f,
                " (group {}, stream {}, {} records)",
                told.group, told.stream, told.count
            )?;
        }
        Ok(())
    }
}

/// Whoever is told of damage: on the thread that finds it, which is waited for, so it must not block.
pub type DamageListener = Arc<dyn Fn(&Damage) + Send + Sync>;

/// Where damage is reported inside the journal.
#[derive(Default)]
pub(crate) struct Watch {
    known: Mutex<Known>,
    places: AtomicU64,
    from_copy: AtomicU64,
}

#[derive(Default)]
struct Known {
    places: BTreeSet<(u32, u64, DamageKind)>,
    list: Vec<Damage>,
    listener: Option<DamageListener>,
}

impl Watch {
    /// Logs and tells of a place that was not known yet.
    pub(crate) fn report(&self, damage: Damage) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let place = (damage.file, damage.offset, damage.kind);
        if known.places.contains(&place) {
            return;
        }
        self.places.fetch_add(1, Ordering::Relaxed);
        error!(target: "nats", "{damage}");
        let listener = known.listener.clone();
        if known.list.len() < MOST {
            known.places.insert(place);
            known.list.push(damage.clone());
        }
        drop(known);
        if let Some(listener) = listener {
            listener(&damage);
        }
    }

    /// Tells of everything known, and from now on of everything new.
    pub(crate) fn listen(&self, listener: DamageListener) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.listener = Some(Arc::clone(&listener));
        let so_far = known.list.clone();
        drop(known);
        so_far.iter().for_each(|damage| listener(damage));
    }

    /// What is known of files that are still there.
    pub(crate) fn list(&self) -> Vec<Damage> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.list.clone()
    }

    /// Forgets a file that is gone.
    pub(crate) fn forget(&self, file: u32) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.places.retain(|place| place.0 != file);
        known.list.retain(|damage| damage.file != file);
    }

    pub(crate) fn count_copy(&self) {
        self.from_copy.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn places(&self) -> u64 {
        self.places.load(Ordering::Relaxed)
    }

    pub(crate) fn copies_used(&self) -> u64 {
        self.from_copy.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}
