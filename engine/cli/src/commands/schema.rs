//! `schema`: the registry through its REST interface, and what the server finds out about schemas.

mod check;
mod infer;
mod read;

use reqwest::Method;
use serde_json::{Map, Value, json};

use crate::args::{RegisterArgs, SchemaCommand, SchemaFile, SchemaFormat};
use crate::client::Client;
use crate::error::CliError;

use super::Session;

/// Levels that `compat` takes.
const LEVELS: [&str; 7] = [
    "NONE",
    "BACKWARD",
    "BACKWARD_TRANSITIVE",
    "FORWARD",
    "FORWARD_TRANSITIVE",
    "FULL",
    "FULL_TRANSITIVE",
];

pub(super) async fn schema(
    command: &SchemaCommand,
    session: Session<'_, '_>,
) -> Result<(), CliError> {
    match command {
        SchemaCommand::Register(args) if args.dry_run => check::dry_run(args, session).await,
        SchemaCommand::Register(args) => register(args, session).await,
        SchemaCommand::Get { id: Some(id), .. } => read::by_id(*id, session).await,
        SchemaCommand::Get { subject, .. } => {
            read::version(subject.as_deref().unwrap_or_default(), session).await
        }
        SchemaCommand::List => read::list(session).await,
        SchemaCommand::Versions { subject } => read::versions(subject, session).await,
        SchemaCommand::Diff { old, new, format } => read::diff(old, new, *format, session).await,
        SchemaCommand::Check(args) => check::check(args, session).await,
        SchemaCommand::Infer(args) => infer::infer(args, session).await,
        SchemaCommand::Delete { subject, permanent } => delete(subject, *permanent, session).await,
        SchemaCommand::Compat { subject, level } => {
            compat(subject.as_deref(), level.as_deref(), session).await
        }
    }
}

/// `flight`, `flight:3` or `flight:latest`.
fn named(text: &str) -> Result<(&str, Option<u32>), CliError> {
    let wrong = || CliError::Version(text.to_owned());
    match text.rsplit_once(':') {
        // A context's colon: `:.eu:flight`.
        None | Some(("" | ":", _)) => Ok((text, None)),
        Some((subject, "latest")) => Ok((subject, None)),
        Some((subject, number)) => match number.parse::<u32>() {
            Ok(number) if number > 0 => Ok((subject, Some(number))),
            _ if subject.starts_with(":.") && !subject[2..].contains(':') => Ok((text, None)),
            _ => Err(wrong()),
        },
    }
}

/// A file's text and its language.
fn read_file(
    file: &SchemaFile,
    session: &mut Session<'_, '_>,
) -> Result<(String, SchemaFormat), CliError> {
    let path = &file.file;
    let format = file.format.or_else(|| SchemaFormat::of_ending(path));
    let format = format.ok_or_else(|| CliError::Language(path.clone()))?;
    let mut text = String::new();
    let read = if path.as_os_str() == "-" {
        session.console.input.read_to_string(&mut text).map(drop)
    } else {
        std::fs::read_to_string(path).map(|read| text = read)
    };
    read.map_err(|source| CliError::Read {
        path: path.clone(),
        source,
    })?;
    Ok((text, format))
}

fn references(file: &SchemaFile) -> Value {
    let each = file.references.iter();
    each.map(
        |(name, subject, version)| json!({ "name": name, "subject": subject, "version": version }),
    )
    .collect()
}

/// What a registration led to.
struct Registered {
    id: u64,
    version: u64,
    is_new: bool,
}

async fn put(
    client: &Client,
    subject: &str,
    body: &Value,
    normalize: bool,
) -> Result<Registered, CliError> {
    let number = |value: &Value, name: &str| value.get(name).and_then(Value::as_u64);
    let path = ["subjects", subject, "versions"];
    let deleted = [("deleted", "true".to_owned())];
    let before = client.registry(Method::GET, &path, &deleted, None).await;
    let before: Vec<u64> = match before {
        Ok(Value::Array(versions)) => versions.iter().filter_map(Value::as_u64).collect(),
        Ok(_) | Err(CliError::Server { status: 404, .. }) => Vec::new(),
        Err(error) => return Err(error),
    };
    let query = [("normalize", normalize.to_string())];
    let answer = client
        .registry(Method::POST, &path, &query, Some(body))
        .await
        .map_err(shortened)?;
    let answer = match number(&answer, "version") {
        Some(_) => answer,
        None => {
            let path = ["subjects", subject];
            client
                .registry(Method::POST, &path, &query, Some(body))
                .await?
        }
    };
    let version = number(&answer, "version").unwrap_or_default();
    Ok(Registered {
        id: number(&answer, "id").unwrap_or_default(),
        version,
        is_new: !before.contains(&version),
    })
}

