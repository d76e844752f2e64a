//! Requests and answers over core messages: the way there and back, twice through the server.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use crate::client::{Client, Target};
use crate::error::{LoadError, Result};
use crate::latency::Latency;
use crate::plan::{Ending, Plan, Run, Watch};
use crate::publish::at_once;

/// `count` requesters, each waiting for its answer before it asks again; one responder that sends back what it gets.
///
/// # Errors
/// When a connection fails.
pub fn requests(
    target: &Target,
    subject: &str,
    plan: &Plan,
    count: usize,
    watch: &Watch,
) -> Result<Run> {
    let mut responder = Client::connect(target)?;
    responder.write(format!("SUB {subject} 1\r\n").as_bytes())?;
    responder.round_trip()?;
    let mut waker = Client::connect(target)?;
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        let responding = scope.spawn(|| -> Result<()> {
            let mut answers = Vec::new();
            while !ended.load(Ordering::Acquire) {
                answers.clear();
                responder.next(&mut |message| {
                    if let Some(reply) = message.reply {
                        answers.extend_from_slice(b"PUB ");
                        answers.extend_from_slice(reply);
                        answers.extend_from_slice(
                            format!(" {}\r\n", message.payload.len()).as_bytes(),
                        );
                        answers.extend_from_slice(message.payload);
                        answers.extend_from_slice(b"\r\n");
                    }
                })?;
                responder.write(&answers)?;
            }
            Ok(())
        });
        let run = at_once(target, count, |number, mut client| {
            let plan = plan.share(number, count);
            one(&mut client, number, subject, &plan, watch)
        });
        ended.store(true, Ordering::Release);
        // Something without a reply subject, to wake the responder.
        waker.write(format!("PUB {subject} 0\r\n\r\n").as_bytes())?;
        responding.join().map_err(|_| LoadError::Thread)??;
        run
    })
}

fn one(
    client: &mut Client,
    number: usize,
    subject: &str,
    plan: &Plan,
    watch: &Watch,
) -> Result<(u64, Latency)> {
    let inbox = format!("_INBOX.r{}x{number}", std::process::id());
    client.write(format!("SUB {inbox} 1\r\n").as_bytes())?;
    let payload = "x".repeat(plan.bytes);
    let request = format!("PUB {subject} {inbox} {}\r\n{payload}\r\n", plan.bytes);
    let ending = Ending::new(plan, watch);
    let mut latency = Latency::default();
    let mut messages = 0;
    while ending.left(messages) > 0 {
        let asked = Instant::now();
        client.write(request.as_bytes())?;
        while client.next(&mut |_| {})? == 0 {}
        latency.record(asked.elapsed());
        messages += 1;
        watch.add(1);
    }
    Ok((messages, latency))
}
