//! How fast a question reads messages, beside DataFusion over the same messages in memory: parsed by Arrow's reader for each
//! question, only the columns that it reads, and once before. `cargo run --release -p millstream-sql --example query_speed`.
//! Prints JSON lines. Both sides take turns on one thread, and what counts is the median of the rounds' ratios.

use std::io::Write as _;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::json::ReaderBuilder;
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use datafusion::datasource::MemTable;
use datafusion::prelude::{SessionConfig, SessionContext};
use millstream_pipeline::{Column, ColumnKind, Record};
use millstream_sql::query::{Bounds, Event, Limits, Page, Pages, Table, Tables, start};
use millstream_types::{Message, Timestamp};
use tokio::runtime::Runtime;

const MESSAGES: usize = 500_000;
const ROUNDS: usize = 5;
/// Messages of a page and rows of a batch.
const BATCH: usize = 8192;
const LIMITS: Limits = Limits {
    memory: 1 << 30,
    time: Duration::from_secs(60),
};

/// A question, and the columns that it reads.
const QUESTIONS: [(&str, &[&str]); 4] = [
    (
        "SELECT count(*) AS n FROM flights WHERE dep_delay > 15 AND carrier = 'UA'",
        &["carrier", "dep_delay"],
    ),
    (
        "SELECT carrier, avg(dep_delay) AS delay FROM flights GROUP BY carrier",
        &["carrier", "dep_delay"],
    ),
    (
        "SELECT flight, dep_delay FROM flights ORDER BY dep_delay DESC LIMIT 10",
        &["flight", "dep_delay"],
    ),
    (
        "SELECT origin, max(distance) AS far, min(time_hour) AS first FROM flights WHERE dest <> 'XX' GROUP BY origin",
        &["origin", "dest", "distance", "time_hour"],
    ),
];

const COLUMNS: [(&str, ColumnKind); 7] = [
    ("carrier", ColumnKind::String),
    ("flight", ColumnKind::Int64),
    ("origin", ColumnKind::String),
    ("dest", ColumnKind::String),
    ("dep_delay", ColumnKind::Int64),
    ("distance", ColumnKind::Float64),
    ("time_hour", ColumnKind::Timestamp),
];

fn payload(number: usize) -> String {
    let carrier = ["UA", "AA", "B6", "DL"][number % 4];
    let origin = ["EWR", "JFK", "LGA"][number % 3];
    let text = format!(
        r#"{{"carrier":"{carrier}","flight":{},"tailnum":"N{:05}","origin":"{origin}","dest":"IAH","dep_delay":{},"distance":{}.5,"time_hour":"2013-01-01T{:02}:00:00Z","note":""#,
        number % 9_000,
        number % 90_000,
        (number * 7919) % 400,
        number % 3_000,
        number % 24
    );
    format!("{text:x<198}\"}}")
}

/// One table, whose messages are in memory.
#[derive(Clone, Debug)]
struct Stored(Arc<Vec<Record>>);

impl Tables for Stored {
    fn groups(&self) -> Vec<String> {
        vec!["stations".to_owned()]
    }

    fn names(&self, _: &str) -> Vec<String> {
        vec!["flights".to_owned()]
    }

    fn table(&self, _: &str, name: &str) -> Result<Option<Arc<dyn Table>>, String> {
        Ok((name == "flights").then(|| Arc::new(self.clone()) as Arc<dyn Table>))
    }
}

impl Table for Stored {
    fn columns(&self) -> Vec<Column> {
        let column = |(name, kind): &(&str, ColumnKind)| Column::new(*name, kind.clone(), true);
        COLUMNS.iter().map(column).collect()
    }

    fn is_stored(&self) -> bool {
        true
    }

    fn pages(&self, _: &Bounds) -> Box<dyn Pages> {
        Box::new(Read {
            records: Arc::clone(&self.0),
            next: 0,
        })
    }
}

struct Read {
    records: Arc<Vec<Record>>,
    next: usize,
}

