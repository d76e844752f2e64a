//! The interface as a function: every rule, number and text.

#![expect(clippy::too_many_lines, reason = "a table reads best in one piece")]

use serde_json::{Map, Value, json};

use super::plan;
use crate::{Compiled, Registry, RegistryChange, RegistryError, Reply, Request, Verb};

mod histories;
mod levels;

/// A registry that applies what is planned, as the server does, with a reload from bytes behind every change.
#[derive(Default)]
struct Desk {
    registry: Registry,
    compiled: Compiled,
    log: Vec<RegistryChange>,
}

impl Desk {
    fn ask(&mut self, verb: Verb, body: Value) -> Result<Value, RegistryError> {
        let Value::Object(body) = body else {
            panic!("a body is an object")
        };
        let request = Request::new(verb, body, Map::new())?;
        let planned = plan(&self.registry, &self.compiled, 5, &request)?;
        for change in planned.changes {
            // As it lies in the log.
            let text = serde_json::to_string(&change).expect("plain data");
            let read: RegistryChange = serde_json::from_str(&text).expect("reads back");
            assert_eq!(read, change);
            self.registry.apply(change.clone());
            self.log.push(change);
        }
        let read = Registry::decode(&self.registry.encode()).expect("reads back");
        assert_eq!(read, self.registry);
        Ok(match planned.reply {
            Reply::Json(value) => value,
            Reply::Text(text) => text.into(),
            Reply::Done => Value::Null,
        })
    }

    fn good(&mut self, verb: Verb, body: Value) -> Value {
        self.ask(verb, body.clone())
            .unwrap_or_else(|error| panic!("{verb:?} {body}: {error}"))
    }

    fn bad(&mut self, verb: Verb, body: Value) -> (u32, String) {
        let before = self.registry.clone();
        let error = self.ask(verb, body.clone());
        let Err(error) = error else {
            panic!("{verb:?} {body} was taken")
        };
        assert_eq!(self.registry, before);
        (error.code(), error.to_string())
    }

    fn register(&mut self, subject: &str, schema: &str) -> (i64, i64) {
        let body = json!({ "subject": subject, "schema": schema, "schemaType": "JSON" });
        let got = self.good(Verb::Register, body);
        let number = |key: &str| got[key].as_i64().expect("a number");
        (number("id"), number("version"))
    }
}

const ONE: &str = r#"{"type":"object"}"#;
const TWO: &str = r#"{ "type": "object", "title": "two" }"#;

