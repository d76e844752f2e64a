//! What a guest may call: the interfaces `log`, `bucket`, `stations` and `web` of `millstream:function@0.2.0`.
//!
//! They are linked for every guest; that a component imports only what it was granted is checked before (`module.rs`).
//! Each call is counted, so that a guest cannot keep its thread busy where the clock of its own computing does not run.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use millstream_function_api::{Grants, LogLevel, Outside, WebRequest, WebResponse};
use thiserror::Error;
use wasmtime::StoreContextMut;
use wasmtime::component::{ComponentType, Lift, Linker, Lower};

use crate::instance::State;
use crate::web;

/// Longest line of a log.
const MAX_LINE: usize = 4096;
/// Longest key and largest value of a bucket.
const MAX_KEY: usize = 1024;
const MAX_VALUE: usize = 1 << 20;
/// Bytes that one call may have written to its bucket and not committed.
const MAX_WRITES: usize = 32 << 20;

/// Ends a guest that calls the host more often than it may.
#[derive(Clone, Copy, Debug, Error)]
#[error("calls the host more than the {0} times it may for its messages")]
pub(crate) struct TooManyCalls(pub(crate) u64);

/// What one call of a guest has left, and what it wrote.
#[derive(Debug)]
pub(crate) struct Calls {
    pub(crate) outside: Arc<dyn Outside>,
    grants: Arc<Grants>,
    /// Host calls that are allowed and that are left.
    allowed: u64,
    left: u64,
    lines: u32,
    lines_lost: u64,
    wait: Duration,
    /// Whether anything outside is there: not while a guest configures itself, which it may do at any time.
    running: bool,
    writes: BTreeMap<String, Option<Bytes>>,
    written: usize,
}

/// What a call may use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Allowance {
    pub(crate) calls: u64,
    pub(crate) lines: u32,
    pub(crate) wait: Duration,
    pub(crate) running: bool,
}

impl Calls {
    pub(crate) fn new(outside: Arc<dyn Outside>, grants: Arc<Grants>) -> Self {
        Self {
            outside,
            grants,
            allowed: 0,
            left: 0,
            lines: 0,
            lines_lost: 0,
            wait: Duration::ZERO,
            running: false,
            writes: BTreeMap::new(),
            written: 0,
        }
    }

    /// A call begins.
    pub(crate) fn begin(&mut self, allowance: Allowance) {
        self.allowed = allowance.calls;
        self.left = allowance.calls;
        self.lines = allowance.lines;
        self.lines_lost = 0;
        self.wait = allowance.wait;
        self.running = allowance.running;
        self.writes.clear();
        self.written = 0;
    }

    /// A call ended well: what it wrote counts. Of one that did not, nothing does.
    pub(crate) fn commit(&mut self) {
        self.tell_lost();
        if !self.writes.is_empty() {
            let writes = std::mem::take(&mut self.writes);
            self.outside.write_state(writes.into_iter().collect());
        }
    }

    /// Says how many lines were too many.
    pub(crate) fn tell_lost(&mut self) {
        if self.lines_lost > 0 {
            let text = format!(
                "{} more lines in this batch are left out: see `log_lines`",
                self.lines_lost
            );
            self.outside.log(LogLevel::Warn, &text);
            self.lines_lost = 0;
        }
    }

    fn count(&mut self) -> wasmtime::Result<()> {
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => Err(wasmtime::Error::from(TooManyCalls(self.allowed))),
        }
    }

    fn log(&mut self, level: LogLevel, text: &str) {
        match self.lines.checked_sub(1) {
            None => self.lines_lost += 1,
            Some(left) => {
                self.lines = left;
                let end = text.floor_char_boundary(MAX_LINE);
                self.outside.log(level, &text[..end]);
            }
        }
    }

    fn there(&self) -> Result<(), String> {
        if self.running {
            return Ok(());
        }
        Err(
            "nothing outside is there before the first message: ask when messages are processed"
                .to_owned(),
        )
    }

    fn get(&self, key: &str) -> Result<Option<Bytes>, String> {
        self.there()?;
        check_key(key)?;
        match self.writes.get(key) {
            Some(value) => Ok(value.clone()),
            None => self.outside.state(key),
        }
    }

    fn put(&mut self, key: String, value: Option<Bytes>) -> Result<(), String> {
        self.there()?;
        check_key(&key)?;
        let size = value.as_ref().map_or(0, Bytes::len);
        if size > MAX_VALUE {
            return Err(format!("value has {size} bytes, {MAX_VALUE} are allowed"));
        }
        self.written += size + key.len();
        if self.written > MAX_WRITES {
            return Err(format!("more than {MAX_WRITES} bytes written in one batch"));
        }
        self.writes.insert(key, value);
        Ok(())
    }

    fn may_read(&self, name: &str) -> Result<(), String> {
        self.there()?;
        if self.grants.lookup.iter().any(|known| known == name) {
            return Ok(());
        }
        Err(format!(
            "`{name}` is not listed under `lookup:` in the function's document"
        ))
    }

    fn fetch(&mut self, request: WebRequest) -> Result<WebResponse, String> {
        self.there()?;
        web::check(&request, &self.grants.http)?;
        if self.wait.is_zero() {
            return Err("the time for requests of this batch is over: see `wait`".to_owned());
        }
        let began = Instant::now();
        let answer = self.outside.fetch(request, self.wait);
        self.wait = self.wait.saturating_sub(began.elapsed());
        answer
    }
}

