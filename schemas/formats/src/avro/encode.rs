//! From a [`Value`] to the binary encoding.

use super::cursor::{self, put_long, put_sized};
use super::defaults::put_default;
use super::scalars::{to_bytes, to_long, to_text};
use super::table::{Id, Kind, Logical, Record, Table, Type};
use crate::Value;
use crate::describe::cut;
use crate::fault::{Fault, fault};
use crate::scalars::{listed, shown, to_double, to_float};

/// Values looked at for one payload: trying the branches of unions within unions multiplies.
const MAX_STEPS: usize = 16_000_000;
/// Deepest nesting of defaults and values, with what stands innermost.
const MAX_DEPTH: usize = cursor::MAX_DEPTH + 1;

pub(super) struct Encoder<'a> {
    pub(super) table: &'a Table,
    steps: usize,
    pub(super) depth: usize,
}

impl Table {
    pub(super) fn encode(&self, value: &Value) -> Result<Vec<u8>, Fault> {
        let mut out = Vec::new();
        Encoder::new(self, MAX_STEPS).put(self.root, value, &mut out)?;
        Ok(out)
    }
}

impl<'a> Encoder<'a> {
    pub(super) fn new(table: &'a Table, steps: usize) -> Self {
        Self {
            table,
            steps,
            depth: 0,
        }
    }

    fn count(&mut self) -> Result<(), Fault> {
        match self.steps.checked_sub(1) {
            Some(left) => {
                self.steps = left;
                Ok(())
            }
            None => fault(
                "union",
                "a value whose branches are told apart",
                "too many that may fit",
            ),
        }
    }

