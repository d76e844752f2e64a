//! Statements about flows: they are carried out as `apply` and `delete` do.

use bytes::Bytes;
use millstream_admin::{ApplyRequest, Failure, FailureCode, FileText, QueryRequest, Reply};
use millstream_cluster::Kind;
use millstream_spec::{FlowSpec, Spec};
use millstream_sql::continuous::declared;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::Manager;

/// What `SHOW FLOWS` asks.
pub(super) const SHOW: &str = "SELECT name, \"from\", \"to\", state, reason, watermark, lag_messages, lag_seconds, inputs, outputs, \
     late, rejected, state_rows, state_bytes FROM system.flows ORDER BY name";

/// A statement that is no question.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Statement {
    /// `CREATE FLOW …`, with `CREATE TABLE …` before it.
    Create,
    /// `DROP FLOW [IF EXISTS] name`.
    Drop {
        name: Option<String>,
        /// Whether there need not be one.
        lenient: bool,
    },
    /// `SHOW FLOWS`.
    Show,
}

impl Statement {
    /// `None` for questions.
    pub(super) fn of(text: &str) -> Option<Self> {
        let code = text
            .lines()
            .map(|line| match line.trim_start().starts_with("--") {
                true => "",
                false => line,
            });
        let code = code.collect::<Vec<_>>().join(" ");
        let mut words = code.trim().trim_end_matches(';').split_whitespace();
        let mut word = || words.next().unwrap_or_default().to_ascii_uppercase();
        match (word().as_str(), word().as_str()) {
            // Tables are declared in front of the flows that read them.
            ("CREATE", "FLOW" | "TABLE" | "STREAM" | "SOURCE") => Some(Self::Create),
            ("CREATE", "OR") => (word() == "REPLACE" && word() == "FLOW").then_some(Self::Create),
            ("SHOW", "FLOWS") => Some(Self::Show),
            ("DROP", "FLOW") => {
                let rest: Vec<&str> = words.collect();
                let if_exists = |words: &[&str]| {
                    words[0].eq_ignore_ascii_case("if") && words[1].eq_ignore_ascii_case("exists")
                };
                let (lenient, name) = match rest.as_slice() {
                    [words @ .., name] if words.len() == 2 && if_exists(words) => {
                        (true, Some(name))
                    }
                    [name] => (false, Some(name)),
                    _ => (false, None),
                };
                let name = name.map(|name| name.trim_matches(['"', '`']).to_owned());
                Some(Self::Drop { name, lenient })
            }
            _ => None,
        }
    }
}

impl Manager {
    pub(super) async fn flow_statement(
        &self,
        statement: Statement,
        request: &QueryRequest,
    ) -> Result<Reply, Failure> {
        if request.reads_only {
            return Err(Failure::new(
                FailureCode::BadRequest,
                "this is asked where nothing is changed",
                "send flows to `$MS.API.APPLY` and `$MS.API.DELETE`, or the statement over HTTP",
            ));
        }
        match statement {
            Statement::Drop { name, lenient } => self.drop_flow(name, lenient).await,
            Statement::Create | Statement::Show => self.create_flow(&request.sql).await,
        }
    }

    async fn drop_flow(&self, name: Option<String>, lenient: bool) -> Result<Reply, Failure> {
        let name = name.ok_or_else(|| {
            let error = "`DROP FLOW` wants one name";
            Failure::new(FailureCode::BadRequest, error, "write `DROP FLOW name`")
        })?;
        let there = self.node.catalog().flows.contains_key(&name);
        if lenient && !there {
            return answer(vec![(name, "not there".to_owned())]).await;
        }
        self.delete(Kind::Flow, &name).await?;
        answer(vec![(name, "deleted".to_owned())]).await
    }

    async fn create_flow(&self, text: &str) -> Result<Reply, Failure> {
        let declared = declared(text).map_err(|wrong| {
            let place = format!(
                "line {}, column {}: {}",
                wrong.line, wrong.column, wrong.message
            );
            let hint = wrong
                .hint
                .unwrap_or_else(|| "mend the statement".to_owned());
            let details = json!({ "line": wrong.line, "column": wrong.column });
            Failure::new(FailureCode::BadRequest, place, hint).with_details(details)
        })?;
        let files = declared.into_iter().map(|(name, query)| file(name, query));
        let request = ApplyRequest {
            files: files.collect(),
            ..ApplyRequest::default()
        };
        let applied = self.apply(request).await?;
        let changes = applied["changes"].as_array().cloned().unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let changes = changes.iter();
        answer(
            changes
                .map(|change| (text(&change["name"]), text(&change["action"])))
                .collect(),
        )
        .await
    }
}

