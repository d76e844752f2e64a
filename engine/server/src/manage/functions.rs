//! The life of a function after it was deployed: its versions, which of them runs, what is known of a trial.

mod dry_run;

use std::sync::Weak;

use millstream_admin::{Failure, FailureCode, SwitchRequest, TrialRequest};
use millstream_cluster::{
    CatalogChange, CatalogCommand, Command, FlowEntry, FunctionEntry, Kind, Switch, Trial,
};
use millstream_spec::{StageSpec, TrialModeSpec, TrialSpec};
use millstream_types::{Timestamp, check_filter};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{Manager, not_found, refused};
use crate::compile::names_function;
use crate::functions::Stop;

/// Who ends a trial for its errors.
const SERVER: &str = "server";
/// What is taken of who and why.
const MAX_TEXT: usize = 1000;

impl Manager {
    fn function(&self, name: &str) -> Result<FunctionEntry, Failure> {
        let catalog = self.node.catalog();
        catalog.functions.get(name).cloned().ok_or_else(|| {
            let known: Vec<&str> = catalog.functions.keys().map(String::as_str).collect();
            not_found(Kind::Function, name, &known)
        })
    }

    pub(super) fn function_versions(&self, name: &str) -> Result<Value, Failure> {
        let entry = self.function(name)?;
        let versions: Vec<Value> = entry
            .versions
            .iter()
            .rev()
            .map(|(number, version)| {
                json!({ "version": number, "digest": version.digest, "bytes": version.size,
                    "created": Timestamp(version.created).to_rfc3339(), "by": version.by, "why": version.why,
                    "state": state(&entry, *number) })
            })
            .collect();
        let events: Vec<Value> = entry
            .events
            .iter()
            .map(|event| {
                json!({ "time": Timestamp(event.time).to_rfc3339(), "by": event.by, "what": event.what,
                    "why": event.why })
            })
            .collect();
        Ok(
            json!({ "name": name, "live": entry.version, "trial": entry.trial.as_ref().map(trial),
            "versions": versions, "events": events }),
        )
    }

    pub(super) async fn function_switch(
        &self,
        name: &str,
        action: &str,
        request: SwitchRequest,
    ) -> Result<Value, Failure> {
        let _one_at_a_time = self.apply.lock().await;
        let entry = self.function(name)?;
        let no_trial = || {
            Failure::new(
                FailureCode::Conflict,
                format!("no version of function `{name}` is tried"),
                "deploy one with `--shadow` or `--canary`",
            )
        };
        let switch = match action {
            "promote" => {
                entry.tried().ok_or_else(no_trial)?;
                Switch::Promote
            }
            "stop" => {
                entry.tried().ok_or_else(no_trial)?;
                Switch::Stop
            }
            _ => Switch::Rollback(target(&entry, request.to)?),
        };
        let before = entry.version;
        let by = said(request.by.as_deref());
        let change = CatalogChange::SwitchFunction {
            name: name.to_owned(),
            switch,
            by,
            why: said(request.why.as_deref()),
        };
        self.check_switch(name, &change).await?;
        self.commit_switch(change).await?;
        let version = self.function(name)?.version;
        Ok(json!({ "name": name, "action": action, "version": version, "before": before }))
    }

    /// Whether everything still compiles when another version runs: SQL behind it may need what it adds.
    async fn check_switch(&self, name: &str, change: &CatalogChange) -> Result<(), Failure> {
        let mut catalog = self.node.catalog().clone();
        let command = CatalogCommand {
            time: Timestamp::now().0,
            changes: vec![change.clone()],
        };
        let broken = |error: String| {
            let hint = "nothing was changed; mend or change what uses it first";
            Failure::new(FailureCode::Refused, error, hint)
        };
        catalog
            .apply(command)
            .map_err(|error| broken(error.to_string()))?;
        if let Some((why, hint)) = self.keeping(&catalog, name) {
            return Err(Failure::new(FailureCode::Refused, why, hint));
        }
        let compiler = std::sync::Arc::clone(&self.compiler);
        let name = name.to_owned();
        let checked = tokio::task::spawn_blocking(move || {
            let module = |digest: &str| compiler.functions().module(digest);
            let runs = |stage: &StageSpec| match stage {
                StageSpec::Function(own) => *own == name,
                StageSpec::Sql(text) => names_function(text, &name),
            };
            let stations = catalog.stations.values();
            for entry in stations.filter(|entry| entry.spec.stages.iter().any(runs)) {
                compiler
                    .plan(&catalog, entry, &module)
                    .map_err(|why| format!("station `{}` would break: {why}", entry.spec.name))?;
            }
            let flows = catalog.flows.values();
            let calls = |entry: &&FlowEntry| {
                let query = entry.spec.query.as_ref();
                entry.spec.stages.iter().any(runs)
                    || query.is_some_and(|query| names_function(&query.sql, &name))
            };
            for entry in flows.filter(calls) {
                compiler
                    .flow(&catalog, entry, &module)
                    .map_err(|why| format!("flow `{}` would break: {why}", entry.spec.name))?;
            }
            Ok(())
        });
        checked
            .await
            .unwrap_or_else(|error| Err(format!("compiling failed: {error}")))
            .map_err(broken)
    }

    async fn commit_switch(&self, change: CatalogChange) -> Result<(), Failure> {
        let command = Command::Catalog(CatalogCommand {
            time: Timestamp::now().0,
            changes: vec![change],
        });
        let jetstream = self.jetstream()?;
        jetstream
            .propose(&command)
            .await
            .map_err(|error| refused(&error))?;
        self.refresh().await
    }

