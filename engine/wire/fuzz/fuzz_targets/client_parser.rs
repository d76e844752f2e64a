//! Any bytes, any split: the parser never panics, never asks for what it has, and the split changes nothing.
//! Run with `cargo fuzz run client_parser` in `engine/wire`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use millstream_wire::{Limits, Parser};

fn replay(bytes: &[u8], step: usize) -> Vec<String> {
    let mut parser = Parser::new(Limits { max_control_line: 64, max_payload: 1024 });
    let mut seen = Vec::new();
    let (mut start, mut end) = (0, 0);
    loop {
        match parser.next(&bytes[start..end]) {
            Ok(Some((op, used))) => {
                seen.push(format!("{op:?}"));
                start += used;
            }
            Ok(None) => {
                assert!(parser.needed() > end - start);
                if end == bytes.len() {
                    return seen;
                }
                end = bytes.len().min(end.saturating_add(step));
            }
            Err(error) => {
                seen.push(error.to_string());
                return seen;
            }
        }
    }
}

fuzz_target!(|data: (u8, &[u8])| {
    let (step, bytes) = data;
    assert_eq!(replay(bytes, usize::from(step) + 1), replay(bytes, usize::MAX));
});
