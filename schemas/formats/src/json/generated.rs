//! Schemas and documents for tests, and documents that a schema asks for.

use std::fmt::Write as _;

use proptest::prelude::*;
use serde_json::{Map, Value, json};

pub(super) const NAMES: [&str; 6] = ["a", "b", "é", "q\"uote", "from", "legs"];

pub(super) fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-4i64..12).prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        prop::sample::select(vec![
            0.5,
            -0.0,
            1.0,
            3.0,
            1e300,
            9007199254740993.0,
            0.1,
            1e19,
            -2.5,
            1e-7
        ])
        .prop_map(Value::from),
        prop::sample::select(vec![
            "",
            "a",
            "EWR",
            "é",
            "𝄞",
            "a\nb",
            "2026-11-23",
            "2026-02-30",
            "2026-11-23T07:45:00Z",
            "2026-11-23T07:45:60+01:00",
            "0190f2a6-0000-7000-8000-000000000000",
            "127.0.0.1",
            "a@b.co",
            "\u{0}\\\""
        ])
        .prop_map(Value::from),
        "[a-cE-Wé\\\\\"]{0,6}".prop_map(Value::from),
    ]
}

pub(super) fn document() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(4, 24, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((prop::sample::select(NAMES.to_vec()), inner), 0..5).prop_map(
                |members| {
                    Value::Object(
                        members
                            .into_iter()
                            .map(|(name, value)| (name.to_owned(), value))
                            .collect(),
                    )
                }
            ),
        ]
    })
}

pub(super) fn types() -> impl Strategy<Value = Value> {
    let word = || {
        prop::sample::select(vec![
            "null", "boolean", "integer", "number", "string", "array", "object",
        ])
    };
    prop_oneof![
        3 => word().prop_map(Value::from),
        1 => prop::collection::btree_set(word(), 1..4).prop_map(Value::from_iter),
    ]
}

pub(super) fn leaf() -> impl Strategy<Value = Value> {
    let limit = || {
        prop_oneof![
            (-3i64..9).prop_map(Value::from),
            prop::sample::select(vec![0.5, 1e19, -0.0]).prop_map(Value::from),
            any::<i64>().prop_map(Value::from)
        ]
    };
    prop_oneof![
        4 => types().prop_map(|types| json!({"type": types})),
        1 => any::<bool>().prop_map(Value::from),
        1 => Just(json!({})),
        1 => (limit(), limit()).prop_map(|(low, high)| json!({"minimum": low, "maximum": high})),
        1 => (limit(), limit()).prop_map(|(low, high)| json!({"type": "number", "exclusiveMinimum": low, "exclusiveMaximum": high})),
        1 => prop::sample::select(vec![json!(2), json!(0.1), json!(3.0)]).prop_map(|step| json!({"multipleOf": step})),
        1 => (0usize..4, 0usize..5).prop_map(|(least, most)| json!({"type": "string", "minLength": least, "maxLength": most})),
        1 => prop::sample::select(vec!["^[A-Z]{3}$", "a", "^é", "\\d+", "^\\p{L}*$"]).prop_map(|pattern| json!({"pattern": pattern})),
        2 => prop::sample::select(vec!["date", "date-time", "uuid", "ipv4", "email", "unheard-of", "time"])
            .prop_map(|format| json!({"type": "string", "format": format})),
        1 => prop::collection::vec(scalar(), 1..4).prop_map(|mut list| { list.dedup(); json!({"enum": list, "x-note": 1}) }),
        1 => scalar().prop_map(|value| json!({"const": value, "title": "t"})),
    ]
}

