//! What is kept beside a schema's text: references, metadata, rules. The shapes are those of Confluent's interface.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Deserializer, Serialize};

use crate::RegistryError;

/// Longest name of a rule, in characters.
const MAX_RULE_NAME: usize = 256;
const KINDS: [&str; 2] = ["TRANSFORM", "CONDITION"];
const MODES: [&str; 6] = [
    "UPGRADE",
    "DOWNGRADE",
    "UPDOWN",
    "WRITE",
    "READ",
    "WRITEREAD",
];
const PHASES: [&str; 5] = ["ALL", "CLIENT", "GATEWAY", "SERVER", "NONE"];

/// Clients write `null` where they have nothing.
pub(crate) fn nullable<'de, D, T>(input: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(input)?.unwrap_or_default())
}

fn is_false(flag: &bool) -> bool {
    !flag
}

/// Another subject's version that a schema refers to.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SchemaReference {
    /// How the schema refers to it: import path, `$ref` URI or full name.
    pub name: String,
    /// The subject, `:.context:subject` outside the schema's own context.
    pub subject: String,
    /// The version, from 1; in a request -1 is the latest.
    pub version: i64,
}

/// Free properties of a version.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// Tags by the path of what they are on.
    #[serde(
        default,
        deserialize_with = "nullable",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub tags: BTreeMap<String, BTreeSet<String>>,
    /// Properties by name.
    #[serde(
        default,
        deserialize_with = "nullable",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub properties: BTreeMap<String, String>,
    /// Names of properties that are not for everybody's eyes.
    #[serde(
        default,
        deserialize_with = "nullable",
        skip_serializing_if = "BTreeSet::is_empty"
    )]
    pub sensitive: BTreeSet<String>,
}

impl Metadata {
    /// Both together; what `over` says wins.
    pub(crate) fn merged(under: Option<&Self>, over: Option<&Self>) -> Option<Self> {
        let (Some(under), Some(over)) = (under, over) else {
            return under.or(over).cloned();
        };
        let mut all = under.clone();
        all.tags.extend(over.tags.clone());
        all.properties.extend(over.properties.clone());
        all.sensitive.extend(over.sensitive.iter().cloned());
        Some(all)
    }
}

/// What clients do with records: kept and handed out, not carried out by the registry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RuleSet {
    /// Between versions.
    #[serde(
        default,
        deserialize_with = "nullable",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub migration_rules: Vec<Rule>,
    /// On records.
    #[serde(
        default,
        deserialize_with = "nullable",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub domain_rules: Vec<Rule>,
    /// On encoded records.
    #[serde(
        default,
        deserialize_with = "nullable",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub encoding_rules: Vec<Rule>,
    /// Where they are carried out: `ALL`, `CLIENT`, `GATEWAY`, `SERVER`, `NONE`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enable_at: Option<String>,
}

/// One rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    /// At most 256 characters, and no two of a set the same.
    #[serde(default, deserialize_with = "nullable")]
    pub name: String,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doc: Option<String>,
    /// `TRANSFORM` or `CONDITION`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// When: `UPGRADE`, `DOWNGRADE`, `UPDOWN`, `WRITE`, `READ`, `WRITEREAD`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// The engine, such as `CEL`.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub engine: Option<String>,
    /// What it applies to.
    #[serde(
        default,
        deserialize_with = "nullable",
        skip_serializing_if = "BTreeSet::is_empty"
    )]
    pub tags: BTreeSet<String>,
    /// For the engine.
    #[serde(
        default,
        deserialize_with = "nullable",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub params: BTreeMap<String, String>,
    /// The rule itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expr: Option<String>,
    /// What to do then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_success: Option<String>,
    /// What to do otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_failure: Option<String>,
    /// Not carried out.
    #[serde(
        default,
        deserialize_with = "nullable",
        skip_serializing_if = "is_false"
    )]
    pub disabled: bool,
}

