//! A consumer's configuration, as the JetStream API reads and writes it, and the rules it must keep.

use std::collections::BTreeMap;
use std::time::Duration;

use millstream_types::{Timestamp, check_filter, check_subject, filter_covers, filters_overlap};
use serde::{Deserialize, Serialize};

use crate::config::{MAX_DESCRIPTION, MAX_METADATA, RetentionPolicy, StreamConfig, metadata_size};
use crate::errors::ApiError;
use crate::json::{is_default, nanos, nanos_list, null_is_default, rfc3339_option};

const MAX_NAME: usize = 255;
const DEFAULT_ACK_WAIT: Duration = Duration::from_secs(30);
const DEFAULT_MAX_ACK_PENDING: i64 = 1000;
const DEFAULT_MAX_WAITING: i64 = 512;
const MIN_HEARTBEAT: Duration = Duration::from_millis(100);
/// How long an ephemeral consumer outlives its last use when it does not say.
pub(crate) const DEFAULT_INACTIVE: Duration = Duration::from_secs(5);

/// Where a new consumer starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliverPolicy {
    /// At the first message.
    #[default]
    All,
    /// At the last message that matches.
    Last,
    /// After the last message.
    New,
    /// At `opt_start_seq`.
    ByStartSequence,
    /// At the first message not older than `opt_start_time`.
    ByStartTime,
    /// At the last message of every subject that matches.
    LastPerSubject,
}

/// What counts as done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AckPolicy {
    /// Delivered is done.
    #[default]
    None,
    /// An acknowledgement covers everything before it.
    All,
    /// Every message is acknowledged.
    Explicit,
}

/// How fast stored messages come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplayPolicy {
    /// At once.
    #[default]
    Instant,
    /// With the pauses they were stored with.
    Original,
}

/// A consumer's configuration. Zero and absent mean unset; `checked` fills defaults in.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ConsumerConfig {
    /// The name, for durables and ephemerals.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Set when the consumer survives its clients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub durable_name: Option<String>,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Where it starts.
    #[serde(default)]
    pub deliver_policy: DeliverPolicy,
    /// For `by_start_sequence`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opt_start_seq: Option<u64>,
    /// For `by_start_time`.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "rfc3339_option"
    )]
    pub opt_start_time: Option<Timestamp>,
    /// What counts as done.
    #[serde(default)]
    pub ack_policy: AckPolicy,
    /// How long an acknowledgement may take.
    #[serde(default, with = "nanos", skip_serializing_if = "is_default")]
    pub ack_wait: Duration,
    /// Most deliveries of one message; -1 is unlimited.
    #[serde(default, skip_serializing_if = "is_default")]
    pub max_deliver: i64,
    /// Waits before the second, third … delivery, instead of `ack_wait`.
    #[serde(default, with = "nanos_list", skip_serializing_if = "Vec::is_empty")]
    pub backoff: Vec<Duration>,
    /// Only messages whose subject matches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter_subject: Option<String>,
    /// Only messages whose subject matches one of these.
    #[serde(
        default,
        deserialize_with = "null_is_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub filter_subjects: Vec<String>,
    /// How fast stored messages come.
    #[serde(default)]
    pub replay_policy: ReplayPolicy,
    /// Push: most bits per second.
    #[serde(default, rename = "rate_limit_bps", skip_serializing_if = "is_default")]
    pub rate_limit: u64,
    /// Share of acknowledgements to sample, such as `100%`; kept as sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample_freq: Option<String>,
    /// Pull: most waiting requests.
    #[serde(default, skip_serializing_if = "is_default")]
    pub max_waiting: i64,
    /// Most messages out for acknowledgement; -1 is unlimited.
    #[serde(default, skip_serializing_if = "is_default")]
    pub max_ack_pending: i64,
    /// Push: whether the client confirms every so many bytes.
    #[serde(default, skip_serializing_if = "is_default")]
    pub flow_control: bool,
    /// Whether payloads are left out.
    #[serde(default, skip_serializing_if = "is_default")]
    pub headers_only: bool,
    /// Push: where messages go. Pull consumers have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deliver_subject: Option<String>,
    /// Push: the queue group that shares the messages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deliver_group: Option<String>,
    /// Push: how often silence is broken.
    #[serde(default, with = "nanos", skip_serializing_if = "is_default")]
    pub idle_heartbeat: Duration,
    /// Pull: largest batch of one request.
    #[serde(default, skip_serializing_if = "is_default")]
    pub max_batch: i64,
    /// Pull: longest wait of one request.
    #[serde(default, with = "nanos", skip_serializing_if = "is_default")]
    pub max_expires: Duration,
    /// Pull: most bytes of one request.
    #[serde(default, skip_serializing_if = "is_default")]
    pub max_bytes: i64,
    /// How long it outlives its last use.
    #[serde(default, with = "nanos", skip_serializing_if = "is_default")]
    pub inactive_threshold: Duration,
    /// Copies; 0 is as the stream.
    #[serde(default)]
    pub num_replicas: usize,
    /// Whether its state may be lost with the process; accepted, and kept safe all the same.
    #[serde(default, skip_serializing_if = "is_default")]
    pub mem_storage: bool,
    /// No deliveries before this time.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "rfc3339_option"
    )]
    pub pause_until: Option<Timestamp>,
    /// For people and tools.
    #[serde(
        default,
        deserialize_with = "null_is_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub metadata: BTreeMap<String, String>,
    /// Set by nats-server's own sourcing; refused.
    #[serde(default, skip_serializing_if = "is_default")]
    pub direct: bool,
    /// Priority groups; refused when set.
    #[serde(
        default,
        deserialize_with = "null_is_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub priority_groups: Vec<String>,
    /// `none`; anything else is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority_policy: Option<String>,
}

