//! Defaults of fields: laid out once, as a payload has them.
//!
//! They are JSON by the specification's own rules: bytes are text of the characters 0 to 255, a union's default is of the
//! first branch that takes it (Avro 1.12).

use serde_json::{Map, Value as Json};

use super::compile::invalid;
use super::cursor::{put_long, put_sized};
use super::encode::Encoder;
use super::table::{Fixed, Id, Kind, Record, Table};
use crate::fault::{Fault, fault};
use crate::{SchemaError, Violation};

/// Most bytes of all defaults of a schema.
const MAX_DEFAULTS: usize = 1 << 20;
/// Values looked at for all defaults: a default may stand for many others.
const MAX_STEPS: usize = 1_000_000;
/// Largest payload made with defaults: they may stand where a payload has no bytes.
const MAX_PAYLOAD: usize = 64 << 20;

/// Lays out the defaults of these fields: record, number of the field, its place in the text.
pub(super) fn lay_out(
    table: &mut Table,
    fields: Vec<(Id, usize, String)>,
) -> Result<(), SchemaError> {
    let mut all = 0;
    let mut laid = Vec::with_capacity(fields.len());
    let mut encoder = Encoder::new(table, MAX_STEPS);
    for (id, number, path) in fields {
        let Kind::Record(record) = &table.get(id).kind else {
            continue;
        };
        let field = &record.fields[number];
        let mut out = Vec::new();
        if let Some(json) = &field.default {
            encoder.default(field.id, json, &mut out).map_err(|fault| {
                let why = Violation::from(fault);
                let reason = format!("the default of `{}` does not fit: {why}", field.name);
                invalid(&format!("{path}/default{}", why.path), reason)
            })?;
        }
        all += out.len();
        if all > MAX_DEFAULTS {
            let reason = format!("all defaults take more than {MAX_DEFAULTS} bytes");
            return Err(invalid(&path, reason));
        }
        laid.push((id, number, out));
    }
    for (id, number, out) in laid {
        if let Kind::Record(record) = &mut table.types[id].kind {
            record.fields[number].bytes = Some(out.into());
        }
    }
    Ok(())
}

/// Writes a default where the payload does not grow beyond bounds with it.
pub(super) fn put_default(default: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
    if out.len() + default.len() > MAX_PAYLOAD {
        let expected = format!("at most {MAX_PAYLOAD} bytes");
        return fault("length", expected, "more, by defaults");
    }
    out.extend_from_slice(default);
    Ok(())
}

impl Encoder<'_> {
    fn default(&mut self, id: Id, json: &Json, out: &mut Vec<u8>) -> Result<(), Fault> {
        self.enter()?;
        let table = self.table;
        match (&table.get(id).kind, json) {
            (Kind::Union(branches), _) => self.default_of_union(branches, json, out)?,
            (Kind::Bytes, Json::String(text)) => put_sized(out, &latin(text)?),
            (Kind::Fixed(fixed), Json::String(text)) => put_fixed(fixed, text, out)?,
            (kind @ (Kind::Int | Kind::Long), Json::Number(number)) if number.is_i64() => {
                let long = number.as_i64().unwrap_or_default();
                if matches!(kind, Kind::Int) && i32::try_from(long).is_err() {
                    return fault("range", "an int of 32 bits", long.to_string());
                }
                put_long(out, long);
            }
            (Kind::String, Json::String(text)) => put_sized(out, text.as_bytes()),
            (Kind::Record(record), Json::Object(members)) => {
                self.default_of_record(record, members, out)?;
            }
            (Kind::Array(items), Json::Array(list)) => {
                if !list.is_empty() {
                    put_long(out, list.len().try_into().unwrap_or(i64::MAX));
                    for (index, item) in list.iter().enumerate() {
                        let put = self.default(*items, item, out);
                        put.map_err(|fault| fault.within(index.to_string()))?;
                    }
                }
                out.push(0);
            }
            (Kind::Map(values), Json::Object(members)) => {
                if !members.is_empty() {
                    put_long(out, members.len().try_into().unwrap_or(i64::MAX));
                    for (key, value) in members {
                        put_sized(out, key.as_bytes());
                        let put = self.default(*values, value, out);
                        put.map_err(|fault| fault.within(key))?;
                    }
                }
                out.push(0);
            }
            (Kind::Null, Json::Null)
            | (Kind::Boolean, Json::Bool(_))
            | (Kind::Float | Kind::Double, Json::Number(_))
            | (Kind::Enum(_), Json::String(_)) => {
                self.put(id, &json.clone().into(), out)?;
            }
            (_, json) => return fault("type", table.word(id), crate::describe::describe(json)),
        }
        self.leave();
        Ok(())
    }

    fn default_of_union(
        &mut self,
        branches: &[Id],
        json: &Json,
        out: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        let start = out.len();
        let depth = self.depth;
        for (number, id) in branches.iter().enumerate() {
            put_long(out, number.try_into().unwrap_or(i64::MAX));
            if self.default(*id, json, out).is_ok() {
                return Ok(());
            }
            self.depth = depth;
            out.truncate(start);
        }
        // When there are no steps left, that is why.
        self.enter()?;
        self.leave();
        let found = crate::describe::describe(json);
        fault("union", "a default of one of the branches", found)
    }

    fn default_of_record(
        &mut self,
        record: &Record,
        members: &Map<String, Json>,
        out: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        for field in &record.fields {
            let json = members.get(&field.name).or(field.default.as_ref());
            let put = match json {
                Some(json) => self.default(field.id, json, out),
                None => fault("required", "a value", "nothing"),
            };
            put.map_err(|fault| fault.within(&field.name))?;
        }
        Ok(())
    }
}

fn put_fixed(fixed: &Fixed, text: &str, out: &mut Vec<u8>) -> Result<(), Fault> {
    let bytes = latin(text)?;
    if bytes.len() != fixed.size {
        let expected = format!("{} bytes", fixed.size);
        return fault("length", expected, format!("{} bytes", bytes.len()));
    }
    out.extend_from_slice(&bytes);
    Ok(())
}

/// Bytes of a default: each character is one.
fn latin(text: &str) -> Result<Vec<u8>, Fault> {
    let each = text.chars().map(|c| u8::try_from(u32::from(c)));
    match each.collect::<Result<Vec<u8>, _>>() {
        Ok(bytes) => Ok(bytes),
        Err(_) => fault("default", "text of the characters 0 to 255", text),
    }
}
