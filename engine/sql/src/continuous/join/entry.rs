//! Rows in the log.
//!
//! A key is the side (0 or 1) and the row's number (`u32`, big endian). A value is the version 1; a byte of flags: 1 a count
//! that is not 1, 2 matches that are not 0, 4 when it was touched, each as `i64`, big endian, in this order if its flag is set;
//! and the row's bytes: a deadline for each clock (`i64`), how long the join key is (`u32`), the join key, the columns.

use millstream_pipeline::BrokenState;

const VERSION: u8 = 1;
const COUNT: u8 = 1;
const MATCHES: u8 = 2;
const TOUCHED: u8 = 4;

/// A row as the log has it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry<'a> {
    pub(super) count: i64,
    pub(super) matches: i64,
    /// `None` where rows live for ever.
    pub(super) touched: Option<i64>,
    pub(super) data: &'a [u8],
}

impl<'a> Entry<'a> {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut value = Vec::with_capacity(self.data.len() + 30);
        value.extend_from_slice(&[VERSION, 0]);
        let mut put = |flag: u8, number: Option<i64>| {
            if let Some(number) = number {
                value[1] |= flag;
                value.extend_from_slice(&number.to_be_bytes());
            }
        };
        put(COUNT, (self.count != 1).then_some(self.count));
        put(MATCHES, (self.matches != 0).then_some(self.matches));
        put(TOUCHED, self.touched);
        value.extend_from_slice(self.data);
        value
    }

    /// # Errors
    /// When it is no such value.
    pub(super) fn decode(value: &'a [u8]) -> Result<Self, BrokenState> {
        let wrong = || BrokenState("row of a join has another form".to_owned());
        let [VERSION, flags, rest @ ..] = value else {
            return Err(wrong());
        };
        let mut rest = rest;
        let mut number = |flag: u8| {
            if flags & flag == 0 {
                return Ok(None);
            }
            let (number, behind) = rest.split_first_chunk::<8>().ok_or_else(wrong)?;
            rest = behind;
            Ok(Some(i64::from_be_bytes(*number)))
        };
        let count = number(COUNT)?.unwrap_or(1);
        let matches = number(MATCHES)?.unwrap_or(0);
        let touched = number(TOUCHED)?;
        if count == 0 {
            return Err(wrong());
        }
        Ok(Self {
            count,
            matches,
            touched,
            data: rest,
        })
    }
}

pub(super) fn key(side: usize, id: u32) -> [u8; 5] {
    let mut key = [side as u8, 0, 0, 0, 0];
    key[1..].copy_from_slice(&id.to_be_bytes());
    key
}

/// The side and the number of a row.
///
/// # Errors
/// When it is no such key.
pub(super) fn read_key(key: &[u8]) -> Result<(usize, u32), BrokenState> {
    match key {
        [side @ (0 | 1), slot @ ..] if slot.len() == 4 => {
            let mut number = [0; 4];
            number.copy_from_slice(slot);
            Ok((usize::from(*side), u32::from_be_bytes(number)))
        }
        _ => Err(BrokenState(
            "key of a join's row has another form".to_owned(),
        )),
    }
}
