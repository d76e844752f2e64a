//! Messages of a state stream.
//!
//! Layout, version 1: `u8` version, `u8` kind (0 changes, 1 snapshot, 2 results), then numbers: the run, the layout (8 bytes,
//! little endian), the epoch; then entries up to the end.
//! - changes and snapshots: length of the key, key, 0 when the entry is gone, else 1 + length of the value, value
//! - results: length of the subject, subject, length of the payload, payload, `u8` 1 when it takes a row away
//!
//! Numbers and lengths are LEB128. A change counts from its epoch on; a snapshot holds what the changes up to its epoch come to.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use millstream_pipeline::Output;

const VERSION: u8 = 1;

/// Most bytes of entries in a message; a single larger entry has one for itself.
pub(super) const PIECE: usize = 512 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Changes = 0,
    Snapshot = 1,
    Results = 2,
}

/// What a message says of itself. Sorted by epoch, a snapshot behind the changes that it sums up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) kind: Kind,
    pub(super) run: u64,
    pub(super) layout: u64,
    pub(super) epoch: u64,
}

/// Writes entries into messages of bounded size.
pub(super) struct Pieces {
    head: Head,
    open: BytesMut,
    done: Vec<Bytes>,
}

impl Pieces {
    pub(super) fn new(head: Head) -> Self {
        Self {
            head,
            open: BytesMut::new(),
            done: Vec::new(),
        }
    }

    fn room(&mut self, entry: usize) {
        if !self.open.is_empty() && self.open.len() + entry > PIECE {
            self.done.push(self.open.split().freeze());
        }
        if self.open.is_empty() {
            self.open.put_u8(VERSION);
            self.open.put_u8(self.head.kind as u8);
            put_number(&mut self.open, self.head.run);
            self.open.put_u64_le(self.head.layout);
            put_number(&mut self.open, self.head.epoch);
        }
    }

    pub(super) fn entry(&mut self, key: &[u8], value: Option<&[u8]>) {
        self.room(key.len() + value.map_or(0, <[u8]>::len) + 8);
        put_number(&mut self.open, key.len() as u64);
        self.open.put_slice(key);
        match value {
            None => put_number(&mut self.open, 0),
            Some(value) => {
                put_number(&mut self.open, value.len() as u64 + 1);
                self.open.put_slice(value);
            }
        }
    }

    pub(super) fn result(&mut self, output: &Output) {
        self.room(output.subject.len() + output.payload.len() + 12);
        for part in [&output.subject, &output.payload] {
            put_number(&mut self.open, part.len() as u64);
            self.open.put_slice(part);
        }
        self.open.put_u8(u8::from(output.delete));
    }

    pub(super) fn finish(mut self) -> Vec<Bytes> {
        if !self.open.is_empty() {
            self.done.push(self.open.freeze());
        }
        self.done
    }
}

