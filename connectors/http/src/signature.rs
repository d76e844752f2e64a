//! The signature of a request, see the crate's door text.

use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use thiserror::Error;

/// Header that carries the signature.
pub const SIGNATURE_HEADER: &str = "millstream-signature";

/// Why a signature does not hold.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum SignatureError {
    /// No header.
    #[error("the request carries no `Millstream-Signature`: sign it with the source's secret")]
    Missing,
    /// Not `t=<unix seconds>,v1=<hex>`.
    #[error("`Millstream-Signature` is not of the form `t=<unix seconds>,v1=<hex>`")]
    Form,
    /// Its time is too far away.
    #[error(
        "the time in `Millstream-Signature` is too far from now: check both clocks, and do not replay requests"
    )]
    Time,
    /// Another secret or another body.
    #[error(
        "`Millstream-Signature` does not fit the body: check the secret, and sign the body's bytes as sent"
    )]
    Wrong,
}

fn mac(secret: &[u8], time: u64, body: &[u8]) -> Hmac<Sha256> {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(secret).expect("invariant: HMAC takes keys of any length");
    mac.update(time.to_string().as_bytes());
    mac.update(b".");
    mac.update(body);
    mac
}

/// The header's value for a body sent at `time` (unix seconds).
#[must_use]
pub fn sign(secret: &[u8], time: u64, body: &[u8]) -> String {
    use std::fmt::Write;
    let mut value = format!("t={time},v1=");
    for byte in mac(secret, time, body).finalize().into_bytes() {
        write!(value, "{byte:02x}").expect("invariant: writing to a String does not fail");
    }
    value
}

/// Checks a header's value against the body as received at `now` (unix seconds).
///
/// # Errors
/// What does not hold.
pub fn verify(
    secret: &[u8],
    value: Option<&str>,
    body: &[u8],
    now: u64,
    tolerance: Duration,
) -> Result<(), SignatureError> {
    let value = value.ok_or(SignatureError::Missing)?;
    let part = |name: &str| {
        value
            .split(',')
            .find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('='))
    };
    let time: u64 = part("t")
        .and_then(|time| time.parse().ok())
        .ok_or(SignatureError::Form)?;
    let given = part("v1").and_then(from_hex).ok_or(SignatureError::Form)?;
    if now.abs_diff(time) > tolerance.as_secs() {
        return Err(SignatureError::Time);
    }
    // Constant time: `verify_slice` compares that way.
    mac(secret, time, body)
        .verify_slice(&given)
        .map_err(|_| SignatureError::Wrong)
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{SignatureError, sign, verify};

    #[test]
    fn a_signature_holds_for_its_secret_body_and_time() {
        let check = |secret: &str, value: Option<&str>, body: &str, now| {
            verify(
                secret.as_bytes(),
                value,
                body.as_bytes(),
                now,
                Duration::from_secs(300),
            )
        };
        let value = sign(b"key", 1000, b"{}");
        // Computed with another implementation: printf '1000.{}' | openssl dgst -sha256 -hmac key
        assert_eq!(
            value,
            "t=1000,v1=c32de42341dece79a1511c9e7f74a2734112edcfcf48943c976faf07047065db"
        );
        assert_eq!(check("key", Some(&value), "{}", 1300), Ok(()));
        assert_eq!(check("key", Some(&value), "{}", 700), Ok(()));
        assert_eq!(
            check("key", Some(&value), "{}", 1301),
            Err(SignatureError::Time)
        );
        assert_eq!(
            check("kay", Some(&value), "{}", 1000),
            Err(SignatureError::Wrong)
        );
        assert_eq!(
            check("key", Some(&value), "{ }", 1000),
            Err(SignatureError::Wrong)
        );
        assert_eq!(check("key", None, "{}", 1000), Err(SignatureError::Missing));
        for form in [
            "",
            "t=1000",
            "v1=00",
            "t=x,v1=00",
            "t=1000,v1=0",
            "t=1000,v1=zz",
            "t=1000,v1=\u{e9}",
        ] {
            assert_eq!(
                check("key", Some(form), "{}", 1000),
                Err(SignatureError::Form),
                "{form}"
            );
        }
    }
}
