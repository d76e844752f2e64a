//! `${NAME}` in values. `$${NAME}` stands for the text `${NAME}`.

use std::cell::RefCell;
use std::collections::BTreeSet;

use crate::document::parse;
use crate::problem::{At, Problem, SourceFile};

/// Where variables come from.
pub(crate) type Lookup<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// Why a text with variables cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum VariableProblem {
    Open,
    Name(String),
    Unset(String),
}

impl VariableProblem {
    pub(crate) fn at(self, at: &At) -> Problem {
        match self {
            Self::Open => at
                .problem("`${` without `}`")
                .with_hint("write `$${` for the characters themselves"),
            Self::Name(name) => at
                .problem(format!("`${{{name}}}` is not a variable's name"))
                .with_hint("letters, digits and `_`; write `$${` for the characters themselves"),
            Self::Unset(name) => at
                .problem(format!("variable `{name}` is not set"))
                .with_hint(format!(
                    "set it in the environment: `{name}=… millstream apply …`"
                )),
        }
    }
}

/// Puts in what `lookup` knows.
pub(crate) fn interpolate(text: &str, lookup: &Lookup<'_>) -> Result<String, VariableProblem> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(dollar) = rest.find("${") {
        let (before, after) = rest.split_at(dollar);
        let after = &after[2..];
        if let Some(escaped) = before.strip_suffix('$') {
            out.push_str(escaped);
            out.push_str("${");
            rest = after;
            continue;
        }
        out.push_str(before);
        let end = after.find('}').ok_or(VariableProblem::Open)?;
        let name = &after[..end];
        let valid = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty() || !name.chars().all(valid) {
            return Err(VariableProblem::Name(name.to_owned()));
        }
        out.push_str(&lookup(name).ok_or_else(|| VariableProblem::Unset(name.to_owned()))?);
        rest = &after[end + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

/// Names of the variables the files ask for, sorted: what a client has to send along.
#[must_use]
pub fn variable_names(files: &[SourceFile]) -> Vec<String> {
    let names = RefCell::new(BTreeSet::new());
    let note = |name: &str| {
        names.borrow_mut().insert(name.to_owned());
        Some(String::new())
    };
    // Problems are reported by whoever parses with the real values.
    drop(parse(files, &note));
    names.into_inner().into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::{VariableProblem, interpolate};

    #[test]
    fn puts_in_and_refuses() {
        let lookup = |name: &str| (name == "A").then(|| "x${B}".to_owned());
        let read = |text| interpolate(text, &lookup);
        assert_eq!(read("1${A}2$3").as_deref(), Ok("1x${B}2$3"));
        assert_eq!(read("$${A} ${A}").as_deref(), Ok("${A} x${B}"));
        assert_eq!(read("${A"), Err(VariableProblem::Open));
        assert_eq!(read("${}"), Err(VariableProblem::Name(String::new())));
        assert_eq!(read("${C}"), Err(VariableProblem::Unset("C".into())));
    }
}
