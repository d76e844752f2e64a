//! Moving records out of a journal file that is mostly dead, so that it can go.
//!
//! The records of one stream are gathered chunk by chunk into larger frames, stored, and only then does the index point to
//! the new place. Sequences, times and subjects stay, so nobody notices.

use bytes::Bytes;
use millstream_journal::Position;

use crate::chunk::InFile;
use crate::records::{RecordError, RecordsBuilder, record_at};
use crate::stream::Stream;

/// Records of one chunk that lie in a file that is to go.
#[derive(Clone, Debug)]
pub struct Leaving {
    pub(crate) no: u64,
    pub(crate) runs: Vec<InFile>,
}

impl Leaving {
    /// The frames that hold them.
    pub fn frames(&self) -> impl Iterator<Item = Position> {
        self.runs.iter().map(|run| run.from)
    }

    /// Puts the records into one body; `frames` are the bodies of [`Leaving::frames`]. Remembers where each of them is there.
    ///
    /// # Errors
    /// When a record is damaged.
    pub fn gather(&mut self, frames: &[Bytes]) -> Result<(Bytes, u32), RecordError> {
        let mut body = RecordsBuilder::new();
        for (run, frame) in self.runs.iter_mut().zip(frames) {
            for (_, offset) in &mut run.records {
                let from = *offset as usize;
                let (record, _) = record_at(frame, from)?;
                *offset = u32::try_from(body.bytes_len())
                    .expect("invariant: a chunk's records of one helping fit 4 GiB");
                // Its headers may lie in a record that stays behind.
                body.push(record.subject, record.headers, record.payload);
            }
        }
        Ok(body.take())
    }
}

impl Stream {
    /// The next records that lie in a journal file, about `limit` bytes of them; `None` when there are none.
    #[must_use]
    pub fn leaving(&self, file: u32, limit: u64) -> Option<Leaving> {
        let (no, runs) = self.log.in_file(file, limit)?;
        Some(Leaving { no, runs })
    }

    /// The next records that lie in a frame; `None` when there are none.
    #[must_use]
    pub fn leaving_frame(&self, frame: Position) -> Option<Leaving> {
        let (no, runs) = self.log.in_frame(frame)?;
        Some(Leaving { no, runs })
    }

    /// The gathered records were stored as the frame `to`.
    pub fn moved(&mut self, leaving: &Leaving, to: Position) {
        self.log.moved(leaving.no, &leaving.runs, to);
        self.log.relax();
    }
}
