//! What one publisher has under way: messages that wait for their answers, and since when.

use std::collections::VecDeque;
use std::time::Instant;

use crate::client::Client;
use crate::error::Result;
use crate::latency::Latency;
use crate::plan::Ending;
use crate::publish::{CHUNK, refusal};

/// Appends the operation of a message of a number.
pub(crate) type Put<'p> = dyn FnMut(u64, &mut Vec<u8>) + 'p;

/// The messages of one publisher. Latencies are from the write until the answer is read, and rest on answers coming in the
/// order of the messages.
#[derive(Debug)]
pub(crate) struct Window {
    most: u64,
    sent: u64,
    answered: u64,
    /// What was written when: answers take from the front.
    flights: VecDeque<(u64, Instant)>,
    latency: Latency,
    going: bool,
}

impl Window {
    /// At most `most` unanswered messages; at least one.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            most: most.max(1) as u64,
            sent: 0,
            answered: 0,
            flights: VecDeque::new(),
            latency: Latency::default(),
            going: true,
        }
    }

    /// Appends what is to be written now, about a chunk at most: nothing when the window is full or the plan is at its end.
    pub(crate) fn fill(&mut self, ending: &Ending<'_>, put: &mut Put<'_>, buffer: &mut Vec<u8>) {
        let left = if self.going {
            ending.left(self.sent)
        } else {
            0
        };
        self.going = left > 0;
        let most = (self.sent + left.min(self.most)).min(self.answered + self.most);
        let first = self.sent;
        while self.sent < most && buffer.len() < CHUNK {
            put(self.sent, buffer);
            self.sent += 1;
        }
        if self.sent > first {
            self.flights.push_back((self.sent, Instant::now()));
        }
    }

    /// `answers` more were read by `now`.
    pub(crate) fn answered(&mut self, answers: u64, now: Instant) {
        let mut rest = answers;
        while rest > 0
            && let Some((end, written)) = self.flights.front()
        {
            let many = rest.min(end - self.answered);
            self.latency.record_n(now - *written, many);
            self.answered += many;
            rest -= many;
            if self.answered == *end {
                self.flights.pop_front();
            }
        }
    }

    /// Whether nothing can be written before an answer comes.
    fn waits(&self) -> bool {
        let under_way = self.sent - self.answered;
        under_way >= self.most || (!self.going && under_way > 0)
    }

    /// Whether all that the plan has was answered.
    pub(crate) fn ended(&self) -> bool {
        !self.going && self.answered == self.sent
    }

    /// How many were sent, and their latencies.
    pub(crate) fn into_parts(self) -> (u64, Latency) {
        (self.sent, self.latency)
    }
}

/// Publishes on one connection with at most `window` acknowledgements outstanding. `put` appends the operation of a message
/// of a number, with a reply subject that `inbox` (`….*`) covers. Latencies are from the write until the acknowledgement is
/// read, and rest on acknowledgements coming in the order of the messages.
///
/// # Errors
/// When the connection fails or an acknowledgement is an error.
pub fn publish_window(
    client: &mut Client,
    inbox: &str,
    window: usize,
    ending: &Ending<'_>,
    put: &mut dyn FnMut(u64, &mut Vec<u8>),
) -> Result<(u64, Latency)> {
    client.write(format!("SUB {inbox} 2\r\n").as_bytes())?;
    let mut buffer = Vec::with_capacity(CHUNK * 2);
    let mut window = Window::new(window);
    let mut failed = None;
    while !window.ended() {
        buffer.clear();
        window.fill(ending, put, &mut buffer);
        client.write(&buffer)?;
        if window.waits() {
            let answers = client.next(&mut |message| {
                failed = failed.take().or_else(|| refusal(&message));
            })? as u64;
            if let Some(failed) = failed {
                return Err(failed);
            }
            window.answered(answers, Instant::now());
            ending.watch().add(answers);
        }
    }
    client.write(b"UNSUB 2\r\n")?;
    Ok(window.into_parts())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::Window;
    use crate::plan::{Ending, Plan, Watch};

    #[test]
    fn a_latency_is_from_the_write_of_its_message() {
        let watch = Watch::default();
        let ending = Ending::new(&Plan::counting(1, 5), &watch);
        let mut window = Window::new(3);
        let mut buffer = Vec::new();
        let mut put = |number: u64, buffer: &mut Vec<u8>| {
            buffer.extend_from_slice(number.to_string().as_bytes());
        };
        window.fill(&ending, &mut put, &mut buffer);
        let written = Instant::now();
        window.fill(&ending, &mut put, &mut buffer);
        assert_eq!((&buffer[..], window.waits()), (&b"012"[..], true));
        window.answered(1, written + Duration::from_secs(10));
        window.fill(&ending, &mut put, &mut buffer);
        window.answered(2, written + Duration::from_secs(20));
        window.fill(&ending, &mut put, &mut buffer);
        assert_eq!((&buffer[..], window.ended()), (&b"01234"[..], false));
        // What is answered beyond what was sent counts for nothing.
        window.answered(3, written + Duration::from_secs(40));
        window.fill(&ending, &mut put, &mut buffer);
        assert!(window.ended());
        let (sent, latency) = window.into_parts();
        assert_eq!((sent, latency.count()), (5, 5));
        let seconds = [0.2, 0.4, 0.6, 0.8, 1.0].map(|share| latency.quantile(share).as_secs_f64());
        for (got, want) in seconds.into_iter().zip([10.0, 20.0, 20.0, 40.0, 40.0]) {
            assert!((want * 0.95..want * 1.01).contains(&got), "{seconds:?}");
        }
    }
}
