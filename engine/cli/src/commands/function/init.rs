//! `function init`: a folder that builds.
use super::super::Session;
use crate::args::InitArgs;
use crate::error::CliError;
pub(super) fn init(_: &InitArgs, _: Session<'_, '_>) -> Result<(), CliError> {
    Err(CliError::NoEngine)
}
