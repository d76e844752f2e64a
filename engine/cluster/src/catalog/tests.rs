//! What logs of earlier releases hold is applied as it was then.

use bytes::Bytes;
use millstream_schema_registry::{Compiled, Registry, Request, Verb, Version, plan};
use serde_json::json;

use super::{Catalog, CatalogChange, CatalogCommand};
use crate::Command;

/// Catalog commands as a release before the registry's interface wrote them, byte for byte.
const OLD_LOG: &[&str] = &[
    r#"{"time":1,"changes":[{"change":"put_schema","name":"flight","format":"json","text":"{ \"type\": \"object\" }","compatibility":"backward"}]}"#,
    r#"{"time":2,"changes":[{"change":"put_schema","name":"flight","format":"json","text":"{\"type\":\"string\"}","compatibility":"full"},{"change":"put_schema","name":"weather","format":"json","text":"{\"type\":\"object\"}","compatibility":"none"}]}"#,
    r#"{"time":3,"changes":[{"change":"delete","kind":"schema","name":"flight"}]}"#,
    r#"{"time":4,"changes":[{"change":"put_schema","name":"flight","format":"json","text":"{\"type\":\"string\"}","compatibility":"backward_transitive"}]}"#,
];

fn read(json: &str) -> CatalogCommand {
    let bytes = [&[1, 2], json.as_bytes()].concat();
    match Command::decode(&Bytes::from(bytes)) {
        Ok(Command::Catalog(command)) => command,
        other => panic!("{other:?}"),
    }
}

#[test]
fn old_schema_commands_give_the_same_ids_and_versions() {
    let mut catalog = Catalog::default();
    let mut seen = Vec::new();
    for entry in OLD_LOG {
        catalog.apply(read(entry)).expect("it was accepted then");
        let list = catalog.schemas.list();
        seen.push(
            list.iter()
                .map(|own| (own.name.clone(), own.latest, own.id))
                .collect::<Vec<_>>(),
        );
    }
    let flight = |version, id| ("flight".to_owned(), version, id);
    let weather = || ("weather".to_owned(), 1, 1);
    let expected = vec![
        vec![flight(1, 1)],
        vec![flight(2, 2), weather()],
        vec![weather()],
        vec![flight(1, 2), weather()],
    ];
    assert_eq!(seen, expected);
    let view = catalog
        .schemas
        .get("flight", Version::Latest)
        .expect("there");
    assert_eq!(view.compatibility.as_str(), "backward_transitive");
}

/// A checkpoint of such a release, byte for byte, and the log that goes on behind it.
#[test]
fn an_old_checkpoint_goes_on_with_new_commands() {
    let old = r#"{"schemas":{"layout":1,"schemas":{"1":{"format":"json","text":"{ \"type\": \"object\" }"}},"subjects":{"flight":{"format":"json","compatibility":"backward","versions":{"1":1}}}},"functions":{},"stations":{},"sources":{},"sinks":{},"positions":{},"version":7}"#;
    let mut catalog = Catalog::decode(old.as_bytes()).expect("reads");
    let ask =
        json!({ "subject": "flight", "schemaType": "JSON", "schema": "{\"type\":\"object\"}" });
    let ask = |text: Option<&str>| {
        let mut ask = ask.clone();
        if let Some(text) = text {
            ask["schema"] = text.into();
        }
        let body = ask.as_object().expect("an object").clone();
        Request::new(Verb::Register, body, serde_json::Map::new()).expect("reads")
    };
    let compiled = Compiled::default();
    let same = plan(&catalog.schemas, &compiled, 9, &ask(None)).expect("known");
    assert!(same.changes.is_empty());
    let text = r#"{"type":["object","string"]}"#;
    let new = plan(&catalog.schemas, &compiled, 9, &ask(Some(text))).expect("compatible");
    let changes = new.changes.into_iter();
    let command = Command::Catalog(CatalogCommand {
        time: 9_000_000,
        changes: changes
            .map(|registry| CatalogChange::Registry { registry })
            .collect(),
    });
    let (head, body) = command.encode();
    let written = Bytes::from([head, body].concat());
    let Ok(Command::Catalog(command)) = Command::decode(&written) else {
        panic!("it is a catalog command")
    };
    catalog.apply(command).expect("applies");
    let view = catalog
        .schemas
        .get("flight", Version::Latest)
        .expect("there");
    assert_eq!((view.version, view.id, view.text), (2, 2, text));
    let kept = Catalog::decode(&catalog.encode()).expect("reads");
    assert_eq!(kept.schemas, catalog.schemas);
    assert_ne!(kept.schemas, Registry::default());
}

