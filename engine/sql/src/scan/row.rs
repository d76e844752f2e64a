//! A payload's bytes straight into cells, without a tree between.

use std::borrow::Cow;
use std::fmt;

use millstream_pipeline::ColumnKind;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use super::{Scan, misfit, mismatch, no_object};
use crate::cell::{self, Cell, Loose, nested};
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
    Refusal::new("bad_json", reason, None)
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
        Ok(self.no_object(&Loose::Bool(value)))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
        Ok(self.no_object(&Loose::Int(value)))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        Ok(self.no_object(&Loose::Large(value)))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Some(no_object(&Loose::Float(value))))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Self::Value, E> {
        Ok(self.no_object(&Loose::Text(Cow::Borrowed(value))))
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(self.no_object(&Loose::Null))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(self.no_object(&Loose::Array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut refusal = None;
        while let Some([first, second]) = map.next_key_seed(Name(self.scan))? {
            let Some(column) = first else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            let source = &self.scan.sources[column];
            let Some((_, kind)) = source.member() else {
                continue;
            };
            if second.is_none() && !kind.is_nested() {
                match map.next_value_seed(Member(kind))? {
                    Ok(cell) => self.cells[column] = Some(cell),
                    Err(found) => {
                        refusal.get_or_insert_with(|| mismatch(source, kind, &found));
                    }
                }
                continue;
            }
            let raw = map.next_value::<&RawValue>()?.get();
            for column in [first, second].into_iter().flatten() {
                match self.nested(column, raw) {
                    Ok(cell) => self.cells[column] = Some(cell),
                    Err(why) => {
                        refusal.get_or_insert(why);
                    }
                }
            }
        }
        Ok(refusal)
    }
}

impl<'a> Row<'_, 'a> {
    fn no_object(&self, found: &Loose<'_>) -> Option<Refusal> {
        self.scan.objects().then(|| no_object(found))
    }

    /// A member as it is written, in a column that is nested or its raw twin.
    fn nested(&self, column: usize, raw: &'a str) -> Result<Cell<'a>, Refusal> {
        let source = &self.scan.sources[column];
        let kind = match source.member() {
            _ if raw == "null" => return Ok(Cell::Null),
            None | Some((_, ColumnKind::Json)) => return Ok(Cell::Text(one_line(raw.into()))),
            Some((_, kind)) => kind,
        };
        let value: Value =
            serde_json::from_str(raw).map_err(|error| no_json(raw.as_bytes(), &error))?;
        let cell = nested::fit(&value, kind).map_err(|why| misfit(source, why))?;
        Ok(cell.into_owned())
    }
}

/// A member's name, as the columns it goes to.
struct Name<'r>(&'r Scan);

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = [Option<usize>; 2];

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = [Option<usize>; 2];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member's name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.columns(name))
    }
}

/// A member's value, fitted to its column.
struct Member<'r>(&'r ColumnKind);

impl<'de> DeserializeSeed<'de> for Member<'_> {
    type Value = Result<Cell<'de>, Loose<'de>>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        if *self.0 == ColumnKind::Json {
            let raw = <&RawValue>::deserialize(from)?.get();
            return Ok(Ok(if raw == "null" {
                Cell::Null
            } else {
                Cell::Text(one_line(raw.into()))
            }));
        }
        cell::read(from).map(|value| value.fit(self.0))
    }
}

/// JSON without line breaks: sinks and people read messages line by line. They are never part of a text inside, which
/// would have them escaped.
pub(crate) fn one_line(raw: Cow<'_, str>) -> Cow<'_, str> {
    if raw.contains(['\n', '\r']) {
        Cow::Owned(raw.split(['\n', '\r']).map(str::trim).collect())
    } else {
        raw
    }
}
