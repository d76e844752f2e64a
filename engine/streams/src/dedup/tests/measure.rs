//! Figures, by hand, in processor time where a machine with other work must not show: `cargo test --release -p millstream-streams measure -- --nocapture --test-threads 1`.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cpu_time::ThreadTime;
use millstream_journal::Position;
use millstream_types::{HeadersBuilder, Timestamp};

use super::{MILLI, Pages, encoded};
use crate::codec::Reader;
use crate::dedup::{Asked, Dedup};
use crate::publish::TOGETHER;
use crate::{Publish, RecordsBuilder, Stream, StreamConfig};

/// Enough for pages and filters; the figures are those of an optimized build.
const IDS: u64 = if cfg!(debug_assertions) {
    40_000
} else {
    1_000_000
};
const ROUNDS: u32 = if cfg!(debug_assertions) { 1 } else { 3 };

fn per_id(since: ThreadTime, ids: u64) -> u128 {
    since.elapsed().as_nanos() / u128::from(ids)
}

fn id(number: u64) -> String {
    format!("{number:022}")
}

fn find(dedup: &mut Dedup, number: u64) -> Option<u64> {
    let hash = dedup.hash_id(&number.to_le_bytes());
    dedup.find(hash).expect("reads")
}

/// Resident memory of the process in bytes.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<usize>().ok());
    kib.unwrap_or_default() * 1024
}

#[test]
fn measure_ids() {
    let pages = Arc::new(Pages::default());
    let mut dedup = Dedup::new(1, Timestamp(0));
    dedup.read_from(pages.clone());
    in_memory(&mut dedup);
    in_the_journal(&mut dedup, &pages);
}

fn in_memory(dedup: &mut Dedup) {
    let before = resident();
    let mut worst = 0;
    let mut longest = Duration::ZERO;
    let mut spent = Duration::ZERO;
    for block in 0..IDS / 1000 {
        let ids: Vec<[u8; 8]> = (block * 1000..(block + 1) * 1000)
            .map(u64::to_le_bytes)
            .collect();
        let start = ThreadTime::now();
        // As many together as a stream looks at.
        for (number, ids) in (block * 1000..).step_by(TOGETHER).zip(ids.chunks(TOGETHER)) {
            let asked = ids.iter().map(|id| Asked::from(dedup.hash_id(id)));
            let mut asked: Vec<Asked> = asked.collect();
            dedup.warm(asked.iter().map(|asked| asked.id));
            dedup.ask(asked.iter_mut());
            for (number, asked) in (number..).zip(asked) {
                if dedup.find(asked).expect("in memory").is_none() {
                    let time = Timestamp(number.cast_signed() * 3000);
                    dedup.insert(asked.id, number, time);
                }
            }
        }
        longest = longest.max(start.elapsed());
        spent += start.elapsed();
        worst = worst.max(dedup.memory() * 10 / dedup.len());
    }
    println!(
        "new id: {} ns (hash, ask, find, insert); longest 1000: {longest:?}",
        spent.as_nanos() / u128::from(IDS)
    );
    println!(
        "all in memory: {:.1} B/id counted (worst on the way from 1000: {:.1}), {:.1} B/id resident; {} filters",
        dedup.memory() as f64 / IDS as f64,
        worst as f64 / 10.0,
        resident().saturating_sub(before) as f64 / IDS as f64,
        dedup.fronts.len(),
    );
    let start = ThreadTime::now();
    for number in IDS..2 * IDS {
        black_box(find(dedup, number));
    }
    println!("find, never seen: {} ns", per_id(start, IDS));
    let start = ThreadTime::now();
    for number in 0..IDS {
        black_box(find(dedup, number * 7919 % IDS));
    }
    println!("find, a duplicate in memory: {} ns", per_id(start, IDS));
}

fn in_the_journal(dedup: &mut Dedup, pages: &Arc<Pages>) {
    let start = Instant::now();
    let mut snapshot = dedup.snapshot(|_| false);
    println!("snapshot: {:?}", start.elapsed());
    let unstored: Vec<_> = snapshot.unstored().collect();
    let written: usize = unstored.iter().map(|(_, bytes)| bytes.len()).sum();
    for (number, bytes) in unstored {
        let at = pages.keep(bytes);
        snapshot.stored(number, at);
        dedup.stored(number, at);
    }
    let bytes = encoded(dedup);
    println!(
        "pages written once: {written} B; checkpoint after that: {} B",
        bytes.len()
    );
    println!(
        "pages in the journal: {:.1} B/id",
        dedup.memory() as f64 / IDS as f64
    );
    let start = ThreadTime::now();
    for number in 0..1000 {
        black_box(find(dedup, number * 7919 % IDS));
    }
    println!(
        "find, a duplicate in the journal: {} ns (without the journal's own time)",
        per_id(start, 1000)
    );

    let start = Instant::now();
    let mut again = Dedup::new(1, Timestamp(0));
    again
        .decode(&mut Reader::new(&bytes), Some(pages.clone()))
        .expect("reads back");
    let decoded = start.elapsed();
    black_box(find(&mut again, IDS * 3));
    println!(
        "restart: {decoded:?}, with the first answer {:?}",
        start.elapsed()
    );
}

/// One command of messages, each with an id or another header of its length.
fn command(name: &str, numbers: std::ops::Range<u64>) -> Publish {
    let mut records = RecordsBuilder::new();
    for number in numbers.clone() {
        let headers = HeadersBuilder::new().with(name, &id(number)).build();
        records.push(b"s.a", &headers, &[7; 128]);
    }
    let (records, count) = records.take();
    Publish {
        stream: 1,
        time: Timestamp(numbers.start.cast_signed() * MILLI / 300),
        count,
        records,
    }
}

#[test]
fn measure_publishes() {
    for round in 0..ROUNDS {
        for name in ["Some-Header", "Nats-Msg-Id"] {
            let config = StreamConfig {
                name: "S".to_owned(),
                subjects: vec!["s.>".to_owned()],
                duplicate_window: Duration::from_nanos(IDS * 1_000_000 / 300),
                ..StreamConfig::default()
            };
            let mut stream = Stream::new(1, config.checked().expect("valid"), Timestamp(0), None);
            let mut spent = Duration::ZERO;
            let mut outcomes = Vec::new();
            for batch in 0..2 * IDS / 500 {
                let publish = command(name, batch * 500..(batch + 1) * 500);
                let at = Position {
                    file: 1,
                    offset: batch,
                    len: 0,
                };
                outcomes.clear();
                let start = ThreadTime::now();
                stream.publish(at, 0, &publish, &mut outcomes);
                // From here on there are as many live ids as there will be.
                if batch >= IDS / 500 {
                    spent += start.elapsed();
                }
            }
            println!(
                "round {round}, applying a message with {name}: {} ns",
                spent.as_nanos() / u128::from(IDS)
            );
        }
    }
}
