//! Messages go along declared migrations where there are any, and by the format's rules in between.

use std::sync::Arc;

use bytes::Bytes;
use millstream_schema_formats::{Format, Schema};
use serde_json::{Value, json};

use super::{Migration, Migrations};
use crate::{Record, Rejection, Stage, Verdict, VersionSchema};

/// Gives what was called `from` the name `to`, in other units.
#[derive(Debug)]
struct Scaled {
    from: &'static str,
    to: &'static str,
    by: f64,
}

impl Stage for Scaled {
    fn label(&self) -> &'static str {
        "sql:1"
    }

    fn process(&self, batch: &mut [Record]) -> Vec<Verdict> {
        let verdict = |record: &mut Record| {
            let mut document = record.json("sql:1").expect("JSON").clone();
            let members = document.as_object_mut().expect("an object");
            let Some(value) = members.remove(self.from).and_then(|value| value.as_f64()) else {
                return Verdict::Drop;
            };
            members.insert(self.to.to_owned(), json!((value * self.by) as i64));
            let payload = Bytes::from(document.to_string());
            Verdict::Replace(record.replaced(payload, Some(document)))
        };
        batch.iter_mut().map(verdict).collect()
    }
}

/// A stage that always says the same.
#[derive(Debug)]
struct Says(Answer);

type Answer = fn(&Record) -> Verdict;

impl Stage for Says {
    fn label(&self) -> &'static str {
        "function:odd"
    }

    fn process(&self, batch: &mut [Record]) -> Vec<Verdict> {
        batch.iter().map(self.0).collect()
    }
}

/// Version 1 has a delay in minutes; 2 also a gate; 3 has the delay in seconds; 4 also a runway.
fn versions() -> Vec<Arc<VersionSchema>> {
    let fields = [
        r#"{"name":"minutes","type":"int"}"#,
        r#"{"name":"minutes","type":"int"},{"name":"gate","type":"string","default":"?"}"#,
        r#"{"name":"seconds","type":"int"},{"name":"gate","type":"string","default":"?"}"#,
        r#"{"name":"seconds","type":"int"},{"name":"gate","type":"string","default":"?"},{"name":"runway","type":"string","default":"-"}"#,
    ];
    let compiled = |(version, fields): (u32, &str)| {
        let text = format!(r#"{{"type":"record","name":"Delay","fields":[{fields}]}}"#);
        let schema = Schema::compile(Format::Avro, &text, &[]).expect("valid");
        Arc::new(VersionSchema::new("delay", version, version, 0, schema))
    };
    (1..).zip(fields).map(compiled).collect()
}

fn step(
    versions: &[Arc<VersionSchema>],
    from: usize,
    to: usize,
    stage: impl Stage + 'static,
) -> Migration {
    Migration {
        from: Arc::clone(&versions[from - 1]),
        to: Arc::clone(&versions[to - 1]),
        stage: Arc::new(stage),
    }
}

fn migrations(versions: &[Arc<VersionSchema>]) -> Migrations {
    let (from, to) = ("minutes", "seconds");
    Migrations {
        up: vec![step(versions, 2, 3, Scaled { from, to, by: 60.0 })],
        down: vec![step(
            versions,
            3,
            2,
            Scaled {
                from: to,
                to: from,
                by: 1.0 / 60.0,
            },
        )],
    }
}

fn carried(
    migrations: &Migrations,
    from: &VersionSchema,
    to: &VersionSchema,
    document: Value,
) -> Result<Value, String> {
    let payload = from.schema.encode(&document.into()).expect("fits");
    let carried = migrations.carry(from, to, &payload);
    let carried = carried.map_err(|why| format!("{}{}: {why}", why.keyword, why.path))?;
    Ok(to.schema.decode(&carried).expect("fits").to_json())
}

#[test]
fn messages_are_migrated_and_resolved_in_turns() {
    let versions = versions();
    let migrations = migrations(&versions);
    let documents = [
        json!({ "minutes": 2 }),
        json!({ "minutes": 2, "gate": "?" }),
        json!({ "seconds": 120, "gate": "?" }),
        json!({ "seconds": 120, "gate": "?", "runway": "-" }),
    ];
    for (from, document) in versions.iter().zip(&documents) {
        for (to, wanted) in versions.iter().zip(&documents) {
            let got = carried(&migrations, from, to, document.clone());
            assert_eq!(
                got.as_ref(),
                Ok(wanted),
                "{} to {}",
                from.version,
                to.version
            );
            assert_eq!(
                migrations.cannot_carry(from, to),
                [],
                "{} to {}",
                from.version,
                to.version
            );
        }
    }
    // By the format's rules alone, what is new and has no default cannot be had.
    let plain = Migrations::default();
    let got = carried(&plain, &versions[0], &versions[3], documents[0].clone());
    assert!(got.is_err_and(|why| why.contains("seconds")));
    assert_ne!(plain.cannot_carry(&versions[0], &versions[3]), []);
}

#[test]
fn a_migration_makes_exactly_one_message() {
    let versions = versions();
    let wrong: [(Answer, &str); 5] = [
        (|_| Verdict::Drop, "found none"),
        (
            |record| Verdict::Emit(vec![record.clone(), record.clone()]),
            "found 2 messages",
        ),
        (
            |_| Verdict::Reject(Rejection::new("function:odd", "late", "too late")),
            "found `late`: too late",
        ),
        (
            |record| Verdict::Replace(record.replaced(Bytes::from_static(b"{"), None)),
            "payload is not JSON",
        ),
        (|_| panic!("a bug"), "`internal`: stage failed"),
    ];
    for (says, why) in wrong {
        let migrations = Migrations {
            up: vec![step(&versions, 2, 3, Says(says))],
            down: Vec::new(),
        };
        let got = carried(
            &migrations,
            &versions[1],
            &versions[2],
            json!({ "minutes": 1, "gate": "A" }),
        );
        let got = got.expect_err("not one message");
        assert!(
            got.starts_with("migration: expected one message of `delay:3` from `function:odd`"),
            "{got}"
        );
        assert!(got.contains(why), "{got}");
    }
    // What it makes has to fit.
    let migrations = Migrations {
        up: vec![step(&versions, 2, 3, Says(|_| Verdict::Keep))],
        down: Vec::new(),
    };
    let got = carried(
        &migrations,
        &versions[1],
        &versions[2],
        json!({ "minutes": 1, "gate": "A" }),
    );
    assert!(got.expect_err("no seconds").contains("seconds"));
}
