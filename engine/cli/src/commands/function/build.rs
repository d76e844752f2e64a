//! `function build`: a folder that builds.
use super::super::Session;
use crate::args::BuildArgs;
use crate::error::CliError;
pub(super) fn build(_: &BuildArgs, _: Session<'_, '_>) -> Result<(), CliError> {
    Err(CliError::NoEngine)
}
