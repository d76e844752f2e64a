//! Random histories against a model and what must always hold.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::json;

use super::Desk;
use crate::{Registry, Verb};

#[derive(Clone, Debug)]
enum Step {
    Register(u8, u8),
    DeleteSubject(u8, bool),
    DeleteVersion(u8, u8, bool),
    Level(u8, bool),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let subject = || 0..4_u8;
    prop::collection::vec(
        prop_oneof![
            6 => (subject(), 0..6_u8).prop_map(|(subject, text)| Step::Register(subject, text)),
            1 => (subject(), any::<bool>()).prop_map(|(subject, gone)| Step::DeleteSubject(subject, gone)),
            3 => (subject(), 1..5_u8, any::<bool>()).prop_map(|(s, v, gone)| Step::DeleteVersion(s, v, gone)),
            1 => (subject(), any::<bool>()).prop_map(|(subject, set)| Step::Level(subject, set)),
        ],
        0..60,
    )
}

/// One version in the model: its text, and whether it is hidden.
type Model = BTreeMap<String, BTreeMap<i64, (String, bool)>>;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    /// Against a map of texts, with ids in the order in which texts first came.
    #[test]
    fn histories_behave_like_their_model(steps in steps()) {
        let mut desk = Desk::default();
        let mut model = Model::new();
        let mut ids: Vec<String> = Vec::new();
        for step in steps {
            match step {
                Step::Register(subject, text) => {
                    // Two contexts share the names; texts only differ in what nothing is said of.
                    let (subject, text) = (format!("s{subject}"), format!("{{\"title\":\"{text}\"}}"));
                    if !ids.contains(&text) { ids.push(text.clone()); }
                    let versions = model.entry(subject.clone()).or_default();
                    let live = versions.iter().rev().find(|(_, (known, hidden))| *known == text && !hidden);
                    let version = live.map(|(version, _)| *version)
                        .unwrap_or_else(|| versions.last_key_value().map_or(0, |(last, _)| *last) + 1);
                    versions.insert(version, (text.clone(), false));
                    let id = ids.iter().position(|known| *known == text).expect("known") as i64 + 1;
                    prop_assert_eq!(desk.register(&subject, &text), (id, version));
                }
                Step::DeleteSubject(subject, permanent) => {
                    let subject = format!("s{subject}");
                    let got = desk.ask(Verb::DeleteSubject, json!({ "subject": subject, "permanent": permanent }));
                    let versions = model.entry(subject).or_default();
                    let live = versions.values().filter(|(_, hidden)| !hidden).count();
                    let code = match (versions.is_empty(), permanent, live) {
                        (true, ..) => Some(40_401),
                        (_, false, 0) => Some(40_404),
                        (_, true, 1..) => Some(40_405),
                        _ => None,
                    };
                    prop_assert_eq!(got.err().map(|error| error.code()), code);
                    if code.is_none() && permanent { versions.clear(); }
                    if code.is_none() { versions.values_mut().for_each(|version| version.1 = true); }
                }
                Step::DeleteVersion(subject, version, permanent) => {
                    let subject = format!("s{subject}");
                    let body = json!({ "subject": subject, "version": version, "permanent": permanent });
                    let got = desk.ask(Verb::DeleteVersion, body);
                    let versions = model.entry(subject).or_default();
                    let version = i64::from(version);
                    let code = match (versions.is_empty(), versions.get(&version), permanent) {
                        (true, ..) => Some(40_401),
                        (_, None, _) => Some(40_402),
                        (_, Some((_, true)), false) => Some(40_406),
                        (_, Some((_, false)), true) => Some(40_407),
                        _ => None,
                    };
                    prop_assert_eq!(got.err().map(|error| error.code()), code);
                    if code.is_none() {
                        if permanent { versions.remove(&version); }
                        else if let Some(version) = versions.get_mut(&version) { version.1 = true; }
                    }
                }
                Step::Level(subject, set) => {
                    let subject = format!("s{subject}");
                    if set { desk.good(Verb::SetConfig, json!({ "subject": subject, "compatibility": "NONE" })); }
                    else { let _unset = desk.ask(Verb::DeleteConfig, json!({ "subject": subject })); }
                }
            }
            let live: BTreeSet<&String> = model.iter()
                .filter(|(_, versions)| versions.values().any(|(_, hidden)| !hidden))
                .map(|(subject, _)| subject).collect();
            prop_assert_eq!(desk.good(Verb::Subjects, json!({})), json!(live));
            for subject in live {
                let versions: Vec<i64> = model[subject].iter().filter(|(_, v)| !v.1).map(|(n, _)| *n).collect();
                prop_assert_eq!(desk.good(Verb::Versions, json!({ "subject": subject })), json!(versions));
            }
            // Ids are dense from 1, in the order texts came.
            for (at, text) in ids.iter().enumerate() {
                let id = u32::try_from(at).expect("few") + 1;
                prop_assert_eq!(&desk.registry.by_id(id).expect("kept").text, text);
            }
            prop_assert!(desk.registry.by_id(u32::try_from(ids.len()).expect("few") + 1).is_err());
        }
        // The same log gives the same state.
        let mut replayed = Registry::default();
        for change in &desk.log { replayed.apply(change.clone()); }
        prop_assert_eq!(replayed, desk.registry);
    }
}
