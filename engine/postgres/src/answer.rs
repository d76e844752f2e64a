//! A question that runs: its columns, and its rows as they come.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::{Stream, stream};
use millstream_sql::query::{
    CellKind, Cells, Described, Event, Form, Limits, Looked, QueryError, Question, describe, start,
};
use pgwire::api::portal::Format;
use pgwire::error::{PgWireError, PgWireResult};
use pgwire::messages::data::DataRow;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};
use tokio::time::timeout;

use crate::encode::{self, Field};
use crate::errors::error;
use crate::lists::Bound;
use crate::serve::Shared;
use crate::session::Session;
use crate::text::Text;

/// Batches of an answer that may wait for its client.
const WAITING: usize = 4;
/// How long a question waits for others to end before it is refused: tools ask several at once.
const TURN: Duration = Duration::from_secs(10);

/// What a question has skipped, when it is over.
pub(crate) type Ended = Arc<Mutex<Option<Looked>>>;

/// The beginning of an answer.
pub(crate) struct Answer {
    pub(crate) columns: Vec<(String, CellKind)>,
    events: mpsc::Receiver<Event>,
    cancelled: watch::Receiver<u64>,
    text: Text,
}

async fn turn(shared: &Shared) -> PgWireResult<OwnedSemaphorePermit> {
    let turn = timeout(TURN, Arc::clone(&shared.options.turns).acquire_owned()).await;
    match turn {
        Ok(Ok(turn)) => Ok(turn),
        Ok(Err(_)) => Err(error("57P01", "server stops")),
        Err(_) => {
            let why = "too many queries run already: try again when one of them is done";
            Err(error("53000", why))
        }
    }
}

fn no_thread(failure: &std::io::Error) -> PgWireError {
    error(
        "53000",
        format!("no thread for the query: {failure}; try again when there is less to do"),
    )
}

/// Asks; answers when it is known whether there is an answer.
pub(crate) async fn ask(
    shared: &Shared,
    session: &Session,
    text: &Text,
    bound: Vec<Bound>,
) -> PgWireResult<Answer> {
    let mut cancelled = session.cancelled();
    let limits = Limits {
        memory: shared.options.memory,
        time: session.time(shared.options.time, shared.options.most_time),
    };
    let turn = turn(shared).await?;
    let (events, mut heard) = mpsc::channel(WAITING);
    let tell = move |event| {
        // Held until the question is done.
        let _turn = &turn;
        events.blocking_send(event).is_ok()
    };
    let (sql, parameters) = text.with(bound);
    let question = Question {
        text: sql,
        parameters,
        form: Form::Cells,
    };
    start(question, text.tables(), limits, tell).map_err(|failure| no_thread(&failure))?;
    loop {
        match next(&mut heard, &mut cancelled).await {
            Next::Event(Event::Kinds(mut columns)) => {
                text.name(&mut columns);
                return Ok(Answer {
                    columns,
                    events: heard,
                    cancelled,
                    text: text.clone(),
                });
            }
            Next::Event(Event::End(Err(failure))) => return Err(text.asked().failed(&failure)),
            Next::Event(_) => {}
            Next::Gone => return Err(gone()),
            Next::Cancelled => return Err(text.asked().failed(&QueryError::Cancelled)),
        }
    }
}

fn gone() -> PgWireError {
    error("XX000", "query ended without an end: see the server's log")
}

enum Next {
    Event(Event),
    Cancelled,
    Gone,
}

async fn next(heard: &mut mpsc::Receiver<Event>, cancelled: &mut watch::Receiver<u64>) -> Next {
    tokio::select! {
        biased;
        // An error means that the session is gone, and with it whoever would read.
        _ = cancelled.changed() => Next::Cancelled,
        event = heard.recv() => event.map_or(Next::Gone, Next::Event),
    }
}

