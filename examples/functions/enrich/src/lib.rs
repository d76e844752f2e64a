//! Writes beside each flight what is known of its plane and its airports: bucket `planes` by `tailnum`, bucket
//! `airports` by `origin` and `dest`. What is not known there stays away.

use millstream_guest::prelude::*;
use serde_json::{Map, Value};

/// Something to look up for each flight.
struct Lookup {
    /// The field of the flight that names the key.
    field: &'static str,
    bucket: &'static str,
    /// Fields of the value, and what they are called in the flight.
    copied: &'static [(&'static str, &'static str)],
}

const LOOKUPS: [Lookup; 3] = [
    Lookup {
        field: "tailnum",
        bucket: "planes",
        copied: &[
            ("manufacturer", "manufacturer"),
            ("model", "model"),
            ("seats", "seats"),
        ],
    },
    Lookup {
        field: "origin",
        bucket: "airports",
        copied: &[("name", "origin_name")],
    },
    Lookup {
        field: "dest",
        bucket: "airports",
        copied: &[("name", "dest_name")],
    },
];

function! { |message: Message| -> Result<Outcome, Rejection> {
    let mut flight: Map<String, Value> = message.json()?;
    for Lookup { field, bucket, copied } in LOOKUPS {
        // A cancelled flight may have no plane.
        let Some(key) = key(&flight, field)? else {
            continue;
        };
        let known: Option<Map<String, Value>> = stations::value_json(bucket, &key)?;
        let Some(mut known) = known else {
            continue;
        };
        for (from, to) in copied {
            flight.insert((*to).to_owned(), known.remove(*from).unwrap_or_default());
        }
    }
    Ok(Outcome::json(&flight))
} }

/// The text of a field that names a key; an error when it can be none, so that the dead letter says where.
fn key(flight: &Map<String, Value>, field: &str) -> Result<Option<String>, Rejection> {
    match flight.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.bytes().all(|byte| byte.is_ascii_alphanumeric()) => {
            Ok((!text.is_empty()).then(|| text.clone()))
        }
        Some(other) => {
            let reason = format!("{other} is no code of letters and digits");
            Err(Rejection::new("bad_code", reason).at(format!("/{field}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use millstream_guest::testing;

    use super::*;

    const FLIGHT: &str = r#"{"carrier":"UA","tailnum":"N14228","origin":"EWR","dest":"IAH"}"#;

    #[test]
    fn what_is_known_is_added() {
        let known = r#"{"manufacturer":"BOEING","model":"737-824","seats":149,"engines":2}"#;
        testing::put_value("planes", "N14228", known);
        testing::put_value(
            "airports",
            "EWR",
            r#"{"name":"Newark Liberty Intl","alt":18}"#,
        );
        let added = r#"{"carrier":"UA","tailnum":"N14228","origin":"EWR","dest":"IAH","manufacturer":"BOEING","model":"737-824","seats":149,"origin_name":"Newark Liberty Intl"}"#;
        assert_eq!(
            process(Message::with_payload(FLIGHT)),
            Ok(Outcome::replace(added))
        );
    }

    #[test]
    fn a_bad_code_is_told_with_its_place() {
        for (flight, path) in [
            (r#"{"tailnum":7}"#, "/tailnum"),
            (r#"{"dest":"a.b"}"#, "/dest"),
        ] {
            let why = process(Message::with_payload(flight)).expect_err("no code");
            assert_eq!(
                (why.code.as_str(), why.path.as_deref()),
                ("bad_code", Some(path))
            );
        }
    }

    #[test]
    fn a_damaged_value_is_an_error_and_not_silence() {
        testing::put_value("planes", "N14228", "{");
        let why = process(Message::with_payload(FLIGHT)).expect_err("damaged");
        assert_eq!(why.code, "stations");
    }
}
