//! Asks another host about each record: posts the record there and writes the JSON answer beside its fields.
//!
//! Configuration: `url`, where to ask; `field`, the field that takes the answer, `answer` when it is not set; `tries`,
//! after how many the record is rejected, 5 when it is not set.

use std::time::Duration;

use millstream_guest::prelude::*;
use millstream_guest::web::Request;
use serde_json::{Map, Value};

/// The first pause before another try; each one after it is twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The function and its configuration.
#[derive(Debug, Default)]
pub struct Probe {
    url: String,
    field: String,
    tries: u32,
}

impl Function for Probe {
    fn configure(&mut self, config: &Config) -> Result<(), String> {
        self.url = config.get_or("url", String::new())?;
        if !self.url.starts_with("http://") && !self.url.starts_with("https://") {
            return Err("`url` must be an address that begins with http:// or https://".to_owned());
        }
        self.field = config.get_or("field", "answer".to_owned())?;
        self.tries = config.get_or("tries", 5)?;
        config.none_left()
    }

    fn process(&mut self, message: Message) -> Outcome {
        self.ask(&message).into()
    }
}

impl Probe {
    fn ask(&self, message: &Message) -> Result<Outcome, Rejection> {
        let mut record: Map<String, Value> = message.json()?;
        let request = Request::post(self.url.as_str(), message.payload.as_slice())
            .header("content-type", "application/json");
        // A host that is away and one that has trouble may both be well in a moment.
        let answer = match web::fetch(&request) {
            Ok(answer) if answer.status >= 500 => {
                return self.later(message, format!("it answered {}", answer.status));
            }
            Ok(answer) => answer,
            Err(error) => return self.later(message, error.reason),
        };
        if answer.status != 200 {
            let reason = format!("`{}` answered {}", self.url, answer.status);
            return Err(Rejection::new("refused", reason));
        }
        let value: Value = serde_json::from_slice(&answer.body).map_err(|error| {
            let reason = format!("the answer of `{}` is no JSON: {error}", self.url);
            Rejection::new("bad_answer", reason)
        })?;
        record.insert(self.field.clone(), value);
        Ok(Outcome::json(&record))
    }

    /// Another try after a pause, or none any more.
    fn later(&self, message: &Message, why: String) -> Result<Outcome, Rejection> {
        if message.deliveries.saturating_add(1) >= self.tries {
            let reason = format!("`{}` was asked {} times: {why}", self.url, self.tries);
            return Err(Rejection::new("unavailable", reason));
        }
        log::warn!("{}: {why}", self.url);
        let pause = FIRST_PAUSE.saturating_mul(2u32.saturating_pow(message.deliveries));
        Ok(Outcome::retry_after(pause.min(LONGEST_PAUSE)))
    }
}

export!(Probe);

#[cfg(test)]
mod tests {
    use millstream_guest::testing;
    use millstream_guest::web::Response;

    use super::*;

    const URL: &str = "https://api.example.org/flight";

    fn probe(config: &[(&str, &str)]) -> Result<Probe, String> {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let mut probe = Probe::default();
        probe.configure(&Config::new(config.iter().map(own).collect()))?;
        Ok(probe)
    }

    fn call(deliveries: u32) -> Outcome {
        let message = Message {
            deliveries,
            ..Message::with_payload(r#"{"dest":"IAH"}"#)
        };
        probe(&[("url", URL), ("tries", "3")])
            .expect("it configures")
            .process(message)
    }

    fn code(outcome: Outcome) -> String {
        match outcome {
            Outcome::Reject(why) => why.code,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_answer_is_added() {
        testing::answer(URL, Response::new(200, r#"{"risk":0.2}"#));
        let added = r#"{"dest":"IAH","answer":{"risk":0.2}}"#;
        assert_eq!(call(0), Outcome::replace(added));
        let asked = testing::requests();
        assert_eq!(
            (asked[0].method.as_str(), asked[0].body.as_slice()),
            ("POST", &br#"{"dest":"IAH"}"#[..])
        );
    }

    #[test]
    fn trouble_is_tried_again_and_then_rejected() {
        assert_eq!(call(0), Outcome::Retry(1000), "nobody is there");
        testing::answer(URL, Response::new(503, ""));
        assert_eq!(
            (call(0), call(1)),
            (Outcome::Retry(1000), Outcome::Retry(2000))
        );
        assert_eq!(code(call(2)), "unavailable");
    }

    #[test]
    fn what_no_other_try_mends_is_rejected() {
        testing::answer(URL, Response::new(404, ""));
        assert_eq!(code(call(0)), "refused");
        testing::answer(URL, Response::new(200, "<html>"));
        assert_eq!(code(call(0)), "bad_answer");
    }

    #[test]
    fn configuration_is_checked() {
        assert!(probe(&[]).is_err());
        assert!(probe(&[("url", "ftp://example.org")]).is_err());
        assert!(probe(&[("url", URL), ("feild", "x")]).is_err());
    }
}
