//! `flow`: list, describe, delete, pause, resume, restart, rerun, cancel.

mod shown;

use millstream_spec::Kind;
use serde_json::{Value, json};

use crate::args::FlowCommand;
use crate::error::CliError;

use super::{Session, things};

pub(super) async fn flow(command: &FlowCommand, session: Session<'_, '_>) -> Result<(), CliError> {
    let (name, action, done, body) = match command {
        FlowCommand::List => return shown::list(session).await,
        FlowCommand::Describe { name } => return shown::describe(name, session).await,
        FlowCommand::Delete { name } => return things::delete(Kind::Flow, name, session).await,
        FlowCommand::Pause { name } => (name, "pause", "paused", json!({})),
        FlowCommand::Resume { name } => (name, "resume", "resumed", json!({})),
        FlowCommand::Restart {
            name,
            from_seq,
            from_time,
            from_end,
            from_beginning: _,
        } => {
            let body =
                json!({ "from_seq": from_seq, "from_time": from_time, "from_end": from_end });
            (name, "restart", "restarted", body)
        }
        FlowCommand::Rerun {
            name,
            from_seq,
            to_seq,
            to,
        } => {
            let body = json!({ "from_seq": from_seq, "to_seq": to_seq, "to": to });
            (name, "rerun", "reading once more by", body)
        }
        FlowCommand::Cancel { name } => (name, "cancel", "gave up what was built of", json!({})),
    };
    let answer: Value = session.client.post(&["flows", name, action], &body).await?;
    if session.console.structured(session.format, &answer)? {
        return Ok(());
    }
    session.console.line(&format!("{done} flow `{name}`"))
}