impl ConsumerConfig {
    /// Whether messages are pushed.
    #[must_use]
    pub fn is_push(&self) -> bool {
        self.deliver_subject.is_some()
    }

    /// Whether it survives its clients.
    #[must_use]
    pub fn is_durable(&self) -> bool {
        self.durable_name.is_some()
    }

    /// All filters; none means everything.
    pub fn filters(&self) -> impl Iterator<Item = &str> {
        self.filter_subject
            .as_deref()
            .into_iter()
            .chain(self.filter_subjects.iter().map(String::as_str))
    }

    /// How long it outlives its last use; `None` is for ever.
    #[must_use]
    pub fn inactive_after(&self) -> Option<Duration> {
        match (self.inactive_threshold, self.is_durable()) {
            (Duration::ZERO, true) => None,
            (Duration::ZERO, false) => Some(DEFAULT_INACTIVE),
            (threshold, _) => Some(threshold),
        }
    }

    /// The configuration with every default filled in, if it keeps the rules; for a consumer of a stream with `stream`'s
    /// configuration. Rules that depend on the stream's other consumers are checked by `Stream::check_consumer`.
    ///
    /// # Errors
    /// The first rule it breaks, with nats-server's number.
    pub fn checked(mut self, stream: &StreamConfig) -> Result<Self, ApiError> {
        self.check_supported()?;
        self.check_names()?;
        self.fill(stream);
        self.check_delivery()?;
        self.check_acks(stream)?;
        self.check_policy()?;
        self.check_filters(stream)?;
        if stream.retention == RetentionPolicy::WorkQueue {
            self.check_workqueue()?;
        }
        Ok(self)
    }

    fn check_supported(&self) -> Result<(), ApiError> {
        if !self.priority_groups.is_empty() {
            return Err(ApiError::consumer_field_unsupported("priority_groups"));
        }
        if self
            .priority_policy
            .as_deref()
            .is_some_and(|policy| !matches!(policy, "" | "none"))
        {
            return Err(ApiError::consumer_field_unsupported("priority_policy"));
        }
        if self.direct {
            return Err(ApiError::consumer_field_unsupported("direct"));
        }
        if self.num_replicas > 1 {
            return Err(ApiError::consumer_replicas_exceed());
        }
        Ok(())
    }

