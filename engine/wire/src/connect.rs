//! The JSON body of CONNECT.

use serde::{Deserialize, Serialize};

/// What a client says about itself and wants. Fields a client leaves out (or sends as `null`) get nats-server's
/// defaults, which are talkative: `verbose`, `pedantic` and `echo` are on. Unknown fields are ignored.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Raw")]
pub struct ConnectOptions {
    /// Answer `+OK` to every operation.
    pub verbose: bool,
    /// Check subjects of publishes strictly.
    pub pedantic: bool,
    /// Deliver the connection's own messages to its own subscriptions.
    pub echo: bool,
    /// The client wants TLS.
    pub tls_required: bool,
    /// The client understands HMSG.
    pub headers: bool,
    /// The client wants a 503 for requests that nobody receives; needs `headers`.
    pub no_responders: bool,
    /// 0, or 1 when the client understands INFO after the first one.
    pub protocol: i64,
    /// The connection's name, for people.
    pub name: String,
    /// The client library's language.
    pub lang: String,
    /// The client library's version.
    pub version: String,
    /// User name, when the server asks for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Password, when the server asks for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pass: Option<String>,
    /// Token, when the server asks for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth_token: Option<String>,
}

impl std::fmt::Debug for ConnectOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Secrets never reach a log.
        f.debug_struct("ConnectOptions")
            .field("name", &self.name)
            .field("lang", &self.lang)
            .field("version", &self.version)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

impl ConnectOptions {
    /// Reads the JSON of a CONNECT line.
    ///
    /// # Errors
    /// When it is no JSON object or a field has the wrong type.
    pub fn parse(json: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(json)
    }
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self::from(Raw::default())
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Raw {
    verbose: Option<bool>,
    pedantic: Option<bool>,
    echo: Option<bool>,
    tls_required: Option<bool>,
    headers: Option<bool>,
    no_responders: Option<bool>,
    protocol: Option<i64>,
    name: Option<String>,
    lang: Option<String>,
    version: Option<String>,
    user: Option<String>,
    pass: Option<String>,
    auth_token: Option<String>,
}

impl From<Raw> for ConnectOptions {
    fn from(raw: Raw) -> Self {
        Self {
            verbose: raw.verbose.unwrap_or(true),
            pedantic: raw.pedantic.unwrap_or(true),
            echo: raw.echo.unwrap_or(true),
            tls_required: raw.tls_required.unwrap_or(false),
            headers: raw.headers.unwrap_or(false),
            no_responders: raw.no_responders.unwrap_or(false),
            protocol: raw.protocol.unwrap_or(0),
            name: raw.name.unwrap_or_default(),
            lang: raw.lang.unwrap_or_default(),
            version: raw.version.unwrap_or_default(),
            user: raw.user,
            pass: raw.pass,
            auth_token: raw.auth_token,
        }
    }
}
