//! Which requests a guest may make.

use millstream_function_api::WebRequest;
use url::{Host, Url};

/// Largest request: address, headers and body.
const MAX_REQUEST: usize = 1 << 20;

/// Whether a request goes to one of the `hosts` of the function's document, as the guest is told when it does not.
///
/// Only names are looked at here. What a name stands for is looked up, and held against private networks, by who asks.
pub(crate) fn check(request: &WebRequest, hosts: &[String]) -> Result<(), String> {
    let url = Url::parse(&request.url)
        .map_err(|error| format!("`{}` is no address: {error}", request.url.escape_debug()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("`{}` is neither http nor https", url.scheme()));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("an address holds no user; send a header".to_owned());
    }
    let size: usize = request.headers.iter().map(|(n, v)| n.len() + v.len()).sum();
    if size + request.url.len() + request.body.len() > MAX_REQUEST {
        return Err(format!("request has more than {MAX_REQUEST} bytes"));
    }
    let named = match url.host() {
        Some(Host::Domain(name)) => name.trim_end_matches('.').to_owned(),
        Some(address) => address.to_string(),
        None => String::new(),
    };
    let port = url.port().map(|port| format!("{named}:{port}"));
    let listed = |pattern: &String| {
        let pattern = pattern.to_ascii_lowercase();
        match pattern.strip_prefix("*.") {
            // Below it, and not itself; another port than the scheme's own must be written out.
            Some(parent) => {
                port.is_none()
                    && named
                        .strip_suffix(parent)
                        .is_some_and(|below| below.len() > 1 && below.ends_with('.'))
            }
            None => port.as_ref().unwrap_or(&named) == &pattern,
        }
    };
    if hosts.iter().any(listed) {
        return Ok(());
    }
    let asked = port.as_ref().unwrap_or(&named);
    Err(format!(
        "host `{asked}` is not listed under `http:` in the function's document"
    ))
}

#[cfg(test)]
mod tests {
    use millstream_function_api::WebRequest;

    use super::check;

    fn fits(url: &str) -> bool {
        let hosts = ["api.example.org", "*.example.net", "10.0.0.1:8080"].map(str::to_owned);
        let request = WebRequest {
            url: url.to_owned(),
            ..WebRequest::default()
        };
        check(&request, &hosts).is_ok()
    }

    #[test]
    fn only_listed_hosts() {
        for url in [
            "https://api.example.org/a?b",
            "http://API.EXAMPLE.ORG.",
            "https://a.b.example.net/",
            "http://10.0.0.1:8080/",
        ] {
            assert!(fits(url), "{url}");
        }
        for url in [
            "https://example.org/",
            "https://api.example.org.evil.org/",
            "https://api.example.org:444/",
            "https://example.net/",
            "https://evilexample.net/",
            "https://a.example.net:8080/",
            "http://10.0.0.1/",
            "http://api.example.org@evil.org/",
            "http://user:word@api.example.org/",
            "ftp://api.example.org/",
            "file:///etc/passwd",
            "http://[::1]/",
            "//api.example.org/",
            "",
        ] {
            assert!(!fits(url), "{url}");
        }
    }
}
