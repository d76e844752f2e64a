//! YAML text to [`Node`] trees. Bounded in size, depth and aliases.

use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span, Tag};

use crate::node::{Entry, Node, Place, Scalar, Value};
use crate::problem::{At, Problem};

/// Largest file read: a station file is written by hand; schemas and functions are attachments.
const MAX_FILE_BYTES: usize = 1 << 20;
/// Most nodes in a file, counting what aliases repeat, so that nested aliases cannot explode.
const MAX_NODES: usize = 50_000;
/// Deepest nesting.
const MAX_DEPTH: usize = 64;

/// The documents of one file. After a syntax error: those that end before it.
pub(crate) fn load(file: &At, text: &str, problems: &mut Vec<Problem>) -> Vec<Node> {
    if text.len() > MAX_FILE_BYTES {
        let message = format!(
            "the file has {} bytes; at most {MAX_FILE_BYTES} are read",
            text.len()
        );
        problems.push(
            file.problem(message)
                .with_hint("put large texts into attachments"),
        );
        return Vec::new();
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut loader = Loader {
        file,
        problems,
        documents: Vec::new(),
        open: Vec::new(),
        root: None,
        anchors: HashMap::new(),
        nodes: 0,
    };
    let mut parser = Parser::new_from_str(text);
    while let Some(step) = parser.next_event() {
        let going_on = match step {
            Ok((event, span)) => loader.event(event, span),
            Err(error) => {
                let message = format!("not valid YAML: {}", error.info());
                loader.problem(place(*error.marker()), message);
                false
            }
        };
        if !going_on {
            break;
        }
    }
    loader.documents
}

struct Loader<'a> {
    file: &'a At,
    problems: &'a mut Vec<Problem>,
    documents: Vec<Node>,
    open: Vec<Open>,
    root: Option<Node>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
}

/// A list or mapping whose end is not read yet.
struct Open {
    node: Node,
    anchor: usize,
    /// The key whose value comes next.
    key: Option<(String, Place)>,
}

impl Loader<'_> {
    /// Takes one event; false ends the reading, the reason is among the problems.
    fn event(&mut self, event: Event<'_>, span: Span) -> bool {
        let at = place(span.start);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let node = self.scalar(text.into_owned(), style, tag.as_deref(), at);
                self.add(node, anchor)
            }
            Event::SequenceStart(anchor, tag) => {
                self.refuse_tag(tag.as_deref(), at);
                self.enter(
                    Node {
                        place: at,
                        value: Value::List(Vec::new()),
                    },
                    anchor,
                )
            }
            Event::MappingStart(anchor, tag) => {
                self.refuse_tag(tag.as_deref(), at);
                self.enter(
                    Node {
                        place: at,
                        value: Value::Map(Vec::new()),
                    },
                    anchor,
                )
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(done) => self.add(done.node, done.anchor),
                None => true,
            },
            Event::Alias(anchor) => self.repeat(anchor, at),
            Event::DocumentEnd => {
                self.documents
                    .extend(self.root.take().filter(|node| !node.is_null()));
                self.anchors.clear();
                true
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) => {
                true
            }
        }
    }

    fn enter(&mut self, node: Node, anchor: usize) -> bool {
        if self.open.len() >= MAX_DEPTH {
            self.problem(node.place, format!("nested deeper than {MAX_DEPTH} levels"));
            return false;
        }
        self.open.push(Open {
            node,
            anchor,
            key: None,
        });
        true
    }

    /// Puts a whole node where it belongs and remembers it when it is anchored.
    fn add(&mut self, node: Node, anchor: usize) -> bool {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            self.problem(
                node.place,
                format!("more than {MAX_NODES} values, aliases counted"),
            );
            return false;
        }
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        self.put(node);
        true
    }

    fn repeat(&mut self, anchor: usize, at: Place) -> bool {
        let Some(node) = self.anchors.get(&anchor) else {
            self.problem(at, "the alias stands inside what it repeats");
            return false;
        };
        if self.open.len() + node.depth() > MAX_DEPTH {
            self.problem(at, format!("nested deeper than {MAX_DEPTH} levels"));
            return false;
        }
        self.nodes += node.size();
        if self.nodes > MAX_NODES {
            self.problem(at, format!("more than {MAX_NODES} values, aliases counted"));
            return false;
        }
        let node = Node {
            place: at,
            value: node.value.clone(),
        };
        self.put(node);
        true
    }

    fn put(&mut self, node: Node) {
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return;
        };
        match (&mut open.node.value, open.key.take()) {
            (Value::List(items), _) => items.push(node),
            (Value::Map(entries), Some((key, key_place))) => {
                let first = entries
                    .iter()
                    .find(|entry| entry.key == key)
                    .map(|entry| entry.key_place.line);
                entries.push(Entry {
                    key,
                    key_place,
                    value: node,
                });
                if let (Some(first), Some(last)) = (first, entries.last()) {
                    let message = format!("`{}` stands twice; first in line {first}", last.key);
                    let problem = at(self.file, last.key_place).problem(message);
                    self.problems.push(problem);
                    entries.pop();
                }
            }
            (Value::Map(_), None) => {
                let place = node.place;
                let Value::Scalar(scalar) = node.value else {
                    open.key = Some((String::new(), place));
                    self.problem(place, "a key must be a single word");
                    return;
                };
                open.key = Some((scalar.text, place));
            }
            (Value::Scalar(_), _) => {}
        }
    }

    fn scalar(&mut self, text: String, style: ScalarStyle, tag: Option<&Tag>, at: Place) -> Node {
        let as_text = tag.is_some_and(|tag| tag.is_yaml_core_schema() && tag.suffix == "str");
        if !as_text {
            self.refuse_tag(tag, at);
        }
        let block = matches!(style, ScalarStyle::Literal | ScalarStyle::Folded);
        let start = match style {
            ScalarStyle::Plain => at,
            ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => Place {
                column: at.column + 1,
                ..at
            },
            // The parser points at the first character below the `|`, past empty lines, which
            // belong to the text.
            ScalarStyle::Literal | ScalarStyle::Folded => {
                let skipped = text.chars().take_while(|c| *c == '\n').count();
                Place {
                    line: at.line.saturating_sub(number(skipped)).max(1),
                    ..at
                }
            }
        };
        let plain = style == ScalarStyle::Plain && !as_text;
        Node {
            place: at,
            value: Value::Scalar(Scalar {
                text,
                plain,
                start,
                block,
            }),
        }
    }

    fn refuse_tag(&mut self, tag: Option<&Tag>, at: Place) {
        if let Some(tag) = tag.filter(|tag| !tag.is_yaml_core_schema()) {
            self.problem(at, format!("tags such as `{tag}` mean nothing here"));
        }
    }

    fn problem(&mut self, place: Place, message: impl Into<String>) {
        self.problems.push(at(self.file, place).problem(message));
    }
}

fn at(file: &At, place: Place) -> At {
    At {
        file: file.file.clone(),
        line: place.line,
        column: place.column,
    }
}

/// The parser counts lines from 1 and columns from 0.
fn place(marker: Marker) -> Place {
    Place {
        line: number(marker.line()),
        column: number(marker.col()) + 1,
    }
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
