//! The outside world of a native build, so that a function's tests run with plain `cargo test`.
//!
//! Each thread has its own, and Rust runs each test in a thread of its own, so tests do not see each other. What is
//! not put here is not there: a bucket without the key, a station without the subject, a host without an answer.
//!
//! ```
//! use millstream_guest::prelude::*;
//! use millstream_guest::testing;
//!
//! fn enrich(message: Message) -> Result<Outcome, Rejection> {
//!     let Some(plane) = stations::value("planes", "N14228")? else {
//!         log::warn!("no such plane");
//!         return Ok(Outcome::Keep);
//!     };
//!     Ok(Outcome::replace(plane))
//! }
//!
//! assert_eq!(enrich(Message::default()), Ok(Outcome::Keep));
//! assert_eq!(testing::log_lines()[0].1, "no such plane");
//! testing::put_value("planes", "N14228", "a Boeing");
//! assert_eq!(enrich(Message::default()), Ok(Outcome::replace("a Boeing")));
//! ```
//!
//! It is no server: nothing is rolled back when a call fails, and no limit bites except those of keys and values.

use std::cell::RefCell;
use std::collections::BTreeMap;

use crate::log::Level;
use crate::stations::Entry;
use crate::web::{Request, Response};

/// Largest value of a bucket, as the server has it.
const MAX_VALUE_BYTES: usize = 1 << 20;

#[derive(Debug, Default)]
struct World {
    lines: Vec<(Level, String)>,
    bucket: BTreeMap<String, Vec<u8>>,
    values: BTreeMap<(String, String), Vec<u8>>,
    last: BTreeMap<(String, String), Entry>,
    answers: BTreeMap<String, Response>,
    requests: Vec<Request>,
}

thread_local! {
    static WORLD: RefCell<World> = RefCell::default();
}

/// Forgets everything; for tests that run many cases in one thread.
pub fn reset() {
    WORLD.with_borrow_mut(|world| *world = World::default());
}

/// The lines that were logged since the last call.
#[must_use]
pub fn log_lines() -> Vec<(Level, String)> {
    WORLD.with_borrow_mut(|world| std::mem::take(&mut world.lines))
}

/// Everything in the function's own bucket; [`crate::bucket::set`] fills it.
#[must_use]
pub fn bucket() -> BTreeMap<String, Vec<u8>> {
    WORLD.with_borrow(|world| world.bucket.clone())
}

/// Puts a value where [`crate::stations::value`] finds it.
pub fn put_value(bucket: &str, key: &str, value: impl Into<Vec<u8>>) {
    let place = (bucket.to_owned(), key.to_owned());
    WORLD.with_borrow_mut(|world| world.values.insert(place, value.into()));
}

/// Puts a message where [`crate::stations::last`] finds it.
pub fn put_last(station: &str, subject: &str, entry: Entry) {
    let place = (station.to_owned(), subject.to_owned());
    WORLD.with_borrow_mut(|world| world.last.insert(place, entry));
}

/// Answers every request to this address, whatever its method.
pub fn answer(url: &str, response: Response) {
    WORLD.with_borrow_mut(|world| world.answers.insert(url.to_owned(), response));
}

/// The requests that were made since the last call, answered or not.
#[must_use]
pub fn requests() -> Vec<Request> {
    WORLD.with_borrow_mut(|world| std::mem::take(&mut world.requests))
}

pub(crate) fn write_line(level: Level, text: &str) {
    WORLD.with_borrow_mut(|world| world.lines.push((level, text.to_owned())));
}

/// Stands in for the import `bucket`.
pub(crate) mod bucket_host {
    use super::{MAX_VALUE_BYTES, WORLD};

    pub(crate) fn get(key: &str) -> Result<Option<Vec<u8>>, String> {
        check(key)?;
        Ok(WORLD.with_borrow(|world| world.bucket.get(key).cloned()))
    }

    pub(crate) fn set(key: &str, value: &[u8]) -> Result<(), String> {
        check(key)?;
        if value.len() > MAX_VALUE_BYTES {
            return Err(format!("the value of `{key}` has more than 1 MiB"));
        }
        WORLD.with_borrow_mut(|world| world.bucket.insert(key.to_owned(), value.to_vec()));
        Ok(())
    }

    pub(crate) fn delete(key: &str) -> Result<(), String> {
        check(key)?;
        WORLD.with_borrow_mut(|world| world.bucket.remove(key));
        Ok(())
    }

    /// The rule of the server, so that a bad key is found in a test and not in use.
    fn check(key: &str) -> Result<(), String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-/_=.".contains(c);
        if key.is_empty() || key.starts_with('.') || key.ends_with('.') || !key.chars().all(plain) {
            return Err(format!(
                "`{key}` is no key: letters, digits and `-/_=.`, no `.` at either end"
            ));
        }
        Ok(())
    }
}

/// Stands in for the import `stations`.
pub(crate) mod stations_host {
    use super::WORLD;
    use crate::stations::Entry;

    #[expect(clippy::unnecessary_wraps, reason = "the import can fail")]
    pub(crate) fn last(station: &str, subject: &str) -> Result<Option<Entry>, String> {
        let place = (station.to_owned(), subject.to_owned());
        Ok(WORLD.with_borrow(|world| world.last.get(&place).cloned()))
    }

    #[expect(clippy::unnecessary_wraps, reason = "the import can fail")]
    pub(crate) fn value(bucket: &str, key: &str) -> Result<Option<Vec<u8>>, String> {
        let place = (bucket.to_owned(), key.to_owned());
        Ok(WORLD.with_borrow(|world| world.values.get(&place).cloned()))
    }
}

/// Stands in for the import `web`.
pub(crate) mod web_host {
    use super::WORLD;
    use crate::web::{Request, Response};

    pub(crate) fn fetch(request: &Request) -> Result<Response, String> {
        WORLD.with_borrow_mut(|world| {
            world.requests.push(request.clone());
            let found = world.answers.get(&request.url).cloned();
            found.ok_or_else(|| format!("no test answers `{}`", request.url))
        })
    }
}
