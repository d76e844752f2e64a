//! What belongs to one connection: its settings, and the key by which another connection cancels what it runs.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use pgwire::api::ClientInfo;
use pgwire::api::cancel::CancelHandler;
use pgwire::messages::cancel::CancelRequest;
use pgwire::messages::startup::SecretKey;
use tokio::sync::watch;

use crate::cursors::Cursor;
use crate::startup::POSTGRES_VERSION;

/// The setting of how long a statement may take, in milliseconds; 0 is the longest there is.
pub(crate) const STATEMENT_TIMEOUT: &str = "statement_timeout";

/// The setting of the group whose tables need no group in front of their names.
const SEARCH_PATH: &str = "search_path";

/// Settings that a session may ask for without having set them. What changes nothing here is kept and told all the same.
const DEFAULTS: &[(&str, &str)] = &[
    ("application_name", ""),
    ("bytea_output", "hex"),
    ("client_encoding", "UTF8"),
    ("client_min_messages", "notice"),
    ("datestyle", "ISO, MDY"),
    ("default_table_access_method", "heap"),
    ("default_transaction_isolation", "read committed"),
    ("default_transaction_read_only", "on"),
    ("extra_float_digits", "1"),
    ("idle_in_transaction_session_timeout", "0"),
    ("integer_datetimes", "on"),
    ("intervalstyle", "postgres"),
    ("is_superuser", "off"),
    ("lock_timeout", "0"),
    ("max_identifier_length", "63"),
    ("max_index_keys", "32"),
    (SEARCH_PATH, "stations"),
    ("server_encoding", "UTF8"),
    ("server_version", POSTGRES_VERSION),
    ("server_version_num", "150000"),
    ("standard_conforming_strings", "on"),
    (STATEMENT_TIMEOUT, ""),
    ("timezone", "UTC"),
    ("transaction_isolation", "read committed"),
    ("transaction_read_only", "on"),
];

/// Settings that cannot be others than they are, and why.
const FIXED: &[(&str, &str)] = &[
    ("integer_datetimes", "it is what it is"),
    ("is_superuser", "nobody is"),
    ("max_identifier_length", "it is what it is"),
    ("max_index_keys", "it is what it is"),
    ("server_encoding", "it is UTF8"),
    ("server_version", "it is what it is"),
    ("server_version_num", "it is what it is"),
    ("transaction_read_only", "statements only read"),
    ("default_transaction_read_only", "statements only read"),
];

/// One connection.
#[derive(Debug)]
pub(crate) struct Session {
    /// Counts the requests to cancel.
    cancel: watch::Sender<u64>,
    settings: Mutex<BTreeMap<String, String>>,
    cursors: Mutex<BTreeMap<String, Arc<Cursor>>>,
}

impl Default for Session {
    fn default() -> Self {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Self {
            cancel: watch::Sender::new(0),
            settings: Mutex::new(DEFAULTS.iter().map(own).collect()),
            cursors: Mutex::default(),
        }
    }
}

impl Session {
    /// The session of a client that was let in.
    pub(crate) fn of(client: &impl ClientInfo) -> Arc<Self> {
        client
            .session_extensions()
            .get_or_insert_with(Self::default)
    }

    /// Changes when somebody wants to cancel what runs from now on.
    pub(crate) fn cancelled(&self) -> watch::Receiver<u64> {
        self.cancel.subscribe()
    }

