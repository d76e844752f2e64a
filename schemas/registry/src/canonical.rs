//! When two schema texts are the same schema.

use serde_json::Value;

/// A JSON text without the white space between its tokens; member order and number spellings stay, because the first
/// decides the order of SQL columns. The same schema in the sense of the registry is the same canonical text.
///
/// # Errors
/// When the text is not JSON.
pub fn canonical(text: &str) -> Result<String, serde_json::Error> {
    Ok(serde_json::from_str::<Value>(text)?.to_string())
}
