//! A check that reads a document once, from its first byte to its last, and builds nothing.
//!
//! It only ever says yes: whatever is not surely a JSON text (RFC 8259, as strict as serde_json, 128 levels) that fits the
//! schema is left to the tree, which decides and explains. Names that repeat change nothing about that: when every one of
//! their values fits, the last does; when one does not, the tree decides. Only `oneOf` has to know that a branch does not
//! fit, so objects are looked through for repeated names before.

use std::borrow::Cow;
use std::collections::HashSet;

use serde_json::Value;

use self::number::{Figure, short_integer};
use super::rules::{
    ARRAY, Array, BOOL, Choice, INTEGER, NULL, NUMBER, Node, OBJECT, Object, Program, STRING,
};

/// Levels that serde_json reads.
const MAX_DEPTH: usize = 127;
/// Schemas within one another, so that the stack is bounded.
const MAX_NESTING: usize = 400;
/// How often all bytes may be gone back over, so that schemas that look at a value many times stay cheap.
const AGAIN: usize = 4;

/// Why the walk does not say yes.
#[derive(Clone, Copy)]
enum Stop {
    /// The value breaks a rule, or is followed by something that the rest will find.
    Broken,
    /// It is not known.
    Unsure,
}

type Walked<T = ()> = Result<T, Stop>;

/// Whether `payload` surely is a document that fits.
pub(super) fn fits(program: &Program, payload: &[u8]) -> bool {
    let ascii = is_ascii(payload);
    if !ascii && std::str::from_utf8(payload).is_err() {
        return false;
    }
    let mut walk = Walk {
        program,
        bytes: payload,
        ascii,
        at: 0,
        depth: 0,
        nesting: 0,
        again: payload.len().saturating_mul(AGAIN).saturating_add(4096),
    };
    walk.space();
    if walk.value(program.top).is_err() {
        return false;
    }
    walk.space();
    walk.at == payload.len()
}

struct Walk<'a> {
    program: &'a Program,
    /// UTF-8.
    bytes: &'a [u8],
    /// Whether every character is one byte.
    ascii: bool,
    at: usize,
    /// Arrays and objects that are open.
    depth: usize,
    /// Schemas that are open.
    nesting: usize,
    /// Bytes that may yet be gone back.
    again: usize,
}

impl<'a> Walk<'a> {
    fn peek(&self) -> Walked<u8> {
        self.bytes.get(self.at).copied().ok_or(Stop::Unsure)
    }

    fn space(&mut self) {
        // Most documents have none.
        while let Some(byte) = self.bytes.get(self.at)
            && *byte <= b' '
            && matches!(byte, b' ' | b'\n' | b'\r' | b'\t')
        {
            self.at += 1;
        }
    }

    fn take(&mut self, byte: u8) -> Walked {
        if self.peek()? == byte {
            self.at += 1;
            return Ok(());
        }
        Err(Stop::Unsure)
    }

    fn literal(&mut self, word: &[u8]) -> Walked {
        if self.bytes[self.at..].starts_with(word) {
            self.at += word.len();
            return Ok(());
        }
        Err(Stop::Unsure)
    }

    /// One value, at whose first byte the walk stands, against one schema; ends behind it.
    fn value(&mut self, node: u32) -> Walked {
        let node = &self.program.nodes[node as usize];
        if node.combined {
            return self.combined(node);
        }
        match self.peek()? {
            b'"' => self.plain_text(node),
            b'-' | b'0'..=b'9' => self.number(node),
            _ => self.own(node),
        }
    }

    /// A value that several schemas speak of, or one that lists values.
    fn combined(&mut self, node: &'a Node) -> Walked {
        self.nesting += 1;
        if self.nesting > MAX_NESTING {
            return Err(Stop::Unsure);
        }
        let start = self.at;
        for other in node.also() {
            self.back(start)?;
            self.value(*other)?;
        }
        for choice in node.choices() {
            self.back(start)?;
            self.choice(choice)?;
        }
        if !node.plain {
            self.back(start)?;
            self.own(node)?;
        }
        self.nesting -= 1;
        Ok(())
    }

