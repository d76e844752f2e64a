//! The error object of the JetStream API, with the numbers and texts clients compare against.
//!
//! Source of numbers and texts: nats-server's published error table (`server/errors.json`).

use std::borrow::Cow;

use millstream_types::{Domain, Retry};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// What a JetStream request is refused with: `{"code":404,"err_code":10059,"description":"stream not found"}`.
#[derive(Clone, Debug, Error, PartialEq, Eq, Serialize, Deserialize)]
#[error("{description} ({err_code})")]
pub struct ApiError {
    /// HTTP-like class: 400, 404, 409, 412, 429, 500, 503.
    pub code: u16,
    /// The number clients match on.
    pub err_code: u32,
    /// For people; some clients compare it, so texts that nats-server has are kept word for word.
    pub description: Cow<'static, str>,
}

macro_rules! fixed {
    ($($name:ident = $code:literal, $err_code:literal, $text:literal;)*) => {
        impl ApiError {
            $(
                #[doc = concat!("Error ", stringify!($err_code), ": ", $text, ".")]
                #[must_use]
                pub const fn $name() -> Self {
                    Self { code: $code, err_code: $err_code, description: Cow::Borrowed($text) }
                }
            )*
        }
    };
}

macro_rules! worded {
    ($($name:ident = $code:literal, $err_code:literal, $doc:literal;)*) => {
        impl ApiError {
            $(
                #[doc = concat!("Error ", stringify!($err_code), ": ", $doc, ", with a text of its own.")]
                #[must_use]
                pub fn $name(text: impl Into<Cow<'static, str>>) -> Self {
                    Self { code: $code, err_code: $err_code, description: text.into() }
                }
            )*
        }
    };
}

