//! What a Protobuf message says in words that all formats share, and the other way.
//!
//! What Protobuf has no type for is written so that it comes back: lists within lists or maps, and what may be null within them,
//! as a message whose only field is `millstream_value`; any JSON as one whose only field is the text `millstream_json`;
//! decimals, days, times of day and UUIDs as text; symbols in a message of their own, because they share a scope with their
//! enumeration. A member that may be null or absent is `optional`; where both must be told apart it is a `millstream_value`.
//! A union of several types beside null becomes any JSON, because in other formats its values do not say which they are.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;

use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};

use super::decode::{JSON, VALUE, wrapped};
use super::print::quoted;
use super::{camel, label};
use crate::names::{capital, identifier};
use crate::{Column, ColumnKind, EnumShape, FieldShape, RecordShape, Shape, Unit};

pub(super) fn shape(message: &MessageDescriptor) -> Shape {
    of_message(message, &mut HashSet::new())
}

fn of_message(message: &MessageDescriptor, told: &mut HashSet<String>) -> Shape {
    if let Some(known) = well_known(message) {
        return known;
    }
    if let Some(only) = wrapped(message, VALUE) {
        // Nothing but itself, however deep.
        if !told.insert(message.full_name().to_owned()) {
            return Shape::Any;
        }
        let shape = of_field(&only, told);
        told.remove(message.full_name());
        return if only.supports_presence() {
            Shape::Union(vec![Shape::Null, shape])
        } else {
            shape
        };
    }
    if wrapped(message, JSON).is_some() {
        return Shape::Any;
    }
    let name = message.full_name().to_owned();
    if !told.insert(name.clone()) {
        return Shape::Named(name);
    }
    let fields = message.fields().map(|field| FieldShape {
        name: label(&field),
        shape: of_field(&field, told),
        optional: field.supports_presence() && !field.is_required(),
        default: None,
        doc: None,
    });
    Shape::Record(RecordShape {
        fields: fields.collect(),
        name,
        doc: None,
    })
}

fn of_field(field: &FieldDescriptor, told: &mut HashSet<String>) -> Shape {
    match field.kind() {
        Kind::Message(entry) if field.is_map() => Shape::Map(Box::new(of_kind(
            &entry.map_entry_value_field().kind(),
            told,
        ))),
        kind if field.is_list() => Shape::List(Box::new(of_kind(&kind, told))),
        kind => of_kind(&kind, told),
    }
}

fn of_kind(kind: &Kind, told: &mut HashSet<String>) -> Shape {
    match kind {
        Kind::Double => Shape::Double,
        Kind::Float => Shape::Float,
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Shape::Int32,
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Shape::Int64,
        Kind::Uint32 | Kind::Fixed32 => Shape::UInt32,
        Kind::Uint64 | Kind::Fixed64 => Shape::UInt64,
        Kind::Bool => Shape::Bool,
        Kind::String => Shape::String,
        Kind::Bytes => Shape::Bytes,
        Kind::Message(message) => of_message(message, told),
        Kind::Enum(symbols) => {
            let name = symbols.full_name().to_owned();
            if name == "google.protobuf.NullValue" {
                return Shape::Null;
            }
            if !told.insert(name.clone()) {
                return Shape::Named(name);
            }
            Shape::Enum(EnumShape {
                name,
                symbols: symbols
                    .values()
                    .map(|symbol| symbol.name().to_owned())
                    .collect(),
                default: None,
            })
        }
    }
}

fn well_known(message: &MessageDescriptor) -> Option<Shape> {
    Some(
        match message.full_name().strip_prefix("google.protobuf.")? {
            "Timestamp" => Shape::Timestamp(Unit::Nanos),
            "Duration" | "FieldMask" | "StringValue" => Shape::String,
            "DoubleValue" => Shape::Double,
            "FloatValue" => Shape::Float,
            "Int64Value" => Shape::Int64,
            "UInt64Value" => Shape::UInt64,
            "Int32Value" => Shape::Int32,
            "UInt32Value" => Shape::UInt32,
            "BoolValue" => Shape::Bool,
            "BytesValue" => Shape::Bytes,
            "Struct" => Shape::Map(Box::new(Shape::Any)),
            "ListValue" => Shape::List(Box::new(Shape::Any)),
            "Value" | "Any" => Shape::Any,
            _ => return None,
        },
    )
}

