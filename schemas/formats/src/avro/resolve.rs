//! A payload of another version laid out for this one (Avro 1.12, "Schema Resolution"), from bytes to bytes.

use super::cursor::{Cursor, put_long, put_sized};
use super::defaults::put_default;
use super::table::{Id, Kind, Logical, Record, Table};
use super::walk::{check_text, index};
use crate::fault::{Fault, fault};
use crate::scalars::listed;

/// Deepest look into two schemas to find the branch that fits.
const MAX_LOOK: usize = 16;

impl Table {
    pub(super) fn resolve(&self, writer: &Self, payload: &[u8]) -> Result<Vec<u8>, Fault> {
        writer.check(payload)?;
        let mut out = Vec::with_capacity(payload.len() + 16);
        let reading = Resolving {
            reader: self,
            writer,
        };
        reading.value(self.root, writer.root, &mut Cursor::new(payload), &mut out)?;
        Ok(out)
    }
}

struct Resolving<'a> {
    reader: &'a Table,
    writer: &'a Table,
}

impl Resolving<'_> {
    fn value(
        &self,
        to: Id,
        from: Id,
        cursor: &mut Cursor<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        let (reader, writer) = (&self.reader.get(to).kind, &self.writer.get(from).kind);
        match (reader, writer) {
            _ if self.ours_differ(to, from) => return self.mismatch(to, from),
            (_, Kind::Union(branches)) => {
                let branch = branches[index(cursor, branches.len(), "branch")?];
                return self.value(to, branch, cursor, out);
            }
            (Kind::Union(branches), _) => {
                let Some(number) = self.branch(branches, from) else {
                    return self.mismatch(to, from);
                };
                put_long(out, number.try_into().unwrap_or(i64::MAX));
                return self.value(branches[number], from, cursor, out);
            }
            (Kind::Bytes, Kind::Bytes | Kind::String) => put_sized(out, cursor.sized("bytes")?),
            (Kind::String, Kind::String | Kind::Bytes) => {
                let text = cursor.text()?;
                if let Some(logical) = self.reader.get(to).logical {
                    check_text(logical, text)?;
                }
                put_sized(out, text.as_bytes());
            }
            (Kind::Fixed(to), Kind::Fixed(from))
                if to.size == from.size && to.name.reads(&from.name) =>
            {
                out.extend_from_slice(cursor.take(from.size, "a fixed")?);
            }
            (Kind::Enum(to), Kind::Enum(from)) if to.name.reads(&from.name) => {
                let number = index(cursor, from.symbols.len(), "symbol")?;
                let word = &from.symbols[number];
                let known = |word: &String| to.symbols.iter().position(|symbol| symbol == word);
                let Some(number) = known(word).or_else(|| to.default.as_ref().and_then(known))
                else {
                    let symbols = listed(to.symbols.iter().map(String::as_str));
                    return fault("symbol", format!("one of {symbols}"), format!("`{word}`"));
                };
                put_long(out, number.try_into().unwrap_or(i64::MAX));
            }
            (Kind::Array(to), Kind::Array(from)) => {
                self.blocks(cursor, out, |cursor, out, number| {
                    let value = self.value(*to, *from, cursor, out);
                    value.map_err(|fault| fault.within(number.to_string()))
                })?
            }
            (Kind::Map(to), Kind::Map(from)) => self.blocks(cursor, out, |cursor, out, _| {
                let key = cursor.text()?;
                put_sized(out, key.as_bytes());
                let value = self.value(*to, *from, cursor, out);
                value.map_err(|fault| fault.within(key))
            })?,
            (Kind::Record(to), Kind::Record(from)) if to.name.reads(&from.name) => {
                self.record(to, from, cursor, out)?;
            }
            (reader, writer) if promotes(reader, writer) => number(reader, writer, cursor, out)?,
            _ => return self.mismatch(to, from),
        }
        Ok(())
    }

    fn blocks<'a>(
        &self,
        cursor: &mut Cursor<'a>,
        out: &mut Vec<u8>,
        mut value: impl FnMut(&mut Cursor<'a>, &mut Vec<u8>, u64) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let mut number = 0;
        loop {
            // The writer's sizes in bytes are not the reader's.
            let (count, _) = cursor.block()?;
            put_long(out, count.try_into().unwrap_or(i64::MAX));
            if count == 0 {
                return Ok(());
            }
            for _ in 0..count {
                value(cursor, out, number)?;
                number += 1;
            }
        }
    }

    fn record(
        &self,
        to: &Record,
        from: &Record,
        cursor: &mut Cursor<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        let mut found: Vec<Option<Vec<u8>>> = vec![None; to.fields.len()];
        for field in &from.fields {
            let named = |name: &String| *name == field.name;
            let place = to
                .fields
                .iter()
                .position(|own| named(&own.name))
                .or_else(|| {
                    to.fields
                        .iter()
                        .position(|own| own.aliases.iter().any(named))
                });
            match place {
                Some(place) => {
                    let mut bytes = Vec::new();
                    let own = &to.fields[place];
                    self.value(own.id, field.id, cursor, &mut bytes)
                        .map_err(|fault| fault.within(&own.name))?;
                    found[place] = Some(bytes);
                }
                None => self.writer.skip(field.id, cursor)?,
            }
        }
        for (field, bytes) in to.fields.iter().zip(found) {
            match (bytes, &field.bytes) {
                (Some(bytes), _) => out.extend_from_slice(&bytes),
                (None, Some(default)) => {
                    let put = put_default(default, out);
                    put.map_err(|fault| fault.within(&field.name))?;
                }
                (None, None) => {
                    let missing = fault(
                        "required",
                        "a value, or a default in the reader's schema",
                        "nothing",
                    );
                    return missing.map_err(|fault: Fault| fault.within(&field.name));
                }
            }
        }
        Ok(())
    }

    /// The first branch of the same type and name, else the first that the writer's type can become.
    fn branch(&self, branches: &[Id], from: Id) -> Option<usize> {
        let same = |to: &Id| self.exactly(*to, from);
        let fits = |to: &Id| self.matches(*to, from, MAX_LOOK);
        branches
            .iter()
            .position(|to| same(to) && fits(to))
            .or_else(|| branches.iter().position(fits))
    }

    fn exactly(&self, to: Id, from: Id) -> bool {
        let (reader, writer) = (&self.reader.get(to).kind, &self.writer.get(from).kind);
        match (reader, writer) {
            (Kind::Record(to), Kind::Record(from)) => to.name.full == from.name.full,
            (Kind::Enum(to), Kind::Enum(from)) => to.name.full == from.name.full,
            (Kind::Fixed(to), Kind::Fixed(from)) => to.name.full == from.name.full,
            _ => std::mem::discriminant(reader) == std::mem::discriminant(writer),
        }
    }

    fn matches(&self, to: Id, from: Id, look: usize) -> bool {
        let Some(look) = look.checked_sub(1) else {
            return true;
        };
        match (&self.reader.get(to).kind, &self.writer.get(from).kind) {
            _ if self.ours_differ(to, from) => false,
            (_, Kind::Union(branches)) => branches.iter().any(|from| self.matches(to, *from, look)),
            (Kind::Union(branches), _) => branches.iter().any(|to| self.matches(*to, from, look)),
            (Kind::Record(to), Kind::Record(from)) => to.name.reads(&from.name),
            (Kind::Enum(to), Kind::Enum(from)) => to.name.reads(&from.name),
            (Kind::Fixed(to), Kind::Fixed(from)) => {
                to.size == from.size && to.name.reads(&from.name)
            }
            (Kind::Array(to), Kind::Array(from)) | (Kind::Map(to), Kind::Map(from)) => {
                self.matches(*to, *from, look)
            }
            (reader, writer) => promotes(reader, writer),
        }
    }

    /// Text that is JSON or a number is no text like any other; the specification does not know of it.
    fn ours_differ(&self, to: Id, from: Id) -> bool {
        let ours = |logical: Option<Logical>| {
            logical.filter(|own| matches!(own, Logical::Json | Logical::UInt64))
        };
        let (reader, writer) = (self.reader.get(to), self.writer.get(from));
        let union = |kind: &Kind| matches!(kind, Kind::Union(_));
        !union(&reader.kind) && !union(&writer.kind) && ours(reader.logical) != ours(writer.logical)
    }

    fn mismatch(&self, to: Id, from: Id) -> Result<(), Fault> {
        fault(
            "type",
            self.reader.word(to),
            format!("{} of the writer's schema", self.writer.word(from)),
        )
    }
}