pub(super) fn part() -> impl Strategy<Value = Value> {
    leaf().prop_recursive(3, 24, 4, |inner| {
        let name = || prop::sample::select(NAMES.to_vec());
        let object = (
            prop::collection::btree_map(name(), inner.clone(), 0..4),
            prop::collection::btree_set(name(), 0..2),
            prop::option::of(inner.clone()),
            prop::option::of(inner.clone()),
            prop::option::of((0usize..2, 0usize..4)),
        )
            .prop_map(|(properties, required, additional, pattern, sizes)| {
                let mut schema = json!({"type": ["object", "null"], "properties": properties, "required": required});
                if let Some(additional) = additional {
                    schema["additionalProperties"] = additional;
                }
                if let Some(pattern) = pattern {
                    schema["patternProperties"] = json!({"^[af]": pattern});
                }
                if let Some((least, most)) = sizes {
                    schema["minProperties"] = least.into();
                    schema["maxProperties"] = most.into();
                }
                schema
            });
        let array = (inner.clone(), 0usize..2, 0usize..4)
            .prop_map(|(items, least, most)| json!({"type": "array", "items": items, "minItems": least, "maxItems": most}));
        let tuple = (prop::collection::vec(inner.clone(), 1..3), prop::option::of(inner.clone()))
            .prop_map(|(first, rest)| match rest {
                Some(rest) => json!({"prefixItems": first, "items": rest}),
                None => json!({ "prefixItems": first }),
            });
        let combined = (prop::sample::select(vec!["anyOf", "oneOf", "allOf"]), prop::collection::vec(inner, 1..4))
            .prop_map(|(word, branches)| json!({ word: branches }));
        let reference = prop::sample::select(vec!["#", "#/$defs/d", "#/properties/a"])
            .prop_map(|to| json!({"properties": {"b": {"$ref": to}}, "items": {"$ref": to, "type": ["object", "integer"]}}));
        prop_oneof![3 => object, 1 => array, 1 => tuple, 2 => combined, 1 => reference]
    })
}

/// A schema, in a draft; the words of other drafts are put in place.
pub(super) fn schema() -> impl Strategy<Value = Value> {
    let drafts = [
        "http://json-schema.org/draft-04/schema#",
        "http://json-schema.org/draft-06/schema#",
        "http://json-schema.org/draft-07/schema#",
        "https://json-schema.org/draft/2019-09/schema",
        "https://json-schema.org/draft/2020-12/schema",
    ];
    (part(), part(), part(), 0usize..9).prop_map(move |(mut top, property, defined, draft)| {
        let draft = drafts[draft.min(4)];
        if let Value::Object(members) = &mut top {
            members
                .entry("$defs")
                .or_insert_with(|| json!({ "d": defined }));
            let properties = members.entry("properties").or_insert_with(|| json!({}));
            if properties.get("a").is_none() {
                properties["a"] = property;
            }
            members.insert("$schema".to_owned(), draft.into());
        }
        if !draft.contains("2020") {
            older(&mut top, draft.contains("-04"));
        }
        top
    })
}

