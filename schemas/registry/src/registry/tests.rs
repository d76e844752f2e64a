//! The registry against a model: subjects, versions, ids.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::Registry;
use crate::{DecodeError, MissingError, RegisterError, Version};

const TEXT: &str = r#"{ "type": "object" }"#;

#[test]
fn the_same_schema_keeps_its_number_everywhere() {
    let mut registry = Registry::default();
    let first = registry
        .register("flight", "json", TEXT, "backward")
        .expect("valid");
    assert_eq!((first.id, first.version, first.created), (1, 1, true));
    let again = registry
        .register("flight", "json", "{\"type\":\n\"object\"}", "")
        .expect("valid");
    assert_eq!((again.id, again.version, again.created), (1, 1, false));
    let other = registry
        .register("weather", "json", TEXT, "")
        .expect("valid");
    assert_eq!((other.id, other.version, other.created), (1, 1, true));
    let next = registry
        .register("flight", "json", "{}", "full")
        .expect("valid");
    assert_eq!((next.id, next.version, next.created), (2, 2, true));
    assert_eq!(
        registry.get("flight", Version::Latest).expect("there").text,
        "{}"
    );
    assert_eq!(
        registry
            .get("flight", Version::Number(1))
            .expect("there")
            .text,
        TEXT
    );
    assert_eq!(
        registry
            .get("flight", Version::Latest)
            .expect("there")
            .compatibility
            .as_str(),
        "full"
    );
    let names: Vec<_> = registry
        .list()
        .into_iter()
        .map(|s| (s.name, s.latest, s.versions))
        .collect();
    assert_eq!(
        names,
        [("flight".to_owned(), 2, 2), ("weather".to_owned(), 1, 1)]
    );
    assert_eq!(registry.delete("flight"), Ok(2));
    let back = registry
        .register("flight", "json", "{}", "")
        .expect("valid");
    assert_eq!((back.id, back.version), (2, 1));
    assert_eq!(registry.by_id(1).expect("kept").text, TEXT);
}

#[test]
fn what_is_refused_changes_nothing_and_says_why() {
    let mut registry = Registry::default();
    registry
        .register("flight", "json", TEXT, "none")
        .expect("valid");
    let before = registry.clone();
    let mut error = |subject: &str, format: &str, text: &str, level: &str| {
        registry
            .register(subject, format, text, level)
            .expect_err("refused")
            .to_string()
    };
    let text = error("a.b", "json", TEXT, "none");
    assert!(text.contains("`a.b`") && text.contains("dots"), "{text}");
    let text = error("flight", "avro", TEXT, "none");
    assert_eq!(
        text,
        "schema format `avro` is not supported yet; use `json`"
    );
    let text = error("flight", "json", "{", "none");
    assert!(
        text.contains("not JSON") && text.contains("line 1"),
        "{text}"
    );
    let text = error("flight", "json", TEXT, "sideways");
    assert!(
        text.contains("`sideways`") && text.contains("`full_transitive`"),
        "{text}"
    );
    assert_eq!(registry, before);
}

#[test]
fn what_is_missing_names_its_neighbour() {
    let mut registry = Registry::default();
    let error = registry
        .get("flight", Version::Latest)
        .expect_err("empty")
        .to_string();
    assert_eq!(
        error,
        "schema `flight` not found; `get schemas` lists what there is"
    );
    registry
        .register("flight", "json", TEXT, "")
        .expect("valid");
    registry
        .register("weather", "json", TEXT, "")
        .expect("valid");
    let error = registry
        .get("fligth", Version::Latest)
        .expect_err("missing")
        .to_string();
    assert_eq!(error, "schema `fligth` not found; did you mean `flight`?");
    assert_eq!(
        registry.get("flight", Version::Number(7)),
        Err(MissingError::Version {
            subject: "flight".to_owned(),
            version: 7,
            latest: 1
        })
    );
    assert!(matches!(
        registry.delete("planes"),
        Err(MissingError::Subject { nearest: None, .. })
    ));
    assert!(matches!(
        registry.by_id(9),
        Err(MissingError::Id { id: 9, last: 1 })
    ));
    assert!(
        registry
            .versions("wether")
            .expect_err("missing")
            .to_string()
            .contains("`weather`")
    );
}

#[test]
fn version_words() {
    assert_eq!("latest".parse(), Ok(Version::Latest));
    assert_eq!("3".parse(), Ok(Version::Number(3)));
    for word in ["0", "-1", "new", ""] {
        let error = word.parse::<Version>().expect_err("no version");
        assert_eq!(
            error,
            MissingError::VersionWord {
                word: word.to_owned()
            }
        );
    }
}