#[test]
fn ids_versions_and_deletes() {
    let mut desk = Desk::default();
    assert_eq!(desk.register("a", ONE), (1, 1));
    assert_eq!(desk.register("a", "{ \"type\": \"object\" }"), (1, 1));
    assert_eq!(desk.register("a", TWO), (2, 2));
    assert_eq!(desk.register("b/c", TWO), (2, 1));
    assert_eq!(desk.good(Verb::Subjects, json!({})), json!(["a", "b/c"]));
    let got = desk.good(
        Verb::Version,
        json!({ "subject": "a", "version": "latest" }),
    );
    assert_eq!(got["version"], 2);
    assert_eq!(got["schema"], TWO);
    assert_eq!(got["schemaType"], "JSON");
    assert_eq!(got["ts"], 5);
    assert_eq!(got.get("references"), None);
    let guid = got["guid"].clone();
    assert_eq!(
        desk.good(Verb::GuidIds, json!({ "guid": guid })),
        json!([{ "context": ".", "id": 2 }])
    );
    assert_eq!(
        desk.good(Verb::IdVersions, json!({ "id": 2 })),
        json!([{ "subject": "a", "version": 2 }, { "subject": "b/c", "version": 1 }])
    );
    // Hidden: the number is not given again, the id stays.
    let a2 = json!({ "subject": "a", "version": 2 });
    assert_eq!(desk.good(Verb::DeleteVersion, a2.clone()), 2);
    assert_eq!(desk.bad(Verb::DeleteVersion, a2).0, 40_406);
    assert_eq!(
        desk.good(Verb::Versions, json!({ "subject": "a" })),
        json!([1])
    );
    assert_eq!(
        desk.good(
            Verb::Versions,
            json!({ "subject": "a", "deleted": "true", "deletedAsNegative": true })
        ),
        json!([1, -2])
    );
    assert_eq!(desk.good(Verb::Id, json!({ "id": "2" }))["schema"], TWO);
    assert_eq!(desk.register("a", TWO), (2, 3));
    // Gone: the number of the highest version is given again.
    desk.good(Verb::DeleteVersion, json!({ "subject": "a", "version": 3 }));
    let gone = json!({ "subject": "a", "version": 3, "permanent": true });
    assert_eq!(desk.good(Verb::DeleteVersion, gone), 3);
    assert_eq!(
        desk.bad(
            Verb::DeleteVersion,
            json!({ "subject": "a", "version": 1, "permanent": true })
        ),
        (
            40_407,
            "Subject 'a' Version 1 was not deleted first before being permanently deleted"
                .to_owned()
        )
    );
    assert_eq!(desk.register("a", TWO), (2, 3));
    // A whole subject.
    let b = json!({ "subject": "b/c" });
    assert_eq!(
        desk.bad(
            Verb::DeleteSubject,
            json!({ "subject": "b/c", "permanent": true })
        )
        .0,
        40_405
    );
    assert_eq!(desk.good(Verb::DeleteSubject, b.clone()), json!([1]));
    assert_eq!(desk.bad(Verb::DeleteSubject, b.clone()).0, 40_404);
    assert_eq!(desk.bad(Verb::Versions, b.clone()).0, 40_401);
    assert_eq!(
        desk.good(Verb::Subjects, json!({ "deletedOnly": true })),
        json!(["b/c"])
    );
    assert_eq!(
        desk.good(
            Verb::DeleteSubject,
            json!({ "subject": "b/c", "permanent": true })
        ),
        json!([1])
    );
    assert_eq!(
        desk.bad(Verb::DeleteSubject, b),
        (40_401, "Subject 'b/c' not found.".to_owned())
    );
    assert_eq!(desk.register("b/c", TWO), (2, 1));
}

#[test]
fn an_id_survives_its_last_version() {
    let mut desk = Desk::default();
    desk.register("a", ONE);
    desk.good(Verb::DeleteSubject, json!({ "subject": "a" }));
    desk.good(
        Verb::DeleteSubject,
        json!({ "subject": "a", "permanent": true }),
    );
    assert_eq!(
        desk.bad(Verb::Id, json!({ "id": 1 })),
        (40_403, "Schema 1 not found".to_owned())
    );
    // The server still reads messages with it.
    assert_eq!(desk.registry.by_id(1).expect("kept").text, ONE);
    assert_eq!(desk.register("b", TWO), (2, 1));
    assert_eq!(desk.register("a", ONE), (1, 1));
}

