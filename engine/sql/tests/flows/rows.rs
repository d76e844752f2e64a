//! Rows in a form in which they can be compared, and what two sets of them differ in.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use millstream_types::Timestamp;
use serde_json::{Number, Value};

use crate::data::Row;

/// Rows that differ less than this are the same, as a part of the value: the order of summation may differ.
const CLOSE: f64 = 1e-9;

/// Members that are null are left out, times are times in UTC, whole numbers have no point.
pub(crate) fn canonical(row: &Row) -> Row {
    let members = row.iter().filter(|(_, value)| !value.is_null());
    let mut members: Vec<_> = members
        .map(|(name, value)| (name.clone(), plain(value)))
        .collect();
    members.sort_by(|(a, _), (b, _)| a.cmp(b));
    members.into_iter().collect()
}

fn plain(value: &Value) -> Value {
    match value {
        Value::String(text) => match time(text) {
            Some(time) => Value::from(time.to_rfc3339()),
            None => value.clone(),
        },
        Value::Number(number) => Value::Number(whole(number)),
        Value::Array(values) => values.iter().map(plain).collect(),
        Value::Object(row) => Value::Object(canonical(row)),
        other => other.clone(),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "only of numbers below 2^53"
)]
fn whole(number: &Number) -> Number {
    match number.as_f64() {
        Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() < 9e15 => {
            Number::from(float as i64)
        }
        _ => number.clone(),
    }
}

fn time(text: &str) -> Option<Timestamp> {
    // Only what looks like a time: a year and a day.
    if text.len() < 19 || text.as_bytes()[4] != b'-' {
        return None;
    }
    let text = text.replacen(' ', "T", 1);
    Timestamp::parse_rfc3339(&text).or_else(|| Timestamp::parse_rfc3339(&format!("{text}Z")))
}

/// Rows and how often each is there, which may be less than never.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bag(BTreeMap<String, (Row, i64)>);

impl Bag {
    pub(crate) fn of<'a>(rows: impl IntoIterator<Item = &'a Row>) -> Self {
        let mut bag = Self::default();
        for row in rows {
            bag.add(row, 1);
        }
        bag
    }

    /// How often the row is there now.
    pub(crate) fn add(&mut self, row: &Row, times: i64) -> i64 {
        let row = canonical(row);
        let text = Value::Object(row.clone()).to_string();
        let entry = self.0.entry(text.clone()).or_insert((row, 0));
        entry.1 += times;
        let now = entry.1;
        if now == 0 {
            self.0.remove(&text);
        }
        now
    }

    /// What is expected and not there, and the other way round; `None` when nothing is.
    pub(crate) fn difference(expected: &Self, got: &Self, tolerance: f64) -> Option<String> {
        let mut rest = expected.clone();
        for (row, times) in got.0.values() {
            rest.add(row, -times);
        }
        let each = |sign: i64| -> Vec<Row> {
            let rows = rest.0.values().filter(|(_, times)| times * sign > 0);
            rows.flat_map(|(row, times)| {
                vec![row.clone(); usize::try_from(times.abs()).unwrap_or(0)]
            })
            .collect()
        };
        let (missing, mut extra) = (each(1), each(-1));
        let mut lost = Vec::new();
        for row in missing {
            match extra
                .iter()
                .position(|other| close(&row, other, tolerance.max(CLOSE)))
            {
                Some(index) => drop(extra.swap_remove(index)),
                None => lost.push(row),
            }
        }
        if lost.is_empty() && extra.is_empty() {
            return None;
        }
        let mut text = String::new();
        for (what, rows) in [("missing", lost), ("too much", extra)] {
            for row in rows.iter().take(8) {
                let _ = writeln!(text, "  {what}: {}", Value::Object(row.clone()));
            }
            if rows.len() > 8 {
                let _ = writeln!(text, "  {what}: {} more", rows.len() - 8);
            }
        }
        Some(text)
    }
}

fn close(a: &Row, b: &Row, tolerance: f64) -> bool {
    a.len() == b.len()
        && a.iter().all(|(name, a)| {
            b.get(name).is_some_and(|b| match (a.as_f64(), b.as_f64()) {
                (Some(a), Some(b)) => (a - b).abs() <= tolerance * a.abs().max(b.abs()),
                _ => a == b,
            })
        })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Bag, Row};

    fn row(value: serde_json::Value) -> Row {
        value.as_object().cloned().unwrap()
    }

    #[test]
    fn what_is_the_same_and_what_is_not() {
        let same = |a, b| Bag::difference(&Bag::of([&row(a)]), &Bag::of([&row(b)]), 0.0).is_none();
        assert!(same(json!({"a": 1, "b": null}), json!({"a": 1.0})));
        assert!(same(
            json!({"t": "2024-01-01T00:00:00Z"}),
            json!({"t": "2024-01-01T00:00:00.000+00:00"})
        ));
        assert!(same(
            json!({"t": "2024-01-01 00:00:00"}),
            json!({"t": "2024-01-01T01:00:00+01:00"})
        ));
        assert!(same(json!({"f": 0.1}), json!({"f": 0.100_000_000_000_01})));
        assert!(!same(json!({"f": 0.1}), json!({"f": 0.100_1})));
        assert!(!same(json!({"a": 1}), json!({"a": "1"})));
        assert!(!same(json!({"a": i64::MAX}), json!({"b": i64::MAX})));
        assert!(!same(json!({"a": 1}), json!({"a": 1, "b": 0})));
        let twice = Bag::of([&row(json!({"a": 1})), &row(json!({"a": 1}))]);
        assert!(Bag::difference(&twice, &Bag::of([&row(json!({"a": 1}))]), 0.0).is_some());
    }
}
