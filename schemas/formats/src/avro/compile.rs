//! From a schema's text to its table, with the rules of the specification for names, symbols, unions and defaults.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value as Json};

use super::defaults;
use super::table::{Enum, Field, Fixed, Id, Kind, Logical, Name, Record, Table, Type};
use super::table::{full_name, logical, primitive};
use crate::json::limits;
use crate::{Reference, SchemaError};

/// Most digits of a decimal: what its text form can say.
const MAX_PRECISION: u32 = 10_000;

impl Table {
    /// Compiles a text. `references` come first, those without references of their own at the beginning.
    pub(super) fn compile(text: &str, references: &[Reference]) -> Result<Self, SchemaError> {
        let document = limits::parse(text)?;
        let mut build = Build::default();
        for reference in references {
            let added = limits::parse(&reference.text).and_then(|json| build.add(&json, "", ""));
            added.map_err(|why| match why {
                SchemaError::Invalid { path, reason } => invalid(
                    &path,
                    format!("{reason}, in reference `{}`", reference.name),
                ),
                other => other,
            })?;
        }
        let root = build.add(&document, "", "")?;
        let types = build.types.into_iter().map(|slot| {
            slot.ok_or_else(|| invalid("", "a type refers to itself before it is described"))
        });
        let mut table = Self {
            types: types.collect::<Result<_, _>>()?,
            root,
        };
        defaults::lay_out(&mut table, build.defaults)?;
        // What the rules here let pass and the library does not is refused in its words.
        let others = references.iter().map(|reference| reference.text.as_str());
        apache_avro::Schema::parse_str_with_list(text, others)
            .map_err(|error| invalid("", error.to_string()))?;
        Ok(table)
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
    /// The fields that have a default: the record, the field's number, its place.
    defaults: Vec<(Id, usize, String)>,
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
                self.distinct(&branches, path)?;
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
        self.named.get(&full).copied().ok_or_else(|| {
            invalid(path, format!("there is no type `{full}`; describe it before it is used, or name its schema in `references`"))
        })
    }

    /// A union holds each simple type once, each named type once, and no union.
    fn distinct(&self, branches: &[Id], path: &str) -> Result<(), SchemaError> {
        let mut kinds = HashSet::new();
        for (index, id) in branches.iter().enumerate() {
            let kind = self.types[*id].as_ref().map(|branch| &branch.kind);
            let fresh = match kind {
                None | Some(Kind::Record(_) | Kind::Enum(_) | Kind::Fixed(_)) => {
                    kinds.insert((None, *id))
                }
                Some(Kind::Union(_)) => {
                    let path = format!("{path}/{index}");
                    return Err(invalid(&path, "a union stands directly in a union"));
                }
                Some(kind) => kinds.insert((Some(std::mem::discriminant(kind)), 0)),
            };
            if !fresh {
                let reason = "a union has two branches of one type";
                return Err(invalid(&format!("{path}/{index}"), reason));
            }
        }
        Ok(())
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
                    let logical = bounded(logical(members, &kind), path)?;
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
        if let Some(part) = full.split('.').find(|part| !is_name(part)) {
            return Err(invalid(path, format!("`{part}` is not a name: {NAMES}")));
        }
        if self.named.contains_key(&full) {
            return Err(invalid(path, format!("type `{full}` is described twice")));
        }
        self.types.push(None);
        let id = self.types.len() - 1;
        self.named.insert(full, id);
        let kind = match word {
            "enum" => Kind::Enum(symbols(members, name, path)?),
            "fixed" => {
                let size = members.get("size").and_then(Json::as_u64);
                let size = size.and_then(|size| usize::try_from(size).ok());
                let size = size.ok_or_else(|| invalid(path, "`size` is missing"))?;
                Kind::Fixed(Fixed { name, size })
            }
            _ => Kind::Record(Record {
                name,
                doc: text("doc").map(str::to_owned),
                fields: self.fields(id, members, &inner_space, path)?,
            }),
        };
        let logical = bounded(logical(members, &kind), path)?;
        self.types[id] = Some(Type { kind, logical });
        Ok(id)
    }

    fn fields(
        &mut self,
        record: Id,
        members: &Map<String, Json>,
        space: &str,
        path: &str,
    ) -> Result<Vec<Field>, SchemaError> {
        let list = members.get("fields").and_then(Json::as_array);
        let list = list.ok_or_else(|| invalid(path, "`fields` is missing"))?;
        let mut names = HashSet::new();
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
            if !is_name(name) {
                return Err(invalid(&path, format!("`{name}` is not a name: {NAMES}")));
            }
            if !names.insert(name) {
                return Err(invalid(&path, format!("field `{name}` is described twice")));
            }
            if field.contains_key("default") {
                self.defaults.push((record, index, path.clone()));
            }
            let label = field.get("millstream-name").and_then(Json::as_str);
            Ok(Field {
                name: name.to_owned(),
                label: label.unwrap_or(name).to_owned(),
                optional: field.get("millstream-optional") == Some(&Json::Bool(true)),
                aliases: texts(field, "aliases"),
                doc: field.get("doc").and_then(Json::as_str).map(str::to_owned),
                default: field.get("default").cloned(),
                bytes: None,
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

const NAMES: &str = "letters, digits and `_`, not beginning with a digit";

fn is_name(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    text.bytes().all(word)
        && text
            .bytes()
            .next()
            .is_some_and(|byte| !byte.is_ascii_digit())
}

fn symbols(members: &Map<String, Json>, name: Name, path: &str) -> Result<Enum, SchemaError> {
    let list = members.get("symbols").and_then(Json::as_array);
    let list = list.ok_or_else(|| invalid(path, "`symbols` is missing"))?;
    let mut known = HashSet::new();
    for (index, symbol) in list.iter().enumerate() {
        let path = format!("{path}/symbols/{index}");
        match symbol.as_str() {
            Some(word) if !is_name(word) => {
                return Err(invalid(&path, format!("`{word}` is not a symbol: {NAMES}")));
            }
            Some(word) if known.insert(word) => {}
            Some(word) => return Err(invalid(&path, format!("symbol `{word}` is there twice"))),
            None => return Err(invalid(&path, "a symbol is text")),
        }
    }
    let default = members.get("default").and_then(Json::as_str);
    if let Some(word) = default
        && !known.contains(word)
    {
        let path = format!("{path}/default");
        return Err(invalid(&path, format!("`{word}` is none of the symbols")));
    }
    Ok(Enum {
        name,
        symbols: texts(members, "symbols"),
        default: default.map(str::to_owned),
    })
}

/// A decimal's digits are bounded, because its text form has as many.
fn bounded(logical: Option<Logical>, path: &str) -> Result<Option<Logical>, SchemaError> {
    match logical {
        Some(Logical::Decimal { precision, .. }) if precision > MAX_PRECISION => {
            let reason = format!("a decimal has at most {MAX_PRECISION} digits, not {precision}");
            Err(invalid(path, reason))
        }
        logical => Ok(logical),
    }
}
