//! A flow goes on from what it told, whatever its groups keep.

use std::collections::BTreeMap;

use millstream_pipeline::{Dataflow, Effects};
use millstream_spec::{Emit, Late};
use proptest::prelude::*;

use crate::continuous::compile;
use crate::continuous::tests::{bid, run, spec, stations, told};

/// Queries over groups: each kind of keeper, both ways of telling.
const QUERIES: [&str; 6] = [
    "SELECT auction, count(*) AS n, sum(price) AS s, avg(price) AS a, min(price) AS lo, max(price) AS hi FROM bid GROUP BY auction",
    "SELECT auction, count(DISTINCT price) AS n, sum(DISTINCT price) AS s, count(*) FILTER (WHERE price > 5) AS f FROM bid GROUP BY auction",
    "SELECT auction, array_agg(price ORDER BY price DESC) AS all, first_value(price ORDER BY ts) AS one, stddev(price) AS d FROM bid GROUP BY auction",
    "SELECT max(n) AS most, min(n) AS least, sum(n) AS whole FROM (SELECT auction, count(*) AS n FROM bid GROUP BY auction)",
    "SELECT window_start, auction, count(*) AS n, approx_distinct(price) AS d FROM TUMBLE(bid, ts, INTERVAL '10 seconds') GROUP BY window_start, window_end, auction",
    "SELECT window_end, median(price) AS m, bool_or(price > 8) AS b FROM HOP(bid, ts, INTERVAL '2 seconds', INTERVAL '6 seconds') GROUP BY window_start, window_end",
];

/// What is in the log.
type Log = BTreeMap<Vec<u8>, Vec<u8>>;

fn commit(log: &mut Log, effects: &Effects) {
    for change in &effects.state {
        match &change.value {
            Some(value) => log.insert(change.key.to_vec(), value.to_vec()),
            None => log.remove(&change.key[..]),
        };
    }
}

fn restore(flow: &mut dyn Dataflow, log: &Log) {
    for (key, value) in log {
        flow.restore(key, value).expect("its own");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_flow_goes_on_from_what_it_told(
        bids in prop::collection::vec((0..4_i64, 0..12_i64, 0..40_u32), 1..40),
        cut in 1..8_usize,
        query in 0..QUERIES.len(),
        late in 0..3_u8,
        spills in any::<bool>(),
    ) {
        let mut spec = spec(QUERIES[query]);
        if query > 3 {
            match late {
                0 => spec.emit = Some(Emit::Update),
                1 => spec.late = Late::UpdateWithin(std::time::Duration::from_secs(5)),
                _ => {}
            }
        }
        let compiled = compile(&spec, &stations()).expect("fits");
        // The groups of groups are one, which stays where it is.
        let spills = spills && query != 3;
        spec.memory_limit = Some(0);
        let small = compile(&spec, &stations()).expect("fits");
        let small = small.spilling_to(std::env::temp_dir());
        let (mut whole, mut log) = (compiled.start(), Log::new());
        let records: Vec<_> = bids
            .iter()
            .enumerate()
            .map(|(at, (auction, price, second))| bid(at as u64 + 1, *auction, *price, *second))
            .collect();
        for records in records.chunks(cut) {
            let expected = run(&mut *whole, records);
            let mut broken = if spills { small.start() } else { compiled.start() };
            restore(&mut *broken, &log);
            let effects = run(&mut *broken, records);
            prop_assert_eq!(&effects.failed, &None);
            let (one, other) = (told(&effects), told(&expected));
            if spills {
                // Windows that end are told in the order in which they come back.
                let sorted = |text: &str| {
                    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
                    lines.sort();
                    lines
                };
                prop_assert_eq!(sorted(&one), sorted(&other));
            } else {
                prop_assert_eq!(one, other);
            }
            commit(&mut log, &effects);
            let (one, other) = (broken.status(), whole.status());
            prop_assert_eq!((one.watermark, one.state_rows), (other.watermark, other.state_rows));
        }
    }
}

#[test]
fn nothing_stays_of_windows_that_have_ended() {
    let compiled = compile(&spec(QUERIES[4]), &stations()).expect("fits");
    let (mut flow, mut log) = (compiled.start(), Log::new());
    for second in 0..600 {
        let effects = run(&mut *flow, &[bid(1, 1, 1, second), bid(2, 2, 2, second)]);
        commit(&mut log, &effects);
    }
    assert_eq!(flow.status().state_rows, 2);
    // Two groups, the newest time, and how far time is.
    assert_eq!(log.len(), 4, "{log:?}");
}
