//! Compiled statements, and what can be wrong with a declaration.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use millstream_jetstream::Query;
#[cfg(feature = "sql")]
use millstream_pipeline::DeployedRows;
use millstream_pipeline::{Column, ColumnKind, FlowTable, FunctionVersion, Stage};
#[cfg(not(feature = "sql"))]
use millstream_spec::QuerySpec;
use millstream_spec::Results;

/// Why something cannot run as declared: which field, and where in its text.
#[derive(Clone, Debug)]
pub(crate) struct CompileProblem {
    /// The field of the declaration, such as `stages[1].sql`.
    pub(crate) path: String,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
    /// Line and column in the field's text, from 1.
    pub(crate) place: Option<(u32, u32)>,
}

impl std::fmt::Display for CompileProblem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)?;
        if let Some((line, column)) = self.place {
            write!(f, " at line {line}, column {column}")?;
        }
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

impl CompileProblem {
    pub(crate) fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            message: message.into(),
            hint: None,
            place: None,
        }
    }
}

/// Where modules' bytes come from: the store, or a request that is being checked.
pub(crate) type Modules<'a> = &'a (dyn Fn(&str) -> anyhow::Result<Vec<u8>> + Sync);

/// Statements of one stage, and what they may name.
#[cfg_attr(
    not(feature = "sql"),
    expect(dead_code, reason = "a build without SQL has nobody who reads it")
)]
#[derive(Debug)]
pub(crate) struct Statements<'a> {
    /// Which of the stages with SQL it is, from 1.
    pub(crate) number: usize,
    pub(crate) text: &'a str,
    /// The columns in front of it; without them the whole payload is one.
    pub(crate) columns: Option<&'a [Column]>,
    /// The deployed functions.
    pub(crate) functions: Callable,
    /// The other stations with their subjects.
    pub(crate) stations: Vec<(String, Vec<String>)>,
    /// The field of the declaration.
    pub(crate) path: &'a str,
}

/// A function as statements call it.
#[cfg_attr(
    not(feature = "sql"),
    expect(dead_code, reason = "a build without SQL has nobody who reads it")
)]
#[derive(Debug)]
pub(crate) struct Called {
    pub(crate) name: String,
    pub(crate) arguments: Vec<Column>,
    pub(crate) returns: ColumnKind,
    pub(crate) version: FunctionVersion,
}

/// The deployed functions around a statement.
#[cfg_attr(
    not(feature = "sql"),
    expect(dead_code, reason = "a build without SQL has nobody who reads it")
)]
#[derive(Debug, Default)]
pub(crate) struct Callable {
    /// Those that it names and may call, loaded.
    pub(crate) called: Vec<Called>,
    /// The names of all that SQL may call.
    pub(crate) names: Vec<String>,
    /// The names of those that say nothing of SQL.
    pub(crate) not_for_sql: Vec<String>,
    /// The names of those that reach outside, which a query may not call.
    pub(crate) reaching_outside: Vec<String>,
}

#[cfg(feature = "sql")]
impl From<Callable> for millstream_sql::SqlFunctions {
    fn from(callable: Callable) -> Self {
        let each = callable.called.into_iter();
        let each = each.map(|called| millstream_sql::SqlFunction {
            name: called.name,
            arguments: called.arguments,
            returns: called.returns,
            version: called.version.number,
            run: Arc::new(DeployedRows::new(called.version)),
        });
        Self {
            each: each.collect(),
            more: callable.names,
            not_for_sql: callable.not_for_sql,
            reaching_outside: callable.reaching_outside,
        }
    }
}

/// The stage, and the columns behind it; `None` when there are several outputs.
pub(crate) type SqlCompiled = (Arc<dyn Stage>, Option<Vec<Column>>);

#[cfg(feature = "sql")]
pub(crate) fn sql(statements: Statements<'_>) -> Result<SqlCompiled, CompileProblem> {
    use millstream_sql::{SqlFunctions, SqlStage, Station, Surroundings};

    let functions = SqlFunctions::from(statements.functions);
    let stations = statements.stations.into_iter();
    let stations: Vec<Station> = stations
        .map(|(name, subjects)| Station { name, subjects })
        .collect();
    let around = Surroundings {
        columns: statements.columns,
        functions: &functions,
        stations: &stations,
    };
    let label = format!("sql:{}", statements.number);
    let stage =
        SqlStage::among(label, statements.text, &around).map_err(|error| CompileProblem {
            path: statements.path.to_owned(),
            message: error.message,
            hint: error.hint,
            place: Some((error.line, error.column)),
        })?;
    let output = stage.output().map(<[Column]>::to_vec);
    Ok((Arc::new(stage), output))
}

