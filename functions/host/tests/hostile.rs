//! Goal: whatever one message makes a guest do, that message alone gets the right fault, within the limits, and the
//! messages around it get what they would have got without it. Method: a hand-written guest that misbehaves on
//! command, alone, in the middle of a batch, and in random batches compared with a table.

mod common;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use common::{host, load, manifest, message};
use cpu_time::ThreadTime;
use millstream_function_api::{
    Fault, FaultCode, Function, FunctionMessage, FunctionOutcome, Output,
};
use proptest::prelude::*;

const TIMEOUT: Duration = Duration::from_millis(300);
const GOOD: &[u8] = b"kPFZYJ";
const HOSTILE: &[(u8, FaultCode, &str)] = &[
    (
        b'L',
        FaultCode::Timeout,
        "computed longer than the 300ms it has",
    ),
    (b'T', FaultCode::Trap, "panicked or aborted"),
    (b'S', FaultCode::Trap, "overflowed its stack"),
    (
        b'M',
        FaultCode::Memory,
        "asked for more than the 16.0 MiB of memory it has",
    ),
    (b'N', FaultCode::Trap, "out of bounds memory access"),
    (
        b'O',
        FaultCode::OutputLimit,
        "answered more than the 4.0 MiB allowed for one message",
    ),
    (
        b'A',
        FaultCode::OutputLimit,
        "answered more than the 4.0 MiB allowed for one message",
    ),
    (
        b'R',
        FaultCode::OutputLimit,
        "answered 5000 messages for one, 1000 are allowed",
    ),
    (
        b'W',
        FaultCode::WrongCount,
        "answered 0 outcomes for 1 messages",
    ),
    (b'X', FaultCode::BadOutput, "answered with subject `a.*`"),
    (
        b'H',
        FaultCode::BadOutput,
        "answered with header `x\\r\\ny`",
    ),
    (b'B', FaultCode::BadOutput, "broke the calling convention"),
    (b'D', FaultCode::BadOutput, "broke the calling convention"),
    (b'U', FaultCode::BadOutput, "broke the calling convention"),
];

fn guest(timeout: Duration) -> Arc<dyn Function> {
    let wasm = wat::parse_str(include_str!("fixtures/guest.wat")).expect("well formed");
    load(&host(), &wasm, &manifest(timeout)).expect("it loads")
}

fn command(byte: u8) -> FunctionMessage<'static> {
    message(vec![byte, b'-', b'1'])
}

fn expect_good(byte: u8) -> FunctionOutcome {
    match byte {
        b'P' => FunctionOutcome::Replace(Output {
            payload: Bytes::from_static(b"P-1"),
            ..Output::default()
        }),
        b'F' => FunctionOutcome::Emit(vec![
            Output::default(),
            Output {
                subject: Some(Bytes::from_static(b"copies.one")),
                ..Output::default()
            },
        ]),
        b'Z' => FunctionOutcome::Drop,
        b'Y' => FunctionOutcome::Retry(Duration::from_millis(250)),
        b'J' => FunctionOutcome::Reject {
            code: "bad_flight".to_owned(),
            reason: "it never flew".to_owned(),
            path: None,
        },
        _ => FunctionOutcome::Keep,
    }
}

fn check(byte: u8, answer: &Result<FunctionOutcome, Fault>) {
    let Some((_, code, reason)) = HOSTILE.iter().find(|(hostile, ..)| *hostile == byte) else {
        assert_eq!(answer, &Ok(expect_good(byte)), "{}", byte as char);
        return;
    };
    let fault = answer.as_ref().expect_err("a fault");
    assert_eq!(fault.code, *code, "{}: {fault}", byte as char);
    assert!(
        fault.reason.starts_with(reason),
        "{}: {fault}",
        byte as char
    );
}

#[test]
fn every_outcome_reaches_the_host() {
    let batch: Vec<_> = GOOD.iter().map(|byte| command(*byte)).collect();
    let answers = guest(TIMEOUT).process(&batch);
    assert_eq!(answers.len(), batch.len());
    for (byte, answer) in GOOD.iter().zip(&answers) {
        check(*byte, answer);
    }
    assert!(guest(TIMEOUT).process(&[]).is_empty());
}

