//! Why a request to the registry is refused, with the numbers and texts of Confluent's interface.

use std::time::Duration;

use millstream_types::{Domain, Retry};
use thiserror::Error;

/// How long a log that does not take a change is left alone.
const PAUSE: Duration = Duration::from_secs(1);

/// Why a request is refused. Nothing has changed then. The texts are what existing clients look for.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum RegistryError {
    /// 40401.
    #[error("Subject '{0}' not found.")]
    SubjectNotFound(String),
    /// 40402.
    #[error("Version {0} not found.")]
    VersionNotFound(String),
    /// 40403, with the id or GUID where one was asked for.
    #[error("Schema {}not found", .0.as_ref().map(|what| format!("{what} ")).unwrap_or_default())]
    SchemaNotFound(Option<String>),
    /// 40404.
    #[error("Subject '{0}' was soft deleted. Set permanent=true to delete permanently")]
    SubjectSoftDeleted(String),
    /// 40405.
    #[error("Subject '{0}' was not deleted first before being permanently deleted")]
    SubjectNotSoftDeleted(String),
    /// 40406.
    #[error("Subject '{0}' Version {1} was soft deleted. Set permanent=true to delete permanently")]
    VersionSoftDeleted(String, u32),
    /// 40407.
    #[error("Subject '{0}' Version {1} was not deleted first before being permanently deleted")]
    VersionNotSoftDeleted(String, u32),
    /// 40408.
    #[error("Subject '{0}' does not have subject-level compatibility configured")]
    NoSubjectConfig(String),
    /// 40409.
    #[error("Subject '{0}' does not have subject-level mode configured")]
    NoSubjectMode(String),
    /// 409.
    #[error(
        "Schema being registered is incompatible with an earlier schema for subject \"{subject}\", details: [{}]", .messages.join(", ")
    )]
    Incompatible {
        /// The subject.
        subject: String,
        /// What breaks, then the version it breaks with and the level.
        messages: Vec<String>,
    },
    /// 409: the schema is fine, but what reads the subject would break.
    #[error(
        "Schema being registered is incompatible with what reads subject \"{subject}\", details: [{}]", .messages.join(", ")
    )]
    Dependents {
        /// The subject.
        subject: String,
        /// Who breaks, and why.
        messages: Vec<String>,
    },
    /// 42201.
    #[error("Invalid schema of type {kind}, details: {reason}")]
    InvalidSchema {
        /// `JSON`, `AVRO`, `PROTOBUF`, or what was asked for.
        kind: String,
        /// What is wrong, and where.
        reason: String,
    },
    /// 42202.
    #[error(
        "The specified version '{0}' is not a valid version id. Allowed values are between [1, 2^31-1] and the string \"latest\""
    )]
    InvalidVersion(String),
    /// 42203.
    #[error(
        "Invalid compatibility level. Valid values are none, backward, forward, full, backward_transitive, forward_transitive, and full_transitive"
    )]
    InvalidCompatibility,
    /// 42203 as well.
    #[error("Invalid compatibility policy. Valid values are strict, lenient and logical")]
    InvalidPolicy,
    /// 42204.
    #[error(
        "Invalid mode. Valid values are READWRITE, READONLY, READONLY_OVERRIDE, IMPORT and FORWARD"
    )]
    InvalidMode,
    /// 42205.
    #[error("{0}")]
    NotPermitted(String),
    /// 42206.
    #[error("One or more references exist to the schema {{subject={subject},version={version}}}.")]
    ReferenceExists {
        /// The subject.
        subject: String,
        /// The version.
        version: u32,
    },
    /// 42207.
    #[error("Schema already registered with id {has} instead of input id {wants}")]
    IdDoesNotMatch {
        /// What it has.
        has: u32,
        /// What was asked for.
        wants: u32,
    },
    /// 42208.
    #[error("The specified subject '{0}' is not a valid subject.")]
    InvalidSubject(String),
    /// 42209.
    #[error("Schema is too large: {0}")]
    TooLarge(String),
    /// 42210.
    #[error("Invalid rule set: {0}")]
    RuleSet(String),
    /// 42211.
    #[error("The specified context '{0}' is not empty.")]
    ContextNotEmpty(String),
    /// 422: the body is missing or has members of another type.
    #[error("{0}")]
    Body(String),
    /// 404: the path leads nowhere, such as an id that is no number.
    #[error("HTTP 404 Not Found")]
    NotFound,
    /// 406.
    #[error("HTTP 406 Not Acceptable")]
    NotAcceptable,
    /// 405.
    #[error("HTTP 405 Method Not Allowed")]
    Method,
    /// 415.
    #[error("HTTP 415 Unsupported Media Type")]
    MediaType,
    /// 50001: the log does not take it.
    #[error("Registry operation failed: {0}")]
    Store(String),
}

impl RegistryError {
    /// The number in the body, `error_code`.
    #[must_use]
    pub fn code(&self) -> u32 {
        match self {
            Self::SubjectNotFound(_) => 40_401,
            Self::VersionNotFound(_) => 40_402,
            Self::SchemaNotFound(_) => 40_403,
            Self::SubjectSoftDeleted(_) => 40_404,
            Self::SubjectNotSoftDeleted(_) => 40_405,
            Self::VersionSoftDeleted(..) => 40_406,
            Self::VersionNotSoftDeleted(..) => 40_407,
            Self::NoSubjectConfig(_) => 40_408,
            Self::NoSubjectMode(_) => 40_409,
            // What clients in use compare with; Confluent's newest answers 40901.
            Self::Incompatible { .. } | Self::Dependents { .. } => 409,
            Self::InvalidSchema { .. } => 42_201,
            Self::InvalidVersion(_) => 42_202,
            Self::InvalidCompatibility | Self::InvalidPolicy => 42_203,
            Self::InvalidMode => 42_204,
            Self::NotPermitted(_) => 42_205,
            Self::ReferenceExists { .. } => 42_206,
            Self::IdDoesNotMatch { .. } => 42_207,
            Self::InvalidSubject(_) => 42_208,
            Self::TooLarge(_) => 42_209,
            Self::RuleSet(_) => 42_210,
            Self::ContextNotEmpty(_) => 42_211,
            Self::Body(_) => 422,
            Self::NotFound => 404,
            Self::Method => 405,
            Self::NotAcceptable => 406,
            Self::MediaType => 415,
            Self::Store(_) => 50_001,
        }
    }

    /// The HTTP status: the number's first three digits.
    #[must_use]
    pub fn status(&self) -> u16 {
        let code = self.code();
        u16::try_from(if code >= 1000 { code / 100 } else { code }).unwrap_or(500)
    }

    /// Whose fault it is.
    #[must_use]
    pub fn domain(&self) -> Domain {
        match self {
            Self::Store(_) => Domain::Transient,
            _ => Domain::Client,
        }
    }

    /// Whether the same request may succeed later.
    #[must_use]
    pub fn retry(&self) -> Retry {
        match self {
            Self::Store(_) => Retry::After(PAUSE),
            _ => Retry::Never,
        }
    }
}
