//! Files that station files refer to.

use crate::document::{Document, Spec};
use crate::kind::Kind;
use crate::problem::At;
use crate::shapes::SchemaText;

/// A file to be sent along with the station file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// Its key in the request's attachments and its path from where the client was started: the
    /// path written, resolved against the station file's folder.
    pub key: String,
    /// The path as written.
    pub path: String,
    /// Where it is written.
    pub at: At,
    /// The kind of the document.
    pub kind: Kind,
    /// The name of the document.
    pub name: String,
}

impl Document {
    /// The file this document needs, if any.
    #[must_use]
    pub fn attachment(&self) -> Option<Attachment> {
        let (path, field) = match &self.spec {
            Spec::Schema(spec) => match &spec.text {
                SchemaText::File(path) => (path, "file"),
                SchemaText::Inline(_) => return None,
            },
            Spec::Function(spec) => (&spec.component, "component"),
            Spec::Station(_) | Spec::Flow(_) | Spec::Source(_) | Spec::Sink(_) => return None,
        };
        Some(self.attached(path, field))
    }

    /// The file with this document's tests, if any.
    #[must_use]
    pub fn tests(&self) -> Option<Attachment> {
        match &self.spec {
            Spec::Function(spec) => Some(self.attached(spec.tests.as_ref()?, "tests")),
            _ => None,
        }
    }

    fn attached(&self, path: &str, field: &str) -> Attachment {
        Attachment {
            key: attachment_key(self.file(), path),
            path: path.to_owned(),
            at: self.at(field),
            kind: self.spec.kind(),
            name: self.spec.name().to_owned(),
        }
    }
}

/// The files these documents need, in order; one that several need comes several times.
#[must_use]
pub fn attachments(documents: &[Document]) -> Vec<Attachment> {
    documents
        .iter()
        .flat_map(|document| document.attachment().into_iter().chain(document.tests()))
        .collect()
}

/// `path` as seen from where `file` is named: `a/b.yaml` and `../c.wasm` give `c.wasm`. Absolute
/// paths stay. Only the text is looked at.
#[must_use]
pub fn attachment_key(file: &str, path: &str) -> String {
    let folder = file.rfind('/').map_or("", |end| &file[..=end]);
    let joined = if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("{folder}{path}")
    };
    let mut parts: Vec<&str> = Vec::new();
    for part in joined
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
    {
        match parts.last() {
            Some(last) if part == ".." && *last != ".." => drop(parts.pop()),
            // Above the root is the root.
            None if part == ".." && joined.starts_with('/') => {}
            _ => parts.push(part),
        }
    }
    let root = if joined.starts_with('/') { "/" } else { "" };
    format!("{root}{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::attachment_key;

    #[test]
    fn keys() {
        for (file, path, key) in [
            ("flights.yaml", "flight.json", "flight.json"),
            ("-", "./flight.json", "flight.json"),
            (
                "examples/flights/f.yaml",
                "../functions/x.wasm",
                "examples/functions/x.wasm",
            ),
            ("f.yaml", "../../x.wasm", "../../x.wasm"),
            ("../f.yaml", "x.wasm", "../x.wasm"),
            ("/a/b/f.yaml", "../x.wasm", "/a/x.wasm"),
            ("a/f.yaml", "/b/../../x.wasm", "/x.wasm"),
        ] {
            assert_eq!(attachment_key(file, path), key);
        }
    }
}
