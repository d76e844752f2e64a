//! Which path and method asks what.

use millstream_schema_registry::Verb;

/// One line of the interface.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Route {
    /// In capitals.
    pub(crate) method: &'static str,
    /// Segments in braces are members of the request.
    pub(crate) path: &'static str,
    pub(crate) verb: Verb,
    /// For people.
    pub(crate) summary: &'static str,
}

const fn route(
    method: &'static str,
    path: &'static str,
    verb: Verb,
    summary: &'static str,
) -> Route {
    Route {
        method,
        path,
        verb,
        summary,
    }
}

/// Everything under `/schema-registry`, and beside it where nothing else is. The first that fits is taken.
#[rustfmt::skip]
pub(crate) const ROUTES: &[Route] = &[
    route("GET", "/schemas/types", Verb::Types, "Formats of schemas"),
    route("GET", "/schemas", Verb::Schemas, "Versions of all subjects"),
    route("GET", "/schemas/ids/{id}", Verb::Id, "The schema with an id"),
    route("GET", "/schemas/ids/{id}/schema", Verb::IdSchema, "Its text alone"),
    route("GET", "/schemas/ids/{id}/subjects", Verb::IdSubjects, "Subjects that have it"),
    route("GET", "/schemas/ids/{id}/versions", Verb::IdVersions, "Versions that are it"),
    route("GET", "/schemas/guids/{guid}", Verb::Guid, "The schema with a GUID"),
    route("GET", "/schemas/guids/{guid}/ids", Verb::GuidIds, "Its ids by context"),
    route("GET", "/subjects", Verb::Subjects, "Names of subjects"),
    route("POST", "/subjects/{subject}", Verb::Lookup, "Whether a subject has a schema, and as which version"),
    route("DELETE", "/subjects/{subject}", Verb::DeleteSubject, "Delete a subject; for good with `permanent`"),
    route("GET", "/subjects/{subject}/versions", Verb::Versions, "Versions of a subject"),
    route("POST", "/subjects/{subject}/versions", Verb::Register, "Register a schema as the next version"),
    route("GET", "/subjects/{subject}/versions/{version}", Verb::Version, "One version; `latest` or a number"),
    route("GET", "/subjects/{subject}/versions/{version}/schema", Verb::VersionSchema, "Its text alone"),
    route("GET", "/subjects/{subject}/versions/{version}/referencedby", Verb::ReferencedBy, "Ids of schemas that refer to it"),
    route("DELETE", "/subjects/{subject}/versions/{version}", Verb::DeleteVersion, "Delete a version; for good with `permanent`"),
    route("POST", "/subjects/{subject}/versions/{version}/tags", Verb::Tag, "A new version with other tags"),
    route("GET", "/subjects/{subject}/metadata", Verb::ByMetadata, "The latest version with some metadata; query `key`, `value`"),
    route("POST", "/compatibility/subjects/{subject}/versions/{version}", Verb::Check, "Whether a schema gets along with a version"),
    route("POST", "/compatibility/subjects/{subject}/versions", Verb::Check, "Whether a schema could be registered"),
    route("GET", "/config", Verb::Config, "The compatibility level of all subjects"),
    route("PUT", "/config", Verb::SetConfig, "Set it"),
    route("DELETE", "/config", Verb::DeleteConfig, "Back to the default"),
    route("GET", "/config/{subject}", Verb::Config, "A subject's compatibility level"),
    route("PUT", "/config/{subject}", Verb::SetConfig, "Set it"),
    route("DELETE", "/config/{subject}", Verb::DeleteConfig, "Back to that of all subjects"),
    route("GET", "/mode", Verb::Mode, "The mode of all subjects"),
    route("PUT", "/mode", Verb::SetMode, "Set it"),
    route("DELETE", "/mode", Verb::DeleteMode, "Back to the default"),
    route("GET", "/mode/{subject}", Verb::Mode, "A subject's mode"),
    route("PUT", "/mode/{subject}", Verb::SetMode, "Set it"),
    route("DELETE", "/mode/{subject}", Verb::DeleteMode, "Back to that of all subjects"),
    route("GET", "/contexts", Verb::Contexts, "Names of contexts"),
    route("DELETE", "/contexts/{context}", Verb::DeleteContext, "Delete an empty context"),
];
