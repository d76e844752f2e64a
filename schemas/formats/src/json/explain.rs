//! What the validator of JSON Schema says is wrong with a document, in words.

use jsonschema::ValidationError;
use jsonschema::error::{TypeKind, ValidationErrorKind as Kind};
use serde_json::Value;

use crate::Violation;
use crate::describe::{counted, cut, describe, either, shown};
use crate::violation::MAX_TEXT;

impl Violation {
    pub(crate) fn new(error: &ValidationError<'_>) -> Self {
        let error = telling(error);
        let value: &Value = error.instance();
        let forbidden = matches!(error.kind(), Kind::FalseSchema)
            && error
                .schema_path()
                .as_str()
                .ends_with("/additionalProperties");
        let (keyword, expected) = if forbidden {
            ("additionalProperties", "no properties".to_owned())
        } else {
            (error.kind().keyword(), expected(error.kind()))
        };
        Self {
            path: cut(error.instance_path().as_str(), MAX_TEXT),
            keyword: keyword.to_owned(),
            found: found(error.kind(), value),
            expected: cut(&expected, MAX_TEXT),
        }
    }

    /// For a document whose fault would take too long to find.
    pub(crate) fn unexplained(document: &Value) -> Self {
        Self {
            path: String::new(),
            keyword: "schema".to_owned(),
            expected: "a document that fits the schema".to_owned(),
            found: format!(
                "{} that does not; it is too entangled to say where",
                describe(document)
            ),
        }
    }
}

/// Of the reasons why no alternative fits, the one deepest in the document tells most; the alternatives themselves are
/// named when none goes deeper.
fn telling<'a, 'b>(error: &'a ValidationError<'b>) -> &'a ValidationError<'b>
where
    'b: 'a,
{
    let (Kind::AnyOf { context } | Kind::OneOfNotValid { context }) = error.kind() else {
        return error;
    };
    let depth = |error: &ValidationError<'_>| error.instance_path().as_str().matches('/').count();
    let own = depth(error);
    let inner = context
        .iter()
        .flatten()
        .map(telling)
        .max_by_key(|inner| depth(inner));
    inner.filter(|inner| depth(inner) > own).unwrap_or(error)
}

fn found(kind: &Kind, value: &Value) -> String {
    match kind {
        Kind::Required { property } => match value {
            Value::Object(_) => format!("no property {}", shown(property)),
            _ => describe(value),
        },
        Kind::AdditionalProperties { unexpected } | Kind::UnevaluatedProperties { unexpected } => {
            cut(&format!("unknown {}", names(unexpected)), MAX_TEXT)
        }
        Kind::MinLength { .. } | Kind::MaxLength { .. } => match value {
            Value::String(text) => counted(text.chars().count(), "character", "characters"),
            _ => describe(value),
        },
        Kind::UniqueItems => "items that are equal".to_owned(),
        Kind::OneOfMultipleValid { .. } => "more than one that fits".to_owned(),
        Kind::PropertyNames { error } => format!("name {}", shown(error.instance())),
        _ => describe(value),
    }
}

fn names(unexpected: &[String]) -> String {
    let shown: Vec<String> = unexpected
        .iter()
        .take(6)
        .map(|name| format!("`{}`", cut(name, 64)))
        .collect();
    let more = if unexpected.len() > shown.len() {
        ", …"
    } else {
        ""
    };
    let word = if unexpected.len() == 1 {
        "property"
    } else {
        "properties"
    };
    format!("{word} {}{more}", shown.join(", "))
}

