//! What [`super::compile`] makes of a schema and [`super::walk`] checks: a table of nodes that name one another by number.

use jsonschema::Validator;
use serde_json::Value;

pub(super) const NULL: u8 = 1;
pub(super) const BOOL: u8 = 2;
pub(super) const INTEGER: u8 = 4;
pub(super) const NUMBER: u8 = 8;
pub(super) const STRING: u8 = 16;
pub(super) const ARRAY: u8 = 32;
pub(super) const OBJECT: u8 = 64;
const ALL: u8 = 127;

/// Below this many names a look at each is the quickest way to find one.
const FEW: usize = 8;
/// Nodes looked through for the types that a node allows.
const MAX_HOPS: usize = 8;

/// The bit of a word that `type` takes.
pub(super) fn type_bit(word: &str) -> Option<u8> {
    Some(match word {
        "null" => NULL,
        "boolean" => BOOL,
        "integer" => INTEGER,
        "number" => NUMBER | INTEGER,
        "string" => STRING,
        "array" => ARRAY,
        "object" => OBJECT,
        _ => return None,
    })
}

pub(super) struct Program {
    pub(super) nodes: Vec<Node>,
    pub(super) top: u32,
    /// What draft 4 takes for one: not 1.0.
    pub(super) integers: Option<Validator>,
}

/// One schema. Between two messages much else goes through the processor's caches: what most documents touch is kept small
/// and together.
pub(super) struct Node {
    /// Types allowed.
    pub(super) types: u8,
    /// Whether `also` and `choices` are all it has to say.
    pub(super) plain: bool,
    /// Whether there are any of those.
    pub(super) combined: bool,
    pub(super) numbers: Option<Box<Numbers>>,
    pub(super) strings: Option<Box<Strings>>,
    pub(super) object: Option<Box<Object>>,
    pub(super) array: Option<Box<Array>>,
    more: Option<Box<More>>,
}

/// What few schemas have.
#[derive(Default)]
pub(super) struct More {
    /// Other schemas for the same value.
    pub(super) also: Vec<u32>,
    pub(super) choices: Vec<Choice>,
    pub(super) constants: Vec<Constants>,
}

/// `anyOf` or `oneOf`.
pub(super) struct Choice {
    /// Exactly one.
    pub(super) one: bool,
    pub(super) branches: Vec<u32>,
    /// The types that each branch allows at most.
    pub(super) types: Vec<u8>,
}

/// `enum` or `const`, of scalars.
pub(super) struct Constants {
    pub(super) words: Vec<Box<[u8]>>,
    pub(super) null: bool,
    /// Knows when two numbers are the same.
    pub(super) library: Validator,
}

pub(super) struct Numbers {
    pub(super) low: f64,
    pub(super) low_open: bool,
    pub(super) high: f64,
    pub(super) high_open: bool,
    /// Whether the bounds are all that there is, for numbers that a double holds exactly.
    pub(super) direct: bool,
    pub(super) library: Validator,
}

pub(super) struct Strings {
    pub(super) least: usize,
    pub(super) most: usize,
    pub(super) texts: Vec<Text>,
}

/// A pattern or format.
pub(super) struct Text {
    /// Says yes to the plainest texts that fit; everything else is asked of the library.
    plain: Option<fn(&[u8]) -> bool>,
    library: Validator,
}

pub(super) struct Object {
    /// In the order of the schema, which is the order that most documents have.
    pub(super) entries: Vec<Entry>,
    /// Numbers of the entries by name, when there are many.
    sorted: Vec<u32>,
    pub(super) required: u64,
    pub(super) patterns: Vec<(Validator, u32)>,
    /// For members that nothing else describes; they are free without it.
    pub(super) additional: Option<u32>,
    pub(super) least: usize,
    pub(super) most: usize,
    names: Vec<Box<str>>,
    /// Each name as it is usually written, with the colon.
    quoted: Box<[u8]>,
}

/// A name that the schema knows.
pub(super) struct Entry {
    /// Where in `quoted` it begins, and its length; 0 when it is written in another way.
    quoted: (u32, u32),
    /// Of `properties`.
    pub(super) node: Option<u32>,
    pub(super) required: u64,
}