    fn check_names(&mut self) -> Result<(), ApiError> {
        for text in [
            &mut self.name,
            &mut self.durable_name,
            &mut self.deliver_subject,
            &mut self.deliver_group,
            &mut self.filter_subject,
            &mut self.sample_freq,
        ] {
            if text.as_deref() == Some("") {
                *text = None;
            }
        }
        for name in [&self.name, &self.durable_name].into_iter().flatten() {
            check_consumer_name(name)?;
        }
        if let (Some(name), Some(durable)) = (&self.name, &self.durable_name)
            && name != durable
        {
            return Err(ApiError::durable_and_name_mismatch());
        }
        if self
            .description
            .as_ref()
            .is_some_and(|text| text.len() > MAX_DESCRIPTION)
        {
            return Err(ApiError::consumer_description_too_long(MAX_DESCRIPTION));
        }
        if metadata_size(&self.metadata) > MAX_METADATA {
            let description = "consumer metadata exceeds maximum size of 131072".into();
            return Err(ApiError {
                code: 400,
                err_code: 10135,
                description,
            });
        }
        Ok(())
    }

    fn fill(&mut self, stream: &StreamConfig) {
        if self.name.is_none() {
            self.name.clone_from(&self.durable_name);
        }
        if self.max_deliver == 0 {
            self.max_deliver = -1;
        }
        let limits = stream.consumer_limits;
        if self.ack_policy != AckPolicy::None {
            if let Some(first) = self.backoff.first() {
                self.ack_wait = *first;
            } else if self.ack_wait.is_zero() {
                self.ack_wait = DEFAULT_ACK_WAIT;
            }
            if self.max_ack_pending == 0 {
                self.max_ack_pending = match limits.max_ack_pending {
                    limit if limit > 0 => limit,
                    _ => DEFAULT_MAX_ACK_PENDING,
                };
            }
        }
        if !self.is_push() && self.max_waiting == 0 {
            self.max_waiting = DEFAULT_MAX_WAITING;
        }
        if self.inactive_threshold.is_zero() {
            self.inactive_threshold = limits.inactive_threshold;
        }
    }

    fn check_delivery(&self) -> Result<(), ApiError> {
        if !self.idle_heartbeat.is_zero() && self.idle_heartbeat < MIN_HEARTBEAT {
            return Err(ApiError::small_heartbeat());
        }
        let Some(subject) = &self.deliver_subject else {
            return self.check_pull();
        };
        if check_filter(subject.as_bytes()).is_err() {
            return Err(ApiError::invalid_deliver_subject());
        }
        if check_subject(subject.as_bytes()).is_err() {
            return Err(ApiError::deliver_to_wildcards());
        }
        if self.max_waiting != 0 {
            return Err(ApiError::push_max_waiting());
        }
        if self.flow_control && self.idle_heartbeat.is_zero() {
            return Err(ApiError::flow_control_needs_heartbeats());
        }
        Ok(())
    }

    fn check_pull(&self) -> Result<(), ApiError> {
        if self.rate_limit > 0 {
            return Err(ApiError::pull_with_rate_limit());
        }
        if self.max_waiting < 0 {
            return Err(ApiError::max_waiting_negative());
        }
        if !self.idle_heartbeat.is_zero() {
            return Err(ApiError::heartbeat_requires_push());
        }
        if self.flow_control {
            return Err(ApiError::flow_control_requires_push());
        }
        if self.max_batch < 0 {
            return Err(ApiError::max_request_batch_negative());
        }
        if !self.max_expires.is_zero() && self.max_expires < Duration::from_millis(1) {
            return Err(ApiError::max_request_expires_small());
        }
        Ok(())
    }

