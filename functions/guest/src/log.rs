//! Lines for the person who looks after the function; the server keeps them in the stream `function-logs`.
//!
//! ```
//! use millstream_guest::log;
//!
//! let carrier = "UA";
//! log::warn!("{carrier} was late again");
//! ```
//!
//! Natively lines are collected for [`crate::testing::log_lines`].

#[doc(inline)]
pub use crate::{debug, error, info, warn};

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// For whoever develops the function.
    Debug,
    /// What it does.
    Info,
    /// What may be wrong.
    Warn,
    /// What is wrong.
    Error,
}

/// Writes a line; the macros of this module are shorter.
pub fn write(level: Level, text: &str) {
    #[cfg(target_arch = "wasm32")]
    {
        use crate::bindings::millstream::function::log as host;
        let level = match level {
            Level::Debug => host::Level::Debug,
            Level::Info => host::Level::Info,
            Level::Warn => host::Level::Warn,
            Level::Error => host::Level::Error,
        };
        host::write(level, text);
    }
    #[cfg(not(target_arch = "wasm32"))]
    crate::testing::write_line(level, text);
}

/// Logs a line at level `debug`, in the form of `format!`.
#[macro_export]
macro_rules! debug {
    ($($text:tt)+) => { $crate::log::write($crate::log::Level::Debug, &::std::format!($($text)+)) };
}

/// Logs a line at level `info`, in the form of `format!`.
#[macro_export]
macro_rules! info {
    ($($text:tt)+) => { $crate::log::write($crate::log::Level::Info, &::std::format!($($text)+)) };
}

/// Logs a line at level `warn`, in the form of `format!`.
#[macro_export]
macro_rules! warn {
    ($($text:tt)+) => { $crate::log::write($crate::log::Level::Warn, &::std::format!($($text)+)) };
}

/// Logs a line at level `error`, in the form of `format!`.
#[macro_export]
macro_rules! error {
    ($($text:tt)+) => { $crate::log::write($crate::log::Level::Error, &::std::format!($($text)+)) };
}
