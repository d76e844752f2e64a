//! Reading a block key by key. Every problem is noted and reading goes on.

use std::cell::RefCell;
use std::time::Duration;

use millstream_types::parse_duration;

use crate::conf::{At, Data, Entry, Value, parse_size};
use crate::problem::Problem;
use millstream_types::nearest;

use super::Secret;
use super::keys::Key;

/// Problems found so far.
pub(super) type Notes = RefCell<Vec<Problem>>;

/// A block whose keys were checked against the known ones.
pub(super) struct Table<'a> {
    entries: &'a [Entry],
    keys: &'static [Key],
    notes: &'a Notes,
}

impl<'a> Table<'a> {
    /// `block` is how it is called in problems, such as `` `jetstream` ``; empty for the file.
    pub(super) fn new(
        entries: &'a [Entry],
        keys: &'static [Key],
        block: &str,
        notes: &'a Notes,
    ) -> Self {
        let of = if block.is_empty() {
            String::new()
        } else {
            format!(" of {block}")
        };
        for entry in entries {
            let word = entry.key.to_ascii_lowercase();
            let problem = match keys.iter().find(|key| key.names.contains(&word.as_str())) {
                Some(key) if key.supported => continue,
                // nats-server lets a key stand that only serves as a variable.
                None if entry.is_variable => continue,
                Some(_) => {
                    let message = format!("key `{}`{of} is not supported yet", entry.key);
                    Problem::new(Some(&entry.at), message).with_hint("take it out")
                }
                None => {
                    let problem =
                        Problem::new(Some(&entry.at), format!("unknown key `{}`{of}", entry.key));
                    match nearest(&word, keys.iter().flat_map(|key| key.names.iter().copied())) {
                        Some(name) => problem.with_hint(format!("did you mean `{name}`?")),
                        None => problem,
                    }
                }
            };
            notes.borrow_mut().push(problem);
        }
        Self {
            entries,
            keys,
            notes,
        }
    }

    /// The key's last entry, whatever its spelling.
    pub(super) fn entry(&self, key: &str) -> Option<&'a Entry> {
        let known = self.keys.iter().find(|known| known.names[0] == key);
        let names = known
            .expect("invariant: only keys of the table are asked for")
            .names;
        self.entries
            .iter()
            .rev()
            .find(|entry| names.contains(&entry.key.to_ascii_lowercase().as_str()))
    }

    pub(super) fn note(&self, at: &At, message: impl Into<String>) {
        self.notes
            .borrow_mut()
            .push(Problem::new(Some(at), message));
    }

    pub(super) fn wrong<T>(&self, entry: &Entry, expected: &str) -> Option<T> {
        let message = format!(
            "`{}` must be {expected}, not {}",
            entry.key,
            entry.value.data.what()
        );
        self.note(&entry.value.at, message);
        None
    }

    pub(super) fn truth(&self, key: &str) -> Option<bool> {
        let entry = self.entry(key)?;
        match entry.value.data {
            Data::Bool(value) => Some(value),
            _ => self.wrong(entry, "`true` or `false`"),
        }
    }

    /// A text; numbers and words such as `on` count as the text they were written as only when
    /// nothing is lost by it.
    pub(super) fn text(&self, key: &str) -> Option<String> {
        let entry = self.entry(key)?;
        match &entry.value.data {
            Data::Text(text) | Data::Time(text) => Some(text.clone()),
            Data::Int(number) => Some(number.to_string()),
            _ => self.wrong(entry, "a text; put it in quotes"),
        }
    }

    /// A password or token. A number must be quoted: `007` would lose its zeros.
    pub(super) fn secret(&self, key: &str) -> Option<Secret> {
        let entry = self.entry(key)?;
        match &entry.value.data {
            Data::Text(text) => {
                if text.starts_with("$2a$") || text.starts_with("$2b$") || text.starts_with("$2y$")
                {
                    let message = format!(
                        "`{}` is a bcrypt hash, which is not supported yet",
                        entry.key
                    );
                    let problem = Problem::new(Some(&entry.value.at), message);
                    let hint =
                        "give the password itself, for example from the environment: `$PASSWORD`";
                    self.notes.borrow_mut().push(problem.with_hint(hint));
                    return None;
                }
                Some(Secret::new(text.as_str()))
            }
            _ => self.wrong(entry, "a text; put it in quotes"),
        }
    }

    /// A whole number within bounds.
    pub(super) fn number(&self, key: &str, min: i64, max: i64) -> Option<i64> {
        let entry = self.entry(key)?;
        let Data::Int(number) = entry.value.data else {
            return self.wrong(entry, "a whole number");
        };
        if (min..=max).contains(&number) {
            return Some(number);
        }
        let message = format!("`{}` must be {min} to {max}, not {number}", entry.key);
        self.note(&entry.value.at, message);
        None
    }

    /// A size; -1 counts as not set, as nats-server means it.
    pub(super) fn size(&self, key: &str) -> Option<u64> {
        let entry = self.entry(key)?;
        let bytes = match &entry.value.data {
            Data::Int(number) => Some(*number),
            Data::Text(text) => parse_size(text),
            _ => None,
        };
        match bytes {
            Some(-1) => None,
            Some(bytes) if bytes >= 0 => u64::try_from(bytes).ok(),
            _ => self.wrong(entry, "a size such as `512MB`"),
        }
    }

    /// A duration as text, or seconds as a number; above 0.
    pub(super) fn duration(&self, key: &str) -> Option<Duration> {
        let entry = self.entry(key)?;
        let value = match &entry.value.data {
            Data::Int(seconds) => u64::try_from(*seconds).ok().map(Duration::from_secs),
            Data::Float(seconds) => Duration::try_from_secs_f64(*seconds).ok(),
            Data::Text(text) => parse_duration(text).ok(),
            _ => None,
        };
        match value {
            Some(value) if value > Duration::ZERO => Some(value),
            _ => {
                let message = format!(
                    "`{}` must be a duration above 0, such as `\"2s\"` or 2",
                    entry.key
                );
                self.note(&entry.value.at, message);
                None
            }
        }
    }

    /// `port`, `"host:port"` or `"[v6]:port"`; port -1 for any free one.
    pub(super) fn address(&self, key: &str) -> Option<(Option<String>, i64)> {
        let entry = self.entry(key)?;
        let valid = |port: &i64| (-1..=65_535).contains(port);
        let read = match &entry.value.data {
            Data::Int(port) => Some((None, *port)),
            Data::Text(text) => text.rsplit_once(':').and_then(|(host, port)| {
                let host = host
                    .strip_prefix('[')
                    .and_then(|host| host.strip_suffix(']'))
                    .unwrap_or(host);
                let host = (!host.is_empty() && host != "*").then(|| host.to_owned());
                Some((
                    host.or_else(|| Some("0.0.0.0".to_owned())),
                    port.parse().ok()?,
                ))
            }),
            _ => None,
        };
        match read.filter(|(_, port)| valid(port)) {
            Some(address) => Some(address),
            None => {
                let message = format!("`{}` must be `host:port` or a port", entry.key);
                self.note(&entry.value.at, message);
                None
            }
        }
    }

    /// A block with its own keys.
    pub(super) fn block(&self, value: &'a Value, keys: &'static [Key], name: &str) -> Option<Self> {
        match &value.data {
            Data::Map(entries) => Some(Self::new(entries, keys, name, self.notes)),
            other => {
                self.note(
                    &value.at,
                    format!("{name} must be a block `{{ … }}`, not {}", other.what()),
                );
                None
            }
        }
    }
}