/// Nothing, yes or no, and numbers, widened where the reader wants more.
fn number(
    reader: &Kind,
    writer: &Kind,
    cursor: &mut Cursor<'_>,
    out: &mut Vec<u8>,
) -> Result<(), Fault> {
    match (reader, writer) {
        (Kind::Null, Kind::Null) => {}
        (Kind::Boolean, Kind::Boolean) => out.extend_from_slice(cursor.take(1, "boolean")?),
        (Kind::Int | Kind::Long, Kind::Int) => put_long(out, cursor.int()?.into()),
        (Kind::Long, Kind::Long) => put_long(out, cursor.long()?),
        #[expect(
            clippy::cast_precision_loss,
            reason = "the specification promotes like this"
        )]
        (Kind::Float, Kind::Int | Kind::Long) => {
            out.extend_from_slice(&(cursor.long()? as f32).to_le_bytes());
        }
        #[expect(
            clippy::cast_precision_loss,
            reason = "the specification promotes like this"
        )]
        (Kind::Double, Kind::Int | Kind::Long) => {
            out.extend_from_slice(&(cursor.long()? as f64).to_le_bytes());
        }
        (Kind::Float, Kind::Float) => out.extend_from_slice(cursor.take(4, "a float")?),
        (Kind::Double, Kind::Float) => {
            let bytes = cursor.take(4, "a float")?.try_into().unwrap_or_default();
            out.extend_from_slice(&f64::from(f32::from_le_bytes(bytes)).to_le_bytes());
        }
        (Kind::Double, Kind::Double) => out.extend_from_slice(cursor.take(8, "a double")?),
        _ => return fault("type", "a number", "another type"),
    }
    Ok(())
}

/// Whether a value of a simple type can be read as another.
pub(super) fn promotes(reader: &Kind, writer: &Kind) -> bool {
    match (reader, writer) {
        (Kind::Long, Kind::Int)
        | (Kind::Float, Kind::Int | Kind::Long)
        | (Kind::Double, Kind::Int | Kind::Long | Kind::Float)
        | (Kind::Bytes, Kind::String)
        | (Kind::String, Kind::Bytes) => true,
        (
            Kind::Null
            | Kind::Boolean
            | Kind::Int
            | Kind::Long
            | Kind::Float
            | Kind::Double
            | Kind::Bytes
            | Kind::String,
            _,
        ) => std::mem::discriminant(reader) == std::mem::discriminant(writer),
        _ => false,
    }
}