    /// A string, mostly one without escapes of which nothing but the length matters.
    #[inline]
    fn plain_text(&mut self, node: &'a Node) -> Walked {
        if node.types & STRING == 0 {
            return Err(Stop::Broken);
        }
        let start = self.at + 1;
        let end = scan(self.bytes, start);
        if self.bytes.get(end) == Some(&b'"') {
            let known = self.ascii.then_some(end - start);
            let rules = node.strings.as_ref();
            if rules.is_none_or(|rules| known.is_some_and(|length| rules.allow_length(length))) {
                self.at = end + 1;
                let text = &self.bytes[start..end];
                return sure(node.constants().iter().all(|list| list.holds(text)));
            }
        }
        self.text(node)
    }

    fn text(&mut self, node: &'a Node) -> Walked {
        let text = self.string()?;
        let rules = node.strings.as_ref().is_none_or(|rules| rules.allow(&text));
        let mut lists = node.constants().iter();
        sure(rules && lists.all(|list| list.holds(text.as_bytes())))
    }

    /// The text from `start` on, of ASCII.
    fn slice(&self, start: usize) -> Walked<&'a str> {
        std::str::from_utf8(&self.bytes[start..self.at]).map_err(|_| Stop::Unsure)
    }

    /// Goes back to look again.
    fn back(&mut self, start: usize) -> Walked {
        let cost = self.at - start;
        self.again = self.again.checked_sub(cost).ok_or(Stop::Unsure)?;
        self.at = start;
        Ok(())
    }

    fn own(&mut self, node: &'a Node) -> Walked {
        let types = node.types;
        let allowed = |bit: u8| {
            if types & bit == 0 {
                Err(Stop::Broken)
            } else {
                Ok(())
            }
        };
        match self.peek()? {
            b'"' => {
                allowed(STRING)?;
                self.text(node)
            }
            b'{' => {
                allowed(OBJECT)?;
                sure(node.constants().is_empty())?;
                self.enter()?;
                match &node.object {
                    Some(object) => self.object(object)?,
                    None => self.skip_object(false)?,
                }
                self.depth -= 1;
                Ok(())
            }
            b'[' => {
                allowed(ARRAY)?;
                sure(node.constants().is_empty())?;
                self.enter()?;
                match &node.array {
                    Some(array) => self.array(array)?,
                    None => self.skip_array(false)?,
                }
                self.depth -= 1;
                Ok(())
            }
            b't' => {
                self.literal(b"true")?;
                allowed(BOOL)?;
                scalar(node, &Value::Bool(true))
            }
            b'f' => {
                self.literal(b"false")?;
                allowed(BOOL)?;
                scalar(node, &Value::Bool(false))
            }
            b'n' => {
                self.literal(b"null")?;
                allowed(NULL)?;
                scalar(node, &Value::Null)
            }
            b'-' | b'0'..=b'9' => self.number(node),
            _ => Err(Stop::Unsure),
        }
    }

    fn enter(&mut self) -> Walked {
        self.at += 1;
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(Stop::Unsure);
        }
        self.space();
        Ok(())
    }

    /// `anyOf` and `oneOf`: branches for other types are passed over.
    fn choice(&mut self, choice: &Choice) -> Walked {
        let class = match self.peek()? {
            b'"' => STRING,
            b'{' => OBJECT,
            b'[' => ARRAY,
            b't' | b'f' => BOOL,
            b'n' => NULL,
            _ => NUMBER | INTEGER,
        };
        let fitting = choice.types.iter().filter(|types| *types & class != 0);
        let several = fitting.count() > 1;
        let (start, depth, nesting) = (self.at, self.depth, self.nesting);
        if choice.one && several && class & (OBJECT | ARRAY) != 0 {
            self.skip(true)?;
        }
        let (mut fit, mut end) = (0, start);
        for (branch, types) in choice.branches.iter().zip(&choice.types) {
            if types & class == 0 {
                continue;
            }
            self.back(start)?;
            (self.depth, self.nesting) = (depth, nesting);
            match self.value(*branch) {
                Ok(()) if !choice.one => return Ok(()),
                Ok(()) => (fit, end) = (fit + 1, self.at),
                Err(Stop::Broken) => {}
                Err(Stop::Unsure) => return Err(Stop::Unsure),
            }
        }
        (self.at, self.depth, self.nesting) = (end, depth, nesting);
        sure(fit == 1)
    }

    fn object(&mut self, object: &'a Object) -> Walked {
        let (mut seen, mut count, mut next) = (0, 0, 0);
        if self.peek()? == b'}' {
            self.at += 1;
        } else {
            loop {
                count += 1;
                self.member(object, &mut next, &mut seen)?;
                self.space();
                match self.peek()? {
                    b',' => self.at += 1,
                    b'}' => {
                        self.at += 1;
                        break;
                    }
                    _ => return Err(Stop::Unsure),
                }
                self.space();
            }
        }
        sure(
            seen & object.required == object.required
                && count >= object.least
                && count <= object.most,
        )
    }

    /// A name and its value.
    fn member(&mut self, object: &'a Object, next: &mut usize, seen: &mut u64) -> Walked {
        let guess = object.entries.get(*next).map(|entry| object.quoted(entry));
        let guess = guess.filter(|quoted| begins(&self.bytes[self.at..], quoted));
        let (name, found) = match guess {
            Some(quoted) => {
                self.at += quoted.len();
                (None, Some(*next))
            }
            None => {
                let name = self.string()?;
                let found = object.find(&name);
                self.space();
                self.take(b':')?;
                (Some(name), found)
            }
        };
        *next = found.map_or(*next, |found| found + 1);
        self.space();
        let mut described = false;
        if let Some(entry) = found.map(|found| &object.entries[found]) {
            *seen |= entry.required;
            if let Some(node) = entry.node {
                if object.patterns.is_empty() {
                    return self.value(node);
                }
                described = true;
                self.stay(node)?;
            }
        }
        if !object.patterns.is_empty() {
            let known = found.map_or("", |found| object.name(found));
            let name = Value::from(name.as_deref().unwrap_or(known));
            for (pattern, node) in &object.patterns {
                if pattern.is_valid(&name) {
                    described = true;
                    self.stay(*node)?;
                }
            }
        }
        match object.additional {
            Some(node) if !described => self.value(node),
            _ => self.skip(false),
        }
    }

    /// A value that is looked at again.
    fn stay(&mut self, node: u32) -> Walked {
        let start = self.at;
        self.value(node)?;
        self.back(start)
    }

    fn array(&mut self, array: &'a Array) -> Walked {
        let mut count = 0;
        if self.peek()? == b']' {
            self.at += 1;
        } else {
            loop {
                let node = array.first.get(count).copied().or(array.rest);
                count += 1;
                match node {
                    Some(node) => self.value(node)?,
                    None => self.skip(false)?,
                }
                self.space();
                match self.peek()? {
                    b',' => self.at += 1,
                    b']' => {
                        self.at += 1;
                        break;
                    }
                    _ => return Err(Stop::Unsure),
                }
                self.space();
            }
        }
        sure(count >= array.least && count <= array.most)
    }

    fn number(&mut self, node: &'a Node) -> Walked {
        if let Some((number, end)) = short_integer(self.bytes, self.at)
            && node.constants().is_empty()
            && node.types & (NUMBER | INTEGER) != 0
        {
            let allowed = match &node.numbers {
                None => Some(true),
                Some(rules) => rules.direct(number),
            };
            if let Some(allowed) = allowed {
                self.at = end;
                return sure(allowed);
            }
        }
        let start = self.at;
        let figure = self.figure()?;
        if node.types & (NUMBER | INTEGER) == 0 {
            return Err(Stop::Broken);
        }
        // What is no whole number, and its negative zero, may be one all the same: that takes a closer look.
        let known = if figure.whole {
            !figure.is_negative_zero()
        } else {
            node.types & NUMBER != 0
        };
        if known && figure.is_short() && node.constants().is_empty() {
            let Some(rules) = &node.numbers else {
                return Ok(());
            };
            if let Some(allowed) = rules.direct(figure.exact()) {
                return sure(allowed);
            }
        }
        self.long_number(node, self.slice(start)?, &figure)
    }

    fn long_number(&self, node: &Node, text: &str, figure: &Figure) -> Walked {
        let signed = if figure.whole && !figure.is_negative_zero() {
            text.parse::<i64>().ok()
        } else {
            None
        };
        let number = match signed {
            Some(number) => Value::from(number),
            None => match text.parse::<u64>().ok().filter(|_| figure.whole) {
                Some(number) => Value::from(number),
                None => {
                    let number = text.parse::<f64>().map_err(|_| Stop::Unsure)?;
                    if !number.is_finite() {
                        return Err(Stop::Unsure);
                    }
                    let exact = number;
                    let number = Value::from(number);
                    if node.types & NUMBER == 0 {
                        let known = self.program.integers.as_ref();
                        sure(known.map_or(exact.fract() == 0.0, |known| known.is_valid(&number)))?;
                    }
                    return allow(node, Some(exact), &number);
                }
            },
        };
        let exact = signed.filter(|number| number.unsigned_abs() <= 1 << 53);
        allow(node, exact.map(|number| number as f64), &number)
    }

    /// Passes over a number.
    fn figure(&mut self) -> Walked<Figure> {
        let mut figure = Figure {
            negative: self.peek()? == b'-',
            ..Figure::default()
        };
        self.at += usize::from(figure.negative);
        if self.bytes.get(self.at) == Some(&b'0') {
            self.at += 1;
            figure.digits = 1;
        } else {
            self.run(&mut figure)?;
        }
        figure.whole = true;
        if self.bytes.get(self.at) == Some(&b'.') {
            figure.whole = false;
            self.at += 1;
            let before = figure.digits;
            self.run(&mut figure)?;
            figure.fraction = figure.digits - before;
        }
        if let Some(b'e' | b'E') = self.bytes.get(self.at) {
            (figure.whole, figure.exponent) = (false, true);
            self.at += 1;
            if let Some(b'+' | b'-') = self.bytes.get(self.at) {
                self.at += 1;
            }
            self.run(&mut Figure::default())?;
        }
        // Such as the 1 of 01: what follows is for the caller to find strange.
        Ok(figure)
    }

    /// One digit or more.
    fn run(&mut self, figure: &mut Figure) -> Walked {
        let start = self.at;
        while let Some(digit @ b'0'..=b'9') = self.bytes.get(self.at) {
            let value = u64::from(digit - b'0');
            figure.value = figure.value.wrapping_mul(10).wrapping_add(value);
            self.at += 1;
        }
        figure.digits += self.at - start;
        if self.at == start {
            Err(Stop::Unsure)
        } else {
            Ok(())
        }
    }

    /// The text of a string, at whose quote the walk stands.
    fn string(&mut self) -> Walked<Cow<'a, str>> {
        let start = self.at;
        let plain = self.quoted()?;
        if plain {
            let text = std::str::from_utf8(&self.bytes[start + 1..self.at - 1]);
            return text.map(Cow::Borrowed).map_err(|_| Stop::Unsure);
        }
        let text = serde_json::from_slice::<String>(&self.bytes[start..self.at]);
        text.map(Cow::Owned).map_err(|_| Stop::Unsure)
    }

    fn skip_string(&mut self) -> Walked {
        let start = self.at;
        if !self.quoted()? {
            let text = &self.bytes[start..self.at];
            serde_json::from_slice::<String>(text).map_err(|_| Stop::Unsure)?;
        }
        Ok(())
    }

    /// Passes over a string; whether it has no escapes, of which somebody else has to see that they are right.
    fn quoted(&mut self) -> Walked<bool> {
        self.take(b'"')?;
        let mut plain = true;
        loop {
            self.at = scan(self.bytes, self.at);
            match self.peek()? {
                b'"' => break,
                b'\\' => {
                    plain = false;
                    self.at += 2;
                }
                _ => return Err(Stop::Unsure),
            }
        }
        self.at += 1;
        Ok(plain)
    }

    /// Passes over a value of any kind; `distinct` stops where names repeat.
    fn skip(&mut self, distinct: bool) -> Walked {
        match self.peek()? {
            b'"' => self.skip_string(),
            b'{' => {
                self.enter()?;
                self.skip_object(distinct)?;
                self.depth -= 1;
                Ok(())
            }
            b'[' => {
                self.enter()?;
                self.skip_array(distinct)?;
                self.depth -= 1;
                Ok(())
            }
            b't' => self.literal(b"true"),
            b'f' => self.literal(b"false"),
            b'n' => self.literal(b"null"),
            b'-' | b'0'..=b'9' => self.skip_number(),
            _ => Err(Stop::Unsure),
        }
    }

    fn skip_number(&mut self) -> Walked {
        let start = self.at;
        let figure = self.figure()?;
        let text = self.slice(start)?;
        // Only what may be too large for a double is computed.
        let large = text.len() > 300 || figure.exponent;
        if large && !text.parse::<f64>().is_ok_and(f64::is_finite) {
            return Err(Stop::Unsure);
        }
        Ok(())
    }

    fn skip_object(&mut self, distinct: bool) -> Walked {
        if self.peek()? == b'}' {
            self.at += 1;
            return Ok(());
        }
        let mut names = HashSet::new();
        loop {
            let name = self.string()?;
            if distinct && !names.insert(name) {
                return Err(Stop::Unsure);
            }
            self.space();
            self.take(b':')?;
            self.space();
            self.skip(distinct)?;
            self.space();
            match self.peek()? {
                b',' => self.at += 1,
                b'}' => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return Err(Stop::Unsure),
            }
            self.space();
        }
    }

    fn skip_array(&mut self, distinct: bool) -> Walked {
        if self.peek()? == b']' {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.skip(distinct)?;
            self.space();
            match self.peek()? {
                b',' => self.at += 1,
                b']' => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return Err(Stop::Unsure),
            }
            self.space();
        }
    }
}

