//! Typed access to a checked configuration, defaults filled in.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde_json::Value;

use crate::options::{boolean, bytes, duration, integer};
use crate::{Config, OptionDescriptor, Problem, check_options};

/// A configuration that passed its checks. The getters take names of described options; asking for another name, or for
/// one without value and default, is a mistake in the connector and panics.
#[derive(Clone)]
pub struct Settings {
    values: BTreeMap<&'static str, Value>,
}

// By hand, so that no secret reaches a log line.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("names", &self.values.keys())
            .finish()
    }
}

impl Settings {
    /// Checks the configuration and fills in the defaults.
    ///
    /// # Errors
    /// Everything wrong with it.
    pub fn read(options: Vec<OptionDescriptor>, config: &Config) -> Result<Self, Vec<Problem>> {
        let problems = check_options(&options, config);
        if !problems.is_empty() {
            return Err(problems);
        }
        let mut values = BTreeMap::new();
        for option in options {
            let given = config.get(option.name).cloned();
            if let Some(value) = given.or_else(|| option.default.map(Value::from)) {
                values.insert(option.name, value);
            }
        }
        Ok(Self { values })
    }

    fn value(&self, name: &str) -> &Value {
        self.values.get(name).expect(
            "invariant: a connector asks for options it described, with a default or required",
        )
    }

    /// A text that is given or has a default.
    #[must_use]
    pub fn text(&self, name: &str) -> &str {
        self.value(name)
            .as_str()
            .expect("invariant: checked as text")
    }

    /// A text that may be absent.
    #[must_use]
    pub fn opt_text(&self, name: &str) -> Option<&str> {
        self.values.get(name).and_then(Value::as_str)
    }

    /// A whole number.
    #[must_use]
    pub fn integer(&self, name: &str) -> u64 {
        integer(self.value(name)).expect("invariant: checked as integer")
    }

    /// A whole number that may be absent.
    #[must_use]
    pub fn opt_integer(&self, name: &str) -> Option<u64> {
        self.values.get(name).and_then(integer)
    }

    /// A whole number for a count in memory.
    #[must_use]
    pub fn count(&self, name: &str) -> usize {
        usize::try_from(self.integer(name)).unwrap_or(usize::MAX)
    }

    /// `true` or `false`.
    #[must_use]
    pub fn boolean(&self, name: &str) -> bool {
        boolean(self.value(name)).expect("invariant: checked as bool")
    }

    /// A size in bytes.
    #[must_use]
    pub fn bytes(&self, name: &str) -> u64 {
        bytes(self.value(name)).expect("invariant: checked as size")
    }

    /// A size in bytes that may be absent.
    #[must_use]
    pub fn opt_bytes(&self, name: &str) -> Option<u64> {
        self.values.get(name).and_then(bytes)
    }

    /// A duration.
    #[must_use]
    pub fn duration(&self, name: &str) -> Duration {
        duration(self.value(name)).expect("invariant: checked as duration")
    }
}
