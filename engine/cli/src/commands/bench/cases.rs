//! The cases: which run of the load generator each is, on which stream.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clap::ValueEnum as _;
use millstream_load::{
    Acks, Client, Consumer, Latency, Plan, Publishers, Result, Run, Stations, Target, Watch,
    deliver, open_loop, publish_core, publish_durable, pull, push, requests,
};
use serde_json::Value;

use crate::args::{BenchArgs, BenchCase};

/// Everything a case needs.
#[derive(Debug)]
pub(super) struct Measure {
    target: Target,
    stations: Arc<Stations>,
    watch: Arc<Watch>,
    args: BenchArgs,
    /// The stream that `push` and `pull` read, with how many messages it has; filled by the first of them.
    filled: Mutex<Option<(String, u64)>>,
}

/// What a case came to.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) case: &'static str,
    pub(super) run: Run,
    /// Messages that came out at subscribers; where that is not the same as published.
    pub(super) delivered: Option<u64>,
    /// The rate of an open loop, and how late the generator was itself.
    pub(super) open: Option<(f64, Latency)>,
}

/// As it is typed.
pub(super) fn name(case: BenchCase) -> &'static str {
    let all = BenchCase::value_variants();
    let names = [
        "publish",
        "deliver",
        "request",
        "store",
        "store-sync",
        "push",
        "pull",
    ];
    all.iter()
        .zip(names)
        .find(|(other, _)| **other == case)
        .map_or("", |(_, name)| name)
}

impl Measure {
    pub(super) fn new(
        args: &BenchArgs,
        target: Target,
        stations: Arc<Stations>,
        watch: &Arc<Watch>,
    ) -> Self {
        Self {
            target,
            stations,
            watch: Arc::clone(watch),
            args: args.clone(),
            filled: Mutex::default(),
        }
    }

    fn plan(&self) -> Plan {
        let bytes = self.args.size as usize;
        match self.args.messages {
            Some(messages) => Plan::counting(bytes, messages),
            None => Plan::lasting(bytes, Duration::from_secs_f64(self.args.seconds)),
        }
    }

    /// Runs one case; blocks.
    pub(super) fn run(&self, case: BenchCase) -> Result<Measured> {
        let (target, watch, plan) = (&self.target, &self.watch, self.plan());
        let publishers = usize::from(self.args.publishers);
        let subject = format!("{}.core", self.stations.prefix());
        let mut delivered = None;
        let mut open = None;
        let run = match case {
            BenchCase::Publish => publish_core(target, &subject, &plan, publishers, watch)?,
            BenchCase::Deliver => {
                let readers = usize::from(self.args.subscribers);
                let run = deliver(target, &subject, &plan, readers, watch)?;
                delivered = Some(run.delivered);
                run.run
            }
            BenchCase::Request => requests(target, &subject, &plan, publishers, watch)?,
            BenchCase::Store => {
                let (run, rate) = self.store("store", self.args.window)?;
                open = rate;
                run
            }
            BenchCase::StoreSync => self.store("store-sync", 1)?.0,
            BenchCase::Push | BenchCase::Pull => self.read(case)?,
        };
        Ok(Measured {
            case: name(case),
            run,
            delivered,
            open,
        })
    }

    /// Publishes into a stream of its own, which is removed afterwards.
    fn store(&self, word: &str, window: u32) -> Result<(Run, Option<(f64, Latency)>)> {
        let stream = self.stations.create(word)?;
        let subject = format!("{stream}.a");
        let publishers = usize::from(self.args.publishers);
        let result = match self.args.rate {
            Some(rate) if window > 1 => {
                let pace = (rate, publishers);
                open_loop(&self.target, &subject, &self.plan(), pace, &self.watch)
                    .map(|open| (open.run, Some((rate, open.late))))
            }
            _ => self.publish(&subject, window).map(|run| (run, None)),
        };
        let removed = self.stations.remove(&stream);
        let result = result?;
        removed?;
        Ok(result)
    }

    fn publish(&self, subject: &str, window: u32) -> Result<Run> {
        let publishers = Publishers {
            count: usize::from(self.args.publishers),
            window: window as usize,
        };
        publish_durable(&self.target, subject, &self.plan(), publishers, &self.watch)
    }

    /// Fills a stream once, then reads all of it.
    fn read(&self, case: BenchCase) -> Result<Run> {
        let mut filled = self.filled.lock().unwrap_or_else(PoisonError::into_inner);
        let (stream, total) = match &*filled {
            Some(filled) => filled.clone(),
            None => {
                let stream = self.stations.create("read")?;
                let run = self.publish(&format!("{stream}.a"), self.args.window)?;
                filled.insert((stream, run.messages)).clone()
            }
        };
        let mut client = Client::connect(&self.target)?;
        let consumer = |acks| Consumer {
            stream: &stream,
            name: name(case),
            acks,
        };
        let watch = &self.watch;
        if case == BenchCase::Push {
            let consumer = consumer(Acks::None);
            push(&mut client, &consumer, &Value::Null, total, watch)
        } else {
            pull(&mut client, &consumer(Acks::Explicit), total, watch)
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use crate::args::BenchCase;

    #[test]
    fn names_are_what_is_typed() {
        for case in BenchCase::value_variants() {
            let typed = case.to_possible_value().expect("a name");
            assert_eq!(typed.get_name(), super::name(*case));
        }
    }
}