/// Whether all bytes are ASCII. What is left behind the last whole chunk is looked at as part of a chunk, not byte by byte as the
/// library does.
fn is_ascii(bytes: &[u8]) -> bool {
    let low = |chunk: &[u8; 32]| chunk.iter().fold(0, |all, byte| all | byte) < 0x80;
    match bytes.last_chunk::<32>() {
        Some(last) => bytes.as_chunks::<32>().0.iter().all(low) && low(last),
        None => bytes.is_ascii(),
    }
}

/// Whether `bytes` begin with `word`, which is not empty. Words are short: a call of `memcmp` for each costs more.
fn begins(bytes: &[u8], word: &[u8]) -> bool {
    let Some(bytes) = bytes.get(..word.len()).filter(|_| !word.is_empty()) else {
        return false;
    };
    let (Some(last), Some(wanted)) = (bytes.last_chunk::<8>(), word.last_chunk::<8>()) else {
        return bytes.iter().zip(word).all(|(byte, wanted)| byte == wanted);
    };
    // The last eight bytes overlap those before.
    let (head, _) = bytes.as_chunks::<8>();
    let (wanted_head, _) = word.as_chunks::<8>();
    let same = |(byte, wanted): (&[u8; 8], &[u8; 8])| {
        u64::from_ne_bytes(*byte) == u64::from_ne_bytes(*wanted)
    };
    same((last, wanted)) && head.iter().zip(wanted_head).all(same)
}

