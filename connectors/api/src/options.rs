//! Options described by data: what may stand in a `config:` block, checked before anything starts.

use std::fmt;

use millstream_types::{check_subject, parse_bytes, parse_duration};
use serde::Serialize;
use serde_json::Value;

use millstream_types::nearest;

use crate::{Config, SubjectTemplate};

/// What stands in place of a secret wherever a configuration is shown.
pub const REDACTED: &str = "********";

/// The form of an option's value.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OptionType {
    /// Any text, not empty.
    Text,
    /// A file or folder.
    Path,
    /// An `http://` or `https://` address.
    Url,
    /// `host:port` to listen on.
    Listen,
    /// A literal subject, or one with `{field}` parts filled from the record.
    SubjectTemplate,
    /// A whole number within bounds.
    Integer {
        /// Least allowed.
        min: u64,
        /// Most allowed.
        max: u64,
    },
    /// `true` or `false`.
    Bool,
    /// A size: a number of bytes or text such as `16MiB`.
    Bytes,
    /// A duration: text such as `50ms` or `7d`.
    Duration,
    /// One of these words.
    Choice(&'static [&'static str]),
}

/// One option.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OptionDescriptor {
    /// Key in the `config:` block.
    pub name: &'static str,
    /// Form of the value.
    #[serde(rename = "type")]
    pub kind: OptionType,
    /// What holds when it is absent, written as in a station file; `None`: nothing.
    pub default: Option<&'static str>,
    /// Whether it must be given.
    pub required: bool,
    /// Whether its value is never shown.
    pub secret: bool,
    /// One line for people.
    pub doc: &'static str,
}

/// One thing wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The key it is about.
    pub option: String,
    /// What is wrong. Never contains the value of a secret.
    pub message: String,
    /// What to do; empty when the message says it.
    pub hint: String,
}

impl Problem {
    /// A problem with a hint.
    pub fn new(option: &str, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            option: option.to_owned(),
            message: message.into(),
            hint: hint.into(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if !self.hint.is_empty() {
            write!(f, " ({})", self.hint)?;
        }
        Ok(())
    }
}

/// Checks a configuration against descriptors: everything wrong with it at once, in the order of the configuration and
/// then of the missing options.
#[must_use]
pub fn check_options(options: &[OptionDescriptor], config: &Config) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (name, value) in config {
        match options.iter().find(|option| option.name == name) {
            Some(option) => problems.extend(check_value(option, value)),
            None => problems.push(unknown(options, name)),
        }
    }
    for option in options {
        if option.required && !config.contains_key(option.name) {
            problems.push(Problem::new(
                option.name,
                format!("required option `{}` is missing", option.name),
                option.doc,
            ));
        }
    }
    problems
}

fn unknown(options: &[OptionDescriptor], name: &str) -> Problem {
    let names = || options.iter().map(|option| option.name);
    let hint = match nearest(name, names()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("the options are {}", list(names())),
    };
    Problem::new(name, format!("unknown option `{name}`"), hint)
}

fn list<'a>(words: impl Iterator<Item = &'a str>) -> String {
    let quoted: Vec<String> = words.map(|word| format!("`{word}`")).collect();
    quoted.join(", ")
}

