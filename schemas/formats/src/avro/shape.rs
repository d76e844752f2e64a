//! What an Avro schema says in words that all formats share, and the other way.
//!
//! What Avro has no type for is written so that it comes back: any JSON as text with the logical type `millstream-json`,
//! numbers without a sign as `millstream-uint32` and `millstream-uint64`, names that are none in Avro with `millstream-name`
//! beside them, members that may be absent with `millstream-optional`. A union of several types beside null becomes any JSON,
//! because in other formats its values do not say which branch they are.

use std::collections::HashSet;

use serde_json::{Map, Value as Json, json};

use super::table::{Id, Kind, Logical, Table, Type};
use crate::names::{capital, identifier};
use crate::{Column, ColumnKind, EnumShape, FieldShape, RecordShape, SchemaError, Shape, Unit};

impl Table {
    pub(super) fn shape(&self) -> Shape {
        self.shape_of(self.root, &mut HashSet::new())
    }

    fn shape_of(&self, id: Id, told: &mut HashSet<String>) -> Shape {
        let Type { kind, logical } = self.get(id);
        match (kind, logical) {
            (_, Some(Logical::Decimal { precision, scale })) => Shape::Decimal {
                precision: *precision,
                scale: *scale,
            },
            (_, Some(Logical::Uuid)) => Shape::Uuid,
            (_, Some(Logical::Date)) => Shape::Date,
            (_, Some(Logical::Time(unit))) => Shape::Time(*unit),
            (_, Some(Logical::Timestamp(unit))) => Shape::Timestamp(*unit),
            (_, Some(Logical::LocalTimestamp(unit))) => Shape::LocalTimestamp(*unit),
            (_, Some(Logical::Duration)) => Shape::Period,
            (_, Some(Logical::Json)) => Shape::Any,
            (_, Some(Logical::UInt64)) => Shape::UInt64,
            (_, Some(Logical::UInt32)) => Shape::UInt32,
            (Kind::Null, None) => Shape::Null,
            (Kind::Boolean, None) => Shape::Bool,
            (Kind::Int, None) => Shape::Int32,
            (Kind::Long, None) => Shape::Int64,
            (Kind::Float, None) => Shape::Float,
            (Kind::Double, None) => Shape::Double,
            (Kind::Bytes, None) => Shape::Bytes,
            (Kind::String, None) => Shape::String,
            (Kind::Array(items), None) => Shape::List(Box::new(self.shape_of(*items, told))),
            (Kind::Map(values), None) => Shape::Map(Box::new(self.shape_of(*values, told))),
            (Kind::Union(branches), None) => {
                Shape::Union(branches.iter().map(|id| self.shape_of(*id, told)).collect())
            }
            (Kind::Fixed(fixed), None) => {
                let name = fixed.name.full.clone();
                Shape::Fixed {
                    name,
                    size: fixed.size,
                }
            }
            (Kind::Enum(symbols), None) => {
                let name = symbols.name.full.clone();
                if !told.insert(name.clone()) {
                    return Shape::Named(name);
                }
                Shape::Enum(EnumShape {
                    name,
                    symbols: symbols.symbols.clone(),
                    default: symbols.default.clone(),
                })
            }
            (Kind::Record(record), None) => {
                let name = record.name.full.clone();
                if !told.insert(name.clone()) {
                    return Shape::Named(name);
                }
                let fields = record.fields.iter().map(|field| FieldShape {
                    name: field.label.clone(),
                    shape: self.field_shape(field.id, field.optional, told),
                    optional: field.optional,
                    default: field.default.clone().filter(|_| !field.optional),
                    doc: field.doc.clone(),
                });
                Shape::Record(RecordShape {
                    name,
                    doc: record.doc.clone(),
                    fields: fields.collect(),
                })
            }
        }
    }

    /// The null of a member that may be absent is not its own.
    fn field_shape(&self, id: Id, optional: bool, told: &mut HashSet<String>) -> Shape {
        match self.shape_of(id, told) {
            Shape::Union(branches) if optional => {
                let mut rest: Vec<Shape> = branches
                    .into_iter()
                    .filter(|branch| *branch != Shape::Null)
                    .collect();
                match rest.pop() {
                    Some(only) if rest.is_empty() => only,
                    last => Shape::Union(rest.into_iter().chain(last).collect()),
                }
            }
            shape => shape,
        }
    }

    pub(super) fn columns(&self) -> Result<Vec<Column>, SchemaError> {
        let Kind::Record(record) = &self.get(self.root).kind else {
            return Err(SchemaError::NotAnObject);
        };
        let columns = record.fields.iter().map(|field| {
            let (kind, nullable) = self.column(field.id);
            Column::new(&field.label, kind, nullable)
        });
        Ok(columns.collect())
    }

