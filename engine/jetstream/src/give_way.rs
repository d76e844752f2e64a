//! How who reads history gives way to who publishes.
//!
//! A replay takes as much of the machine as there is, and on a busy one that is taken from publishers. So while messages are
//! published and no core has time left, a replay rests, the longer the longer that lasts; it goes on at full speed when there is
//! time again. What follows a stream finds what it reads in the log's cache and is no replay.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What rounds of a replay take between two looks.
const LOOK: Duration = Duration::from_millis(2);
/// Rests, in times of what the rounds took: the first, which doubles while cores are wanted, and the longest.
const FIRST: u32 = 1;
const LONGEST: u32 = 32;
/// No rest is longer: a round may have waited for a disk.
const MOST: Duration = Duration::from_millis(100);
/// How long the cores' times are added up: the kernel counts them in steps of some milliseconds.
const SAMPLE: Duration = Duration::from_millis(50);
/// Where all cores together leave less than this part of one, one in so many, there is none left: who publishes and waits for the
/// disk in between needs a free core at once when it goes on.
const LEFT: u64 = 2;

/// What publishers leave of the cores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    /// Nothing.
    None,
    /// Something, which the next replay takes.
    Some,
    /// Nobody publishes.
    All,
}

/// Whether publishers want the cores that replays run on.
#[derive(Debug, Default)]
pub(crate) struct Cores {
    /// Messages published since the start.
    published: AtomicU64,
    last: Mutex<Option<Sample>>,
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Instant,
    published: u64,
    times: Times,
    left: Left,
    /// Which one it is, to tell a new one.
    number: u64,
}

/// What all cores together spent since the machine started, in the kernel's ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Times {
    idle: u64,
    all: u64,
    /// How many cores these are of.
    cores: u64,
}

impl Times {
    /// From Linux's `/proc/stat`, see `proc_stat(5)`; elsewhere replays do not rest.
    fn now() -> Option<Self> {
        Self::parse(&std::fs::read_to_string("/proc/stat").ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        // user, nice, system, idle, iowait, irq, softirq, steal; guests are in the first two.
        let mut lines = text.lines();
        let columns = lines.next()?.strip_prefix("cpu ")?;
        let columns: Vec<u64> = columns
            .split_ascii_whitespace()
            .take(8)
            .map_while(|column| column.parse().ok())
            .collect();
        Some(Self {
            idle: columns.get(3)? + columns.get(4)?,
            all: columns.iter().sum(),
            cores: lines.take_while(|line| line.starts_with("cpu")).count() as u64,
        })
    }

    /// Whether there was nothing left since `before`.
    fn is_full_since(self, before: Self) -> bool {
        let all = self.all.saturating_sub(before.all);
        let idle = self.idle.saturating_sub(before.idle);
        all > 0 && idle * LEFT * self.cores.max(1) < all
    }
}

impl Cores {
    /// Messages go into the log.
    pub(crate) fn published(&self, count: u32) {
        self.published
            .fetch_add(u64::from(count), Ordering::Relaxed);
    }

    /// What publishers left of late, and the number of the look that saw it.
    fn left(&self) -> (Left, u64) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let before = match &*last {
            Some(last) if now - last.at < SAMPLE => return (last.left, last.number),
            before => *before,
        };
        let Some(times) = Times::now() else {
            return (Left::All, 0);
        };
        let published = self.published.load(Ordering::Relaxed);
        let left = match before {
            Some(before) if published > before.published => {
                match times.is_full_since(before.times) {
                    true => Left::None,
                    false => Left::Some,
                }
            }
            _ => Left::All,
        };
        let number = before.map_or(0, |before| before.number + 1);
        *last = Some(Sample {
            at: now,
            published,
            times,
            left,
            number,
        });
        (left, number)
    }
}

/// The pace of one reader.
#[derive(Debug, Default)]
pub(crate) struct GiveWay {
    /// What rounds took since the last look.
    took: Duration,
    /// The last rest, in times of that.
    rest: u32,
    /// The look that made it shorter.
    seen: u64,
}

impl GiveWay {
    /// A round ended that took so long; answers how long to rest before the next. `replays` says whether what it read was
    /// history; `None` when it read nothing.
    pub(crate) fn rest(
        &mut self,
        took: Duration,
        replays: Option<bool>,
        cores: &Cores,
    ) -> Duration {
        match replays {
            Some(true) => self.add(took, || cores.left()),
            Some(false) => {
                *self = Self::default();
                Duration::ZERO
            }
            None => Duration::ZERO,
        }
    }

