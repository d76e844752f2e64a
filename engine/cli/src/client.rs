//! Requests to the management API.

use std::error::Error;
use std::net::IpAddr;
use std::time::Duration;

use millstream_load::{Login, Target};
use reqwest::{Method, RequestBuilder, Response, Url};
use serde_json::Value;

use crate::error::CliError;

/// Time to reach the server at all.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for an answer that is no stream; compiling a large function takes a while.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(300);

/// A server's management API.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    server: String,
    base: Url,
    http: reqwest::Client,
}

impl Client {
    pub(crate) fn new(server: &str) -> Result<Self, CliError> {
        let wrong = |reason: String| CliError::Address {
            server: server.to_owned(),
            reason,
        };
        let text = if server.contains("://") {
            server.to_owned()
        } else {
            format!("http://{server}")
        };
        let base = Url::parse(&text).map_err(|error| wrong(error.to_string()))?;
        if !matches!(base.scheme(), "http" | "https") {
            return Err(wrong(format!(
                "`{}` is neither http nor https",
                base.scheme()
            )));
        }
        // Fails when one is installed already, which is as good.
        drop(rustls::crypto::ring::default_provider().install_default());
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            // The server is named; a proxy for the web has no part in this.
            .no_proxy()
            .build()
            .map_err(|error| wrong(innermost(&error)))?;
        // Named in errors, without the password.
        let mut shown = base.clone();
        // Fails for addresses that cannot have credentials, which is as good.
        let _none = shown.set_username("");
        let _none = shown.set_password(None);
        Ok(Self {
            server: shown.as_str().trim_end_matches('/').to_owned(),
            base,
            http,
        })
    }

    /// `GET /api/v1/…` with a query.
    pub(crate) async fn get(
        &self,
        path: &[&str],
        query: &[(&str, String)],
    ) -> Result<Value, CliError> {
        self.value(self.request(Method::GET, path, query)).await
    }

    /// `DELETE /api/v1/…`.
    pub(crate) async fn delete(&self, path: &[&str]) -> Result<Value, CliError> {
        self.value(self.request(Method::DELETE, path, &[])).await
    }

    /// `POST /api/v1/…` with a JSON body.
    pub(crate) async fn post(&self, path: &[&str], body: &Value) -> Result<Value, CliError> {
        self.value(self.request(Method::POST, path, &[]).json(body))
            .await
    }

