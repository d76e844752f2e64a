//! The cases of `compare`. Each prepares a running server once, then runs as often as asked, and answers how many messages
//! it moved.

use std::time::Duration;

use anyhow::Result;
use millstream_load::{
    Acks, Client, Consumer, Ending, Plan, Publishers, Run, Target, Watch, create_stream,
    delete_stream, deliver, publish_core, publish_durable, publish_window, pull, push, put_publish,
    requests,
};
use serde_json::{Value, json};

/// Unacknowledged publishes of `js-async`.
pub(crate) const WINDOW: usize = 1000;
/// The stream of a case.
pub(crate) const STREAM: &str = "BENCH";
/// The subject a case publishes to; the stream takes `bench.js.>`.
pub(crate) const SUBJECT: &str = "bench.js.a";
/// One with the async window.
const ASYNC: Publishers = Publishers {
    count: 1,
    window: WINDOW,
};
/// Many who each wait for their acknowledgement: their messages come one at a time.
const WAITING: Publishers = Publishers {
    count: 64,
    window: 1,
};
/// A stream filled by them, or read with many filters, is shorter so many times: that takes longer.
const SHORTER: u64 = 5;
/// Subjects of a stream that is read with filters, and how many of them are wanted, one in so many.
const SUBJECTS: u64 = 1000;
const WANTED: usize = 10;
/// Keys of the key-value cases.
const KEYS: u64 = 100_000;
const BUCKET: &str = "KV_bench";
const NOWHERE: &str = "_INBOX.kv.*";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    CorePub,
    Core1To1,
    Core1To4,
    Request,
    JsAsync,
    JsSync1,
    JsSync64,
    JsPullAck,
    JsPush,
    JsPushSingles,
    JsPushFiltered,
    KvPut,
    KvGet,
    KvWatch,
}

const WHATS: [(What, &str); 14] = [
    (What::CorePub, "core-pub"),
    (What::Core1To1, "core-1to1"),
    (What::Core1To4, "core-1to4"),
    (What::Request, "request"),
    (What::JsAsync, "js-async"),
    (What::JsSync1, "js-sync-1"),
    (What::JsSync64, "js-sync-64"),
    (What::JsPullAck, "js-pull-ack"),
    (What::JsPush, "js-push"),
    (What::JsPushSingles, "js-push-singles"),
    (What::JsPushFiltered, "js-push-filtered"),
    (What::KvPut, "kv-put"),
    (What::KvGet, "kv-get"),
    (What::KvWatch, "kv-watch"),
];

/// A case: what is done, with payloads of how many bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) what: What,
    pub(crate) bytes: usize,
}

/// Every case there is.
pub(crate) fn all() -> Vec<Case> {
    let sizes = |what| match what {
        What::KvPut
        | What::KvGet
        | What::KvWatch
        | What::Request
        | What::JsPushSingles
        | What::JsPushFiltered => &[128][..],
        _ => &[16, 128, 1024],
    };
    WHATS
        .iter()
        .flat_map(|(what, _)| sizes(*what).iter().map(|bytes| (*what, *bytes)))
        .map(|(what, bytes)| Case { what, bytes })
        .collect()
}

/// Publishes `messages` with the async window, for cases that read them.
pub(crate) fn fill(target: &Target, subject: &str, bytes: usize, messages: u64) -> Result<()> {
    let plan = Plan::counting(bytes, messages);
    publish_durable(target, subject, &plan, ASYNC, &Watch::default())?;
    Ok(())
}

impl Case {
    pub(crate) fn name(&self) -> String {
        let word = WHATS
            .iter()
            .find(|(what, _)| *what == self.what)
            .map_or("", |(_, word)| word);
        format!("{word}-{}", self.bytes)
    }

    /// How many messages the stream of a replay holds, when `messages` are asked for.
    fn held(&self, messages: u64) -> u64 {
        match self.what {
            What::JsPushSingles | What::JsPushFiltered => messages / SHORTER,
            _ => messages,
        }
    }

    /// Makes what the runs need; `messages` are what a replay finds in the stream.
    pub(crate) fn prepare(&self, target: &Target, messages: u64) -> Result<()> {
        let mut client = Client::connect(target)?;
        match self.what {
            What::CorePub | What::Core1To1 | What::Core1To4 | What::Request => {}
            What::JsAsync | What::JsSync1 | What::JsSync64 => {}
            What::JsPullAck | What::JsPush | What::JsPushSingles | What::JsPushFiltered => {
                create_stream(&mut client, STREAM, &["bench.js.>"])?;
                let plan = Plan::counting(self.bytes, self.held(messages));
                let all = |who| publish_durable(target, SUBJECT, &plan, who, &Watch::default());
                match self.what {
                    What::JsPushSingles => all(WAITING)?,
                    What::JsPushFiltered => publish_over(&mut client, &plan, subject)?,
                    _ => all(ASYNC)?,
                };
            }
            What::KvPut | What::KvGet | What::KvWatch => {
                client.api(&format!("STREAM.CREATE.{BUCKET}"), &bucket())?;
                put(&mut client, &Plan::counting(self.bytes, KEYS))?;
            }
        }
        Ok(())
    }

