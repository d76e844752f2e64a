//! Subjects and the contexts they are in.

use std::fmt;

use crate::RegistryError;

/// The context of subjects that name none.
pub const DEFAULT_CONTEXT: &str = ".";
/// Where settings for all contexts are kept.
pub(crate) const GLOBAL_CONTEXT: &str = ".__GLOBAL";
/// Longest subject or context, in bytes.
const MAX_NAME: usize = 1024;

/// A subject in its context. The subject is empty where the context itself is meant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    /// Begins with a dot.
    pub context: String,
    /// May be empty.
    pub subject: String,
}

impl Name {
    /// Reads `subject` and `:.context:subject`. Never fails: what does not look like a context is part of the subject.
    #[must_use]
    pub fn read(text: &str) -> Self {
        let split = text
            .strip_prefix(":.")
            .and_then(|rest| rest.split_once(':'));
        match split {
            Some((context, subject)) => Self {
                context: format!(".{context}"),
                subject: subject.to_owned(),
            },
            None => Self {
                context: DEFAULT_CONTEXT.to_owned(),
                subject: text.to_owned(),
            },
        }
    }

    /// Reads a reference's subject: without a context it is in that of `self`.
    #[must_use]
    pub(crate) fn beside(&self, text: &str) -> Self {
        if text.starts_with(":.") {
            return Self::read(text);
        }
        Self {
            context: self.context.clone(),
            subject: text.to_owned(),
        }
    }

    /// Whether it is for settings of all contexts.
    pub(crate) fn is_global(&self) -> bool {
        self.context == GLOBAL_CONTEXT
    }

    /// A subject that schemas can be registered under.
    ///
    /// # Errors
    /// When it is empty, reserved, too long or has control characters.
    pub(crate) fn check(&self) -> Result<(), RegistryError> {
        let bad = |text: &str| text.len() > MAX_NAME || text.chars().any(char::is_control);
        let reserved = ["__GLOBAL", "__EMPTY"].contains(&self.subject.as_str());
        if self.subject.is_empty()
            || reserved
            || bad(&self.subject)
            || bad(&self.context)
            || self.is_global()
        {
            return Err(RegistryError::InvalidSubject(self.to_string()));
        }
        Ok(())
    }
}

impl fmt::Display for Name {
    /// The subject alone in the default context.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.context != DEFAULT_CONTEXT {
            write!(f, ":{}:", self.context)?;
        }
        f.write_str(&self.subject)
    }
}