#[test]
fn what_is_wrong_has_its_number_and_text() {
    let mut desk = Desk::default();
    desk.register("a", ONE);
    let json_schema = |text: &str| json!({ "subject": "a", "schemaType": "JSON", "schema": text });
    let table = [
        (Verb::Id, json!({ "id": 9 }), 40_403, "Schema 9 not found"),
        (Verb::Id, json!({ "id": "x" }), 404, "HTTP 404 Not Found"),
        (
            Verb::Guid,
            json!({ "guid": "g" }),
            40_403,
            "Schema g not found",
        ),
        (
            Verb::Versions,
            json!({ "subject": "z" }),
            40_401,
            "Subject 'z' not found.",
        ),
        (
            Verb::Version,
            json!({ "subject": "z", "version": 1 }),
            40_401,
            "Subject 'z' not found.",
        ),
        (
            Verb::Version,
            json!({ "subject": "a", "version": 7 }),
            40_402,
            "Version 7 not found.",
        ),
        (
            Verb::Version,
            json!({ "subject": "a", "version": "0" }),
            42_202,
            "The specified version '0' is not a valid version id",
        ),
        (
            Verb::Version,
            json!({ "subject": "a", "version": "-2" }),
            42_202,
            "'-2' is not a valid version id",
        ),
        (
            Verb::Version,
            json!({ "subject": "z", "version": "abc" }),
            42_202,
            "'abc' is not a valid version id",
        ),
        (
            Verb::Version,
            json!({ "subject": "a", "version": "2147483648" }),
            42_202,
            "is not a valid version id",
        ),
        (
            Verb::DeleteVersion,
            json!({ "subject": "a", "version": 2 }),
            40_402,
            "Version 2 not found.",
        ),
        (
            Verb::DeleteVersion,
            json!({ "subject": "z", "version": 2 }),
            40_401,
            "not found",
        ),
        (
            Verb::Lookup,
            json!({ "subject": "z", "schema": ONE }),
            40_401,
            "Subject 'z' not found.",
        ),
        (Verb::Lookup, json_schema("{}"), 40_403, "Schema not found"),
        (Verb::Register, json_schema("{"), 42_201, "Invalid schema"),
        (
            Verb::Register,
            json_schema("{\"type\":7}"),
            42_201,
            "Invalid schema",
        ),
        (
            Verb::Register,
            json!({ "subject": "new", "schemaType": "JSON" }),
            42_201,
            "Empty schema",
        ),
        (
            Verb::Register,
            json!({ "subject": "a", "schema": ONE, "schemaType": "XML" }),
            42_201,
            "Invalid schema of type XML",
        ),
        (
            Verb::Register,
            json!({ "subject": "a\u{1}", "schema": ONE, "schemaType": "JSON" }),
            42_208,
            "The specified subject",
        ),
        (
            Verb::Register,
            json!({ "schema": ONE, "schemaType": "JSON" }),
            42_208,
            "The specified subject",
        ),
        (
            Verb::Register,
            json!({ "subject": "a", "schema": "{}", "schemaType": "JSON", "id": 9 }),
            42_205,
            "is not in import mode",
        ),
        (
            Verb::Register,
            json!({ "subject": "a", "schema": "{}", "schemaType": "JSON", "version": 9 }),
            42_201,
            "not one more than previous version",
        ),
        (
            Verb::Register,
            json!({ "subject": "a", "schema": "{}", "schemaType": "JSON", "references": [{ "name": "n", "subject": "z", "version": 1 }] }),
            42_201,
            "no schema reference found for subject \"z\" and version 1",
        ),
        (
            Verb::Register,
            json!({ "subject": "a", "schema": "{}", "schemaType": "JSON", "ruleSet": { "domainRules": [{ "name": "r", "kind": "X", "type": "CEL" }] } }),
            42_210,
            "kind of rule 'r'",
        ),
        (
            Verb::Register,
            json!({ "subject": "a", "schema": 5 }),
            422,
            "request cannot be read",
        ),
        (
            Verb::Check,
            json!({ "subject": "z", "version": "latest", "schema": ONE, "schemaType": "JSON" }),
            40_401,
            "Subject 'z' not found.",
        ),
        (
            Verb::Check,
            json!({ "subject": "a", "version": 9, "schema": ONE, "schemaType": "JSON" }),
            40_402,
            "Version 9 not found.",
        ),
        (
            Verb::Check,
            json!({ "subject": "a", "version": "x", "schema": ONE, "schemaType": "JSON" }),
            42_202,
            "valid version",
        ),
        (
            Verb::Config,
            json!({ "subject": "a" }),
            40_408,
            "Subject 'a' does not have subject-level compatibility configured",
        ),
        (
            Verb::SetConfig,
            json!({ "subject": "a", "compatibility": "SIDEWAYS" }),
            42_203,
            "Invalid compatibility level",
        ),
        (
            Verb::DeleteConfig,
            json!({ "subject": "a" }),
            40_401,
            "Subject 'a' not found.",
        ),
        (
            Verb::Mode,
            json!({ "subject": "a" }),
            40_409,
            "Subject 'a' does not have subject-level mode configured",
        ),
        (
            Verb::SetMode,
            json!({ "subject": "a", "mode": "FLYING" }),
            42_204,
            "Invalid mode",
        ),
        (
            Verb::SetMode,
            json!({ "mode": "IMPORT" }),
            42_205,
            "Cannot import since found existing subjects",
        ),
        (
            Verb::DeleteMode,
            json!({ "subject": "a" }),
            40_401,
            "Subject 'a' not found.",
        ),
        (
            Verb::DeleteContext,
            json!({ "context": ".x" }),
            40_401,
            "not found",
        ),
        (
            Verb::DeleteContext,
            json!({ "context": "." }),
            42_211,
            "is not empty",
        ),
        (
            Verb::ByMetadata,
            json!({ "subject": "a", "key": "k", "value": "v" }),
            40_403,
            "Schema not found",
        ),
    ];
    for (verb, body, code, text) in table {
        let (found, told) = desk.bad(verb, body.clone());
        assert_eq!(found, code, "{verb:?} {body}: {told}");
        assert!(told.contains(text), "{verb:?} {body}: {told}");
    }
}

