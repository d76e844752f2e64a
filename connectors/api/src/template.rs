//! Subjects made from records: `flights.{carrier}`.

use serde_json::Value;
use thiserror::Error;

use crate::options::is_subject;

/// Longest text a field may put into a subject; the rest is cut.
const MAX_TOKEN_BYTES: usize = 128;

/// Why a text is no subject template.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum TemplateError {
    /// `{` without `}` or the other way round.
    #[error("`{0}` has an unmatched brace: write `{{field}}`")]
    Brace(String),
    /// `{}`.
    #[error("`{0}` has a `{{}}` without a field name in it")]
    EmptyField(String),
    /// Not a subject whatever the fields hold.
    #[error(
        "`{0}` gives no valid subject: use tokens without white space, `*` or `>`, separated by single dots"
    )]
    Subject(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(String),
    Field(String),
}

/// A subject with `{field}` parts; a field is a top-level key of the record's JSON object or a CSV column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubjectTemplate {
    parts: Vec<Part>,
}

impl SubjectTemplate {
    /// Reads a template.
    ///
    /// # Errors
    /// When the braces do not match or no field value could make it a subject.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(open) = rest.find(['{', '}']) {
            let brace = || TemplateError::Brace(text.to_owned());
            let (literal, braced) = rest.split_at(open);
            let inner = braced.strip_prefix('{').ok_or_else(brace)?;
            let close = inner.find(['{', '}']).ok_or_else(brace)?;
            let (field, after) = inner.split_at(close);
            rest = after.strip_prefix('}').ok_or_else(brace)?;
            if field.trim().is_empty() {
                return Err(TemplateError::EmptyField(text.to_owned()));
            }
            if !literal.is_empty() {
                parts.push(Part::Literal(literal.to_owned()));
            }
            parts.push(Part::Field(field.trim().to_owned()));
        }
        if !rest.is_empty() {
            parts.push(Part::Literal(rest.to_owned()));
        }
        let template = Self { parts };
        if is_subject(&template.render(|_| None)) {
            Ok(template)
        } else {
            Err(TemplateError::Subject(text.to_owned()))
        }
    }

    /// The fields it needs, in order.
    pub fn fields(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Field(name) => Some(name.as_str()),
            Part::Literal(_) => None,
        })
    }

    /// The subject for one record. A field without a value becomes `_`; what may not stand in a token (dots, white space,
    /// wildcards, control characters) becomes `_` as well, so the result is always a literal subject.
    #[must_use]
    pub fn render<'v>(&self, value: impl Fn(&str) -> Option<std::borrow::Cow<'v, str>>) -> String {
        let mut subject = String::with_capacity(32);
        for part in &self.parts {
            match part {
                Part::Literal(text) => subject.push_str(text),
                Part::Field(name) => {
                    push_token(&mut subject, value(name).as_deref().unwrap_or_default())
                }
            }
        }
        subject
    }

    /// The subject for a JSON record: scalars by their text, everything else as if absent.
    #[must_use]
    pub fn render_json(&self, record: &Value) -> String {
        self.render(|field| scalar_text(record.get(field)?))
    }
}

fn scalar_text(value: &Value) -> Option<std::borrow::Cow<'_, str>> {
    match value {
        Value::String(text) => Some(text.as_str().into()),
        Value::Number(number) => Some(number.to_string().into()),
        Value::Bool(flag) => Some(if *flag { "true" } else { "false" }.into()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

fn push_token(subject: &mut String, text: &str) {
    let before = subject.len();
    for character in text.chars() {
        if subject.len() - before >= MAX_TOKEN_BYTES {
            break;
        }
        let forbidden = character.is_whitespace()
            || character.is_control()
            || matches!(character, '.' | '*' | '>');
        subject.push(if forbidden { '_' } else { character });
    }
    if subject.len() == before {
        subject.push('_');
    }
}

#[cfg(test)]
mod tests {
    use millstream_types::check_subject;
    use proptest::prelude::{any, proptest};
    use serde_json::json;

    use super::SubjectTemplate;

    fn render(template: &str, record: &serde_json::Value) -> String {
        SubjectTemplate::parse(template)
            .expect("valid")
            .render_json(record)
    }

    #[test]
    fn fields_fill_tokens() {
        let record = json!({"carrier": "UA", "flight": 15, "late": true, "x": null, "y": [1], "odd": "a.b c>*"});
        assert_eq!(render("flights.{carrier}", &record), "flights.UA");
        assert_eq!(render("f.{flight}-{late}.z", &record), "f.15-true.z");
        assert_eq!(render("f.{x}.{y}.{none}", &record), "f._._._");
        assert_eq!(render("f.{odd}", &record), "f.a_b_c__");
        assert_eq!(render("plain", &json!(3)), "plain");
    }

    #[test]
    fn what_is_no_template_is_told() {
        let error = |text: &str| {
            SubjectTemplate::parse(text)
                .expect_err("invalid")
                .to_string()
        };
        assert!(error("a.{b").contains("unmatched brace"));
        assert!(error("a.b}").contains("unmatched brace"));
        assert!(error("a.{}").contains("without a field name"));
        assert!(error("a..{b}").contains("no valid subject"));
        assert!(error("a.>").contains("no valid subject"));
        assert!(error("").contains("no valid subject"));
    }

    proptest! {
        #[test]
        fn every_value_gives_a_literal_subject(value in any::<String>()) {
            let subject = render("a.{v}.{v}x", &json!({"v": value}));
            assert_eq!(check_subject(subject.as_bytes()), Ok(()), "{subject:?}");
        }
    }
}