fn check_value(option: &OptionDescriptor, value: &Value) -> Option<Problem> {
    let name = option.name;
    let found = if option.secret || option.kind == OptionType::Url {
        "a value that does not fit".to_owned()
    } else {
        shown(value)
    };
    let wrong = |wanted: &str| {
        Some(Problem::new(
            name,
            format!("option `{name}` must be {wanted}, found {found}"),
            option.doc,
        ))
    };
    match &option.kind {
        OptionType::Text | OptionType::Path => match value.as_str() {
            Some(text) if !text.is_empty() => None,
            _ => wrong("a text that is not empty"),
        },
        OptionType::Url => match value.as_str() {
            Some(text) if has_web_scheme(text) => None,
            _ => wrong("an address that starts with `http://` or `https://`"),
        },
        OptionType::Listen => match value.as_str().map(str::parse::<std::net::SocketAddr>) {
            Some(Ok(_)) => None,
            _ => wrong("an address and port such as `127.0.0.1:9000`"),
        },
        OptionType::SubjectTemplate => match value.as_str().map(SubjectTemplate::parse) {
            Some(Ok(_)) => None,
            Some(Err(error)) => Some(Problem::new(
                name,
                format!("option `{name}`: {error}"),
                option.doc,
            )),
            None => wrong("a subject such as `flights.{carrier}`"),
        },
        OptionType::Integer { min, max } => match integer(value) {
            Some(number) if (*min..=*max).contains(&number) => None,
            _ => wrong(&format!("a whole number from {min} to {max}")),
        },
        OptionType::Bool => match boolean(value) {
            Some(_) => None,
            None => wrong("`true` or `false`"),
        },
        OptionType::Bytes => match bytes(value) {
            Some(number) if number > 0 => None,
            _ => wrong("a size such as `16MiB`"),
        },
        OptionType::Duration => match duration(value) {
            Some(_) => None,
            None => wrong("a duration such as `50ms` or `7d`"),
        },
        OptionType::Choice(words) => match value.as_str() {
            Some(text) if words.contains(&text) => None,
            other => {
                let near = other.and_then(|text| nearest(text, words.iter().copied()));
                let hint = near.map_or_else(
                    || option.doc.to_owned(),
                    |near| format!("did you mean `{near}`?"),
                );
                let wanted = list(words.iter().copied());
                Some(Problem::new(
                    name,
                    format!("option `{name}` must be one of {wanted}, found {found}"),
                    hint,
                ))
            }
        },
    }
}

fn has_web_scheme(text: &str) -> bool {
    ["http://", "https://"].iter().any(|scheme| {
        text.get(..scheme.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(scheme))
            && text.len() > scheme.len()
    })
}

fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(60) {
        Some((at, _)) => format!("`{}…`", &text[..at]),
        None => format!("`{text}`"),
    }
}

/// Numbers may be written as text, since `${VAR}` always gives text.
pub(crate) fn integer(value: &Value) -> Option<u64> {
    value
        .as_u64()
        .or_else(|| value.as_str()?.trim().parse().ok())
}

pub(crate) fn boolean(value: &Value) -> Option<bool> {
    value
        .as_bool()
        .or_else(|| value.as_str()?.trim().parse().ok())
}

pub(crate) fn bytes(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| parse_bytes(value.as_str()?).ok())
}

pub(crate) fn duration(value: &Value) -> Option<std::time::Duration> {
    parse_duration(value.as_str()?).ok()
}

/// The configuration as it may be shown: secrets, and passwords inside addresses, replaced by [`REDACTED`].
#[must_use]
pub fn redact(options: &[OptionDescriptor], config: &Config) -> Config {
    let hidden = || Value::String(REDACTED.to_owned());
    let show = |(name, value): (&String, &Value)| {
        let value = match options.iter().find(|option| option.name == name) {
            Some(option) if option.secret => hidden(),
            Some(option) if option.kind == OptionType::Url => value
                .as_str()
                .map_or_else(hidden, |url| redact_url(url).into()),
            Some(_) => value.clone(),
            // An unknown key may be a misspelt secret.
            None => hidden(),
        };
        (name.clone(), value)
    };
    config.iter().map(show).collect()
}

/// Scheme and host: many services carry their secret in the path or the query.
fn redact_url(url: &str) -> String {
    let Some(start) = url.find("://").map(|at| at + 3) else {
        return REDACTED.to_owned();
    };
    let end = url[start..]
        .find(['/', '?', '#'])
        .map_or(url.len(), |at| start + at);
    let host = &url[start..end];
    let (login, host) = host
        .rsplit_once('@')
        .map_or(("", host), |(_, host)| (REDACTED, host));
    let at = if login.is_empty() { "" } else { "@" };
    let rest = if end + 1 < url.len() {
        format!("/{REDACTED}")
    } else {
        url[end..].to_owned()
    };
    format!("{}{login}{at}{host}{rest}", &url[..start])
}

/// Whether a text is a literal subject; for connectors that check values themselves.
#[must_use]
pub(crate) fn is_subject(text: &str) -> bool {
    check_subject(text.as_bytes()).is_ok()
}

#[cfg(test)]
mod tests;
