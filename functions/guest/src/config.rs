//! The function's configuration, as its document in the station file gives it.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt::Display;
use std::str::FromStr;

/// Names and texts. What is read is remembered, so that [`Config::none_left`] can find misspelt names.
#[derive(Debug, Default)]
pub struct Config {
    entries: Vec<(String, String)>,
    read: RefCell<BTreeSet<String>>,
}

impl Config {
    /// A configuration of these entries.
    #[must_use]
    pub fn new(entries: Vec<(String, String)>) -> Self {
        Self {
            entries,
            read: RefCell::default(),
        }
    }

    /// The text under `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.read.borrow_mut().insert(name.to_owned());
        let found = self.entries.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The value under `name`, or `default` when it is not set.
    ///
    /// # Errors
    /// The text does not read as a `T`; names the entry and the text.
    pub fn get_or<T: FromStr<Err: Display>>(&self, name: &str, default: T) -> Result<T, String> {
        let Some(text) = self.get(name) else {
            return Ok(default);
        };
        text.parse()
            .map_err(|error| format!("`{name}` is `{text}`: {error}"))
    }

    /// Whether every entry was read; call it last in `configure`.
    ///
    /// # Errors
    /// Names the entries that nothing asked for.
    pub fn none_left(&self) -> Result<(), String> {
        let read = self.read.borrow();
        let left: Vec<String> = self
            .entries
            .iter()
            .filter(|(name, _)| !read.contains(name))
            .map(|(name, _)| format!("`{name}`"))
            .collect();
        if left.is_empty() {
            return Ok(());
        }
        let known: Vec<String> = read.iter().map(|name| format!("`{name}`")).collect();
        let known = if known.is_empty() {
            "none".to_owned()
        } else {
            known.join(", ")
        };
        Err(format!(
            "unknown configuration {}; known: {known}",
            left.join(", ")
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::Config;

    #[test]
    fn reads_and_names_what_is_wrong() {
        let config = Config::new(vec![
            ("limit".into(), "7".into()),
            ("lmit".into(), "8".into()),
        ]);
        assert_eq!(config.get_or("limit", 1), Ok(7));
        assert_eq!(config.get_or("other", 1), Ok(1));
        let error = config.none_left().expect_err("one is left");
        assert_eq!(
            error,
            "unknown configuration `lmit`; known: `limit`, `other`"
        );
        let error = Config::new(vec![("limit".into(), "x".into())]).get_or("limit", 1);
        assert_eq!(
            error,
            Err("`limit` is `x`: invalid digit found in string".into())
        );
    }
}
