//! The check: a walk over the bytes that keeps nothing.
//!
//! What counts is the specification; apache-avro's decoder is laxer in four places: it drops the bits of a number beyond 64, it does not compare a block's size with
//! what the block takes, it takes text that is cut off for null, and it leaves bytes behind the datum to its caller.

use super::cursor::Cursor;
use super::table::{Id, Kind, Logical, Table, Type};
use crate::fault::{Fault, fault};

impl Table {
    pub(super) fn check(&self, payload: &[u8]) -> Result<(), Fault> {
        let mut cursor = Cursor::new(payload);
        self.skip(self.root, &mut cursor)?;
        match cursor.rest.len() {
            0 => Ok(()),
            left => fault(
                "trailing",
                "the end of the payload",
                format!("{left} bytes more"),
            ),
        }
    }

    /// Walks over one value.
    pub(super) fn skip(&self, id: Id, cursor: &mut Cursor<'_>) -> Result<(), Fault> {
        let Type { kind, logical } = self.get(id);
        match kind {
            Kind::Null => cursor.nothing()?,
            Kind::Boolean => match cursor.take(1, "boolean")? {
                [0 | 1] => {}
                other => return fault("type", "0 or 1 for a boolean", format!("{other:?}")),
            },
            Kind::Int => drop(cursor.int()?),
            Kind::Long => {
                let long = cursor.long()?;
                if *logical == Some(Logical::UInt32) && u32::try_from(long).is_err() {
                    let expected = "a whole number of 32 bits without a sign";
                    return fault("range", expected, long.to_string());
                }
            }
            Kind::Float => drop(cursor.take(4, "a float")?),
            Kind::Double => drop(cursor.take(8, "a double")?),
            Kind::Bytes => drop(cursor.sized("bytes")?),
            Kind::String => {
                let text = cursor.text()?;
                if let Some(logical) = logical {
                    check_text(*logical, text)?;
                }
            }
            Kind::Fixed(fixed) if fixed.size == 0 => cursor.nothing()?,
            Kind::Fixed(fixed) => drop(cursor.take(fixed.size, "a fixed")?),
            Kind::Enum(symbols) => drop(index(cursor, symbols.symbols.len(), "symbol")?),
            Kind::Union(branches) => {
                let branch = index(cursor, branches.len(), "branch")?;
                self.skip(branches[branch], cursor)?;
            }
            Kind::Record(record) => {
                cursor.enter()?;
                if record.fields.is_empty() {
                    cursor.nothing()?;
                }
                for field in &record.fields {
                    let walked = self.skip(field.id, cursor);
                    walked.map_err(|fault| fault.within(&field.name))?;
                }
                cursor.leave();
            }
            Kind::Array(items) => each(cursor, |cursor, number| {
                let walked = self.skip(*items, cursor);
                walked.map_err(|fault| fault.within(number.to_string()))
            })?,
            Kind::Map(values) => each(cursor, |cursor, _| {
                let key = cursor.text()?;
                let walked = self.skip(*values, cursor);
                walked.map_err(|fault| fault.within(key))
            })?,
        }
        Ok(())
    }
}

/// Goes through the blocks of an array or map.
pub(super) fn each<'a>(
    cursor: &mut Cursor<'a>,
    mut value: impl FnMut(&mut Cursor<'a>, u64) -> Result<(), Fault>,
) -> Result<(), Fault> {
    cursor.enter()?;
    let mut number = 0;
    loop {
        let (count, behind) = cursor.block()?;
        if count == 0 {
            break;
        }
        for _ in 0..count {
            value(cursor, number)?;
            number += 1;
        }
        cursor.block_end(behind)?;
    }
    cursor.leave();
    Ok(())
}

/// The number of a symbol or branch.
#[inline]
pub(super) fn index(cursor: &mut Cursor<'_>, count: usize, what: &str) -> Result<usize, Fault> {
    let index = cursor.long()?;
    match usize::try_from(index) {
        Ok(index) if index < count => Ok(index),
        _ => fault(
            what_keyword(what),
            format!("the number of a {what} below {count}"),
            index.to_string(),
        ),
    }
}

fn what_keyword(what: &str) -> &'static str {
    if what == "branch" { "union" } else { "symbol" }
}

pub(super) fn check_text(logical: Logical, text: &str) -> Result<(), Fault> {
    let (good, expected) = match logical {
        Logical::Uuid => (is_uuid(text), "a UUID"),
        Logical::Json => (
            serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok(),
            "JSON text",
        ),
        Logical::UInt64 => (text.parse::<u64>().is_ok(), "a whole number without a sign"),
        _ => (true, ""),
    };
    if good {
        return Ok(());
    }
    fault(
        "format",
        expected,
        format!("`{}`", text.chars().take(64).collect::<String>()),
    )
}

/// 32 hexadecimal digits, in groups of 8, 4, 4, 4 and 12 (RFC 9562); apache-avro also takes other spellings.
pub(super) fn is_uuid(text: &str) -> bool {
    let hyphen = |index: usize| matches!(index, 8 | 13 | 18 | 23);
    text.len() == 36
        && text.bytes().enumerate().all(|(index, byte)| {
            if hyphen(index) {
                byte == b'-'
            } else {
                byte.is_ascii_hexdigit()
            }
        })
}
