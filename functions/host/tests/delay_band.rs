//! Goal: the committed `delay_band.wasm` is what its source says. Method: the source runs natively beside it over
//! many flights, possible and impossible, and every outcome must be the same. When this fails after a change of the
//! source, build the module again as the example's README says.

mod common;

use std::time::Duration;

use bytes::Bytes;
use common::{host, load, manifest, message};
use delay_band::DelayBand;
use millstream_function_api::{FunctionOutcome, LoadError, Output};
use millstream_guest::{Config, Function as _, Message, Outcome};
use proptest::prelude::*;

const WASM: &[u8] = include_bytes!("../../../examples/functions/delay-band/delay_band.wasm");

fn native(config: &[(&str, &str)], payloads: &[Vec<u8>]) -> Vec<FunctionOutcome> {
    let config = config
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let mut function = DelayBand::default();
    function
        .configure(&Config::new(config.collect()))
        .expect("it loads");
    payloads
        .iter()
        .map(|payload| translate(function.process(Message::with_payload(payload.as_slice()))))
        .collect()
}

fn translate(outcome: Outcome) -> FunctionOutcome {
    match outcome {
        Outcome::Keep => FunctionOutcome::Keep,
        Outcome::Replace(output) => FunctionOutcome::Replace(Output {
            payload: Bytes::from(output.payload),
            ..Output::default()
        }),
        Outcome::Reject(why) => FunctionOutcome::Reject {
            code: why.code,
            reason: why.reason,
            path: why.path,
        },
        other => panic!("delay-band never answers {other:?}"),
    }
}

fn sandboxed(config: &[(&str, &str)], payloads: &[Vec<u8>]) -> Vec<FunctionOutcome> {
    let mut manifest = manifest(Duration::from_secs(30));
    manifest.config = config
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    let batch: Vec<_> = payloads
        .iter()
        .map(|payload| message(payload.clone()))
        .collect();
    let answers = load(shared_host(), WASM, &manifest)
        .expect("it loads")
        .process(&batch);
    answers
        .into_iter()
        .map(|answer| answer.expect("no fault"))
        .collect()
}

/// One for all tests, so that the module is compiled once.
fn shared_host() -> &'static millstream_function_host::WasmtimeHost {
    static HOST: std::sync::OnceLock<millstream_function_host::WasmtimeHost> =
        std::sync::OnceLock::new();
    HOST.get_or_init(host)
}

fn flight() -> impl Strategy<Value = Vec<u8>> {
    let number = || {
        prop_oneof![
            Just("null".to_owned()),
            (-60i32..400).prop_map(|n| n.to_string()),
            (-10f64..50.0).prop_map(|n| n.to_string())
        ]
    };
    let flight = (number(), number(), number()).prop_map(|(delay, air_time, distance)| {
        format!(r#"{{"year":2013,"dep_delay":{delay},"carrier":"UA","tailnum":"N14228","air_time":{air_time},"distance":{distance},"time_hour":"2013-01-01T10:00:00Z"}}"#)
            .into_bytes()
    });
    prop_oneof![9 => flight, 1 => prop::collection::vec(any::<u8>(), 0..40)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn module_and_source_agree(flights in prop::collection::vec(flight(), 1..120), late in prop::option::of(0u8..60)) {
        let late = late.map(|minutes| minutes.to_string());
        let config: Vec<(&str, &str)> = late.iter().map(|text| ("late_after_minutes", text.as_str())).collect();
        prop_assert_eq!(sandboxed(&config, &flights), native(&config, &flights));
    }
}

#[test]
fn a_flight_of_each_kind() {
    let on_time = br#"{"year":2013,"dep_delay":2,"air_time":227,"distance":1400}"#.to_vec();
    let cancelled = br#"{"year":2013,"dep_delay":null,"air_time":null,"distance":1400}"#.to_vec();
    let impossible = br#"{"year":2013,"dep_delay":2,"air_time":20,"distance":1400}"#.to_vec();
    let banded = Bytes::from_static(
        br#"{"year":2013,"dep_delay":2,"air_time":227,"distance":1400,"band":"on_time"}"#,
    );
    assert_eq!(
        sandboxed(&[], &[on_time, cancelled, impossible]),
        [
            FunctionOutcome::Replace(Output {
                payload: banded,
                ..Output::default()
            }),
            FunctionOutcome::Keep,
            FunctionOutcome::Reject {
                code: "impossible_speed".to_owned(),
                reason: "distance and air_time make 4200 mph, more than 700 mph".to_owned(),
                path: None,
            },
        ]
    );
}

#[test]
fn a_bad_configuration_is_refused_in_the_guests_words() {
    let mut manifest = manifest(Duration::from_secs(30));
    manifest
        .config
        .insert("late_after".to_owned(), "30".to_owned());
    let error = load(shared_host(), WASM, &manifest).expect_err("misspelt");
    let reason = "unknown configuration `late_after`; known: `late_after_minutes`".to_owned();
    assert_eq!(error, LoadError::Configure { reason });
}
