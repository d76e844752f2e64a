//! From the binary encoding to a [`Value`].

use super::cursor::Cursor;
use super::table::{Id, Kind, Logical, Table, Type};
use super::walk::{each, index};
use crate::fault::{Fault, fault};
use crate::{Instant, Unit, Value};

/// What the text forms can say (RFC 3339): the years 0 to 9999, and times within a day. Values outside stay numbers.
const DAYS: std::ops::Range<i32> = -719_528..2_932_897;
const SECONDS: std::ops::Range<i64> = DAYS.start as i64 * 86_400..DAYS.end as i64 * 86_400;
/// Longest decimal that is read as one: its text has up to 10,000 digits, and writing more would take long.
pub(super) const MAX_DECIMAL: usize = 4_096;
/// Nanoseconds.
const DAY: i64 = 86_400_000_000_000;

impl Table {
    pub(super) fn decode(&self, payload: &[u8]) -> Result<Value, Fault> {
        // What the walk refuses costs no memory here.
        self.check(payload)?;
        self.value(self.root, &mut Cursor::new(payload))
    }

    fn value(&self, id: Id, cursor: &mut Cursor<'_>) -> Result<Value, Fault> {
        let Type { kind, logical } = self.get(id);
        Ok(match kind {
            Kind::Null => Value::Null,
            Kind::Boolean => Value::Bool(cursor.take(1, "boolean")? == [1]),
            Kind::Int => from_int(cursor.int()?, *logical),
            Kind::Long => from_long(cursor.long()?, *logical),
            Kind::Float => {
                let bytes = cursor.take(4, "a float")?;
                Value::Float(f32::from_le_bytes(bytes.try_into().unwrap_or_default()))
            }
            Kind::Double => {
                let bytes = cursor.take(8, "a double")?;
                Value::Double(f64::from_le_bytes(bytes.try_into().unwrap_or_default()))
            }
            Kind::Bytes => from_bytes(cursor.sized("bytes")?, *logical),
            Kind::Fixed(fixed) => from_bytes(cursor.take(fixed.size, "a fixed")?, *logical),
            Kind::String => from_text(cursor.text()?, *logical)?,
            Kind::Enum(symbols) => {
                let number = index(cursor, symbols.symbols.len(), "symbol")?;
                Value::String(symbols.symbols[number].clone())
            }
            Kind::Union(branches) => {
                let number = index(cursor, branches.len(), "branch")?;
                let branch = branches[number];
                let value = self.value(branch, cursor)?;
                if value == Value::Null || self.plain(branches) {
                    value
                } else {
                    Value::Object(vec![(self.word(branch).to_owned(), value)])
                }
            }
            Kind::Record(record) => {
                let mut members = Vec::with_capacity(record.fields.len());
                for field in &record.fields {
                    // JSON's own null is a value; the union's null stands for nothing.
                    let start = cursor.rest;
                    let value = self.value(field.id, cursor)?;
                    let nothing = value == Value::Null && start.len() - cursor.rest.len() <= 1;
                    if !(field.optional && nothing) {
                        members.push((field.label.clone(), value));
                    }
                }
                Value::Object(members)
            }
            Kind::Array(items) => {
                let mut list = Vec::new();
                each(cursor, |cursor, _| {
                    list.push(self.value(*items, cursor)?);
                    Ok(())
                })?;
                Value::List(list)
            }
            Kind::Map(values) => {
                let mut members: Vec<(String, Value)> = Vec::new();
                each(cursor, |cursor, _| {
                    let key = cursor.text()?.to_owned();
                    members.push((key, self.value(*values, cursor)?));
                    Ok(())
                })?;
                Value::Object(last_of_each(members))
            }
        })
    }

    /// Whether a value says by itself which branch it is: there is only one beside null.
    pub(super) fn plain(&self, branches: &[Id]) -> bool {
        let null = |id: &&Id| !matches!(self.get(**id).kind, Kind::Null);
        branches.iter().filter(null).count() <= 1
    }

    /// What a branch is called in Avro's JSON encoding.
    pub(super) fn word(&self, id: Id) -> &str {
        match &self.get(id).kind {
            Kind::Null => "null",
            Kind::Boolean => "boolean",
            Kind::Int => "int",
            Kind::Long => "long",
            Kind::Float => "float",
            Kind::Double => "double",
            Kind::Bytes => "bytes",
            Kind::String => "string",
            Kind::Array(_) => "array",
            Kind::Map(_) => "map",
            Kind::Union(_) => "union",
            Kind::Record(record) => &record.name.full,
            Kind::Enum(symbols) => &symbols.name.full,
            Kind::Fixed(fixed) => &fixed.name.full,
        }
    }
}