/// A migration that the broker runs itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MigrationRule<'a> {
    /// A statement over `message`, of type `SQL`.
    Sql(&'a str),
    /// A deployed function's name, of type `FUNCTION`.
    Function(&'a str),
}

impl Rule {
    fn migration(&self) -> Option<MigrationRule<'_>> {
        let engine = self.engine.as_deref()?.to_ascii_uppercase();
        let expr = self.expr.as_deref().unwrap_or_default().trim();
        match engine.as_str() {
            "SQL" => Some(MigrationRule::Sql(expr)),
            "FUNCTION" => Some(MigrationRule::Function(expr)),
            _ => None,
        }
    }
}

impl RuleSet {
    /// Rules that carry messages from the version before to this one, or back with `mode` `DOWNGRADE`, as far as the broker
    /// runs them. Each with its name.
    pub fn migrations(&self, mode: &str) -> impl Iterator<Item = (&str, MigrationRule<'_>)> {
        let here = !matches!(
            self.enable_at.as_deref(),
            Some("NONE" | "CLIENT" | "GATEWAY")
        );
        let rules = self.migration_rules.iter().filter(move |rule| {
            let own = rule.mode.as_deref();
            here && !rule.disabled && (own == Some(mode) || own == Some("UPDOWN"))
        });
        rules.filter_map(|rule| Some((rule.name.as_str(), rule.migration()?)))
    }

    /// The same without what leads from one version to the next: that is of no use to another version.
    pub(crate) fn lent(&self) -> Option<Self> {
        let rules = self.migration_rules.iter();
        let lent = Self {
            migration_rules: rules
                .filter(|rule| rule.migration().is_none())
                .cloned()
                .collect(),
            ..self.clone()
        };
        let empty = lent.rules().next().is_none() && lent.enable_at.is_none();
        (!empty || self.rules().next().is_none()).then_some(lent)
    }

    fn rules(&self) -> impl Iterator<Item = &Rule> {
        let all = [
            &self.migration_rules,
            &self.domain_rules,
            &self.encoding_rules,
        ];
        all.into_iter().flatten()
    }

    /// # Errors
    /// The first rule that is none.
    pub(crate) fn check(&self) -> Result<(), RegistryError> {
        let refuse = |why: String| Err(RegistryError::RuleSet(why));
        let known = |word: &Option<String>, words: &[&str]| {
            word.as_ref()
                .is_none_or(|word| words.contains(&word.as_str()))
        };
        if !known(&self.enable_at, &PHASES) {
            return refuse(format!("enableAt must be one of {}", PHASES.join(", ")));
        }
        let mut names = BTreeSet::new();
        for rule in self.rules() {
            let name = &rule.name;
            if name.is_empty() {
                return refuse("rule name is empty".to_owned());
            }
            if name.chars().count() > MAX_RULE_NAME {
                return refuse(format!(
                    "rule name is longer than {MAX_RULE_NAME} characters"
                ));
            }
            if !names.insert(name) {
                return refuse(format!("found rule with duplicate name '{name}'"));
            }
            if !known(&rule.kind, &KINDS) {
                return refuse(format!(
                    "kind of rule '{name}' must be one of {}",
                    KINDS.join(", ")
                ));
            }
            if !known(&rule.mode, &MODES) {
                return refuse(format!(
                    "mode of rule '{name}' must be one of {}",
                    MODES.join(", ")
                ));
            }
            if rule.engine.as_ref().is_none_or(String::is_empty) {
                return refuse(format!("rule '{name}' has no type"));
            }
            if let Some(MigrationRule::Sql("") | MigrationRule::Function("")) = rule.migration() {
                return refuse(format!("rule '{name}' has no expr"));
            }
        }
        Ok(())
    }

    /// Both together; a rule of `over` replaces the one of its name.
    pub(crate) fn merged(under: Option<&Self>, over: Option<&Self>) -> Option<Self> {
        let (Some(under), Some(over)) = (under, over) else {
            return under.or(over).cloned();
        };
        let join = |under: &[Rule], over: &[Rule]| {
            let kept = under
                .iter()
                .filter(|rule| !over.iter().any(|new| new.name == rule.name));
            kept.chain(over).cloned().collect()
        };
        Some(Self {
            migration_rules: join(&under.migration_rules, &over.migration_rules),
            domain_rules: join(&under.domain_rules, &over.domain_rules),
            encoding_rules: join(&under.encoding_rules, &over.encoding_rules),
            enable_at: over.enable_at.clone().or_else(|| under.enable_at.clone()),
        })
    }
}
