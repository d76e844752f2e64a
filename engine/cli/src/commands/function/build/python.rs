//! Python: componentize-py in a virtual environment of the folder.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use millstream_spec::FunctionSpec;

use crate::error::CliError;
use crate::templates::WIT;

use super::files_ending;
use super::tools::Tools;

/// What is installed where the folder does not say which.
const COMPONENTIZE: &str = "componentize-py==0.25.1";
const PYTHON: &str = "install Python 3.10 or newer with venv: https://www.python.org, or the packages python3 and python3-venv";

pub(super) fn build(
    tools: &mut Tools<'_, '_>,
    to: &Path,
    spec: &FunctionSpec,
) -> Result<(), CliError> {
    let module = module(&tools.dir)?.ok_or_else(|| CliError::NoLanguage(tools.dir.clone()))?;
    let requirements = tools.dir.join("requirements.txt").is_file();
    let wanted: &[&str] = if requirements {
        &["-r", "requirements.txt"]
    } else {
        &[COMPONENTIZE]
    };
    let program = match tools.find(".venv/bin/componentize-py") {
        Some(program) => program,
        None => install(tools, wanted, "componentize-py")?,
    };
    // A folder without the interface gets the newest.
    let newest = tempfile::tempdir()?;
    let mut wit = tools.dir.join("wit");
    if !wit.is_dir() {
        wit = newest.path().to_owned();
        fs::write(wit.join("function.wit"), WIT)?;
    }
    let word = OsStr::new::<str>;
    let args = [
        word("--quiet"),
        word("--wit-path"),
        wit.as_os_str(),
        word("--world"),
        word(world(spec)),
        word("componentize"),
        // Without the stubs Python imports all of WASI, which no function is given.
        word("--stub-wasi"),
        word("--output"),
        to.as_os_str(),
        word(&module),
    ];
    tools.run(&program, &args, |_| None).map(drop)
}

/// The module with the function: the one that has the class that componentize-py looks for.
pub(super) fn module(dir: &Path) -> Result<Option<String>, CliError> {
    for name in files_ending(dir, "py")? {
        let path = dir.join(&name);
        let text = fs::read(&path).map_err(|source| CliError::Read { path, source })?;
        if String::from_utf8_lossy(&text).contains("class WitWorld") {
            return Ok(name.strip_suffix(".py").map(str::to_owned));
        }
    }
    Ok(None)
}

/// The world that the document grants.
fn world(spec: &FunctionSpec) -> &'static str {
    let lookup = !spec.lookup.is_empty();
    let http = !spec.http.is_empty();
    match (spec.state.is_some(), lookup, http) {
        (false, false, false) => "pure",
        (true, false, false) => "state",
        (false, true, false) => "lookup",
        (false, false, true) => "http",
        _ => "all",
    }
}

/// Installs packages into the folder's virtual environment and gives one of its programs.
pub(super) fn install(
    tools: &mut Tools<'_, '_>,
    wanted: &[&str],
    program: &str,
) -> Result<PathBuf, CliError> {
    let missing = CliError::Missing {
        what: "python3",
        get: PYTHON,
    };
    let python = tools.find("python3").ok_or(missing)?;
    let args = ["-m", "venv", ".venv"].map(OsStr::new);
    tools.run(&python, &args, |text| {
        let no_venv = text.contains("ensurepip") || text.contains("No module named venv");
        no_venv.then_some("Python is there without venv: install the package python3-venv")
    })?;
    let pip = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
    ];
    let args: Vec<&OsStr> = pip.iter().chain(wanted).map(OsStr::new).collect();
    let own = tools.dir.join(".venv/bin/python");
    tools.run(&own, &args, |_| {
        Some("pip fetches it from its index, once; `pip config list` says which it asks")
    })?;
    Ok(tools.dir.join(".venv/bin").join(program))
}
