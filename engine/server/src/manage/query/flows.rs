//! Statements about flows: they are carried out as `apply` and `delete` do.

use bytes::Bytes;
use millstream_admin::{ApplyRequest, Failure, FailureCode, FileText, QueryRequest, Reply};
use millstream_cluster::Kind;
use millstream_spec::{FlowSpec, Spec};
use millstream_sql::continuous::{Declared, declared};
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;

use super::Manager;

/// What `SHOW FLOWS` asks.
const FLOWS: &str = "SELECT name, \"from\", \"to\", state, reason, watermark, lag_messages, lag_seconds, inputs, outputs, \
     late, rejected, state_rows, state_bytes FROM system.flows ORDER BY name";

/// What `SHOW FUNCTIONS` asks: those that statements may call.
const FUNCTIONS: &str = "SELECT sql AS function, name, version FROM system.functions WHERE sql IS NOT NULL ORDER BY name";

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
    /// `SHOW FLOWS` or `SHOW FUNCTIONS`, and what it asks.
    Show(&'static str),
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
            ("SHOW", "FLOWS") => Some(Self::Show(FLOWS)),
            ("SHOW", "FUNCTIONS") => Some(Self::Show(FUNCTIONS)),
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
            Statement::Create | Statement::Show(_) => self.create_flow(&request.sql).await,
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
        let request = ApplyRequest {
            files: declared.iter().map(|flow| file(flow).0).collect(),
            ..ApplyRequest::default()
        };
        let applied = self.apply(request).await;
        let applied = applied.map_err(|failure| placed(failure, &declared))?;
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

/// A statement's flow as a station file, one that is JSON: each field has a line of its own, and the statement the last. Also
/// the names of the fields, by line.
fn file(flow: &Declared) -> (FileText, Vec<String>) {
    let spec = Spec::Flow(FlowSpec::of_query(&flow.name, flow.spec.clone()));
    let mut fields = match json!(spec) {
        Value::Object(fields) => fields,
        _ => Map::new(),
    };
    if let Some(Value::Object(query)) = fields.remove("query") {
        fields.remove("stages");
        fields.extend(query);
    }
    let sql = fields.remove("sql").map(|sql| ("sql".to_owned(), sql));
    let fields: Vec<(String, Value)> = fields.into_iter().chain(sql).collect();
    let lines = fields
        .iter()
        .map(|(name, value)| format!("{}:{value}", json!(name)));
    let text = format!("{{\n{}}}\n", lines.collect::<Vec<_>>().join(",\n"));
    let name = file_name(flow);
    let names = fields.into_iter().map(|(name, _)| name);
    (FileText { name, text }, names.collect())
}

fn file_name(flow: &Declared) -> String {
    format!("flow {}", flow.name)
}

/// The same with places in the statements, not in the files that were made of them.
fn placed(mut failure: Failure, declared: &[Declared]) -> Failure {
    let problems = failure.details.as_mut();
    let problems = problems.and_then(|details| details.get_mut("problems")?.as_array_mut());
    for problem in problems.into_iter().flatten() {
        let own = |flow: &&Declared| problem["file"] == file_name(flow).as_str();
        let Some(flow) = declared.iter().find(own) else {
            continue;
        };
        let number = |name: &str| {
            let number = problem[name].as_u64().unwrap_or(0);
            u32::try_from(number).unwrap_or(0)
        };
        let (line, column) = statement_place(flow, number("line"), number("column"));
        problem["line"] = line.into();
        problem["column"] = column.into();
    }
    failure
}

/// Where a place of a flow's file is in the statement.
fn statement_place(flow: &Declared, line: u32, column: u32) -> (u32, u32) {
    let (_, names) = file(flow);
    let start = flow.places.get("name").copied().unwrap_or((1, 1));
    // The first field stands below the brace.
    let at = usize::try_from(line).unwrap_or(0).saturating_sub(2);
    let first = u32::try_from(names.len()).unwrap_or(0) + 1;
    if line < first {
        let name = names.get(at).map_or("name", String::as_str);
        return flow.places.get(name).copied().unwrap_or(start);
    }
    let (sql_line, sql_column) = flow.places.get("sql").copied().unwrap_or(start);
    if line > first {
        return (sql_line + line - first, column);
    }
    // Behind `"sql":"`.
    let before = u32::try_from("\"sql\":\"".len()).unwrap_or(0);
    let within = column.saturating_sub(before).max(1);
    (sql_line, sql_column + within - 1)
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

    use millstream_sql::continuous::{Declared, declared};

    use super::{Statement, file, statement_place};

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
        assert_eq!(of("show flows;"), Some(Statement::Show(super::FLOWS)));
        assert_eq!(
            of("SHOW functions"),
            Some(Statement::Show(super::FUNCTIONS))
        );
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
        let declared = Declared {
            name: "f".to_owned(),
            spec: query.clone(),
            places: BTreeMap::new(),
        };
        let (made, _) = file(&declared);
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

    #[test]
    fn places_of_a_flows_file_are_those_of_its_statement() {
        let text = "CREATE TABLE t (a BIGINT);\nCREATE FLOW f INTO out\n  SUBJECT 'out.{a}' AS SELECT a,\n   nothing FROM t";
        let flow = declared(text).expect("declared").remove(0);
        let (made, names) = file(&flow);
        let line = |name: &str| {
            let at = names.iter().position(|own| own == name).expect(name);
            u32::try_from(at).expect("few") + 2
        };
        let files = [SourceFile {
            name: made.name,
            text: made.text,
        }];
        let document = &parse(&files, &|_| None).documents[0];
        let place = |at: &millstream_spec::At| statement_place(&flow, at.line, at.column);
        assert_eq!(place(&document.at("name")), (2, 13));
        assert_eq!(place(&document.at("into")), (2, 20));
        assert_eq!(place(&document.at("subject")), (3, 11));
        assert_eq!(statement_place(&flow, line("sources"), 9), (1, 14));
        assert_eq!(place(&document.at("sql")), (3, 24));
        assert_eq!(place(&document.text_at("sql", 1, 8)), (3, 31));
        assert_eq!(place(&document.text_at("sql", 2, 4)), (4, 4));
    }
}
