//! A schema as a table of types that refer to each other by number: what all walks run on.

use serde_json::{Map, Value as Json};

use crate::Unit;

/// The number of a type in its table.
pub(super) type Id = usize;

/// A type: how it is laid out, and what that stands for.
#[derive(Debug)]
pub(super) struct Type {
    pub(super) kind: Kind,
    pub(super) logical: Option<Logical>,
}

#[derive(Debug)]
pub(super) enum Kind {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    String,
    Array(Id),
    Map(Id),
    Union(Vec<Id>),
    Record(Record),
    Enum(Enum),
    Fixed(Fixed),
}

/// Logical types (Avro 1.12), and two of ours for what other formats have and Avro has not. One whose attributes are not
/// valid, or that does not go with its type, is ignored, as the specification wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Logical {
    Decimal {
        precision: u32,
        scale: u32,
    },
    Uuid,
    Date,
    Time(Unit),
    Timestamp(Unit),
    LocalTimestamp(Unit),
    Duration,
    /// Text that is JSON.
    Json,
    /// A whole number without a sign, as text.
    UInt64,
    /// A whole number of 32 bits without a sign, as a long.
    UInt32,
}

#[derive(Debug)]
pub(super) struct Record {
    pub(super) name: Name,
    pub(super) doc: Option<String>,
    pub(super) fields: Vec<Field>,
}

#[derive(Debug)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) aliases: Vec<String>,
    pub(super) doc: Option<String>,
    pub(super) default: Option<Json>,
    /// The default as a payload has it.
    pub(super) bytes: Option<Box<[u8]>>,
    pub(super) id: Id,
    /// What the member is called in decoded values: its name, or `millstream-name` for what is no name in Avro.
    pub(super) label: String,
    /// Whether null stands for a member that is absent (`millstream-optional`).
    pub(super) optional: bool,
}

#[derive(Debug)]
pub(super) struct Enum {
    pub(super) name: Name,
    pub(super) symbols: Vec<String>,
    pub(super) default: Option<String>,
}

#[derive(Debug)]
pub(super) struct Fixed {
    pub(super) name: Name,
    pub(super) size: usize,
}

/// A name with its namespace, and what else the type is known as.
#[derive(Clone, Debug)]
pub(super) struct Name {
    pub(super) full: String,
    pub(super) aliases: Vec<String>,
}

impl Name {
    /// The part behind the last dot.
    pub(super) fn short(&self) -> &str {
        self.full.rsplit('.').next().unwrap_or(&self.full)
    }

    /// Whether a reader's type of this name may stand for a writer's: the names are the same without their namespaces, or
    /// the reader has the writer's as an alias (Java's `schemaNameEquals`).
    pub(super) fn reads(&self, writer: &Self) -> bool {
        self.short() == writer.short() || self.aliases.contains(&writer.full)
    }
}

/// All types of a schema.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) types: Vec<Type>,
    pub(super) root: Id,
}

impl Table {
    pub(super) fn get(&self, id: Id) -> &Type {
        &self.types[id]
    }
}

pub(super) fn full_name(name: &str, space: &str) -> String {
    if name.contains('.') || space.is_empty() {
        name.trim_start_matches('.').to_owned()
    } else {
        format!("{space}.{name}")
    }
}

pub(super) fn primitive(word: &str) -> Option<Kind> {
    Some(match word {
        "null" => Kind::Null,
        "boolean" => Kind::Boolean,
        "int" => Kind::Int,
        "long" => Kind::Long,
        "float" => Kind::Float,
        "double" => Kind::Double,
        "bytes" => Kind::Bytes,
        "string" => Kind::String,
        _ => return None,
    })
}

pub(super) fn logical(members: &Map<String, Json>, kind: &Kind) -> Option<Logical> {
    let number = |key: &str| {
        members
            .get(key)
            .and_then(Json::as_u64)
            .and_then(|n| u32::try_from(n).ok())
    };
    let word = members.get("logicalType")?.as_str()?;
    let size = match kind {
        Kind::Fixed(fixed) => Some(fixed.size),
        _ => None,
    };
    Some(match (word, kind) {
        ("decimal", Kind::Bytes | Kind::Fixed(_)) => {
            let (precision, scale) = (number("precision")?, number("scale").unwrap_or(0));
            if precision == 0 || scale > precision {
                return None;
            }
            Logical::Decimal { precision, scale }
        }
        ("uuid", Kind::String) => Logical::Uuid,
        ("uuid", Kind::Fixed(_)) if size == Some(16) => Logical::Uuid,
        ("date", Kind::Int) => Logical::Date,
        ("time-millis", Kind::Int) => Logical::Time(Unit::Millis),
        ("time-micros", Kind::Long) => Logical::Time(Unit::Micros),
        ("timestamp-millis", Kind::Long) => Logical::Timestamp(Unit::Millis),
        ("timestamp-micros", Kind::Long) => Logical::Timestamp(Unit::Micros),
        ("timestamp-nanos", Kind::Long) => Logical::Timestamp(Unit::Nanos),
        ("local-timestamp-millis", Kind::Long) => Logical::LocalTimestamp(Unit::Millis),
        ("local-timestamp-micros", Kind::Long) => Logical::LocalTimestamp(Unit::Micros),
        ("local-timestamp-nanos", Kind::Long) => Logical::LocalTimestamp(Unit::Nanos),
        ("duration", Kind::Fixed(_)) if size == Some(12) => Logical::Duration,
        ("millstream-json", Kind::String) => Logical::Json,
        ("millstream-uint64", Kind::String) => Logical::UInt64,
        ("millstream-uint32", Kind::Long) => Logical::UInt32,
        _ => return None,
    })
}