#[test]
fn what_is_referred_to_stays() {
    let mut desk = Desk::default();
    desk.register("inner", ONE);
    let outer = json!({ "subject": "outer", "schemaType": "JSON", "schema": "{\"title\":\"outer\",\"properties\":{\"a\":{\"$ref\":\"inner.json\"}}}",
        "references": [{ "name": "inner.json", "subject": "inner", "version": -1 }] });
    let id = desk.good(Verb::Register, outer.clone())["id"].clone();
    let shown = desk.good(Verb::Version, json!({ "subject": "outer", "version": 1 }));
    assert_eq!(
        shown["references"],
        json!([{ "name": "inner.json", "subject": "inner", "version": 1 }])
    );
    let inner = json!({ "subject": "inner", "version": 1 });
    assert_eq!(desk.good(Verb::ReferencedBy, inner.clone()), json!([id]));
    assert_eq!(desk.bad(Verb::DeleteVersion, inner.clone()).0, 42_206);
    assert_eq!(desk.bad(Verb::DeleteSubject, inner.clone()).0, 42_206);
    assert_eq!(desk.registry.referring("inner"), ["outer:1"]);
    // Registered anew it is the same schema, also with the version spelt out.
    let mut again = outer;
    again["references"][0]["version"] = 1.into();
    assert_eq!(desk.good(Verb::Register, again)["id"], id);
    desk.good(Verb::DeleteSubject, json!({ "subject": "outer" }));
    assert_eq!(desk.good(Verb::ReferencedBy, inner.clone()), json!([]));
    assert_eq!(desk.good(Verb::DeleteVersion, inner), 1);
}

#[test]
fn settings_reach_down_and_are_echoed() {
    let mut desk = Desk::default();
    desk.register("a", ONE);
    assert_eq!(
        desk.good(Verb::Config, json!({})),
        json!({ "compatibilityLevel": "BACKWARD" })
    );
    assert_eq!(
        desk.good(
            Verb::SetConfig,
            json!({ "compatibility": "FULL", "normalize": true })
        ),
        json!({ "compatibility": "FULL", "normalize": true })
    );
    assert_eq!(
        desk.good(
            Verb::Config,
            json!({ "subject": "a", "defaultToGlobal": true })
        ),
        json!({ "compatibilityLevel": "FULL", "normalize": true })
    );
    desk.good(
        Verb::SetConfig,
        json!({ "subject": "later", "compatibility": "none" }),
    );
    assert_eq!(
        desk.good(Verb::Config, json!({ "subject": "later" })),
        json!({ "compatibilityLevel": "NONE" })
    );
    // Absent stays, null goes.
    desk.good(
        Verb::SetConfig,
        json!({ "subject": "later", "compatibilityGroup": "major" }),
    );
    assert_eq!(
        desk.good(Verb::Config, json!({ "subject": "later" })),
        json!({ "compatibilityLevel": "NONE", "compatibilityGroup": "major" })
    );
    desk.good(
        Verb::SetConfig,
        json!({ "subject": "later", "compatibility": null }),
    );
    assert_eq!(
        desk.good(Verb::DeleteConfig, json!({ "subject": "later" })),
        json!({ "compatibilityGroup": "major" })
    );
    assert_eq!(
        desk.good(Verb::Subjects, json!({ "deleted": true })),
        json!(["a"])
    );
    desk.good(Verb::SetMode, json!({ "mode": "READONLY" }));
    assert_eq!(
        desk.good(
            Verb::Mode,
            json!({ "subject": "a", "defaultToGlobal": "true" })
        ),
        json!({ "mode": "READONLY" })
    );
    let two = json!({ "subject": "a", "schemaType": "JSON", "schema": TWO });
    assert_eq!(desk.bad(Verb::Register, two.clone()).0, 42_205);
    assert_eq!(
        desk.bad(Verb::DeleteSubject, json!({ "subject": "a" })).0,
        42_205
    );
    // What is there is answered, whatever the mode.
    assert_eq!(desk.register("a", ONE), (1, 1));
    desk.good(
        Verb::SetMode,
        json!({ "subject": "a", "mode": "READWRITE" }),
    );
    desk.good(Verb::Register, two);
    desk.good(Verb::SetMode, json!({ "mode": "READONLY_OVERRIDE" }));
    assert_eq!(
        desk.bad(Verb::DeleteSubject, json!({ "subject": "a" })).0,
        42_205
    );
    assert_eq!(
        desk.good(Verb::DeleteMode, json!({ "recursive": true })),
        json!({ "mode": "READONLY_OVERRIDE" })
    );
    assert_eq!(desk.bad(Verb::Mode, json!({ "subject": "a" })).0, 40_409);
}

