//! The surroundings that tests pretend.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use millstream_function_api::{Entry, LogLevel, Outside, StateWrite, WebRequest, WebResponse};
use serde_json::Value;

use super::table::{HttpAnswer, Table, text};

/// What the tests' file says is there, and what the function wrote since.
#[derive(Debug)]
pub(super) struct Pretended {
    bucket: Mutex<BTreeMap<String, Bytes>>,
    lookup: BTreeMap<String, BTreeMap<String, String>>,
    http: BTreeMap<String, HttpAnswer>,
}

impl Pretended {
    pub(super) fn new(table: &Table) -> Self {
        let bucket = table.bucket.iter();
        let bucket = bucket.map(|(key, value)| (key.clone(), Bytes::from(value.clone())));
        Self {
            bucket: Mutex::new(bucket.collect()),
            lookup: table.lookup.clone(),
            http: table.http.clone(),
        }
    }

    fn bucket(&self) -> MutexGuard<'_, BTreeMap<String, Bytes>> {
        self.bucket.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How the bucket differs from what a case expects.
    pub(super) fn compare(&self, expected: &BTreeMap<String, Value>) -> Vec<String> {
        let bucket = self.bucket();
        let differs = |(key, wanted): (&String, &Value)| {
            let found = bucket
                .get(key)
                .map(|value| String::from_utf8_lossy(value).into_owned());
            let wanted = (!wanted.is_null()).then(|| text(wanted.clone()));
            if found == wanted {
                return None;
            }
            let shown = |value: Option<String>| {
                value.map_or("none".to_owned(), |value| format!("`{value}`"))
            };
            Some(format!(
                "expected key `{key}` of the bucket to be {}, it is {}",
                shown(wanted),
                shown(found)
            ))
        };
        expected.iter().filter_map(differs).collect()
    }

    fn held(&self, name: &str, key: &str) -> Result<Option<Bytes>, String> {
        let Some(held) = self.lookup.get(name) else {
            return Err(format!("the tests have no `{name}` under `lookup`"));
        };
        Ok(held.get(key).map(|value| Bytes::from(value.clone())))
    }
}

impl Outside for Pretended {
    fn log(&self, _level: LogLevel, _text: &str) {}

    fn state(&self, key: &str) -> Result<Option<Bytes>, String> {
        Ok(self.bucket().get(key).cloned())
    }

    fn write_state(&self, writes: Vec<StateWrite>) {
        let mut bucket = self.bucket();
        for (key, value) in writes {
            match value {
                Some(value) => bucket.insert(key, value),
                None => bucket.remove(&key),
            };
        }
    }

    fn last(&self, station: &str, subject: &str) -> Result<Option<Entry>, String> {
        let held = self.held(station, subject)?;
        Ok(held.map(|payload| Entry {
            sequence: 1,
            payload,
            ..Entry::default()
        }))
    }

    fn value(&self, bucket: &str, key: &str) -> Result<Option<Bytes>, String> {
        self.held(bucket, key)
    }

    fn fetch(&self, request: WebRequest, _within: Duration) -> Result<WebResponse, String> {
        let Some(answer) = self.http.get(&request.url) else {
            return Err(format!(
                "the tests have no answer for `{}` under `http`",
                request.url
            ));
        };
        Ok(WebResponse {
            status: answer.status,
            headers: answer.headers.clone().into_iter().collect(),
            body: answer.body.clone().into(),
        })
    }
}
