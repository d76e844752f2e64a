//! In which order a plan's messages are stored, and what counts as a key.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use millstream_types::HeaderBlock;
use serde_json::Value;

use crate::Record;

/// What waits while a message is to be tried again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// Everything behind it: messages are stored in the order in which they came.
    #[default]
    Station,
    /// Those behind it with the same key.
    Key,
    /// Nothing.
    None,
}

/// What a message's key is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum KeyRule {
    /// Its subject.
    #[default]
    Subject,
    /// The first header of this name.
    Header(String),
    /// The member of this name of its JSON object.
    Field(String),
}

impl FromStr for KeyRule {
    type Err = String;

    /// `subject`, `header:NAME` or `field:NAME`.
    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "subject" => Ok(Self::Subject),
            Some(("header", name)) if !name.is_empty() => Ok(Self::Header(name.to_owned())),
            Some(("field", name)) if !name.is_empty() => Ok(Self::Field(name.to_owned())),
            _ => Err("write `subject`, `header:NAME` or `field:NAME`".to_owned()),
        }
    }
}

impl fmt::Display for KeyRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Subject => f.write_str("subject"),
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Field(name) => write!(f, "field:{name}"),
        }
    }
}

impl KeyRule {
    /// The key of a message; `None` where it has none.
    #[must_use]
    pub fn of(&self, record: &mut Record) -> Option<Bytes> {
        match self {
            Self::Subject => Some(record.message.subject.clone()),
            Self::Header(name) => HeaderBlock::new(&record.message.headers)
                .get(name)
                .map(Bytes::copy_from_slice),
            Self::Field(name) => match record.json("key").ok()?.get(name)? {
                Value::Null => None,
                Value::String(text) => Some(Bytes::copy_from_slice(text.as_bytes())),
                other => Some(other.to_string().into()),
            },
        }
    }
}

/// How a plan is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// What waits for a message that is to be tried again.
    pub order: Order,
    /// Threads that run a batch at once.
    pub workers: usize,
    /// What the key of a message is, for functions and [`Order::Key`].
    pub key: Option<KeyRule>,
    /// How often a message is tried again before it is rejected.
    pub max_retries: u32,
}

impl Default for Running {
    fn default() -> Self {
        Self {
            order: Order::default(),
            workers: 1,
            key: None,
            max_retries: 10,
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use millstream_types::{HeadersBuilder, Message, Timestamp};

    use super::{KeyRule, Record};

    #[test]
    fn keys() {
        let message = Message {
            subject: Bytes::from_static(b"flights.UA"),
            headers: HeadersBuilder::new().with("Plane", "N1").build(),
            payload: Bytes::from_static(br#"{"carrier":"UA","flight":7,"gate":null}"#),
            ..Message::default()
        };
        let key = |text: &str| {
            let rule: KeyRule = text.parse().expect("a rule");
            assert_eq!(rule.to_string(), text);
            let key = rule.of(&mut Record::new(message.clone(), Timestamp(0)));
            key.map(|key| String::from_utf8_lossy(&key).into_owned())
        };
        assert_eq!(key("subject").as_deref(), Some("flights.UA"));
        assert_eq!(key("header:Plane").as_deref(), Some("N1"));
        assert_eq!(key("field:carrier").as_deref(), Some("UA"));
        assert_eq!(key("field:flight").as_deref(), Some("7"));
        assert_eq!(key("field:gate"), None);
        assert_eq!(key("header:Gate"), None);
        for wrong in ["", "subjects", "header:", "field", "json:a"] {
            assert!(wrong.parse::<KeyRule>().is_err(), "{wrong}");
        }
    }
}