#[test]
fn catalogs_of_before_flows_have_none_and_keep_them_after() {
    let old = r#"{"schemas":{"layout":1,"schemas":{},"subjects":{}},"functions":{},"stations":{},"sources":{},"sinks":{},"positions":{"file":[55]},"version":7}"#;
    let mut catalog = Catalog::decode(old.as_bytes()).expect("reads");
    assert!(catalog.flows.is_empty());
    // As this release writes them into the log, byte for byte.
    for entry in [
        r#"{"time":8,"changes":[{"change":"put_flow","spec":{"name":"late","from":"flights","start":"beginning","to":"alerts","stages":[{"function":"f"}],"running":{"workers":2},"paused":false}}]}"#,
        r#"{"time":9,"changes":[{"change":"rerun_flow","name":"late","from_seq":3,"to_seq":9}]}"#,
        r#"{"time":10,"changes":[{"change":"restart_flow","name":"late","start":{"sequence":5}}]}"#,
    ] {
        let command = read(entry);
        assert_eq!(serde_json::to_string(&command).expect("JSON"), entry);
        catalog.apply(command).expect("applies");
    }
    let kept = Catalog::decode(&catalog.encode()).expect("reads");
    let flow = &kept.flows["late"];
    assert_eq!(flow, &catalog.flows["late"]);
    assert_eq!((flow.version, flow.run, flow.created), (1, 10, 8));
    assert!(flow.rerun.as_ref().is_some_and(|rerun| rerun.run == 9));
    assert!(kept.accepts_position("flow/late", b"10\n{}"));
    assert!(!kept.accepts_position("flow/late", b"8\n{}"));
    assert!(kept.accepts_position("flow/late/rerun", b"9\n{}"));
    assert!(!kept.accepts_position("flow/early", b"8\n{}") && !kept.accepts_position("file", b""));
    for (kind, name) in [
        (millstream_spec::Kind::Station, "flights"),
        (millstream_spec::Kind::Station, "alerts"),
        (millstream_spec::Kind::Function, "f"),
    ] {
        assert_eq!(kept.users_of(kind, name), ["flow `late`"], "{kind} {name}");
    }
}

#[test]
fn a_range_is_of_the_stream_that_it_was_asked_for() {
    let mut catalog = Catalog::default();
    let put = |time: u8, from: &str| {
        let spec = format!(r#"{{"name":"late","from":"{from}","to":"alerts"}}"#);
        read(&format!(
            r#"{{"time":{time},"changes":[{{"change":"put_flow","spec":{spec}}}]}}"#
        ))
    };
    let rerun =
        r#"{"time":2,"changes":[{"change":"rerun_flow","name":"late","from_seq":3,"to_seq":9}]}"#;
    for command in [put(1, "flights"), read(rerun), put(3, "flights")] {
        catalog.apply(command).expect("applies");
    }
    assert!(catalog.flows["late"].rerun.is_some());
    let key = "flow/late/rerun".to_owned();
    catalog.positions.insert(key.clone(), b"1\n{}".to_vec());
    catalog.apply(put(4, "trains")).expect("applies");
    assert!(catalog.flows["late"].rerun.is_none() && !catalog.positions.contains_key(&key));
    // Nor does it come back.
    catalog.apply(put(5, "flights")).expect("applies");
    assert!(catalog.flows["late"].rerun.is_none());
}
