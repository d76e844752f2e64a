//! The file source: descriptor and loop.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use millstream_connector_api::{
    BoxFuture, BuildError, Config, Connector, ConnectorError, Environment, Kind, OptionDescriptor,
    OptionType, Problem, Progress, Settings, Source, SourceContext, SubjectTemplate,
};
use tokio::time::{Instant, sleep, sleep_until};

use crate::error::FileError;
use crate::pace::Pace;
use crate::reader::{Format, Plan, Reader, Step};

/// How often a followed file is looked at when it has nothing new.
const LOOK_EVERY: Duration = Duration::from_millis(100);

const fn option(
    name: &'static str,
    kind: OptionType,
    default: Option<&'static str>,
    doc: &'static str,
) -> OptionDescriptor {
    OptionDescriptor {
        name,
        kind,
        default,
        required: false,
        secret: false,
        doc,
    }
}

const OPTIONS: &[OptionDescriptor] = &[
    OptionDescriptor {
        required: true,
        ..option("path", OptionType::Path, None, "the file to read")
    },
    OptionDescriptor {
        required: true,
        ..option(
            "subject",
            OptionType::SubjectTemplate,
            None,
            "subject of each record; `{field}` is filled from its JSON key or CSV column, `_` where there is none",
        )
    },
    option(
        "format",
        OptionType::Choice(&["auto", "jsonl", "csv"]),
        Some("auto"),
        "how the file is written; `auto` goes by the extension .jsonl, .ndjson, .json or .csv",
    ),
    option(
        "rate",
        OptionType::Integer {
            min: 1,
            max: 1_000_000_000,
        },
        None,
        "most records per second; none: as fast as they are stored",
    ),
    option(
        "batch",
        OptionType::Integer {
            min: 1,
            max: 10_000,
        },
        Some("500"),
        "most records in one commit",
    ),
    option(
        "follow",
        OptionType::Bool,
        Some("false"),
        "wait for more at the end of the file, instead of being finished",
    ),
    option(
        "max_line",
        OptionType::Bytes,
        Some("1MiB"),
        "longest line; a longer one is rejected with its beginning",
    ),
    option(
        "on_truncate",
        OptionType::Choice(&["fail", "restart"]),
        Some("fail"),
        "what to do when the file was replaced or cut: fail, or read the new content from its start",
    ),
    option(
        "types",
        OptionType::Bool,
        Some("true"),
        "CSV: numbers, booleans and empty fields become JSON numbers, booleans and null",
    ),
    option(
        "null",
        OptionType::Text,
        None,
        "CSV: a field with this text, such as `NA`, becomes null",
    ),
];

/// Reads JSON lines or CSV.
#[derive(Clone, Copy, Debug, Default)]
pub struct FileSource;

impl Connector for FileSource {
    fn name(&self) -> &'static str {
        "file"
    }

    fn kind(&self) -> Kind {
        Kind::Source
    }

    fn doc(&self) -> &'static str {
        "reads JSON lines or CSV from a file, each record once"
    }

    fn options(&self) -> &'static [OptionDescriptor] {
        OPTIONS
    }

    fn check(&self, config: &Config) -> Vec<Problem> {
        match plan(config, &Environment::default()) {
            Ok(_) => Vec::new(),
            Err(problems) => problems,
        }
    }

    fn build_source(
        &self,
        config: &Config,
        environment: &Environment,
    ) -> Result<Box<dyn Source>, BuildError> {
        let plan = plan(config, environment).map_err(|problems| BuildError::Invalid {
            connector: self.name(),
            problems,
        })?;
        Ok(Box::new(FileRun { plan }))
    }
}

