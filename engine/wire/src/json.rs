//! The JSON of INFO and CONNECT.

use serde::{Deserialize, Serialize};

/// What a server says of itself; the fields clients read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServerInfo {
    /// Unique per run.
    pub server_id: String,
    /// For people.
    pub server_name: String,
    /// The nats-server version whose behaviour clients may expect.
    pub version: String,
    /// Clients read it and do nothing with it; names our language.
    pub go: String,
    /// Where clients connect.
    pub host: String,
    /// Where clients connect.
    pub port: u16,
    /// Whether HPUB and HMSG are spoken.
    pub headers: bool,
    /// Largest message.
    pub max_payload: usize,
    /// Protocol level; 1 means INFO may come again.
    pub proto: u8,
    /// The connection's number.
    pub client_id: u64,
    /// Whether CONNECT must prove who it is.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub auth_required: bool,
    /// Whether JetStream is on.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub jetstream: bool,
    /// The client's address as the server sees it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub client_ip: String,
    /// JetStream API level.
    #[serde(skip_serializing_if = "is_zero")]
    pub api_lvl: u32,
}

fn is_zero(level: &u32) -> bool {
    *level == 0
}

fn yes() -> bool {
    true
}

/// What a client says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectOptions {
    /// Whether every operation is answered with `+OK`.
    #[serde(default)]
    pub verbose: bool,
    /// Whether subjects are checked strictly.
    #[serde(default)]
    pub pedantic: bool,
    /// Whether it gets its own messages.
    #[serde(default = "yes")]
    pub echo: bool,
    /// Whether it speaks headers.
    #[serde(default)]
    pub headers: bool,
    /// Whether it wants a 503 when nobody listens.
    #[serde(default)]
    pub no_responders: bool,
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// Its library's language.
    #[serde(default)]
    pub lang: String,
    /// Its library's version.
    #[serde(default)]
    pub version: String,
    /// Protocol level.
    #[serde(default)]
    pub protocol: i64,
    /// User name.
    #[serde(default)]
    pub user: Option<String>,
    /// Password.
    #[serde(default)]
    pub pass: Option<String>,
    /// Token.
    #[serde(default)]
    pub auth_token: Option<String>,
}
