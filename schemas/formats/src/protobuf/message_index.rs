//! Which message of a file a payload is, as the Confluent serializers write it between the schema's id and the payload.
//!
//! The path from the file to the message, each step a number among its siblings: a count and that many steps, all zig-zag
//! variable-length numbers. The path `[0]`, the first message, is the single byte 0.

use crate::Violation;

/// Deepest message.
const MAX_STEPS: usize = 64;

/// The path and what follows it.
///
/// # Errors
/// When the bytes are no path.
pub fn read_message_index(bytes: &[u8]) -> Result<(Vec<i32>, &[u8]), Violation> {
    let mut rest = bytes;
    let count = number(&mut rest)?;
    let count = usize::try_from(count)
        .ok()
        .filter(|count| *count <= MAX_STEPS);
    let Some(count) = count else {
        return Err(wrong("a count of steps"));
    };
    if count == 0 {
        return Ok((vec![0], rest));
    }
    let steps = (0..count)
        .map(|_| number(&mut rest))
        .collect::<Result<_, _>>()?;
    Ok((steps, rest))
}

/// The bytes of a path.
#[must_use]
pub fn write_message_index(path: &[i32]) -> Vec<u8> {
    if path == [0] {
        return vec![0];
    }
    let mut out = Vec::with_capacity(path.len() + 1);
    put(&mut out, i32::try_from(path.len()).unwrap_or(i32::MAX));
    path.iter().for_each(|step| put(&mut out, *step));
    out
}

fn wrong(expected: &str) -> Violation {
    Violation::of(
        "",
        "message_index",
        expected,
        "other bytes before the payload",
    )
}

fn number(rest: &mut &[u8]) -> Result<i32, Violation> {
    let mut value = 0_u64;
    for index in 0..5 {
        let Some((byte, behind)) = rest.split_first() else {
            return Err(wrong("the path of a message"));
        };
        *rest = behind;
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            let number = (value >> 1).cast_signed() ^ -((value & 1).cast_signed());
            return i32::try_from(number).map_err(|_| wrong("the path of a message"));
        }
    }
    Err(wrong("the path of a message"))
}

fn put(out: &mut Vec<u8>, value: i32) {
    let mut rest = ((value << 1) ^ (value >> 31)).cast_unsigned();
    while rest >= 0x80 {
        out.push((rest as u8 & 0x7f) | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_first_message_is_one_zero_byte() {
        assert_eq!(write_message_index(&[0]), [0]);
        assert_eq!(read_message_index(&[0, 7]), Ok((vec![0], &[7][..])));
        assert_eq!(write_message_index(&[1, 0]), [4, 2, 0]);
        assert!(read_message_index(&[]).is_err() && read_message_index(&[1]).is_err());
        assert!(read_message_index(&[0xff, 0xff, 0xff, 0xff, 0xff]).is_err());
        assert!(
            read_message_index(&[0xfe, 0xff, 0x07]).is_err(),
            "too many steps"
        );
    }

    proptest! {
        #[test]
        fn paths_come_back(path in prop::collection::vec(0..1000i32, 1..10), rest: Vec<u8>) {
            let bytes = [write_message_index(&path), rest.clone()].concat();
            prop_assert_eq!(read_message_index(&bytes), Ok((path, rest.as_slice())));
        }

        #[test]
        fn any_bytes_end(bytes: Vec<u8>) {
            let _read = read_message_index(&bytes);
        }
    }
}
