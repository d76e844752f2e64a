//! What is known of columns that grow with time, and how far time is.
//!
//! A message is late by the watermark of the messages before it in its source, so it does not matter how the input is cut into
//! batches: a source cuts its rows where one is behind that watermark ([`super::delta::Delta::mark`]). Where the rows of several
//! sources meet (`UNION ALL`), they are late by the time of all of them before the step, which depends on how they were read
//! together; and a session that is told while it is open still takes a late row in the step in which it ends.

/// Which time a column follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clock {
    /// The watermark: what the messages say.
    Event,
    /// The wall clock of the server.
    Processing,
}

/// A column of timestamps in nanoseconds whose later rows are never below time plus `offset`: when time has passed a value, no
/// more rows with it come. The end of a window has offset 1, for a window ends before time reaches its end; its start has 1
/// minus the window's length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bound {
    pub(crate) clock: Clock,
    pub(crate) offset: i64,
}

impl Bound {
    pub(crate) const EVENT: Self = Self {
        clock: Clock::Event,
        offset: 0,
    };

    /// The bound of the column plus so many nanoseconds.
    pub(crate) fn plus(self, nanoseconds: i64) -> Self {
        Self {
            offset: self.offset.saturating_add(nanoseconds),
            ..self
        }
    }
}

/// How far time is, in nanoseconds since 1970. `i64::MIN`: nothing is known yet; `i64::MAX`: does not hold up anybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Marks {
    pub(crate) event: i64,
    pub(crate) processing: i64,
}

impl Marks {
    pub(crate) const START: Self = Self {
        event: i64::MIN,
        processing: i64::MIN,
    };

    /// The same for rows whose source was so far already.
    pub(crate) fn behind(self, mark: i64) -> Self {
        Self {
            event: self.event.max(mark),
            ..self
        }
    }

    /// Rows that come later have at least this in a column with this bound: smaller values are final.
    pub(crate) fn floor(&self, bound: Bound) -> i64 {
        let mark = match bound.clock {
            Clock::Event => self.event,
            Clock::Processing => self.processing,
        };
        match mark {
            i64::MIN | i64::MAX => mark,
            mark => mark.saturating_add(bound.offset),
        }
    }
}
