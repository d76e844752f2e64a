//! Functions and their versions: which one runs, which one is tried, and who did what.

use std::collections::BTreeMap;

use millstream_spec::{FunctionSpec, TrialSpec};
use serde::{Deserialize, Serialize};

/// Versions that are kept besides those in use.
const MAX_VERSIONS: usize = 50;
/// Events that are kept.
const MAX_EVENTS: usize = 200;

/// A function as deployed. Modules' bytes lie beside the journal under their digests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FunctionEntry {
    /// What the user wrote, of the version that runs.
    pub spec: FunctionSpec,
    /// SHA-256 of its module's bytes, in hex.
    pub digest: String,
    /// Size of its module in bytes.
    pub size: u64,
    /// Its number. Versions count up from 1.
    pub version: u64,
    /// When another version was made to run, or tried, last.
    pub updated: i64,
    /// Every version that is kept, by number. Entries of earlier releases have none.
    #[serde(default)]
    pub versions: BTreeMap<u64, FunctionVersion>,
    /// The version that is tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trial: Option<Trial>,
    /// Versions that ran, the newest last, without the one that runs.
    #[serde(default)]
    pub before: Vec<u64>,
    /// What was done, the newest last.
    #[serde(default)]
    pub events: Vec<FunctionEvent>,
}

/// One version of a function.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FunctionVersion {
    /// What the user wrote.
    pub spec: FunctionSpec,
    /// SHA-256 of the module's bytes, in hex.
    pub digest: String,
    /// Size of the module in bytes.
    pub size: u64,
    /// When it was deployed.
    pub created: i64,
    /// By whom, as they said.
    #[serde(default)]
    pub by: String,
    /// What for.
    #[serde(default)]
    pub why: String,
}

/// A version that is tried beside the one that runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// Which.
    pub version: u64,
    /// How.
    pub spec: TrialSpec,
    /// Since when.
    pub since: i64,
}

/// What was done with a function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunctionEvent {
    /// When.
    pub time: i64,
    /// By whom, as they said; `server` when a trial was stopped for its errors.
    pub by: String,
    /// What, as a sentence without a subject: `version 3 runs`.
    pub what: String,
    /// What for.
    #[serde(default)]
    pub why: String,
}

/// A module that is deployed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Deployment {
    /// What the user wrote.
    pub spec: FunctionSpec,
    /// SHA-256 of the module, in hex.
    pub digest: String,
    /// Its size in bytes.
    pub size: u64,
    /// By whom. Commands of earlier releases do not say.
    #[serde(default)]
    pub by: String,
    /// What for.
    #[serde(default)]
    pub why: String,
}

/// What is done with the versions there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Switch {
    /// The version that is tried takes over.
    Promote,
    /// A version takes over that ran before, or that is kept.
    Rollback(u64),
    /// The trial ends.
    Stop,
}

impl FunctionEntry {
    /// Deploys: the first version of a function, or another one.
    ///
    /// `trial`: it does not take over, it is tried beside the version that runs.
    pub(crate) fn deploy(
        old: Option<Self>,
        deployment: Deployment,
        trial: Option<TrialSpec>,
        time: i64,
    ) -> Self {
        let Deployment {
            spec,
            digest,
            size,
            by,
            why,
        } = deployment;
        let version = FunctionVersion {
            spec: spec.clone(),
            digest: digest.clone(),
            size,
            created: time,
            by: by.clone(),
            why: why.clone(),
        };
        let Some(mut entry) = old else {
            let mut entry = Self {
                spec,
                digest,
                size,
                version: 1,
                updated: time,
                versions: BTreeMap::from([(1, version)]),
                trial: None,
                before: Vec::new(),
                events: Vec::new(),
            };
            entry.note(time, by, "version 1 runs".to_owned(), why);
            return entry;
        };
        entry.remember_first();
        let number = entry.newest() + 1;
        entry.versions.insert(number, version);
        match trial {
            None => {
                entry.run(number);
                entry.note(time, by, format!("version {number} runs"), why);
            }
            Some(spec) => {
                let what = format!("version {number} is tried as {}", spec.mode.as_str());
                entry.trial = Some(Trial {
                    version: number,
                    spec,
                    since: time,
                });
                entry.note(time, by, what, why);
            }
        }
        entry.updated = time;
        entry.forget_old();
        entry
    }

    /// Makes another version run, or ends a trial. What cannot be done is not: it was checked when it was proposed.
    pub(crate) fn switch(&mut self, switch: Switch, time: i64, by: String, why: String) {
        self.remember_first();
        let what = match switch {
            Switch::Promote => {
                let Some(trial) = self.trial.take() else {
                    return;
                };
                self.run(trial.version);
                format!("version {} runs, promoted", trial.version)
            }
            Switch::Rollback(version) => {
                if !self.versions.contains_key(&version) || version == self.version {
                    return;
                }
                self.run(version);
                // What was tried beside the version that is left says nothing of this one.
                self.trial = None;
                format!("version {version} runs again")
            }
            Switch::Stop => {
                let Some(trial) = self.trial.take() else {
                    return;
                };
                format!("the trial of version {} ends", trial.version)
            }
        };
        self.note(time, by, what, why);
        self.updated = time;
    }

    /// The version that `rollback` goes back to: the last one that ran before and is still kept.
    #[must_use]
    pub fn previous(&self) -> Option<u64> {
        let mut before = self.before.iter().rev();
        before
            .find(|version| **version != self.version && self.versions.contains_key(version))
            .copied()
    }

    /// The newest version's number.
    #[must_use]
    pub fn newest(&self) -> u64 {
        self.versions
            .last_key_value()
            .map_or(self.version, |(newest, _)| *newest)
    }

