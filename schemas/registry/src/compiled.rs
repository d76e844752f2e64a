//! Compiled schemas, kept for the next question. Not part of the state: what is here follows from the texts.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use millstream_schema_formats::{Format, Reference, Schema, SchemaError};
use sha2::{Digest as _, Sha256};

use crate::RegistryError;

/// Schemas kept.
const MAX_KEPT: usize = 512;

/// Compiled schemas by a digest of their text and the texts they refer to.
#[derive(Debug, Default)]
pub struct Compiled(Mutex<HashMap<[u8; 32], Schema>>);

impl Compiled {
    /// The schema of a text, compiled now or before.
    ///
    /// # Errors
    /// What is wrong with it, as the registry says it (42201, 42209).
    pub fn schema(
        &self,
        format: Format,
        text: &str,
        references: &[Reference],
    ) -> Result<Schema, RegistryError> {
        let key = digest(format, text, references);
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(schema) = known.get(&key) {
            return Ok(schema.clone());
        }
        drop(known);
        let schema = Schema::compile(format, text, references).map_err(|error| match error {
            SchemaError::TooLarge { .. } => RegistryError::TooLarge(error.to_string()),
            _ => RegistryError::InvalidSchema {
                kind: format.as_str().to_ascii_uppercase(),
                reason: error.to_string(),
            },
        })?;
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // All at once: what is in use comes back at the next question.
        if known.len() >= MAX_KEPT {
            known.clear();
        }
        known.insert(key, schema.clone());
        Ok(schema)
    }
}

fn digest(format: Format, text: &str, references: &[Reference]) -> [u8; 32] {
    let mut hash = Sha256::new();
    let mut put = |part: &str| {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    };
    put(format.as_str());
    put(text);
    for reference in references {
        put(&reference.name);
        put(&reference.text);
    }
    hash.finalize().into()
}
