//! `function init`: a folder that builds.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::args::{InitArgs, Language, World};
use crate::error::CliError;
use crate::templates::{files, word_of};

use super::super::Session;

/// Longest name, in bytes.
const MAX_NAME: usize = 64;

pub(super) fn init(args: &InitArgs, session: Session<'_, '_>) -> Result<(), CliError> {
    let name = args.name.as_str();
    check(name)?;
    if args.language == Language::C && args.world != World::Pure {
        return Err(CliError::World(word_of(args.world).to_owned()));
    }
    let dir = args.dir.clone().unwrap_or_else(|| PathBuf::from(name));
    if !is_free(&dir)? {
        return Err(CliError::NotEmpty(dir));
    }
    let files = files(name, args.language, args.world);
    for (path, text) in &files {
        write(&dir.join(path), text)?;
    }
    let console = session.console;
    let paths: Vec<&str> = files.keys().copied().collect();
    let answer = json!({ "name": name, "dir": dir.to_string_lossy(), "files": paths });
    if console.structured(session.format, &answer)? {
        return Ok(());
    }
    console.line(&format!("`{}`: {}", dir.display(), paths.join(", ")))?;
    console.line("\nnext:")?;
    for command in [
        format!("cd {}", dir.display()),
        "millstream function build".to_owned(),
        "millstream function test".to_owned(),
        "millstream function deploy".to_owned(),
    ] {
        console.line(&format!("  {command}"))?;
    }
    Ok(())
}

/// The name becomes that of a package of the language, too.
fn check(name: &str) -> Result<(), CliError> {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let starts = name.starts_with(|c: char| c.is_ascii_alphabetic());
    if starts && name.len() <= MAX_NAME && name.bytes().all(fine) {
        Ok(())
    } else {
        Err(CliError::FunctionName(name.to_owned()))
    }
}

/// Whether a folder does not exist or has nothing in it.
fn is_free(dir: &Path) -> Result<bool, CliError> {
    match fs::read_dir(dir) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(true),
        Err(source) => Err(CliError::Read {
            path: dir.to_owned(),
            source,
        }),
    }
}

fn write(path: &Path, text: &str) -> Result<(), CliError> {
    let folder = path.parent().map_or(Ok(()), fs::create_dir_all);
    folder
        .and_then(|()| fs::write(path, text))
        .map_err(|source| CliError::Save {
            path: path.to_owned(),
            source,
        })
}