    /// The version that is tried, whole.
    #[must_use]
    pub fn tried(&self) -> Option<(&Trial, &FunctionVersion)> {
        let trial = self.trial.as_ref()?;
        Some((trial, self.versions.get(&trial.version)?))
    }

    fn run(&mut self, number: u64) {
        let Some(version) = self.versions.get(&number) else {
            return;
        };
        self.spec = version.spec.clone();
        self.digest = version.digest.clone();
        self.size = version.size;
        self.before.push(self.version);
        self.version = number;
        if self
            .trial
            .as_ref()
            .is_some_and(|trial| trial.version <= number)
        {
            self.trial = None;
        }
    }

    /// An entry of an earlier release knows of no versions.
    fn remember_first(&mut self) {
        self.versions
            .entry(self.version)
            .or_insert_with(|| FunctionVersion {
                spec: self.spec.clone(),
                digest: self.digest.clone(),
                size: self.size,
                created: self.updated,
                by: String::new(),
                why: String::new(),
            });
    }

    fn note(&mut self, time: i64, by: String, what: String, why: String) {
        self.events.push(FunctionEvent {
            time,
            by,
            what,
            why,
        });
        if self.events.len() > MAX_EVENTS {
            self.events.remove(0);
        }
    }

    fn forget_old(&mut self) {
        while self.versions.len() > MAX_VERSIONS {
            let used = [
                Some(self.version),
                self.previous(),
                self.trial.as_ref().map(|t| t.version),
            ];
            let oldest = self
                .versions
                .keys()
                .find(|number| !used.contains(&Some(**number)));
            let Some(oldest) = oldest.copied() else { break };
            self.versions.remove(&oldest);
            self.before.retain(|number| *number != oldest);
        }
        if self.before.len() > MAX_EVENTS {
            self.before.remove(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use millstream_spec::{FunctionSpec, TrialModeSpec, TrialSpec};

    use super::{Deployment, FunctionEntry, Switch};

    fn shadow() -> TrialSpec {
        TrialSpec {
            mode: TrialModeSpec::Shadow,
            max_error_rate: 0.05,
            min_messages: 100,
        }
    }

    fn deploy(old: Option<FunctionEntry>, digest: &str, trial: bool, time: i64) -> FunctionEntry {
        FunctionEntry::deploy(old, deployment(digest), trial.then(shadow), time)
    }

    fn deployment(digest: &str) -> Deployment {
        let spec = r#"{"name":"f","component":"f.wasm"}"#;
        let spec: FunctionSpec = serde_json::from_str(spec).expect("a function");
        Deployment {
            spec,
            digest: digest.to_owned(),
            size: 1,
            by: "ann".to_owned(),
            why: "to see".to_owned(),
        }
    }

    fn runs(entry: &FunctionEntry) -> (u64, &str, Option<u64>, Option<u64>) {
        let trial = entry.trial.as_ref().map(|trial| trial.version);
        (
            entry.version,
            entry.digest.as_str(),
            trial,
            entry.previous(),
        )
    }

    #[test]
    fn deployed_tried_promoted_and_back() {
        let mut entry = deploy(None, "a", false, 1);
        assert_eq!(runs(&entry), (1, "a", None, None));
        entry = deploy(Some(entry), "b", true, 2);
        assert_eq!(runs(&entry), (1, "a", Some(2), None));
        entry.switch(Switch::Promote, 3, "bob".to_owned(), String::new());
        assert_eq!(runs(&entry), (2, "b", None, Some(1)));
        entry = deploy(Some(entry), "c", false, 4);
        assert_eq!(runs(&entry), (3, "c", None, Some(2)));
        entry.switch(Switch::Rollback(2), 5, String::new(), String::new());
        assert_eq!(runs(&entry), (2, "b", None, Some(3)));
        entry = deploy(Some(entry), "d", true, 6);
        entry.switch(Switch::Stop, 7, "server".to_owned(), "errors".to_owned());
        assert_eq!(runs(&entry), (2, "b", None, Some(3)));
        let before = entry.clone();
        entry.switch(Switch::Promote, 8, String::new(), String::new());
        entry.switch(Switch::Rollback(9), 8, String::new(), String::new());
        assert_eq!(entry, before);
        let told: Vec<_> = entry
            .events
            .iter()
            .map(|event| event.what.as_str())
            .collect();
        assert_eq!(
            told,
            [
                "version 1 runs",
                "version 2 is tried as shadow",
                "version 2 runs, promoted",
                "version 3 runs",
                "version 2 runs again",
                "version 4 is tried as shadow",
                "the trial of version 4 ends",
            ]
        );
    }

    #[test]
    fn entries_of_earlier_releases_have_a_first_version() {
        let old = r#"{"spec":{"name":"f","component":"f.wasm","config":{},"limits":{},"adds":[]},"digest":"a","size":1,"version":4,"updated":9}"#;
        let old: FunctionEntry = serde_json::from_str(old).expect("it reads");
        let entry = deploy(Some(old), "b", false, 10);
        assert_eq!(runs(&entry), (5, "b", None, Some(4)));
        assert_eq!(entry.versions[&4].created, 9);
    }

    #[test]
    fn old_versions_are_forgotten_and_those_in_use_are_not() {
        let mut entry = deploy(None, "first", false, 0);
        for number in 0..200 {
            entry = deploy(Some(entry), "more", true, number);
        }
        assert_eq!(entry.versions.len(), super::MAX_VERSIONS);
        assert_eq!(runs(&entry), (1, "first", Some(201), None));
        assert!(entry.versions.contains_key(&1));
    }
}
