//! `dedup: content`: when messages without a common id count as the same.
//!
//! Asked for in a stream's metadata, where any NATS client can set it and none loses it: [`DEDUP`] is `content`, and
//! [`DEDUP_HEADERS`] names headers, separated by commas. Two messages are the same when subject, payload and the values of
//! these headers are. A message with an id is a duplicate by either.

use std::collections::BTreeMap;
use std::hash::Hasher;

use millstream_types::HeaderBlock;

use crate::errors::ApiError;
use crate::records::RecordView;

/// Metadata key: what makes a message a duplicate within the stream's `duplicate_window`: `id` (default) or `content`.
pub const DEDUP: &str = "millstream.dedup";
/// Metadata key: headers that belong to a message's content, separated by commas; names compare byte for byte.
pub const DEDUP_HEADERS: &str = "millstream.dedup.headers";

/// Header of a dead letter that was sent again, with its number. It belongs to every content: sending again is meant.
pub const RESENT: &str = "Ms-Resent";

/// Which headers belong to the content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ContentRule {
    headers: Vec<String>,
}

impl ContentRule {
    /// The rule of a stream with this metadata; `None` when only ids count.
    ///
    /// # Errors
    /// A value that is neither word, headers without `content`, or what is no header's name.
    pub(crate) fn read(metadata: &BTreeMap<String, String>) -> Result<Option<Self>, ApiError> {
        let bad = |text: String| Err(ApiError::stream_invalid_config(text));
        let headers = metadata.get(DEDUP_HEADERS);
        match metadata.get(DEDUP).map(String::as_str) {
            None | Some("id") => match headers {
                None => Ok(None),
                Some(_) => bad(format!(
                    "metadata `{DEDUP_HEADERS}` needs `{DEDUP}: content`"
                )),
            },
            Some("content") => {
                let names = headers.map_or("", String::as_str).split(',').map(str::trim);
                let names = names.filter(|_| headers.is_some());
                let mut headers: Vec<String> = names.map(str::to_owned).collect();
                if let Some(name) = headers.iter().find(|name| !is_header_name(name)) {
                    return bad(format!(
                        "metadata `{DEDUP_HEADERS}`: `{name}` is no header name"
                    ));
                }
                headers.sort();
                headers.dedup();
                Ok(Some(Self { headers }))
            }
            Some(other) => bad(format!(
                "metadata `{DEDUP}` is `{other}`; use `id` or `content`"
            )),
        }
    }

    /// Writes what makes a message what it is: every part with its length, so that no two messages write the same.
    pub(crate) fn write(&self, record: &RecordView<'_>, hasher: &mut impl Hasher) {
        let mut part = |bytes: &[u8]| {
            hasher.write(&(bytes.len() as u64).to_le_bytes());
            hasher.write(bytes);
        };
        part(record.subject);
        part(record.payload);
        let resent = std::iter::once(RESENT);
        for wanted in resent.chain(self.headers.iter().map(String::as_str)) {
            let values = HeaderBlock::new(record.headers).iter();
            let values = values.filter(|(name, _)| *name == wanted.as_bytes());
            for (name, value) in values {
                part(name);
                part(value);
            }
        }
    }
}

fn is_header_name(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b':')
}

#[cfg(test)]
mod tests;