pub(super) fn columns(message: &MessageDescriptor) -> Vec<Column> {
    let column = |field: FieldDescriptor| {
        let kind = match shape_for_column(&field) {
            Shape::Bool => ColumnKind::Bool,
            Shape::Int32 | Shape::Int64 | Shape::UInt32 => ColumnKind::Int64,
            Shape::Float | Shape::Double => ColumnKind::Float64,
            Shape::String | Shape::Bytes | Shape::Enum(_) => ColumnKind::String,
            Shape::Timestamp(_) => ColumnKind::Timestamp,
            // Numbers above 2^63 have no column type that holds them exactly.
            _ => ColumnKind::Json,
        };
        Column::new(
            label(&field),
            kind,
            field.supports_presence() && !field.is_required(),
        )
    };
    message.fields().map(column).collect()
}

fn shape_for_column(field: &FieldDescriptor) -> Shape {
    match of_field(field, &mut HashSet::new()) {
        Shape::Union(mut branches) => branches.pop().unwrap_or(Shape::Any),
        shape => shape,
    }
}

/// The text of a file whose first message can carry every value of a shape.
pub(super) fn text_of(shape: &Shape) -> String {
    let mut printer = Printer::default();
    let root = match shape {
        Shape::Record(record) => {
            let package = record.name.rsplit_once('.').map(|(package, _)| package);
            printer.package = package.map(|package| {
                let parts: Vec<String> = package.split('.').map(identifier).collect();
                parts.join(".")
            });
            printer.record(record)
        }
        other => {
            let name = printer.take("Value");
            let typed = printer.typed(other, "Value");
            printer.describe(&name, &[line(&typed, VALUE, 1, "")]);
            name
        }
    };
    printer.finish(&root)
}

#[derive(Default)]
struct Printer {
    package: Option<String>,
    used: HashSet<String>,
    /// What the shape's names were written as.
    names: HashMap<String, String>,
    /// Each message's text by its name, in the order in which they were begun.
    messages: Vec<(String, String)>,
    json: Option<String>,
    times: bool,
}

/// A field's type, with what stands before it.
struct Typed {
    label: &'static str,
    name: String,
}

fn line(typed: &Typed, name: &str, number: usize, settings: &str) -> String {
    // These numbers are the implementation's.
    let number = if number >= 19_000 {
        number + 1_000
    } else {
        number
    };
    format!(
        "  {}{} {name} = {number}{settings};\n",
        typed.label, typed.name
    )
}

impl Printer {
    fn finish(self, root: &str) -> String {
        let mut text = "syntax = \"proto3\";\n".to_owned();
        // Writing to a string does not fail.
        if let Some(package) = &self.package {
            let _written = writeln!(text, "package {package};");
        }
        if self.times {
            text.push_str("import \"google/protobuf/timestamp.proto\";\n");
        }
        let (first, others): (Vec<_>, Vec<_>) =
            self.messages.iter().partition(|(name, _)| name == root);
        for (name, body) in first.into_iter().chain(others) {
            let _written = write!(text, "\nmessage {name} {{\n{body}}}\n");
        }
        text
    }

    /// A name nobody has yet.
    fn take(&mut self, wanted: &str) -> String {
        let name = identifier(wanted);
        let mut candidate = name.clone();
        let mut number = 2;
        while !self.used.insert(candidate.clone()) {
            candidate = format!("{name}{number}");
            number += 1;
        }
        candidate
    }

    fn describe(&mut self, name: &str, lines: &[String]) {
        self.messages.push((name.to_owned(), lines.concat()));
    }

    fn record(&mut self, record: &RecordShape) -> String {
        let short = record
            .name
            .rsplit('.')
            .next()
            .filter(|name| !name.is_empty());
        let name = self.take(short.unwrap_or("Record"));
        self.names.insert(record.name.clone(), name.clone());
        let mut taken = HashSet::new();
        let mut lines = Vec::with_capacity(record.fields.len());
        for (index, field) in record.fields.iter().enumerate() {
            // Names must differ in camel case as well.
            let wanted = identifier(&field.name);
            let mut own = wanted.clone();
            let mut number = 2;
            while !taken.insert(camel(&own)) {
                own = format!("{wanted}{number}");
                number += 1;
            }
            let typed = self.member(field, &own);
            let others = record
                .fields
                .iter()
                .filter(|other| other.name != field.name);
            let clash = others
                .map(|other| &other.name)
                .any(|name| *name == camel(&own));
            let given = own != field.name || clash;
            let settings = if given {
                format!(" [json_name = {}]", quoted(&field.name))
            } else {
                String::new()
            };
            lines.push(line(&typed, &own, index + 1, &settings));
        }
        self.describe(&name, &lines);
        name
    }

    fn member(&mut self, field: &FieldShape, hint: &str) -> Typed {
        let nullable = without_null(&field.shape);
        match (field.optional, nullable) {
            // Absent and null are two things.
            (true, Some(_)) => self.wrap(&field.shape, hint),
            (true, None) => self.optional(&field.shape, hint),
            (false, Some(inner)) => self.optional(&inner, hint),
            (false, None) => self.typed(&field.shape, hint),
        }
    }