fn expected(kind: &Kind) -> String {
    match kind {
        Kind::Type {
            kind: TypeKind::Single(one),
        } => one.to_string(),
        Kind::Type {
            kind: TypeKind::Multiple(many),
        } => either(&many.iter().map(|one| one.to_string()).collect::<Vec<_>>()),
        Kind::Required { property } => format!("property {}", shown(property)),
        Kind::AdditionalProperties { .. } | Kind::UnevaluatedProperties { .. } => {
            "only the properties that the schema names".to_owned()
        }
        Kind::AdditionalItems { limit } => {
            format!("at most {}", counted(*limit, "item", "items"))
        }
        Kind::UnevaluatedItems { .. } => "only the items that the schema names".to_owned(),
        Kind::AnyOf { context } | Kind::OneOfNotValid { context } => alternatives(context),
        Kind::OneOfMultipleValid { context } => {
            format!("exactly one of {} alternatives", context.len())
        }
        Kind::Constant { expected_value } => shown(expected_value),
        Kind::Enum { options } => match options.as_ref() {
            Value::Array(options) => either(&options.iter().map(shown).collect::<Vec<_>>()),
            other => shown(other),
        },
        Kind::Format { format } => format!("a {format}"),
        Kind::Pattern { pattern } => format!("text that matches `{}`", cut(pattern, 128)),
        Kind::Minimum { limit } => format!("at least {limit}"),
        Kind::Maximum { limit } => format!("at most {limit}"),
        Kind::ExclusiveMinimum { limit } => format!("more than {limit}"),
        Kind::ExclusiveMaximum { limit } => format!("less than {limit}"),
        Kind::MultipleOf { multiple_of } => format!("a multiple of {multiple_of}"),
        Kind::Not { schema } => format!("something that does not fit {}", shown(schema)),
        Kind::UniqueItems => "items that all differ".to_owned(),
        Kind::Contains => "an item that fits `contains`".to_owned(),
        Kind::PropertyNames { error } => format!("names that are {}", expected_name(error)),
        Kind::FalseSchema => "nothing here".to_owned(),
        counted => sizes(counted),
    }
}

/// What the alternatives want, when each is said in a few words.
fn alternatives(context: &[Vec<ValidationError<'static>>]) -> String {
    let simple = |error: &ValidationError<'_>| {
        !matches!(
            error.kind(),
            Kind::AnyOf { .. } | Kind::OneOfNotValid { .. } | Kind::Not { .. }
        )
    };
    let firsts: Vec<_> = context.iter().filter_map(|errors| errors.first()).collect();
    let lists = firsts
        .iter()
        .filter(|error| matches!(error.kind(), Kind::Enum { .. }))
        .count();
    if firsts.is_empty()
        || firsts.len() > 6
        || lists > 1
        || !firsts.iter().all(|error| simple(error))
    {
        return format!("one of {} alternatives", context.len());
    }
    either(
        &firsts
            .iter()
            .map(|error| expected(error.kind()))
            .collect::<Vec<_>>(),
    )
}

fn expected_name(error: &ValidationError<'_>) -> String {
    match error.kind() {
        // Names of names do not exist, so this goes one level deep.
        Kind::PropertyNames { .. } => "valid".to_owned(),
        kind => expected(kind),
    }
}

fn sizes(kind: &Kind) -> String {
    let of = |word: &str, limit: &u64, one: &str, many: &str| {
        format!(
            "{word} {}",
            counted(usize::try_from(*limit).unwrap_or(usize::MAX), one, many)
        )
    };
    match kind {
        Kind::MinItems { limit } => of("at least", limit, "item", "items"),
        Kind::MaxItems { limit } => of("at most", limit, "item", "items"),
        Kind::MinLength { limit } => of("at least", limit, "character", "characters"),
        Kind::MaxLength { limit } => of("at most", limit, "character", "characters"),
        Kind::MinProperties { limit } => of("at least", limit, "property", "properties"),
        Kind::MaxProperties { limit } => of("at most", limit, "property", "properties"),
        Kind::ContentEncoding { content_encoding } => format!("text in {content_encoding}"),
        Kind::ContentMediaType { content_media_type } => {
            format!("text of type {content_media_type}")
        }
        other => format!("what `{}` asks for", other.keyword()),
    }
}
