//! `kind: schema` of a station file: the same checks as a registration over the interface.

use millstream_schema_registry::{
    Candidate, Compatibility, Compiled, Config, Name, Registry, RegistryChange, RegistryError,
    Rule, RuleSet, SchemaReference, Version, prepare_register,
};
use millstream_spec::{SchemaSpec, StageSpec};
use millstream_types::Timestamp;

use super::millis;

/// What a declared schema leads to.
#[derive(Debug)]
pub(crate) struct Declared {
    /// `created`, `changed` or `unchanged`.
    pub(crate) action: &'static str,
    /// What `diff` says of it.
    pub(crate) version: u32,
    /// To be proposed, in order.
    pub(crate) changes: Vec<RegistryChange>,
}

/// Checks a declaration against the registry as it is when what stands before it in the files is applied.
///
/// # Errors
/// Why it cannot be registered.
pub(crate) fn declared(
    registry: &Registry,
    compiled: &Compiled,
    spec: &SchemaSpec,
    text: String,
    time: Timestamp,
) -> Result<Declared, RegistryError> {
    let name = Name::read(&spec.name);
    let level = level(spec.compatibility);
    let references = spec.references.iter().map(|reference| SchemaReference {
        name: reference.name.clone(),
        subject: reference.subject.clone(),
        version: reference.version.map_or(-1, i64::from),
    });
    let candidate = Candidate {
        kind: Some(spec.format.as_str().to_owned()),
        text,
        references: references.collect(),
        level: Some(level),
        rule_set: rules(registry, &name, spec),
        ..Candidate::default()
    };
    let prepared = prepare_register(registry, compiled, millis(time), &name, &candidate)?;
    let before = registry.own_config(&name);
    let known = registry.contains(&spec.name);
    let same_level = before.and_then(|config| config.compatibility) == Some(level);
    let action = match (known, prepared.answer.created || !same_level) {
        (false, _) => "created",
        (true, true) => "changed",
        (true, false) => "unchanged",
    };
    let mut changes: Vec<RegistryChange> = prepared.change.iter().cloned().collect();
    if !same_level {
        let config = Config {
            compatibility: Some(level),
            ..before.cloned().unwrap_or_default()
        };
        changes.push(RegistryChange::Config {
            context: name.context,
            subject: name.subject,
            config: Some(Box::new(config)),
        });
    }
    Ok(Declared {
        action,
        version: prepared.answer.version,
        changes,
    })
}

/// The rules that the declared migrations are, beside those that clients carry out. Without migrations the version's are as
/// if it was registered without rules.
fn rules(registry: &Registry, name: &Name, spec: &SchemaSpec) -> Option<RuleSet> {
    if spec.migrations.is_empty() {
        return None;
    }
    let rule = |(word, stage): (&str, &StageSpec)| {
        let (engine, expr) = match stage {
            StageSpec::Sql(text) => ("SQL", text),
            StageSpec::Function(function) => ("FUNCTION", function),
        };
        Rule {
            name: word.to_owned(),
            kind: Some("TRANSFORM".to_owned()),
            mode: Some(word.to_ascii_uppercase()),
            engine: Some(engine.to_owned()),
            expr: Some(expr.clone()),
            ..Rule::default()
        }
    };
    let latest = registry.get(&name.subject, Version::Latest).ok();
    let before = latest.and_then(|view| view.schema.rule_set.clone());
    Some(RuleSet {
        migration_rules: spec.migrations.each().map(rule).collect(),
        ..before.unwrap_or_default()
    })
}

fn level(level: millstream_spec::Compatibility) -> Compatibility {
    use millstream_spec::Compatibility as Declared;
    match level {
        Declared::None => Compatibility::None,
        Declared::Backward => Compatibility::Backward,
        Declared::BackwardTransitive => Compatibility::BackwardTransitive,
        Declared::Forward => Compatibility::Forward,
        Declared::ForwardTransitive => Compatibility::ForwardTransitive,
        Declared::Full => Compatibility::Full,
        Declared::FullTransitive => Compatibility::FullTransitive,
    }
}
