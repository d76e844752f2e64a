//! What a continuous query costs beside all that a server does around it: nanoseconds per event on one thread, from JSON to
//! JSON, and bytes of state per key. `cargo run --release -p millstream-sql --example flows [EVENTS]`.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::Write as _;
use std::time::{Duration, Instant};

use bytes::Bytes;
use millstream_pipeline::{Batch, Column, ColumnKind, Record};
use millstream_spec::{Emit, QuerySource, QuerySpec};
use millstream_sql::continuous::{Stations, compile};
use millstream_types::{Message, Timestamp};

/// Events per step, as the runner of flows takes them.
const STEP: usize = 8192;

/// A window that does not end.
const DAY: &str = "SELECT auction, count(*) AS n, sum(price) AS total FROM TUMBLE(bid, ts, INTERVAL '1 day') GROUP BY window_start, window_end, auction";

/// The one station there is.
#[derive(Debug)]
struct Bids;

impl Stations for Bids {
    fn columns(&self, name: &str) -> Result<Option<Vec<Column>>, String> {
        let column = |(name, kind): (&str, ColumnKind)| Column {
            name: name.to_owned(),
            kind,
            nullable: true,
        };
        let columns = [
            ("auction", ColumnKind::Int64),
            ("bidder", ColumnKind::Int64),
            ("price", ColumnKind::Int64),
            ("channel", ColumnKind::String),
            ("ts", ColumnKind::Timestamp),
        ];
        Ok((name == "bid").then(|| columns.map(column).to_vec()))
    }

    fn names(&self) -> Vec<String> {
        vec!["bid".to_owned()]
    }

    fn subjects(&self, name: &str) -> Vec<String> {
        vec![format!("{name}.all")]
    }
}

/// An event of about 130 bytes; 10,000 events are a second.
fn record(number: u64, keys: u64) -> Record {
    // A multiplication with an odd number is a permutation: keys come in no order.
    let spread = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let (auction, bidder, price) = (
        (spread >> 20) % keys,
        (spread >> 33) % 1000,
        spread % 10_000,
    );
    let (second, fraction) = (number / 10_000, number % 10_000 * 100);
    let time = format!(
        "2026-01-01T{:02}:{:02}:{:02}.{fraction:06}Z",
        second / 3600 % 24,
        second / 60 % 60,
        second % 60
    );
    let payload = format!(
        r#"{{"auction":{auction},"bidder":{bidder},"price":{price},"channel":"channel-{}","ts":"{time}"}}"#,
        bidder % 10
    );
    let message = Message {
        subject: Bytes::from_static(b"bid.all"),
        payload: payload.into(),
        ..Message::default()
    };
    Record {
        sequence: Some(number + 1),
        ..Record::new(message, Timestamp(0))
    }
}

fn spec(sql: &str) -> QuerySpec {
    let source = QuerySource {
        watermark: Some(Duration::from_secs(1)),
        ..QuerySource::default()
    };
    QuerySpec {
        sql: sql.to_owned(),
        into: "out".to_owned(),
        sources: BTreeMap::from([("bid".to_owned(), source)]),
        ..QuerySpec::default()
    }
}

fn measure(
    name: &str,
    spec: &QuerySpec,
    records: &[Record],
    keys: u64,
) -> Result<(), Box<dyn Error>> {
    let mut flow = compile(spec, &Bids)?.start();
    let (mut outputs, mut changes, mut most) = (0, 0, 0);
    let start = Instant::now();
    for records in records.chunks(STEP) {
        let effects = flow.step(&[Batch { source: 0, records }], Timestamp(1));
        if let Some(why) = effects.failed {
            return Err(why.into());
        }
        outputs += effects.outputs.len();
        changes += effects.state.len();
        most = most.max(flow.status().state_bytes);
    }
    let each = start.elapsed().as_nanos() as f64 / records.len() as f64;
    writeln!(
        std::io::stdout(),
        "{name:<34} {keys:>9} keys {each:>8.0} ns/event {:>8.2} M/s {outputs:>9} outputs {changes:>9} changes {most:>11} bytes of state",
        1000.0 / each
    )?;
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let events: u64 = std::env::args()
        .nth(1)
        .map_or(Ok(1_000_000), |text| text.parse())?;
    let queries = [
        (
            "pass",
            "SELECT auction, bidder, price, channel, ts FROM bid",
        ),
        (
            "project",
            "SELECT auction, bidder, price * 908 / 1000 AS price, ts FROM bid",
        ),
        (
            "filter",
            "SELECT auction, price FROM bid WHERE auction % 123 = 0",
        ),
        (
            "tumble max",
            "SELECT window_start, max(price) AS best FROM TUMBLE(bid, ts, INTERVAL '10 seconds') GROUP BY window_start, window_end",
        ),
        (
            "tumble count by key",
            "SELECT window_start, auction, count(*) AS n FROM TUMBLE(bid, ts, INTERVAL '10 seconds') GROUP BY window_start, window_end, auction",
        ),
        (
            "hop count by key",
            "SELECT window_start, auction, count(*) AS n FROM HOP(bid, ts, INTERVAL '2 seconds', INTERVAL '10 seconds') GROUP BY window_start, window_end, auction",
        ),
        (
            "count by key, on update",
            "SELECT auction, count(*) AS n FROM bid GROUP BY auction",
        ),
        (
            "distinct by channel, on update",
            "SELECT channel, count(DISTINCT bidder) AS n FROM bid GROUP BY channel",
        ),
    ];
    let records: Vec<Record> = (0..events).map(|number| record(number, 1000)).collect();
    for (name, sql) in queries {
        measure(name, &spec(sql), &records, 1000)?;
    }
    writeln!(std::io::stdout())?;
    for keys in [1, 100, 10_000, 1_000_000, 10_000_000] {
        let records = (0..events.max(keys)).map(|number| record(number, keys));
        let records: Vec<Record> = records.collect();
        let mut windows = spec(DAY);
        windows.emit = Some(Emit::WindowClose);
        windows.state_limit = Some(u64::MAX);
        windows.memory_limit = Some(u64::MAX);
        measure("window of a day", &windows, &records, keys)?;
    }
    Ok(())
}