impl Answer {
    /// The rows, in the formats that a client wants; what was skipped is known at the end.
    pub(crate) fn rows(
        self,
        format: &Format,
    ) -> (
        impl Stream<Item = PgWireResult<DataRow>> + Send + use<>,
        Ended,
    ) {
        let rows = self.unread(format);
        let ended = Arc::clone(&rows.ended);
        let rows = stream::unfold(rows, async |mut rows| {
            let row = rows.next().await?;
            Some((row, rows))
        });
        (rows, ended)
    }

    /// The same to be read one by one.
    pub(crate) fn unread(self, format: &Format) -> Rows {
        Rows {
            fields: encode::fields(&self.columns, format),
            answer: self,
            batch: None,
            ready: VecDeque::new(),
            is_over: false,
            ended: Ended::default(),
        }
    }
}

/// The rows of an answer that nobody has read.
pub(crate) struct Rows {
    answer: Answer,
    fields: Vec<Field>,
    /// What was read last, and its rows that nobody has.
    batch: Option<Cells>,
    ready: VecDeque<DataRow>,
    is_over: bool,
    ended: Ended,
}

impl Rows {
    /// Has rows in other formats from now on.
    pub(crate) fn set_format(&mut self, format: &Format) {
        let fields = encode::fields(&self.answer.columns, format);
        if fields == self.fields {
            return;
        }
        self.fields = fields;
        if let Some(batch) = &self.batch {
            let had = batch.rows() - self.ready.len();
            let rows = encode::rows(batch, &self.fields);
            self.ready = rows.into_iter().skip(had).collect();
        }
    }

    /// The next one.
    pub(crate) async fn next(&mut self) -> Option<PgWireResult<DataRow>> {
        loop {
            if let Some(row) = self.ready.pop_front() {
                return Some(Ok(row));
            }
            if self.is_over {
                return None;
            }
            let answer = &mut self.answer;
            match next(&mut answer.events, &mut answer.cancelled).await {
                Next::Event(Event::Cells(cells)) => {
                    self.ready = encode::rows(&cells, &self.fields).into();
                    self.batch = Some(cells);
                }
                Next::Event(Event::End(ended)) => {
                    self.is_over = true;
                    match ended {
                        Ok(looked) => {
                            let mut ended =
                                self.ended.lock().unwrap_or_else(PoisonError::into_inner);
                            *ended = Some(looked);
                        }
                        Err(failure) => {
                            return Some(Err(self.answer.text.asked().failed(&failure)));
                        }
                    }
                }
                Next::Event(_) => {}
                Next::Gone => {
                    self.is_over = true;
                    return Some(Err(gone()));
                }
                Next::Cancelled => {
                    self.is_over = true;
                    // The question ends when it has nobody to tell.
                    self.answer.events.close();
                    let failure = QueryError::Cancelled;
                    return Some(Err(self.answer.text.asked().failed(&failure)));
                }
            }
        }
    }
}

/// What a statement needs and answers.
pub(crate) async fn described(
    shared: &Shared,
    text: &Text,
    parameters: Vec<Option<CellKind>>,
) -> PgWireResult<Described> {
    let limits = Limits {
        memory: shared.options.memory,
        time: shared.options.time,
    };
    let turn = turn(shared).await?;
    let (tell, heard) = oneshot::channel();
    let tell = move |found| {
        drop(turn);
        // Nobody may be there to hear it.
        let _gone = tell.send(found);
    };
    let written = text.written(&parameters);
    let sql = text.with_values(&parameters);
    let asked = match written {
        Some(_) => Vec::new(),
        None => parameters,
    };
    describe(sql, asked, text.tables(), limits, tell).map_err(|failure| no_thread(&failure))?;
    let found = heard.await.map_err(|_| gone())?;
    let mut found = found.map_err(|failure| text.asked().failed(&failure))?;
    if let Some(written) = written {
        found.parameters = written;
    }
    text.name(&mut found.columns);
    Ok(found)
}