fixed! {
    bad_request = 400, 10003, "bad request";
    resources_exceeded = 400, 10002, "resource limits exceeded for account";
    unavailable = 503, 10008, "JetStream system temporarily unavailable";
    cluster_required = 503, 10010, "JetStream clustering support required";
    consumer_name_exists = 400, 10013, "consumer name already in use";
    consumer_not_found = 404, 10014, "consumer not found";
    consumer_durable_not_in_subject = 400, 10016, "consumer expected to be durable but no durable name set in subject";
    consumer_durable_mismatch = 400, 10017, "consumer name in subject does not match durable name in request";
    consumer_durable_not_set = 400, 10018, "consumer expected to be durable but a durable name was not set";
    consumer_ephemeral_with_durable_subject = 400, 10019, "consumer expected to be ephemeral but detected a durable name set in subject";
    consumer_ephemeral_with_durable = 400, 10020, "consumer expected to be ephemeral but a durable name was set in request";
    maximum_consumers = 400, 10026, "maximum consumers limit reached";
    maximum_streams = 400, 10027, "maximum number of streams reached";
    no_message_found = 404, 10037, "no message found";
    not_empty_request = 400, 10038, "expected an empty request payload";
    not_enabled_for_account = 503, 10039, "JetStream not enabled for account";
    insufficient_storage = 500, 10047, "insufficient storage resources available";
    message_too_large = 400, 10054, "message size exceeds maximum allowed";
    stream_mismatch = 400, 10056, "stream name in subject does not match request";
    stream_name_exist = 400, 10058, "stream name already in use with a different configuration";
    stream_not_found = 404, 10059, "stream not found";
    stream_not_match = 400, 10060, "expected stream does not match";
    stream_subject_overlap = 400, 10065, "subjects overlap with an existing stream";
    replicas_not_supported = 500, 10074, "replicas > 1 not supported in non-clustered mode";
    not_enabled = 503, 10076, "JetStream not enabled";
    consumer_config_required = 400, 10078, "consumer config required";
    deliver_to_wildcards = 400, 10079, "consumer deliver subject has wildcards";
    push_max_waiting = 400, 10080, "consumer in push mode can not set max waiting";
    deliver_cycle = 400, 10081, "consumer deliver subject forms a cycle";
    max_pending_needs_ack_policy = 400, 10082, "consumer requires ack policy for max ack pending";
    small_heartbeat = 400, 10083, "consumer idle heartbeat needs to be >= 100ms";
    pull_requires_ack = 400, 10084, "consumer in pull mode requires explicit ack policy on workqueue stream";
    pull_with_rate_limit = 400, 10086, "consumer in pull mode can not have rate limit set";
    max_waiting_negative = 400, 10087, "consumer max waiting needs to be positive";
    heartbeat_requires_push = 400, 10088, "consumer idle heartbeat requires a push based consumer";
    flow_control_requires_push = 400, 10089, "consumer flow control requires a push based consumer";
    direct_requires_push = 400, 10090, "consumer direct requires a push based consumer";
    direct_requires_ephemeral = 400, 10091, "consumer direct requires an ephemeral consumer";
    filter_not_subset = 400, 10093, "consumer filter subject is not a valid subset of the interest subjects";
    headers_too_large = 400, 10097, "header size exceeds maximum allowed of 64k";
    workqueue_needs_explicit_ack = 400, 10098, "workqueue stream requires explicit ack";
    workqueue_multiple_unfiltered = 400, 10099, "multiple non-filtered consumers not allowed on workqueue stream";
    workqueue_not_unique = 400, 10100, "filtered consumer not unique on workqueue stream";
    workqueue_not_deliver_all = 400, 10101, "consumer must be deliver all on workqueue stream";
    bad_durable_name = 400, 10103, "durable name can not contain '.', '*', '>'";
    consumer_still_active = 400, 10105, "consumer already exists and is still active";
    flow_control_needs_heartbeats = 400, 10108, "consumer with flow control also needs heartbeats";
    sealed = 400, 10109, "invalid operation on sealed stream";
    invalid_deliver_subject = 400, 10112, "invalid push consumer deliver subject";
    max_request_batch_negative = 400, 10114, "consumer max request batch needs to be > 0";
    max_request_expires_small = 400, 10115, "consumer max request expires needs to be >= 1ms";
    max_deliver_backoff = 400, 10116, "max deliver is required to be > length of backoff values";
    too_many_subjects = 500, 10117, "subject details would exceed maximum allowed";
    consumer_replicas_exceed = 400, 10126, "consumer config replica count exceeds parent stream";
    consumer_name_path = 400, 10127, "Consumer name can not contain path separators";
    stream_name_path = 400, 10128, "Stream name can not contain path separators";
    create_filter_mismatch = 400, 10131, "Consumer create request did not match filtered subject from create subject";
    durable_and_name_mismatch = 400, 10132, "Consumer Durable and Name have to be equal if both are provided";
    replicas_negative = 400, 10133, "replicas count cannot be negative";
    duplicate_filters = 400, 10136, "consumer cannot have both FilterSubject and FilterSubjects specified";
    multiple_filters_in_subject = 400, 10137, "consumer with multiple subject filters cannot use subject based API";
    overlapping_filters = 400, 10138, "consumer subject filters cannot overlap";
    empty_filter = 400, 10139, "consumer filter in FilterSubjects cannot be empty";
    consumer_already_exists = 400, 10148, "consumer already exists";
    consumer_does_not_exist = 400, 10149, "consumer does not exist";
    wrong_last_sequence_constant = 400, 10164, "wrong last sequence";
    ttl_invalid = 400, 10165, "invalid per-message TTL";
    ttl_disabled = 400, 10166, "per-message TTL is disabled";
    counters_disabled = 400, 10168, "message counters is disabled";
    atomic_publish_disabled = 400, 10174, "atomic publish is disabled";
    ack_policy_invalid = 400, 10181, "consumer ack policy invalid";
    schedules_disabled = 400, 10188, "message schedules is disabled";
    schedule_pattern_invalid = 400, 10189, "message schedules pattern is invalid";
    schedule_target_invalid = 400, 10190, "message schedules target is invalid";
    schedule_ttl_invalid = 400, 10191, "message schedules invalid per-message TTL";
    schedule_rollup_invalid = 400, 10192, "message schedules invalid rollup";
    subject_sequence_missing = 400, 10193, "missing sequence for expected last sequence per subject";
    schedule_source_invalid = 400, 10203, "message schedules source is invalid";
    schedule_scheduler_invalid = 400, 10212, "message schedules invalid scheduler";
    schedule_zone_invalid = 400, 10223, "message schedules time zone is invalid";
}

