//! `bench`: what this server, or this machine, does per second, and how long a message takes.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use millstream_load::{LoadError, Stations, Target, Watch};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::args::{BenchArgs, BenchCase};
use crate::console::Console;
use crate::error::CliError;

use super::Session;
use cases::Measure;
use local::Local;
use show::Outcome;

mod cases;
mod local;
mod show;

/// Between two updates of the progress.
const TICK: Duration = Duration::from_millis(250);
/// How long the removal of streams may take, of which each is one request.
const CLOSING: Duration = Duration::from_secs(10);
const ALL: [BenchCase; 7] = [
    BenchCase::Publish,
    BenchCase::Deliver,
    BenchCase::Request,
    BenchCase::Store,
    BenchCase::StoreSync,
    BenchCase::Push,
    BenchCase::Pull,
];

pub(super) async fn bench(args: &BenchArgs, session: Session<'_, '_>) -> Result<(), CliError> {
    let Session {
        client,
        format,
        console,
    } = session;
    // Listened for before anything is made that would have to be put away.
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let (local, target) = if args.local {
        let local = Local::start()?;
        let target = local.target();
        (Some(local), target)
    } else if let Some(address) = &args.nats {
        let login = client.login();
        let address = address.clone();
        (None, Target { address, login })
    } else {
        (None, client.nats().await?)
    };
    let watch = Arc::new(Watch::default());
    let stations = Arc::new(Stations::new(target.clone(), prefix()));
    let measure = Measure::new(args, target.clone(), Arc::clone(&stations), &watch);
    let work = all(args, local.as_ref(), measure, &watch, console);
    let outcome = tokio::select! {
        outcome = work => outcome,
        _ = interrupt.recv() => Err(CliError::Interrupted),
        _ = terminate.recv() => Err(CliError::Interrupted),
    };
    console.progress_done()?;
    // A server of our own goes with its folder.
    let closed = if local.is_none() {
        close(stations, &watch).await
    } else {
        Ok(())
    };
    let outcome = outcome?;
    closed.map_err(|source| CliError::Bench {
        case: "the streams' removal".to_owned(),
        source,
    })?;
    outcome.show(&target.address, args, format, console)
}

/// Streams of two benches at one time do not meet, and whoever finds one knows what it is.
fn prefix() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let nanos = now.map_or(0, |now| now.subsec_nanos());
    format!("bench-{:x}-{nanos:x}", std::process::id())
}

/// Every case, one after the other.
async fn all(
    args: &BenchArgs,
    local: Option<&Local>,
    measure: Measure,
    watch: &Watch,
    console: &mut Console<'_>,
) -> Result<Outcome, CliError> {
    let mut outcome = Outcome::default();
    if let Some(local) = local {
        console.progress("disk: write and fdatasync")?;
        outcome.floor = Some(local.floor().map_err(|source| CliError::Bench {
            case: "the disk".to_owned(),
            source,
        })?);
    }
    let chosen = if args.cases.is_empty() {
        &ALL[..]
    } else {
        &args.cases
    };
    let measure = Arc::new(measure);
    for (number, case) in chosen.iter().enumerate() {
        let name = cases::name(*case);
        let place = format!("{}/{} {name}", number + 1, chosen.len());
        let before = watch.moved();
        let (done, mut result) = oneshot::channel();
        // A thread and not the runtime's: one that waits for a dead server must not keep the process.
        let (measure, case) = (Arc::clone(&measure), *case);
        thread::spawn(move || {
            // Nobody listens any more after an interrupt.
            let _late = done.send(measure.run(case));
        });
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let run = loop {
            tokio::select! {
                biased;
                run = &mut result => break run,
                _ = tick.tick() => {
                    let moved = watch.moved() - before;
                    console.progress(&format!("{place}: {moved} messages"))?;
                }
            }
        };
        let run = run.unwrap_or(Err(LoadError::Thread));
        outcome.runs.push(run.map_err(|source| CliError::Bench {
            case: format!("`{name}`"),
            source,
        })?);
    }
    Ok(outcome)
}

/// Removes the streams that are left, and lets no other be made.
async fn close(stations: Arc<Stations>, watch: &Watch) -> Result<(), LoadError> {
    watch.stop();
    let (done, result) = oneshot::channel();
    thread::spawn(move || {
        let _late = done.send(stations.close());
    });
    // The answer of a server that is gone is not waited for longer than a user does.
    match timeout(CLOSING, result).await {
        Ok(result) => result.unwrap_or(Err(LoadError::Thread)),
        Err(_) => Err(LoadError::Closed),
    }
}
