//! The file sink: descriptor and the bridge to the blocking pool.

use std::path::{Path, PathBuf};

use millstream_connector_api::{
    BoxFuture, BuildError, Config, Connector, Environment, Kind, OptionDescriptor, OptionType,
    Settings, Sink, SinkError, SinkRecord,
};

use crate::error::FileError;
use crate::ledger::{Ledger, Rotation};
use crate::rotate;

const OPTIONS: &[OptionDescriptor] = &[
    OptionDescriptor {
        name: "path",
        kind: OptionType::Path,
        default: None,
        required: true,
        secret: false,
        doc: "the file to append JSON lines to; each sink needs its own",
    },
    OptionDescriptor {
        name: "rotate_bytes",
        kind: OptionType::Bytes,
        default: None,
        required: false,
        secret: false,
        doc: "size at which the file is moved to `<path>.<last sequence>` and a new one begun; none: never",
    },
    OptionDescriptor {
        name: "rotate_keep",
        kind: OptionType::Integer {
            min: 1,
            max: 100_000,
        },
        default: Some("10"),
        required: false,
        secret: false,
        doc: "moved files kept; the oldest beyond it are deleted",
    },
];

/// Writes JSON lines.
#[derive(Clone, Copy, Debug, Default)]
pub struct FileSink;

impl Connector for FileSink {
    fn name(&self) -> &'static str {
        "file"
    }

    fn kind(&self) -> Kind {
        Kind::Sink
    }

    fn doc(&self) -> &'static str {
        "appends records to a file as JSON lines, each once"
    }

    fn options(&self) -> &'static [OptionDescriptor] {
        OPTIONS
    }

    fn build_sink(
        &self,
        config: &Config,
        environment: &Environment,
    ) -> Result<Box<dyn Sink>, BuildError> {
        let settings =
            Settings::read(self.all_options(), config).map_err(|problems| BuildError::Invalid {
                connector: self.name(),
                problems,
            })?;
        Ok(Box::new(FileWriter {
            path: rotate::resolve(Path::new(settings.text("path")), environment),
            rotation: Rotation {
                bytes: settings.opt_bytes("rotate_bytes"),
                keep: settings.count("rotate_keep"),
            },
            ledger: None,
        }))
    }
}

#[derive(Debug)]
struct FileWriter {
    path: PathBuf,
    rotation: Rotation,
    /// Open after the first write; while a write is under way it is on the blocking pool.
    ledger: Option<Ledger>,
}

impl Sink for FileWriter {
    fn write<'a>(&'a mut self, batch: &'a [SinkRecord]) -> BoxFuture<'a, Result<(), SinkError>> {
        Box::pin(async move {
            let (path, rotation, open, batch) = (
                self.path.clone(),
                self.rotation.clone(),
                self.ledger.take(),
                batch.to_vec(),
            );
            let work = move || {
                let mut ledger = match open {
                    Some(ledger) => ledger,
                    None => Ledger::open(&path)?,
                };
                let answer = ledger.append(&batch, &rotation);
                Ok::<_, FileError>((ledger, answer))
            };
            match tokio::task::spawn_blocking(work).await {
                Ok(Ok((ledger, answer))) => {
                    self.ledger = Some(ledger);
                    answer.map_err(SinkError::from)
                }
                Ok(Err(error)) => Err(SinkError::from(error)),
                Err(error) => Err(SinkError::retryable(format!(
                    "writing the file was interrupted: {error}"
                ))),
            }
        })
    }
}

#[cfg(test)]
mod tests;
