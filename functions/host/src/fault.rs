//! What the engine's errors mean to the person whose message or module it was.

use millstream_function_api::{Fault, FaultCode, Limits};
use millstream_types::{format_bytes, format_duration};
use wasmtime::{Trap, WasmBacktrace};

use crate::calls::TooManyCalls;
use crate::limiter::Limiter;

/// The engine's own words when a guest hands over more than `set_hostcall_fuel` allows; the error's type is private
/// to the engine. `tests/hostile.rs` fails when an update of the engine changes them.
const OUTPUT_EXHAUSTED: &str = "too much data";

/// What went wrong in a guest.
pub(crate) fn of(error: &wasmtime::Error, limiter: &Limiter, limits: &Limits) -> Fault {
    let trap = error.downcast_ref::<Trap>().copied();
    if trap == Some(Trap::Interrupt) {
        let reason = format!(
            "computed longer than the {} it has",
            format_duration(limits.timeout)
        );
        return Fault {
            code: FaultCode::Timeout,
            reason,
        };
    }
    if let Some(calls) = error.downcast_ref::<TooManyCalls>() {
        return Fault {
            code: FaultCode::HostCalls,
            reason: calls.to_string(),
        };
    }
    if limiter.refused {
        let reason = format!(
            "asked for more than the {} of memory it has",
            format_bytes(limits.memory)
        );
        return Fault {
            code: FaultCode::Memory,
            reason,
        };
    }
    if let Some(trap) = trap {
        return Fault {
            code: FaultCode::Trap,
            reason: trap_text(trap, error),
        };
    }
    let text = error.root_cause().to_string();
    if text.contains(OUTPUT_EXHAUSTED) {
        return output_bytes(limits);
    }
    Fault {
        code: FaultCode::BadOutput,
        reason: format!("broke the calling convention: {text}"),
    }
}

/// More bytes came out than allowed.
pub(crate) fn output_bytes(limits: &Limits) -> Fault {
    let reason = format!(
        "answered more than the {} allowed for one message",
        format_bytes(limits.output_bytes)
    );
    Fault {
        code: FaultCode::OutputLimit,
        reason,
    }
}

/// More bytes came out of a whole batch than fit into one entry of the log.
pub(crate) fn batch_output(limit: usize) -> Fault {
    let reason = format!(
        "its batch answered more than the {} that fit into one entry of the log",
        format_bytes(limit as u64)
    );
    Fault {
        code: FaultCode::OutputLimit,
        reason,
    }
}

fn trap_text(trap: Trap, error: &wasmtime::Error) -> String {
    let what = match trap {
        Trap::UnreachableCodeReached => "panicked or aborted".to_owned(),
        Trap::StackOverflow => "overflowed its stack".to_owned(),
        other => {
            let text = other.to_string();
            text.strip_prefix("wasm trap: ").unwrap_or(&text).to_owned()
        }
    };
    // The innermost frame that is not the panic machinery says most; a stripped module has no names.
    let frame = error.downcast_ref::<WasmBacktrace>().and_then(|trace| {
        let names = trace.frames().iter().filter_map(|frame| frame.func_name());
        names
            .into_iter()
            .find(|name| !is_panic_machinery(name))
            .map(str::to_owned)
    });
    match frame {
        Some(name) => format!("{what} in `{name}`"),
        None => what,
    }
}

fn is_panic_machinery(name: &str) -> bool {
    [
        "panic",
        "abort",
        "__rust",
        "rust_begin_unwind",
        "unwrap_failed",
        "expect_failed",
    ]
    .iter()
    .any(|part| name.contains(part))
}
