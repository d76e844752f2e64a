//! Which versions of a registry subject a station takes, and which messages they are for.

use std::sync::Arc;

use super::claim::Tag;
use super::migrate::Migrations;
use super::version::VersionSchema;

/// Which versions are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// This one. A message that says it is another version of the subject is converted to it.
    Exactly(u32),
    /// Any, as it came. A message that does not say which it is must fit the newest version or, failing that, an older one.
    Compatible,
}

/// The versions of one registry subject.
#[derive(Debug)]
pub struct SubjectSchemas {
    /// The registry subject.
    pub subject: String,
    /// Oldest first; never empty.
    pub versions: Vec<Arc<VersionSchema>>,
    /// Which of them are stored.
    pub wanted: Wanted,
    /// How its owner carries messages from one to the next.
    pub migrations: Arc<Migrations>,
}

impl SubjectSchemas {
    pub(crate) fn find(&self, tag: &Tag) -> Option<&Arc<VersionSchema>> {
        self.versions.iter().find(|version| tag.names(version))
    }

    /// Which versions a message without a claim may be, the best first.
    pub(crate) fn candidates(&self) -> impl Iterator<Item = &Arc<VersionSchema>> {
        self.versions
            .iter()
            .rev()
            .filter(|version| match self.wanted {
                Wanted::Exactly(number) => version.version == number,
                Wanted::Compatible => true,
            })
    }

    pub(crate) fn is_wanted(&self, version: &VersionSchema) -> bool {
        match self.wanted {
            Wanted::Exactly(number) => version.version == number,
            Wanted::Compatible => true,
        }
    }

    /// `1 (id 3), 2 (id 5)`, the newest few.
    pub(crate) fn shown(&self) -> String {
        const SHOWN: usize = 5;
        let skipped = self.versions.len().saturating_sub(SHOWN);
        let each = self.versions.iter().skip(skipped);
        let words: Vec<String> = each
            .map(|version| format!("{} (id {})", version.version, version.id))
            .collect();
        let more = if skipped > 0 { "…, " } else { "" };
        format!("{more}{}", words.join(", "))
    }
}

/// Which messages a rule is for.
#[derive(Debug)]
pub enum RuleFor {
    /// Those published on subjects that this filter matches.
    Subject(String),
    /// Those whose schema, or header `Ms-Schema-Record`, has this full name.
    Record(String),
}

/// A schema for some of a station's messages.
#[derive(Debug)]
pub struct SchemaRule {
    /// Which.
    pub messages: RuleFor,
    /// What they must be.
    pub schemas: SubjectSchemas,
}
