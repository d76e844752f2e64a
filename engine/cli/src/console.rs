//! Where a command reads and writes.

use std::fmt;
use std::io::{
    BufRead, BufReader, IsTerminal, Stderr, Stdin, Stdout, Write, stderr, stdin, stdout,
};

use serde_json::Value;

use crate::args::Format;
use crate::error::CliError;
use crate::yaml::to_yaml;

/// Where a command reads and writes. Answers go to `out`, everything else to `err`.
pub struct Console<'a> {
    /// Answers.
    pub out: &'a mut (dyn Write + Send),
    /// Errors, problems and progress.
    pub err: &'a mut (dyn Write + Send),
    /// Standard input.
    pub input: &'a mut (dyn BufRead + Send),
    /// Whether `err` is a terminal, so that progress makes sense.
    pub terminal: bool,
    /// Whether `input` is a terminal, where somebody waits to be asked.
    pub typed: bool,
    /// The environment, for `${NAME}` in station files.
    pub variables: &'a (dyn Fn(&str) -> Option<String> + Sync),
}

impl fmt::Debug for Console<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Console")
            .field("terminal", &self.terminal)
            .finish_non_exhaustive()
    }
}

/// The process's own streams and environment.
#[derive(Debug)]
pub struct System {
    out: Stdout,
    err: Stderr,
    input: BufReader<Stdin>,
}

impl Default for System {
    fn default() -> Self {
        Self {
            out: stdout(),
            err: stderr(),
            input: BufReader::new(stdin()),
        }
    }
}

impl System {
    /// The console of this process.
    pub fn console(&mut self) -> Console<'_> {
        Console {
            terminal: self.err.is_terminal(),
            typed: self.input.get_ref().is_terminal(),
            out: &mut self.out,
            err: &mut self.err,
            input: &mut self.input,
            variables: &|name| std::env::var(name).ok(),
        }
    }
}

impl Console<'_> {
    /// One line of an answer.
    pub(crate) fn line(&mut self, text: &str) -> Result<(), CliError> {
        writeln!(self.out, "{text}")?;
        Ok(())
    }

    /// A text that ends with a line end.
    pub(crate) fn text(&mut self, text: &str) -> Result<(), CliError> {
        self.out.write_all(text.as_bytes())?;
        Ok(())
    }

    /// The answer as JSON or YAML; false for tables, which the caller draws.
    pub(crate) fn structured(&mut self, format: Format, value: &Value) -> Result<bool, CliError> {
        match format {
            Format::Table => return Ok(false),
            Format::Json => writeln!(self.out, "{value:#}")?,
            Format::Yaml => self.out.write_all(to_yaml(value).as_bytes())?,
        }
        Ok(true)
    }

    /// Shows how far long work is, on a terminal only.
    pub(crate) fn progress(&mut self, text: &str) -> Result<(), CliError> {
        if self.terminal {
            write!(self.err, "\r\x1b[K{text}")?;
            self.err.flush()?;
        }
        Ok(())
    }

    /// Wipes the progress away.
    pub(crate) fn progress_done(&mut self) -> Result<(), CliError> {
        self.progress("")
    }

    /// Says what went wrong; a console that cannot be written to is left alone.
    pub(crate) fn complain(&mut self, format: Format, error: &CliError) {
        let shown = match format {
            Format::Json => writeln!(self.err, "{:#}", error.to_json()),
            Format::Yaml => write!(self.err, "{}", to_yaml(&error.to_json())),
            Format::Table => self.complain_in_words(error),
        };
        // Nobody is left to tell.
        drop(shown);
    }

    fn complain_in_words(&mut self, error: &CliError) -> std::io::Result<()> {
        for problem in error.problems() {
            match &problem.hint {
                Some(hint) => {
                    let bare = millstream_spec::Problem {
                        hint: None,
                        ..problem.clone()
                    };
                    writeln!(self.err, "{bare}\n    {hint}")?;
                }
                None => writeln!(self.err, "{problem}")?,
            }
        }
        writeln!(self.err, "error: {error}")?;
        error
            .hint()
            .map_or(Ok(()), |hint| writeln!(self.err, "hint: {hint}"))
    }
}
