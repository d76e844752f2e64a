//! What is wrong with a document, in words.

use std::fmt;

use crate::describe::cut;

/// Longest path and longest list of names kept, in characters.
pub(crate) const MAX_TEXT: usize = 256;

/// The first rule of the schema that a document breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// JSON pointer (RFC 6901) to the offending value; empty is the whole document. Cut after 256 characters.
    pub path: String,
    /// The keyword that does not hold, such as `type` or `required`.
    pub keyword: String,
    /// What the schema wants there, such as `integer or null`.
    pub expected: String,
    /// What is there, such as `string "abc"`.
    pub found: String,
}

impl fmt::Display for Violation {
    /// `expected integer or null, found string "abc"`; the path is kept apart.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {}, found {}", self.expected, self.found)
    }
}

impl Violation {
    /// Of any format; every part is cut after 256 characters and kept on one line.
    pub(crate) fn of(
        path: impl AsRef<str>,
        keyword: &str,
        expected: impl AsRef<str>,
        found: impl AsRef<str>,
    ) -> Self {
        Self {
            path: line(path.as_ref()),
            keyword: keyword.to_owned(),
            expected: line(expected.as_ref()),
            found: line(found.as_ref()),
        }
    }
}

/// One line of at most [`MAX_TEXT`] characters.
pub(crate) fn line(text: &str) -> String {
    let text = cut(text, MAX_TEXT);
    if text.contains(char::is_control) {
        text.replace(char::is_control, " ")
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::Violation;

    #[test]
    fn one_line_of_bounded_length() {
        let long = "x\n".repeat(5000);
        let violation = Violation::of(&long, "type", "a\tb", &long);
        assert_eq!(violation.expected, "a b");
        let text = violation.to_string() + &violation.path;
        assert!(text.len() < 1000 && !text.contains(char::is_control));
    }
}
