//! How fast a stage in SQL is, beside JSON parsed by Arrow, filtered and projected by DataFusion, and printed by Arrow:
//! `cargo run --release -p millstream-sql --example stage_speed`. Prints JSON lines.
//!
//! The messages are 200 bytes with 9 members; half of them pass the filter. Both sides take turns, and what counts is the
//! median of the rounds' ratios. A batch's fixed cost is what a batch of one message takes beyond a message's share of a
//! large one.

use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use arrow::json::{LineDelimitedWriter, ReaderBuilder};
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use datafusion::datasource::MemTable;
use datafusion::prelude::{SessionConfig, SessionContext};
use millstream_pipeline::{Column, ColumnKind, Record, Stage, Verdict};
use millstream_sql::SqlStage;
use millstream_types::{Message, Timestamp};

const MESSAGES: usize = 200_000;
const ROUNDS: usize = 7;
const SELECT: &str = "SELECT carrier, flight, origin, dep_delay * 60 AS seconds, time_hour FROM message WHERE dep_delay > 0 AND carrier <> 'XX'";

fn payload(number: usize) -> String {
    let carrier = ["UA", "AA", "B6", "DL"][number % 4];
    let delay = i64::try_from(number % 200).unwrap_or(0) - 100;
    let text = format!(
        r#"{{"carrier":"{carrier}","flight":{},"tailnum":"N{:05}","origin":"EWR","dest":"IAH","dep_delay":{delay},"distance":{}.5,"time_hour":"2013-01-01T{:02}:00:00Z","note":""#,
        number % 9_000,
        number % 90_000,
        number % 3_000,
        number % 24
    );
    format!("{text:x<198}\"}}")
}

fn columns() -> Vec<Column> {
    use ColumnKind::{Float64, Int64, String, Timestamp};
    let column = |(name, kind): (&str, ColumnKind)| Column::new(name, kind, true);
    [
        ("carrier", String),
        ("flight", Int64),
        ("tailnum", String),
        ("origin", String),
        ("dest", String),
        ("dep_delay", Int64),
        ("distance", Float64),
        ("time_hour", Timestamp),
        ("note", String),
    ]
    .map(column)
    .to_vec()
}

/// One stage over all records, in batches of a size; how many pass.
fn ours(stage: &SqlStage, records: &mut [Record], size: usize) -> usize {
    let mut passed = 0;
    for batch in records.chunks_mut(size) {
        let verdicts = stage.process(batch);
        passed += verdicts
            .iter()
            .filter(|verdict| matches!(verdict, Verdict::Replace(_)))
            .count();
    }
    passed
}

/// The same on as many threads, each with its share.
fn on_threads(stage: &SqlStage, records: &mut [Record], size: usize, threads: usize) -> usize {
    let share = records.len().div_ceil(threads);
    std::thread::scope(|scope| {
        let parts: Vec<_> = records
            .chunks_mut(share)
            .map(|part| scope.spawn(move || ours(stage, part, size)))
            .collect();
        parts.into_iter().map(|part| part.join().unwrap_or(0)).sum()
    })
}

/// Arrow's reader, a plan of DataFusion, Arrow's writer; only the columns that the statement reads are parsed.
struct Raw {
    runtime: tokio::runtime::Runtime,
    schema: Arc<Schema>,
}

