//! The check: a walk over the wire format that keeps nothing (protobuf.dev, "Encoding").
//!
//! The verdict is that of prost-reflect's decoder, with two differences: fields that are `required` must be there, and a map's
//! entries must come with the wire type of messages, which it does not look at. Extensions that the schema describes are checked
//! as fields are; what is nested counts as deep as it does there, where a map's entry is no level of its own.

use super::table::{Field, Id, Table, Wire};
use crate::fault::{Fault, fault};

/// Deepest nesting of messages and groups, as in most implementations.
const MAX_DEPTH: usize = 100;

const VARINT: u8 = 0;
const FIXED64: u8 = 1;
const SIZED: u8 = 2;
const GROUP: u8 = 3;
const GROUP_END: u8 = 4;
const FIXED32: u8 = 5;

impl Table {
    pub(super) fn check(&self, root: Id, payload: &[u8]) -> Result<(), Fault> {
        self.message(root, &mut &*payload, 0, None)
    }

    /// Walks over a message, to the end of `rest` or of the group that it is.
    fn message(
        &self,
        id: Id,
        rest: &mut &[u8],
        depth: usize,
        group: Option<u32>,
    ) -> Result<(), Fault> {
        if depth > MAX_DEPTH {
            return fault(
                "depth",
                format!("at most {MAX_DEPTH} levels"),
                "deeper nesting",
            );
        }
        let message = &self.messages[id];
        let mut missing = all(message.required);
        // What has no bit is counted by name.
        let mut seen = vec![false; message.required.saturating_sub(128) as usize];
        let mut ended = group.is_none();
        while !rest.is_empty() {
            let (number, wire) = tag(rest)?;
            if wire == GROUP_END {
                if group == Some(number) {
                    ended = true;
                    break;
                }
                // Before a map's number that is no group's end to the library, but a strange entry.
                let entry = |field: &Field| matches!(field.wire, Wire::Entry(_));
                if !message.field(number).is_some_and(entry) {
                    return fault(
                        "group",
                        "the end of the group that was begun",
                        format!("the end of group {number}"),
                    );
                }
            }
            let Some(field) = message.field(number) else {
                skip(number, wire, rest, depth, false)?;
                continue;
            };
            if let Some(bit) = field.required {
                match bit.checked_sub(128) {
                    None => missing &= !(1_u128 << bit),
                    Some(place) => seen[place as usize] = true,
                }
            }
            self.field(field, wire, rest, depth)
                .map_err(|fault| fault.within(&field.name))?;
        }
        if !ended {
            return fault("truncated", "the end of a group", "no more bytes");
        }
        if missing != 0 || seen.contains(&false) {
            return self.missing(id, missing, &seen);
        }
        Ok(())
    }

    /// Walks over an entry of a map: a key and a value, neither of which must be there.
    fn entry(&self, id: Id, mut rest: &[u8], depth: usize) -> Result<(), Fault> {
        while !rest.is_empty() {
            let (number, wire) = tag(&mut rest)?;
            match self.messages[id].field(number) {
                Some(field) => self
                    .field(field, wire, &mut rest, depth)
                    .map_err(|fault| fault.within(&field.name))?,
                None => skip(number, wire, &mut rest, depth, true)?,
            }
        }
        Ok(())
    }

    #[cold]
    fn missing(&self, id: Id, missing: u128, seen: &[bool]) -> Result<(), Fault> {
        let fields = &self.messages[id].fields;
        let absent = fields.iter().find(|field| match field.required {
            Some(bit @ 0..128) => missing & (1_u128 << bit) != 0,
            Some(bit) => seen.get(bit as usize - 128) == Some(&false),
            None => false,
        });
        let name = absent.map_or("", |field| field.name.as_str());
        fault("required", "a value", "nothing").map_err(|fault: Fault| fault.within(name))
    }

    #[inline]
    fn field(&self, field: &Field, wire: u8, rest: &mut &[u8], depth: usize) -> Result<(), Fault> {
        match (field.wire, wire) {
            (Wire::Varint, VARINT) => varint(rest).map(drop),
            (Wire::Fixed32, FIXED32) => take(rest, 4).map(drop),
            (Wire::Fixed64, FIXED64) => take(rest, 8).map(drop),
            (Wire::Text, SIZED) => match std::str::from_utf8(sized(rest)?) {
                Ok(_) => Ok(()),
                Err(error) => fault(
                    "utf8",
                    "text in UTF-8",
                    format!("bytes that are not, from {} on", error.valid_up_to()),
                ),
            },
            (Wire::Bytes, SIZED) => sized(rest).map(drop),
            (Wire::Message(id), SIZED) => {
                let mut inner = sized(rest)?;
                self.message(id, &mut inner, depth + 1, None)
            }
            (Wire::Entry(id), SIZED) => self.entry(id, sized(rest)?, depth),
            (Wire::Group(id), GROUP) => self.message(id, rest, depth + 1, Some(field.number)),
            // Repeated numbers may come packed whether the schema says so or not.
            (Wire::Varint, SIZED) if field.repeated => {
                let mut inner = sized(rest)?;
                while !inner.is_empty() {
                    varint(&mut inner)?;
                }
                Ok(())
            }
            (Wire::Fixed32, SIZED) if field.repeated => packed(rest, 4),
            (Wire::Fixed64, SIZED) if field.repeated => packed(rest, 8),
            (expected, found) => fault("type", told(expected), format!("wire type {found}")),
        }
    }
}

