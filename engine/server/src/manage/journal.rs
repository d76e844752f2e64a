//! `journal verify`: every byte of the log is checked, by the server that has it or beside it.

use std::io::{IsTerminal as _, Write as _};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use millstream_admin::{Failure, FailureCode};
use millstream_journal::{Damage, DiskStorage, Progress, Report, VerifyOptions, verify};
use serde_json::{Value, json};

use super::Manager;

/// Bytes a second that a server reads of its own log to check it, so that clients keep most of the disk.
const ONLINE_RATE: u64 = 512 << 20;

impl Manager {
    pub(super) async fn verify_journal(&self) -> Result<Value, Failure> {
        let group = self.group.clone();
        let started = Instant::now();
        let checking = tokio::task::spawn_blocking(move || {
            group.verify(&mut |progress: &Progress| {
                let least =
                    Duration::from_millis(progress.bytes.saturating_mul(1000) / ONLINE_RATE);
                thread::sleep(least.saturating_sub(started.elapsed()));
            })
        });
        let failed = |reason: String| {
            Failure::new(
                FailureCode::Unavailable,
                format!("the log cannot be checked: {reason}"),
                "check the disk",
            )
        };
        match checking.await {
            Ok(Ok(report)) => Ok(as_json(&report)),
            Ok(Err(error)) => Err(failed(error.to_string())),
            Err(error) => Err(failed(error.to_string())),
        }
    }
}

/// Checks the log in a store folder, beside a server where one runs; progress goes to a terminal.
///
/// # Errors
/// When there is no such folder, or it cannot be read.
pub(crate) fn verify_offline(store: &Path) -> anyhow::Result<Value> {
    let folder = store.join("journal");
    let storage = DiskStorage::read_only(&folder)?;
    let running = DiskStorage::is_in_use(&folder);
    let mut err = std::io::stderr();
    let terminal = err.is_terminal();
    let report = verify(&storage, VerifyOptions { running }, &mut |progress| {
        if terminal {
            let (done, all) = (progress.bytes >> 20, progress.total >> 20);
            // A terminal that is gone needs no progress.
            let _gone = write!(err, "\r\x1b[K{done} of {all} MiB");
        }
    })
    .with_context(|| format!("cannot read `{}`", folder.display()))?;
    if terminal {
        let _gone = write!(std::io::stderr(), "\r\x1b[K");
    }
    Ok(as_json(&report))
}

fn as_json(report: &Report) -> Value {
    let unreadable = report.unreadable.iter();
    json!({
        "clean": report.is_clean(),
        "files": report.files,
        "frames": report.frames,
        "records": report.records,
        "bytes": report.bytes,
        "checkpoints": report.checkpoints,
        "without_footer": report.without_footer,
        "damage": report.damage.iter().map(damage).collect::<Vec<_>>(),
        "missing": report.missing.iter().map(|name| json!({ "file": name })).collect::<Vec<_>>(),
        "unreadable": unreadable.map(|file| json!({ "file": file.name, "reason": file.reason })).collect::<Vec<_>>(),
        "tail": report.tail.map(|tail| json!({ "file": format!("{:08}.log", tail.file), "offset": tail.offset })),
    })
}

fn damage(damage: &Damage) -> Value {
    json!({
        "file": damage.name,
        "offset": damage.offset,
        "kind": damage.kind.name(),
        "index": damage.index,
        "frames": damage.frames,
        "group": damage.told.map(|told| told.group),
        "stream": damage.told.map(|told| told.stream),
        "records": damage.told.map(|told| told.count),
    })
}