#[test]
fn importing_keeps_foreign_ids() {
    let mut desk = Desk::default();
    desk.register("old", ONE);
    assert_eq!(
        desk.bad(Verb::SetMode, json!({ "mode": "IMPORT" })).0,
        42_205
    );
    desk.good(Verb::SetMode, json!({ "subject": "new", "mode": "IMPORT" }));
    let import = |id: u32, version: u32, text: &str| json!({ "subject": "new", "schemaType": "JSON", "schema": text, "id": id, "version": version });
    let got = desk.good(Verb::Register, import(77, 5, TWO));
    assert_eq!((&got["id"], &got["version"]), (&json!(77), &json!(5)));
    assert_eq!(desk.bad(Verb::Register, import(77, 6, "{}")).0, 42_205);
    assert_eq!(
        desk.bad(Verb::Register, import(78, 6, TWO)),
        (
            42_207,
            "Schema already registered with id 77 instead of input id 78".to_owned()
        )
    );
    assert_eq!(
        desk.bad(
            Verb::Register,
            json!({ "subject": "new", "schemaType": "JSON", "schema": "{}" })
        )
        .0,
        42_205
    );
    desk.good(
        Verb::SetMode,
        json!({ "subject": "new", "mode": "READWRITE" }),
    );
    assert_eq!(desk.register("new", "{}"), (78, 6));
}

#[test]
fn contexts_are_apart() {
    let mut desk = Desk::default();
    desk.register("a", ONE);
    assert_eq!(desk.register(":.eu:a", TWO), (1, 1));
    assert_eq!(desk.good(Verb::Contexts, json!({})), json!([".", ".eu"]));
    assert_eq!(desk.good(Verb::Subjects, json!({})), json!(["a", ":.eu:a"]));
    assert_eq!(
        desk.good(Verb::Subjects, json!({ "subjectPrefix": ":.eu:" })),
        json!([":.eu:a"])
    );
    assert_eq!(
        desk.good(Verb::Subjects, json!({ "subjectPrefix": "" })),
        json!(["a"])
    );
    assert_eq!(
        desk.good(Verb::Id, json!({ "id": 1, "subject": ":.eu:" }))["schema"],
        TWO
    );
    assert_eq!(desk.good(Verb::Id, json!({ "id": 1 }))["schema"], ONE);
    desk.good(
        Verb::SetConfig,
        json!({ "subject": ":.eu:", "compatibility": "NONE" }),
    );
    assert_eq!(
        desk.good(
            Verb::Config,
            json!({ "subject": ":.eu:a", "defaultToGlobal": true })
        ),
        json!({ "compatibilityLevel": "NONE" })
    );
    desk.good(
        Verb::SetConfig,
        json!({ "subject": ":.__GLOBAL:", "compatibility": "FORWARD" }),
    );
    assert_eq!(
        desk.good(Verb::Config, json!({})),
        json!({ "compatibilityLevel": "FORWARD" })
    );
    assert_eq!(
        desk.bad(Verb::DeleteContext, json!({ "context": ".eu" })).0,
        42_211
    );
    desk.good(Verb::DeleteSubject, json!({ "subject": ":.eu:a" }));
    desk.good(
        Verb::DeleteSubject,
        json!({ "subject": ":.eu:a", "permanent": true }),
    );
    assert_eq!(
        desk.good(Verb::DeleteContext, json!({ "context": "eu" })),
        Value::Null
    );
    assert_eq!(desk.good(Verb::Contexts, json!({})), json!(["."]));
}

