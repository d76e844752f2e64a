//! The functions that windows are made of. The window table functions of a query become calls of these.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use arrow::array::{
    ArrayRef, AsArray, ListArray, StructArray, TimestampNanosecondArray, TimestampNanosecondBuilder,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{
    DataType, Field, Fields, IntervalMonthDayNanoType, TimestampNanosecondType,
};
use datafusion::common::{Result, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::time::{Bound, Clock};
use crate::catalog::timestamp;

/// The start of the fixed window that a time is in: time, length, offset.
pub(crate) const TUMBLE_START: &str = "tumble_start";
/// Its end.
pub(crate) const TUMBLE_END: &str = "tumble_end";
/// The windows of a length that begin every slide and hold a time: time, slide, length, offset.
pub(crate) const HOP_WINDOWS: &str = "hop_windows";
/// The windows that begin together and grow by a step up to a length, as far as they hold a time: time, step, length, offset.
pub(crate) const CUMULATE_WINDOWS: &str = "cumulate_windows";
/// The start of the session that a row is in: time, gap, keys. An operator of its own stands for it.
pub(crate) const SESSION_START: &str = "session_start";
/// Its end.
pub(crate) const SESSION_END: &str = "session_end";
/// The wall clock of a step.
pub(crate) const CLOCK: &str = "now";

/// The members of a window.
pub(crate) const START: &str = "window_start";
pub(crate) const END: &str = "window_end";

/// Most windows that a time may be in.
const MOST: i64 = 1_000;
const DAY: i64 = 86_400 * 1_000_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    TumbleStart,
    TumbleEnd,
    Hop,
    Cumulate,
    Session(bool),
}

