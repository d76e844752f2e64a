//! One request and its answer, for code that asks other hosts itself: functions.

use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Url};

use crate::client::client;
use crate::resolver::{PrivateAddress, check_literal};

/// A request to another host.
#[derive(Clone, Debug, Default)]
pub struct FetchRequest {
    /// `GET`, `POST` …
    pub method: String,
    /// Its whole address.
    pub url: String,
    /// Headers.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// The answer, whatever its status.
#[derive(Clone, Debug, Default)]
pub struct FetchResponse {
    /// HTTP status.
    pub status: u16,
    /// Headers whose values are text.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// Asks other hosts under the rules of webhooks: no redirects, no proxies, no private addresses unless they are allowed.
#[derive(Clone, Debug)]
pub struct Fetcher {
    client: reqwest::Client,
    allow_private: bool,
    max_body: usize,
}

impl Fetcher {
    /// A client whose answers have at most `max_body` bytes.
    ///
    /// # Errors
    /// A text for people when no client can be made; not expected.
    pub fn new(allow_private: bool, max_body: usize) -> Result<Self, String> {
        // Each request brings its own limit, which is never longer.
        let client = client(Duration::from_secs(300), allow_private)?;
        Ok(Self {
            client,
            allow_private,
            max_body,
        })
    }

    /// Asks and waits for the whole answer.
    ///
    /// # Errors
    /// A sentence that says why there is no answer. It never repeats the address.
    pub async fn fetch(
        &self,
        request: FetchRequest,
        within: Duration,
    ) -> Result<FetchResponse, String> {
        let url = Url::parse(&request.url).map_err(|error| format!("no address: {error}"))?;
        if !self.allow_private {
            let host = url.host_str().unwrap_or_default();
            check_literal(host).map_err(|error| private(&error))?;
        }
        let method = Method::from_bytes(request.method.as_bytes())
            .map_err(|_| format!("`{}` is no method", request.method.escape_debug()))?;
        let mut headers = HeaderMap::new();
        for (name, value) in &request.headers {
            let wrong = || format!("`{}` is no header", name.escape_debug());
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong())?;
            let value = HeaderValue::from_str(value).map_err(|_| wrong())?;
            headers.append(name, value);
        }
        let sent = self
            .client
            .request(method, url)
            .headers(headers)
            .body(request.body)
            .timeout(within)
            .send();
        let mut answer = sent.await.map_err(failed)?;
        let status = answer.status().as_u16();
        let text = |value: &HeaderValue| value.to_str().ok().map(str::to_owned);
        let headers = answer
            .headers()
            .iter()
            .filter_map(|(name, value)| Some((name.as_str().to_owned(), text(value)?)))
            .collect();
        let mut body = Vec::new();
        while let Some(part) = answer.chunk().await.map_err(failed)? {
            if body.len() + part.len() > self.max_body {
                return Err(format!("the answer has more than {} bytes", self.max_body));
            }
            body.extend_from_slice(&part);
        }
        Ok(FetchResponse {
            status,
            headers,
            body,
        })
    }
}

fn private(error: &PrivateAddress) -> String {
    format!("`{}` is a private or local address", error.host)
}

fn failed(error: reqwest::Error) -> String {
    if let Some(error) = PrivateAddress::among(&error) {
        return private(error);
    }
    if error.is_timeout() {
        return "the time for the answer is over".to_owned();
    }
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::{FetchRequest, Fetcher};

    const SOON: Duration = Duration::from_secs(10);

    async fn server(answer: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.expect("a request");
            let mut seen = [0; 1024];
            let _asked = socket.read(&mut seen).await.expect("read");
            socket.write_all(answer.as_bytes()).await.expect("written");
        });
        format!("http://{address}/x")
    }

    fn get(url: String) -> FetchRequest {
        FetchRequest {
            method: "GET".to_owned(),
            url,
            ..FetchRequest::default()
        }
    }

    #[tokio::test]
    async fn answers_have_a_size_and_redirects_are_answers() {
        let fetcher = Fetcher::new(true, 5).expect("a client");
        let url =
            server("HTTP/1.1 302 Found\r\nLocation: http://x/\r\nContent-Length: 5\r\n\r\nhello");
        let answer = fetcher
            .fetch(get(url.await), SOON)
            .await
            .expect("an answer");
        assert_eq!(
            (answer.status, answer.body.as_slice()),
            (302, &b"hello"[..])
        );
        let url = server("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello!");
        let error = fetcher
            .fetch(get(url.await), SOON)
            .await
            .expect_err("too large");
        assert_eq!(error, "the answer has more than 5 bytes");
    }

    #[tokio::test]
    async fn private_addresses_are_not_asked() {
        let fetcher = Fetcher::new(false, 5).expect("a client");
        for url in [
            "http://127.0.0.1:1/",
            "http://[::1]/",
            "http://169.254.169.254/a",
        ] {
            let error = fetcher
                .fetch(get(url.to_owned()), SOON)
                .await
                .expect_err(url);
            assert!(error.contains("private or local"), "{error}");
        }
        let error = fetcher
            .fetch(get("http://localhost:1/".to_owned()), SOON)
            .await;
        assert!(error.expect_err("local").contains("private or local"));
    }
}