    fn add(&mut self, took: Duration, left: impl FnOnce() -> (Left, u64)) -> Duration {
        self.took += took;
        if self.took < LOOK {
            return Duration::ZERO;
        }
        let (left, number) = left();
        self.rest = match left {
            Left::None => (self.rest * 2).clamp(FIRST, LONGEST),
            // A step for each look: what is left is what the rest before left.
            Left::Some if number != self.seen => {
                self.seen = number;
                self.rest.saturating_sub(1)
            }
            Left::Some => self.rest,
            Left::All => self.rest / 2,
        };
        let took = std::mem::take(&mut self.took);
        took.saturating_mul(self.rest).min(MOST)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Cores, GiveWay, LONGEST, Left, MOST, Times};

    const MILLI: Duration = Duration::from_millis(1);

    #[test]
    fn a_replay_rests_longer_and_longer_while_cores_are_wanted() {
        let mut way = GiveWay::default();
        assert_eq!(way.add(2 * MILLI, || (Left::Some, 1)), Duration::ZERO);
        let rests: Vec<Duration> = (0..7)
            .map(|_| way.add(2 * MILLI, || (Left::None, 1)))
            .collect();
        assert_eq!(rests, [2, 4, 8, 16, 32, 64, 64].map(Duration::from_millis));
        assert_eq!(rests[6], 2 * MILLI * LONGEST);
        assert_eq!(way.add(500 * MILLI, || (Left::None, 1)), MOST);
        assert_eq!(way.add(2 * MILLI, || (Left::Some, 2)), 62 * MILLI);
        assert_eq!(way.add(2 * MILLI, || (Left::Some, 2)), 62 * MILLI);
        assert_eq!(way.add(2 * MILLI, || (Left::Some, 3)), 60 * MILLI);
        let calm: Vec<Duration> = (0..6)
            .map(|_| way.add(2 * MILLI, || (Left::All, 4)))
            .collect();
        assert_eq!(calm, [30, 14, 6, 2, 0, 0].map(Duration::from_millis));
    }

    #[test]
    fn short_rounds_are_added_up_and_who_follows_never_rests() {
        let mut way = GiveWay::default();
        for _ in 0..9 {
            assert_eq!(way.add(MILLI / 5, || (Left::None, 1)), Duration::ZERO);
        }
        assert_eq!(way.add(MILLI / 5, || (Left::None, 1)), 2 * MILLI);
        let cores = Cores::default();
        let long = Duration::from_secs(1);
        assert_eq!(way.rest(long, None, &cores), Duration::ZERO);
        assert_eq!(way.rest(long, Some(false), &cores), Duration::ZERO);
        assert_eq!(way.add(2 * MILLI, || (Left::None, 1)), 2 * MILLI);
    }

    #[test]
    fn cores_are_full_when_hardly_any_of_their_time_was_idle() {
        let text = "cpu  10 0 20 300 5 1 2 3 0 0\ncpu0 5 0 10 150 2 0 1 1 0 0\n";
        let before = Times::parse(text).expect("a line");
        assert_eq!(
            before,
            Times {
                idle: 305,
                all: 341,
                cores: 1,
            }
        );
        let later = |idle, all| Times {
            idle: before.idle + idle,
            all: before.all + all,
            ..before
        };
        // Half of the one core; of four the same half is an eighth of all their time.
        assert!(later(49, 100).is_full_since(before));
        assert!(!later(50, 100).is_full_since(before));
        let of_four = |idle, all| Times {
            cores: 4,
            ..later(idle, all)
        };
        assert!(of_four(49, 400).is_full_since(before));
        assert!(!of_four(50, 400).is_full_since(before));
        assert!(!before.is_full_since(before));
        assert_eq!(Times::parse("intr 1 2 3"), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn cores_are_wanted_when_they_are_full_and_somebody_publishes() {
        let cores = Cores::default();
        assert_eq!(cores.left().0, Left::All);
        // As if all cores had been at work since the last look.
        let age = || {
            let mut last = cores.last.lock().expect("a lock");
            let sample = last.as_mut().expect("a look");
            sample.times.all = 0;
            sample.at -= super::SAMPLE;
        };
        age();
        assert_eq!(cores.left().0, Left::All);
        cores.published(1);
        age();
        assert_eq!(cores.left().0, Left::None);
        age();
        assert_eq!(cores.left().0, Left::All);
    }
}