/// All functions of this file. `clock` is what the wall clock says.
pub(crate) fn functions(clock: &Arc<AtomicI64>) -> Vec<Arc<ScalarUDF>> {
    let kinds = [
        (Kind::TumbleStart, TUMBLE_START),
        (Kind::TumbleEnd, TUMBLE_END),
        (Kind::Hop, HOP_WINDOWS),
        (Kind::Cumulate, CUMULATE_WINDOWS),
        (Kind::Session(true), SESSION_START),
        (Kind::Session(false), SESSION_END),
    ];
    let mut functions: Vec<_> = kinds
        .into_iter()
        .map(|(kind, name)| Arc::new(ScalarUDF::from(Window::new(kind, name))))
        .collect();
    functions.push(Arc::new(ScalarUDF::from(Now {
        clock: Clocked(Arc::clone(clock)),
        signature: Signature::nullary(Volatility::Volatile),
        aliases: vec!["current_timestamp".to_owned(), "proctime".to_owned()],
    })));
    functions
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Window {
    kind: Kind,
    name: &'static str,
    signature: Signature,
}

impl Window {
    fn new(kind: Kind, name: &'static str) -> Self {
        // The place of a session's functions matters: they stay where they are.
        let volatility = match kind {
            Kind::Session(_) => Volatility::Volatile,
            _ => Volatility::Immutable,
        };
        Self {
            kind,
            name,
            signature: Signature::variadic_any(volatility),
        }
    }
}

/// What a window is made of.
pub(crate) fn member(name: &str) -> Field {
    Field::new(name, timestamp(), true)
}

fn members() -> Fields {
    Fields::from(vec![member(START), member(END)])
}

fn list() -> DataType {
    let window = DataType::Struct(members());
    DataType::List(Arc::new(Field::new_list_field(window, true)))
}

impl ScalarUDFImpl for Window {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types.first() {
            Some(time) if *time == timestamp() => {}
            Some(other) => {
                return plan_err!(
                    "windows are over a column of timestamps, and this is {other}; cast it to TIMESTAMP WITH TIME ZONE or declare the column as `timestamp`"
                );
            }
            None => return plan_err!("windows need a column of timestamps"),
        }
        Ok(match self.kind {
            Kind::Hop | Kind::Cumulate => list(),
            _ => timestamp(),
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let lengths: Vec<i64> = args
            .args
            .iter()
            .skip(1)
            .map(|arg| match arg {
                ColumnarValue::Scalar(value) => nanoseconds(value),
                ColumnarValue::Array(_) => plan_err!("the length of a window is a constant"),
            })
            .collect::<Result<_>>()?;
        let times = args.args[0].to_array(args.number_rows)?;
        let times = times.as_primitive::<TimestampNanosecondType>();
        let length = |at: usize| lengths.get(at).copied().unwrap_or(0);
        let array: ArrayRef = match self.kind {
            Kind::TumbleStart | Kind::TumbleEnd => {
                let plus = if self.kind == Kind::TumbleEnd {
                    length(0)
                } else {
                    0
                };
                let start = |time: i64| floor(time, length(0), length(1)).saturating_add(plus);
                let starts: TimestampNanosecondArray = times.unary(start);
                Arc::new(starts.with_data_type(timestamp()))
            }
            Kind::Hop => hops(times, length(0), length(1), length(2)),
            Kind::Cumulate => grows(times, length(0), length(1), length(2)),
            Kind::Session(_) => return exec_err!("a session stands where rows cannot tell it"),
        };
        Ok(ColumnarValue::Array(array))
    }
}

/// The last multiple of `length` plus `offset` that is not behind `time`.
fn floor(time: i64, length: i64, offset: i64) -> i64 {
    time.saturating_sub(time.saturating_sub(offset).rem_euclid(length))
}

fn hops(times: &TimestampNanosecondArray, slide: i64, size: i64, offset: i64) -> ArrayRef {
    windows(times, |time, push| {
        let mut start = floor(time, slide, offset);
        let mut all = Vec::new();
        while start > time.saturating_sub(size) {
            all.push(start);
            start = start.saturating_sub(slide);
        }
        for start in all.into_iter().rev() {
            push(start, start.saturating_add(size));
        }
    })
}

fn grows(times: &TimestampNanosecondArray, by: i64, size: i64, offset: i64) -> ArrayRef {
    windows(times, |time, push| {
        let start = floor(time, size, offset);
        let last = start.saturating_add(size);
        let mut end = floor(time, by, offset);
        // At the end of all time nothing is added any more.
        while end < last {
            end = end.saturating_add(by);
            push(start, end);
        }
    })
}

fn windows(
    times: &TimestampNanosecondArray,
    each: impl Fn(i64, &mut dyn FnMut(i64, i64)),
) -> ArrayRef {
    let mut starts = TimestampNanosecondBuilder::new();
    let mut ends = TimestampNanosecondBuilder::new();
    let mut lengths = Vec::with_capacity(times.len());
    for time in times {
        let mut count = 0;
        if let Some(time) = time {
            each(time, &mut |start, end| {
                starts.append_value(start);
                ends.append_value(end);
                count += 1;
            });
        }
        lengths.push(count);
    }
    let starts = starts.finish().with_data_type(timestamp());
    let ends = ends.finish().with_data_type(timestamp());
    let arrays: Vec<ArrayRef> = vec![Arc::new(starts), Arc::new(ends)];
    let values = Arc::new(StructArray::new(members(), arrays, None));
    let field = Arc::new(Field::new_list_field(DataType::Struct(members()), true));
    Arc::new(ListArray::new(
        field,
        OffsetBuffer::from_lengths(lengths),
        values,
        None,
    ))
}

/// The length of an interval that has one.
///
/// # Errors
/// Of months, and of what is no interval.
pub(crate) fn nanoseconds(value: &ScalarValue) -> Result<i64> {
    let long = || plan_err!("interval is too long");
    match value {
        ScalarValue::IntervalMonthDayNano(Some(interval)) => {
            let (months, days, nanoseconds) = IntervalMonthDayNanoType::to_parts(*interval);
            if months != 0 {
                return plan_err!("months and years have no fixed length; give it in days");
            }
            let days = i64::from(days).checked_mul(DAY);
            days.and_then(|days| days.checked_add(nanoseconds))
                .map_or_else(long, Ok)
        }
        ScalarValue::DurationNanosecond(Some(nanoseconds)) => Ok(*nanoseconds),
        other => plan_err!("`{other}` is no interval; write INTERVAL '10' SECOND"),
    }
}

/// Checks the call of a window function; its lengths in nanoseconds.
///
/// # Errors
/// What is wrong with them.
pub(crate) fn lengths(name: &str, args: &[Expr]) -> Result<Vec<i64>> {
    let mut lengths = Vec::new();
    for arg in args.iter().skip(1) {
        match arg {
            Expr::Literal(value, _) => lengths.push(nanoseconds(value)?),
            other => return plan_err!("`{other}` is no constant, and the length of a window is"),
        }
    }
    let parts = match name {
        HOP_WINDOWS | CUMULATE_WINDOWS => 2,
        _ => 1,
    };
    if lengths.len() < parts || lengths.iter().take(parts).any(|length| *length <= 0) {
        return plan_err!("the length of a window is more than nothing");
    }
    if parts == 2 {
        let (step, size) = (lengths[0], lengths[1]);
        if size / step > MOST {
            return plan_err!(
                "a row would be in {} windows, at most {MOST} are allowed",
                size / step
            );
        }
        if step > size && name == HOP_WINDOWS {
            return plan_err!(
                "the slide comes before the size, and is not longer: rows between windows would be lost"
            );
        }
        if name == CUMULATE_WINDOWS && size % step != 0 {
            return plan_err!("the step comes before the size, and the size is a multiple of it");
        }
    }
    Ok(lengths)
}

/// The wall clock of a step.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Now {
    clock: Clocked,
    signature: Signature,
    aliases: Vec<String>,
}

/// There is one clock for a query: as part of a function it is equal to itself.
#[derive(Clone, Debug)]
struct Clocked(Arc<AtomicI64>);

impl PartialEq for Clocked {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Clocked {}

impl std::hash::Hash for Clocked {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.0).hash(state);
    }
}

impl ScalarUDFImpl for Now {
    fn name(&self) -> &str {
        CLOCK
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(timestamp())
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let now = self.clock.0.load(Ordering::Relaxed);
        let zone = Some("UTC".into());
        Ok(ColumnarValue::Scalar(ScalarValue::TimestampNanosecond(
            Some(now),
            zone,
        )))
    }
}

/// What is known of a value that grows with time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    Time(Bound),
    /// Windows, or one: their starts and ends.
    Windows {
        start: Bound,
        end: Bound,
    },
}

impl Known {
    pub(crate) const PROCESSING: Self = Self::Time(Bound {
        clock: Clock::Processing,
        offset: 0,
    });
}

/// What is known of a window function's value, from what is known of its time.
pub(crate) fn known(name: &str, time: Bound, lengths: &[i64]) -> Option<Known> {
    let length = |at: usize| lengths.get(at).copied().unwrap_or(0);
    // A window holds its time: it starts less than its length before, and ends behind.
    let windows = |size: i64| Known::Windows {
        start: time.plus(1 - size),
        end: time.plus(1),
    };
    match name {
        TUMBLE_START => Some(Known::Time(time.plus(1 - length(0)))),
        TUMBLE_END => Some(Known::Time(time.plus(1))),
        // A row at the very end of a session belongs to it.
        SESSION_END => Some(Known::Time(time)),
        HOP_WINDOWS | CUMULATE_WINDOWS => Some(windows(length(1))),
        _ => None,
    }
}