    fn check_acks(&self, stream: &StreamConfig) -> Result<(), ApiError> {
        let steps = i64::try_from(self.backoff.len()).unwrap_or(i64::MAX);
        if steps > 0 && self.max_deliver != -1 && steps > self.max_deliver {
            return Err(ApiError::max_deliver_backoff());
        }
        if self.ack_policy == AckPolicy::None && self.max_ack_pending > 0 {
            return Err(ApiError::max_pending_needs_ack_policy());
        }
        let limits = stream.consumer_limits;
        if limits.max_ack_pending > 0 && self.max_ack_pending > limits.max_ack_pending {
            return Err(ApiError::max_ack_pending_excess(limits.max_ack_pending));
        }
        if !limits.inactive_threshold.is_zero()
            && self.inactive_threshold > limits.inactive_threshold
        {
            let limit = millstream_types::format_duration(limits.inactive_threshold);
            return Err(ApiError::inactive_threshold_excess(&limit));
        }
        Ok(())
    }

    fn check_policy(&self) -> Result<(), ApiError> {
        let (policy, by_sequence, by_time) = match self.deliver_policy {
            DeliverPolicy::All => ("all", false, false),
            DeliverPolicy::Last => ("last", false, false),
            DeliverPolicy::New => ("new", false, false),
            DeliverPolicy::LastPerSubject => ("last per subject", false, false),
            DeliverPolicy::ByStartSequence => ("by start sequence", true, false),
            DeliverPolicy::ByStartTime => ("by start time", false, true),
        };
        let bad = |what: &str, is: &str| {
            let text = format!(
                "consumer delivery policy is deliver {policy}, but optional {what} is {is}"
            );
            Err(ApiError::consumer_invalid_policy(text))
        };
        let sequence = self.opt_start_seq.is_some_and(|seq| seq > 0);
        let time = self.opt_start_time.is_some();
        if by_sequence && !sequence {
            return bad("start sequence", "not set");
        }
        if by_time && !time {
            return bad("start time", "not set");
        }
        if self.deliver_policy == DeliverPolicy::LastPerSubject && self.filters().next().is_none() {
            return bad("filter subject", "not set");
        }
        if sequence && !by_sequence {
            return bad("start sequence", "also set");
        }
        if time && !by_time {
            return bad("start time", "also set");
        }
        Ok(())
    }

    fn check_filters(&self, stream: &StreamConfig) -> Result<(), ApiError> {
        if self.filter_subject.is_some() && !self.filter_subjects.is_empty() {
            return Err(ApiError::duplicate_filters());
        }
        if self.filter_subjects.iter().any(String::is_empty) {
            return Err(ApiError::empty_filter());
        }
        for (at, filter) in self.filter_subjects.iter().enumerate() {
            let overlap = |other: &String| filters_overlap(other.as_bytes(), filter.as_bytes());
            if self.filter_subjects[..at].iter().any(overlap) {
                return Err(ApiError::overlapping_filters());
            }
        }
        for filter in self.filters() {
            let inside = |subject: &String| filters_overlap(subject.as_bytes(), filter.as_bytes());
            if check_filter(filter.as_bytes()).is_err() || !stream.subjects.iter().any(inside) {
                return Err(ApiError::filter_not_subset());
            }
        }
        let cycle = |subject: &String| {
            self.deliver_subject
                .as_ref()
                .is_some_and(|deliver| filter_covers(subject.as_bytes(), deliver.as_bytes()))
        };
        if stream.subjects.iter().any(cycle) {
            return Err(ApiError::deliver_cycle());
        }
        Ok(())
    }

    fn check_workqueue(&self) -> Result<(), ApiError> {
        if self.ack_policy != AckPolicy::Explicit {
            return Err(match self.is_push() {
                true => ApiError::workqueue_needs_explicit_ack(),
                false => ApiError::pull_requires_ack(),
            });
        }
        if self.deliver_policy != DeliverPolicy::All {
            return Err(ApiError::workqueue_not_deliver_all());
        }
        Ok(())
    }
}

fn check_consumer_name(name: &str) -> Result<(), ApiError> {
    if name.len() > MAX_NAME {
        return Err(ApiError::consumer_name_too_long(MAX_NAME));
    }
    if name.contains(['/', '\\']) {
        return Err(ApiError::consumer_name_path());
    }
    millstream_types::check_name(name).map_err(|_| ApiError::bad_durable_name())
}
