//! Messages that make messages: `Nats-Schedule` (ADR-51 of nats-architecture-and-design, as nats-server 2.15 reads it).
//!
//! A schedule is a message like any other, the last one of its subject. When it is due, the leader makes the message it asks
//! for and has it stored in the same command that says when the schedule is due next.

use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use millstream_types::{HeaderBlock, HeadersBuilder, Timestamp, check_subject, parse_duration};

use crate::errors::ApiError;
use crate::records::RecordView;
use crate::stream::Stream;
use crate::ttl::Ttl;

const SECOND: i64 = 1_000_000_000;
/// Value of `Nats-Schedule-Next` when the schedule goes with its message.
const PURGE: &str = "purge";
/// Names of headers that are about the schedule or its own storing, and not of what it makes.
const OWN: [&[u8]; 5] = [
    b"Nats-Schedule",
    b"Nats-Msg-Id",
    b"Nats-Expected-",
    b"Nats-TTL",
    b"Nats-Rollup",
];

/// When a message is made.
#[derive(Clone, Debug)]
enum When {
    At(Timestamp),
    Every(Duration),
    Cron(Box<Cron>, Tz),
}

impl When {
    fn read(text: &str, zone: Option<&str>) -> Result<Self, ApiError> {
        let wrong = ApiError::schedule_pattern_invalid;
        let tz = match zone {
            None => Tz::UTC,
            Some(name) => Tz::from_str(name).map_err(|_| ApiError::schedule_zone_invalid())?,
        };
        if let Some(time) = text.strip_prefix("@at ") {
            let time = Timestamp::parse_rfc3339(time.trim()).ok_or_else(wrong)?;
            return zone.map_or(Ok(Self::At(time)), |_| Err(wrong()));
        }
        if let Some(time) = text.strip_prefix("@every ") {
            let time = parse_duration(time).map_err(|_| wrong())?;
            let fits = time >= Duration::from_secs(1) && zone.is_none();
            return fits.then_some(Self::Every(time)).ok_or_else(wrong);
        }
        let pattern = match text {
            "@yearly" | "@annually" => "0 0 0 1 1 *",
            "@monthly" => "0 0 0 1 * *",
            "@weekly" => "0 0 0 * * 0",
            "@daily" | "@midnight" => "0 0 0 * * *",
            "@hourly" => "0 0 * * * *",
            pattern if pattern.starts_with('@') => return Err(wrong()),
            pattern => pattern,
        };
        let parser = CronParser::builder()
            .seconds(Seconds::Required)
            .year(Year::Disallowed)
            .build();
        let cron = parser.parse(pattern).map_err(|_| wrong())?;
        Ok(Self::Cron(Box::new(cron), tz))
    }

    /// The first time, for a schedule that was stored at `time`.
    fn first(&self, time: Timestamp) -> Option<Timestamp> {
        match self {
            Self::At(at) => Some(*at),
            Self::Every(pause) => Some(whole_second(time).plus(*pause)),
            Self::Cron(cron, zone) => next_of(cron, *zone, time),
        }
    }

    /// The time after `due`, which was dealt with at `now`. What was missed meanwhile is not made up for.
    fn after(&self, due: Timestamp, now: Timestamp) -> Option<Timestamp> {
        match self {
            Self::At(_) => None,
            Self::Every(pause) => {
                let next = due.plus(*pause);
                Some(if next > now {
                    next
                } else {
                    whole_second(now).plus(*pause)
                })
            }
            Self::Cron(cron, zone) => next_of(cron, *zone, now.max(due)),
        }
    }
}

fn whole_second(time: Timestamp) -> Timestamp {
    Timestamp(time.0 - time.0.rem_euclid(SECOND))
}

fn next_of(cron: &Cron, zone: Tz, after: Timestamp) -> Option<Timestamp> {
    let after = DateTime::<Utc>::from_timestamp_nanos(after.0).with_timezone(&zone);
    let next = cron.find_next_occurrence(&after, false).ok()?;
    next.timestamp_nanos_opt().map(Timestamp)
}

/// What the headers of a schedule say.
#[derive(Debug)]
pub(crate) struct Schedule<'a> {
    when: When,
    target: &'a [u8],
    source: Option<&'a [u8]>,
    ttl: Option<&'a str>,
    rolls_up: bool,
}

