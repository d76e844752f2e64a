//! What the tests of the host share.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use millstream_function_api::{
    Function, FunctionHost as _, FunctionMessage, Grants, Limits, LoadError, Manifest, Nothing,
};
use millstream_function_host::{Options, WasmtimeHost};
use millstream_types::Timestamp;

pub(crate) fn host() -> WasmtimeHost {
    WasmtimeHost::new(Options::default()).expect("the engine starts")
}

pub(crate) fn manifest(timeout: Duration) -> Manifest {
    Manifest {
        name: "guest".to_owned(),
        version: "1".to_owned(),
        config: BTreeMap::new(),
        limits: Limits {
            memory: 16 << 20,
            timeout,
            ..Limits::default()
        },
        grants: Grants::default(),
    }
}

/// Loads a guest that reaches nothing.
pub(crate) fn load(
    host: &WasmtimeHost,
    wasm: &[u8],
    manifest: &Manifest,
) -> Result<Arc<dyn Function>, LoadError> {
    host.load(wasm, manifest, Arc::new(Nothing))
}

pub(crate) fn message(payload: impl Into<Bytes>) -> FunctionMessage<'static> {
    FunctionMessage {
        subject: Cow::Borrowed(b"flights.ua"),
        timestamp: Timestamp(1_356_998_400_000_000_000),
        headers: vec![("Trace".into(), "7".into())],
        payload: Vec::from(payload.into()).into(),
        ..FunctionMessage::default()
    }
}