    /// Goes one level down.
    pub(super) fn enter(&mut self) -> Result<(), Fault> {
        self.count()?;
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return fault(
                "depth",
                format!("at most {} levels", cursor::MAX_DEPTH),
                "deeper nesting",
            );
        }
        Ok(())
    }

    pub(super) fn leave(&mut self) {
        self.depth -= 1;
    }

    pub(super) fn put(&mut self, id: Id, value: &Value, out: &mut Vec<u8>) -> Result<(), Fault> {
        // A union is no level of its own: its branch is.
        if let Kind::Union(branches) = &self.table.get(id).kind {
            self.count()?;
            return self.union(branches, value, out);
        }
        self.enter()?;
        self.put_kind(id, value, out)?;
        self.leave();
        Ok(())
    }

    fn put_kind(&mut self, id: Id, value: &Value, out: &mut Vec<u8>) -> Result<(), Fault> {
        let table = self.table;
        let Type { kind, logical } = table.get(id);
        match (kind, value) {
            (Kind::Null, Value::Null) => {}
            (Kind::Boolean, Value::Bool(yes)) => out.push(u8::from(*yes)),
            (Kind::Int, _) => {
                let long = to_long(value, *logical, "int")?;
                let Ok(int) = i32::try_from(long) else {
                    return fault("range", "an int of 32 bits", long.to_string());
                };
                put_long(out, int.into());
            }
            (Kind::Long, _) => put_long(out, to_long(value, *logical, "long")?),
            (Kind::Float, _) => out.extend_from_slice(&to_float(value, "float")?.to_le_bytes()),
            (Kind::Double, _) => out.extend_from_slice(&to_double(value, "double")?.to_le_bytes()),
            (Kind::Bytes, _) => put_sized(out, &to_bytes(value, *logical, None)?),
            (Kind::Fixed(fixed), _) => {
                let bytes = to_bytes(value, *logical, Some(fixed.size))?;
                if bytes.len() != fixed.size {
                    return fault(
                        "length",
                        format!("{} bytes", fixed.size),
                        format!("{} bytes", bytes.len()),
                    );
                }
                out.extend_from_slice(&bytes);
            }
            (Kind::String, _) => put_sized(out, to_text(value, *logical)?.as_bytes()),
            (Kind::Enum(symbols), Value::String(word)) => {
                let found = symbols.symbols.iter().position(|symbol| symbol == word);
                let Some(number) = found else {
                    let known = listed(symbols.symbols.iter().map(String::as_str));
                    let word = format!("`{}`", cut(word, 64));
                    return fault("symbol", format!("one of {known}"), word);
                };
                put_long(out, number.try_into().unwrap_or(i64::MAX));
            }
            (Kind::Array(items), Value::List(list)) => {
                if !list.is_empty() {
                    put_long(out, list.len().try_into().unwrap_or(i64::MAX));
                    for (index, item) in list.iter().enumerate() {
                        let put = self.put(*items, item, out);
                        put.map_err(|fault| fault.within(index.to_string()))?;
                    }
                }
                out.push(0);
            }
            (Kind::Map(values), Value::Object(members)) => {
                if !members.is_empty() {
                    put_long(out, members.len().try_into().unwrap_or(i64::MAX));
                    for (key, value) in members {
                        put_sized(out, key.as_bytes());
                        let put = self.put(*values, value, out);
                        put.map_err(|fault| fault.within(key))?;
                    }
                }
                out.push(0);
            }
            (Kind::Record(record), Value::Object(members)) => self.record(record, members, out)?,
            (_, value) => return fault("type", table.word(id), shown(value)),
        }
        Ok(())
    }

    fn record(
        &mut self,
        record: &'a Record,
        members: &[(String, Value)],
        out: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        let mut used = 0;
        for (place, field) in record.fields.iter().enumerate() {
            // Mostly the members come in the fields' order.
            let member = members
                .get(place)
                .filter(|(name, _)| *name == field.label)
                .or_else(|| members.iter().find(|(name, _)| *name == field.label));
            let put = match (member, &field.bytes) {
                (Some((_, value)), _) => {
                    used += 1;
                    match self.json_branch(field.id) {
                        Some((number, id)) if field.optional && *value == Value::Null => {
                            put_long(out, number);
                            self.put(id, value, out)
                        }
                        _ => self.put(field.id, value, out),
                    }
                }
                (None, Some(default)) => put_default(default, out),
                (None, None) if self.nullable(field.id) => self.put(field.id, &Value::Null, out),
                (None, None) => fault("required", "a value", "nothing"),
            };
            put.map_err(|fault| fault.within(&field.label))?;
        }
        if used < members.len() {
            let unknown = members
                .iter()
                .find(|(name, _)| record.fields.iter().all(|field| field.label != *name));
            if let Some((name, _)) = unknown {
                let known = format!("a field of `{}`", record.name.full);
                let unknown: Result<(), Fault> = fault("unknown", known, format!("`{name}`"));
                return unknown.map_err(|fault| fault.within(name));
            }
        }
        Ok(())
    }

    /// The branch of a union that is any JSON: in a member that may be absent, null is JSON's.
    fn json_branch(&self, id: Id) -> Option<(i64, Id)> {
        let Kind::Union(branches) = &self.table.get(id).kind else {
            return None;
        };
        let json = |id: &Id| self.table.get(*id).logical == Some(Logical::Json);
        let number = branches.iter().position(json)?;
        Some((number.try_into().ok()?, branches[number]))
    }

    fn nullable(&self, id: Id) -> bool {
        match &self.table.get(id).kind {
            Kind::Null => true,
            Kind::Union(branches) => branches
                .iter()
                .any(|id| matches!(self.table.get(*id).kind, Kind::Null)),
            _ => false,
        }
    }

    fn union(&mut self, branches: &[Id], value: &Value, out: &mut Vec<u8>) -> Result<(), Fault> {
        let table = self.table;
        let branch_of = |number: usize, out: &mut Vec<u8>| {
            put_long(out, number.try_into().unwrap_or(i64::MAX));
        };
        if *value == Value::Null
            && let Some(number) = branches
                .iter()
                .position(|id| matches!(table.get(*id).kind, Kind::Null))
        {
            branch_of(number, out);
            return Ok(());
        }
        if table.plain(branches) {
            let only = branches
                .iter()
                .position(|id| !matches!(table.get(*id).kind, Kind::Null));
            let Some(number) = only else {
                return fault("type", "null", shown(value));
            };
            branch_of(number, out);
            return self.put(branches[number], value, out);
        }
        if let Value::Object(members) = value
            && let [(word, inner)] = members.as_slice()
            && let Some(number) = branches.iter().position(|id| table.word(*id) == word)
        {
            branch_of(number, out);
            let put = self.put(branches[number], inner, out);
            return put.map_err(|fault| fault.within(word));
        }
        self.guess(branches, value, out)
    }

    /// A value without its branch's name: the only branch that takes it.
    fn guess(&mut self, branches: &[Id], value: &Value, out: &mut Vec<u8>) -> Result<(), Fault> {
        let mut found: Option<(usize, Vec<u8>)> = None;
        let depth = self.depth;
        for (number, id) in branches.iter().enumerate() {
            let mut tried = Vec::new();
            let taken = self.put(*id, value, &mut tried).is_ok();
            self.depth = depth;
            if taken {
                if found.is_some() {
                    let expected = format!("an object that names one of {}", self.words(branches));
                    return fault(
                        "union",
                        expected,
                        format!("{}, which fits several", shown(value)),
                    );
                }
                found = Some((number, tried));
            }
        }
        self.count()?;
        let Some((number, bytes)) = found else {
            let expected = format!("one of {}", self.words(branches));
            return fault("union", expected, shown(value));
        };
        put_long(out, number.try_into().unwrap_or(i64::MAX));
        out.extend_from_slice(&bytes);
        Ok(())
    }
    fn words(&self, branches: &[Id]) -> String {
        listed(branches.iter().map(|id| self.table.word(*id)))
    }
}
