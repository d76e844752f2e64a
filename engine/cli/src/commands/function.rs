//! `function`: from an empty folder to a version that runs, and back.

mod build;
mod deploy;
mod dry_run;
mod init;
mod logs;
mod versions;

use serde_json::{Map, Value};

use crate::args::{Format, FunctionCommand};
use crate::console::Console;
use crate::error::CliError;
use crate::table::{field, one_line};

use super::Session;

pub(super) async fn function(
    command: &FunctionCommand,
    session: Session<'_, '_>,
) -> Result<(), CliError> {
    match command {
        FunctionCommand::Init(args) => init::init(args, session),
        FunctionCommand::Build(args) => build::build(args, session),
        // The server's program answers this one before it comes here.
        FunctionCommand::Test(_) => Err(CliError::NoEngine),
        FunctionCommand::Deploy(args) if args.dry_run => dry_run::dry_run(args, session).await,
        FunctionCommand::Deploy(args) => deploy::deploy(args, session).await,
        FunctionCommand::Versions { name } => versions::versions(name, session).await,
        FunctionCommand::Promote(args) => versions::switch("promote", args, None, session).await,
        FunctionCommand::Stop(args) => versions::switch("stop", args, None, session).await,
        FunctionCommand::Rollback { switch, to } => {
            versions::switch("rollback", switch, *to, session).await
        }
        FunctionCommand::Logs(args) => logs::logs(args, session).await,
    }
}

/// Shows a report of tests; an error when one failed.
pub(super) fn tested(
    report: &Value,
    format: Format,
    console: &mut Console<'_>,
) -> Result<(), CliError> {
    let count = |name: &str| report[name].as_u64().unwrap_or(0);
    let (passed, failed) = (count("passed"), count("failed"));
    if !console.structured(format, report)? {
        let tests = report["tests"].as_array().map(Vec::as_slice);
        for test in tests
            .unwrap_or_default()
            .iter()
            .filter_map(Value::as_object)
        {
            one_test(test, console)?;
        }
        let name = report["function"].as_str().unwrap_or_default();
        let failures = match failed {
            0 => String::new(),
            failed => format!(", {failed} failed"),
        };
        console.line(&format!("`{name}`: {passed} passed{failures}"))?;
    }
    if failed == 0 {
        Ok(())
    } else {
        Err(CliError::Failed {
            failed,
            all: passed + failed,
        })
    }
}

fn one_test(test: &Map<String, Value>, console: &mut Console<'_>) -> Result<(), CliError> {
    let verdict = match test.get("ok") {
        Some(Value::Bool(true)) => "ok    ",
        _ => "FAILED",
    };
    let time = match test.get("ms").and_then(Value::as_f64) {
        Some(ms) => format!("  ({ms:.1} ms)"),
        None => String::new(),
    };
    console.line(&format!("{verdict}  {}{time}", field(test, "name")))?;
    let problems = test.get("problems").and_then(Value::as_array);
    for problem in problems.into_iter().flatten().filter_map(Value::as_str) {
        console.line(&format!("        {}", one_line(problem)))?;
    }
    Ok(())
}

/// Who types, as `user@host`.
fn caller(console: &Console<'_>) -> String {
    let variable = |name: &str| (console.variables)(name).filter(|value| !value.is_empty());
    let unknown = || "unknown".to_owned();
    let user = variable("USER").or_else(|| variable("LOGNAME"));
    let host = variable("HOSTNAME").or_else(|| {
        let file = std::fs::read_to_string("/etc/hostname").ok()?;
        Some(file.trim().to_owned()).filter(|name| !name.is_empty())
    });
    format!(
        "{}@{}",
        user.unwrap_or_else(unknown),
        host.unwrap_or_else(unknown)
    )
}