/// In the words of older drafts.
pub(super) fn older(schema: &mut Value, oldest: bool) {
    match schema {
        Value::Object(members) => {
            if let Some(first) = members.remove("prefixItems")
                && let Some(rest) = members.insert("items".to_owned(), first)
            {
                members.insert("additionalItems".to_owned(), rest);
            }
            if oldest {
                members.remove("exclusiveMaximum");
                if members.remove("exclusiveMinimum").is_some() {
                    members.insert("minimum".to_owned(), json!(1));
                    members.insert("exclusiveMinimum".to_owned(), json!(true));
                }
                members.remove("const");
                if members
                    .get("required")
                    .is_some_and(|names| names == &json!([]))
                {
                    members.remove("required");
                }
            }
            for (word, member) in members.iter_mut() {
                if word != "enum" {
                    older(member, oldest);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| older(item, oldest)),
        Value::Bool(_) if oldest => *schema = json!({}),
        _ => {}
    }
}

/// A document that a schema asks for, as far as choosing freely leads there.
pub(super) fn sample(
    root: &Value,
    schema: &Value,
    dice: &mut impl FnMut(usize) -> usize,
    depth: usize,
) -> Value {
    if depth > 6 {
        return Value::Null;
    }
    let Value::Object(words) = schema else {
        return json!(1);
    };
    if let Some(target) = words
        .get("$ref")
        .and_then(Value::as_str)
        .and_then(|to| root.pointer(&to[1..]))
    {
        return sample(root, target, dice, depth + 1);
    }
    if let Some(list) = words.get("enum").and_then(Value::as_array) {
        return list[dice(list.len())].clone();
    }
    if let Some(value) = words.get("const") {
        return value.clone();
    }
    for word in ["allOf", "anyOf", "oneOf"] {
        if let Some(list) = words.get(word).and_then(Value::as_array) {
            return sample(root, &list[dice(list.len())], dice, depth + 1);
        }
    }
    let types = match words.get("type") {
        Some(Value::Array(list)) => list[dice(list.len())].as_str().unwrap_or("null"),
        Some(Value::String(word)) => word,
        _ => ["object", "array", "integer", "string"][dice(4)],
    };
    match types {
        "null" => Value::Null,
        "boolean" => Value::from(dice(2) == 0),
        "integer" => [json!(0), json!(3), json!(6), json!(2.0)][dice(4)].clone(),
        "number" => [json!(1), json!(2.5), json!(6)][dice(3)].clone(),
        "string" => [
            "EWR",
            "é",
            "",
            "2026-11-23",
            "2026-11-23T07:45:00.25Z",
            "0190f2a6-0000-7000-8000-000000000000",
        ][dice(6)]
        .into(),
        "array" => {
            let first = words.get("prefixItems").and_then(Value::as_array);
            let count = dice(3);
            (0..count)
                .map(|at| {
                    let item = first.and_then(|first| first.get(at)).or(words.get("items"));
                    sample(root, item.unwrap_or(&Value::Null), dice, depth + 1)
                })
                .collect()
        }
        _ => sampled_object(root, words, dice, depth),
    }
}

fn sampled_object(
    root: &Value,
    words: &Map<String, Value>,
    dice: &mut impl FnMut(usize) -> usize,
    depth: usize,
) -> Value {
    let mut members = Map::new();
    for (name, property) in words
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        if dice(4) > 0 {
            members.insert(name.clone(), sample(root, property, dice, depth + 1));
        }
    }
    if dice(3) == 0 {
        let additional = words.get("additionalProperties").unwrap_or(&Value::Null);
        members.insert(
            "extra".to_owned(),
            sample(root, additional, dice, depth + 1),
        );
    }
    Value::Object(members)
}

/// With white space, escapes and other spellings that mean the same.
pub(super) fn spelled(document: &Value, dice: &mut impl FnMut(usize) -> usize, text: &mut String) {
    text.push_str([" ", "", "\n\t", ""][dice(4)]);
    match document {
        Value::String(word) => string(word, dice, text),
        Value::Array(items) => {
            text.push('[');
            for (at, item) in items.iter().enumerate() {
                text.push_str(if at > 0 { "," } else { "" });
                spelled(item, dice, text);
            }
            text.push(']');
        }
        Value::Object(members) => {
            text.push('{');
            for (at, (name, member)) in members.iter().enumerate() {
                text.push_str(if at > 0 { " ," } else { "" });
                string(name, dice, text);
                text.push_str([":", " :"][dice(2)]);
                spelled(member, dice, text);
            }
            text.push('}');
        }
        other => write!(text, "{other}").expect("a string"),
    }
    text.push_str(["", " \r"][dice(2)]);
}

pub(super) fn string(word: &str, dice: &mut impl FnMut(usize) -> usize, text: &mut String) {
    if dice(3) > 0 {
        return text.push_str(&Value::from(word).to_string());
    }
    text.push('"');
    for unit in word.encode_utf16() {
        write!(text, "\\u{unit:04x}").expect("a string");
    }
    text.push('"');
}

pub(super) fn dice(seed: u64) -> impl FnMut(usize) -> usize {
    let mut state = seed | 1;
    move |sides| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % sides.max(1) as u64) as usize
    }
}
