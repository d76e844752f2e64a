//! Log lines in nats-server's form, because tools wait for them:
//! `[pid] 2026/11/23 01:02:03.000004 [INF] Server is ready`.

use std::fmt::{self, Write as _};
use std::fs::OpenOptions;
use std::io;
use std::path::Path;
use std::sync::Mutex;

use anyhow::Context as _;
use millstream_types::Timestamp;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// What to log and where.
#[derive(Debug)]
pub(crate) struct Options<'a> {
    /// `-D`.
    pub(crate) debug: bool,
    /// `-V`.
    pub(crate) trace: bool,
    /// Whether lines begin with the time.
    pub(crate) time: bool,
    /// `-l`; standard error when absent.
    pub(crate) file: Option<&'a Path>,
}

struct NatsFormat {
    time: bool,
}

impl<S, N> FormatEvent<S, N> for NatsFormat
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        write!(writer, "[{}] ", std::process::id())?;
        if self.time {
            write!(writer, "{} ", clock(Timestamp::now()))?;
        }
        let level = match *event.metadata().level() {
            Level::ERROR => "ERR",
            Level::WARN => "WRN",
            Level::INFO => "INF",
            Level::DEBUG => "DBG",
            Level::TRACE => "TRC",
        };
        write!(writer, "[{level}] ")?;
        let mut line = Line::default();
        event.record(&mut line);
        writeln!(writer, "{}{}", line.message, line.fields)
    }
}

/// The message, and what is beside it as ` key=value`.
#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a String does not fail.
        let _infallible = if field.name() == "message" {
            write!(self.message, "{value:?}")
        } else {
            write!(self.fields, " {}={value:?}", field.name())
        };
    }
}

/// `2026/11/23 01:02:03.000004`.
fn clock(time: Timestamp) -> String {
    let text = time.to_rfc3339();
    let (date, rest) = text.split_once('T').unwrap_or((&text, ""));
    let rest = rest.trim_end_matches('Z');
    let (seconds, fraction) = rest.split_once('.').unwrap_or((rest, ""));
    let micros: String = fraction
        .chars()
        .chain(std::iter::repeat('0'))
        .take(6)
        .collect();
    format!("{} {seconds}.{micros}", date.replace('-', "/"))
}

/// Installs the log for the whole process.
pub(crate) fn start(options: &Options<'_>) -> anyhow::Result<()> {
    let level = match (options.trace, options.debug) {
        (true, _) => LevelFilter::TRACE,
        (_, true) => LevelFilter::DEBUG,
        _ => LevelFilter::INFO,
    };
    let format = NatsFormat { time: options.time };
    let builder = tracing_subscriber::fmt()
        .with_max_level(level)
        .event_format(format);
    let installed = match options.file {
        None => builder.with_writer(io::stderr).try_init(),
        Some(path) => {
            let file = OpenOptions::new()
                .create(true)
                .append(true)
                .open(path)
                .with_context(|| {
                    format!(
                        "cannot write the log file `{}`; choose another with -l",
                        path.display()
                    )
                })?;
            builder.with_writer(Mutex::new(file)).try_init()
        }
    };
    installed.map_err(|error| anyhow::anyhow!("log is already installed: {error}"))
}

#[cfg(test)]
mod tests {
    use millstream_types::Timestamp;

    use super::clock;

    #[test]
    fn times_read_as_nats_server_writes_them() {
        let time = Timestamp::parse_rfc3339("2026-11-23T01:02:03.000004Z").expect("valid");
        assert_eq!(clock(time), "2026/11/23 01:02:03.000004");
        let whole = Timestamp::parse_rfc3339("2026-11-23T01:02:03Z").expect("valid");
        assert_eq!(clock(whole), "2026/11/23 01:02:03.000000");
    }
}
