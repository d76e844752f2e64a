//! Values of any message, as decoding gives them.

use prost_reflect::{EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor};

use super::Choices;
use crate::protobuf::{ProtobufSchema, label};
use crate::{Instant, Value};

/// What other formats have no word for, to be left out of values that go there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Range {
    /// Everything that decoding gives.
    Full,
    /// Symbols that the schema knows, times that fit 64 bits of nanoseconds, numbers that JSON has.
    Carried,
}

/// A value of what payloads of a schema are, as decoding gives it.
pub(crate) fn value_of(schema: &ProtobufSchema, choices: &mut Choices, range: Range) -> Value {
    Values { choices, range }.message(&schema.descriptor(), 4)
}

struct Values<'a> {
    choices: &'a mut Choices,
    range: Range,
}

impl Values<'_> {
    fn int(&mut self) -> i64 {
        match self.choices.below(6) {
            4 => i32::MIN.into(),
            5 => i32::MAX.into(),
            _ => i64::from(self.choices.next() as i32 % 300),
        }
    }

    fn long(&mut self) -> i64 {
        match self.choices.below(8) {
            5 => i64::MIN,
            6 => i64::MAX,
            7 => self.choices.next().cast_signed(),
            _ => self.int(),
        }
    }

    fn uint(&mut self) -> i64 {
        [0, 1, 300, i64::from(u32::MAX)][self.choices.below(4)]
    }

    fn unsigned(&mut self) -> Value {
        let number =
            [0, 1, 300, u64::MAX, 1 << 63, i64::MAX.cast_unsigned()][self.choices.below(6)];
        i64::try_from(number).map_or(Value::UInt(number), Value::Int)
    }

    fn text(&mut self) -> String {
        self.choices
            .one(&[
                "",
                "a",
                "UA",
                "dép",
                "\u{1f6eb} \"late\" \\",
                "a\0b\n",
                "@type",
            ])
            .to_owned()
    }

    fn bytes(&mut self) -> Vec<u8> {
        [
            &b""[..],
            b"\0",
            b"\xff\xfe\0\0",
            b"text",
            &[0; 8],
            &[0x80; 300],
        ][self.choices.below(6)]
        .to_vec()
    }

    fn double(&mut self, finite: bool) -> f64 {
        let of = [
            0.0,
            -0.0,
            1.5,
            -3.0,
            0.1,
            1e300,
            f64::MIN_POSITIVE / 2.0,
            f64::MAX,
            f64::INFINITY,
            f64::NEG_INFINITY,
            f64::NAN,
        ];
        let finite = finite || self.range == Range::Carried;
        of[self.choices.below(if finite { 8 } else { of.len() })]
    }

    fn float(&mut self) -> f32 {
        let of = [
            0.0,
            -0.0,
            1.5,
            -3.0,
            0.1,
            f32::MIN_POSITIVE / 2.0,
            f32::MAX,
            f32::INFINITY,
            f32::NAN,
        ];
        of[self.choices.below(if self.range == Range::Carried {
            7
        } else {
            of.len()
        })]
    }

    fn symbol(&mut self, symbols: &EnumDescriptor) -> Value {
        if symbols.full_name() == "google.protobuf.NullValue" {
            return Value::Null;
        }
        let known: Vec<i32> = symbols.values().map(|symbol| symbol.number()).collect();
        let unknown = self.range == Range::Full && self.choices.rarely(8);
        let number = if unknown {
            77
        } else {
            known[self.choices.below(known.len())]
        };
        let name = symbols.values().find(|symbol| symbol.number() == number);
        name.map_or(Value::Int(number.into()), |symbol| {
            Value::String(symbol.name().to_owned())
        })
    }

    fn single(&mut self, kind: &Kind, depth: usize) -> Value {
        match kind {
            Kind::Bool => Value::Bool(self.choices.below(2) == 1),
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::Int(self.int()),
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::Int(self.long()),
            Kind::Uint32 | Kind::Fixed32 => Value::Int(self.uint()),
            Kind::Uint64 | Kind::Fixed64 => self.unsigned(),
            Kind::Float => Value::Float(self.float()),
            Kind::Double => Value::Double(self.double(false)),
            Kind::String => Value::String(self.text()),
            Kind::Bytes => Value::Bytes(self.bytes()),
            Kind::Enum(symbols) => self.symbol(symbols),
            Kind::Message(message) => self.message(message, depth),
        }
    }

    fn message(&mut self, message: &MessageDescriptor, depth: usize) -> Value {
        if let Some(known) = self.well_known(message, depth) {
            return known;
        }
        let inner = depth.saturating_sub(1);
        let mut members = Vec::new();
        let mut set = Vec::new();
        for field in message.fields() {
            let held = matches!(field.kind(), Kind::Message(_));
            let absent = field.supports_presence()
                && !field.is_required()
                && (self.choices.below(3) == 0 || (held && depth == 0));
            if absent {
                continue;
            }
            if let Some(oneof) = field.containing_oneof() {
                if set.contains(&oneof.full_name().to_owned()) {
                    continue;
                }
                set.push(oneof.full_name().to_owned());
            }
            members.push((label(&field), self.field(&field, inner)));
        }
        Value::Object(members)
    }

    fn field(&mut self, field: &FieldDescriptor, depth: usize) -> Value {
        let len = if depth == 0 { 0 } else { self.choices.below(4) };
        match field.kind() {
            Kind::Message(entry) if field.is_map() => {
                let (keys, values) = (
                    entry.map_entry_key_field().kind(),
                    entry.map_entry_value_field().kind(),
                );
                let mut members: Vec<(String, Value)> = Vec::new();
                for _ in 0..len {
                    let key = match self.single(&keys, 0) {
                        Value::String(key) => key,
                        other => other.to_json().to_string(),
                    };
                    if members.iter().all(|(known, _)| *known != key) {
                        members.push((key, self.single(&values, depth)));
                    }
                }
                members.sort_by(|one, other| one.0.cmp(&other.0));
                Value::Object(members)
            }
            kind if field.is_list() => {
                Value::List((0..len).map(|_| self.single(&kind, depth)).collect())
            }
            kind => self.single(&kind, depth),
        }
    }

    fn well_known(&mut self, message: &MessageDescriptor, depth: usize) -> Option<Value> {
        let name = message.full_name().strip_prefix("google.protobuf.")?;
        Some(match name {
            "Timestamp" => Value::Timestamp(self.instant()),
            "Duration" => Value::String(
                self.choices
                    .one(&[
                        "0s",
                        "1.5s",
                        "-0.25s",
                        "-3s",
                        "315576000000.999999999s",
                        "0.000000001s",
                    ])
                    .to_owned(),
            ),
            "DoubleValue" => Value::Double(self.double(false)),
            "FloatValue" => Value::Float(self.float()),
            "Int64Value" => Value::Int(self.long()),
            "UInt64Value" => self.unsigned(),
            "Int32Value" => Value::Int(self.int()),
            "UInt32Value" => Value::Int(self.uint()),
            "BoolValue" => Value::Bool(self.choices.below(2) == 1),
            "StringValue" => Value::String(self.text()),
            "BytesValue" => Value::Bytes(self.bytes()),
            "Struct" => self.object(depth.min(3)),
            "ListValue" => self.list(depth.min(3)),
            "Value" => self.any(depth.min(3)),
            "FieldMask" => Value::String(self.choices.one(&["", "a", "a,b.c"]).to_owned()),
            "Any" => {
                let members = [
                    ("@type", Value::String(self.text())),
                    ("value", Value::Bytes(self.bytes())),
                ];
                Value::Object(members.map(|(name, value)| (name.to_owned(), value)).into())
            }
            _ => return None,
        })
    }

    fn instant(&mut self) -> Instant {
        let seconds = [
            0,
            1_795_000_000,
            -1,
            -9_000_000_000,
            9_000_000_000,
            253_402_300_799,
            -62_135_596_800,
        ];
        let within = if self.range == Range::Full { 7 } else { 5 };
        Instant {
            seconds: seconds[self.choices.below(within)],
            nanos: [0, 250_000_000, 999_999_999, 1][self.choices.below(4)],
        }
    }

    fn object(&mut self, depth: usize) -> Value {
        let len = if depth == 0 { 0 } else { self.choices.below(3) };
        let member = |place| (format!("k{place}"), self.any(depth - 1));
        Value::Object((0..len).map(member).collect())
    }

    fn list(&mut self, depth: usize) -> Value {
        let len = if depth == 0 { 0 } else { self.choices.below(3) };
        Value::List((0..len).map(|_| self.any(depth - 1)).collect())
    }

    /// What JSON can say.
    fn any(&mut self, depth: usize) -> Value {
        match self.choices.below(6) {
            0 => Value::Null,
            1 => Value::Bool(true),
            2 => Value::Double(self.double(true)),
            3 => Value::String(self.text()),
            4 => self.list(depth),
            _ => self.object(depth),
        }
    }
}