    /// A request to the schema registry, below `/schema-registry`.
    pub(crate) async fn registry(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, String)],
        body: Option<&Value>,
    ) -> Result<Value, CliError> {
        let request = self.request_below(&["schema-registry"], method, path, query);
        let request = match body {
            Some(body) => request.json(body),
            None => request,
        };
        self.value(request).await
    }

    /// `POST /api/v1/…` with a JSON body whose answer is JSON lines.
    pub(crate) async fn post_lines(&self, path: &[&str], body: &Value) -> Result<Lines, CliError> {
        let request = self.request(Method::POST, path, &[]).json(body);
        self.lines_of(request).await
    }

    /// `POST /api/v1/…` with a JSON body whose answer is bytes of a media type.
    pub(crate) async fn post_bytes(
        &self,
        path: &[&str],
        body: &Value,
        kind: &str,
    ) -> Result<Pieces, CliError> {
        let request = self.request(Method::POST, path, &[]).json(body);
        let response = self.send(request.header("accept", kind)).await?;
        let response = self.refused(response).await?;
        Ok(Pieces {
            server: self.server.clone(),
            response,
        })
    }

    /// `GET /api/v1/…` whose answer is JSON lines that may go on for ever.
    pub(crate) async fn lines(
        &self,
        path: &[&str],
        query: &[(&str, String)],
    ) -> Result<Lines, CliError> {
        self.lines_of(self.request(Method::GET, path, query)).await
    }

    async fn lines_of(&self, request: RequestBuilder) -> Result<Lines, CliError> {
        let response = self.send(request).await?;
        let response = self.refused(response).await?;
        Ok(Lines {
            server: self.server.clone(),
            response,
            buffer: Vec::new(),
            scanned: 0,
        })
    }

    /// Where clients connect, as the server itself says, and who: the address's user, or its token.
    pub(crate) async fn nats(&self) -> Result<Target, CliError> {
        let mut url = self.base.clone();
        url.set_path("/varz");
        let varz = self.value(self.http.get(url)).await?;
        let unexpected = || CliError::Unexpected {
            server: self.server.clone(),
            status: 200,
        };
        let port = varz.get("port").and_then(Value::as_u64);
        let host = varz.get("host").and_then(Value::as_str);
        let (port, host) = port.zip(host).ok_or_else(unexpected)?;
        let here = self.base.host_str().ok_or_else(unexpected)?;
        Ok(Target {
            address: client_address(host, port, here),
            login: self.login(),
        })
    }

    /// Who the address says is asking.
    pub(crate) fn login(&self) -> Login {
        let plain = |text: &str| percent_decoded(text);
        match (self.base.username(), self.base.password()) {
            ("", None) => Login::Nobody,
            (token, None) => Login::Token(plain(token)),
            (user, Some(password)) => Login::User {
                user: plain(user),
                password: plain(password),
            },
        }
    }

    fn request(&self, method: Method, path: &[&str], query: &[(&str, String)]) -> RequestBuilder {
        self.request_below(&["api", "v1"], method, path, query)
    }

    fn request_below(
        &self,
        root: &[&str],
        method: Method,
        path: &[&str],
        query: &[(&str, String)],
    ) -> RequestBuilder {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(root).extend(path);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        self.http.request(method, url)
    }

    async fn value(&self, request: RequestBuilder) -> Result<Value, CliError> {
        let response = self.send(request.timeout(ANSWER_TIMEOUT)).await?;
        let response = self.refused(response).await?;
        let status = response.status().as_u16();
        let body = response
            .bytes()
            .await
            .map_err(|error| self.broke_off(&error))?;
        if body.is_empty() {
            return Ok(Value::Null);
        }
        let unexpected = |_| CliError::Unexpected {
            server: self.server.clone(),
            status,
        };
        serde_json::from_slice(&body).map_err(unexpected)
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, CliError> {
        request.send().await.map_err(|error| CliError::Unreachable {
            server: self.server.clone(),
            reason: innermost(&error),
        })
    }

    /// An error status as an error.
    async fn refused(&self, response: Response) -> Result<Response, CliError> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body = response
            .bytes()
            .await
            .map_err(|error| self.broke_off(&error))?;
        let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
        let text = |name: &str| body.get(name).and_then(Value::as_str).map(str::to_owned);
        let problems = body.get("problems").and_then(Value::as_array).map(Vec::len);
        // The schema registry says it in its clients' words.
        let number = body.get("error_code").and_then(Value::as_u64);
        let error = text("error")
            .or_else(|| number.and_then(|_| text("message")))
            .or_else(|| problems.map(|_| "the files were refused; nothing was applied".to_owned()));
        let status = status.as_u16();
        Err(match error {
            Some(error) => CliError::Server {
                status,
                error,
                hint: text("hint")
                    .or_else(|| number.and_then(advice))
                    .unwrap_or_default(),
                body,
            },
            None => CliError::Unexpected {
                server: self.server.clone(),
                status,
            },
        })
    }

    fn broke_off(&self, error: &reqwest::Error) -> CliError {
        CliError::BrokeOff {
            server: self.server.clone(),
            reason: innermost(error),
        }
    }
}

/// What to do about an error of the schema registry.
fn advice(number: u64) -> Option<String> {
    let advice = match number {
        40401..=40403 => {
            "`millstream schema list` lists subjects, `millstream schema versions` their versions"
        }
        40404 | 40406 => "`--permanent` deletes it for good",
        409 | 40901 => {
            "`millstream schema check` shows what would break; `millstream schema compat` allows more, or less"
        }
        42201 => {
            "mend the file; `--format` says which language it is in, `--reference` what it refers to"
        }
        42203 => "use NONE, BACKWARD, FORWARD, FULL, or one of the last three with _TRANSITIVE",
        42206 => "delete the schemas that refer to it first",
        _ => return None,
    };
    Some(advice.to_owned())
}

