//! How far a query is.
//!
//! Version 2 of a flow's position, behind the number of its run: JSON with `version`, `layout`, `epoch`, `clock` and, of each
//! source in the query's order, the stream and what was read of it.

use bytes::Bytes;
use millstream_cluster::{Catalog, flow_key, position_value, split_position};
use millstream_types::Timestamp;
use serde::{Deserialize, Serialize};

use super::super::position::Unreadable;
use super::super::status::FlowTotals;

const VERSION: u32 = 2;

/// What was read of a source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in super::super) struct SourcePlace {
    pub(in super::super) station: String,
    /// The number of its stream: one that was made anew has another.
    pub(in super::super) stream: u32,
    /// The last sequence that was looked at.
    pub(in super::super) read: u64,
}

/// Where a query stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Place {
    pub(in super::super) run: u64,
    /// Whose state it is.
    pub(in super::super) layout: u64,
    /// How many commits there were.
    pub(in super::super) epoch: u64,
    /// What the wall clock said in the last step.
    pub(in super::super) clock: Timestamp,
    /// Whether its tables were read to their end once.
    pub(in super::super) primed: bool,
    pub(in super::super) sources: Vec<SourcePlace>,
    pub(in super::super) totals: FlowTotals,
    /// The event time that its results have reached.
    pub(in super::super) watermark: Option<Timestamp>,
    /// What closes until then was told by the version before it.
    pub(in super::super) told: Option<Timestamp>,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    version: u32,
    layout: u64,
    epoch: u64,
    clock: i64,
    primed: bool,
    sources: Vec<SourcePlace>,
    totals: FlowTotals,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    watermark: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    told: Option<i64>,
}

/// The layout of the state that a query has; `None` when it has none yet, or none that is known.
#[must_use]
pub fn state_layout(catalog: &Catalog, flow: &str) -> Option<u64> {
    let run = catalog.flows.get(flow)?.run;
    let stored = catalog.positions.get(&flow_key(flow))?;
    let place = Place::of_run(stored, run).ok()??;
    Some(place.layout)
}

impl Place {
    pub(in super::super) fn encode(&self) -> Bytes {
        let stored = Stored {
            version: VERSION,
            layout: self.layout,
            epoch: self.epoch,
            clock: self.clock.0,
            primed: self.primed,
            sources: self.sources.clone(),
            totals: self.totals,
            watermark: self.watermark.map(|time| time.0),
            told: self.told.map(|time| time.0),
        };
        let json = serde_json::to_string(&stored).expect("invariant: plain data");
        position_value(self.run, &json)
    }

    /// A position of this run; `None` when it is of another one, whatever that wrote.
    pub(in super::super) fn of_run(bytes: &[u8], run: u64) -> Result<Option<Self>, Unreadable> {
        let (of, json) = split_position(bytes).ok_or(Unreadable)?;
        if of != run {
            return Ok(None);
        }
        let stored: Stored = serde_json::from_slice(json).map_err(|_| Unreadable)?;
        if stored.version != VERSION {
            return Err(Unreadable);
        }
        Ok(Some(Self {
            run,
            layout: stored.layout,
            epoch: stored.epoch,
            clock: Timestamp(stored.clock),
            primed: stored.primed,
            sources: stored.sources,
            totals: stored.totals,
            watermark: stored.watermark.map(Timestamp),
            told: stored.told.map(Timestamp),
        }))
    }
}

#[cfg(test)]
mod tests {
    use millstream_types::Timestamp;

    use super::super::super::position::{Position, Unreadable};
    use super::{Place, SourcePlace};

    #[test]
    fn a_place_reads_back_and_its_form_stays() {
        let source = |station: &str, stream, read| SourcePlace {
            station: station.to_owned(),
            stream,
            read,
        };
        let mut place = Place {
            run: 12,
            layout: 99,
            epoch: 4,
            clock: Timestamp(1_000),
            primed: true,
            sources: vec![source("flights", 3, 100), source("KV_carriers", 4, 0)],
            ..Place::default()
        };
        place.totals.inputs = 100;
        place.totals.late = 1;
        let golden = r#"12
{"version":2,"layout":99,"epoch":4,"clock":1000,"primed":true,"sources":[{"station":"flights","stream":3,"read":100},{"station":"KV_carriers","stream":4,"read":0}],"totals":{"inputs":100,"outputs":0,"dropped":0,"rejected":0,"retried":0,"lost":0,"late":1}}"#;
        assert_eq!(place.encode(), golden);
        assert_eq!(Place::of_run(golden.as_bytes(), 12), Ok(Some(place)));
        assert_eq!(Place::of_run(golden.as_bytes(), 13), Ok(None));
        let times = Place {
            watermark: Some(Timestamp(7)),
            told: Some(Timestamp(5)),
            ..Place::default()
        };
        assert_eq!(Place::of_run(&times.encode(), 0), Ok(Some(times)));
        // The one form is not taken for the other.
        assert_eq!(Position::of_run(golden.as_bytes(), 12), Err(Unreadable));
        let old = Position {
            run: 12,
            from: "flights".to_owned(),
            ..Position::default()
        };
        assert_eq!(Place::of_run(&old.encode(), 12), Err(Unreadable));
        for wrong in [&b""[..], b"12", b"12\n{}"] {
            assert_eq!(Place::of_run(wrong, 12), Err(Unreadable));
        }
    }
}
