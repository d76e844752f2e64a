//! Many connections on few threads. A thread per connection would cost a wake-up per answer, and on few cores these are most of
//! what is measured: here one wake-up is for all that is ready.

use std::io::{ErrorKind, Write as _};
use std::num::NonZero;
use std::thread;
use std::time::Instant;

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::client::{Client, Inbound, SILENCE, Target};
use crate::error::{LoadError, Result};
use crate::latency::Latency;
use crate::plan::{Ending, Plan, Run, Watch};
use crate::publish::{Publishers, at_once, refusal};
use crate::window::{Put, Window};

/// One connection and what it has under way.
struct Member<'w> {
    socket: TcpStream,
    inbound: Inbound,
    window: Window,
    ending: Ending<'w>,
    put: Box<Put<'w>>,
    /// Whole operations, of which `written` bytes are out.
    out: Vec<u8>,
    written: usize,
    ended: bool,
}

impl Member<'_> {
    /// Reads all that is there.
    fn read(&mut self) -> Result<()> {
        let mut failed = None;
        while let Some(seen) = self.inbound.read(&mut self.socket, &mut |message| {
            failed = failed.take().or_else(|| refusal(&message));
        })? {
            if let Some(failed) = failed {
                return Err(failed);
            }
            let answers = seen.messages as u64;
            self.window.answered(answers, Instant::now());
            self.ending.watch().add(answers);
            for _ in 0..seen.pings {
                self.out.extend_from_slice(b"PONG\r\n");
            }
            if !seen.filled {
                // More makes the socket ready anew.
                break;
            }
        }
        Ok(())
    }

    /// Writes what its window has room for, as far as the socket takes it.
    fn write(&mut self) -> Result<()> {
        loop {
            if self.written == self.out.len() {
                self.out.clear();
                self.written = 0;
                self.fill();
                if self.out.is_empty() {
                    self.ended = self.window.ended();
                    return Ok(());
                }
            }
            match self.socket.write(&self.out[self.written..]) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(LoadError::Broken(error)),
            }
        }
    }

    fn fill(&mut self) {
        self.window
            .fill(&self.ending, &mut *self.put, &mut self.out);
    }
}

/// Runs all of them to their ends on this thread.
fn drive(members: &mut [Member<'_>]) -> Result<()> {
    let mut poll = Poll::new().map_err(LoadError::Broken)?;
    let both = Interest::READABLE | Interest::WRITABLE;
    for (number, member) in members.iter_mut().enumerate() {
        poll.registry()
            .register(&mut member.socket, Token(number), both)
            .map_err(LoadError::Broken)?;
    }
    let mut events = Events::with_capacity(members.len());
    for member in &mut *members {
        member.fill();
        member.write()?;
    }
    let mut left = members.iter().filter(|member| !member.ended).count();
    while left > 0 {
        match poll.poll(&mut events, Some(SILENCE)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            done => done.map_err(LoadError::Broken)?,
        }
        if events.is_empty() {
            return Err(LoadError::Silent(SILENCE));
        }
        // All are read before any is written: what takes a while here must not look like the server's time.
        for writes in [false, true] {
            for event in &events {
                let member = &mut members[event.token().0];
                match (member.ended, writes) {
                    // What its server says from now on is nobody's business.
                    (true, _) => {}
                    (false, false) => member.read()?,
                    (false, true) => {
                        member.write()?;
                        left -= usize::from(member.ended);
                    }
                }
            }
        }
    }
    Ok(())
}

/// Runs publishers at the same time, which share a plan. `prepare` gives the subject where the answers of one come (all that
/// its reply subjects are covered by), and what appends its operations.
///
/// # Errors
/// When a connection fails or an answer is an error.
pub(crate) fn crowd<'w>(
    target: &Target,
    plan: &Plan,
    publishers: Publishers,
    watch: &'w Watch,
    prepare: impl Fn(usize) -> (String, Box<Put<'w>>) + Sync,
) -> Result<Run> {
    let Publishers { count, window } = publishers;
    // Half of the cores are the server's.
    let threads = thread::available_parallelism().map_or(1, NonZero::get) / 2;
    at_once(target, count, threads, |clients| {
        let join = |(number, client): (usize, Client)| {
            let (socket, inbound) = client.into_parts()?;
            let (inbox, put) = prepare(number);
            Ok(Member {
                socket: TcpStream::from_std(socket),
                inbound,
                window: Window::new(window),
                ending: Ending::new(&plan.share(number, count), watch),
                put,
                out: format!("SUB {inbox} 2\r\n").into_bytes(),
                written: 0,
                ended: false,
            })
        };
        let mut members = clients.into_iter().map(join).collect::<Result<Vec<_>>>()?;
        drive(&mut members)?;
        let (mut messages, mut latency) = (0, Latency::default());
        for member in members {
            let (sent, own) = member.window.into_parts();
            messages += sent;
            latency.merge(&own);
        }
        Ok((messages, latency))
    })
}
