//! Which versions a new one is compared with, and when two texts are one schema.

use serde_json::json;

use super::{Desk, ONE};
use crate::Verb;

fn record(fields: &str) -> String {
    format!(r#"{{"type":"record","name":"R","fields":[{fields}]}}"#)
}

const A: &str = r#"{"name":"a","type":"int"}"#;
const A_LONG: &str = r#"{"name":"a","type":"long"}"#;
const B: &str = r#"{"name":"b","type":"int","default":0}"#;
const B_BARE: &str = r#"{"name":"b","type":"int"}"#;

/// Versions one after the other under each level: is the last one taken?
#[test]
fn every_level_compares_with_the_versions_it_means() {
    let a = record(A);
    let wide = record(A_LONG);
    let with_b = record(&format!("{A},{B}"));
    let bare_b = record(&format!("{A},{B_BARE}"));
    let levels = [
        "BACKWARD",
        "BACKWARD_TRANSITIVE",
        "FORWARD",
        "FORWARD_TRANSITIVE",
        "FULL",
        "FULL_TRANSITIVE",
        "NONE",
    ];
    let table: [(&str, Vec<&str>, [bool; 7]); 5] = [
        (
            "a wider type",
            vec![&a, &wide],
            [true, true, false, false, false, false, true],
        ),
        (
            "a narrower type",
            vec![&wide, &a],
            [false, false, true, true, false, false, true],
        ),
        ("a field with default", vec![&a, &with_b], [true; 7]),
        (
            "a field without",
            vec![&a, &bare_b],
            [false, false, true, true, false, false, true],
        ),
        // Only what is compared with all sees that the first version has no such field.
        (
            "a default taken away",
            vec![&a, &with_b, &bare_b],
            [true, false, true, true, true, false, true],
        ),
    ];
    for (what, texts, taken) in table {
        for (level, taken) in levels.into_iter().zip(taken) {
            let mut desk = Desk::default();
            let (last, first) = texts.split_last().expect("some");
            desk.good(
                Verb::SetConfig,
                json!({ "subject": "s", "compatibility": "NONE" }),
            );
            for text in first {
                desk.good(Verb::Register, json!({ "subject": "s", "schema": text }));
            }
            desk.good(
                Verb::SetConfig,
                json!({ "subject": "s", "compatibility": level }),
            );
            let body = json!({ "subject": "s", "schema": last, "verbose": true });
            let checked = desk.good(Verb::Check, body.clone());
            assert_eq!(
                checked["is_compatible"], taken,
                "{what}, {level}: {checked}"
            );
            let got = desk.ask(Verb::Register, body);
            assert_eq!(got.is_ok(), taken, "{what}, {level}: {got:?}");
            let messages = checked["messages"].as_array().expect("messages");
            assert_eq!(messages.is_empty(), taken);
            if let Err(error) = got {
                assert_eq!((error.code(), error.status()), (409, 409));
                let end = format!("{{compatibility: '{level}'}}");
                assert_eq!(messages.last(), Some(&json!(end)), "{messages:?}");
                // The first version is the one it breaks with in every case here.
                assert!(
                    messages.contains(&json!("{oldSchemaVersion: 1}")),
                    "{messages:?}"
                );
                let told = error.to_string();
                assert!(
                    told.contains("incompatible with an earlier schema for subject \"s\""),
                    "{told}"
                );
                assert!(told.contains("errorType:"), "{told}");
            }
        }
    }
}

#[test]
fn groups_and_formats_and_one_version() {
    let mut desk = Desk::default();
    let (a, bare) = (record(A), record(&format!("{A},{B_BARE}")));
    let with = |text: &str, major: &str| json!({ "subject": "s", "schema": text, "metadata": { "properties": { "major": major } } });
    desk.good(
        Verb::SetConfig,
        json!({ "subject": "s", "compatibilityGroup": "major" }),
    );
    desk.good(Verb::Register, with(&a, "1"));
    assert_eq!(desk.bad(Verb::Register, with(&bare, "1")).0, 409);
    // A new group starts free.
    assert_eq!(desk.good(Verb::Register, with(&bare, "2"))["version"], 2);
    let check = |version: i64| json!({ "subject": "s", "schema": bare, "version": version });
    assert_eq!(desk.good(Verb::Check, check(2))["is_compatible"], true);
    assert_eq!(desk.good(Verb::Check, check(1))["is_compatible"], false);
    // Another format gets along with nothing, but is no error.
    let other = json!({ "subject": "s", "schema": ONE, "schemaType": "JSON", "metadata": { "properties": { "major": "2" } } });
    let (code, told) = desk.bad(Verb::Register, other.clone());
    assert!(code == 409 && told.contains("FORMAT_CHANGED"), "{told}");
    desk.good(
        Verb::SetConfig,
        json!({ "subject": "s", "compatibility": "NONE" }),
    );
    desk.good(Verb::Register, other);
}

#[test]
fn avro_is_written_out_with_what_it_refers_to() {
    let mut desk = Desk::default();
    let inner = r#"{"type":"record","name":"C","namespace":"n","fields":[]}"#;
    desk.good(Verb::Register, json!({ "subject": "c", "schema": inner }));
    let outer = r#"{"type":"record","name":"n.R","fields":[{"name":"a","type":["null","C"]},{"name":"b","type":{"type":"array","items":"n.C"}}]}"#;
    let references = json!([{ "name": "n.C", "subject": "c", "version": 1 }]);
    desk.good(
        Verb::Register,
        json!({ "subject": "r", "schema": outer, "references": references }),
    );
    let plain = desk.good(Verb::VersionSchema, json!({ "subject": "r", "version": 1 }));
    assert_eq!(plain.to_string(), outer);
    let full = json!({ "subject": "r", "version": 1, "format": "resolved" });
    let full = desk.good(Verb::VersionSchema, full);
    assert_eq!(full["fields"][0]["type"][1]["name"], "C", "{full}");
    assert_eq!(full["fields"][1]["type"]["items"], "n.C", "{full}");
    // It stands alone.
    desk.good(
        Verb::Register,
        json!({ "subject": "alone", "schema": full.to_string() }),
    );
}

#[test]
fn normalised_texts_are_one_schema() {
    let mut desk = Desk::default();
    let text = r#"{"type":"record","name":"R","namespace":"n","doc":"d","fields":[{"type":"int","name":"a"}]}"#;
    let full = r#"{ "name": "n.R", "type": "record", "doc": "d", "fields": [{"name":"a","type":{"type":"int"}}] }"#;
    let body = |text: &str, normalize: bool| json!({ "subject": "s", "schema": text, "normalize": normalize });
    let first = desk.good(Verb::Register, body(text, false));
    let again = desk.good(Verb::Register, body(full, true));
    assert_eq!(again["version"], first["version"], "{again}");
    let found = desk.good(Verb::Lookup, body(full, true));
    assert_eq!(found["id"], first["id"]);
    desk.good(Verb::SetConfig, json!({ "normalize": true }));
    assert_eq!(desk.good(Verb::Register, body(full, false))["version"], 1);
}
