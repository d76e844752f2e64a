//! `publish`: one message, or each line of a file, in order.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::args::PublishArgs;
use crate::client::Client;
use crate::error::CliError;
use crate::table::field;

use super::Session;

/// Refused lines shown one by one; the rest is counted.
const MAX_SHOWN: u64 = 10;
/// Lines between two updates of the progress.
const STEP: u64 = 100;

pub(super) async fn publish(args: &PublishArgs, session: Session<'_, '_>) -> Result<(), CliError> {
    if let Some(path) = &args.file {
        return lines(args, path, session).await;
    }
    let payload = match args.payload.as_deref() {
        Some(text) if text != "-" => text.as_bytes().to_vec(),
        _ => {
            let mut bytes = Vec::new();
            session.console.input.read_to_end(&mut bytes)?;
            bytes
        }
    };
    let answer = one(&session.client, args, &payload).await?;
    if session.console.structured(session.format, &answer)? {
        return Ok(());
    }
    session.console.line(&outcome(&answer))
}

/// What became of a message, in words.
fn outcome(answer: &Value) -> String {
    let empty = Map::new();
    let fields = answer.as_object().unwrap_or(&empty);
    let (stream, seq) = (field(fields, "stream"), field(fields, "seq"));
    if is_dropped(answer) {
        return "not stored: a stage of the station left it out".to_owned();
    }
    let duplicate = fields.get("duplicate").and_then(Value::as_bool) == Some(true);
    let already = if duplicate {
        " already (a duplicate)"
    } else {
        ""
    };
    format!("stored{already} in `{stream}`, sequence {seq}")
}

fn summary(stored: u64, dropped: u64) -> String {
    match dropped {
        0 => format!("stored {stored} messages"),
        some => format!("stored {stored} messages, {some} left out by a stage"),
    }
}

fn is_dropped(answer: &Value) -> bool {
    answer.get("dropped").and_then(Value::as_bool) == Some(true)
}

async fn one(client: &Client, args: &PublishArgs, payload: &[u8]) -> Result<Value, CliError> {
    let headers: Map<String, Value> = args
        .headers
        .iter()
        .map(|(name, value)| (name.clone(), value.as_str().into()))
        .collect();
    let mut body = json!({ "subject": args.subject, "headers": headers });
    match std::str::from_utf8(payload) {
        Ok(text) => body["payload"] = text.into(),
        Err(_) => body["payload_base64"] = STANDARD.encode(payload).into(),
    }
    client.post(&["publish"], &body).await
}

/// One request a line: the next is sent when the one before is stored, so the order stays.
async fn lines(args: &PublishArgs, path: &Path, session: Session<'_, '_>) -> Result<(), CliError> {
    let Session {
        client,
        format,
        console,
    } = session;
    let wrong = |source| CliError::Read {
        path: path.to_owned(),
        source,
    };
    let mut file = BufReader::new(File::open(path).map_err(wrong)?);
    let mut line = Vec::new();
    let (mut number, mut all, mut dropped, mut refused) = (0_u64, 0_u64, 0_u64, 0_u64);
    loop {
        line.clear();
        if file.read_until(b'\n', &mut line).map_err(wrong)? == 0 {
            break;
        }
        number += 1;
        let payload = line.strip_suffix(b"\n").unwrap_or(&line);
        let payload = payload.strip_suffix(b"\r").unwrap_or(payload);
        if payload.is_empty() {
            continue;
        }
        all += 1;
        match one(&client, args, payload).await {
            Ok(answer) => dropped += u64::from(is_dropped(&answer)),
            Err(CliError::Server {
                status: 400..=499,
                error,
                ..
            }) => {
                refused += 1;
                if refused <= MAX_SHOWN {
                    console.progress_done()?;
                    writeln!(console.err, "{}:{number}: {error}", path.display())?;
                }
            }
            Err(error) => {
                console.progress_done()?;
                writeln!(
                    console.err,
                    "{}:{number}: stopped here; {} lines were published",
                    path.display(),
                    all - 1 - refused
                )?;
                return Err(error);
            }
        }
        if all.is_multiple_of(STEP) {
            console.progress(&format!("{all} lines, {refused} refused"))?;
        }
    }
    console.progress_done()?;
    if !console.structured(
        format,
        &json!({ "published": all - refused, "dropped": dropped, "refused": refused }),
    )? {
        console.line(&summary(all - refused - dropped, dropped))?;
    }
    if refused > 0 {
        Err(CliError::Some { refused, all })
    } else {
        Ok(())
    }
}