/// A bit for each of `count` fields, as far as there are bits.
fn all(count: u32) -> u128 {
    match count {
        0 => 0,
        1..=127 => (1_u128 << count) - 1,
        _ => u128::MAX,
    }
}

fn told(wire: Wire) -> &'static str {
    match wire {
        Wire::Varint => "a number (wire type 0)",
        Wire::Fixed64 => "8 bytes (wire type 1)",
        Wire::Text => "text (wire type 2)",
        Wire::Bytes => "bytes (wire type 2)",
        Wire::Message(_) => "a message (wire type 2)",
        Wire::Entry(_) => "a map's entry (wire type 2)",
        Wire::Group(_) => "a group (wire type 3)",
        Wire::Fixed32 => "4 bytes (wire type 5)",
    }
}

/// Field number and wire type.
#[inline]
fn tag(rest: &mut &[u8]) -> Result<(u32, u8), Fault> {
    let key = varint(rest)?;
    let Ok(key) = u32::try_from(key) else {
        return fault("tag", "a field's number", format!("{key}"));
    };
    let (number, wire) = (key >> 3, (key & 7) as u8);
    if number == 0 || wire > FIXED32 {
        return fault(
            "tag",
            "a field's number and wire type",
            format!("number {number} with wire type {wire}"),
        );
    }
    Ok((number, wire))
}

#[inline]
fn varint(rest: &mut &[u8]) -> Result<u64, Fault> {
    // Most numbers are short.
    if let [first, behind @ ..] = *rest
        && *first < 0x80
    {
        *rest = behind;
        return Ok(u64::from(*first));
    }
    varint_slow(rest)
}

fn varint_slow(rest: &mut &[u8]) -> Result<u64, Fault> {
    let mut value = 0_u64;
    for (index, byte) in rest.iter().take(10).enumerate() {
        // The tenth byte has one bit left to give.
        if index == 9 && *byte > 1 {
            return fault("range", "a number of 64 bits", "a longer one");
        }
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            *rest = &rest[index + 1..];
            return Ok(value);
        }
    }
    fault("truncated", "the end of a number", "no more bytes")
}

#[inline]
fn take<'a>(rest: &mut &'a [u8], len: usize) -> Result<&'a [u8], Fault> {
    let Some((taken, behind)) = rest.split_at_checked(len) else {
        return fault(
            "truncated",
            format!("{len} bytes"),
            format!("{} bytes", rest.len()),
        );
    };
    *rest = behind;
    Ok(taken)
}

#[inline]
fn sized<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], Fault> {
    let len = varint(rest)?;
    match usize::try_from(len) {
        Ok(len) => take(rest, len),
        Err(_) => fault("length", "a length", len.to_string()),
    }
}

fn packed(rest: &mut &[u8], each: usize) -> Result<(), Fault> {
    let inner = sized(rest)?;
    if inner.len().is_multiple_of(each) {
        return Ok(());
    }
    fault(
        "length",
        format!("a multiple of {each} bytes"),
        format!("{} bytes", inner.len()),
    )
}

/// Walks over a field that the schema does not know. Within an entry of a map each is a level, as it is to the library.
fn skip(number: u32, wire: u8, rest: &mut &[u8], depth: usize, entry: bool) -> Result<(), Fault> {
    let deepest = || {
        let limit = format!("at most {MAX_DEPTH} levels");
        fault("depth", limit, "deeper nesting")
    };
    match wire {
        _ if entry && depth >= MAX_DEPTH => deepest(),
        GROUP_END => fault("group", "a field", format!("the end of group {number}")),
        VARINT => varint(rest).map(drop),
        FIXED64 => take(rest, 8).map(drop),
        SIZED => sized(rest).map(drop),
        FIXED32 => take(rest, 4).map(drop),
        _ => {
            if depth >= MAX_DEPTH {
                return deepest();
            }
            loop {
                if rest.is_empty() {
                    return fault("truncated", "the end of a group", "no more bytes");
                }
                let (inner, wire) = tag(rest)?;
                if wire == GROUP_END {
                    if inner == number {
                        return Ok(());
                    }
                    return fault(
                        "group",
                        "the end of the group that was begun",
                        format!("the end of group {inner}"),
                    );
                }
                skip(inner, wire, rest, depth + 1, entry)?;
            }
        }
    }
}