/// A map may say a key twice; the last one counts, where the first one stood.
fn last_of_each(members: Vec<(String, Value)>) -> Vec<(String, Value)> {
    let mut places = std::collections::HashMap::with_capacity(members.len());
    let mut unique: Vec<(String, Value)> = Vec::with_capacity(members.len());
    for (key, value) in members {
        match places.get(&key) {
            Some(place) => {
                let place: &usize = place;
                unique[*place].1 = value;
            }
            None => {
                places.insert(key.clone(), unique.len());
                unique.push((key, value));
            }
        }
    }
    unique
}

fn from_int(number: i32, logical: Option<Logical>) -> Value {
    match logical {
        Some(Logical::Date) if DAYS.contains(&number) => Value::Date(number),
        Some(Logical::Time(unit)) => from_time(number.into(), unit),
        _ => Value::Int(number.into()),
    }
}

fn from_long(number: i64, logical: Option<Logical>) -> Value {
    let sayable = |at: &Instant| SECONDS.contains(&at.seconds);
    match logical {
        Some(Logical::Time(unit)) => from_time(number, unit),
        Some(Logical::Timestamp(unit)) => Some(instant(number, unit))
            .filter(sayable)
            .map_or(Value::Int(number), Value::Timestamp),
        Some(Logical::LocalTimestamp(unit)) => Some(instant(number, unit))
            .filter(sayable)
            .map_or(Value::Int(number), Value::LocalTimestamp),
        _ => Value::Int(number),
    }
}

fn from_time(number: i64, unit: Unit) -> Value {
    let nanos = number.checked_mul(1_000_000_000 / per_second(unit));
    match nanos {
        Some(nanos) if (0..DAY).contains(&nanos) => Value::Time(nanos),
        _ => Value::Int(number),
    }
}

pub(super) fn per_second(unit: Unit) -> i64 {
    match unit {
        Unit::Millis => 1_000,
        Unit::Micros => 1_000_000,
        Unit::Nanos => 1_000_000_000,
    }
}

pub(super) fn instant(number: i64, unit: Unit) -> Instant {
    let per = per_second(unit);
    let nanos = number.rem_euclid(per) * (1_000_000_000 / per);
    Instant {
        seconds: number.div_euclid(per),
        nanos: u32::try_from(nanos).unwrap_or(0),
    }
}

fn from_bytes(bytes: &[u8], logical: Option<Logical>) -> Value {
    match logical {
        Some(Logical::Decimal { scale, .. }) if (1..=MAX_DECIMAL).contains(&bytes.len()) => {
            Value::Decimal {
                unscaled: bytes.to_vec(),
                scale,
            }
        }
        Some(Logical::Uuid) => Value::String(uuid_text(bytes)),
        Some(Logical::Duration) => {
            let part = |at: usize| {
                let bytes = bytes.get(at..at + 4).and_then(|part| part.try_into().ok());
                u32::from_le_bytes(bytes.unwrap_or_default())
            };
            Value::Period {
                months: part(0),
                days: part(4),
                millis: part(8),
            }
        }
        _ => Value::Bytes(bytes.to_vec()),
    }
}

fn uuid_text(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(36);
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

fn from_text(text: &str, logical: Option<Logical>) -> Result<Value, Fault> {
    match logical {
        Some(Logical::Json) => match serde_json::from_str::<serde_json::Value>(text) {
            Ok(document) => Ok(document.into()),
            Err(error) => fault("format", "JSON text", error.to_string()),
        },
        Some(Logical::UInt64) => match text.parse::<u64>() {
            Ok(number) => Ok(i64::try_from(number).map_or(Value::UInt(number), Value::Int)),
            Err(_) => fault("format", "a whole number without a sign", text),
        },
        _ => Ok(Value::String(text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::{DAY, DAYS, SECONDS};
    use crate::{Instant, text};

    #[test]
    fn ranges_are_those_of_the_text_forms() {
        let said = |seconds| text::timestamp(Instant { seconds, nanos: 0 }).is_some();
        assert!(said(SECONDS.start) && !said(SECONDS.start - 1));
        assert!(said(SECONDS.end - 1) && !said(SECONDS.end));
        let said = |days| text::date(days).is_some();
        assert!(said(DAYS.start) && !said(DAYS.start - 1));
        assert!(said(DAYS.end - 1) && !said(DAYS.end));
        assert!(text::time(DAY - 1).is_some() && text::time(DAY).is_none());
    }
}
