//! How JetStream writes durations, times and absent lists in JSON.

use serde::{Deserialize, Deserializer};

/// A list or map that some clients send as `null`.
pub(crate) fn null_is_default<'de, D, T>(from: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(from)?.unwrap_or_default())
}

pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Durations are whole nanoseconds; below zero means unset.
pub(crate) mod nanos {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(value: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(u64::try_from(value.as_nanos()).unwrap_or(u64::MAX))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        let nanos = Option::<i64>::deserialize(from)?.unwrap_or(0);
        Ok(Duration::from_nanos(u64::try_from(nanos).unwrap_or(0)))
    }
}

/// A list of durations.
pub(crate) mod nanos_list {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(value: &[Duration], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(
            value
                .iter()
                .map(|step| u64::try_from(step.as_nanos()).unwrap_or(u64::MAX)),
        )
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Vec<Duration>, D::Error> {
        let list = Option::<Vec<i64>>::deserialize(from)?.unwrap_or_default();
        Ok(list
            .into_iter()
            .map(|step| Duration::from_nanos(u64::try_from(step).unwrap_or(0)))
            .collect())
    }
}

/// Times are RFC 3339 in UTC.
pub(crate) mod rfc3339 {
    use millstream_types::Timestamp;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(value: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&value.to_rfc3339())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Timestamp, D::Error> {
        let text = String::deserialize(from)?;
        Timestamp::parse_rfc3339(&text)
            .ok_or_else(|| D::Error::custom(format!("`{text}` is not an RFC 3339 time")))
    }
}

/// A time that may be missing: left out, `null`, or the year 1 that Go writes for it.
pub(crate) mod rfc3339_option {
    use millstream_types::Timestamp;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) const ZERO: &str = "0001-01-01T00:00:00Z";

    pub(crate) fn serialize<S: Serializer>(
        value: &Option<Timestamp>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(time) => to.serialize_str(&time.to_rfc3339()),
            None => to.serialize_str(ZERO),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Timestamp>, D::Error> {
        match Option::<String>::deserialize(from)? {
            None => Ok(None),
            Some(text) if text == ZERO => Ok(None),
            Some(text) => Timestamp::parse_rfc3339(&text)
                .map(Some)
                .ok_or_else(|| D::Error::custom(format!("`{text}` is not an RFC 3339 time"))),
        }
    }
}