fn put_number(to: &mut BytesMut, mut number: u64) {
    while number >= 0x80 {
        to.put_u8((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    to.put_u8(number as u8);
}

fn number(from: &mut Bytes) -> Option<u64> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = *from.first()?;
        from.advance(1);
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

fn part(from: &mut Bytes, length: u64) -> Option<Bytes> {
    let length = usize::try_from(length).ok()?;
    (from.len() >= length).then(|| from.split_to(length))
}

/// The head of a message and its entries; `None` when it is none of this build's.
pub(super) fn head(message: &Bytes) -> Option<(Head, Bytes)> {
    let mut rest = message.clone();
    if rest.len() < 2 || rest.get_u8() != VERSION {
        return None;
    }
    let kind = match rest.get_u8() {
        0 => Kind::Changes,
        1 => Kind::Snapshot,
        2 => Kind::Results,
        _ => return None,
    };
    let run = number(&mut rest)?;
    if rest.len() < 8 {
        return None;
    }
    let layout = rest.get_u64_le();
    let epoch = number(&mut rest)?;
    let head = Head {
        kind,
        run,
        layout,
        epoch,
    };
    Some((head, rest))
}

/// Reads the next entry of changes or a snapshot; the outer `None`: it is cut short.
pub(super) fn entry(rest: &mut Bytes) -> Option<(Bytes, Option<Bytes>)> {
    let length = number(rest)?;
    let key = part(rest, length)?;
    let value = match number(rest)? {
        0 => None,
        length => Some(part(rest, length - 1)?),
    };
    Some((key, value))
}

/// Reads the next result; `None`: it is cut short.
pub(super) fn result(rest: &mut Bytes) -> Option<Output> {
    let length = number(rest)?;
    let subject = part(rest, length)?;
    let length = number(rest)?;
    let payload = part(rest, length)?;
    if rest.is_empty() {
        return None;
    }
    let delete = rest.get_u8() == 1;
    Some(Output {
        subject,
        payload,
        delete,
        closes: None,
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use millstream_pipeline::Output;

    use super::{Head, Kind, PIECE, Pieces, entry, head, result};

    const HEAD: Head = Head {
        kind: Kind::Changes,
        run: 300,
        layout: 0x0102_0304_0506_0708,
        epoch: 5,
    };

    #[test]
    fn the_form_of_changes_stays() {
        let mut pieces = Pieces::new(HEAD);
        pieces.entry(b"UA", Some(b"7"));
        pieces.entry(b"AA", None);
        pieces.entry(b"", Some(b""));
        let made = pieces.finish();
        let golden: &[u8] = &[
            1, 0, 0xac, 2, 8, 7, 6, 5, 4, 3, 2, 1, 5, // head
            2, b'U', b'A', 2, b'7', 2, b'A', b'A', 0, 0, 1,
        ];
        assert_eq!(made, [golden]);
        let (read, mut rest) = head(&made[0]).expect("a head");
        assert_eq!(read, HEAD);
        let text = |text: &'static str| Bytes::from_static(text.as_bytes());
        assert_eq!(entry(&mut rest), Some((text("UA"), Some(text("7")))));
        assert_eq!(entry(&mut rest), Some((text("AA"), None)));
        assert_eq!(entry(&mut rest), Some((text(""), Some(text("")))));
        assert!(rest.is_empty());
    }

    #[test]
    fn the_form_of_results_stays() {
        let kind = Kind::Results;
        let mut pieces = Pieces::new(Head { kind, ..HEAD });
        let output = |payload: &'static [u8], delete| Output {
            subject: Bytes::from_static(b"out.a"),
            payload: Bytes::from_static(payload),
            delete,
            closes: None,
        };
        pieces.result(&output(b"{}", false));
        pieces.result(&output(b"", true));
        let made = pieces.finish();
        let golden: &[u8] = b"\x01\x02\xac\x02\x08\x07\x06\x05\x04\x03\x02\x01\x05\x05out.a\x02{}\x00\x05out.a\x00\x01";
        assert_eq!(made, [golden]);
        let (read, mut rest) = head(&made[0]).expect("a head");
        assert_eq!(read.kind, kind);
        assert_eq!(result(&mut rest), Some(output(b"{}", false)));
        assert_eq!(result(&mut rest), Some(output(b"", true)));
    }

    #[test]
    fn pieces_are_bounded_and_nothing_is_read_beyond_the_end() {
        let mut pieces = Pieces::new(HEAD);
        for _ in 0..3 {
            pieces.entry(b"k", Some(&[0; PIECE / 2]));
        }
        pieces.entry(b"large", Some(&[0; PIECE * 2]));
        assert_eq!(pieces.finish().len(), 4);
        let mut pieces = Pieces::new(HEAD);
        pieces.entry(b"key", Some(b"value"));
        let whole = pieces.finish().remove(0);
        for cut in 0..whole.len() {
            if let Some((_, mut rest)) = head(&whole.slice(..cut)) {
                assert_eq!(entry(&mut rest), None);
            }
        }
        assert_eq!(head(&Bytes::from_static(&[2, 0, 1])), None);
    }
}