impl Raw {
    fn new() -> Self {
        let time = DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()));
        let field = |(name, kind): (&str, DataType)| Field::new(name, kind, true);
        let fields = [
            ("carrier", DataType::Utf8),
            ("flight", DataType::Int64),
            ("origin", DataType::Utf8),
            ("dep_delay", DataType::Int64),
            ("time_hour", time),
        ];
        Self {
            runtime: tokio::runtime::Builder::new_current_thread()
                .build()
                .expect("a runtime"),
            schema: Arc::new(Schema::new(fields.map(field).to_vec())),
        }
    }

    fn parse(&self, records: &[Record], size: usize) -> Vec<RecordBatch> {
        let mut batches = Vec::new();
        let mut decoder = ReaderBuilder::new(Arc::clone(&self.schema))
            .with_batch_size(size)
            .build_decoder()
            .expect("a decoder");
        for chunk in records.chunks(size) {
            for record in chunk {
                let mut read = 0;
                while read < record.message.payload.len() {
                    read += decoder
                        .decode(&record.message.payload[read..])
                        .expect("JSON");
                }
            }
            batches.extend(decoder.flush().expect("a batch"));
        }
        batches
    }

    fn run(&self, records: &[Record], size: usize) -> (usize, [Duration; 3]) {
        let started = Instant::now();
        let batches = self.parse(records, size);
        let parsed = started.elapsed();
        let table = MemTable::try_new(Arc::clone(&self.schema), vec![batches]).expect("a table");
        let config = SessionConfig::new()
            .with_target_partitions(1)
            .with_batch_size(size);
        let context = SessionContext::new_with_config(config);
        context
            .register_table("message", Arc::new(table))
            .expect("registered");
        let started = Instant::now();
        let answer = self.runtime.block_on(async {
            let frame = context.sql(SELECT).await.expect("a plan");
            frame.collect().await.expect("an answer")
        });
        let answered = started.elapsed();
        let started = Instant::now();
        let mut text = Vec::new();
        let mut writer = LineDelimitedWriter::new(&mut text);
        for batch in &answer {
            writer.write(batch).expect("printed");
        }
        writer.finish().expect("printed");
        let rows = answer.iter().map(RecordBatch::num_rows).sum();
        (rows, [parsed, answered, started.elapsed()])
    }
}

fn rate(messages: usize, took: Duration) -> f64 {
    (messages as f64 / took.as_secs_f64()).round()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn tell(line: &serde_json::Value) {
    let _ = writeln!(std::io::stdout(), "{line}");
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
    let mut records: Vec<Record> = (0..MESSAGES).map(record).collect();
    let bytes = records
        .iter()
        .map(|record| record.message.payload.len())
        .sum::<usize>();
    let stage = SqlStage::compile("sql:1", SELECT, &columns()).expect("compiles");
    let raw = Raw::new();
    tell(
        &serde_json::json!({ "messages": MESSAGES, "bytes_per_message": bytes / MESSAGES, "statement": SELECT }),
    );
    let size = 4096;
    let (mut ratios, mut one, mut two, mut theirs, mut parts) = (
        Vec::new(),
        Vec::new(),
        Vec::new(),
        Vec::new(),
        [Vec::new(), Vec::new(), Vec::new()],
    );
    for _ in 0..ROUNDS {
        let started = Instant::now();
        let passed = ours(&stage, &mut records, size);
        let took = started.elapsed();
        let (rows, each) = raw.run(&records, size);
        assert_eq!(passed, rows, "both sides answer the same");
        let all: Duration = each.iter().sum();
        ratios.push(all.as_secs_f64() / took.as_secs_f64());
        one.push(rate(MESSAGES, took));
        theirs.push(rate(MESSAGES, all));
        for (part, took) in parts.iter_mut().zip(each) {
            part.push(took.as_secs_f64() * 1e9 / MESSAGES as f64);
        }
        let started = Instant::now();
        on_threads(&stage, &mut records, size, 2);
        two.push(rate(MESSAGES, started.elapsed()));
    }
    let [parse, answer, print] = parts.map(median);
    tell(&serde_json::json!({
        "one_thread_per_second": median(one), "two_threads_per_second": median(two),
        "raw_one_thread_per_second": median(theirs), "ratio": median(ratios),
        "raw_nanoseconds": { "parse": parse.round(), "datafusion": answer.round(), "print": print.round() },
    }));
    let per_message = |size: usize, records: &mut [Record]| {
        let started = Instant::now();
        let count = records.len();
        ours(&stage, records, size);
        started.elapsed().as_secs_f64() * 1e6 / count as f64
    };
    let large = median(
        (0..ROUNDS)
            .map(|_| per_message(4096, &mut records))
            .collect(),
    );
    for size in [1, 4, 16, 64, 256, 1024] {
        let part = &mut records[..(size * 2_000).min(MESSAGES)];
        let each = median((0..ROUNDS).map(|_| per_message(size, part)).collect());
        let fixed = (each - large) * size as f64;
        tell(&serde_json::json!({
            "batch": size, "microseconds_per_message": (each * 1000.0).round() / 1000.0,
            "microseconds_per_batch": (each * size as f64 * 100.0).round() / 100.0,
            "fixed_microseconds": (fixed * 100.0).round() / 100.0,
        }));
    }
}
