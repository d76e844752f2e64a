//! Names for records and enumerations that documents do not name.

use std::collections::BTreeSet;

/// Longest name before the number that makes it different.
const MAX_NAME: usize = 64;

/// Names given so far.
#[derive(Debug, Default)]
pub(super) struct Names(BTreeSet<String>);

impl Names {
    /// A name for what lies under the property `word`, such as `DepartureGate` for `departure_gate`: a letter first, then letters
    /// and digits, not the same as another in whatever case.
    pub(super) fn give(&mut self, word: &str) -> String {
        let name = camel(word);
        let mut number = 1;
        let mut full = name.clone();
        while !self.0.insert(full.to_lowercase()) {
            number += 1;
            full = format!("{name}{number}");
        }
        full
    }
}

fn camel(word: &str) -> String {
    let mut name = String::new();
    let mut start = true;
    for c in word.chars() {
        if !c.is_ascii_alphanumeric() {
            start = true;
            continue;
        }
        if name.is_empty() && c.is_ascii_digit() {
            name.push('N');
        }
        name.push(if start { c.to_ascii_uppercase() } else { c });
        start = false;
        if name.len() >= MAX_NAME {
            break;
        }
    }
    if name.is_empty() {
        "Record".to_owned()
    } else {
        name
    }
}

#[cfg(test)]
mod tests {
    use super::Names;

    #[test]
    fn names_are_valid_and_differ() {
        let mut names = Names::default();
        for (word, want) in [
            ("departure_gate", "DepartureGate"),
            ("DepartureGate", "DepartureGate2"),
            ("departure-GATE", "DepartureGATE3"),
            ("2nd", "N2nd"),
            ("ÄÖ", "Record"),
            ("", "Record2"),
        ] {
            assert_eq!(names.give(word), want);
        }
        assert_eq!(names.give(&"x".repeat(900)).len(), 64);
    }
}