    /// What runs follows the catalog.
    pub(super) async fn refresh(&self) -> Result<(), Failure> {
        let jetstream = self.jetstream()?.clone();
        let swapped = tokio::task::spawn_blocking(move || jetstream.refresh_plans()).await;
        if let Err(error) = swapped {
            tracing::error!(target: "nats", "plans were not swapped: {error}");
        }
        self.flows()?.sync().await;
        Ok(())
    }

    pub(super) fn describe_function(&self, entry: &FunctionEntry) -> Value {
        let functions = self.compiler.functions();
        let name = entry.spec.name.as_str();
        let numbers = |version: u64| json!(functions.metrics().version(name, version).snapshot());
        let report = entry.trial.as_ref().map(|own| {
            let mut value = trial(own);
            value["report"] = json!(functions.trial(name, own.version));
            value["numbers"] = numbers(own.version);
            value
        });
        json!({ "name": name, "version": entry.version, "digest": entry.digest, "bytes": entry.size,
            "updated": Timestamp(entry.updated).to_rfc3339(),
            "used_by": self.node.catalog().users_of(Kind::Function, name),
            "numbers": numbers(entry.version), "trial": report, "versions": entry.versions.len(),
            "previous": entry.previous(), "spec": entry.spec })
    }
}

fn trial(trial: &Trial) -> Value {
    json!({ "version": trial.version, "since": Timestamp(trial.since).to_rfc3339(), "how": trial.spec })
}

/// What a version is doing.
fn state(entry: &FunctionEntry, number: u64) -> &'static str {
    match &entry.trial {
        _ if number == entry.version => "live",
        Some(trial) if trial.version == number => trial.spec.mode.as_str(),
        _ => "before",
    }
}

/// The version to go back to.
fn target(entry: &FunctionEntry, to: Option<u64>) -> Result<u64, Failure> {
    let name = &entry.spec.name;
    let Some(version) = to.or_else(|| entry.previous()) else {
        return Err(Failure::new(
            FailureCode::Conflict,
            format!("no other version of function `{name}` ran before"),
            "name one with `--to`",
        ));
    };
    if version == entry.version {
        return Err(Failure::new(
            FailureCode::Conflict,
            format!("version {version} of function `{name}` runs already"),
            format!("`millstream function versions {name}` lists them"),
        ));
    }
    if !entry.versions.contains_key(&version) {
        return Err(Failure::new(
            FailureCode::NotFound,
            format!("function `{name}` has no version {version}"),
            format!("`millstream function versions {name}` lists them"),
        ));
    }
    Ok(version)
}

/// A text that somebody says, bounded.
pub(super) fn said(text: Option<&str>) -> String {
    let text = text.unwrap_or_default();
    text[..text.floor_char_boundary(MAX_TEXT)].to_owned()
}

/// A trial as it was asked for.
pub(super) fn trial_of(request: &TrialRequest) -> Result<TrialSpec, Failure> {
    let bad = |error: &str, hint: &'static str| {
        Err(Failure::new(
            FailureCode::BadRequest,
            error.to_owned(),
            hint,
        ))
    };
    let mode = match (request.mode.as_str(), request.percent, &request.subjects) {
        ("shadow", None, None) => TrialModeSpec::Shadow,
        ("canary", Some(percent), None) if percent > 0.0 && percent <= 100.0 => {
            TrialModeSpec::Canary {
                percent: Some(percent),
                subjects: None,
            }
        }
        ("canary", None, Some(filter)) => {
            if let Err(error) = check_filter(filter.as_bytes()) {
                return bad(&error.to_string(), "name subjects, such as `flights.UA.>`");
            }
            TrialModeSpec::Canary {
                percent: None,
                subjects: Some(filter.clone()),
            }
        }
        ("canary", ..) => {
            return bad(
                "a canary has either a share of messages or subjects",
                "give `percent` above 0 and at most 100, or `subjects`",
            );
        }
        _ => return bad("no such trial", "`mode` is `shadow` or `canary`"),
    };
    let max_error_rate = request.max_error_rate.unwrap_or(0.05);
    if !(0.0..=1.0).contains(&max_error_rate) {
        return bad(
            "`max_error_rate` is a part of all",
            "give a number from 0 to 1",
        );
    }
    Ok(TrialSpec {
        mode,
        max_error_rate,
        min_messages: request.min_messages.unwrap_or(100).max(1),
    })
}

/// Takes trials that stopped by themselves out of the catalog.
pub(crate) async fn end_trials(mut stops: mpsc::Receiver<Stop>, manager: Weak<Manager>) {
    while let Some((name, version, why)) = stops.recv().await {
        let Some(manager) = manager.upgrade() else {
            return;
        };
        let _one_at_a_time = manager.apply.lock().await;
        let current = manager.function(&name).ok().and_then(|entry| entry.trial);
        if current.is_none_or(|trial| trial.version != version) {
            continue;
        }
        let change = CatalogChange::SwitchFunction {
            name: name.clone(),
            switch: Switch::Stop,
            by: SERVER.to_owned(),
            why,
        };
        if let Err(failure) = manager.commit_switch(change).await {
            // It takes no messages all the same; the next start tries it again.
            tracing::error!(target: "functions", function = name, "trial is not ended: {}", failure.error);
        }
    }
}
