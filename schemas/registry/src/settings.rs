//! What can be set for a subject, a context or all of them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::data::{Metadata, RuleSet};
use crate::{Compatibility, RegistryError};
use millstream_schema_formats::Policy;

/// What is allowed with a subject.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Mode {
    /// Everything, ids are given by the registry.
    #[default]
    Readwrite,
    /// Reading.
    Readonly,
    /// Reading, whatever subjects say; for the whole registry.
    ReadonlyOverride,
    /// Schemas come with their ids.
    Import,
    /// As import, while another registry leads.
    Forward,
}

impl Mode {
    /// The word of the interface.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Readwrite => "READWRITE",
            Self::Readonly => "READONLY",
            Self::ReadonlyOverride => "READONLY_OVERRIDE",
            Self::Import => "IMPORT",
            Self::Forward => "FORWARD",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Mode {
    type Err = RegistryError;

    fn from_str(word: &str) -> Result<Self, RegistryError> {
        [
            Self::Readwrite,
            Self::Readonly,
            Self::ReadonlyOverride,
            Self::Import,
            Self::Forward,
        ]
        .into_iter()
        .find(|mode| mode.as_str().eq_ignore_ascii_case(word))
        .ok_or(RegistryError::InvalidMode)
    }
}

/// How registrations of a subject are checked. What is not set is asked of the context, then of all contexts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// The level.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compatibility: Option<Compatibility>,
    /// How strictly JSON Schemas are compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<Policy>,
    /// Only versions with the same value of this metadata property are compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The subject that is meant by this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    /// Whether texts are normalised without being asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub normalize: Option<bool>,
    /// Kept for clients: `validateFields`, `validateNewSchemas`, `validateRules`, `aliasForDeks`.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub other: Map<String, Value>,
    /// What metadata of a version starts from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_metadata: Option<Metadata>,
    /// What metadata of a version ends with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub override_metadata: Option<Metadata>,
    /// What rules of a version start from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_rule_set: Option<RuleSet>,
    /// What rules of a version end with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub override_rule_set: Option<RuleSet>,
}

const OTHER: [&str; 4] = [
    "validateFields",
    "validateNewSchemas",
    "validateRules",
    "aliasForDeks",
];

fn word(policy: Policy) -> &'static str {
    match policy {
        Policy::Strict => "STRICT",
        Policy::Lenient => "LENIENT",
    }
}

impl Config {
    /// The same, changed by a request: members that are not there stay, `null` takes away.
    ///
    /// # Errors
    /// When a member has no such value.
    pub(crate) fn updated(&self, update: &Map<String, Value>) -> Result<Self, RegistryError> {
        let mut new = self.clone();
        for (key, value) in update {
            let text = || match value {
                Value::Null => Ok(None),
                Value::String(text) if text.is_empty() => Ok(None),
                Value::String(text) => Ok(Some(text.clone())),
                _ => Err(RegistryError::Body(format!("`{key}` must be text"))),
            };
            match key.as_str() {
                "compatibility" | "compatibilityLevel" => {
                    let level = text()?.map(|word| word.parse());
                    new.compatibility = level
                        .transpose()
                        .map_err(|_| RegistryError::InvalidCompatibility)?;
                }
                "compatibilityPolicy" => {
                    new.policy = match text()?.map(|word| word.to_ascii_uppercase()).as_deref() {
                        None => None,
                        Some("STRICT") => Some(Policy::Strict),
                        Some("LENIENT" | "LOGICAL") => Some(Policy::Lenient),
                        Some(_) => {
                            return Err(RegistryError::InvalidPolicy);
                        }
                    };
                }
                "compatibilityGroup" => new.group = text()?,
                "alias" => new.alias = text()?,
                "normalize" => new.normalize = typed(key, value)?,
                "defaultMetadata" => new.default_metadata = typed(key, value)?,
                "overrideMetadata" => new.override_metadata = typed(key, value)?,
                "defaultRuleSet" => new.default_rule_set = typed(key, value)?,
                "overrideRuleSet" => new.override_rule_set = typed(key, value)?,
                other if OTHER.contains(&other) => {
                    if value.is_null() {
                        new.other.remove(other);
                    } else {
                        new.other.insert(other.to_owned(), value.clone());
                    }
                }
                _ => {}
            }
        }
        let rules = [&new.default_rule_set, &new.override_rule_set];
        rules.into_iter().flatten().try_for_each(RuleSet::check)?;
        Ok(new)
    }

    /// This one, and what it does not say from `under`.
    pub(crate) fn over(&self, under: &Self) -> Self {
        let mut other = under.other.clone();
        other.extend(self.other.clone());
        Self {
            compatibility: self.compatibility.or(under.compatibility),
            policy: self.policy.or(under.policy),
            group: self.group.clone().or_else(|| under.group.clone()),
            // An alias is one subject's.
            alias: self.alias.clone(),
            normalize: self.normalize.or(under.normalize),
            other,
            default_metadata: Metadata::merged(
                under.default_metadata.as_ref(),
                self.default_metadata.as_ref(),
            ),
            override_metadata: Metadata::merged(
                under.override_metadata.as_ref(),
                self.override_metadata.as_ref(),
            ),
            default_rule_set: RuleSet::merged(
                under.default_rule_set.as_ref(),
                self.default_rule_set.as_ref(),
            ),
            override_rule_set: RuleSet::merged(
                under.override_rule_set.as_ref(),
                self.override_rule_set.as_ref(),
            ),
        }
    }

    /// As the interface shows it, with the level under `key`.
    pub(crate) fn shown(&self, key: &str) -> Value {
        let mut out = Map::new();
        let mut put = |key: &str, value: Option<Value>| {
            if let Some(value) = value {
                out.insert(key.to_owned(), value);
            }
        };
        let text = |text: &Option<String>| text.clone().map(Value::from);
        put(
            key,
            self.compatibility
                .map(|level| level.as_str().to_ascii_uppercase().into()),
        );
        put(
            "compatibilityPolicy",
            self.policy.map(|policy| word(policy).into()),
        );
        put("compatibilityGroup", text(&self.group));
        put("alias", text(&self.alias));
        put("normalize", self.normalize.map(Value::from));
        put("defaultMetadata", json(&self.default_metadata));
        put("overrideMetadata", json(&self.override_metadata));
        put("defaultRuleSet", json(&self.default_rule_set));
        put("overrideRuleSet", json(&self.override_rule_set));
        out.extend(self.other.clone());
        Value::Object(out)
    }
}

fn json<T: Serialize>(value: &Option<T>) -> Option<Value> {
    value
        .as_ref()
        .and_then(|value| serde_json::to_value(value).ok())
}

fn typed<T: serde::de::DeserializeOwned>(
    key: &str,
    value: &Value,
) -> Result<Option<T>, RegistryError> {
    serde_json::from_value(value.clone())
        .map_err(|error| RegistryError::Body(format!("`{key}` cannot be read: {error}")))
}