    /// Runs once. A replay reads all of its stream, `messages`; everything else lasts for `time`.
    pub(crate) fn run(&self, target: &Target, time: Duration, messages: u64) -> Result<Run> {
        let watch = Watch::default();
        let plan = Plan::lasting(self.bytes, time);
        let core = |readers| deliver(target, "bench.fan", &plan, readers, &watch);
        let mut client = Client::connect(target)?;
        let consumer = |acks| Consumer {
            stream: STREAM,
            name: "reader",
            acks,
        };
        Ok(match self.what {
            What::CorePub => publish_core(target, "bench.core", &plan, 1, &watch)?,
            What::Core1To1 => core(1)?.run,
            What::Core1To4 => core(4)?.run,
            What::Request => requests(target, "bench.ask", &plan, 1, &watch)?,
            What::JsAsync => durable(target, &plan, ASYNC)?,
            What::JsSync1 => durable(
                target,
                &plan,
                Publishers {
                    count: 1,
                    ..WAITING
                },
            )?,
            What::JsSync64 => durable(target, &plan, WAITING)?,
            What::JsPullAck => {
                let run = pull(&mut client, &consumer(Acks::Explicit), messages, &watch)?;
                client.api(&format!("CONSUMER.DELETE.{STREAM}.reader"), &Value::Null)?;
                run
            }
            What::JsPush | What::JsPushSingles => {
                let messages = self.held(messages);
                push(
                    &mut client,
                    &consumer(Acks::None),
                    &Value::Null,
                    messages,
                    &watch,
                )?
            }
            What::JsPushFiltered => {
                let wanted: Vec<String> = (0..SUBJECTS).step_by(WANTED).map(subject).collect();
                let filters = json!({ "filter_subjects": wanted });
                let messages = self.held(messages) / WANTED as u64;
                push(
                    &mut client,
                    &consumer(Acks::None),
                    &filters,
                    messages,
                    &watch,
                )?
            }
            What::KvPut => put(&mut client, &plan)?,
            What::KvGet => get(&mut client, &plan)?,
            What::KvWatch => watch_all(&mut client)?,
        })
    }
}

/// On a fresh stream that is removed afterwards.
fn durable(target: &Target, plan: &Plan, publishers: Publishers) -> Result<Run> {
    let mut client = Client::connect(target)?;
    create_stream(&mut client, STREAM, &["bench.js.>"])?;
    let run = publish_durable(target, SUBJECT, plan, publishers, &Watch::default());
    delete_stream(&mut client, STREAM)?;
    Ok(run?)
}

/// A key-value bucket as clients declare one, with one value a key.
fn bucket() -> Value {
    json!({ "name": BUCKET, "subjects": ["$KV.bench.>"], "storage": "file", "num_replicas": 1,
        "retention": "limits", "discard": "new", "max_msgs": -1, "max_bytes": -1, "max_age": 0,
        "max_msgs_per_subject": 1, "max_msg_size": -1, "max_consumers": -1, "deny_delete": true,
        "allow_rollup_hdrs": true, "allow_direct": true })
}

/// Keys in an order that is neither theirs nor twice the same soon: a step that shares no factor with their number.
fn key(number: u64) -> String {
    format!("$KV.bench.key.{:06}", number * 7919 % KEYS)
}

/// Subjects in turn.
fn subject(number: u64) -> String {
    format!("bench.js.f.{:04}", number % SUBJECTS)
}

fn put(client: &mut Client, plan: &Plan) -> Result<Run> {
    publish_over(client, plan, key)
}

/// Publishes with the async window, each message on the subject of its number.
fn publish_over(client: &mut Client, plan: &Plan, subject: fn(u64) -> String) -> Result<Run> {
    let watch = Watch::default();
    let ending = Ending::new(plan, &watch);
    let payload = vec![b'x'; plan.bytes];
    let (messages, latency) =
        publish_window(client, NOWHERE, WINDOW, &ending, &mut |number, buffer| {
            put_publish(buffer, &subject(number), ("_INBOX.kv.", number), &payload);
        })?;
    Ok(Run {
        messages,
        elapsed: ending.since().elapsed(),
        latency,
    })
}

/// Direct gets of the last value of a key, 100 outstanding: answers are counted as acknowledgements are.
fn get(client: &mut Client, plan: &Plan) -> Result<Run> {
    let watch = Watch::default();
    let ending = Ending::new(plan, &watch);
    let (messages, latency) =
        publish_window(client, NOWHERE, 100, &ending, &mut |number, buffer| {
            let subject = format!("$JS.API.DIRECT.GET.{BUCKET}.{}", key(number));
            put_publish(buffer, &subject, ("_INBOX.kv.", number), b"");
        })?;
    Ok(Run {
        messages,
        elapsed: ending.since().elapsed(),
        latency,
    })
}

/// A watch of the whole bucket: the last value of every key.
fn watch_all(client: &mut Client) -> Result<Run> {
    let consumer = Consumer {
        stream: BUCKET,
        name: "watch",
        acks: Acks::None,
    };
    let last = json!({ "deliver_policy": "last_per_subject", "filter_subject": "$KV.bench.>" });
    Ok(push(client, &consumer, &last, KEYS, &Watch::default())?)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{KEYS, all, key};

    #[test]
    fn every_key_comes_once_before_any_comes_again() {
        let keys: BTreeSet<String> = (0..KEYS).map(key).collect();
        assert_eq!(keys.len() as u64, KEYS);
        assert_eq!(key(0), key(KEYS));
    }

    #[test]
    fn names_are_unique() {
        let names: BTreeSet<String> = all().iter().map(super::Case::name).collect();
        assert_eq!(names.len(), all().len());
    }
}