/// Where a server's clients connect that says it listens at `host`, and whose management address is at `here`.
fn client_address(host: &str, port: u64, here: &str) -> String {
    match host.parse::<IpAddr>() {
        // Whoever listens everywhere listens where the management address was found.
        Ok(address) if address.is_unspecified() => format!("{here}:{port}"),
        Ok(IpAddr::V6(address)) => format!("[{address}]:{port}"),
        _ => format!("{host}:{port}"),
    }
}

/// `%40` as `@`: a password in an address is written so.
fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let digits = tail.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        let byte = digits.and_then(|two| u8::from_str_radix(two, 16).ok());
        match (*first, byte) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            (plain, _) => {
                bytes.push(plain);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Bytes as they come.
#[derive(Debug)]
pub(crate) struct Pieces {
    server: String,
    response: Response,
}

impl Pieces {
    /// The next ones; none at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<u8>>, CliError> {
        let next = self.response.chunk().await;
        let next = next.map_err(|error| CliError::BrokeOff {
            server: self.server.clone(),
            reason: innermost(&error),
        })?;
        Ok(next.map(|bytes| bytes.to_vec()))
    }
}

/// JSON lines as they come.
#[derive(Debug)]
pub(crate) struct Lines {
    server: String,
    response: Response,
    buffer: Vec<u8>,
    /// Bytes of the buffer known to hold no line end.
    scanned: usize,
}

impl Lines {
    /// The next value; none at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Value>, CliError> {
        loop {
            if let Some(end) = self.buffer[self.scanned..]
                .iter()
                .position(|byte| *byte == b'\n')
            {
                let line: Vec<u8> = self.buffer.drain(..=self.scanned + end).collect();
                self.scanned = 0;
                if line.trim_ascii().is_empty() {
                    continue;
                }
                return self.read(&line).map(Some);
            }
            self.scanned = self.buffer.len();
            match self.response.chunk().await {
                Ok(Some(chunk)) => self.buffer.extend_from_slice(&chunk),
                Ok(None) if self.buffer.trim_ascii().is_empty() => return Ok(None),
                Ok(None) => {
                    let line = std::mem::take(&mut self.buffer);
                    self.scanned = 0;
                    return self.read(&line).map(Some);
                }
                Err(error) => return Err(self.broke_off(innermost(&error))),
            }
        }
    }

    fn read(&self, line: &[u8]) -> Result<Value, CliError> {
        serde_json::from_slice(line).map_err(|error| self.broke_off(error.to_string()))
    }

    fn broke_off(&self, reason: String) -> CliError {
        CliError::BrokeOff {
            server: self.server.clone(),
            reason,
        }
    }
}

/// The cause a user can act on is the innermost one: `connection refused`.
fn innermost(error: &dyn Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::{client_address, percent_decoded};

    #[test]
    fn where_clients_connect() {
        for (host, here, want) in [
            ("127.0.0.1", "example.org", "127.0.0.1:4222"),
            ("0.0.0.0", "example.org", "example.org:4222"),
            ("::", "[::1]", "[::1]:4222"),
            ("fe80::1", "example.org", "[fe80::1]:4222"),
            ("nats.example.org", "x", "nats.example.org:4222"),
        ] {
            assert_eq!(client_address(host, 4222, here), want);
        }
    }

    #[test]
    fn passwords_of_addresses() {
        for (text, want) in [
            ("a%40b", "a@b"),
            ("%", "%"),
            ("%4", "%4"),
            ("%zz1", "%zz1"),
            ("ö%C3%B6", "öö"),
        ] {
            assert_eq!(percent_decoded(text), want);
        }
    }
}
