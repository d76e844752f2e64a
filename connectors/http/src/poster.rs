//! One request and what its answer means.

use std::error::Error;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use millstream_connector_api::SinkRecord;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use reqwest::{Response, StatusCode, Url};

use crate::body::{Format, batch_id};
use crate::resolver::{PrivateAddress, check_literal};
use crate::{SIGNATURE_HEADER, sign};

/// Header with the idempotency key.
const BATCH_ID_HEADER: &str = "millstream-batch-id";
/// Of an answer's body shown in a reason.
const EXCERPT_CHARS: usize = 200;
/// Read of an answer's body, so that the connection can be used again.
const ANSWER_BYTES: usize = 64 * 1024;

/// What the destination made of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Accepted,
    /// The same request may be accepted later.
    Later {
        reason: String,
        after: Option<Duration>,
    },
    /// This request will never be accepted; with fewer records perhaps.
    Refused(String),
    /// Something that a person has to change.
    Fatal(String),
}

#[derive(Debug)]
pub(crate) struct Poster {
    pub(crate) client: reqwest::Client,
    pub(crate) url: Url,
    pub(crate) station: String,
    pub(crate) format: Format,
    pub(crate) allow_private: bool,
    pub(crate) headers: SecretHeaders,
}

/// What must not reach a log line.
#[derive(Clone, Default)]
pub(crate) struct SecretHeaders {
    pub(crate) secret: Option<String>,
    pub(crate) authorization: Option<String>,
}

impl std::fmt::Debug for SecretHeaders {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretHeaders")
    }
}

impl Poster {
    pub(crate) async fn post(&self, records: &[&SinkRecord]) -> Answer {
        if !self.allow_private
            && let Err(error) = check_literal(self.url.host_str().unwrap_or_default())
        {
            return Answer::Fatal(error.to_string());
        }
        let body = self.format.body(&self.station, records);
        let mut request = self
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, self.format.content_type())
            .header(BATCH_ID_HEADER, batch_id(&self.station, records));
        if let Some(secret) = &self.headers.secret {
            request = request.header(SIGNATURE_HEADER, sign(secret.as_bytes(), unix_now(), &body));
        }
        if let Some(authorization) = &self.headers.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        match request.body(body).send().await {
            Ok(response) => self.judge(response).await,
            Err(error) => self.judge_error(&error),
        }
    }

    async fn judge(&self, mut response: Response) -> Answer {
        let status = response.status();
        let after = retry_after(response.headers(), SystemTime::now());
        let location = response
            .headers()
            .get("location")
            .and_then(|to| to.to_str().ok())
            .map(str::to_owned);
        let excerpt = read_some(&mut response).await;
        let reason = format!("{} answered {status}{excerpt}", self.destination());
        match status {
            status if status.is_success() => Answer::Accepted,
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS => {
                Answer::Later { reason, after }
            }
            status if status.is_server_error() => Answer::Later { reason, after },
            status if status.is_client_error() => Answer::Refused(reason),
            _ => {
                let to = location.map(|to| format!(" to `{to}`")).unwrap_or_default();
                Answer::Fatal(format!(
                    "{reason}{to}: redirects are not followed, set `url` to the final address"
                ))
            }
        }
    }

    fn judge_error(&self, error: &reqwest::Error) -> Answer {
        if let Some(private) = PrivateAddress::among(error) {
            return Answer::Fatal(private.to_string());
        }
        if error.is_builder() {
            return Answer::Fatal(format!(
                "the request to {} cannot be made: {}",
                self.destination(),
                root(error)
            ));
        }
        let what = if error.is_timeout() {
            "did not answer in time".to_owned()
        } else if error.is_connect() {
            format!("cannot be reached: {}", root(error))
        } else {
            format!("broke the exchange: {}", root(error))
        };
        Answer::Later {
            reason: format!("{} {what}", self.destination()),
            after: None,
        }
    }

    /// The address without what may be secret in it: user, password, path and query.
    fn destination(&self) -> String {
        let host = self.url.host_str().unwrap_or_default();
        match self.url.port() {
            Some(port) => format!("`{}://{host}:{port}`", self.url.scheme()),
            None => format!("`{}://{host}`", self.url.scheme()),
        }
    }
}

/// The innermost cause: the outer ones repeat the address, which may hold a secret.
fn root(error: &(dyn Error + 'static)) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

async fn read_some(response: &mut Response) -> String {
    let mut read = Vec::new();
    while read.len() < ANSWER_BYTES {
        match response.chunk().await {
            Ok(Some(chunk)) => read.extend_from_slice(&chunk),
            Ok(None) | Err(_) => break,
        }
    }
    let text = String::from_utf8_lossy(&read);
    let words: Vec<&str> = text.split_whitespace().collect();
    let line: String = words
        .join(" ")
        .chars()
        .filter(|c| !c.is_control())
        .take(EXCERPT_CHARS)
        .collect();
    if line.is_empty() {
        line
    } else {
        format!(": {line}")
    }
}

/// Seconds, or a date as HTTP writes it (RFC 9110 10.2.3).
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

pub(crate) fn unix_now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use reqwest::header::{HeaderMap, HeaderValue, RETRY_AFTER};

    use super::retry_after;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let after = |text: &'static str| {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static(text))]);
            retry_after(&headers, now)
        };
        assert_eq!(after("7"), Some(Duration::from_secs(7)));
        assert_eq!(
            after("Sun, 06 Nov 1994 08:50:00 GMT"),
            Some(Duration::from_secs(23))
        );
        assert_eq!(after("Sun, 06 Nov 1994 08:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(after("soon"), None);
    }
}
