//! What the demo asks of the management API, in the requests a user's command would send.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, anyhow, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use millstream_admin::{ApplyRequest, Failure, FileText, Management, Operation, Reply};
use millstream_spec::{Problem, SourceFile, attachments, parse};
use serde_json::Value;

/// Applies a station file with the files it names, as `millstream apply -f FILE` does.
pub(super) async fn apply(
    management: &dyn Management,
    file: &Path,
    variables: &BTreeMap<String, String>,
) -> anyhow::Result<()> {
    let text =
        fs::read_to_string(file).with_context(|| format!("cannot read `{}`", file.display()))?;
    let name = file.to_string_lossy().into_owned();
    let source = SourceFile {
        name: name.clone(),
        text: text.clone(),
    };
    let parsed = parse(&[source], &|name| variables.get(name).cloned());
    if !parsed.problems.is_empty() {
        bail!("{}", listed(&parsed.problems));
    }
    let mut found = BTreeMap::new();
    for attachment in attachments(&parsed.documents) {
        let bytes = fs::read(&attachment.key);
        let bytes = bytes
            .with_context(|| format!("cannot read `{}`, which `{name}` names", attachment.key))?;
        found.insert(attachment.key, STANDARD.encode(bytes));
    }
    let request = ApplyRequest {
        dry_run: false,
        files: vec![FileText { name, text }],
        attachments: found,
        variables: variables.clone(),
        ..ApplyRequest::default()
    };
    call(management, Operation::Apply(request)).await?;
    Ok(())
}

/// The station's dead letters, oldest first.
pub(super) async fn dead_letters(
    management: &dyn Management,
    station: &str,
    limit: u64,
) -> anyhow::Result<Vec<Value>> {
    let station = station.to_owned();
    let mut answer = call(
        management,
        Operation::DeadLetters {
            station,
            limit: Some(limit),
        },
    )
    .await?;
    match answer.get_mut("items").map(Value::take) {
        Some(Value::Array(items)) => Ok(items),
        _ => bail!("list of dead letters has no `items`"),
    }
}

async fn call(management: &dyn Management, operation: Operation) -> anyhow::Result<Value> {
    match management.call(operation).await {
        Ok(Reply::Value(value)) => Ok(value),
        Ok(Reply::Lines(_) | Reply::File { .. }) => {
            bail!("management answered with a stream of lines")
        }
        Err(failure) => Err(error(&failure)),
    }
}

fn error(failure: &Failure) -> anyhow::Error {
    let problems = failure
        .details
        .as_ref()
        .and_then(|details| details.get("problems").cloned());
    let problems =
        problems.and_then(|problems| serde_json::from_value::<Vec<Problem>>(problems).ok());
    match problems {
        Some(problems) if !problems.is_empty() => {
            anyhow!("{}\n{}", failure.error, listed(&problems))
        }
        _ => anyhow!("{}: {}", failure.error, failure.hint),
    }
}

fn listed(problems: &[Problem]) -> String {
    problems
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}