    fn column(&self, id: Id) -> (ColumnKind, bool) {
        let Type { kind, logical } = self.get(id);
        let kind = match (kind, logical) {
            (Kind::Union(branches), _) => {
                let null = |id: &Id| matches!(self.get(*id).kind, Kind::Null);
                let mut others = branches.iter().filter(|id| !null(id));
                let nullable = branches.iter().any(null);
                return match (others.next(), others.next()) {
                    (Some(only), None) => (self.column(*only).0, nullable),
                    _ => (ColumnKind::Json, nullable),
                };
            }
            (_, Some(Logical::Timestamp(_))) => ColumnKind::Timestamp,
            (_, Some(Logical::UInt32)) => ColumnKind::Int64,
            (_, Some(Logical::Json | Logical::UInt64)) => ColumnKind::Json,
            // As text: that is how they are written in JSON.
            (_, Some(_)) => ColumnKind::String,
            (Kind::Boolean, None) => ColumnKind::Bool,
            (Kind::Int | Kind::Long, None) => ColumnKind::Int64,
            (Kind::Float | Kind::Double, None) => ColumnKind::Float64,
            (Kind::String | Kind::Enum(_) | Kind::Bytes | Kind::Fixed(_), None) => {
                ColumnKind::String
            }
            (Kind::Null | Kind::Array(_) | Kind::Map(_) | Kind::Record(_), None) => {
                ColumnKind::Json
            }
        };
        (kind, matches!(self.get(id).kind, Kind::Null))
    }
}

/// The text of a schema whose payloads can carry every value of a shape.
pub(super) fn text_of(shape: &Shape) -> String {
    let mut printer = Printer {
        scoped: holds_scoped(shape),
        ..Printer::default()
    };
    printer.print(shape, "Value").to_string()
}

#[derive(Default)]
struct Printer {
    used: HashSet<String>,
    /// What a name of the shape was written as.
    names: std::collections::HashMap<String, String>,
    /// Whether there are names in namespaces. From within one, a name without cannot be referred to, so each is given one.
    scoped: bool,
}

/// Whether a name in a shape has a namespace.
fn holds_scoped(shape: &Shape) -> bool {
    match shape {
        Shape::Fixed { name, .. } | Shape::Enum(EnumShape { name, .. }) => name.contains('.'),
        Shape::Record(record) => {
            let mut fields = record.fields.iter();
            record.name.contains('.') || fields.any(|field| holds_scoped(&field.shape))
        }
        Shape::List(inner) | Shape::Map(inner) => holds_scoped(inner),
        Shape::Union(branches) => branches.iter().any(holds_scoped),
        _ => false,
    }
}

impl Printer {
    fn print(&mut self, shape: &Shape, hint: &str) -> Json {
        let logical = |of: &str, word: &str| json!({ "type": of, "logicalType": word });
        match shape {
            Shape::Any => logical("string", "millstream-json"),
            Shape::Null => "null".into(),
            Shape::Bool => "boolean".into(),
            Shape::Int32 => "int".into(),
            Shape::Int64 => "long".into(),
            Shape::UInt32 => logical("long", "millstream-uint32"),
            Shape::UInt64 => logical("string", "millstream-uint64"),
            Shape::Float => "float".into(),
            Shape::Double => "double".into(),
            Shape::String => "string".into(),
            Shape::Bytes => "bytes".into(),
            Shape::Fixed { name, size } => {
                // Fixed types are not told apart by shapes that refer to them: each is described once.
                if let Some(known) = self.names.get(name) {
                    return known.as_str().into();
                }
                let name = self.name(name, hint);
                json!({ "type": "fixed", "name": name, "size": size })
            }
            Shape::Decimal { precision, scale } => {
                json!({ "type": "bytes", "logicalType": "decimal", "precision": precision, "scale": scale })
            }
            Shape::Date => logical("int", "date"),
            Shape::Time(Unit::Millis) => logical("int", "time-millis"),
            Shape::Time(Unit::Micros) => logical("long", "time-micros"),
            // Finer than Avro's times of day: as text.
            Shape::Time(Unit::Nanos) => "string".into(),
            Shape::Timestamp(unit) => logical("long", &format!("timestamp-{}", word(*unit))),
            Shape::LocalTimestamp(unit) => {
                logical("long", &format!("local-timestamp-{}", word(*unit)))
            }
            Shape::Period => {
                let name = self.name("", "Duration");
                json!({ "type": "fixed", "name": name, "size": 12, "logicalType": "duration" })
            }
            Shape::Uuid => logical("string", "uuid"),
            Shape::Enum(symbols) => self.symbols(symbols, hint),
            Shape::List(items) => json!({ "type": "array", "items": self.print(items, hint) }),
            Shape::Map(values) => json!({ "type": "map", "values": self.print(values, hint) }),
            Shape::Named(name) => match self.names.get(name) {
                Some(known) => known.as_str().into(),
                None => logical("string", "millstream-json"),
            },
            Shape::Union(branches) => {
                let mut others = branches.iter().filter(|branch| **branch != Shape::Null);
                match (others.next(), others.next()) {
                    (Some(only), None) if others.next().is_none() => {
                        let has_null = branches.contains(&Shape::Null);
                        let only = self.print(only, hint);
                        if has_null { nullable(only) } else { only }
                    }
                    (None, _) => "null".into(),
                    _ => logical("string", "millstream-json"),
                }
            }
            Shape::Record(record) => self.record(record, hint),
        }
    }

