//! A payload's bytes straight into cells, without a tree between.

use std::borrow::Cow;
use std::fmt;

use millstream_pipeline::ColumnKind;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{Origin, Scan, mismatch, no_object};
use crate::cell::{self, Cell, Loose};
use crate::program::Refusal;

/// Fills the cells of the members that `scan` reads. Of members with the same name the last one counts.
pub(super) fn from_bytes<'a>(
    scan: &Scan,
    payload: &'a [u8],
    cells: &mut [Option<Cell<'a>>],
) -> Result<(), Refusal> {
    let mut json = serde_json::Deserializer::from_slice(payload);
    let row = Row { scan, cells }
        .deserialize(&mut json)
        .and_then(|row| json.end().map(|()| row));
    match row {
        Err(error) => Err(no_json(payload, &error)),
        Ok(refusal) => refusal.map_or(Ok(()), Err),
    }
}

fn no_json(payload: &[u8], error: &serde_json::Error) -> Refusal {
    let reason = if payload.is_empty() {
        "payload is empty where a JSON object is expected".to_owned()
    } else {
        let text = error.to_string();
        let why = text.split(" at line ").next().unwrap_or_default();
        format!(
            "payload is not JSON: {why} at line {} column {}",
            error.line(),
            error.column()
        )
    };
    Refusal {
        code: "bad_json",
        reason,
        path: None,
    }
}

/// Reads an object. A value of the wrong type does not end the reading, for bytes behind it may be no JSON at all, and
/// that is told first.
struct Row<'r, 'a> {
    scan: &'r Scan,
    cells: &'r mut [Option<Cell<'a>>],
}

impl<'de> DeserializeSeed<'de> for Row<'_, 'de> {
    type Value = Option<Refusal>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Row<'_, 'de> {
    type Value = Option<Refusal>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Some(no_object(&Loose::Bool(value))))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Some(no_object(&Loose::Int(value))))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        Ok(Some(no_object(&Loose::Large(value))))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Some(no_object(&Loose::Float(value))))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Self::Value, E> {
        Ok(Some(no_object(&Loose::Text(Cow::Borrowed(value)))))
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(Some(no_object(&Loose::Null)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Some(no_object(&Loose::Array)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut refusal = None;
        while let Some(column) = map.next_key_seed(Name(self.scan))? {
            let Some(column) = column else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            let source = &self.scan.sources[column];
            let Origin::Member(kind) = source.origin else {
                continue;
            };
            match map.next_value_seed(Member(kind))? {
                Ok(cell) => self.cells[column] = Some(cell),
                Err(found) => {
                    refusal.get_or_insert_with(|| mismatch(source, kind, &found));
                }
            }
        }
        Ok(refusal)
    }
}

/// A member's name, as the column it goes to.
struct Name<'r>(&'r Scan);

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member's name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.column(name))
    }
}

/// A member's value, fitted to its column.
struct Member(ColumnKind);

impl<'de> DeserializeSeed<'de> for Member {
    type Value = Result<Cell<'de>, Loose<'de>>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        if self.0 == ColumnKind::Json {
            let raw = <&RawValue>::deserialize(from)?.get();
            return Ok(Ok(if raw == "null" {
                Cell::Null
            } else {
                Cell::Text(one_line(raw))
            }));
        }
        cell::read(from).map(|value| value.fit(self.0))
    }
}

/// JSON without line breaks: sinks and people read messages line by line. They are never part of a text inside, which
/// would have them escaped.
fn one_line(raw: &str) -> Cow<'_, str> {
    if raw.contains(['\n', '\r']) {
        Cow::Owned(raw.split(['\n', '\r']).map(str::trim).collect())
    } else {
        Cow::Borrowed(raw)
    }
}
