//! From method, path and query to a verb and the members it names.

use millstream_schema_registry::{RegistryError, Verb};
use serde_json::{Map, Value};

use super::routes::{ROUTES, Route};

/// Queries that may come several times.
const REPEATED: [&str; 2] = ["key", "value"];

/// What a path means.
#[derive(Debug, PartialEq)]
pub(super) struct Target {
    pub(super) verb: Verb,
    pub(super) members: Map<String, Value>,
}

/// Reads a path below the interface's root, still percent-encoded, so that subjects may have slashes.
///
/// # Errors
/// 404 or 405.
pub(super) fn read(method: &str, path: &str, query: &str) -> Result<Target, RegistryError> {
    let segments: Vec<String> = path
        .split('/')
        .filter(|segment| !segment.is_empty())
        .map(|segment| decoded(segment, false))
        .collect();
    // `/contexts/.a/subjects/s` is `/subjects/:.a:s`.
    let (context, segments) = match segments.as_slice() {
        [first, context, rest @ ..] if first == "contexts" && !rest.is_empty() => {
            (Some(context.as_str()), rest)
        }
        all => (None, all),
    };
    let mut other = false;
    let route = ROUTES.iter().find_map(|route| {
        let members = fits(route, segments)?;
        other |= route.method != method;
        (route.method == method).then_some((route, members))
    });
    let (route, members) = match route {
        Some(found) => found,
        None if other => return Err(RegistryError::Method),
        None => return Err(RegistryError::NotFound),
    };
    let mut all = queried(query);
    all.extend(members);
    if let Some(context) = context {
        within(context, route.verb, &mut all);
    }
    Ok(Target {
        verb: route.verb,
        members: all,
    })
}

fn fits(route: &Route, segments: &[String]) -> Option<Map<String, Value>> {
    let mut pattern = route.path.split('/').skip(1);
    let mut members = Map::new();
    for segment in segments {
        let part = pattern.next()?;
        match part
            .strip_prefix('{')
            .and_then(|part| part.strip_suffix('}'))
        {
            Some(name) => {
                members.insert(name.to_owned(), segment.clone().into());
            }
            None if part == segment => {}
            None => return None,
        }
    }
    pattern.next().is_none().then_some(members)
}

/// Names without a context of their own are in the one of the path.
fn within(context: &str, verb: Verb, members: &mut Map<String, Value>) {
    let dot = if context.starts_with('.') { "" } else { "." };
    let prefix = format!(":{dot}{context}:");
    let key = match verb {
        Verb::Subjects | Verb::Schemas => "subjectPrefix",
        _ => "subject",
    };
    let own = members.get(key).and_then(Value::as_str).unwrap_or_default();
    if !own.starts_with(":.") {
        let own = own.strip_prefix(":*:").unwrap_or(own);
        let name = format!("{prefix}{own}");
        members.insert(key.to_owned(), name.into());
    }
}

fn queried(query: &str) -> Map<String, Value> {
    let mut members = Map::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (key, value) = (decoded(key, true), decoded(value, true));
        if REPEATED.contains(&key.as_str()) {
            let many = members
                .entry(key)
                .or_insert_with(|| Value::Array(Vec::new()));
            if let Value::Array(many) = many {
                many.push(value.into());
            }
        } else {
            members.insert(key, value.into());
        }
    }
    members
}

/// Percent-decoded (RFC 3986); what is no UTF-8 then gets replacement characters. In queries `+` is a blank.
fn decoded(text: &str, plus: bool) -> String {
    let bytes = text.as_bytes();
    let digit = |at: usize| {
        bytes
            .get(at)
            .and_then(|byte| char::from(*byte).to_digit(16))
    };
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match (byte, digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push(u8::try_from(high * 16 + low).unwrap_or_default());
                at += 3;
                continue;
            }
            (b'+', ..) if plus => out.push(b' '),
            _ => out.push(*byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::read;
    use millstream_schema_registry::{RegistryError, Verb};
    use serde_json::json;

    #[test]
    fn paths_and_queries_become_members() {
        let of = |method: &str, path: &str, query: &str| {
            read(method, path, query).map(|found| (found.verb, json!(found.members)))
        };
        assert_eq!(
            of("GET", "/subjects/a%2Fb+%3A/versions/latest", "deleted=true"),
            Ok((
                Verb::Version,
                json!({ "deleted": "true", "subject": "a/b+:", "version": "latest" })
            ))
        );
        assert_eq!(
            of(
                "GET",
                "/subjects/s/metadata",
                "key=a%20b&value=c+d&key=e&value=f"
            ),
            Ok((
                Verb::ByMetadata,
                json!({ "key": ["a b", "e"], "value": ["c d", "f"], "subject": "s" })
            ))
        );
        assert_eq!(
            of("POST", "/contexts/.eu/subjects/s/versions", ""),
            Ok((Verb::Register, json!({ "subject": ":.eu:s" })))
        );
        assert_eq!(
            of("GET", "/contexts/.eu/subjects", ""),
            Ok((Verb::Subjects, json!({ "subjectPrefix": ":.eu:" })))
        );
        assert_eq!(
            of("GET", "/contexts/eu/schemas/ids/7", ""),
            Ok((Verb::Id, json!({ "id": "7", "subject": ":.eu:" })))
        );
        assert_eq!(
            of("DELETE", "/contexts/.eu", ""),
            Ok((Verb::DeleteContext, json!({ "context": ".eu" })))
        );
        assert_eq!(of("PATCH", "/subjects", ""), Err(RegistryError::Method));
        assert_eq!(of("GET", "/nothing", ""), Err(RegistryError::NotFound));
    }
}
