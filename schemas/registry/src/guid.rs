//! The number of a schema that is the same in every registry.

use sha2::{Digest as _, Sha256};

use crate::data::{Metadata, RuleSet, SchemaReference};
use millstream_schema_formats::Format;

/// A UUID of version 8 (RFC 9562): the first 122 bits of the SHA-256 over everything that tells one schema from another:
/// format, canonical text, references, metadata, rules. Each part goes in with its length in front, as JSON where it has
/// members.
pub(crate) fn guid(
    format: Format,
    canonical: &str,
    references: &[SchemaReference],
    metadata: Option<&Metadata>,
    rule_set: Option<&RuleSet>,
) -> String {
    let json = |text: serde_json::Result<String>| text.unwrap_or_default();
    let parts = [
        format.as_str().to_owned(),
        canonical.to_owned(),
        json(serde_json::to_string(references)),
        json(serde_json::to_string(&metadata)),
        json(serde_json::to_string(&rule_set)),
    ];
    let mut hash = Sha256::new();
    for part in &parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    let digest = hash.finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let number = u128::from_be_bytes(bytes);
    let hex = format!("{number:032x}");
    let parts = [
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..],
    ];
    parts.join("-")
}