#[cfg(not(feature = "sql"))]
pub(crate) fn sql(statements: Statements<'_>) -> Result<SqlCompiled, CompileProblem> {
    Err(CompileProblem::new(
        statements.path,
        "this build has no SQL; use one built with the feature `sql`",
    ))
}

/// A query that never ends, compiled.
#[derive(Clone, Debug)]
pub(crate) struct QueryCompiled {
    pub(crate) query: Arc<dyn Query>,
    pub(crate) sources: Vec<FlowTable>,
    /// Names and types of the result's columns, for people.
    pub(crate) columns: Vec<Column>,
    /// How it is computed.
    pub(crate) explain: String,
    /// Whether results change that were told.
    pub(crate) is_updating: bool,
    /// How those are written then.
    pub(crate) results: Option<Results>,
    pub(crate) layout: u64,
    /// The station that gets late messages.
    pub(crate) late: Option<String>,
    /// How long they change results that were told.
    pub(crate) grace: Option<Duration>,
}

impl QueryCompiled {
    /// Whether a result that changes takes the place of the one on its subject.
    pub(crate) fn upserts(&self) -> bool {
        self.results == Some(Results::Upsert)
    }
}

/// What a query may read, and how what is there looks.
#[cfg_attr(not(feature = "sql"), expect(dead_code, reason = "only queries look"))]
pub(crate) trait Readable: Sync {
    /// Columns of what a station or stream stores, none where they are not known; `None`: there is none.
    fn columns(&self, name: &str) -> Result<Option<Vec<Column>>, String>;
    /// Where state goes that has no room in memory.
    fn folder(&self) -> &Path;
    fn names(&self) -> Vec<String>;
    fn subjects(&self, name: &str) -> Vec<String>;
    /// The deployed functions around a text.
    fn functions(&self, text: &str) -> Result<Callable, String>;
}

#[cfg(feature = "sql")]
mod continuous {
    use std::sync::Arc;

    use millstream_jetstream::Query;
    use millstream_pipeline::{Column, Dataflow};
    use millstream_spec::QuerySpec;
    use millstream_sql::SqlFunctions;
    use millstream_sql::continuous::{Compiled, Stations, compile, preview};

    use super::{CompileProblem, QueryCompiled, Readable};

    #[derive(Debug)]
    struct Own(Compiled);

    impl Query for Own {
        fn start(&self) -> Box<dyn Dataflow> {
            self.0.start()
        }
    }

    struct Known<'a>(&'a dyn Readable);

    impl Stations for Known<'_> {
        fn columns(&self, name: &str) -> Result<Option<Vec<Column>>, String> {
            self.0.columns(name)
        }

        fn names(&self) -> Vec<String> {
            self.0.names()
        }

        fn subjects(&self, name: &str) -> Vec<String> {
            self.0.subjects(name)
        }

        fn functions(&self, text: &str) -> Result<SqlFunctions, String> {
            self.0.functions(text).map(SqlFunctions::from)
        }
    }

    pub(crate) fn query(
        spec: &QuerySpec,
        stations: &dyn Readable,
        previews: bool,
    ) -> Result<QueryCompiled, CompileProblem> {
        let compile = if previews { preview } else { compile };
        let compiled = compile(spec, &Known(stations)).map_err(|error| CompileProblem {
            path: "sql".to_owned(),
            message: error.message,
            hint: error.hint,
            place: Some((error.line, error.column)),
        })?;
        Ok(QueryCompiled {
            sources: compiled.sources().to_vec(),
            columns: compiled.columns().to_vec(),
            explain: compiled.explain().to_owned(),
            is_updating: compiled.is_updating(),
            results: compiled.results(),
            layout: compiled.layout(),
            late: compiled.side_output().map(str::to_owned),
            grace: compiled.grace(),
            query: Arc::new(Own(compiled.spilling_to(stations.folder().to_owned()))),
        })
    }
}

#[cfg(feature = "sql")]
pub(crate) use continuous::query;

#[cfg(not(feature = "sql"))]
pub(crate) fn query(
    _: &QuerySpec,
    _: &dyn Readable,
    _: bool,
) -> Result<QueryCompiled, CompileProblem> {
    Err(CompileProblem::new(
        "sql",
        "this build has no SQL; use one built with the feature `sql`",
    ))
}
