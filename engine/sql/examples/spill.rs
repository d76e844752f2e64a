//! What it costs a join and a `GROUP BY` when memory may have a part of their state: nanoseconds per event on one thread, with keys
//! that come in no order. `cargo run --release -p millstream-sql --example spill [KEYS]`.

use std::error::Error;
use std::io::Write as _;
use std::time::Instant;

use bytes::Bytes;
use millstream_pipeline::{Batch, Column, ColumnKind, Record};
use millstream_spec::QuerySpec;
use millstream_sql::continuous::{Stations, compile};
use millstream_types::{Message, Timestamp};

/// Events per step, as the runner of flows takes them.
const STEP: usize = 8192;

const QUERIES: [(&str, &str); 2] = [
    (
        "join",
        "SELECT a.k, a.v AS one, b.v AS other FROM a JOIN b ON a.k = b.k",
    ),
    (
        "group",
        "SELECT k, count(*) AS n, sum(v) AS s FROM (SELECT k, v FROM a UNION ALL SELECT k, v FROM b) GROUP BY k",
    ),
];

/// Two stations, `a` and `b`.
#[derive(Debug)]
struct Both;

impl Stations for Both {
    fn columns(&self, name: &str) -> Result<Option<Vec<Column>>, String> {
        let column = |name: &str| Column {
            name: name.to_owned(),
            kind: ColumnKind::Int64,
            nullable: true,
        };
        let there = self.names().iter().any(|own| own == name);
        Ok(there.then(|| vec![column("k"), column("v")]))
    }

    fn names(&self) -> Vec<String> {
        vec!["a".to_owned(), "b".to_owned()]
    }

    fn subjects(&self, name: &str) -> Vec<String> {
        vec![name.to_owned()]
    }
}

fn record(number: u64, keys: u64) -> Record {
    let key = (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20) % keys;
    let payload = format!("{{\"k\":{key},\"v\":{number}}}");
    let message = Message {
        subject: Bytes::from_static(b"a"),
        payload: payload.into(),
        ..Message::default()
    };
    Record {
        sequence: Some(number + 1),
        ..Record::new(message, Timestamp(0))
    }
}

/// Fills the one side and then the other; answers bytes of state.
fn measure(name: &str, sql: &str, memory: u64, keys: u64) -> Result<u64, Box<dyn Error>> {
    let query = QuerySpec {
        sql: sql.to_owned(),
        into: "out".to_owned(),
        subject: Some("out".to_owned()),
        state_limit: Some(u64::MAX),
        memory_limit: Some(memory),
        ..QuerySpec::default()
    };
    let folder = std::env::current_dir()?;
    let mut flow = compile(&query, &Both)?.spilling_to(folder).start();
    let records: Vec<Record> = (0..keys).map(|number| record(number, keys)).collect();
    let mut outputs = 0;
    for source in 0..2 {
        let start = Instant::now();
        for records in records.chunks(STEP) {
            let effects = flow.step(&[Batch { source, records }], Timestamp(1));
            if let Some(why) = effects.failed {
                return Err(why.into());
            }
            outputs += effects.outputs.len();
        }
        let each = start.elapsed().as_nanos() as f64 / records.len() as f64;
        let status = flow.status();
        writeln!(
            std::io::stdout(),
            "{name:<6} {keys:>9} keys, source {source} {each:>7.0} ns/event, state {:>11} bytes, {:>11} on disk, {outputs:>9} outputs",
            status.state_bytes,
            status.spilled_bytes
        )?;
    }
    Ok(flow.status().state_bytes)
}

fn main() -> Result<(), Box<dyn Error>> {
    let keys: u64 = std::env::args()
        .nth(1)
        .map_or(Ok(1_000_000), |text| text.parse())?;
    for (name, sql) in QUERIES {
        let all = measure(name, sql, u64::MAX, keys)?;
        for part in [2, 4, 16] {
            measure(name, sql, all / part, keys)?;
        }
    }
    Ok(())
}
