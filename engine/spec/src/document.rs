//! Files to documents.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use millstream_types::filters_overlap;
use serde::{Deserialize, Serialize};

use crate::fields::Context;
use crate::kind::Kind;
use crate::load::load;
use crate::node::{Node, Place, Value};
use crate::problem::{At, Problem, SourceFile};
use crate::shapes::{
    FlowSpec, FunctionSpec, SchemaSpec, SinkSpec, SourceSpec, StationSpec, read_spec,
};
use crate::variables::Lookup;

/// What one document asks for. JSON: the specification's fields and `kind`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Spec {
    /// `kind: schema`.
    Schema(SchemaSpec),
    /// `kind: function`.
    Function(FunctionSpec),
    /// `kind: station`.
    Station(StationSpec),
    /// `kind: flow`.
    Flow(FlowSpec),
    /// `kind: source`.
    Source(SourceSpec),
    /// `kind: sink`.
    Sink(SinkSpec),
}

impl Spec {
    /// Which kind it is.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Schema(_) => Kind::Schema,
            Self::Function(_) => Kind::Function,
            Self::Station(_) => Kind::Station,
            Self::Flow(_) => Kind::Flow,
            Self::Source(_) => Kind::Source,
            Self::Sink(_) => Kind::Sink,
        }
    }

    /// Its name, unique among its kind.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Schema(spec) => &spec.name,
            Self::Function(spec) => &spec.name,
            Self::Station(spec) => &spec.name,
            Self::Flow(spec) => &spec.name,
            Self::Source(spec) => &spec.name,
            Self::Sink(spec) => &spec.name,
        }
    }
}

/// One specification and where its parts stand.
#[derive(Clone, Debug)]
pub struct Document {
    /// What is asked for.
    pub spec: Spec,
    start: At,
    places: BTreeMap<String, Spot>,
}

/// Where a value stands, and where the text inside it starts.
#[derive(Clone, Copy, Debug)]
struct Spot {
    place: Place,
    text: Place,
    /// Every line of the text starts in the same column.
    block: bool,
}

impl Document {
    /// Where a field stands: `name`, `schema.subject`, `stages[1].sql`, `config.url`. The nearest
    /// parent, or the document's start, when it is not written.
    #[must_use]
    pub fn at(&self, path: &str) -> At {
        self.spot(path)
            .map_or_else(|| self.start.clone(), |spot| self.place(spot.place))
    }

    /// Where line `line`, column `column` (from 1) of the text in a field stands, such as a SQL
    /// error in `stages[1].sql`.
    #[must_use]
    pub fn text_at(&self, path: &str, line: u32, column: u32) -> At {
        let Some(spot) = self.spot(path) else {
            return self.start.clone();
        };
        let same_column = line <= 1 || spot.block;
        let shift = if same_column { spot.text.column } else { 1 };
        self.place(Place {
            line: spot.text.line + line.max(1) - 1,
            column: shift + column.max(1) - 1,
        })
    }

    /// Whether a field is written, and not left to its default.
    #[must_use]
    pub fn is_written(&self, path: &str) -> bool {
        self.places.contains_key(path)
    }

    /// A problem at a field.
    #[must_use]
    pub fn problem(&self, path: &str, message: impl Into<String>) -> Problem {
        self.at(path).problem(message)
    }

    /// The name of the file it stands in.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.start.file
    }

    fn place(&self, place: Place) -> At {
        At {
            file: self.start.file.clone(),
            line: place.line,
            column: place.column,
        }
    }

    fn spot(&self, path: &str) -> Option<Spot> {
        let mut path = path;
        loop {
            if let Some(spot) = self.places.get(path) {
                return Some(*spot);
            }
            path = path.rfind(['.', '[']).map(|end| &path[..end])?;
        }
    }
}

/// What was read: documents without problems, and all problems.
#[derive(Clone, Debug, Default)]
pub struct Parsed {
    /// In the order written.
    pub documents: Vec<Document>,
    /// In the order of files and lines.
    pub problems: Vec<Problem>,
    /// Kind and name of documents left out because of problems: they are there all the same.
    pub(crate) broken: Vec<(Kind, String)>,
}

impl Parsed {
    /// The documents if there is no problem at all.
    ///
    /// # Errors
    /// All problems.
    pub fn into_result(self) -> Result<Vec<Document>, Vec<Problem>> {
        if self.problems.is_empty() {
            Ok(self.documents)
        } else {
            Err(self.problems)
        }
    }
}

