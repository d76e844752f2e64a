//! JavaScript: the folder's own `build.mjs`, with what npm brings for it.

use std::ffi::OsStr;
use std::path::Path;

use crate::error::CliError;

use super::tools::Tools;

const NODE: &str = "install Node 20 or newer with npm: https://nodejs.org";

pub(super) fn build(tools: &mut Tools<'_, '_>, to: &Path) -> Result<(), CliError> {
    let missing = |what| CliError::Missing { what, get: NODE };
    if !tools.dir.join("build.mjs").is_file() {
        return Err(CliError::NoModule(
            "there is no `build.mjs` that makes the module; `millstream function init --language javascript` writes one",
        ));
    }
    let node = tools.find("node").ok_or_else(|| missing("node"))?;
    if !tools.dir.join("node_modules").is_dir() {
        let npm = tools.find("npm").ok_or_else(|| missing("npm"))?;
        let args = ["install", "--no-audit", "--no-fund"].map(OsStr::new);
        tools.run(&npm, &args, |_| {
            Some("npm fetches componentize-js from its registry, once; `npm config get registry` says which it asks")
        })?;
    }
    tools.run(&node, &[OsStr::new("build.mjs"), to.as_os_str()], |text| {
        let gone = text.contains("ERR_MODULE_NOT_FOUND");
        gone.then_some("remove `node_modules`, so that npm fetches what is missing")
    })?;
    if to.is_file() {
        Ok(())
    } else {
        Err(CliError::NoModule(
            "`build.mjs` wrote no module where its first argument says",
        ))
    }
}