pub(super) struct Array {
    pub(super) first: Vec<u32>,
    pub(super) rest: Option<u32>,
    pub(super) least: usize,
    pub(super) most: usize,
}

impl Program {
    /// Fills in what is known once all nodes are.
    pub(super) fn settle(&mut self) {
        for at in 0..self.nodes.len() {
            let lists: Vec<Vec<u8>> = self.nodes[at]
                .choices()
                .iter()
                .map(|choice| {
                    choice
                        .branches
                        .iter()
                        .map(|branch| self.types(*branch, 0))
                        .collect()
                })
                .collect();
            let node = &mut self.nodes[at];
            let rules = node.numbers.is_some() || node.strings.is_some();
            let parts = node.object.is_some() || node.array.is_some();
            let own = node.types != ALL || rules || parts || !node.constants().is_empty();
            node.combined = node.also().len() + node.choices().len() > 0;
            node.plain = !own && node.combined;
            let choices = node.more.iter_mut().flat_map(|more| &mut more.choices);
            for (choice, types) in choices.zip(lists) {
                choice.types = types;
            }
        }
    }

    fn types(&self, node: u32, hops: usize) -> u8 {
        let node = &self.nodes[node as usize];
        if hops > MAX_HOPS {
            return node.types;
        }
        let constants = node.constants().iter().map(Constants::types);
        let also = node.also().iter().map(|also| self.types(*also, hops + 1));
        constants.chain(also).fold(node.types, |all, one| all & one)
    }
}

impl Node {
    pub(super) fn any() -> Self {
        Self {
            types: ALL,
            plain: false,
            combined: false,
            numbers: None,
            strings: None,
            object: None,
            array: None,
            more: None,
        }
    }

    pub(super) fn also(&self) -> &[u32] {
        self.more.as_ref().map_or(&[], |more| &more.also)
    }

    pub(super) fn choices(&self) -> &[Choice] {
        self.more.as_ref().map_or(&[], |more| &more.choices)
    }

    pub(super) fn constants(&self) -> &[Constants] {
        self.more.as_ref().map_or(&[], |more| &more.constants)
    }

    pub(super) fn more(&mut self) -> &mut More {
        self.more.get_or_insert_default()
    }

    pub(super) fn none() -> Self {
        Self {
            types: 0,
            ..Self::any()
        }
    }
}

impl Choice {
    pub(super) fn new(one: bool, branches: Vec<u32>) -> Self {
        Self {
            one,
            branches,
            types: Vec::new(),
        }
    }
}

impl Constants {
    /// Whether a text is among them.
    pub(super) fn holds(&self, text: &[u8]) -> bool {
        self.words.iter().any(|word| **word == *text)
    }

    fn types(&self) -> u8 {
        let words = if self.words.is_empty() { 0 } else { STRING };
        let null = if self.null { NULL } else { 0 };
        words | null | BOOL | NUMBER | INTEGER
    }
}

impl Numbers {
    /// `exact` is the number as a double, where that is the same number.
    pub(super) fn allow(&self, exact: Option<f64>, number: &Value) -> bool {
        let direct = exact.and_then(|exact| self.direct(exact));
        direct.unwrap_or_else(|| self.library.is_valid(number))
    }

    /// The same where the bounds are all that there is.
    pub(super) fn direct(&self, number: f64) -> Option<bool> {
        let low = number > self.low || number == self.low && !self.low_open;
        let high = number < self.high || number == self.high && !self.high_open;
        self.direct.then_some(low && high)
    }
}

impl Strings {
    /// Whether a text of so many characters surely fits.
    pub(super) fn allow_length(&self, length: usize) -> bool {
        self.texts.is_empty() && length >= self.least && length <= self.most
    }

    pub(super) fn allow(&self, text: &str) -> bool {
        let bytes = text.len();
        // A character has one to four bytes, so most texts need no counting.
        let clear = bytes <= self.most && bytes >= self.least.saturating_mul(4);
        if !clear && bytes < self.least {
            return false;
        }
        if !clear && (self.least > 0 || bytes > self.most) {
            let count = text.chars().count();
            if count < self.least || count > self.most {
                return false;
            }
        }
        self.texts.iter().all(|rule| rule.allow(text))
    }
}

