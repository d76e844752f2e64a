//! What a message says about its own schema: a prefix before the payload, or a header.
//!
//! The prefixes are the Confluent serializers' (schemas.md, 3.5): `00` and four bytes of id, or `01` and sixteen bytes of
//! GUID, both big-endian. Headers are `Ms-Schema: <subject>:<version>`, `Ms-Schema-Id: <id or GUID>`, and Confluent's
//! `__value_schema_id` with the same text. A claim is never believed: it only says against which version to check.

use bytes::Bytes;
use millstream_types::{HeaderBlock, Needle};

use super::version::VersionSchema;
use crate::headers;

/// Whether payloads begin with a prefix.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Framing {
    /// As it comes: what looks like a prefix and names a version of the subject is one.
    #[default]
    Auto,
    /// Never; the first byte belongs to the payload.
    Bare,
    /// Always, unless a header says which version it is.
    Prefixed,
}

/// Which version a message claims to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Tag {
    Id(u32),
    Guid(u128),
    Version(String, u32),
}

impl Tag {
    pub(crate) fn names(&self, version: &VersionSchema) -> bool {
        match self {
            Self::Id(id) => version.id == *id,
            Self::Guid(guid) => version.guid == *guid,
            Self::Version(subject, number) => {
                version.subject == *subject && version.version == *number
            }
        }
    }

    /// As a person would write it.
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::Id(id) => format!("id {id}"),
            Self::Guid(guid) => format!("GUID {guid:032x}"),
            Self::Version(subject, version) => format!("`{subject}:{version}`"),
        }
    }
}

/// A claim and where the payload begins behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) tag: Tag,
    /// Bytes of the prefix; 0 when a header says it.
    pub(crate) prefix: usize,
}

/// Whether a message may claim anything; false positives only cost a closer look.
pub(crate) fn may_claim(framing: Framing, raw: &[u8], payload: &[u8]) -> bool {
    claims_by_header(raw)
        || framing != Framing::Bare && payload.first().is_some_and(|first| *first <= 1)
        || framing == Framing::Prefixed
}

static CONFLUENT: Needle = Needle::new(b"__value_schema_id");

pub(crate) fn claims_by_header(raw: &[u8]) -> bool {
    headers::mentions_schema(raw) || !raw.is_empty() && CONFLUENT.is_in(raw)
}

/// What the message claims.
pub(crate) fn claim(framing: Framing, raw: &Bytes, payload: &[u8]) -> Option<Claim> {
    if claims_by_header(raw)
        && let Some(tag) = in_headers(raw)
    {
        return Some(Claim { tag, prefix: 0 });
    }
    prefix(framing, payload)
}

/// What a payload claims by its first bytes.
pub(crate) fn prefix(framing: Framing, payload: &[u8]) -> Option<Claim> {
    if framing == Framing::Bare {
        return None;
    }
    let (first, rest) = payload.split_first()?;
    match first {
        0 => rest.first_chunk().map(|id| Claim {
            tag: Tag::Id(u32::from_be_bytes(*id)),
            prefix: 5,
        }),
        1 => rest.first_chunk().map(|guid| Claim {
            tag: Tag::Guid(u128::from_be_bytes(*guid)),
            prefix: 17,
        }),
        _ => None,
    }
}

fn in_headers(raw: &Bytes) -> Option<Tag> {
    let block = HeaderBlock::new(raw);
    let mut all = block.iter();
    all.find_map(|(name, value)| {
        let value = std::str::from_utf8(value).ok()?.trim();
        match name {
            b"Ms-Schema" => {
                let (subject, version) = value.rsplit_once(':')?;
                Some(Tag::Version(subject.to_owned(), version.parse().ok()?))
            }
            b"Ms-Schema-Id" | b"__value_schema_id" => number(value),
            _ => None,
        }
    })
}

fn number(text: &str) -> Option<Tag> {
    if let Ok(id) = text.parse() {
        return Some(Tag::Id(id));
    }
    let digits: String = text.chars().filter(|c| *c != '-').collect();
    let exact = digits.len() == 32;
    let guid = u128::from_str_radix(&digits, 16).ok().filter(|_| exact);
    guid.map(Tag::Guid)
}

/// The record's name that a publisher gives in header `Ms-Schema-Record`.
pub(crate) fn record_name(raw: &Bytes) -> Option<String> {
    if !headers::mentions_schema(raw) {
        return None;
    }
    let block = HeaderBlock::new(raw);
    let found = block.iter().find(|(name, _)| *name == b"Ms-Schema-Record");
    found.map(|(_, value)| String::from_utf8_lossy(value).trim().to_owned())
}
