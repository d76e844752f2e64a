//! What is printed as YAML reads back as the same document.

use millstream_spec::{SourceFile, Spec, parse};
use proptest::prelude::{Just, Strategy, any, prop, prop_oneof, proptest};
use serde_json::{Map, Value, json};

use super::to_yaml;

fn texts() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[a-z:#{}\\[\\],&*!|>'\"%@` \\n-]{0,12}",
        "([a-z: #]{0,6}\n){1,4}",
        "-?[0-9.e+]{1,6}",
        prop::sample::select(vec![
            "true", "No", "~", "null", "1e3", "a\nb\n", ".5", "+1", "\u{85}", "\u{feff}"
        ])
        .prop_map(str::to_owned),
    ]
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        texts().prop_map(|text| Value::from(text.replace("${", ""))),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        let key = texts().prop_filter("keys are not empty", |key| !key.is_empty());
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((key, inner), 0..5)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

proptest! {
    /// YAML that is shown reads back, by the reader of station files, as the value it came from.
    #[test]
    fn yaml_reads_back(value in values()) {
        let mut config = Map::new();
        config.insert("value".to_owned(), value);
        let file = json!({ "kind": "source", "name": "s", "connector": "c", "config": config });
        let text = to_yaml(&file);
        let files = [SourceFile { name: "f".to_owned(), text: text.clone() }];
        let parsed = parse(&files, &|_| None);
        let Some(Spec::Source(source)) = parsed.documents.first().map(|document| &document.spec) else {
            panic!("{text}\n{:?}", parsed.problems)
        };
        assert_eq!(source.config, config, "{text}");
    }
}