impl Text {
    pub(super) fn new(word: &str, value: &str, library: Validator) -> Self {
        let plain: Option<fn(&[u8]) -> bool> = match (word, value) {
            ("format", "date-time") => Some(plain_date_time),
            ("format", "date") => Some(plain_date),
            ("format", "uuid") => Some(plain_uuid),
            _ => None,
        };
        Self { plain, library }
    }

    fn allow(&self, text: &str) -> bool {
        self.plain.is_some_and(|plain| plain(text.as_bytes()))
            || self.library.is_valid(&Value::from(text))
    }
}

fn two(bytes: &[u8], at: usize) -> Option<u8> {
    match bytes.get(at..at + 2)? {
        [tens @ b'0'..=b'9', ones @ b'0'..=b'9'] => Some((tens - b'0') * 10 + ones - b'0'),
        _ => None,
    }
}

/// `2026-11-23`, up to the days that every month has.
fn plain_date(text: &[u8]) -> bool {
    text.len() == 10
        && two(text, 0).is_some()
        && two(text, 2).is_some()
        && text[4] == b'-'
        && text[7] == b'-'
        && two(text, 5).is_some_and(|month| (1..=12).contains(&month))
        && two(text, 8).is_some_and(|day| (1..=28).contains(&day))
}

/// `2026-11-23T07:45:00Z`, with or without a fraction.
fn plain_date_time(text: &[u8]) -> bool {
    let (Some(date), Some((b'Z', rest))) = (text.get(..10), text.split_last()) else {
        return false;
    };
    let fraction = match rest.get(19..) {
        Some([]) => true,
        Some([b'.', digits @ ..]) => !digits.is_empty() && digits.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    fraction
        && plain_date(date)
        && text[10] == b'T'
        && text[13] == b':'
        && text[16] == b':'
        && two(text, 11).is_some_and(|hour| hour < 24)
        && two(text, 14).is_some_and(|minute| minute < 60)
        && two(text, 17).is_some_and(|second| second < 60)
}

fn plain_uuid(text: &[u8]) -> bool {
    text.len() == 36
        && text.iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

impl Object {
    pub(super) fn new(
        names: Vec<Box<str>>,
        members: Vec<(Option<u32>, u64)>,
        patterns: Vec<(Validator, u32)>,
        additional: Option<u32>,
        least: usize,
        most: usize,
    ) -> Option<Self> {
        let mut sorted = Vec::new();
        if names.len() > FEW {
            sorted = (0..).zip(&names).map(|(at, _)| at).collect();
            sorted.sort_by_key(|at: &u32| &names[*at as usize]);
        }
        let mut quoted = Vec::new();
        let mut entries = Vec::new();
        for (name, (node, required)) in names.iter().zip(&members) {
            let start = quoted.len();
            let usual = |byte: u8| byte >= 0x20 && byte != b'"' && byte != b'\\';
            if name.bytes().all(usual) {
                quoted.push(b'"');
                quoted.extend_from_slice(name.as_bytes());
                quoted.extend_from_slice(b"\":");
            }
            let length = u32::try_from(quoted.len() - start).ok()?;
            entries.push(Entry {
                quoted: (u32::try_from(start).ok()?, length),
                node: *node,
                required: *required,
            });
        }
        Some(Self {
            required: members.iter().fold(0, |all, (_, required)| all | required),
            entries,
            sorted,
            patterns,
            additional,
            least,
            most,
            names,
            quoted: quoted.into(),
        })
    }

    pub(super) fn name(&self, entry: usize) -> &str {
        &self.names[entry]
    }

    /// How the name of an entry is usually written; empty when that is not known.
    pub(super) fn quoted(&self, entry: &Entry) -> &[u8] {
        let (start, length) = (entry.quoted.0 as usize, entry.quoted.1 as usize);
        &self.quoted[start..start + length]
    }

    /// The number of the entry of that name.
    pub(super) fn find(&self, name: &str) -> Option<usize> {
        if self.sorted.is_empty() {
            return self.names.iter().position(|own| **own == *name);
        }
        let found = self
            .sorted
            .binary_search_by(|at| self.name(*at as usize).cmp(name));
        found.ok().map(|at| self.sorted[at] as usize)
    }
}