/// What this release writes, later ones must read.
#[test]
fn golden_bytes() {
    let mut registry = Registry::default();
    registry
        .register("flight", "json", "{ }", "full_transitive")
        .expect("valid");
    let golden = r#"{"layout":2,"contexts":{".":{"schemas":{"1":{"format":"json","text":"{ }","canonical":"{}","guid":"GUID"}},"subjects":{"flight":{"versions":{"1":{"id":1,"time":0}},"config":{"compatibility":"full_transitive"}}}}}}"#;
    let golden = golden.replace("GUID", "ec65272c-7b8e-880d-8150-69362aeead0d");
    assert_eq!(String::from_utf8(registry.encode()).expect("text"), golden);
    assert_eq!(
        Registry::decode(golden.as_bytes()).expect("reads"),
        registry
    );
}

/// Bytes of a release before the interface, as it wrote them.
#[test]
fn the_first_layout_is_read() {
    let first = r#"{"layout":1,"schemas":{"1":{"format":"json","text":"{ \"type\": \"object\" }"},"2":{"format":"json","text":"{}"}},"subjects":{"flight":{"format":"json","compatibility":"full_transitive","versions":{"1":1,"2":2}},"weather":{"format":"json","compatibility":"backward","versions":{"1":1}}}}"#;
    let mut old = Registry::decode(first.as_bytes()).expect("reads");
    let mut new = Registry::default();
    for (subject, text, level) in [
        ("flight", TEXT, "full_transitive"),
        ("flight", "{}", ""),
        ("weather", TEXT, "backward"),
    ] {
        new.register(subject, "json", text, level).expect("valid");
    }
    assert_eq!(old, new);
    let again = old
        .register("flight", "json", "{\"type\":\"object\"}", "")
        .expect("valid");
    assert_eq!((again.id, again.version, again.created), (1, 1, false));
}

#[test]
fn damage_and_newer_layouts_are_told_apart() {
    let newer = Registry::decode(br#"{"layout":9}"#);
    assert!(
        matches!(newer, Err(DecodeError::Newer { found: 9, known: 2 })),
        "{newer:?}"
    );
    assert!(matches!(
        Registry::decode(b"{\"layout\":"),
        Err(DecodeError::Damaged(_))
    ));
    let first = br#"{"layout":1,"schemas":{},"subjects":{"a":{"format":"json","compatibility":"none","versions":{"1":4}}}}"#;
    let second = br#"{"layout":2,"contexts":{".":{"subjects":{"a":{"versions":{"1":{"id":4}}}}}}}"#;
    for dangling in [&first[..], &second[..]] {
        assert!(matches!(
            Registry::decode(dangling),
            Err(DecodeError::Dangling { id: 4, .. })
        ));
    }
}

#[derive(Clone, Debug)]
enum Step {
    Register(u8, u8),
    Delete(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let register = (0..4_u8, 0..6_u8).prop_map(|(subject, text)| Step::Register(subject, text));
    let delete = (0..4_u8).prop_map(Step::Delete);
    prop::collection::vec(prop_oneof![4 => register, 1 => delete], 0..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Against a list of texts per subject, with a reload from bytes after every step.
    #[test]
    fn behaves_like_its_model(steps in steps()) {
        let mut registry = Registry::default();
        let mut model: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut ids: Vec<String> = Vec::new();
        for step in steps {
            match step {
                Step::Register(subject, text) => {
                    let (subject, text) = (format!("s{subject}"), format!("{{\"minimum\":{text}}}"));
                    if !ids.contains(&text) { ids.push(text.clone()); }
                    let versions = model.entry(subject.clone()).or_default();
                    let known = versions.iter().position(|old| *old == text);
                    if known.is_none() { versions.push(text.clone()); }
                    let got = registry.register(&subject, "json", &text, "");
                    let version = known.unwrap_or(versions.len() - 1) + 1;
                    let id = ids.iter().position(|old| *old == text).expect("known") + 1;
                    let got = got.map(|got| (got.id as usize, got.version as usize, got.created));
                    prop_assert_eq!(got, Ok::<_, RegisterError>((id, version, known.is_none())));
                }
                Step::Delete(subject) => {
                    let subject = format!("s{subject}");
                    let there = model.remove(&subject).map(|versions| versions.len());
                    prop_assert_eq!(registry.delete(&subject).ok(), there);
                }
            }
            registry = Registry::decode(&registry.encode()).expect("reads back");
            for (subject, versions) in &model {
                let texts: Vec<_> = registry.versions(subject).expect("there").iter().map(|v| v.text.to_owned()).collect();
                prop_assert_eq!(&texts, versions);
            }
            prop_assert_eq!(registry.list().len(), model.len());
        }
    }
}
