//! Tells when flights of a carrier are late several times in a row. How many it were is in the function's bucket, one
//! key for each carrier, so that a restart or another instance goes on counting.
//!
//! Configuration: `late_after_minutes`, 15 when it is not set; `times`, 3 when it is not set.

use millstream_guest::prelude::*;
use serde::{Deserialize, Serialize};

/// What it reads of a flight.
#[derive(Deserialize)]
struct Flight {
    #[serde(default)]
    carrier: String,
    dep_delay: Option<f64>,
    flight: Option<u32>,
    time_hour: Option<String>,
}

/// What it writes to `alerts.late.<carrier>`.
#[derive(Serialize)]
struct Alert {
    /// The carrier that is late.
    carrier: String,
    /// How many times in a row.
    times: u32,
    /// The flight that made the row full.
    flight: Option<u32>,
    /// When it should have left.
    time_hour: Option<String>,
}

/// The function and its configuration.
#[derive(Debug)]
pub struct Late {
    late_after_minutes: f64,
    times: u32,
}

impl Default for Late {
    fn default() -> Self {
        Self {
            late_after_minutes: 15.0,
            times: 3,
        }
    }
}

impl Function for Late {
    fn configure(&mut self, config: &Config) -> Result<(), String> {
        self.late_after_minutes = config.get_or("late_after_minutes", self.late_after_minutes)?;
        self.times = config.get_or("times", self.times)?;
        if self.times == 0 {
            return Err("`times` must be one or more".to_owned());
        }
        config.none_left()
    }

    fn process(&mut self, message: Message) -> Outcome {
        self.look(message).into()
    }
}

impl Late {
    fn look(&self, message: Message) -> Result<Outcome, Rejection> {
        let flight: Flight = message.json()?;
        // A cancelled flight never left: it neither goes on with a row nor ends it.
        let Some(delay) = flight.dep_delay else {
            return Ok(Outcome::Keep);
        };
        let carrier = flight.carrier;
        if !is_code(&carrier) {
            let reason = format!("`{carrier}` is no carrier: letters and digits only");
            return Err(Rejection::new("bad_carrier", reason).at("/carrier"));
        }
        let before: u32 = bucket::get_json(&carrier)?.unwrap_or(0);
        if delay < self.late_after_minutes {
            if before > 0 {
                bucket::delete(&carrier)?;
            }
            return Ok(Outcome::Keep);
        }
        let times = before.saturating_add(1);
        bucket::set_json(&carrier, &times)?;
        // Once for each row, however long it gets.
        if times != self.times {
            return Ok(Outcome::Keep);
        }
        log::info!("{carrier} was late {times} times in a row");
        let subject = format!("alerts.late.{carrier}");
        let alert = Output::json(&Alert {
            carrier,
            times,
            flight: flight.flight,
            time_hour: flight.time_hour,
        })?;
        Ok(vec![Output::new(message.payload), alert.to(subject)].into())
    }
}

/// Whether a text can be a key and a token of a subject as it is.
fn is_code(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

export!(Late);

#[cfg(test)]
mod tests {
    use millstream_guest::testing;
    use serde_json::json;

    use super::*;

    fn call(late: &mut Late, carrier: &str, delay: i32) -> Outcome {
        let flight = json!({"carrier": carrier, "dep_delay": delay, "flight": 7});
        late.process(Message::with_payload(flight.to_string()))
    }

    #[test]
    fn a_row_is_told_once() {
        let mut late = Late::default();
        let told: Vec<bool> = [20, 20, 20, 20, 2, 20, 20, 20]
            .into_iter()
            .map(|delay| matches!(call(&mut late, "UA", delay), Outcome::Emit(_)))
            .collect();
        let expect = [false, false, true, false, false, false, false, true];
        assert_eq!(told, expect);
        assert_eq!(testing::bucket()["UA"], b"3");
        assert_eq!(testing::log_lines().len(), 2);
    }

    #[test]
    fn carriers_do_not_mix_and_the_alert_says_who() {
        let mut late = Late::default();
        for _ in 0..2 {
            assert_eq!(call(&mut late, "UA", 30), Outcome::Keep);
            assert_eq!(call(&mut late, "AA", 0), Outcome::Keep);
        }
        let Outcome::Emit(outputs) = call(&mut late, "UA", 30) else {
            panic!("the third");
        };
        assert_eq!(outputs[0].subject, None);
        assert_eq!(outputs[1].subject.as_deref(), Some("alerts.late.UA"));
        assert_eq!(testing::bucket().keys().collect::<Vec<_>>(), ["UA"]);
    }

    #[test]
    fn what_has_no_delay_or_carrier() {
        let mut late = Late::default();
        let mut process = |text: &str| late.process(Message::with_payload(text));
        assert_eq!(process(r#"{"dep_delay":null}"#), Outcome::Keep);
        for text in [r#"{"dep_delay":1}"#, r#"{"dep_delay":1,"carrier":"U.A"}"#] {
            assert!(matches!(process(text), Outcome::Reject(why) if why.code == "bad_carrier"));
        }
    }

    #[test]
    fn configuration_is_checked() {
        let configure = |name: &str, value: &str| {
            Late::default().configure(&Config::new(vec![(name.to_owned(), value.to_owned())]))
        };
        assert_eq!(configure("times", "2"), Ok(()));
        assert!(configure("times", "0").is_err());
        assert!(configure("time", "2").is_err());
    }
}
