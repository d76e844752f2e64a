//! Station files and everything they refer to, as requests carry them.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use millstream_spec::{
    Document, Kind, Parsed, Problem, SourceFile, attachments, parse, variable_names,
};
use serde_json::{Value, json};

use crate::console::Console;
use crate::error::CliError;

/// Largest attachment: the server takes 128 MiB in one request, in base64.
const MAX_ATTACHMENT: u64 = 64 << 20;

/// Station files, without problems, and what they refer to.
#[derive(Clone, Debug)]
pub struct Bundle {
    /// The files.
    pub files: Vec<SourceFile>,
    /// What they describe.
    pub documents: Vec<Document>,
    /// The files that these need, by their keys ([`millstream_spec::Attachment`]).
    pub attachments: BTreeMap<String, Vec<u8>>,
    /// What each `${NAME}` in them stands for.
    pub variables: BTreeMap<String, String>,
}

impl Bundle {
    /// Reads station files, `-` from the console, and what they refer to.
    ///
    /// # Errors
    /// A file cannot be read, or all problems that show without a server.
    pub fn read(files: &[PathBuf], console: &mut Console<'_>) -> Result<Self, CliError> {
        let files = read_files(files, console)?;
        let parsed = parse(&files, console.variables);
        let (attachments, problems) = read_attachments(&parsed);
        let problems: Vec<Problem> = parsed.problems.into_iter().chain(problems).collect();
        if !problems.is_empty() {
            return Err(CliError::Problems(problems));
        }
        let variables = variable_names(&files)
            .into_iter()
            .filter_map(|name| Some((name.clone(), (console.variables)(&name)?)))
            .collect();
        Ok(Self {
            files,
            documents: parsed.documents,
            attachments,
            variables,
        })
    }

    /// The fields of a request; attachments are in base64.
    pub(crate) fn to_json(&self) -> Value {
        let encoded = self.attachments.iter();
        let encoded: BTreeMap<&str, String> = encoded
            .map(|(key, bytes)| (key.as_str(), STANDARD.encode(bytes)))
            .collect();
        json!({
            "files": self.files,
            "attachments": encoded,
            "variables": self.variables,
        })
    }
}

fn read_files(paths: &[PathBuf], console: &mut Console<'_>) -> Result<Vec<SourceFile>, CliError> {
    let mut files = Vec::new();
    for path in paths {
        let name = path.to_string_lossy().into_owned();
        let text = if name == "-" {
            let mut text = String::new();
            console.input.read_to_string(&mut text).map(|_| text)
        } else {
            fs::read_to_string(path)
        };
        let text = text.map_err(|source| CliError::Read {
            path: path.clone(),
            source,
        })?;
        files.push(SourceFile { name, text });
    }
    Ok(files)
}

/// The files the station files refer to; a missing one is a problem where it is named.
fn read_attachments(parsed: &Parsed) -> (BTreeMap<String, Vec<u8>>, Vec<Problem>) {
    let mut found = BTreeMap::new();
    let mut problems = Vec::new();
    for attachment in attachments(&parsed.documents) {
        if found.contains_key(&attachment.key) {
            continue;
        }
        match read_attachment(Path::new(&attachment.key)) {
            Ok(bytes) => {
                found.insert(attachment.key, bytes);
            }
            Err(error) => {
                let message = format!("cannot read `{}`: {error}", attachment.key);
                let problem = attachment.at.problem(message);
                let relative = "paths are relative to the station file's folder";
                let hint = match attachment.kind {
                    Kind::Function if !attachment.key.ends_with(".yaml") => {
                        format!("`millstream function build` makes it; {relative}")
                    }
                    _ => relative.to_owned(),
                };
                problems.push(problem.with_hint(hint));
            }
        }
    }
    (found, problems)
}

fn read_attachment(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path)?
        .take(MAX_ATTACHMENT + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_ATTACHMENT {
        let message = format!("it is larger than {MAX_ATTACHMENT} bytes");
        return Err(std::io::Error::new(
            std::io::ErrorKind::FileTooLarge,
            message,
        ));
    }
    Ok(bytes)
}