    /// A type with presence.
    fn optional(&mut self, shape: &Shape, hint: &str) -> Typed {
        match shape {
            Shape::List(_) | Shape::Map(_) => self.wrap(shape, hint),
            other => {
                let typed = self.typed(other, hint);
                Typed {
                    label: "optional ",
                    ..typed
                }
            }
        }
    }

    /// A message that holds a value of the shape.
    fn wrap(&mut self, shape: &Shape, hint: &str) -> Typed {
        let name = self.take(&format!("{}Value", capital(hint)));
        let typed = match without_null(shape) {
            Some(inner) => self.optional(&inner, hint),
            None => self.typed(shape, hint),
        };
        self.describe(&name, &[line(&typed, VALUE, 1, "")]);
        Typed { label: "", name }
    }

    /// A type that may stand within a list or map.
    fn item(&mut self, shape: &Shape, hint: &str) -> String {
        match shape {
            Shape::List(_) | Shape::Map(_) => self.wrap(shape, hint).name,
            other if without_null(other).is_some() => self.wrap(other, hint).name,
            other => self.typed(other, hint).name,
        }
    }

    fn typed(&mut self, shape: &Shape, hint: &str) -> Typed {
        let bare = |name: &str| Typed {
            label: "",
            name: name.to_owned(),
        };
        match shape {
            Shape::Bool => bare("bool"),
            Shape::Int32 => bare("int32"),
            Shape::Int64 => bare("int64"),
            Shape::UInt32 => bare("uint32"),
            Shape::UInt64 => bare("uint64"),
            Shape::Float => bare("float"),
            Shape::Double => bare("double"),
            Shape::Bytes | Shape::Fixed { .. } => bare("bytes"),
            Shape::String
            | Shape::Decimal { .. }
            | Shape::Date
            | Shape::Time(_)
            | Shape::LocalTimestamp(_)
            | Shape::Period
            | Shape::Uuid => bare("string"),
            Shape::Timestamp(_) => {
                self.times = true;
                bare(".google.protobuf.Timestamp")
            }
            Shape::Enum(symbols) => bare(&self.symbols(symbols, hint)),
            Shape::List(items) => Typed {
                label: "repeated ",
                name: self.item(items, hint),
            },
            Shape::Map(values) => {
                let values = self.item(values, hint);
                bare(&format!("map<string, {values}>"))
            }
            Shape::Record(record) => bare(&self.record(record)),
            Shape::Named(name) => match self.names.get(name).cloned() {
                Some(known) => bare(&known),
                None => bare(&self.json()),
            },
            Shape::Union(_) => match without_null(shape) {
                Some(_) => self.wrap(shape, hint),
                None => bare(&self.json()),
            },
            Shape::Any | Shape::Null => bare(&self.json()),
        }
    }

    fn symbols(&mut self, symbols: &EnumShape, hint: &str) -> String {
        let valid = symbols
            .symbols
            .iter()
            .all(|symbol| identifier(symbol) == *symbol);
        let distinct: HashSet<&String> = symbols.symbols.iter().collect();
        if !valid || symbols.symbols.is_empty() || distinct.len() < symbols.symbols.len() {
            self.names.insert(symbols.name.clone(), "string".to_owned());
            return "string".to_owned();
        }
        let short = symbols
            .name
            .rsplit('.')
            .next()
            .filter(|name| !name.is_empty());
        let outer = self.take(short.unwrap_or(&capital(hint)));
        let each = symbols.symbols.iter().enumerate();
        let each: Vec<String> = each
            .map(|(number, symbol)| format!("    {symbol} = {number};\n"))
            .collect();
        let body = format!("  enum Symbols {{\n{}  }}\n", each.concat());
        self.describe(&outer, &[body]);
        let name = format!("{outer}.Symbols");
        self.names.insert(symbols.name.clone(), name.clone());
        name
    }

    fn json(&mut self) -> String {
        if let Some(name) = &self.json {
            return name.clone();
        }
        let name = self.take("MillstreamJson");
        let text = Typed {
            label: "",
            name: "string".to_owned(),
        };
        self.describe(&name, &[line(&text, JSON, 1, "")]);
        self.json = Some(name.clone());
        name
    }
}

/// The one type beside null; `None` when null is not among them or there are several.
fn without_null(shape: &Shape) -> Option<Shape> {
    let Shape::Union(branches) = shape else {
        return None;
    };
    let mut others = branches.iter().filter(|branch| **branch != Shape::Null);
    let only = others.next().filter(|_| branches.contains(&Shape::Null))?;
    others.next().is_none().then(|| only.clone())
}