fn sure(yes: bool) -> Walked {
    if yes { Ok(()) } else { Err(Stop::Broken) }
}

/// Whether a value without parts is among those listed.
fn scalar(node: &Node, value: &Value) -> Walked {
    sure(
        node.constants()
            .iter()
            .all(|list| list.library.is_valid(value)),
    )
}

fn allow(node: &Node, exact: Option<f64>, number: &Value) -> Walked {
    let rules = node.numbers.as_ref();
    sure(rules.is_none_or(|rules| rules.allow(exact, number)))?;
    scalar(node, number)
}

/// Where the first quote, backslash or control character is, from `at` on.
#[inline]
fn scan(bytes: &[u8], mut at: usize) -> usize {
    const ONES: u64 = u64::MAX / 255;
    const TOPS: u64 = ONES * 0x80;
    // Eight bytes at a time: a byte's top bit comes out where the byte is one of those looked for. Bytes behind the first
    // such one may come out wrongly, the first never.
    while let Some(chunk) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let word = u64::from_le_bytes(*chunk);
        let zero = |word: u64| word.wrapping_sub(ONES) & !word & TOPS;
        let control = word.wrapping_sub(ONES * 0x20) & !word & TOPS;
        let found = zero(word ^ (ONES * u64::from(b'"')))
            | zero(word ^ (ONES * u64::from(b'\\')))
            | control;
        if found != 0 {
            return at + found.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    while let Some(byte) = bytes.get(at) {
        if *byte < 0x20 || *byte == b'"' || *byte == b'\\' {
            break;
        }
        at += 1;
    }
    at
}

mod number;
#[cfg(test)]
mod tests;