worded! {
    consumer_create_failed = 500, 10012, "a consumer could not be created";
    invalid_json = 400, 10025, "the request is not the JSON expected";
    stream_create_failed = 500, 10049, "a stream could not be created";
    stream_delete_failed = 500, 10050, "a stream could not be deleted";
    stream_invalid_config = 500, 10052, "the stream configuration is refused";
    delete_message_failed = 500, 10057, "a message could not be deleted";
    stream_update_failed = 500, 10069, "the stream could not be updated";
    store_failed = 503, 10077, "the message was not stored";
    consumer_invalid_policy = 400, 10094, "the deliver policy does not fit";
    purge_failed = 500, 10110, "the stream was not purged";
    rollup_failed = 500, 10111, "the rollup was refused";
}

impl ApiError {
    /// Error 10051: something inside failed, in its own words.
    #[must_use]
    pub fn internal(text: &str) -> Self {
        Self {
            code: 500,
            err_code: 10051,
            description: text.to_owned().into(),
        }
    }

    /// Error 10071: `wrong last sequence: {last}`.
    #[must_use]
    pub fn wrong_last_sequence(last: u64) -> Self {
        Self {
            code: 400,
            err_code: 10071,
            description: format!("wrong last sequence: {last}").into(),
        }
    }

    /// Error 10070: `wrong last msg ID: {last}`.
    #[must_use]
    pub fn wrong_last_msg_id(last: &str) -> Self {
        Self {
            code: 400,
            err_code: 10070,
            description: format!("wrong last msg ID: {last}").into(),
        }
    }

    /// Error 10043: `sequence {seq} not found`.
    #[must_use]
    pub fn sequence_not_found(seq: u64) -> Self {
        Self {
            code: 400,
            err_code: 10043,
            description: format!("sequence {seq} not found").into(),
        }
    }

    /// Error 10102: `consumer name is too long, maximum allowed is {max}`.
    #[must_use]
    pub fn consumer_name_too_long(max: usize) -> Self {
        let description = format!("consumer name is too long, maximum allowed is {max}").into();
        Self {
            code: 400,
            err_code: 10102,
            description,
        }
    }

    /// Error 10107: `consumer description is too long, maximum allowed is {max}`.
    #[must_use]
    pub fn consumer_description_too_long(max: usize) -> Self {
        let description =
            format!("consumer description is too long, maximum allowed is {max}").into();
        Self {
            code: 400,
            err_code: 10107,
            description,
        }
    }

    /// Error 10121: `consumer max ack pending exceeds system limit of {limit}`.
    #[must_use]
    pub fn max_ack_pending_excess(limit: i64) -> Self {
        let description =
            format!("consumer max ack pending exceeds system limit of {limit}").into();
        Self {
            code: 400,
            err_code: 10121,
            description,
        }
    }

    /// Error 10153: `consumer inactive threshold exceeds system limit of {limit}`.
    #[must_use]
    pub fn inactive_threshold_excess(limit: &str) -> Self {
        let description =
            format!("consumer inactive threshold exceeds system limit of {limit}").into();
        Self {
            code: 400,
            err_code: 10153,
            description,
        }
    }

    /// Error 10052 for a stream field that this release knows but does not carry out.
    #[must_use]
    pub fn stream_field_unsupported(field: &str) -> Self {
        Self::stream_invalid_config(format!("`{field}` is not supported yet; leave it out"))
    }

    /// Error 10012 for a consumer field that this release knows but does not carry out.
    #[must_use]
    pub fn consumer_field_unsupported(field: &str) -> Self {
        Self::consumer_create_failed(format!("`{field}` is not supported yet; leave it out"))
    }

    /// Error 10012 for metadata of a consumer that the server reads and cannot.
    #[must_use]
    pub fn consumer_metadata(text: &str) -> Self {
        Self::consumer_create_failed(format!("metadata {text}"))
    }

    /// Whose problem it is.
    #[must_use]
    pub fn domain(&self) -> Domain {
        match self.code {
            429 | 503 => Domain::Transient,
            _ => Domain::Client,
        }
    }

    /// Whether the same request may succeed later.
    #[must_use]
    pub fn retry(&self) -> Retry {
        match self.domain() {
            Domain::Transient => Retry::After(std::time::Duration::from_millis(250)),
            _ => Retry::Never,
        }
    }
}