/// Reads station files. `variables` answers what `${NAME}` stands for.
pub fn parse(files: &[SourceFile], variables: &dyn Fn(&str) -> Option<String>) -> Parsed {
    let mut parsed = Parsed::default();
    for file in files {
        parse_file(file, variables, &mut parsed);
    }
    check_unique(&mut parsed);
    check_overlap(&mut parsed);
    parsed.problems.sort_by_key(|problem| {
        let file = files.iter().position(|file| file.name == problem.file);
        (file, problem.line, problem.column)
    });
    parsed
}

fn parse_file(file: &SourceFile, variables: &Lookup<'_>, parsed: &mut Parsed) {
    let name: Arc<str> = file.name.as_str().into();
    let start = At {
        file: name.clone(),
        line: 1,
        column: 1,
    };
    let before = parsed.problems.len();
    let nodes = load(&start, &file.text, &mut parsed.problems);
    if nodes.is_empty() && parsed.problems.len() == before {
        let problem = start.problem("the file describes nothing");
        parsed
            .problems
            .push(problem.with_hint("start with `kind: station` and `name: …`"));
    }
    for node in nodes {
        let context = Context {
            file: name.clone(),
            variables,
            problems: RefCell::default(),
        };
        let spec = read_spec(&context, &node);
        let start = context.at(node.place);
        let problems = context.problems.into_inner();
        match spec {
            Ok(spec) if problems.is_empty() => {
                let mut places = BTreeMap::new();
                note_places(&node, &mut String::new(), &mut places);
                parsed.documents.push(Document {
                    spec,
                    start,
                    places,
                });
            }
            Ok(spec) => parsed.broken.push((spec.kind(), spec.name().to_owned())),
            Err(broken) => parsed.broken.extend(broken),
        }
        parsed.problems.extend(problems);
    }
}

fn note_places(node: &Node, path: &mut String, places: &mut BTreeMap<String, Spot>) {
    let (text, block) = match &node.value {
        Value::Scalar(scalar) => (scalar.start, scalar.block),
        Value::List(_) | Value::Map(_) => (node.place, false),
    };
    let spot = Spot {
        place: node.place,
        text,
        block,
    };
    places.insert(path.clone(), spot);
    let length = path.len();
    match &node.value {
        Value::Scalar(_) => {}
        Value::List(items) => {
            for (index, item) in items.iter().enumerate() {
                path.push_str(&format!("[{index}]"));
                note_places(item, path, places);
                path.truncate(length);
            }
        }
        Value::Map(entries) => {
            for entry in entries {
                if length > 0 {
                    path.push('.');
                }
                path.push_str(&entry.key);
                note_places(&entry.value, path, places);
                path.truncate(length);
            }
        }
    }
}

fn check_unique(parsed: &mut Parsed) {
    let mut first: HashMap<(Kind, &str), At> = HashMap::new();
    for document in &parsed.documents {
        let (kind, name) = (document.spec.kind(), document.spec.name());
        match first.get(&(kind, name)) {
            Some(at) => {
                let message = format!("{kind} `{name}` is described twice; first at {at}");
                parsed.problems.push(document.problem("name", message));
            }
            None => {
                first.insert((kind, name), document.at("name"));
            }
        }
    }
}

/// A message is stored by one station: filters of two stations must not meet.
fn check_overlap(parsed: &mut Parsed) {
    let stations = parsed
        .documents
        .iter()
        .filter_map(|document| match &document.spec {
            Spec::Station(spec) => Some((document, spec)),
            _ => None,
        });
    let all: Vec<(&Document, &StationSpec)> = stations.collect();
    for (index, (document, spec)) in all.iter().enumerate() {
        for (at, subject) in spec.subjects.iter().enumerate() {
            let meets = |other: &&String| filters_overlap(subject.as_bytes(), other.as_bytes());
            let others = all[..index]
                .iter()
                .filter(|(_, other)| other.name != spec.name);
            let mut hits = others.filter_map(|(_, other)| {
                Some((other.name.as_str(), other.subjects.iter().find(meets)?))
            });
            if let Some((station, other)) = hits.next() {
                let message = format!("`{subject}` overlaps `{other}` of station `{station}`");
                let problem = document.problem(&format!("subjects[{at}]"), message);
                parsed
                    .problems
                    .push(problem.with_hint("a subject belongs to one station"));
            }
        }
    }
}
