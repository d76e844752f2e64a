//! What becomes of a query that runs when its declaration changes: it keeps its state, or is rebuilt beside what runs.

use millstream_cluster::{Catalog, CatalogChange, FlowEntry};
use millstream_jetstream::state_layout;
use millstream_spec::{Document, FlowSpec, Problem, QuerySpec};
use millstream_types::Timestamp;
use serde_json::{Value, json};

use super::super::Manager;
use super::queries::rebuild;
use crate::stages::{Modules, QueryCompiled};

/// What a changed declaration comes to.
pub(in super::super) struct Verdict {
    pub(in super::super) changes: Vec<CatalogChange>,
    /// What is told about it.
    pub(in super::super) note: Option<String>,
}

impl Manager {
    /// What a changed flow that is a query comes to; `None` for all others. The catalogs are the one there is and the one with
    /// all that is declared.
    pub(in super::super) fn query_change(
        &self,
        (old, new): (&Catalog, &Catalog),
        (document, spec): (&Document, &FlowSpec),
        modules: Modules<'_>,
    ) -> Option<Result<Verdict, Problem>> {
        let entry = old.flows.get(&spec.name)?;
        let (before, after) = (entry.spec.query.as_ref()?, spec.query.as_ref()?);
        let put = CatalogChange::PutFlow { spec: spec.clone() };
        let give_up = entry.build.as_ref().map(|_| CatalogChange::CancelBuild {
            name: spec.name.clone(),
        });
        let verdict = |note| Verdict {
            changes: [put.clone()].into_iter().chain(give_up.clone()).collect(),
            note,
        };
        // One that has not begun has nothing to keep.
        let Some(stored) = state_layout(old, &spec.name) else {
            return Some(Ok(verdict(None)));
        };
        let compiled = |catalog: &Catalog, query: &QuerySpec| {
            self.compiler.query(catalog, query, modules).ok()
        };
        let after = compiled(new, after)?;
        if after.layout == stored {
            return Some(Ok(verdict(Some(keeps(&entry.spec, spec)))));
        }
        let now = compiled(old, before);
        let then = compiled(new, before);
        match why_not(stored, (now.as_ref(), then.as_ref()), &after) {
            None => Some(Ok(Verdict {
                changes: vec![CatalogChange::BuildFlow { spec: spec.clone() }],
                note: Some(rebuilt(entry)),
            })),
            // Who paused it to change it is told when it goes on.
            Some(_) if entry.spec.paused || spec.paused => {
                let note = "needs other state: `millstream flow restart` builds it anew from what is stored";
                Some(Ok(verdict(Some(note.to_owned()))))
            }
            Some(why) => {
                let problem = document.problem("sql", format!("flow `{}` {why}", spec.name));
                Some(Err(problem.with_hint(rebuild(&spec.name))))
            }
        }
    }

    /// What is built of a flow.
    pub(super) fn described_build(&self, entry: &FlowEntry) -> Value {
        let Some(build) = &entry.build else {
            return Value::Null;
        };
        let flows = self.flows.as_ref();
        let status = flows.and_then(|flows| flows.build_status(&entry.spec.name));
        let behind = status.as_ref().map(|status| status.lag_messages);
        let percent = status
            .as_ref()
            .map(|status| percent(status.totals.inputs, status.lag_messages));
        json!({ "version": entry.version + 1, "started": Timestamp(build.started).to_rfc3339(),
            "behind": behind, "percent": percent, "status": status, "spec": build.spec })
    }

    /// How far what is built of a flow is, in a line.
    pub(super) fn build_told(&self, entry: &FlowEntry) -> Option<String> {
        entry.build.as_ref()?;
        let version = entry.version + 1;
        let flows = self.flows.as_ref()?;
        let status = flows.build_status(&entry.spec.name)?;
        let percent = percent(status.totals.inputs, status.lag_messages);
        Some(match status.reason {
            None => format!("version {version} is built: {percent} %"),
            Some(why) => format!("version {version} is {}: {why}", status.state.as_str()),
        })
    }
}

fn percent(done: u64, behind: u64) -> u64 {
    let all = u128::from(done) + u128::from(behind);
    let percent = (u128::from(done) * 100).checked_div(all);
    u64::try_from(percent.unwrap_or(0)).unwrap_or(100)
}

/// Why a query that needs other state cannot be built beside what runs.
fn why_not(
    stored: u64,
    (now, then): (Option<&QueryCompiled>, Option<&QueryCompiled>),
    after: &QueryCompiled,
) -> Option<&'static str> {
    let fits = |query: Option<&QueryCompiled>| query.is_some_and(|query| query.layout == stored);
    if fits(now) && !fits(then) {
        return Some(
            "needs other state, and what is declared with it changes what the version that runs reads",
        );
    }
    let changelog = |query: &QueryCompiled| query.is_updating && !query.upserts();
    if changelog(after) || now.is_some_and(changelog) {
        return Some(
            "needs other state, and of a changelog it is not known what the version that runs has told",
        );
    }
    None
}

fn rebuilt(entry: &FlowEntry) -> String {
    format!(
        "is rebuilt in the background: version {} reads what is stored and takes over when it has caught up; version {} runs until then",
        entry.version + 1,
        entry.version
    )
}

/// What is compatible about a change, by its fields.
fn keeps(before: &FlowSpec, after: &FlowSpec) -> String {
    let mut told = Vec::new();
    if let (Some(before), Some(after)) = (&before.query, &after.query) {
        if before.sql != after.sql {
            told.push("what `sql` changes is behind its last group, join or ranking");
        }
        if (&before.into, &before.subject) != (&after.into, &after.subject) {
            told.push("results go elsewhere from now on");
        }
        if before.results != after.results {
            told.push("results are written in another form from now on");
        }
        if before.state_limit != after.state_limit {
            told.push("the limit is another one");
        }
    }
    if before.start != after.start {
        told.push("`start` counts for flows that are new");
    }
    if before.paused != after.paused {
        told.push(if after.paused {
            "it stands still"
        } else {
            "it goes on"
        });
    }
    if told.is_empty() {
        return "keeps its state".to_owned();
    }
    format!("keeps its state: {}", told.join("; "))
}

#[cfg(test)]
mod tests {
    use millstream_spec::{FlowSpec, QuerySpec};

    use super::{keeps, percent};

    #[test]
    fn what_is_compatible_is_told() {
        let query = |sql: &str, into: &str| QuerySpec {
            sql: sql.to_owned(),
            into: into.to_owned(),
            ..QuerySpec::default()
        };
        let before = FlowSpec::of_query("f", query("SELECT 1", "a"));
        let mut after = FlowSpec::of_query("f", query("SELECT 2", "b"));
        after.paused = true;
        let told = keeps(&before, &after);
        for part in [
            "keeps its state: ",
            "behind its last group",
            "elsewhere",
            "stands still",
        ] {
            assert!(told.contains(part), "{told}");
        }
        assert_eq!(keeps(&before, &before), "keeps its state");
    }

    #[test]
    fn percents_are_between_nothing_and_all() {
        assert_eq!([percent(0, 0), percent(0, 9), percent(1, 2)], [0, 0, 33]);
        assert_eq!([percent(u64::MAX, u64::MAX), percent(7, 0)], [50, 100]);
    }
}
