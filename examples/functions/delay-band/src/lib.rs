//! Says of each flight whether it left early, on time or late, and turns away flights that cannot have happened.
//!
//! Configuration: `late_after_minutes`, 15 when it is not set.

use millstream_guest::{Config, Function, Message, Outcome, export};
use serde_json::{Map, Value};

/// Faster than any airliner, tail wind included; what is above it is a typing error in distance or air time.
const TOP_SPEED_MPH: f64 = 700.0;

/// The function and its configuration.
#[derive(Debug)]
pub struct DelayBand {
    late_after_minutes: f64,
}

impl Default for DelayBand {
    fn default() -> Self {
        Self {
            late_after_minutes: 15.0,
        }
    }
}

impl Function for DelayBand {
    fn configure(&mut self, config: &Config) -> Result<(), String> {
        self.late_after_minutes = config.get_or("late_after_minutes", self.late_after_minutes)?;
        if !self.late_after_minutes.is_finite() || self.late_after_minutes < 0.0 {
            return Err("`late_after_minutes` must be zero or more".to_owned());
        }
        config.none_left()
    }

    fn process(&mut self, message: Message) -> Outcome {
        let mut flight: Map<String, Value> = match serde_json::from_slice(&message.payload) {
            Ok(flight) => flight,
            Err(error) => {
                return Outcome::reject("not_a_flight", format!("no JSON object: {error}"));
            }
        };
        if let Some(mph) = speed(&flight).filter(|mph| *mph > TOP_SPEED_MPH) {
            let reason =
                format!("distance and air_time make {mph:.0} mph, more than {TOP_SPEED_MPH} mph");
            return Outcome::reject("impossible_speed", reason);
        }
        // A cancelled flight never left: there is no delay to speak of.
        let Some(delay) = flight.get("dep_delay").and_then(Value::as_f64) else {
            return Outcome::Keep;
        };
        flight.insert("band".to_owned(), self.band(delay).into());
        Outcome::replace(Value::Object(flight).to_string())
    }
}

impl DelayBand {
    fn band(&self, delay_minutes: f64) -> &'static str {
        if delay_minutes < 0.0 {
            "early"
        } else if delay_minutes < self.late_after_minutes {
            "on_time"
        } else {
            "late"
        }
    }
}

/// Miles per hour over the whole flight, when distance (miles) and air time (minutes) are known.
fn speed(flight: &Map<String, Value>) -> Option<f64> {
    let miles = flight.get("distance")?.as_f64()?;
    let minutes = flight.get("air_time")?.as_f64()?;
    Some(miles * 60.0 / minutes)
}

export!(DelayBand);

#[cfg(test)]
mod tests {
    use super::{Config, DelayBand, Function, Message, Outcome};

    fn check(payload: &str, expect: Outcome) {
        assert_eq!(
            DelayBand::default().process(Message::with_payload(payload)),
            expect,
            "{payload}"
        );
    }

    #[test]
    fn bands() {
        for (delay, band) in [
            ("-1", "early"),
            ("0", "on_time"),
            ("14.9", "on_time"),
            ("15", "late"),
        ] {
            check(
                &format!(r#"{{"dep_delay":{delay},"carrier":"UA"}}"#),
                Outcome::replace(format!(
                    r#"{{"dep_delay":{delay},"carrier":"UA","band":"{band}"}}"#
                )),
            );
        }
    }

    #[test]
    fn cancelled_flights_are_kept() {
        check(
            r#"{"dep_delay":null,"air_time":null,"distance":1400}"#,
            Outcome::Keep,
        );
    }

    #[test]
    fn the_impossible_is_rejected() {
        check(
            r#"{"dep_delay":2,"air_time":60,"distance":1400}"#,
            Outcome::reject(
                "impossible_speed",
                "distance and air_time make 1400 mph, more than 700 mph",
            ),
        );
        check(
            r#"{"dep_delay":2,"air_time":0,"distance":1400}"#,
            Outcome::reject(
                "impossible_speed",
                "distance and air_time make inf mph, more than 700 mph",
            ),
        );
    }

    #[test]
    fn configuration_is_checked() {
        let configure = |name: &str, value: &str| {
            DelayBand::default().configure(&Config::new(vec![(name.to_owned(), value.to_owned())]))
        };
        assert_eq!(configure("late_after_minutes", "30"), Ok(()));
        assert!(configure("late_after_minutes", "soon").is_err());
        assert!(configure("late_after_minutes", "-1").is_err());
        assert!(configure("late_after", "30").is_err());
    }
}