#[test]
fn one_bad_message_never_spoils_its_batch() {
    let guest = guest(TIMEOUT);
    for (bad, ..) in HOSTILE {
        let bytes = [b'k', b'P', *bad, b'k', b'J'];
        let batch: Vec<_> = bytes.iter().map(|byte| command(*byte)).collect();
        let began = ThreadTime::now();
        let answers = guest.process(&batch);
        let took = began.elapsed();
        assert!(took < 8 * TIMEOUT, "{} took {took:?}", *bad as char);
        assert_eq!(answers.len(), bytes.len());
        for (byte, answer) in bytes.iter().zip(&answers) {
            check(*byte, answer);
        }
        // And alone, where there is nothing to split.
        check(*bad, &guest.process(&[command(*bad)])[0]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Without the loop, which would make it slow, any mixture answers message by message as the table says.
    #[test]
    fn any_mixture(kinds in prop::collection::vec(0usize..200, 1..400)) {
        let hostile = &HOSTILE[1..];
        let byte = |kind: usize| match kind {
            0..13 => hostile[kind].0,
            _ => GOOD[kind % GOOD.len()],
        };
        let bytes: Vec<u8> = kinds.into_iter().map(byte).collect();
        let batch: Vec<_> = bytes.iter().map(|byte| command(*byte)).collect();
        let answers = shared().process(&batch);
        prop_assert_eq!(answers.len(), bytes.len());
        for (byte, answer) in bytes.iter().zip(&answers) {
            check(*byte, answer);
        }
    }
}

fn shared() -> Arc<dyn Function> {
    static SHARED: std::sync::OnceLock<Arc<dyn Function>> = std::sync::OnceLock::new();
    Arc::clone(SHARED.get_or_init(|| guest(Duration::from_secs(10))))
}

#[test]
fn a_guest_that_always_loops_is_given_up() {
    let batch = vec![command(b'L'); 1000];
    let answers = guest(Duration::from_millis(20)).process(&batch);
    assert_eq!(answers.len(), 1000);
    let faults = answers
        .iter()
        .map(|answer| answer.as_ref().expect_err("a fault"));
    assert!(faults.clone().all(|fault| fault.code == FaultCode::Timeout));
    let (tried, not_tried): (Vec<_>, Vec<_>) =
        faults.partition(|fault| fault.reason.starts_with("computed longer"));
    assert!(
        (1..=16).contains(&tried.len()),
        "{} were tried",
        tried.len()
    );
    let reason = "not tried: messages before it in its batch failed and took 320ms";
    assert!(
        not_tried.iter().all(|fault| fault.reason == reason),
        "{:?}",
        not_tried[0]
    );
}

#[test]
fn a_guest_that_always_traps_is_not_given_up() {
    let batch = vec![command(b'T'); 1000];
    for answer in guest(TIMEOUT).process(&batch) {
        check(b'T', &answer);
    }
}

#[test]
fn much_work_is_no_fault() {
    // Some seconds for all, some milliseconds for each: too much for one call, fine in smaller ones.
    let batch = vec![command(b'C'); 300];
    let answers = guest(Duration::from_millis(600)).process(&batch);
    assert_eq!(answers, vec![Ok(FunctionOutcome::Keep); 300]);
}

#[test]
fn batches_larger_than_the_guest_are_cut() {
    let large = message(vec![b'k'; 1 << 20]);
    let answers = guest(Duration::from_secs(10)).process(&vec![large; 64]);
    assert_eq!(answers, vec![Ok(FunctionOutcome::Keep); 64]);
    // One that cannot fit at all is its own fault.
    let huge = message(vec![b'k'; 17 << 20]);
    let answers = guest(Duration::from_secs(10)).process(&[command(b'k'), huge, command(b'P')]);
    check(b'k', &answers[0]);
    assert_eq!(
        answers[1].as_ref().expect_err("a fault").code,
        FaultCode::Memory
    );
    check(b'P', &answers[2]);
}

#[test]
fn many_threads_share_a_function() {
    let guest = guest(Duration::from_secs(10));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for round in 0..20u8 {
                    let bytes = [b'P', if round % 5 == 0 { b'T' } else { b'J' }, b'k'];
                    let batch: Vec<_> = bytes.iter().map(|byte| command(*byte)).collect();
                    for (byte, answer) in bytes.iter().zip(&guest.process(&batch)) {
                        check(*byte, answer);
                    }
                }
            });
        }
    });
}
