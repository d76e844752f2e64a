//! The JSON body of INFO.

use serde::{Deserialize, Serialize};

/// What a server says about itself; the fields client libraries read. Fields another server adds are ignored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServerInfo {
    /// Unique per start of the server.
    pub server_id: String,
    /// The configured name, or the id.
    pub server_name: String,
    /// Clients gate features on it.
    pub version: String,
    /// 1: INFO may come again later.
    pub proto: u8,
    /// The commit the server was built from; may be empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub git_commit: String,
    /// What the server was built with.
    pub go: String,
    /// Where it listens.
    pub host: String,
    /// Where it listens.
    pub port: u16,
    /// HPUB and HMSG are understood.
    pub headers: bool,
    /// CONNECT has to carry credentials.
    #[serde(skip_serializing_if = "is_false")]
    pub auth_required: bool,
    /// The connection has to be upgraded to TLS.
    #[serde(skip_serializing_if = "is_false")]
    pub tls_required: bool,
    /// Most bytes of headers and payload together.
    pub max_payload: usize,
    /// The JetStream API answers.
    #[serde(skip_serializing_if = "is_false")]
    pub jetstream: bool,
    /// The connection's id.
    pub client_id: u64,
    /// The client's address as the server sees it.
    pub client_ip: String,
    /// The server is about to leave.
    #[serde(skip_serializing_if = "is_false")]
    pub ldm: bool,
    /// Other servers of the cluster.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub connect_urls: Vec<String>,
    /// The JetStream API level.
    pub api_lvl: u32,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the shape serde asks for"
)]
fn is_false(value: &bool) -> bool {
    !*value
}
