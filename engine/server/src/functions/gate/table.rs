//! The tests' file.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use millstream_spec::yaml_value;
use millstream_types::parse_duration;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// The whole file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Table {
    /// Put over the function's own configuration.
    pub(super) config: BTreeMap<String, String>,
    /// What its bucket holds before the first case.
    #[serde(deserialize_with = "texts")]
    pub(super) bucket: BTreeMap<String, String>,
    /// What stations and buckets hold, by subject or key.
    #[serde(deserialize_with = "texts_of_texts")]
    pub(super) lookup: BTreeMap<String, BTreeMap<String, String>>,
    /// What other hosts answer, by address.
    pub(super) http: BTreeMap<String, HttpAnswer>,
    pub(super) tests: Vec<Case>,
}

impl Table {
    pub(super) fn read(file: &str, text: &str) -> Result<Self, String> {
        let value = yaml_value(file, text).map_err(|problems| {
            let problem = problems.first().map(ToString::to_string);
            problem.unwrap_or_else(|| format!("`{file}` cannot be read"))
        })?;
        let table: Self =
            serde_json::from_value(value).map_err(|error| format!("`{file}`: {error}"))?;
        if table.tests.is_empty() {
            return Err(format!("`{file}` has no `tests`"));
        }
        Ok(table)
    }
}

/// What a host answers.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HttpAnswer {
    #[serde(default = "ok")]
    pub(super) status: u16,
    #[serde(default)]
    pub(super) headers: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) body: String,
}

fn ok() -> u16 {
    200
}

/// One case: a batch and what becomes of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Case {
    pub(super) name: String,
    pub(super) given: OneOrMany<Given>,
    pub(super) expect: OneOrMany<Expected>,
    /// What the bucket holds afterwards; `null` for a key that must not be there.
    #[serde(default)]
    pub(super) bucket: BTreeMap<String, Value>,
}

/// A single value stands for a list of one.
#[derive(Clone, Debug)]
pub(super) struct OneOrMany<T>(Vec<T>);

impl<T> OneOrMany<T> {
    pub(super) fn all(&self) -> &[T] {
        &self.0
    }
}

impl<'de, T: serde::de::DeserializeOwned> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let values = match Value::deserialize(deserializer)? {
            Value::Array(values) => values,
            one => vec![one],
        };
        let each = values.into_iter().map(serde_json::from_value);
        let all = each.collect::<Result<_, _>>();
        all.map(Self).map_err(serde::de::Error::custom)
    }
}

/// A message.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Given {
    pub(super) subject: String,
    #[serde(deserialize_with = "texts")]
    pub(super) headers: BTreeMap<String, String>,
    pub(super) key: Option<String>,
    pub(super) sequence: Option<u64>,
    pub(super) time: Option<String>,
    pub(super) schema_id: Option<u32>,
    pub(super) deliveries: u32,
    #[serde(flatten)]
    pub(super) body: Body,
}

/// A payload in one of three forms.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Body {
    /// As JSON.
    pub(super) payload: Option<Value>,
    /// As text.
    text: Option<String>,
    /// As bytes.
    base64: Option<String>,
}

impl Body {
    pub(super) fn bytes(&self) -> Result<Option<Bytes>, String> {
        match (&self.payload, &self.text, &self.base64) {
            (None, None, None) => Ok(None),
            (Some(value), None, None) => Ok(Some(value.to_string().into())),
            (None, Some(text), None) => Ok(Some(text.clone().into())),
            (None, None, Some(text)) => {
                let bytes = STANDARD.decode(text);
                let bytes = bytes.map_err(|error| format!("`base64`: {error}"))?;
                Ok(Some(bytes.into()))
            }
            _ => Err("give one of `payload`, `text` and `base64`".to_owned()),
        }
    }
}

/// An outcome.
#[derive(Clone, Debug)]
pub(super) enum Expected {
    Keep,
    Drop,
    Replace(ExpectedOutput),
    Emit(Vec<ExpectedOutput>),
    Reject(ExpectedRejection),
    Retry(Duration),
    /// A trap, time-out or limit, by its code.
    Error(String),
}

/// What is not written is not compared.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ExpectedOutput {
    pub(super) subject: Option<String>,
    #[serde(deserialize_with = "texts")]
    pub(super) headers: BTreeMap<String, String>,
    #[serde(flatten)]
    pub(super) body: Body,
}

/// See [`Expected::Reject`].
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExpectedRejection {
    pub(super) code: String,
    pub(super) reason: Option<String>,
    pub(super) path: Option<String>,
}

impl<'de> Deserialize<'de> for Expected {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        const WORDS: &str = "an outcome is one of `keep`, `drop`, `replace:`, `emit:`, `reject:`, `retry:`, `error:`";
        match Value::deserialize(deserializer)? {
            Value::String(word) if word == "keep" => Ok(Self::Keep),
            Value::String(word) if word == "drop" => Ok(Self::Drop),
            Value::Object(members) if members.len() == 1 => {
                let (word, value) = members.into_iter().next().unwrap_or_default();
                let bad = |error: serde_json::Error| D::Error::custom(format!("`{word}`: {error}"));
                match word.as_str() {
                    "replace" => serde_json::from_value(value)
                        .map(Self::Replace)
                        .map_err(bad),
                    "emit" => serde_json::from_value(value).map(Self::Emit).map_err(bad),
                    "reject" => serde_json::from_value(value).map(Self::Reject).map_err(bad),
                    "error" => serde_json::from_value(value).map(Self::Error).map_err(bad),
                    "retry" => {
                        let text = value.as_str().map_or(value.to_string(), str::to_owned);
                        let time = parse_duration(&text);
                        time.map(Self::Retry)
                            .map_err(|error| D::Error::custom(format!("`retry`: {error}")))
                    }
                    _ => Err(D::Error::custom(WORDS)),
                }
            }
            _ => Err(D::Error::custom(WORDS)),
        }
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keep => f.write_str("`keep`"),
            Self::Drop => f.write_str("`drop`"),
            Self::Replace(_) => f.write_str("`replace`"),
            Self::Emit(outputs) => write!(f, "`emit` of {}", outputs.len()),
            Self::Reject(ExpectedRejection { code, reason, path }) => {
                write!(f, "`reject: {{ code: {code}")?;
                for (name, value) in [("reason", reason), ("path", path)] {
                    if let Some(value) = value {
                        write!(f, ", {name}: {value}")?;
                    }
                }
                f.write_str(" }`")
            }
            Self::Retry(after) => {
                write!(f, "`retry: {}`", millstream_types::format_duration(*after))
            }
            Self::Error(code) => write!(f, "`error: {code}`"),
        }
    }
}

/// Texts, where YAML may have read numbers, and whole documents where payloads are meant.
fn texts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    let values = BTreeMap::<String, Value>::deserialize(deserializer)?;
    Ok(values
        .into_iter()
        .map(|(name, value)| (name, text(value)))
        .collect())
}

fn texts_of_texts<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, BTreeMap<String, String>>, D::Error> {
    let values = BTreeMap::<String, BTreeMap<String, Value>>::deserialize(deserializer)?;
    let each = values.into_iter().map(|(name, values)| {
        let values = values.into_iter().map(|(key, value)| (key, text(value)));
        (name, values.collect())
    });
    Ok(each.collect())
}

pub(super) fn text(value: Value) -> String {
    match value {
        Value::String(text) => text,
        other => other.to_string(),
    }
}