/// A refusal without the text of the older version, which the registry puts into its sentence.
fn shortened(error: CliError) -> CliError {
    match error {
        CliError::Server {
            status: 409,
            error,
            hint,
            body,
        } => {
            let cut = error
                .split_once(", {oldSchema: '")
                .and_then(|(before, rest)| Some((before, rest.rsplit_once("'}, ")?.1)))
                .map(|(before, after)| format!("{before}, {after}"));
            CliError::Server {
                status: 409,
                error: cut.unwrap_or(error),
                hint,
                body,
            }
        }
        other => other,
    }
}

/// Shows what a registration led to.
fn told(subject: &str, done: &Registered) -> String {
    let Registered { id, version, .. } = done;
    if done.is_new {
        format!("registered `{subject}` version {version}, id {id}")
    } else {
        format!("`{subject}` has it already as version {version}, id {id}")
    }
}

async fn register(args: &RegisterArgs, mut session: Session<'_, '_>) -> Result<(), CliError> {
    let (text, format) = read_file(&args.schema, &mut session)?;
    if let Some(level) = &args.compatibility {
        set_level(&session.client, Some(&args.subject), level).await?;
    }
    let body = json!({
        "schema": text,
        "schemaType": format.as_str().to_uppercase(),
        "references": references(&args.schema),
    });
    let done = put(&session.client, &args.subject, &body, args.normalize).await?;
    let answer = json!({ "subject": args.subject, "version": done.version, "id": done.id, "new": done.is_new });
    if session.console.structured(session.format, &answer)? {
        return Ok(());
    }
    session.console.line(&told(&args.subject, &done))
}

async fn delete(text: &str, permanent: bool, session: Session<'_, '_>) -> Result<(), CliError> {
    let (subject, version) = named(text)?;
    let number = version.map(|version| version.to_string());
    let mut path = vec!["subjects", subject];
    path.extend(
        number
            .as_deref()
            .map(|number| ["versions", number])
            .into_iter()
            .flatten(),
    );
    let client = &session.client;
    let first = client.registry(Method::DELETE, &path, &[], None).await;
    let answer = match first {
        // Deleted before, and now for good.
        Err(CliError::Server { body, .. })
            if permanent && matches!(body["error_code"].as_u64(), Some(40404 | 40406)) =>
        {
            Ok(Value::Null)
        }
        other => other,
    }?;
    let answer = if permanent {
        let query = [("permanent", "true".to_owned())];
        client.registry(Method::DELETE, &path, &query, None).await?
    } else {
        answer
    };
    let answer =
        json!({ "deleted": { "subject": subject, "versions": answer, "permanent": permanent } });
    if session.console.structured(session.format, &answer)? {
        return Ok(());
    }
    let what = match version {
        Some(version) => format!("`{subject}` version {version}"),
        None => format!("`{subject}`"),
    };
    session.console.line(&if permanent {
        format!("deleted {what} for good")
    } else {
        format!("deleted {what}; `--permanent` deletes it for good")
    })
}

async fn set_level(client: &Client, subject: Option<&str>, level: &str) -> Result<Value, CliError> {
    let level = level.to_uppercase();
    if !LEVELS.contains(&level.as_str()) {
        return Err(CliError::Level(level));
    }
    let path: Vec<&str> = ["config"].into_iter().chain(subject).collect();
    let body = json!({ "compatibility": level });
    client.registry(Method::PUT, &path, &[], Some(&body)).await
}

async fn compat(
    subject: Option<&str>,
    level: Option<&str>,
    session: Session<'_, '_>,
) -> Result<(), CliError> {
    let is_level = |word: &str| LEVELS.contains(&word.to_uppercase().as_str());
    let (subject, level) = match (subject, level) {
        (Some(word), None) if is_level(word) => (None, Some(word)),
        given => given,
    };
    if let Some(level) = level {
        set_level(&session.client, subject, level).await?;
    }
    let path: Vec<&str> = ["config"].into_iter().chain(subject).collect();
    let query = [("defaultToGlobal", "true".to_owned())];
    let answer = session
        .client
        .registry(Method::GET, &path, &query, None)
        .await?;
    if session.console.structured(session.format, &answer)? {
        return Ok(());
    }
    let empty = Map::new();
    let fields = answer.as_object().unwrap_or(&empty);
    let level = crate::table::field(fields, "compatibilityLevel");
    session.console.line(&match subject {
        Some(subject) => format!("`{subject}`: {level}"),
        None => format!("all subjects without a level of their own: {level}"),
    })
}
