//! The words every other room speaks: subjects, headers, messages, times, units, names.
//!
//! What lives here: small value types and pure functions over them, shared by all crates.
//! What may not come in: tokio, any IO, any protocol or storage format, any configuration.

mod error;
mod headers;
mod message;
mod name;
mod nearest;
mod needle;
mod subject;
mod template;
mod time;
mod units;

pub use error::{Domain, Retry};
pub use headers::{HeaderBlock, HeadersBuilder, HeadersError, is_id_alias};
pub use message::Message;
pub use name::{NameError, check_name};
pub use nearest::nearest;
pub use needle::Needle;
pub use subject::{
    SubjectError, check_filter, check_subject, filter_covers, filters_overlap, matches, tokens,
};
pub use template::SubjectTemplate;
pub use time::Timestamp;
pub use units::{UnitError, format_bytes, format_duration, parse_bytes, parse_duration};
