//! A connector as a thing that can be named, described, checked and built.

use std::fmt;
use std::path::PathBuf;

use crate::{BuildError, OptionDescriptor, Problem, SINK_OPTIONS, Sink, Source, check_options};

/// The `config:` block of a station file after `${VAR}` substitution: option name to JSON value.
pub type Config = serde_json::Map<String, serde_json::Value>;

/// Which way a connector carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Into the broker.
    Source,
    /// Out of it.
    Sink,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Source => "source",
            Self::Sink => "sink",
        })
    }
}

/// What the server adds to a configuration when it builds a connector.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// The source's or sink's name in the station file.
    pub name: String,
    /// The station a sink reads; empty for a source.
    pub station: String,
    /// Relative paths start here; `None` is the process's working folder.
    pub base_dir: Option<PathBuf>,
    /// The server's own configuration allows private and loopback destinations for every connector.
    pub allow_private_addresses: bool,
}

/// One connector of one kind: `file` as a source and `file` as a sink are two values.
pub trait Connector: Send + Sync + fmt::Debug {
    /// The word under `connector:` in a station file.
    fn name(&self) -> &'static str;

    /// Which way it carries.
    fn kind(&self) -> Kind;

    /// One sentence for people.
    fn doc(&self) -> &'static str;

    /// Its own options; those every sink has come on top, see [`Connector::all_options`].
    fn options(&self) -> &'static [OptionDescriptor];

    /// Everything that may stand in its configuration.
    fn all_options(&self) -> Vec<OptionDescriptor> {
        let common = match self.kind() {
            Kind::Source => &[][..],
            Kind::Sink => SINK_OPTIONS,
        };
        self.options().iter().chain(common).cloned().collect()
    }

    /// Checks that need more than one option or a look inside a value; called when every option by itself is well formed.
    fn check(&self, config: &Config) -> Vec<Problem> {
        let _ = config;
        Vec::new()
    }

    /// Checks a configuration without touching the outside: unknown names, missing and ill-formed values, then
    /// [`Connector::check`].
    ///
    /// # Errors
    /// Everything wrong with it.
    fn validate(&self, config: &Config) -> Result<(), Vec<Problem>> {
        let mut problems = check_options(&self.all_options(), config);
        if problems.is_empty() {
            problems = self.check(config);
        }
        if problems.is_empty() {
            Ok(())
        } else {
            Err(problems)
        }
    }

    /// Makes a source; cheap, touches nothing outside.
    ///
    /// # Errors
    /// When the configuration is wrong or this is a sink.
    fn build_source(
        &self,
        config: &Config,
        environment: &Environment,
    ) -> Result<Box<dyn Source>, BuildError> {
        let _ = (config, environment);
        Err(BuildError::WrongKind {
            connector: self.name(),
            wanted: Kind::Source,
        })
    }

    /// Makes a sink; cheap, touches nothing outside.
    ///
    /// # Errors
    /// When the configuration is wrong or this is a source.
    fn build_sink(
        &self,
        config: &Config,
        environment: &Environment,
    ) -> Result<Box<dyn Sink>, BuildError> {
        let _ = (config, environment);
        Err(BuildError::WrongKind {
            connector: self.name(),
            wanted: Kind::Sink,
        })
    }
}