    fn record(&mut self, record: &RecordShape, hint: &str) -> Json {
        let name = self.name(&record.name, hint);
        let mut members = Map::new();
        members.insert("type".to_owned(), "record".into());
        members.insert("name".to_owned(), name.into());
        members.extend(
            record
                .doc
                .iter()
                .map(|doc| ("doc".to_owned(), doc.as_str().into())),
        );
        let mut taken = HashSet::new();
        let fields: Vec<Json> = record
            .fields
            .iter()
            .map(|field| self.field(field, &mut taken))
            .collect();
        members.insert("fields".to_owned(), fields.into());
        members.into()
    }

    fn field(&mut self, field: &FieldShape, taken: &mut HashSet<String>) -> Json {
        let name = unique(identifier(&field.name), taken);
        // Absent and null are two things where nothing but null may be there.
        let told = if field.optional && field.shape == Shape::Null {
            &Shape::Any
        } else {
            &field.shape
        };
        let mut printed = self.print(told, &capital(&name));
        if field.optional {
            printed = nullable(printed);
        }
        let mut members = Map::new();
        members.insert("name".to_owned(), name.as_str().into());
        members.insert("type".to_owned(), printed.clone());
        members.extend(
            field
                .doc
                .iter()
                .map(|doc| ("doc".to_owned(), doc.as_str().into())),
        );
        if field.optional {
            members.insert("default".to_owned(), Json::Null);
            members.insert("millstream-optional".to_owned(), true.into());
        } else if let Some(default) = &field.default
            && fits(&printed, default)
        {
            members.insert("default".to_owned(), default.clone());
        }
        if name != field.name {
            members.insert("millstream-name".to_owned(), field.name.as_str().into());
        }
        members.into()
    }

    fn symbols(&mut self, shape: &EnumShape, hint: &str) -> Json {
        let valid = shape
            .symbols
            .iter()
            .all(|symbol| identifier(symbol) == *symbol);
        let distinct: HashSet<&String> = shape.symbols.iter().collect();
        if !valid || shape.symbols.is_empty() || distinct.len() < shape.symbols.len() {
            // Words that are no symbols in Avro: plain text carries them.
            self.names.insert(shape.name.clone(), "string".to_owned());
            return "string".into();
        }
        let name = self.name(&shape.name, hint);
        let mut members = json!({ "type": "enum", "name": name, "symbols": shape.symbols });
        if let Some(default) = &shape.default {
            members["default"] = default.as_str().into();
        }
        members
    }

    /// A full name that is valid and not used yet.
    fn name(&mut self, wanted: &str, hint: &str) -> String {
        let text = if wanted.is_empty() { hint } else { wanted };
        let parts: Vec<String> = text.split('.').map(identifier).collect();
        let mut full = parts.join(".");
        if self.scoped && !wanted.is_empty() && parts.len() == 1 {
            full.insert_str(0, "millstream.");
        }
        let name = unique(full, &mut self.used);
        if !wanted.is_empty() {
            self.names.insert(wanted.to_owned(), name.clone());
        }
        name
    }
}

fn word(unit: Unit) -> &'static str {
    match unit {
        Unit::Millis => "millis",
        Unit::Micros => "micros",
        Unit::Nanos => "nanos",
    }
}

fn nullable(printed: Json) -> Json {
    match &printed {
        Json::String(word) if word == "null" => printed,
        Json::Array(_) => printed,
        _ => json!(["null", printed]),
    }
}

/// Whether a default, said in JSON, can be one in Avro: the plain ones.
fn fits(printed: &Json, default: &Json) -> bool {
    match (printed, default) {
        (Json::Array(branches), default) => branches.iter().any(|branch| fits(branch, default)),
        (Json::String(word), default) => match (word.as_str(), default) {
            ("null", Json::Null) | ("boolean", Json::Bool(_)) | ("string", Json::String(_)) => true,
            ("int", Json::Number(number)) => number
                .as_i64()
                .is_some_and(|number| i32::try_from(number).is_ok()),
            ("long", Json::Number(number)) => number.as_i64().is_some(),
            ("float" | "double", Json::Number(_)) => true,
            _ => false,
        },
        (Json::Object(members), default) => match (members.get("symbols"), default) {
            (Some(Json::Array(symbols)), default) => symbols.contains(default),
            _ => match (members.get("type").and_then(Json::as_str), default) {
                (Some("array"), Json::Array(items)) => items.is_empty(),
                (Some("map"), Json::Object(members)) => members.is_empty(),
                _ => false,
            },
        },
        _ => false,
    }
}

fn unique(name: String, taken: &mut HashSet<String>) -> String {
    let mut candidate = name.clone();
    let mut number = 2;
    while !taken.insert(candidate.clone()) {
        candidate = format!("{name}_{number}");
        number += 1;
    }
    candidate
}
