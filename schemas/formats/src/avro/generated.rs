//! Schemas and values made from a number.

#![expect(clippy::too_many_lines, reason = "a table reads best in one piece")]

use serde_json::{Value as Json, json};

use super::AvroSchema;
use super::table::{Id, Kind, Logical, Table};
use crate::{Instant, Unit, Value};

/// Numbers that follow from a seed (splitmix64).
pub(crate) struct Numbers {
    state: u64,
    names: usize,
}

impl Numbers {
    pub(crate) fn new(state: u64) -> Self {
        Self { state, names: 0 }
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).unwrap_or(0)
    }

    fn name(&mut self) -> String {
        self.names += 1;
        format!("T{}", self.names)
    }

    /// Mostly small, sometimes at the edges.
    fn long(&mut self) -> i64 {
        match self.below(6) {
            0 => i64::MAX,
            1 => i64::MIN,
            2 => self.next().cast_signed(),
            _ => self.next().cast_signed() % 1000,
        }
    }

    fn text(&mut self) -> String {
        let words = ["", "a", "UA", "dep\u{e9}art", "\u{1f6eb} late", "x\0y"];
        words[self.below(words.len())].repeat(1 + self.below(3))
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }

    pub(crate) fn schema(&mut self, depth: usize) -> Json {
        let leaf = depth == 0;
        match self.below(if leaf { 22 } else { 28 }) {
            0 => json!("null"),
            1 => json!("boolean"),
            2 | 3 => json!("int"),
            4 | 5 => json!("long"),
            6 => json!("float"),
            7 => json!("double"),
            8 => json!("bytes"),
            9 | 10 => json!("string"),
            11 => json!({ "type": "int", "logicalType": "date" }),
            12 => json!({ "type": "int", "logicalType": "time-millis" }),
            13 => json!({ "type": "long", "logicalType": "time-micros" }),
            14 => json!({ "type": "long", "logicalType": "timestamp-millis" }),
            15 => json!({ "type": "long", "logicalType": "timestamp-nanos" }),
            16 => json!({ "type": "long", "logicalType": "local-timestamp-micros" }),
            17 => json!({ "type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 3 }),
            18 => json!({ "type": "string", "logicalType": "uuid" }),
            19 => json!({ "type": "enum", "name": self.name(), "symbols": ["A", "B", "C"] }),
            20 => json!({ "type": "fixed", "name": self.name(), "size": self.below(5) }),
            21 => {
                json!({ "type": "fixed", "name": self.name(), "size": 12, "logicalType": "duration" })
            }
            22 | 23 => json!({ "type": "array", "items": self.schema(depth - 1) }),
            24 => json!({ "type": "map", "values": self.schema(depth - 1) }),
            25 => self.union(depth - 1),
            _ => self.record(depth - 1),
        }
    }

    fn union(&mut self, depth: usize) -> Json {
        let all = [
            json!("null"),
            json!("int"),
            json!("string"),
            json!("double"),
            self.record(depth),
            json!({ "type": "array", "items": self.schema(depth) }),
        ];
        let chosen: Vec<Json> = all.into_iter().filter(|_| self.below(2) == 0).collect();
        if chosen.is_empty() {
            json!(["null", "long"])
        } else {
            chosen.into()
        }
    }

    pub(crate) fn record(&mut self, depth: usize) -> Json {
        let name = self.name();
        let mut fields: Vec<Json> = (0..self.below(5))
            .map(|index| json!({ "name": format!("f{index}"), "type": self.schema(depth) }))
            .collect();
        if self.below(4) == 0 {
            // Itself again, with a way out.
            fields.push(json!({ "name": "again", "type": ["null", name], "default": null }));
        }
        json!({ "type": "record", "name": name, "namespace": "g", "fields": fields })
    }

    /// A value as decoding gives it.
    pub(super) fn value(&mut self, table: &Table, id: Id, depth: usize) -> Value {
        let kind = table.get(id);
        match (&kind.kind, kind.logical) {
            (Kind::Null, _) => Value::Null,
            (Kind::Boolean, _) => Value::Bool(self.below(2) == 0),
            (Kind::Int, Some(Logical::Date)) => {
                Value::Date(i32::try_from(self.below(30_000)).unwrap_or(0))
            }
            (Kind::Int, Some(_)) => {
                Value::Time(i64::try_from(self.below(86_400_000)).unwrap_or(0) * 1_000_000)
            }
            (Kind::Int, None) => Value::Int(i64::from(self.next() as i32)),
            (Kind::Long, Some(Logical::Time(_))) => {
                Value::Time(i64::try_from(self.below(86_400_000)).unwrap_or(0) * 1_000)
            }
            (Kind::Long, Some(Logical::Timestamp(unit))) => Value::Timestamp(self.instant(unit)),
            (Kind::Long, Some(Logical::LocalTimestamp(unit))) => {
                Value::LocalTimestamp(self.instant(unit))
            }
            (Kind::Long, _) => Value::Int(self.long()),
            (Kind::Float, _) => Value::Float(f32::from_bits(self.next() as u32 & 0xff7f_ffff)),
            (Kind::Double, _) => Value::Double(f64::from_bits(self.next() & 0xffef_ffff_ffff_ffff)),
            (Kind::Bytes, Some(Logical::Decimal { scale, .. })) => {
                let unscaled =
                    num_bigint::BigInt::from(self.long() % 1_000_000).to_signed_bytes_be();
                Value::Decimal { unscaled, scale }
            }
            (Kind::Bytes, _) => {
                let len = self.below(20);
                Value::Bytes(self.bytes(len))
            }
            (Kind::String, Some(Logical::Uuid)) => {
                let hex = format!("{:016x}{:016x}", self.next(), self.next());
                Value::String(format!(
                    "{}-{}-{}-{}-{}",
                    &hex[..8],
                    &hex[8..12],
                    &hex[12..16],
                    &hex[16..20],
                    &hex[20..]
                ))
            }
            (Kind::String, _) => Value::String(self.text()),
            (Kind::Enum(symbols), _) => {
                Value::String(symbols.symbols[self.below(symbols.symbols.len())].clone())
            }
            (Kind::Fixed(_), Some(Logical::Duration)) => Value::Period {
                months: self.next() as u32,
                days: self.next() as u32,
                millis: self.next() as u32,
            },
            (Kind::Fixed(fixed), _) => Value::Bytes(self.bytes(fixed.size)),
            (Kind::Array(items), _) => {
                let len = if depth == 0 { 0 } else { self.below(4) };
                Value::List(
                    (0..len)
                        .map(|_| self.value(table, *items, depth.saturating_sub(1)))
                        .collect(),
                )
            }
            (Kind::Map(values), _) => {
                let len = if depth == 0 { 0 } else { self.below(4) };
                let member = |index| {
                    (
                        format!("k{index}"),
                        self.value(table, *values, depth.saturating_sub(1)),
                    )
                };
                Value::Object((0..len).map(member).collect())
            }
            (Kind::Union(branches), _) => {
                let null = branches
                    .iter()
                    .position(|id| matches!(table.get(*id).kind, Kind::Null));
                let number = match null {
                    Some(null) if depth == 0 => null,
                    _ => self.below(branches.len()),
                };
                let value = self.value(table, branches[number], depth.saturating_sub(1));
                if value == Value::Null || table.plain(branches) {
                    value
                } else {
                    Value::Object(vec![(table.word(branches[number]).to_owned(), value)])
                }
            }
            (Kind::Record(record), _) => {
                let depth = depth.saturating_sub(1);
                let fields = record.fields.iter();
                Value::Object(
                    fields
                        .map(|field| (field.label.clone(), self.value(table, field.id, depth)))
                        .collect(),
                )
            }
        }
    }

    /// A value of a schema.
    pub(crate) fn any_of(&mut self, schema: &AvroSchema) -> Value {
        let table = &schema.inner.table;
        self.value(table, table.root, 4)
    }

    fn instant(&mut self, unit: Unit) -> Instant {
        let nanos = u32::try_from(self.below(1_000_000_000)).unwrap_or(0);
        let step = match unit {
            Unit::Millis => 1_000_000,
            Unit::Micros => 1_000,
            Unit::Nanos => 1,
        };
        Instant {
            seconds: i64::try_from(self.below(4_000_000_000)).unwrap_or(0) - 2_000_000_000,
            nanos: nanos / step * step,
        }
    }
}
