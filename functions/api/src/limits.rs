//! How much a function may use.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Limits of one function; none of them can be switched off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Linear memory of one instance in bytes.
    pub memory: u64,
    /// Processor time for one call, whether it carries one message or a batch; kept to within a few milliseconds.
    pub timeout: Duration,
    /// Time that one call may spend waiting for other hosts, over all its requests.
    pub wait: Duration,
    /// Bytes (payload, headers, subject) that may come out for one message that goes in.
    pub output_bytes: u64,
    /// Messages that may come out for one message that goes in.
    pub output_records: u32,
    /// Lines that one call may log; more are counted and left out.
    pub log_lines: u32,
    /// Calls to the host (bucket, stations, web) for one message that goes in.
    pub host_calls: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // A JavaScript engine has about 12 MiB before its first object.
            memory: 64 << 20,
            timeout: Duration::from_millis(50),
            wait: Duration::from_secs(10),
            output_bytes: 4 << 20,
            output_records: 1000,
            log_lines: 100,
            host_calls: 100,
        }
    }
}