#[test]
fn metadata_makes_another_schema_and_is_inherited() {
    let mut desk = Desk::default();
    desk.register("a", ONE);
    let with = |value: &str| json!({ "subject": "a", "metadata": { "properties": { "major": value }, "tags": null } });
    // No text: the latest one's.
    assert_eq!(desk.good(Verb::Register, with("1"))["version"], 2);
    assert_eq!(desk.register("a", ONE), (2, 2));
    let found = desk.good(
        Verb::ByMetadata,
        json!({ "subject": "a", "key": ["major"], "value": ["1"] }),
    );
    assert_eq!(found["version"], 2);
    assert_eq!(found["metadata"], json!({ "properties": { "major": "1" } }));
    let tags = json!({ "subject": "a", "version": "latest",
        "tagsToAdd": [{ "schemaEntity": { "entityPath": "object", "entityType": "sr_record" }, "tags": ["PII"] }] });
    assert_eq!(desk.good(Verb::Tag, tags)["version"], 3);
    let latest = desk.good(Verb::Version, json!({ "subject": "a", "version": -1 }));
    assert_eq!(
        latest["metadata"],
        json!({ "properties": { "major": "1" } })
    );
    desk.good(Verb::SetConfig, json!({ "subject": "b", "alias": "a" }));
    assert_eq!(
        desk.good(Verb::Versions, json!({ "subject": "b" })),
        json!([1, 2, 3])
    );
    let page = json!({ "subject": "a", "offset": 1, "limit": "1" });
    assert_eq!(desk.good(Verb::Versions, page), json!([2]));
    assert_eq!(
        desk.good(Verb::Schemas, json!({ "latestOnly": true }))
            .as_array()
            .map(Vec::len),
        Some(1)
    );
}

fn field_tags(path: &str, tags: &[&str]) -> Value {
    json!([{ "schemaEntity": { "entityPath": path, "entityType": "sr_field" }, "tags": tags }])
}

