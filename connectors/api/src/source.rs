//! The way in: a source reads an outside system and commits through its context.

use std::sync::Arc;

use bytes::Bytes;

use crate::{BoxFuture, ConnectorError, RecordResult, SourceRecord};

/// What a running source tells its status, besides what its commits show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It accepts connections here.
    Listening(std::net::SocketAddr),
    /// Bytes of known input that are not committed yet.
    Behind(u64),
    /// It is well and has nothing to do; the text says what it waits for.
    Waiting(String),
}

/// The broker's side of a source. Implementations are shared by the tasks of one source.
pub trait SourceContext: Send + Sync {
    /// The position stored with the last commit that carried one; `None` before the first.
    ///
    /// # Errors
    /// When the broker cannot tell now.
    fn position(&self) -> BoxFuture<'_, Result<Option<Bytes>, ConnectorError>>;

    /// Runs the records through the door (permission, pipeline) and commits them *and* the position in one command; answers
    /// after the commit. One result per record, in order. A rejected record does not fail the commit. Empty `records`
    /// with a position is allowed. When the future is dropped the commit happens wholly or not at all.
    ///
    /// # Errors
    /// Nothing was committed, or it is not known whether (then the position tells on restart). A source answers an error
    /// by returning it; the supervisor starts it again from the stored position.
    fn commit(
        &self,
        records: Vec<SourceRecord>,
        position: Option<Bytes>,
    ) -> BoxFuture<'_, Result<Vec<RecordResult>, ConnectorError>>;

    /// Resolves when the source shall stop; it then returns `Ok(())` soon, after what it already read is committed or
    /// forgotten. Every wait of a source races against it. May be asked any number of times.
    fn cancelled(&self) -> BoxFuture<'_, ()>;

    /// Tells the status something; never blocks.
    fn progress(&self, progress: Progress) {
        let _ = progress;
    }
}

/// Reads an outside system. One value is one run: after an error the supervisor builds a new one.
pub trait Source: Send {
    /// Reads and commits until there is nothing more (`Ok`), until cancelled (`Ok`), or until an error. It starts by asking
    /// for the position. It may be dropped at any await, as kill -9 would stop it.
    ///
    /// # Errors
    /// [`ConnectorError::Retryable`] to be started again after a pause, [`ConnectorError::Fatal`] to stay stopped.
    fn run(
        self: Box<Self>,
        context: Arc<dyn SourceContext>,
    ) -> BoxFuture<'static, Result<(), ConnectorError>>;
}
