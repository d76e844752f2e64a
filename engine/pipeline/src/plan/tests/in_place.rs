//! What stages look at where it lies ends as it would as records.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use millstream_function_api::{
    Fault, FaultCode, Function, FunctionMessage, FunctionOutcome, Output,
};
use millstream_types::{HeadersBuilder, Timestamp};
use proptest::prelude::*;

use super::{shown, with_headers};
use crate::{
    Ended, FunctionSnapshot, FunctionStage, FunctionVersion, OnRejection, Order, Plan, Record,
    Running, Stage, StageSnapshot, is_plain, seen,
};

/// Answers by the first digit of the payload, and takes that away where it writes.
#[derive(Debug)]
struct Digits;

impl Function for Digits {
    fn name(&self) -> &'static str {
        "digits"
    }

    fn process(&self, batch: &[FunctionMessage<'_>]) -> Vec<Result<FunctionOutcome, Fault>> {
        let answer = |message: &FunctionMessage<'_>| {
            let rest = message.payload.get(1..).unwrap_or_default();
            let output = || Output {
                payload: Bytes::copy_from_slice(rest),
                ..Output::default()
            };
            match message.payload.first() {
                Some(b'1') => Ok(FunctionOutcome::Replace(output())),
                Some(b'2') => Ok(FunctionOutcome::Emit(vec![output(), output()])),
                Some(b'3') => Ok(FunctionOutcome::Drop),
                Some(b'4') => Ok(FunctionOutcome::Retry(Duration::from_secs(1))),
                Some(b'5') => Err(Fault {
                    code: FaultCode::Trap,
                    reason: "unreachable".to_owned(),
                }),
                Some(b'6') => std::panic::resume_unwind(Box::new("a bug")),
                _ => Ok(FunctionOutcome::Keep),
            }
        };
        batch.iter().map(answer).collect()
    }

    fn memory(&self) -> u64 {
        0
    }
}

/// Functions, with what each version of them counts.
fn plan(stages: usize) -> (Plan, Vec<FunctionVersion>) {
    let version = || FunctionVersion::new(Arc::new(Digits), 1);
    let versions: Vec<_> = (0..stages).map(|_| version()).collect();
    let stage = |version: &FunctionVersion| {
        Arc::new(FunctionStage::new(version.clone(), None)) as Arc<dyn Stage>
    };
    let stages = versions.iter().map(stage).collect();
    (
        Plan::new(1, None, stages, OnRejection::DeadLetter),
        versions,
    )
}

type Numbers = (Vec<StageSnapshot>, Vec<FunctionSnapshot>);

/// What was counted, without the times.
fn numbers((plan, versions): &(Plan, Vec<FunctionVersion>)) -> Numbers {
    let stages = plan.snapshot().into_iter().map(|stage| StageSnapshot {
        busy: Duration::ZERO,
        ..stage
    });
    let versions = versions.iter().map(|version| FunctionSnapshot {
        busy: Duration::ZERO,
        ..version.metrics.snapshot()
    });
    (stages.collect(), versions.collect())
}

fn run_in_place(plan: &Plan, records: Vec<Record>) -> Vec<Ended> {
    assert!(plan.is_in_place());
    let bytes = records.iter().map(Record::size).sum();
    let seen: Vec<_> = records
        .iter()
        .map(|Record { message, time, .. }| {
            seen(&message.subject, &message.headers, &message.payload, *time)
        })
        .collect();
    let ended = plan.run_in_place(&seen, bytes, || records.clone());
    drop(seen);
    let kept = |record| Ended::Stored(vec![record]);
    ended.unwrap_or_else(|| records.into_iter().map(kept).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn ends_as_records_would(stages in 0..4_usize, payloads in prop::collection::vec("[0-7]{0,3}|0{0,3}", 0..12)) {
        let records = || -> Vec<Record> {
            let one = |payload: &String| with_headers(payload.clone(), HeadersBuilder::new().with("Trace", "1"));
            payloads.iter().map(one).collect()
        };
        let (as_records, in_place) = (plan(stages), plan(stages));
        let want = as_records.0.run(records());
        let got = run_in_place(&in_place.0, records());
        prop_assert_eq!(got.iter().map(shown).collect::<Vec<_>>(), want.iter().map(shown).collect::<Vec<_>>());
        for (got, want) in got.iter().zip(&want) {
            if let (Ended::Stored(got), Ended::Stored(want)) = (got, want) {
                prop_assert_eq!(got, want);
            }
        }
        // A batch on which a function fails is asked for again, and so often it is counted.
        if !payloads.iter().any(|payload| payload.contains('6')) {
            prop_assert_eq!(numbers(&in_place), numbers(&as_records));
        }
    }
}

#[test]
fn a_kept_batch_needs_no_records() {
    let (plan, _) = plan(3);
    let message = seen(b"flights.UA", b"", b"0", Timestamp(7));
    let ended = plan.run_in_place(&[message], 11, || unreachable!("nothing but keeps"));
    assert!(ended.is_none());
}

#[test]
fn who_asks_for_more_goes_as_records() {
    let running = |running| plan(1).0.with_running(running).is_in_place();
    assert!(running(Running::default()));
    for other in [
        Running {
            order: Order::Key,
            ..Running::default()
        },
        Running {
            workers: 2,
            ..Running::default()
        },
        Running {
            key: Some("subject".parse().expect("a rule")),
            ..Running::default()
        },
    ] {
        assert!(!running(other));
    }
    let block = |name: &str| HeadersBuilder::new().with(name, "x").build();
    assert!(is_plain(b"") && is_plain(&block("Trace")));
    assert!(!is_plain(&block("Ms-Schema")) && !is_plain(&block("Nats-Trace-Dest")));
}
