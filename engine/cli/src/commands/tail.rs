//! `tail`: stored messages as they come.

use serde_json::{Map, Value};

use crate::args::{Format, TailArgs};
use crate::error::CliError;
use crate::table::{field, one_line};
use crate::yaml::to_yaml;

use super::Session;

pub(super) async fn tail(args: &TailArgs, session: Session<'_, '_>) -> Result<(), CliError> {
    let mut query = vec![("follow", (!args.no_follow).to_string())];
    query.extend(args.from_seq.map(|seq| ("from_seq", seq.to_string())));
    // Without a limit the API ends after 100 messages when it does not follow.
    let all = args.no_follow.then_some(u64::from(u32::MAX));
    query.extend(args.limit.or(all).map(|limit| ("limit", limit.to_string())));
    query.extend((!args.raw).then(|| ("decode", "json".to_owned())));
    query.extend(args.read_as.as_ref().map(|name| ("as", name.clone())));
    let path = ["stations", &args.station, "messages"];
    let Session {
        client,
        format,
        console,
    } = session;
    let mut lines = client.lines(&path, &query).await?;
    let mut left = args.limit.unwrap_or(u64::MAX);
    while left > 0 {
        let Some(message) = lines.next().await? else {
            break;
        };
        match format {
            Format::Json => console.line(&message.to_string())?,
            Format::Yaml => console.text(&format!("---\n{}", to_yaml(&message)))?,
            Format::Table => console.line(&in_words(&message))?,
        }
        // Each message is seen at once, also in a pipe.
        console.out.flush()?;
        left -= 1;
    }
    Ok(())
}

/// `sequence  time  subject  [headers]  payload`.
fn in_words(message: &Value) -> String {
    let empty = Map::new();
    let fields = message.as_object().unwrap_or(&empty);
    let mut parts: Vec<String> = ["seq", "time", "subject"]
        .map(|name| field(fields, name))
        .into();
    if let Some(headers) = fields.get("headers").filter(|headers| has_entries(headers)) {
        parts.push(headers.to_string());
    }
    parts.push(
        match (fields.get("payload"), fields.get("payload_base64")) {
            (Some(Value::String(text)), _) => one_line(text),
            (Some(value), _) => value.to_string(),
            (None, Some(_)) => format!("(base64) {}", field(fields, "payload_base64")),
            (None, None) => String::new(),
        },
    );
    parts.join("  ").trim_end().to_owned()
}

fn has_entries(headers: &Value) -> bool {
    match headers {
        Value::Object(map) => !map.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => false,
    }
}
