//! The example's files: built in, so that the demo runs from any folder, or from a folder the user names.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

const FLIGHTS_YAML: &str = include_str!("../../../../examples/flights/flights.yaml");
const FLIGHT_SCHEMA: &str = include_str!("../../../../examples/flights/flight.schema.json");
const FLIGHTS: &str = include_str!("../../../../examples/flights/flights.jsonl");
const DELAY_BAND: &[u8] =
    include_bytes!("../../../../examples/functions/delay-band/delay_band.wasm");

/// Where the example lies.
#[derive(Debug)]
pub(super) struct Example {
    /// The station file.
    pub(super) station_file: PathBuf,
    /// The records, JSON lines.
    pub(super) records: PathBuf,
    /// Their text.
    pub(super) text: String,
}

impl Example {
    /// The folder given, else the built-in files written below `folder`, laid out as in the repository.
    pub(super) fn find(given: Option<&Path>, folder: &Path) -> anyhow::Result<Self> {
        let flights = match given {
            Some(given) => std::path::absolute(given)
                .context("cannot find the folder given with `--example`")?,
            None => unpack(&folder.join("examples")).context("cannot unpack the example")?,
        };
        let (station_file, records) = (flights.join("flights.yaml"), flights.join("flights.jsonl"));
        for needed in [&station_file, &records] {
            if !needed.is_file() {
                bail!(
                    "`{}` is not there; copy the repository's `examples` folder and give its `flights` with `--example`",
                    needed.display()
                );
            }
        }
        let text = fs::read_to_string(&records);
        let text = text.with_context(|| format!("cannot read `{}`", records.display()))?;
        Ok(Self {
            station_file,
            records,
            text,
        })
    }

    /// How many records there are: lines that are not blank.
    pub(super) fn count(&self) -> u64 {
        self.text
            .lines()
            .filter(|line| !line.trim().is_empty())
            .count() as u64
    }
}

fn unpack(examples: &Path) -> std::io::Result<PathBuf> {
    let (flights, function) = (
        examples.join("flights"),
        examples.join("functions/delay-band"),
    );
    fs::create_dir_all(&flights)?;
    fs::create_dir_all(&function)?;
    fs::write(flights.join("flights.yaml"), FLIGHTS_YAML)?;
    fs::write(flights.join("flight.schema.json"), FLIGHT_SCHEMA)?;
    fs::write(flights.join("flights.jsonl"), FLIGHTS)?;
    fs::write(function.join("delay_band.wasm"), DELAY_BAND)?;
    Ok(flights)
}

#[cfg(test)]
mod tests {
    use super::Example;

    #[test]
    fn the_built_in_example_is_whole() {
        let folder = tempfile::tempdir().expect("folder");
        let example = Example::find(None, folder.path()).expect("built in");
        assert!(example.count() > 2000);
        let file = millstream_spec::SourceFile {
            name: example.station_file.to_str().expect("path").to_owned(),
            text: std::fs::read_to_string(&example.station_file).expect("station file"),
        };
        let parsed = millstream_spec::parse(&[file], &|_| None);
        assert!(parsed.problems.is_empty(), "{:?}", parsed.problems);
        let needed = millstream_spec::attachments(&parsed.documents);
        assert!(!needed.is_empty());
        for attachment in needed {
            assert!(
                std::path::Path::new(&attachment.key).is_file(),
                "{attachment:?} is unpacked"
            );
        }
    }

    #[test]
    fn a_folder_without_the_example_is_named() {
        let folder = tempfile::tempdir().expect("folder");
        let error = Example::find(Some(folder.path()), folder.path())
            .expect_err("empty")
            .to_string();
        assert!(
            error.contains("flights.yaml") && error.contains("--example"),
            "{error}"
        );
    }
}
