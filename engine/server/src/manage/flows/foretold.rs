//! What a query would do as a flow, for a dry run: what it reads, makes and keeps, and what comes out of what is stored.

use millstream_admin::Failure;
use millstream_cluster::Catalog;
use millstream_jetstream::PreviewSetup;
#[cfg(feature = "sql")]
use millstream_spec::QuerySpec;
use millstream_spec::{FlowSpec, Results};
use millstream_types::format_duration;
use serde_json::{Value, json};

use super::super::Manager;
use crate::stages::{Modules, QueryCompiled};

impl Manager {
    /// What a flow would do that is a query; `None` of others. `history` runs it from there over what is stored.
    pub(in crate::manage) async fn would(
        &self,
        new: &Catalog,
        spec: &FlowSpec,
        modules: Modules<'_>,
        history: Option<&str>,
    ) -> Result<Option<Value>, Failure> {
        let Some(query) = &spec.query else {
            return Ok(None);
        };
        // What does not compile was told before.
        let Ok(compiled) = self.compiler.query(new, query, modules) else {
            return Ok(None);
        };
        let columns = compiled.columns.iter();
        let columns = columns
            .map(|column| json!({ "name": column.name, "type": column.kind.to_string() }))
            .collect::<Vec<_>>();
        let (sources, reads) = self.reads(spec, &compiled)?;
        #[cfg_attr(
            not(feature = "sql"),
            expect(unused_mut, reason = "only queries have a history")
        )]
        let mut would = json!({
            "begins": self.begins(spec, &compiled),
            "reads": reads,
            "sources": sources,
            "columns": columns,
            "results": results(&compiled),
            "into": query.into,
            "subject": query.subject,
            "late": late(&compiled),
            "state_ttl": query.state_ttl.map(format_duration),
            "state_limit": query.state_limit,
            "plan": compiled.explain,
        });
        #[cfg(feature = "sql")]
        if let Some(from) = history {
            would["history"] = self.history_of(new, query, modules, from).await?;
        }
        #[cfg(not(feature = "sql"))]
        let _no_queries = history;
        Ok(Some(would))
    }

    /// Where it would go on.
    fn begins(&self, spec: &FlowSpec, compiled: &QueryCompiled) -> String {
        let catalog = self.node.catalog().clone();
        let old = catalog.flows.get(&spec.name);
        let Some(old) = old else {
            let start = json!(spec.start);
            return match start.as_str() {
                Some("beginning") => "with the oldest message".to_owned(),
                Some("end") => "with what comes from then on".to_owned(),
                _ => format!("at {start}"),
            };
        };
        let modules = |digest: &str| self.compiler.functions().module(digest);
        let before = old.spec.query.as_ref();
        let before = before.and_then(|query| self.compiler.query(&catalog, query, &modules).ok());
        match before.is_some_and(|before| before.layout == compiled.layout) {
            true => "where it stands, with its state".to_owned(),
            false => "beside what runs, rebuilt from what is stored: its state is of another form"
                .to_owned(),
        }
    }

    /// Its sources, and how many messages there are for it.
    fn reads(
        &self,
        spec: &FlowSpec,
        compiled: &QueryCompiled,
    ) -> Result<(Vec<Value>, u64), Failure> {
        let jetstream = self.jetstream()?;
        let mut all = 0;
        let sources = compiled.sources.iter().map(|source| {
            let setup = PreviewSetup {
                query: std::sync::Arc::clone(&compiled.query),
                sources: vec![source.clone()],
                start: spec.start,
                follow: false,
            };
            // A station that is still to be made has none.
            let messages = jetstream.preview(&setup).map_or(0, |preview| {
                preview
                    .sources()
                    .iter()
                    .map(|source| source.lag_messages)
                    .sum()
            });
            all += messages;
            json!({ "station": source.station, "table": source.is_table, "filter": source.filter,
                "messages": messages })
        });
        let sources = sources.collect();
        Ok((sources, all))
    }

    /// What comes of what is stored, in numbers and samples.
    #[cfg(feature = "sql")]
    async fn history_of(
        &self,
        new: &Catalog,
        query: &QuerySpec,
        modules: Modules<'_>,
        from: &str,
    ) -> Result<Value, Failure> {
        use super::super::query::{Look, start_of};
        use millstream_admin::FailureCode;

        let refused =
            |error: String, hint: &'static str| Failure::new(FailureCode::Refused, error, hint);
        let look = self.previewed(new, query, modules);
        let look = look.map_err(|problem| refused(problem.to_string(), "mend the query"))?;
        let streams = look.compiled.sources.iter();
        let mut streams = streams.map(|source| source.station.as_str());
        if let Some(new) = streams.find(|name| self.node.stream(name).is_none()) {
            return Ok(json!({ "nothing": format!("station `{new}` is still to be made") }));
        }
        let look = Look {
            start: start_of(from)?,
            told: SAMPLES,
            time: LONGEST,
            ..look
        };
        let mut lines = self.look(look)?;
        let mut report = json!({ "samples": [], "late_samples": [], "rejected_samples": [] });
        while let Some(piece) = lines.recv().await {
            for line in piece.split(|byte| *byte == b'\n') {
                let Ok(Value::Object(mut line)) = serde_json::from_slice::<Value>(line) else {
                    continue;
                };
                if line.contains_key("error") {
                    report["error"] = line.remove("error").unwrap_or_default();
                }
                if let Some(Value::Object(end)) = line.remove("end") {
                    for (name, value) in end {
                        report[name] = value;
                    }
                }
                for (name, list) in LISTS {
                    let list = report[list].as_array_mut();
                    if let (Some(sample), Some(list)) = (line.remove(name), list) {
                        list.push(sample);
                    }
                }
            }
        }
        Ok(report)
    }
}

/// Lines of a preview, and where they are shown.
#[cfg(feature = "sql")]
const LISTS: [(&str, &str); 4] = [
    ("row", "samples"),
    ("change", "samples"),
    ("late", "late_samples"),
    ("rejected", "rejected_samples"),
];
/// Results that are shown.
#[cfg(feature = "sql")]
const SAMPLES: u64 = 5;
/// How long a dry run looks at what is stored: whoever wants more previews it.
#[cfg(feature = "sql")]
const LONGEST: std::time::Duration = std::time::Duration::from_secs(60);

fn results(compiled: &QueryCompiled) -> &'static str {
    match compiled.results {
        None => "append",
        Some(Results::Upsert) => "upsert",
        Some(Results::Changelog) => "changelog",
    }
}

fn late(compiled: &QueryCompiled) -> String {
    match (&compiled.late, compiled.grace) {
        (Some(station), _) => format!("to `{station}`"),
        (None, Some(time)) => format!("updates within {}", format_duration(time)),
        (None, None) => "dropped and counted".to_owned(),
    }
}
