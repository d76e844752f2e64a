//! Any text as a schema of each format: compiling ends, and so does everything that is asked of what compiles.
//! Run with `cargo +nightly fuzz run schema_text` in `schemas/formats`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use millstream_schema_formats::{Format, Policy, Schema, diff};

fuzz_target!(|input: (u8, &str, &[u8])| {
    let (format, text, payload) = input;
    let format = Format::ALL[usize::from(format) % Format::ALL.len()];
    let Ok(schema) = Schema::compile(format, text, &[]) else {
        return;
    };
    let (canonical, normalized) = (schema.canonical(), schema.normalized());
    let again = Schema::compile(format, &canonical, &[]).expect("its own text");
    assert_eq!(again.normalized(), normalized);
    assert!(schema.cannot_read(&again, Policy::Strict).is_empty());
    assert!(diff(&schema, &schema).is_empty());
    let shape = schema.shape();
    for other in Format::ALL {
        let text = Schema::text_of(other, &shape);
        assert!(Schema::compile(other, &text, &[]).is_ok(), "{text}");
    }
    let (_columns, _name) = (schema.columns(), schema.name());
    assert_eq!(schema.decode(payload).is_ok(), schema.check(payload).is_ok());
});
