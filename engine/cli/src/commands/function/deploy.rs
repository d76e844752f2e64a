//! `function deploy`: `apply` with a reason, and with a trial before the version takes over.

use millstream_spec::Spec;
use serde_json::{Value, json};

use crate::args::DeployArgs;
use crate::bundle::Bundle;
use crate::console::Console;
use crate::error::CliError;

use super::super::{Session, apply};
use super::caller;

pub(super) async fn deploy(args: &DeployArgs, session: Session<'_, '_>) -> Result<(), CliError> {
    let Session {
        client,
        format,
        console,
    } = session;
    let mut body = read(args, console)?.to_json();
    body["by"] = caller(console).into();
    if let Some(why) = &args.why {
        body["why"] = why.as_str().into();
    }
    let trial = trial(args);
    let tried = trial.is_some();
    if let Some(trial) = trial {
        body["trial"] = trial;
    }
    console.progress("compiling and testing …")?;
    let answer = client.post(&["apply"], &body).await;
    console.progress_done()?;
    let answer = answer?;
    if console.structured(format, &answer)? {
        return Ok(());
    }
    apply::show(&answer, false, console)?;
    if tried {
        tell_about_trial(&answer, console)?;
    }
    Ok(())
}

/// The station file and what it refers to; an error when there is no function in it.
pub(super) fn read(args: &DeployArgs, console: &mut Console<'_>) -> Result<Bundle, CliError> {
    let bundle = Bundle::read(std::slice::from_ref(&args.file), console)?;
    let function = |spec: &Spec| matches!(spec, Spec::Function(_));
    let mut specs = bundle.documents.iter().map(|document| &document.spec);
    if specs.any(function) {
        Ok(bundle)
    } else {
        Err(CliError::NoFunction(args.file.clone()))
    }
}

fn trial(args: &DeployArgs) -> Option<Value> {
    let mut trial = match (&args.canary, &args.canary_subjects) {
        (Some(percent), _) => json!({ "mode": "canary", "percent": percent }),
        (None, Some(subjects)) => json!({ "mode": "canary", "subjects": subjects }),
        (None, None) if args.shadow => json!({ "mode": "shadow" }),
        (None, None) => return None,
    };
    if let Some(rate) = args.max_error_rate {
        trial["max_error_rate"] = rate.into();
    }
    if let Some(messages) = args.min_messages {
        trial["min_messages"] = messages.into();
    }
    Some(trial)
}

fn tell_about_trial(answer: &Value, console: &mut Console<'_>) -> Result<(), CliError> {
    let changes = answer["changes"].as_array().map(Vec::as_slice);
    let tried = |change: &&Value| {
        change["kind"] == "function" && change["action"] == "changed" && change["version"].is_u64()
    };
    let tried = changes.unwrap_or_default().iter().filter(tried);
    for change in tried {
        let name = change["name"].as_str().unwrap_or_default();
        let version = &change["version"];
        console.line(&format!(
            "\nversion {version} of `{name}` is tried: `millstream describe function {name}` shows how it does, \
             `millstream function promote {name}` makes it run, `millstream function stop {name}` ends the trial"
        ))?;
    }
    Ok(())
}