impl Pages for Read {
    fn next(&mut self) -> Result<Page, String> {
        let last = (self.next + BATCH).min(self.records.len());
        let records = self.records[self.next..last].to_vec();
        let sequences = (self.next as u64 + 1..=last as u64).collect();
        self.next = last;
        Ok(Page { records, sequences })
    }
}

/// Rows of the answer.
fn ours(stored: &Stored, text: &str) -> u64 {
    let (events, heard) = mpsc::channel();
    let tell = move |event| events.send(event).is_ok();
    start(text.to_owned(), Arc::new(stored.clone()), LIMITS, tell).expect("a thread");
    let ended = heard.into_iter().find_map(|event| match event {
        Event::End(ended) => Some(ended.expect("an answer")),
        _ => None,
    });
    ended.expect("an end").rows
}

fn schema(columns: &[&str]) -> SchemaRef {
    let time = DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()));
    let fields = COLUMNS.iter().filter(|(name, _)| columns.contains(name));
    let fields = fields.map(|(name, kind)| {
        let data_type = match kind {
            ColumnKind::Int64 => DataType::Int64,
            ColumnKind::Float64 => DataType::Float64,
            ColumnKind::Timestamp => time.clone(),
            _ => DataType::Utf8,
        };
        Field::new(*name, data_type, true)
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

fn parsed(records: &[Record], schema: &SchemaRef) -> Vec<RecordBatch> {
    let mut batches = Vec::new();
    let mut decoder = ReaderBuilder::new(Arc::clone(schema))
        .with_batch_size(BATCH)
        .build_decoder()
        .expect("a decoder");
    for chunk in records.chunks(BATCH) {
        for record in chunk {
            let mut read = 0;
            while read < record.message.payload.len() {
                let rest = &record.message.payload[read..];
                read += decoder.decode(rest).expect("JSON");
            }
        }
        batches.extend(decoder.flush().expect("a batch"));
    }
    batches
}

fn theirs(runtime: &Runtime, batches: Vec<RecordBatch>, schema: &SchemaRef, text: &str) -> u64 {
    let table = MemTable::try_new(Arc::clone(schema), vec![batches]).expect("a table");
    let config = SessionConfig::new()
        .with_target_partitions(1)
        .with_batch_size(BATCH);
    let context = SessionContext::new_with_config(config);
    context
        .register_table("flights", Arc::new(table))
        .expect("registered");
    let answer = runtime.block_on(async {
        let frame = context.sql(text).await.expect("a plan");
        frame.collect().await.expect("an answer")
    });
    answer.iter().map(|batch| batch.num_rows() as u64).sum()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    (values[values.len() / 2] * 1000.0).round() / 1000.0
}

fn main() {
    let record = |number| {
        let message = Message {
            subject: Bytes::from_static(b"flights.UA"),
            payload: Bytes::from(payload(number)),
            ..Message::default()
        };
        Record::new(message, Timestamp(1_700_000_000_000_000_000))
    };
    let stored = Stored(Arc::new((0..MESSAGES).map(record).collect()));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    for (text, columns) in QUESTIONS {
        let schema = schema(columns);
        let (mut rates, mut ratios, mut arrow) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let started = Instant::now();
            let rows = ours(&stored, text);
            let took = started.elapsed().as_secs_f64();
            let started = Instant::now();
            let batches = parsed(&stored.0, &schema);
            let parsing = started.elapsed().as_secs_f64();
            let started = Instant::now();
            let others = theirs(&runtime, batches, &schema, text);
            let answering = started.elapsed().as_secs_f64();
            assert_eq!(rows, others, "both sides answer the same");
            rates.push(MESSAGES as f64 / took);
            ratios.push((parsing + answering) / took);
            arrow.push(answering / took);
        }
        let line = serde_json::json!({
            "question": text, "messages_per_second": median(rates).round(),
            "ratio": median(ratios), "ratio_to_arrow_that_is_there": median(arrow),
        });
        let _ = writeln!(std::io::stdout(), "{line}");
    }
}