/// A statement's flow as a station file: one that is JSON.
fn file(name: String, query: millstream_spec::QuerySpec) -> FileText {
    let spec = Spec::Flow(FlowSpec::of_query(&name, query));
    let mut value = json!(spec);
    if let Some(fields) = value.as_object_mut()
        && let Some(Value::Object(query)) = fields.remove("query")
    {
        fields.remove("stages");
        fields.extend(query);
    }
    FileText {
        name: format!("flow {name}"),
        text: value.to_string(),
    }
}

/// What was done, as rows.
async fn answer(done: Vec<(String, String)>) -> Result<Reply, Failure> {
    let columns = json!({ "columns": [
        { "name": "flow", "type": "text" }, { "name": "action", "type": "text" }] });
    let rows = done.iter();
    let rows = rows.map(|(flow, action)| json!({ "row": { "flow": flow, "action": action } }));
    let end = json!({ "end": { "rows": done.len(), "records": 0 } });
    let lines: Vec<Value> = [columns].into_iter().chain(rows).chain([end]).collect();
    let (sender, receiver) = mpsc::channel(lines.len());
    for line in lines {
        // There is room for all of them.
        let _gone = sender.send(Bytes::from(format!("{line}\n"))).await;
    }
    Ok(Reply::Lines(receiver))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use millstream_spec::{Emit, Late, QuerySource, QuerySpec, Results, SourceFile, Spec, parse};

    use super::{Statement, file};

    #[test]
    fn statements_are_told_from_questions() {
        let of = Statement::of;
        assert_eq!(of("SELECT 1"), None);
        assert_eq!(of("create index x"), None);
        assert_eq!(
            of("create table x (a text); create flow b into c as select a from x"),
            Some(Statement::Create)
        );
        assert_eq!(
            of("-- late ones\n CREATE FLOW a INTO b AS SELECT 1"),
            Some(Statement::Create)
        );
        assert_eq!(of("create or replace flow a"), Some(Statement::Create));
        assert_eq!(of("show flows;"), Some(Statement::Show));
        let dropped = |name: Option<&str>, lenient| {
            let name = name.map(str::to_owned);
            Some(Statement::Drop { name, lenient })
        };
        assert_eq!(of("DROP FLOW late;"), dropped(Some("late"), false));
        assert_eq!(
            of("drop flow if exists \"late\""),
            dropped(Some("late"), true)
        );
        assert_eq!(of("DROP FLOW a, b"), dropped(None, false));
        assert_eq!(of("DROP FLOW"), dropped(None, false));
    }

    #[test]
    fn a_declared_query_reads_back_from_its_file() {
        let source = QuerySource {
            station: Some("KV_x".to_owned()),
            event_time: Some("at".to_owned()),
            watermark: Some(Duration::from_secs(7)),
            idle: Some(Duration::from_secs(60)),
            columns: BTreeMap::from([("a".to_owned(), "text".to_owned())]),
            table: true,
            filter: Some("$KV.x.*".to_owned()),
        };
        let query = QuerySpec {
            sql: "SELECT a, '${X}'\nFROM t: -- {}".to_owned(),
            into: "out".to_owned(),
            subject: Some("out.{a}".to_owned()),
            sources: BTreeMap::from([("t".to_owned(), source)]),
            emit: Some(Emit::Update),
            late: Late::UpdateWithin(Duration::from_secs(90)),
            results: Some(Results::Changelog),
            state_ttl: Some(Duration::from_secs(3600)),
            state_limit: Some(1 << 20),
            memory_limit: Some(1 << 19),
        };
        let made = file("f".to_owned(), query.clone());
        let files = [SourceFile {
            name: made.name,
            text: made.text,
        }];
        let parsed = parse(&files, &|_| None);
        assert_eq!(parsed.problems, []);
        let Spec::Flow(flow) = &parsed.documents[0].spec else {
            panic!("a flow");
        };
        assert_eq!(flow.query.as_ref(), Some(&query));
    }
}
