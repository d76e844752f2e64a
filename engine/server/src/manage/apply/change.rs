//! What an apply changes, line by line.

use millstream_cluster::{Catalog, CatalogChange, CatalogCommand, Kind};
use millstream_spec::FlowSpec;
use millstream_types::Timestamp;
use serde_json::{Value, json};

/// One line of the answer, and what it takes to make it true.
pub(super) struct Change {
    pub(super) kind: Kind,
    pub(super) name: String,
    pub(super) action: &'static str,
    pub(super) diff: Vec<String>,
    /// Of a function: the number that it has or gets.
    pub(super) version: Option<u64>,
    /// What becomes of what runs.
    pub(super) note: Option<String>,
    pub(super) changes: Vec<CatalogChange>,
}

impl Change {
    /// As it is answered.
    pub(super) fn line(&self) -> Value {
        let mut line = json!({ "kind": self.kind, "name": self.name, "action": self.action,
            "diff": self.diff });
        if let Some(version) = self.version {
            line["version"] = version.into();
        }
        if let Some(note) = &self.note {
            line["note"] = note.as_str().into();
        }
        line
    }
}

/// All of them in one command.
pub(super) fn command_of(changes: &[Change], time: Timestamp) -> CatalogCommand {
    let each = changes.iter();
    let each = each.flat_map(|change| change.changes.iter().cloned());
    CatalogCommand {
        time: time.0,
        changes: each.collect(),
    }
}

/// Of a flow that is rebuilt, what is built is what was declared last; what runs is to be had again by declaring that.
pub(super) fn flow_change(old: &Catalog, spec: &FlowSpec) -> Change {
    let entry = old.flows.get(&spec.name);
    let built = entry.and_then(|entry| Some((&entry.spec, entry.build.as_ref()?)));
    let (before, change, note) = match built {
        Some((_, build)) if build.spec == *spec => (
            Some(&build.spec),
            None,
            "is being rebuilt in the background",
        ),
        Some((runs, build)) if runs == spec => {
            let name = spec.name.clone();
            let change = CatalogChange::CancelBuild { name };
            let note = "keeps its state: what was built in the background is given up";
            (Some(&build.spec), Some(change), note)
        }
        _ => (entry.map(|entry| &entry.spec), None, ""),
    };
    let before = before.map(|before| json!(before));
    let put = || CatalogChange::PutFlow { spec: spec.clone() };
    let change = change.unwrap_or_else(put);
    Change {
        note: (!note.is_empty()).then(|| note.to_owned()),
        ..compared(Kind::Flow, &spec.name, before, &json!(spec), change)
    }
}

pub(super) fn compared(
    kind: Kind,
    name: &str,
    before: Option<Value>,
    after: &Value,
    change: CatalogChange,
) -> Change {
    let name = name.to_owned();
    match before {
        None => Change {
            kind,
            name,
            action: "created",
            diff: Vec::new(),
            version: None,
            note: None,
            changes: vec![change],
        },
        Some(before) if before == *after => Change {
            kind,
            name,
            action: "unchanged",
            diff: Vec::new(),
            version: None,
            note: None,
            changes: Vec::new(),
        },
        Some(before) => {
            let mut diff = Vec::new();
            difference("", &before, after, &mut diff);
            Change {
                kind,
                name,
                action: "changed",
                diff,
                version: None,
                note: None,
                changes: vec![change],
            }
        }
    }
}

/// Connectors' values may be secrets: only the names of what changed are shown.
pub(super) fn hidden(mut change: Change) -> Change {
    for line in &mut change.diff {
        if let Some((name, _)) = line.split_once(": ") {
            *line = name.to_owned();
        }
    }
    change
}

/// `path: before -> after` for every leaf that differs.
fn difference(path: &str, before: &Value, after: &Value, lines: &mut Vec<String>) {
    match (before, after) {
        (Value::Object(old), Value::Object(new)) => {
            let keys: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
            for key in keys {
                let path = if path.is_empty() {
                    key.clone()
                } else {
                    format!("{path}.{key}")
                };
                let of = |map: &serde_json::Map<String, Value>| {
                    map.get(key).cloned().unwrap_or(Value::Null)
                };
                difference(&path, &of(old), &of(new), lines);
            }
        }
        _ if before != after => lines.push(format!("{path}: {before} -> {after}")),
        _ => {}
    }
}
