//! Programs of other people: found, run, and heard when they fail.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::console::Console;
use crate::error::CliError;

/// How programs are found and run for one folder.
pub(super) struct Tools<'t, 'c> {
    /// The function's folder, absolute: what is passed on must not depend on where a program starts.
    pub(super) dir: PathBuf,
    console: &'t mut Console<'c>,
}

/// A program's answer: what it printed, or why it failed.
pub(super) type Ran = Result<Output, CliError>;

impl<'t, 'c> Tools<'t, 'c> {
    pub(super) fn new(dir: &Path, console: &'t mut Console<'c>) -> Result<Self, CliError> {
        let read = |source| CliError::Read {
            path: dir.to_owned(),
            source,
        };
        let dir = dir.canonicalize().map_err(read)?;
        Ok(Self { dir, console })
    }

    /// A variable of the environment that is not empty.
    pub(super) fn variable(&self, name: &str) -> Option<String> {
        (self.console.variables)(name).filter(|value| !value.is_empty())
    }

    /// Where a program is: a path, or a name that `PATH` leads to.
    pub(super) fn find(&self, program: &str) -> Option<PathBuf> {
        if program.contains('/') {
            let path = self.dir.join(program);
            return path.is_file().then_some(path);
        }
        let folders = self.variable("PATH")?;
        let name = format!("{program}{}", std::env::consts::EXE_SUFFIX);
        std::env::split_paths(&folders)
            .map(|folder| folder.join(&name))
            .find(|path| path.is_file())
    }

    /// Runs a program in the function's folder. What it wrote is shown when it fails, with `advice` for what it wrote.
    pub(super) fn run(
        &mut self,
        program: &Path,
        args: &[&OsStr],
        advice: impl Fn(&str) -> Option<&'static str>,
    ) -> Ran {
        let shown = shown(program, args);
        self.console.progress(&format!("{shown} …"))?;
        let mut command = Command::new(program);
        command.current_dir(&self.dir).args(args);
        if let Some(path) = self.variable("PATH") {
            command.env("PATH", path);
        }
        let output = command.output();
        self.console.progress_done()?;
        let output = output.map_err(|source| CliError::Run {
            path: program.to_owned(),
            source,
        })?;
        if output.status.success() {
            return Ok(output);
        }
        let text = [&output.stdout[..], &output.stderr[..]].concat();
        let text = String::from_utf8_lossy(&text);
        for line in text
            .trim_end()
            .lines()
            .filter(|line| !is_for_programs(line))
        {
            writeln!(self.console.err, "{line}")?;
        }
        Err(CliError::Tool {
            tool: shown,
            hint: advice(&text),
        })
    }
}

/// Whether a line is one of cargo's messages, which it writes beside what it tells people.
fn is_for_programs(line: &str) -> bool {
    line.starts_with("{\"reason\":")
}

/// A command line as people type it.
fn shown(program: &Path, args: &[&OsStr]) -> String {
    let name = program.file_name().unwrap_or(program.as_os_str());
    let words = std::iter::once(&name).chain(args);
    let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
    words.join(" ")
}
