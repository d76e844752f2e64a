//! Any bytes from a server: the client's parser never panics.
//! Run with `cargo fuzz run server_parser` in `engine/wire`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use millstream_wire::ServerParser;

fuzz_target!(|bytes: &[u8]| {
    let mut parser = ServerParser::new();
    let mut start = 0;
    while let Ok(Some((_, used))) = parser.next(&bytes[start..]) {
        start += used;
    }
});