/// The rule of NATS key-value buckets.
fn check_key(key: &str) -> Result<(), String> {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"-/_=.".contains(&byte);
    let good = !key.is_empty()
        && key.len() <= MAX_KEY
        && key.bytes().all(fine)
        && !key.starts_with('.')
        && !key.ends_with('.')
        && !key.contains("..");
    if good {
        return Ok(());
    }
    Err(format!(
        "`{}` is no key: letters, digits and `-/_=.`, not `.` at either end, at most {MAX_KEY} bytes",
        key.escape_debug()
    ))
}

#[expect(dead_code, reason = "the engine makes them from what guests pass")]
#[derive(Clone, Copy, Debug, ComponentType, Lift)]
#[component(enum)]
#[repr(u8)]
enum Level {
    #[component(name = "debug")]
    Debug,
    #[component(name = "info")]
    Info,
    #[component(name = "warn")]
    Warn,
    #[component(name = "error")]
    Error,
}

impl From<Level> for LogLevel {
    fn from(level: Level) -> Self {
        match level {
            Level::Debug => Self::Debug,
            Level::Info => Self::Info,
            Level::Warn => Self::Warn,
            Level::Error => Self::Error,
        }
    }
}

#[derive(Debug, ComponentType, Lower)]
#[component(record)]
struct Entry {
    sequence: u64,
    timestamp: i64,
    headers: Vec<(String, String)>,
    payload: Vec<u8>,
}

#[derive(Debug, ComponentType, Lift)]
#[component(record)]
struct Request {
    method: String,
    url: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

#[derive(Debug, ComponentType, Lower)]
#[component(record)]
struct Response {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

type Context<'a> = StoreContextMut<'a, State>;
/// A result as the component model passes it: the function itself returns a tuple.
type Answer<T> = wasmtime::Result<(Result<T, String>,)>;

fn bytes(value: Option<Bytes>) -> Option<Vec<u8>> {
    value.map(Vec::from)
}

/// Links every interface.
pub(crate) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    let mut log = linker.instance("millstream:function/log@0.2.0")?;
    log.func_wrap(
        "write",
        |mut store: Context<'_>, (level, text): (Level, String)| {
            store.data_mut().calls.log(level.into(), &text);
            Ok(())
        },
    )?;
    let mut bucket = linker.instance("millstream:function/bucket@0.2.0")?;
    bucket.func_wrap(
        "get",
        |mut store: Context<'_>, (key,): (String,)| -> Answer<Option<Vec<u8>>> {
            let calls = &mut store.data_mut().calls;
            calls.count()?;
            Ok((calls.get(&key).map(bytes),))
        },
    )?;
    bucket.func_wrap(
        "set",
        |mut store: Context<'_>, (key, value): (String, Vec<u8>)| -> Answer<()> {
            let calls = &mut store.data_mut().calls;
            calls.count()?;
            Ok((calls.put(key, Some(value.into())),))
        },
    )?;
    bucket.func_wrap(
        "delete",
        |mut store: Context<'_>, (key,): (String,)| -> Answer<()> {
            let calls = &mut store.data_mut().calls;
            calls.count()?;
            Ok((calls.put(key, None),))
        },
    )?;
    let mut stations = linker.instance("millstream:function/stations@0.2.0")?;
    stations.func_wrap(
        "last",
        |mut store: Context<'_>, (station, subject): (String, String)| -> Answer<Option<Entry>> {
            let calls = &mut store.data_mut().calls;
            calls.count()?;
            let found = calls
                .may_read(&station)
                .and_then(|()| calls.outside.last(&station, &subject));
            Ok((found.map(|found| found.map(Entry::from)),))
        },
    )?;
    stations.func_wrap(
        "value",
        |mut store: Context<'_>, (name, key): (String, String)| -> Answer<Option<Vec<u8>>> {
            let calls = &mut store.data_mut().calls;
            calls.count()?;
            let found = check_key(&key)
                .and_then(|()| calls.may_read(&name))
                .and_then(|()| calls.outside.value(&name, &key));
            Ok((found.map(bytes),))
        },
    )?;
    let mut web = linker.instance("millstream:function/web@0.2.0")?;
    web.func_wrap(
        "fetch",
        |mut store: Context<'_>, (request,): (Request,)| -> Answer<Response> {
            let calls = &mut store.data_mut().calls;
            calls.count()?;
            Ok((calls.fetch(request.into()).map(Response::from),))
        },
    )?;
    Ok(())
}

impl From<millstream_function_api::Entry> for Entry {
    fn from(entry: millstream_function_api::Entry) -> Self {
        Self {
            sequence: entry.sequence,
            timestamp: entry.timestamp.0,
            headers: entry.headers,
            payload: entry.payload.into(),
        }
    }
}

impl From<Request> for WebRequest {
    fn from(request: Request) -> Self {
        let Request {
            method,
            url,
            headers,
            body,
        } = request;
        Self {
            method,
            url,
            headers,
            body,
        }
    }
}

impl From<WebResponse> for Response {
    fn from(response: WebResponse) -> Self {
        let WebResponse {
            status,
            headers,
            body,
        } = response;
        Self {
            status,
            headers,
            body,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::check_key;

    #[test]
    fn keys_are_those_of_nats_buckets() {
        for key in ["a", "UA.2013-01-01", "a/b=c_d"] {
            assert_eq!(check_key(key), Ok(()), "{key}");
        }
        for key in [
            "",
            ".a",
            "a.",
            "a..b",
            "a b",
            "a*",
            ">",
            "ü",
            &"x".repeat(1025),
        ] {
            assert!(check_key(key).is_err(), "{key}");
        }
    }
}
