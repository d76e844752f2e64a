//! Who breaks when a subject gets another version: stations with their SQL, functions that say what they read, sinks that want
//! a version.

use millstream_cluster::{Catalog, Kind, StationEntry};
use millstream_pipeline::SubjectVersion;
use millstream_schema_registry::Version;
use millstream_spec::StageSpec;

use crate::compile::Compiler;
use crate::stages::Modules;

/// Reasons told of one reader.
const MAX_REASONS: usize = 3;

/// Somebody who says which version it reads, and could not read the newest.
#[derive(Debug)]
pub(crate) struct Reader {
    pub(crate) kind: Kind,
    pub(crate) name: String,
    /// A sentence without its subject: `reads …`.
    pub(crate) reason: String,
}

impl std::fmt::Display for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} `{}` {}", self.kind, self.name, self.reason)
    }
}

/// One line for each that breaks in `new`, the catalog as it would be, because of `subject`.
pub(crate) fn broken(
    compiler: &Compiler,
    new: &Catalog,
    subject: &str,
    modules: Modules<'_>,
) -> Vec<String> {
    let plans = stations(new, subject).filter_map(|entry| {
        let problem = compiler.plan(new, entry, modules).err()?;
        let (name, path) = (&entry.spec.name, &problem.path);
        Some(format!("station `{name}` at `{path}`: {}", problem.message))
    });
    let readers = readers(compiler, new, subject, modules);
    let readers = readers.iter().map(ToString::to_string);
    plans.chain(readers).collect()
}

fn stations<'a>(
    new: &'a Catalog,
    subject: &'a str,
) -> impl Iterator<Item = &'a StationEntry> + use<'a> {
    let uses = move |entry: &&StationEntry| entry.spec.schemas().any(|(_, own)| own == subject);
    new.stations.values().filter(uses)
}

/// The same without the stations themselves.
pub(crate) fn readers(
    compiler: &Compiler,
    new: &Catalog,
    subject: &str,
    modules: Modules<'_>,
) -> Vec<Reader> {
    let functions = stations(new, subject).flat_map(|station| {
        let stages = station.spec.stages.iter();
        stages.filter_map(|stage| {
            let StageSpec::Function(name) = stage else {
                return None;
            };
            let function = new.functions.get(name)?;
            let reason = unread(
                (compiler, modules),
                new,
                subject,
                function.spec.reads.as_deref(),
            )?;
            Some(Reader {
                kind: Kind::Function,
                name: name.clone(),
                reason: format!("of station `{}` {reason}", station.spec.name),
            })
        })
    });
    let sinks = new.sinks.values().filter_map(|entry| {
        let reason = unread(
            (compiler, modules),
            new,
            subject,
            entry.spec.read_as.as_deref(),
        )?;
        let (kind, name) = (Kind::Sink, entry.spec.name.clone());
        Some(Reader { kind, name, reason })
    });
    functions.chain(sinks).collect()
}

/// Why somebody who reads `wanted` (`subject:version`) cannot read the subject's newest version.
fn unread(
    (compiler, modules): (&Compiler, Modules<'_>),
    new: &Catalog,
    subject: &str,
    wanted: Option<&str>,
) -> Option<String> {
    let wanted: SubjectVersion = wanted?.parse().ok()?;
    let version = wanted.version.filter(|_| wanted.subject == subject)?;
    let shelf = compiler.shelf();
    let reader = shelf.find(new, subject, Version::Number(version));
    let writer = shelf.find(new, subject, Version::Latest);
    let (reader, writer) = match (reader, writer) {
        (Ok(reader), Ok(writer)) => (reader, writer),
        (Err(why), _) | (_, Err(why)) => {
            return Some(format!("reads `{subject}:{version}`: {why}"));
        }
    };
    let reasons = match shelf.migrations_of(new, subject, modules) {
        Ok(migrations) => migrations.cannot_carry(&writer, &reader),
        Err(why) => return Some(why),
    };
    let told: Vec<String> = reasons
        .iter()
        .take(MAX_REASONS)
        .map(ToString::to_string)
        .collect();
    let more = if reasons.len() > told.len() {
        "; …"
    } else {
        ""
    };
    (!told.is_empty()).then(|| {
        format!(
            "reads `{subject}:{version}` and could not read version {}: {}{more}",
            writer.version,
            told.join("; ")
        )
    })
}
