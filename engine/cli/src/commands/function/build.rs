//! `function build`: the module that `function.yaml` names, by the language's own tools.

mod c;
mod javascript;
mod python;
mod rust;
mod tools;

use std::fs;
use std::path::{Path, PathBuf};

use millstream_spec::{FunctionSpec, SourceFile, Spec, parse};
use serde_json::json;

use crate::args::{BuildArgs, Language};
use crate::console::Console;
use crate::error::CliError;

use super::super::Session;
use tools::Tools;

/// The start of every WebAssembly binary.
const MAGIC: &[u8] = b"\0asm";

pub(super) fn build(args: &BuildArgs, session: Session<'_, '_>) -> Result<(), CliError> {
    let Session {
        format, console, ..
    } = session;
    let dir = &args.dir;
    let (spec, component) = described(dir, console)?;
    let language = language(dir)?;
    let folder = tempfile::tempdir()?;
    // Beside the old module until it is whole.
    let made = folder.path().join("function.wasm");
    let mut tools = Tools::new(dir, console)?;
    match language {
        Language::Rust => rust::build(&mut tools, &made)?,
        Language::Javascript => javascript::build(&mut tools, &made)?,
        Language::Python => python::build(&mut tools, &made, &spec)?,
        Language::C => c::build(&mut tools, &made)?,
    }
    let bytes = fs::read(&made).map_err(|source| CliError::Read { path: made, source })?;
    if !bytes.starts_with(MAGIC) {
        return Err(CliError::NoModule("what was built is no WebAssembly"));
    }
    let folder = component.parent().map_or(Ok(()), fs::create_dir_all);
    let written = folder.and_then(|()| fs::write(&component, &bytes));
    written.map_err(|source| CliError::Save {
        path: component.clone(),
        source,
    })?;
    let answer = json!({ "name": spec.name, "component": component.to_string_lossy(), "bytes": bytes.len() });
    if console.structured(format, &answer)? {
        return Ok(());
    }
    console.line(&format!("{}: {} bytes", component.display(), bytes.len()))
}

/// The function that the folder's `function.yaml` describes, and where its module belongs.
fn described(dir: &Path, console: &Console<'_>) -> Result<(FunctionSpec, PathBuf), CliError> {
    let path = dir.join("function.yaml");
    let text = fs::read_to_string(&path).map_err(|source| CliError::Read {
        path: path.clone(),
        source,
    })?;
    let name = path.to_string_lossy().into_owned();
    let documents = parse(&[SourceFile { name, text }], console.variables)
        .into_result()
        .map_err(CliError::Problems)?;
    let found = documents.iter().find_map(|document| match &document.spec {
        Spec::Function(spec) => Some((spec.clone(), document.attachment()?.key.into())),
        _ => None,
    });
    found.ok_or(CliError::NoFunction(path))
}

/// What the files of a folder are written in.
fn language(dir: &Path) -> Result<Language, CliError> {
    if dir.join("Cargo.toml").is_file() {
        Ok(Language::Rust)
    } else if dir.join("package.json").is_file() {
        Ok(Language::Javascript)
    } else if python::module(dir)?.is_some() {
        Ok(Language::Python)
    } else if !files_ending(dir, "c")?.is_empty() {
        Ok(Language::C)
    } else {
        Err(CliError::NoLanguage(dir.to_owned()))
    }
}

/// The names of files with an ending, sorted.
fn files_ending(dir: &Path, ending: &str) -> Result<Vec<String>, CliError> {
    let read = |source| CliError::Read {
        path: dir.to_owned(),
        source,
    };
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(read)? {
        let path = entry.map_err(read)?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        if let Some(name) = name
            && path.extension().is_some_and(|found| found == ending)
        {
            names.push(name.to_owned());
        }
    }
    names.sort();
    Ok(names)
}
