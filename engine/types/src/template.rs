//! Subjects made from others: what the wildcards of a filter stand for, put into a template.

use bytes::{BufMut, Bytes, BytesMut};

use crate::subject::{check_filter, check_subject, tokens};

/// A subject with places for tokens of another one: `$1` and `{{wildcard(1)}}` are what the first `*` of the filter stands
/// for, `{subject}` is the whole subject, and `>` as the last token is what the filter's `>` stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubjectTemplate {
    parts: Vec<Part>,
    /// Which token of the subject each `*` of the filter is, in order.
    stars: Vec<usize>,
    /// How many tokens stand before the filter's `>`.
    before_rest: Option<usize>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(String),
    /// The token that a `*` stands for, counted from 0.
    Star(usize),
    /// All of the subject.
    Subject,
    /// What `>` stands for.
    Rest,
}

/// The number in `$1` or `{{wildcard(1)}}`.
fn wildcard(token: &str) -> Option<&str> {
    if let Some(number) = token.strip_prefix('$') {
        return number
            .bytes()
            .next()
            .is_some_and(|byte| byte.is_ascii_digit())
            .then_some(number);
    }
    let inside = token.strip_prefix("{{")?.strip_suffix("}}")?.trim();
    let number = inside
        .strip_prefix("wildcard(")
        .or_else(|| inside.strip_prefix("Wildcard("))?;
    number.strip_suffix(')').map(str::trim)
}

impl SubjectTemplate {
    /// Reads a template for subjects that match `filter`, which has passed [`check_filter`].
    ///
    /// # Errors
    /// What is wrong with it, for who wrote it.
    pub fn parse(text: &str, filter: &str) -> Result<Self, String> {
        let pattern: Vec<&[u8]> = tokens(filter.as_bytes()).collect();
        let is = |word: &'static [u8]| {
            let found = pattern.iter().enumerate();
            found.filter_map(move |(at, token)| (*token == word).then_some(at))
        };
        let stars: Vec<usize> = is(b"*").collect();
        let before_rest = is(b">").next();
        let all: Vec<&str> = text.split('.').collect();
        let mut parts = Vec::with_capacity(all.len());
        for (at, token) in all.iter().enumerate() {
            parts.push(match *token {
                "{subject}" => Part::Subject,
                ">" if at + 1 == all.len() && before_rest.is_some() => Part::Rest,
                ">" | "*" => {
                    return Err(format!(
                        "`{token}` has nothing to stand for; only a last `>` may, when `filter` ends with `>` too"
                    ));
                }
                token => match wildcard(token) {
                    Some(number) => Part::Star(star(number, stars.len(), filter)?),
                    None if token.contains(['{', '}']) => {
                        return Err(format!(
                            "`{token}` is not known; `$1`, `{{{{wildcard(1)}}}}` and `{{subject}}` are, as whole tokens"
                        ));
                    }
                    None => Part::Literal(token.to_owned()),
                },
            });
        }
        let template = Self {
            parts,
            stars,
            before_rest,
        };
        check_filter(template.shape(filter).as_bytes()).map_err(|error| error.to_string())?;
        Ok(template)
    }

    /// A filter that every subject it makes matches.
    #[must_use]
    pub fn shape(&self, filter: &str) -> String {
        let mut shape: Vec<&str> = Vec::with_capacity(self.parts.len());
        for part in &self.parts {
            match part {
                Part::Literal(text) => shape.push(text),
                Part::Star(_) => shape.push("*"),
                Part::Subject => shape.push(filter),
                Part::Rest => shape.push(">"),
            }
            // What follows an open end could be anything.
            if shape.last().is_some_and(|last| last.ends_with('>')) {
                break;
            }
        }
        shape.join(".")
    }

    /// The subject that it makes of one that matches the filter.
    ///
    /// # Errors
    /// Why there is none: the subject does not match, or is too long for its places.
    pub fn apply(&self, subject: &[u8]) -> Result<Bytes, String> {
        let all: Vec<&[u8]> = tokens(subject).collect();
        let missing = || {
            let subject = String::from_utf8_lossy(subject);
            format!("subject `{subject}` does not match the filter")
        };
        let mut made = BytesMut::with_capacity(subject.len() + 32);
        for (at, part) in self.parts.iter().enumerate() {
            if at > 0 {
                made.put_u8(b'.');
            }
            match part {
                Part::Literal(text) => made.put_slice(text.as_bytes()),
                Part::Subject => made.put_slice(subject),
                Part::Star(star) => {
                    let token = self.stars.get(*star).and_then(|at| all.get(*at));
                    made.put_slice(token.ok_or_else(missing)?);
                }
                Part::Rest => {
                    let rest = self.before_rest.and_then(|before| all.get(before..));
                    let rest = rest.filter(|rest| !rest.is_empty()).ok_or_else(missing)?;
                    made.put_slice(&rest.join(&b'.'));
                }
            }
        }
        check_subject(&made).map_err(|error| error.to_string())?;
        Ok(made.freeze())
    }
}

