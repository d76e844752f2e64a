//! Open loop: messages leave by a clock, not when the server is ready for them, and their latency counts from the moment
//! they were due. A server that stalls for a second is charged with every message due in that second (no coordinated
//! omission).

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::client::{Client, Target};
use crate::error::{LoadError, Result};
use crate::latency::Latency;
use crate::plan::{Plan, Run, Watch};
use crate::publish::{CHUNK, put_publish, refusal};

/// A run that is so far behind its schedule is broken off: the server cannot sustain the rate.
const PATIENCE: Duration = Duration::from_secs(10);
/// Shortest sleep between two looks at the schedule; a kernel's timers are no finer.
const STEP: Duration = Duration::from_micros(50);

/// When each message is due.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    rate: f64,
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "positive counts far below 2^52"
)]
impl Schedule {
    /// `rate` messages per second, evenly spread.
    #[must_use]
    pub fn new(rate: f64) -> Self {
        Self { rate }
    }

    /// When message `number` is due, from the start.
    #[must_use]
    pub fn due(&self, number: u64) -> Duration {
        Duration::from_secs_f64(number as f64 / self.rate)
    }

    /// How many are due when so much time has passed.
    #[must_use]
    pub fn count(&self, passed: Duration) -> u64 {
        (passed.as_secs_f64() * self.rate) as u64 + 1
    }
}

/// What an open loop came to.
#[derive(Clone, Debug, Default)]
pub struct OpenRun {
    /// The acknowledged messages; latency from when each was due.
    pub run: Run,
    /// How late the generator itself sent them, part of the latency: says how far to trust small figures.
    pub late: Latency,
    /// Messages that were due; more than acknowledged when the run was broken off.
    pub due: u64,
}

/// Publishes to a stream's subject at `rate` messages a second, over `publishers` connections, for the plan's time or count.
///
/// # Errors
/// When a connection fails or an acknowledgement is an error.
pub fn open_loop(
    target: &Target,
    subject: &str,
    plan: &Plan,
    (rate, publishers): (f64, usize),
    watch: &Watch,
) -> Result<OpenRun> {
    let publishers = publishers.max(1);
    #[expect(clippy::cast_precision_loss, reason = "a small count")]
    let schedule = Schedule::new(rate / publishers as f64);
    let mut clients = Vec::new();
    for _ in 0..publishers {
        clients.push(Client::connect(target)?);
    }
    let start = Instant::now();
    thread::scope(|scope| {
        let threads: Vec<_> = clients
            .into_iter()
            .enumerate()
            .map(|(number, client)| {
                let plan = plan.share(number, publishers);
                scope.spawn(move || one(client, number, subject, &plan, schedule, start, watch))
            })
            .collect();
        let mut whole = OpenRun::default();
        for thread in threads {
            let part = thread.join().map_err(|_| LoadError::Thread)??;
            whole.run.messages += part.run.messages;
            whole.run.latency.merge(&part.run.latency);
            whole.late.merge(&part.late);
            whole.due += part.due;
        }
        whole.run.elapsed = start.elapsed();
        Ok(whole)
    })
}

/// A connection: one thread writes by the clock, one reads acknowledgements.
fn one(
    mut client: Client,
    number: usize,
    subject: &str,
    plan: &Plan,
    schedule: Schedule,
    start: Instant,
    watch: &Watch,
) -> Result<OpenRun> {
    let inbox = format!("_INBOX.o{}x{number}.", std::process::id());
    client.write(format!("SUB {inbox}* 2\r\n").as_bytes())?;
    client.round_trip()?;
    let due = plan.messages.min(match plan.time {
        Duration::MAX => u64::MAX,
        time => schedule.count(time).saturating_sub(1),
    });
    let mut writer = client.writer()?;
    // How many were written in the end; unknown until then.
    let written = AtomicU64::new(u64::MAX);
    thread::scope(|scope| {
        let writing = scope.spawn(|| {
            let payload = vec![b'x'; plan.bytes];
            let mut late = Latency::default();
            let mut buffer = Vec::with_capacity(CHUNK * 2);
            let mut sent = 0;
            while sent < due && !watch.stopped() {
                let passed = start.elapsed();
                let most = schedule.count(passed).min(due);
                if passed > schedule.due(sent) + PATIENCE {
                    break;
                }
                buffer.clear();
                while sent < most && buffer.len() < CHUNK {
                    put_publish(&mut buffer, subject, (&inbox, sent), &payload);
                    late.record(passed.saturating_sub(schedule.due(sent)));
                    sent += 1;
                }
                if buffer.is_empty() {
                    thread::sleep(schedule.due(sent).saturating_sub(passed).max(STEP));
                } else {
                    writer.write(&buffer)?;
                }
            }
            written.store(sent, Ordering::Release);
            // Its answer wakes the reader, should it have everything already.
            writer.write(b"PING\r\n")?;
            Ok::<_, LoadError>(late)
        });
        let mut latency = Latency::default();
        let mut acked = 0;
        let mut failed = None;
        while acked < written.load(Ordering::Acquire) && failed.is_none() {
            let mut now = None;
            let acks = client.next(&mut |message| {
                let passed = *now.get_or_insert_with(|| start.elapsed());
                failed = failed.take().or_else(|| refusal(&message));
                let number = message.subject.get(inbox.len()..).map_or(0, digits);
                latency.record(passed.saturating_sub(schedule.due(number)));
            })? as u64;
            acked += acks;
            watch.add(acks);
        }
        if let Some(failed) = failed {
            watch.stop();
            return Err(failed);
        }
        let late = writing.join().map_err(|_| LoadError::Thread)??;
        Ok(OpenRun {
            run: Run {
                messages: acked,
                elapsed: start.elapsed(),
                latency,
            },
            late,
            due,
        })
    })
}

fn digits(text: &[u8]) -> u64 {
    text.iter().fold(0, |sum: u64, digit| {
        sum.wrapping_mul(10)
            .wrapping_add(u64::from(digit.wrapping_sub(b'0')))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Schedule;

    proptest! {
        #[test]
        fn what_is_due_is_counted(rate in 0.5..1e6_f64, number in 0..10_000_000_u64) {
            let schedule = Schedule::new(rate);
            let at = schedule.due(number);
            let count = schedule.count(at);
            // Nanoseconds may round a message to either side.
            prop_assert!(count.abs_diff(number + 1) <= 1, "{count} {number}");
            prop_assert!(schedule.due(count + 1) > at);
        }
    }
}
