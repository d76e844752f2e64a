//! Durations in JSON as people write them: `"7d"`.

use std::time::Duration;

use millstream_types::{format_duration, parse_duration};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serializer};

#[expect(clippy::ref_option, reason = "the signature serde's `with` asks for")]
pub(super) fn serialize<S: Serializer>(value: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(duration) => to.serialize_some(&format_duration(*duration)),
        None => to.serialize_none(),
    }
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<Duration>, D::Error> {
    let text = Option::<String>::deserialize(from)?;
    text.map(|text| parse_duration(&text).map_err(D::Error::custom))
        .transpose()
}