impl<'a> Schedule<'a> {
    /// Reads a header block that has a `Nats-Schedule`.
    ///
    /// # Errors
    /// The first header that does not fit, with nats-server's number.
    fn read(headers: &'a [u8]) -> Result<Self, ApiError> {
        let block = HeaderBlock::new(headers);
        let text = |name: &str| block.get_str(name).filter(|value| !value.is_empty());
        let pattern = text("Nats-Schedule").ok_or_else(ApiError::schedule_pattern_invalid)?;
        let when = When::read(pattern, text("Nats-Schedule-Time-Zone"))?;
        let target = text("Nats-Schedule-Target").ok_or_else(ApiError::schedule_target_invalid)?;
        let ttl = text("Nats-Schedule-TTL");
        if ttl.is_some_and(|ttl| Ttl::read(ttl.as_bytes()).is_err()) {
            return Err(ApiError::schedule_ttl_invalid());
        }
        let sub = |name| text(name).is_none_or(|value| value.eq_ignore_ascii_case("sub"));
        if !sub("Nats-Schedule-Rollup") || !sub("Nats-Rollup") {
            return Err(ApiError::schedule_rollup_invalid());
        }
        Ok(Self {
            when,
            target: target.as_bytes(),
            source: text("Nats-Schedule-Source").map(str::as_bytes),
            ttl,
            rolls_up: text("Nats-Schedule-Rollup").is_some(),
        })
    }
}

/// A message that a schedule makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scheduled {
    /// Where it is to be stored.
    pub subject: Bytes,
    /// Its headers.
    pub headers: Bytes,
    /// Its payload.
    pub payload: Bytes,
}

/// What a schedule that is due asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Firing {
    /// What it makes; nothing when its source has no message.
    pub message: Option<Scheduled>,
    /// When it is due next; `None` when it goes.
    pub next: Option<Timestamp>,
}

/// The subject whose last message a schedule repeats; `None` when it has a message of its own.
#[must_use]
pub fn schedule_source(schedule: &RecordView<'_>) -> Option<Bytes> {
    let source = HeaderBlock::new(schedule.headers).get("Nats-Schedule-Source")?;
    (!source.is_empty()).then(|| Bytes::copy_from_slice(source))
}

/// What becomes of a schedule that was due at `due`: at `now`, with the last message of its source where it has one.
///
/// # Errors
/// When the record holds no schedule that this build reads.
pub fn fire(
    schedule: &RecordView<'_>,
    source: Option<&RecordView<'_>>,
    due: Timestamp,
    now: Timestamp,
) -> Result<Firing, ApiError> {
    let rules = Schedule::read(schedule.headers)?;
    let next = rules.when.after(due, now);
    let content = match rules.source {
        None => Some(schedule),
        Some(_) => source,
    };
    let message = content.map(|content| {
        let mut headers = HeadersBuilder::new();
        for (name, value) in HeaderBlock::new(content.headers).iter() {
            let (Ok(text), Ok(value)) = (std::str::from_utf8(name), std::str::from_utf8(value))
            else {
                continue;
            };
            if !OWN.iter().any(|own| name.starts_with(own)) {
                headers.push(text, value);
            }
        }
        headers.push("Nats-Scheduler", &String::from_utf8_lossy(schedule.subject));
        let shown = next.map_or_else(|| PURGE.to_owned(), Timestamp::to_rfc3339);
        headers.push("Nats-Schedule-Next", &shown);
        if let Some(ttl) = rules.ttl {
            headers.push("Nats-TTL", ttl);
        }
        if rules.rolls_up {
            headers.push("Nats-Rollup", "sub");
        }
        Scheduled {
            subject: Bytes::copy_from_slice(rules.target),
            headers: headers.build(),
            payload: Bytes::copy_from_slice(content.payload),
        }
    });
    Ok(Firing { message, next })
}

impl Stream {
    /// When a message that asks for a schedule is due first.
    ///
    /// # Errors
    /// Why it is refused, with nats-server's number.
    pub(crate) fn first_time(
        &self,
        record: &RecordView<'_>,
        time: Timestamp,
    ) -> Result<Timestamp, ApiError> {
        if !self.config.allow_msg_schedules {
            return Err(ApiError::schedules_disabled());
        }
        let schedule = Schedule::read(record.headers)?;
        let own = |subject: &[u8]| {
            check_subject(subject).is_ok() && subject != record.subject && self.captures(subject)
        };
        if !own(schedule.target) {
            return Err(ApiError::schedule_target_invalid());
        }
        if schedule
            .source
            .is_some_and(|source| !own(source) || source == schedule.target)
        {
            return Err(ApiError::schedule_source_invalid());
        }
        if schedule.ttl.is_some() && !self.config.allow_msg_ttl {
            return Err(ApiError::ttl_disabled());
        }
        let first = schedule.when.first(time);
        first.ok_or_else(ApiError::schedule_pattern_invalid)
    }
}

#[cfg(test)]
mod tests;
