//! What the specification says of events, held against many of them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{Generator, Station, rfc3339};

fn some(generator: &Generator, count: u64) -> Vec<(Station, i64, Value)> {
    generator
        .events(count)
        .map(|event| {
            let value = serde_json::from_str(&event.json).expect("JSON");
            (event.station, event.time, value)
        })
        .collect()
}

#[test]
fn proportions_sizes_and_hot_ones() {
    let generator = Generator::default();
    let events = some(&generator, 50_000);
    let mut sizes: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    let mut bids: BTreeMap<u64, u64> = BTreeMap::new();
    for (station, _, value) in &events {
        let values = value.as_object().expect("an object").values();
        let size = values.map(|value| {
            value
                .as_str()
                .map_or(8, |text| if text.ends_with('Z') { 8 } else { text.len() })
        });
        sizes.entry(station.name()).or_default().push(size.sum());
        if *station == Station::Bid {
            *bids
                .entry(value["auction"].as_u64().expect("a number"))
                .or_default() += 1;
        }
    }
    let counts: Vec<_> = sizes
        .iter()
        .map(|(name, sizes)| (*name, sizes.len()))
        .collect();
    assert_eq!(
        counts,
        [("auction", 3000), ("bid", 46_000), ("person", 1000)]
    );
    let average = |name: &str| sizes[name].iter().sum::<usize>() / sizes[name].len();
    assert!(
        (195..=210).contains(&average("person")),
        "{}",
        average("person")
    );
    assert!(
        (480..=520).contains(&average("auction")),
        "{}",
        average("auction")
    );
    // A bid's size does not count channel and address.
    assert!((140..=180).contains(&average("bid")), "{}", average("bid"));
    let hot: u64 = bids
        .iter()
        .filter(|(id, _)| *id % 100 == 0)
        .map(|(_, bids)| bids)
        .sum();
    assert!(
        (23_000..24_500).contains(&hot),
        "{hot} of 46000 bids are for hot auctions"
    );
}

#[test]
fn ids_are_counted_and_bids_meet_people_and_auctions() {
    let events = some(&Generator::default(), 20_000);
    let ids = |of: Station| -> Vec<u64> {
        let of = events.iter().filter(|(station, ..)| *station == of);
        of.map(|(_, _, value)| value["id"].as_u64().expect("a number"))
            .collect()
    };
    assert_eq!(ids(Station::Person), (1000..1400).collect::<Vec<_>>());
    assert_eq!(ids(Station::Auction), (1000..2200).collect::<Vec<_>>());
    let people: BTreeSet<u64> = ids(Station::Person).into_iter().collect();
    let known = |name: &str, of: Station| {
        let of = events.iter().filter(|(station, ..)| *station == of);
        let (known, unknown): (Vec<_>, Vec<_>) =
            of.partition(|(_, _, value)| people.contains(&value[name].as_u64().expect("a number")));
        (known.len(), unknown.len())
    };
    let (known_bidders, unknown) = known("bidder", Station::Bid);
    assert!(
        unknown > 0 && unknown < known_bidders / 20,
        "{unknown} of {known_bidders}"
    );
    let (known_sellers, unknown) = known("seller", Station::Auction);
    assert!(unknown < known_sellers / 20, "{unknown} of {known_sellers}");
}

#[test]
fn order_is_as_asked_for_and_events_depend_on_seed_and_number_only() {
    let generator = Generator {
        disorder: 100,
        rate: 1000,
        ..Generator::default()
    };
    let times: Vec<i64> = generator.events(1000).map(|event| event.time).collect();
    let mut highest = i64::MIN;
    let mut disordered = 0;
    for time in &times {
        assert!(highest.saturating_sub(*time) < 100, "later than its group");
        disordered += usize::from(*time < highest);
        highest = highest.max(*time);
    }
    assert!(disordered > 500, "{disordered}");
    let distinct: BTreeSet<_> = times.iter().collect();
    assert_eq!(
        distinct.len(),
        1000,
        "each event of a group has its own time"
    );
    let ordered = Generator {
        disorder: 1,
        ..generator
    };
    assert!(ordered.events(1000).map(|event| event.time).is_sorted());
    assert_eq!(
        generator.event(777),
        generator.events(778).last().expect("an event")
    );
    let other = Generator {
        seed: 1,
        ..generator
    };
    assert_ne!(generator.event(777).json, other.event(777).json);
}

#[test]
fn times_as_text() {
    for (time, text) in [
        (0, "1970-01-01T00:00:00.000Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
        (1_436_918_400_000, "2015-07-15T00:00:00.000Z"),
        (1_709_164_800_123, "2024-02-29T00:00:00.123Z"),
        (1_709_251_199_999, "2024-02-29T23:59:59.999Z"),
        (1_709_251_200_000, "2024-03-01T00:00:00.000Z"),
        (951_782_400_000, "2000-02-29T00:00:00.000Z"),
        (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
    ] {
        assert_eq!(rfc3339(time), text);
    }
}