    fn settings(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        // What is in there is whole whoever panicked.
        self.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A setting's value.
    pub(crate) fn get(&self, name: &str) -> Option<String> {
        self.settings().get(&name.to_ascii_lowercase()).cloned()
    }

    /// All settings.
    pub(crate) fn all(&self) -> BTreeMap<String, String> {
        self.settings().clone()
    }

    /// Sets; `None` is the default again.
    pub(crate) fn set(&self, name: &str, value: Option<&str>) -> Result<(), String> {
        let name = name.to_ascii_lowercase();
        let default = DEFAULTS.iter().find(|(own, _)| *own == name);
        let Some(value) = value else {
            match default {
                Some((_, value)) => self.settings().insert(name, (*value).to_owned()),
                None => self.settings().remove(&name),
            };
            return Ok(());
        };
        if let Some((_, why)) = FIXED.iter().find(|(own, _)| *own == name)
            && default.is_none_or(|(_, own)| !same(own, value))
        {
            return Err(format!("`{name}` cannot be set: {why}"));
        }
        if name == "client_encoding"
            && !same(&value.replace(['-', '_'], ""), "UTF8")
            && !same(value, "unicode")
        {
            return Err(format!(
                "`client_encoding` is `{value}`: only UTF8 is possible"
            ));
        }
        if name == STATEMENT_TIMEOUT && milliseconds(value).is_none() {
            let example = "write milliseconds, or a number with `ms`, `s`, `min` or `h`";
            return Err(format!("`{STATEMENT_TIMEOUT}` is `{value}`: {example}"));
        }
        self.settings().insert(name, value.to_owned());
        Ok(())
    }

    /// The groups whose tables need no group in front of their names, best first.
    pub(crate) fn search_path(&self) -> Vec<String> {
        let path = self.get(SEARCH_PATH).unwrap_or_default();
        let names = path.split(',').map(|name| name.trim().trim_matches('"'));
        names.map(str::to_owned).collect()
    }

    /// The cursors that are open.
    pub(crate) fn cursors(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Cursor>>> {
        // What is in there is whole whoever panicked.
        self.cursors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets what a client says in `options` as it would on a command line: `-c name=value`, `--name=value`.
    pub(crate) fn set_options(&self, options: &str) {
        let mut words = options.split_whitespace();
        while let Some(word) = words.next() {
            let setting = match word {
                "-c" => words.next(),
                word => word.strip_prefix("--").or_else(|| word.strip_prefix("-c")),
            };
            if let Some((name, value)) = setting.and_then(|setting| setting.split_once('=')) {
                // What cannot be set keeps its value, as a connection is worth more than a setting.
                let _kept = self.set(&name.replace('-', "_"), Some(value));
            }
        }
    }

    /// How long a statement may take.
    pub(crate) fn time(&self, usual: Duration, most: Duration) -> Duration {
        let set = self.get(STATEMENT_TIMEOUT).unwrap_or_default();
        match milliseconds(&set) {
            None => usual,
            Some(0) => most,
            Some(milliseconds) => Duration::from_millis(milliseconds).min(most),
        }
    }
}

fn same(left: &str, right: &str) -> bool {
    left.eq_ignore_ascii_case(right)
}

fn milliseconds(text: &str) -> Option<u64> {
    let text = text.trim();
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let factor = match unit.trim() {
        "" | "ms" => 1,
        "s" => 1000,
        "min" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

type Key = (i32, Vec<u8>);

/// The sessions there are, by their keys.
#[derive(Debug, Default)]
pub(crate) struct Sessions(Mutex<BTreeMap<Key, Arc<Session>>>);

impl Sessions {
    fn known(&self) -> MutexGuard<'_, BTreeMap<Key, Arc<Session>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a session be cancelled until what is returned is dropped.
    pub(crate) fn enter(
        self: &Arc<Self>,
        pid: i32,
        secret: &SecretKey,
        session: Arc<Session>,
    ) -> Entered {
        let key = (pid, secret.to_bytes().to_vec());
        self.known().insert(key.clone(), session);
        Entered {
            key,
            sessions: Arc::clone(self),
        }
    }
}

/// A session that can be cancelled.
#[derive(Debug)]
pub(crate) struct Entered {
    key: Key,
    sessions: Arc<Sessions>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.sessions.known().remove(&self.key);
    }
}

#[async_trait]
impl CancelHandler for Sessions {
    /// A wrong key is not answered, which helps nobody who guesses.
    async fn on_cancel_request(&self, request: CancelRequest) {
        let key = (request.pid, request.secret_key.to_bytes().to_vec());
        if let Some(session) = self.known().get(&key) {
            session.cancel.send_modify(|count| *count += 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_kept_and_checked() {
        let session = Session::default();
        let (usual, most) = (Duration::from_secs(60), Duration::from_secs(3600));
        assert_eq!(session.time(usual, most), usual);
        for (value, seconds) in [("2s", 2), ("1500", 1), ("0", 3600), ("5h", 3600)] {
            session
                .set("Statement_Timeout", Some(value))
                .expect("a time");
            assert_eq!(session.time(usual, most).as_secs(), seconds, "{value}");
        }
        session.set(STATEMENT_TIMEOUT, None).expect("the default");
        assert_eq!(session.time(usual, most), usual);
        for (name, value) in [
            (STATEMENT_TIMEOUT, "soon"),
            ("client_encoding", "LATIN1"),
            ("transaction_read_only", "off"),
        ] {
            assert!(session.set(name, Some(value)).is_err(), "{name}");
        }
        session
            .set("client_encoding", Some("utf-8"))
            .expect("the only one");
        session.set_options("-c statement_timeout=7s --search-path=system -c=x");
        assert_eq!(session.time(usual, most).as_secs(), 7);
        assert_eq!(session.search_path(), ["system"]);
        session.set("my.own", Some("x")).expect("anything");
        assert_eq!(session.get("MY.OWN").as_deref(), Some("x"));
    }
}
