//! A schema as a table of types that refer to each other by number: what all walks run on.

use std::collections::HashMap;

use serde_json::{Map, Value as Json};

use crate::json::limits;
use crate::{Reference, SchemaError, Unit};

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

    /// Compiles a text. `references` come first, those without references of their own at the beginning.
    pub(super) fn compile(text: &str, references: &[Reference]) -> Result<Self, SchemaError> {
        let document = limits::parse(text)?;
        // The library knows every rule for names, symbols and defaults; the table is only laid out here.
        let others = references.iter().map(|reference| reference.text.as_str());
        apache_avro::Schema::parse_str_with_list(text, others).map_err(|error| {
            SchemaError::Invalid {
                path: String::new(),
                reason: error.to_string(),
            }
        })?;
        let mut build = Build::default();
        for reference in references {
            build.add(&limits::parse(&reference.text)?, "", "")?;
        }
        let root = build.add(&document, "", "")?;
        let types = build.types.into_iter().map(|slot| {
            slot.ok_or_else(|| invalid("", "a type refers to itself before it is described"))
        });
        Ok(Self {
            types: types.collect::<Result<_, _>>()?,
            root,
        })
    }
}

pub(super) fn invalid(path: &str, reason: impl Into<String>) -> SchemaError {
    SchemaError::Invalid {
        path: path.to_owned(),
        reason: reason.into(),
    }
}

#[derive(Default)]
struct Build {
    /// `None` while a named type is being read.
    types: Vec<Option<Type>>,
    named: HashMap<String, Id>,
}

impl Build {
    fn push(&mut self, kind: Kind, logical: Option<Logical>) -> Id {
        self.types.push(Some(Type { kind, logical }));
        self.types.len() - 1
    }

    /// Reads a type; `space` is the namespace around it.
    fn add(&mut self, json: &Json, space: &str, path: &str) -> Result<Id, SchemaError> {
        match json {
            Json::String(word) => self.by_word(word, space, path),
            Json::Array(branches) => {
                let each = branches.iter().enumerate();
                let each =
                    each.map(|(index, branch)| self.add(branch, space, &format!("{path}/{index}")));
                let branches = each.collect::<Result<Vec<_>, _>>()?;
                Ok(self.push(Kind::Union(branches), None))
            }
            Json::Object(members) => self.complex(members, space, path),
            _ => Err(invalid(
                path,
                "a type is a name, a list of types or an object with `type`",
            )),
        }
    }

    fn by_word(&mut self, word: &str, space: &str, path: &str) -> Result<Id, SchemaError> {
        if let Some(kind) = primitive(word) {
            return Ok(self.push(kind, None));
        }
        let full = full_name(word, space);
        let found = self.named.get(&full).or_else(|| self.named.get(word));
        found.copied().ok_or_else(|| {
            invalid(path, format!("there is no type `{full}`; describe it before it is used, or name its schema in `references`"))
        })
    }

    fn complex(
        &mut self,
        members: &Map<String, Json>,
        space: &str,
        path: &str,
    ) -> Result<Id, SchemaError> {
        let inner = |key: &str| {
            members
                .get(key)
                .ok_or_else(|| invalid(path, format!("`{key}` is missing")))
        };
        let word = match inner("type")? {
            Json::String(word) => word.as_str(),
            // `{"type": {"type": "string"}}`: one layer more than needed.
            other => return self.add(other, space, &format!("{path}/type")),
        };
        match word {
            "array" => {
                let items = self.add(inner("items")?, space, &format!("{path}/items"))?;
                Ok(self.push(Kind::Array(items), None))
            }
            "map" => {
                let values = self.add(inner("values")?, space, &format!("{path}/values"))?;
                Ok(self.push(Kind::Map(values), None))
            }
            "record" | "error" | "enum" | "fixed" => self.named(word, members, space, path),
            _ => match primitive(word) {
                Some(kind) => {
                    let logical = logical(members, &kind);
                    Ok(self.push(kind, logical))
                }
                None => self.by_word(word, space, path),
            },
        }
    }

    fn named(
        &mut self,
        word: &str,
        members: &Map<String, Json>,
        space: &str,
        path: &str,
    ) -> Result<Id, SchemaError> {
        let text = |key: &str| members.get(key).and_then(Json::as_str);
        let own = text("name").ok_or_else(|| invalid(path, "`name` is missing"))?;
        let full = full_name(own, text("namespace").unwrap_or(space));
        let inner_space = full
            .rsplit_once('.')
            .map_or("", |(space, _)| space)
            .to_owned();
        let aliases = texts(members, "aliases");
        let name = Name {
            aliases: aliases
                .iter()
                .map(|alias| full_name(alias, &inner_space))
                .collect(),
            full: full.clone(),
        };
        if self.named.contains_key(&full) {
            return Err(invalid(path, format!("type `{full}` is described twice")));
        }
        self.types.push(None);
        let id = self.types.len() - 1;
        self.named.insert(full, id);
        let kind = match word {
            "enum" => Kind::Enum(Enum {
                name,
                symbols: texts(members, "symbols"),
                default: text("default").map(str::to_owned),
            }),
            "fixed" => {
                let size = members.get("size").and_then(Json::as_u64);
                let size = size.and_then(|size| usize::try_from(size).ok());
                let size = size.ok_or_else(|| invalid(path, "`size` is missing"))?;
                Kind::Fixed(Fixed { name, size })
            }
            _ => Kind::Record(Record {
                name,
                doc: text("doc").map(str::to_owned),
                fields: self.fields(members, &inner_space, path)?,
            }),
        };
        let logical = logical(members, &kind);
        self.types[id] = Some(Type { kind, logical });
        Ok(id)
    }

    fn fields(
        &mut self,
        members: &Map<String, Json>,
        space: &str,
        path: &str,
    ) -> Result<Vec<Field>, SchemaError> {
        let list = members.get("fields").and_then(Json::as_array);
        let list = list.ok_or_else(|| invalid(path, "`fields` is missing"))?;
        let each = list.iter().enumerate().map(|(index, field)| {
            let path = format!("{path}/fields/{index}");
            let field = field
                .as_object()
                .ok_or_else(|| invalid(&path, "a field is an object"))?;
            let name = field.get("name").and_then(Json::as_str);
            let json = field
                .get("type")
                .ok_or_else(|| invalid(&path, "`type` is missing"))?;
            // A logical type may stand beside `type` as well; writers often put it there by mistake, and it counts for nothing.
            let name = name.ok_or_else(|| invalid(&path, "`name` is missing"))?;
            let label = field.get("millstream-name").and_then(Json::as_str);
            Ok(Field {
                name: name.to_owned(),
                label: label.unwrap_or(name).to_owned(),
                optional: field.get("millstream-optional") == Some(&Json::Bool(true)),
                aliases: texts(field, "aliases"),
                doc: field.get("doc").and_then(Json::as_str).map(str::to_owned),
                default: field.get("default").cloned(),
                id: self.add(json, space, &format!("{path}/type"))?,
            })
        });
        each.collect()
    }
}

fn texts(members: &Map<String, Json>, key: &str) -> Vec<String> {
    let list = members.get(key).and_then(Json::as_array);
    let texts = list.into_iter().flatten().filter_map(Json::as_str);
    texts.map(str::to_owned).collect()
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

fn logical(members: &Map<String, Json>, kind: &Kind) -> Option<Logical> {
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
