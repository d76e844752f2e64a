//! Requests and answers over core messages: the way there and back, twice through the server.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::client::{Client, Target};
use crate::crowd::crowd;
use crate::error::{LoadError, Result};
use crate::plan::{Plan, Run, Watch};
use crate::publish::Publishers;

/// `count` requesters, each waiting for its answer before it asks again; one responder that sends back what it gets.
///
/// # Errors
/// When a connection fails or nobody answers.
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
        let publishers = Publishers { count, window: 1 };
        let run = crowd(target, plan, publishers, watch, |number| {
            let inbox = format!("_INBOX.r{}x{number}", std::process::id());
            let payload = "x".repeat(plan.bytes);
            let request = format!("PUB {subject} {inbox} {}\r\n{payload}\r\n", plan.bytes);
            let put = move |_: u64, buffer: &mut Vec<u8>| {
                buffer.extend_from_slice(request.as_bytes());
            };
            (inbox, Box::new(put))
        });
        ended.store(true, Ordering::Release);
        // Something without a reply subject, to wake the responder.
        waker.write(format!("PUB {subject} 0\r\n\r\n").as_bytes())?;
        responding.join().map_err(|_| LoadError::Thread)??;
        run
    })
}
