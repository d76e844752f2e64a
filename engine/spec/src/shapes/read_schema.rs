//! From a station's `schema:` and `encode:` to their specifications.

use millstream_types::check_filter;

use crate::fields::Fields;
use crate::node::Node;

use super::{EncodeUse, Framing, OnRejection, SchemaFormat, SchemaRule, SchemaUse, SchemaVersion};

pub(super) fn schema_use(fields: &Fields<'_, '_>, on_rejection: OnRejection) -> Option<SchemaUse> {
    let keys = [
        "subject",
        "version",
        "message",
        "rules",
        "framing",
        "on_violation",
    ];
    let node = fields.node("schema")?;
    let schema = Fields::open(fields.context(), node, "`schema`", &keys, &[])?;
    let words = [
        ("reject", OnRejection::Reject),
        ("dead_letter", OnRejection::DeadLetter),
        ("tag", OnRejection::Tag),
    ];
    let framings = [
        ("auto", Framing::Auto),
        ("bare", Framing::Bare),
        ("prefixed", Framing::Prefixed),
    ];
    let rules: Vec<_> = schema
        .list("rules")
        .iter()
        .filter_map(|node| rule(&schema, node))
        .collect();
    let subject = schema.raw_text("subject");
    // Everything that is wrong is said at once.
    let version = version(&schema);
    let message = schema.raw_text("message");
    let framing = schema.choice("framing", &framings, &[]);
    let on_violation = schema.choice("on_violation", &words, &[]);
    if subject.is_none() && rules.is_empty() {
        schema.missing("subject");
        return None;
    }
    Some(SchemaUse {
        subject,
        version,
        message,
        rules,
        framing: framing.unwrap_or_default(),
        on_violation: on_violation.unwrap_or(on_rejection),
    })
}

fn version(fields: &Fields<'_, '_>) -> SchemaVersion {
    let parse = |text: &str| text.parse::<SchemaVersion>();
    fields.parsed("version", parse).unwrap_or_default()
}

fn rule(fields: &Fields<'_, '_>, node: &Node) -> Option<SchemaRule> {
    let context = fields.context();
    let keys = ["match", "record", "subject", "version", "message"];
    let rule = Fields::open(context, node, "the rule", &keys, &[])?;
    let subjects = rule.parsed("match", |text| {
        check_filter(text.as_bytes()).map(|()| text.to_owned())
    });
    let record = rule.raw_text("record");
    let (by_subject, by_record) = (rule.node("match").is_some(), rule.node("record").is_some());
    if by_subject == by_record {
        let message = if by_subject {
            "a rule is either for a subject (`match`) or for a record's name (`record`)"
        } else {
            "the rule does not say which messages it is for"
        };
        let problem = context.at(node.place).problem(message);
        let hint = "write `match: SUBJECT FILTER` or `record: FULL NAME`";
        context.note(problem.with_hint(hint));
        return None;
    }
    Some(SchemaRule {
        subjects,
        record,
        subject: rule.required("subject")?,
        version: version(&rule),
        message: rule.raw_text("message"),
    })
}

pub(super) fn encode_use(fields: &Fields<'_, '_>) -> Option<EncodeUse> {
    let node = fields.node("encode")?;
    let context = fields.context();
    let keys = ["format", "subject", "version"];
    let encode = Fields::open(context, node, "`encode`", &keys, &[])?;
    let format = encode.choice("format", &SchemaFormat::WORDS, &[]);
    let subject = encode.raw_text("subject");
    if subject.is_none() && format != Some(SchemaFormat::Json) {
        let message = "`encode` does not say by which schema";
        let problem = context.at(node.place).problem(message);
        let hint = "name a registered schema with `subject:`; only `format: json` needs none";
        context.note(problem.with_hint(hint));
        return None;
    }
    let version = version(&encode);
    if version == SchemaVersion::Compatible {
        let message = "`encode` stores one version; `compatible` is for what comes in";
        context.problem(encode.place_of("version"), message);
    }
    Some(EncodeUse {
        format,
        subject,
        version,
    })
}