/// Which `*` a number names, from 0.
fn star(number: &str, stars: usize, filter: &str) -> Result<usize, String> {
    match number.parse::<usize>() {
        Ok(star) if star >= 1 && star <= stars => Ok(star - 1),
        _ => Err(format!(
            "there is no wildcard {number} in filter `{filter}`, which has {stars} `*`"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::SubjectTemplate;

    fn made(template: &str, filter: &str, subject: &str) -> Result<String, String> {
        let template = SubjectTemplate::parse(template, filter)?;
        let made = template.apply(subject.as_bytes())?;
        assert!(crate::matches(template.shape(filter).as_bytes(), &made));
        Ok(String::from_utf8(made.to_vec()).expect("text"))
    }

    #[test]
    fn tokens_take_their_places() {
        let ok = |template, filter, subject, expected: &str| {
            assert_eq!(made(template, filter, subject), Ok(expected.to_owned()));
        };
        ok("late.$1", "flights.*.*", "flights.UA.12", "late.UA");
        ok("late.$2.$1", "flights.*.*", "flights.UA.12", "late.12.UA");
        ok("late.{{wildcard(2)}}", "f.*.*", "f.UA.12", "late.12");
        ok("late.{{ wildcard( 1 ) }}", "f.*.*", "f.UA.12", "late.UA");
        ok("copy.{subject}", ">", "f.UA.12", "copy.f.UA.12");
        ok("copy.{subject}.x", "f.*", "f.UA", "copy.f.UA.x");
        ok("late.>", "flights.*.>", "flights.UA.a.b", "late.a.b");
        ok("late.$1.>", "*.>", "f.a", "late.f.a");
        ok("fixed", "flights.>", "flights.a", "fixed");
        ok("$JS.x", ">", "a", "$JS.x");
    }

    #[test]
    fn what_has_no_meaning_is_refused() {
        for (template, filter, why) in [
            ("late.$1", ">", "no wildcard 1"),
            ("late.$3", "a.*.*", "no wildcard 3"),
            ("late.$0", "a.*", "no wildcard 0"),
            ("late.>", "a.*", "nothing to stand for"),
            ("late.*", "a.*", "nothing to stand for"),
            ("late.>.x", "a.>", "nothing to stand for"),
            ("late.{carrier}", "a.>", "not known"),
            ("late..x", "a.>", "empty token"),
            ("", "a.>", "empty"),
            ("a b", "a.>", "white space"),
        ] {
            let error = SubjectTemplate::parse(template, filter).expect_err(template);
            assert!(error.contains(why), "{template}: {error}");
        }
        let template = SubjectTemplate::parse("late.$2", "a.*.*").expect("valid");
        assert!(template.apply(b"a.b").is_err());
    }
}
