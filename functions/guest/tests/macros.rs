//! Goal: what an author writes compiles and answers as the documents say. Method: functions in each form, called
//! natively with the stand-ins for the outside world.

use millstream_guest::prelude::*;
use millstream_guest::testing;
use millstream_guest::web::{Request, Response};
use serde::{Deserialize, Serialize};

mod body {
    use super::*;

    function! { |message: Message| -> Outcome {
        if message.payload.is_empty() { Outcome::Drop } else { Outcome::Keep }
    } }

    #[test]
    fn can_be_called() {
        assert_eq!(process(Message::default()), Outcome::Drop);
        assert_eq!(process(Message::with_payload("x")), Outcome::Keep);
    }
}

#[derive(Debug, Deserialize, Serialize)]
struct Flight {
    carrier: String,
    dep_delay: Option<f64>,
}

/// Uses everything, and `?` on each.
fn everything(message: Message) -> Result<Outcome, Rejection> {
    let flight: Flight = message.json()?;
    if flight.carrier.is_empty() {
        return Err(Rejection::new("no_carrier", "whose flight is this?").at("/carrier"));
    }
    let seen: u64 = bucket::get_json(&flight.carrier)?.unwrap_or(0);
    bucket::set_json(&flight.carrier, &(seen + 1))?;
    let airline: Option<String> = stations::value_json("airlines", &flight.carrier)?;
    let before = stations::last("flights", &message.subject)?.map(|entry| entry.sequence);
    log::info!("{} is {airline:?}, before it {before:?}", flight.carrier);
    let answer = web::fetch(&Request::get("https://example.org/").header("accept", "*/*"))?;
    if answer.status != 200 {
        return Ok(Outcome::Retry(1000));
    }
    Ok(vec![
        Output::new(answer.body),
        Output::json(&flight)?.to("flights.seen"),
    ]
    .into())
}

#[derive(Default)]
struct Everything;

impl Function for Everything {
    fn process(&mut self, message: Message) -> Outcome {
        everything(message).into()
    }
}

function!(everything);

fn call(payload: &str) -> Outcome {
    let message = Message {
        subject: "flights.UA".to_owned(),
        ..Message::with_payload(payload)
    };
    Everything.process(message)
}

fn rejected(payload: &str) -> (String, Option<String>) {
    match call(payload) {
        Outcome::Reject(why) => (why.code, why.path),
        other => panic!("{other:?}"),
    }
}

#[test]
fn errors_become_rejections() {
    assert_eq!(rejected("{").0, "not_json");
    assert_eq!(rejected(r#"{"carrier":7}"#).0, "wrong_shape");
    let place = Some("/carrier".to_owned());
    assert_eq!(
        rejected(r#"{"carrier":""}"#),
        ("no_carrier".to_owned(), place)
    );
    assert_eq!(rejected(r#"{"carrier":"U A"}"#).0, "bucket");
    testing::put_value("airlines", "UA", "United");
    assert_eq!(rejected(r#"{"carrier":"UA"}"#).0, "stations", "no JSON");
    testing::put_value("airlines", "UA", r#""United""#);
    assert_eq!(rejected(r#"{"carrier":"UA"}"#).0, "web", "nobody answers");
}

#[test]
fn the_outside_world_can_be_set_up_and_read() {
    testing::put_value("airlines", "UA", r#""United""#);
    let entry = stations::Entry {
        sequence: 7,
        ..stations::Entry::default()
    };
    testing::put_last("flights", "flights.UA", entry);
    testing::answer("https://example.org/", Response::new(200, "yes"));
    let flight = r#"{"carrier":"UA","dep_delay":1.0}"#;
    let there = Outcome::Emit(vec![
        Output::new("yes"),
        Output::new(flight).to("flights.seen"),
    ]);
    assert_eq!((call(flight), call(flight)), (there.clone(), there));
    assert_eq!(testing::bucket()["UA"], b"2");
    let line = "UA is Some(\"United\"), before it Some(7)";
    assert_eq!(testing::log_lines()[1], (log::Level::Info, line.to_owned()));
    assert_eq!(testing::log_lines(), []);
    assert_eq!(testing::requests()[0].headers.len(), 1);

    testing::answer("https://example.org/", Response::new(503, ""));
    assert_eq!(call(flight), Outcome::Retry(1000));
    bucket::delete("UA").expect("a key");
    assert_eq!(bucket::get("UA"), Ok(None));
    testing::reset();
    assert_eq!(stations::value("airlines", "UA"), Ok(None));
}

#[test]
fn keys_and_values_have_the_rules_of_the_server() {
    for key in ["a", "a.b", "-/_=", "N14228"] {
        assert_eq!(bucket::set(key, "x"), Ok(()), "{key}");
    }
    for key in ["", ".", ".a", "a.", "a b", "a*", "a>", "ä"] {
        assert!(bucket::set(key, "x").is_err(), "{key}");
        assert!(bucket::get(key).is_err(), "{key}");
        assert!(bucket::delete(key).is_err(), "{key}");
    }
    assert_eq!(bucket::set("a", vec![0; 1 << 20]), Ok(()));
    assert!(bucket::set("a", vec![0; (1 << 20) + 1]).is_err());
}

#[test]
fn what_cannot_be_written_is_rejected() {
    let odd = std::collections::BTreeMap::from([((1, 2), 3)]);
    let Outcome::Reject(why) = Outcome::json(&odd) else {
        panic!("a map with such keys is no JSON");
    };
    assert_eq!(why.code, "unwritable");
}