fn plan(config: &Config, environment: &Environment) -> Result<Plan, Vec<Problem>> {
    let settings = Settings::read(OPTIONS.to_vec(), config)?;
    let path = PathBuf::from(settings.text("path"));
    let format = format(&settings, &path).map_err(|problem| vec![problem])?;
    let subject = SubjectTemplate::parse(settings.text("subject"))
        .map_err(|error| vec![Problem::new("subject", error.to_string(), "")])?;
    Ok(Plan {
        path: crate::rotate::resolve(&path, environment),
        format,
        subject,
        rate: settings.opt_integer("rate"),
        batch: settings.count("batch"),
        follow: settings.boolean("follow"),
        max_line: usize::try_from(settings.bytes("max_line")).unwrap_or(usize::MAX),
        restart_when_replaced: settings.text("on_truncate") == "restart",
        typed: settings.boolean("types"),
        null: settings.opt_text("null").map(str::to_owned),
    })
}

fn format(settings: &Settings, path: &Path) -> Result<Format, Problem> {
    let extension = path
        .extension()
        .and_then(|extension| extension.to_str())
        .unwrap_or_default();
    match (
        settings.text("format"),
        extension.to_ascii_lowercase().as_str(),
    ) {
        ("jsonl", _) | ("auto", "jsonl" | "ndjson" | "json") => Ok(Format::JsonLines),
        ("csv", _) | ("auto", "csv") => Ok(Format::Csv),
        (_, "gz" | "zst" | "bz2" | "xz" | "zip") => Err(Problem::new(
            "path",
            format!("`{}` is compressed", path.display()),
            "decompress it first; compressed files are not supported yet",
        )),
        _ => Err(Problem::new(
            "format",
            format!(
                "the extension of `{}` does not tell how it is written",
                path.display()
            ),
            "set `format: jsonl` or `format: csv`",
        )),
    }
}

struct FileRun {
    plan: Plan,
}

impl Source for FileRun {
    fn run(
        self: Box<Self>,
        context: Arc<dyn SourceContext>,
    ) -> BoxFuture<'static, Result<(), ConnectorError>> {
        Box::pin(run(self.plan, context))
    }
}

async fn run(plan: Plan, context: Arc<dyn SourceContext>) -> Result<(), ConnectorError> {
    let stored = context.position().await?;
    let mut pace = Pace::new(plan.rate);
    let started = Instant::now();
    let mut reader = open(plan.clone(), stored).await?;
    loop {
        let most = pace.batch(plan.batch);
        let step;
        (reader, step) = blocking(move || (reader.step(most), reader)).await?;
        match step {
            Step::Batch(batch) => {
                let due = started + pace.due(batch.records.len());
                tokio::select! {
                    biased;
                    () = context.cancelled() => return Ok(()),
                    () = sleep_until(due) => {}
                }
                context.commit(batch.records, Some(batch.position)).await?;
                context.progress(Progress::Behind(batch.behind));
            }
            Step::Replaced => reader = open(plan.clone(), None).await?,
            Step::End if !plan.follow => return Ok(()),
            Step::End => {
                context.progress(Progress::Waiting(format!(
                    "`{}` to grow",
                    reader.path().display()
                )));
                tokio::select! {
                    biased;
                    () = context.cancelled() => return Ok(()),
                    () = sleep(LOOK_EVERY) => {}
                }
            }
        }
    }
}

async fn open(plan: Plan, stored: Option<bytes::Bytes>) -> Result<Reader, ConnectorError> {
    let opened = tokio::task::spawn_blocking(move || Reader::open(plan, stored.as_deref())).await;
    Ok(opened.map_err(lost_worker)??)
}

/// Runs one step on the blocking pool; the reader goes there and comes back.
async fn blocking(
    step: impl FnOnce() -> (Result<Step, FileError>, Reader) + Send + 'static,
) -> Result<(Reader, Step), ConnectorError> {
    let (step, reader) = tokio::task::spawn_blocking(step)
        .await
        .map_err(lost_worker)?;
    Ok((reader, step?))
}

fn lost_worker(error: tokio::task::JoinError) -> ConnectorError {
    ConnectorError::retryable(format!("reading the file was interrupted: {error}"))
}

#[cfg(test)]
mod tests;
