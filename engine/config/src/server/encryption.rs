//! Encryption of what is stored, under the names that nats-server has for it.

use crate::conf::{Data, Entry};

use super::Secret;
use super::table::Table;

/// Shorter keys are guessed by trying: they are not stretched.
const SAFE_KEY: usize = 32;

/// How bodies are encrypted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cipher {
    /// AES-256-GCM.
    Aes,
    /// ChaCha20-Poly1305; nats-server's default too.
    #[default]
    ChaCha,
}

/// With what messages are encrypted on disk. `Debug` shows no key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Encryption {
    /// For new messages; it reads older ones too.
    pub cipher: Cipher,
    /// For new messages; none: they are stored as they are.
    pub key: Option<Secret>,
    /// Keys that were used before, with which older messages are read.
    pub previous: Vec<Secret>,
}

/// Reads the `jetstream` block; `None` without any key.
pub(super) fn load(block: &Table<'_>) -> Option<Encryption> {
    let key = block.entry("key").and_then(|entry| match entry.value.data {
        Data::List(_) => block.wrong(entry, "a text; put it in quotes"),
        _ => secrets(block, entry).pop(),
    });
    let previous = block.entry("prev_key");
    let encryption = Encryption {
        cipher: cipher(block).unwrap_or_default(),
        key,
        previous: previous.map_or_else(Vec::new, |entry| secrets(block, entry)),
    };
    (encryption.key.is_some() || !encryption.previous.is_empty()).then_some(encryption)
}

fn cipher(block: &Table<'_>) -> Option<Cipher> {
    let entry = block.entry("cipher")?;
    let word = match &entry.value.data {
        Data::Text(word) => word.to_ascii_lowercase(),
        _ => String::new(),
    };
    match word.as_str() {
        "aes" => Some(Cipher::Aes),
        "chacha" | "chachapoly" => Some(Cipher::ChaCha),
        _ => block.wrong(entry, "`aes` or `chachapoly`"),
    }
}

/// One text, or a list of them. A number must be quoted: `007` would lose its zeros. An empty one is most likely a variable
/// that is not set as it should be, and storing everything plain then is the last thing that is wanted.
fn secrets(block: &Table<'_>, entry: &Entry) -> Vec<Secret> {
    let values = match &entry.value.data {
        Data::List(values) => values.as_slice(),
        _ => std::slice::from_ref(&entry.value),
    };
    let mut secrets = Vec::with_capacity(values.len());
    for value in values {
        match &value.data {
            Data::Text(text) if text.is_empty() => {
                let message = format!("`{}` is empty", entry.key);
                block.note(&value.at, message);
            }
            Data::Text(text) => secrets.push(Secret::new(text.as_str())),
            other => {
                let what = other.what();
                let message = format!(
                    "`{}` must be a text; put it in quotes, not {what}",
                    entry.key
                );
                block.note(&value.at, message);
            }
        }
    }
    secrets
}

/// What is allowed but should be known.
pub(super) fn remark(encryption: &Encryption) -> Option<String> {
    let length = encryption.key.as_ref()?.expose().len();
    (length < SAFE_KEY).then(|| {
        format!(
            "`key` of `jetstream` has {length} bytes; {SAFE_KEY} random ones cannot be guessed, such as `openssl rand -base64 32` gives"
        )
    })
}