#[test]
fn tags_are_in_the_text() {
    let mut desk = Desk::default();
    let text = |more: &str| {
        format!(
            r#"{{"type":"object","additionalProperties":false,"properties":{{"a":{{"type":"string"}}{more}}}}}"#
        )
    };
    desk.register("t", &text(""));
    let tag = json!({ "subject": "t", "version": 1, "tagsToAdd": field_tags("object.a", &["PII", "ME"]) });
    assert_eq!(desk.good(Verb::Tag, tag.clone())["version"], 2);
    // Once more is nothing new.
    assert_eq!(desk.good(Verb::Tag, tag)["version"], 2);
    let asked = json!({ "subject": "t", "version": "latest", "findTags": "true" });
    let found = desk.good(Verb::Version, asked);
    let a = json!([{ "schemaEntity": { "entityPath": "object.a", "entityType": "sr_field" }, "tags": ["ME", "PII"] }]);
    assert_eq!(found["schemaTags"], a);
    assert!(
        found["schema"]
            .as_str()
            .is_some_and(|text| text.contains(r#""confluent:tags":["ME","PII"]"#))
    );
    let by_id = desk.good(Verb::Id, json!({ "id": found["id"], "findTags": true }));
    assert_eq!(by_id["schemaTags"], a);
    let plain = desk.good(Verb::Version, json!({ "subject": "t", "version": 2 }));
    assert_eq!(plain.get("schemaTags"), None);
    // A new version takes them along where it is asked to, with changes of its own.
    let third = json!({ "subject": "t", "schemaType": "JSON", "schema": text(r#","b":{"type":"string"}"#), "propagateSchemaTags": true,
        "schemaTagsToAdd": field_tags("object.b", &["NEW"]), "schemaTagsToRemove": field_tags("object.a", &["ME"]) });
    let got = desk.good(Verb::Register, third);
    let found = desk.good(Verb::Id, json!({ "id": got["id"], "findTags": true }));
    let tags = |path: &str| {
        let all = found["schemaTags"].as_array().expect("tags");
        let one = all
            .iter()
            .find(|one| one["schemaEntity"]["entityPath"] == path);
        one.map(|one| one["tags"].clone())
    };
    assert_eq!(tags("object.a"), Some(json!(["PII"])));
    assert_eq!(tags("object.b"), Some(json!(["NEW"])));
    let wrong =
        json!({ "subject": "t", "version": 1, "tagsToAdd": field_tags("object.c", &["X"]) });
    let (code, text) = desk.bad(Verb::Tag, wrong);
    assert_eq!(code, 42_201);
    assert!(text.contains("it has no field `object.c` to tag"), "{text}");
    // Protobuf texts are not written anew: their tags are in the metadata, and those in the text are found.
    let proto = "syntax = \"proto3\"; import \"confluent/meta.proto\"; message M { int32 a = 1 [(confluent.field_meta).tags = \"OLD\"]; int32 b = 2; }";
    desk.good(
        Verb::Register,
        json!({ "subject": "p", "schemaType": "PROTOBUF", "schema": proto }),
    );
    desk.good(
        Verb::Tag,
        json!({ "subject": "p", "version": 1, "tagsToAdd": field_tags("M.b", &["PII"]) }),
    );
    let found = desk.good(
        Verb::Version,
        json!({ "subject": "p", "version": 2, "findTags": true }),
    );
    assert_eq!(found["metadata"]["tags"], json!({ "M.b": ["PII"] }));
    assert_eq!(found["schemaTags"][0]["tags"], json!(["OLD"]));
}

#[test]
fn migrations_belong_to_one_version() {
    let mut desk = Desk::default();
    let rule = |name: &str, mode: &str, kind: &str, expr: &str| json!({ "name": name, "kind": "TRANSFORM", "mode": mode, "type": kind, "expr": expr });
    let version = |title: &str, rules: Value| json!({ "subject": "m", "schemaType": "JSON", "schema": format!(r#"{{"type":"object","title":"{title}"}}"#), "ruleSet": rules });
    desk.good(Verb::Register, version("one", Value::Null));
    let rules = json!({
        "migrationRules": [
            rule("up", "UPGRADE", "FUNCTION", "to-two"), rule("down", "DOWNGRADE", "SQL", "SELECT 1 AS a FROM message"),
            rule("theirs", "UPGRADE", "JSONATA", "$"),
        ],
        "domainRules": [rule("checked", "WRITE", "CEL", "true")],
    });
    let second = version("two", rules);
    assert_eq!(desk.good(Verb::Register, second.clone())["version"], 2);
    // The same again, with and without its rules, is the same version.
    assert_eq!(desk.good(Verb::Register, second)["version"], 2);
    assert_eq!(
        desk.good(Verb::Register, version("two", Value::Null))["version"],
        2
    );
    assert_eq!(desk.registry.migrated_by("to-two"), [("m", 2)]);
    assert!(
        desk.registry
            .migrated_by("SELECT 1 AS a FROM message")
            .is_empty()
    );
    // The next one takes over all rules but those.
    desk.good(Verb::Register, version("three", Value::Null));
    let found = desk.good(Verb::Version, json!({ "subject": "m", "version": 3 }));
    let names = |list: &str| -> Vec<Value> {
        let rules = found["ruleSet"][list]
            .as_array()
            .cloned()
            .unwrap_or_default();
        rules.into_iter().map(|rule| rule["name"].clone()).collect()
    };
    assert_eq!(names("migrationRules"), ["theirs"]);
    assert_eq!(names("domainRules"), ["checked"]);
    let empty = json!({ "migrationRules": [rule("up", "UPGRADE", "SQL", "")] });
    assert_eq!(desk.bad(Verb::Register, version("four", empty)).0, 42_210);
}

#[test]
fn reserved_fields_stay_free_where_that_is_validated() {
    let mut desk = Desk::default();
    let version = |field: &str, reserved: &str| {
        json!({ "subject": "r", "schema": format!(r#"{{"type":"record","name":"R","fields":[{{"name":"{field}","type":"int","default":1}}]}}"#),
        "metadata": { "properties": { "confluent:reserved": reserved } } })
    };
    desk.good(Verb::Register, version("a", "a, b"));
    desk.good(
        Verb::SetConfig,
        json!({ "subject": "r", "validateFields": true }),
    );
    for (body, kind) in [
        (version("b", "a,b"), "FIELD_CONFLICTS_WITH_RESERVED_FIELD"),
        (version("c", "a"), "RESERVED_FIELD_REMOVED"),
    ] {
        let (code, text) = desk.bad(Verb::Register, body);
        assert_eq!(code, 409);
        assert!(text.contains(kind) && text.contains("`b`"), "{text}");
    }
    desk.good(Verb::Register, version("c", "a,b,d"));
}
