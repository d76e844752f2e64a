//! An open file at a position, read batch by batch. Blocking: runs on the blocking pool.

use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use millstream_connector_api::{Fault, SourceRecord, SubjectTemplate};

use crate::csv_rows::Columns;
use crate::error::FileError;
use crate::lines::{Cut, Cutter, Ending};
use crate::position::Position;
use crate::{follow, json_lines};

/// Most payload bytes of one batch; a single larger record still goes.
const BATCH_BYTES: usize = 1 << 20;

/// How the lines of the file are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    JsonLines,
    Csv,
}

/// What a file source is told.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) path: PathBuf,
    pub(crate) format: Format,
    pub(crate) subject: SubjectTemplate,
    pub(crate) rate: Option<u64>,
    pub(crate) batch: usize,
    pub(crate) follow: bool,
    pub(crate) max_line: usize,
    pub(crate) restart_when_replaced: bool,
    pub(crate) typed: bool,
    pub(crate) null: Option<String>,
}

/// Records and the position after them.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) records: Vec<SourceRecord>,
    pub(crate) position: Bytes,
    /// Bytes of the file after the position.
    pub(crate) behind: u64,
}

/// What reading on gave.
#[derive(Debug)]
pub(crate) enum Step {
    Batch(Batch),
    /// Nothing more for now.
    End,
    /// The path names another file now, or this one was cut; reading starts over in the new content.
    Replaced,
}

#[derive(Debug)]
pub(crate) struct Reader {
    plan: Plan,
    file: File,
    cutter: Cutter,
    columns: Option<Columns>,
}

impl Reader {
    /// Opens the file at a stored position.
    ///
    /// # Errors
    /// When it is missing, unreadable, or not the file the position was taken from.
    pub(crate) fn open(plan: Plan, stored: Option<&[u8]>) -> Result<Self, FileError> {
        let mut position = match stored {
            None => None,
            Some(bytes) => {
                Some(Position::decode(bytes).map_err(|reason| position_error(&plan.path, reason))?)
            }
        };
        let file = open_file(&plan.path)?;
        if let Some(known) = &position {
            let fits = known
                .fits(&file)
                .map_err(|error| FileError::io("read", &plan.path, error))?;
            if !fits && !plan.restart_when_replaced {
                return Err(FileError::Replaced {
                    path: plan.path,
                    line: known.line,
                });
            }
            position = position.filter(|_| fits);
        }
        let (offset, lines) = position.map_or((0, 0), |position| (position.offset, position.line));
        let ending = match plan.format {
            Format::JsonLines => Ending::Line,
            Format::Csv => Ending::Row,
        };
        let cutter = Cutter::new(ending, plan.max_line, offset, lines);
        let mut reader = Self {
            plan,
            file,
            cutter,
            columns: None,
        };
        if offset > 0 && reader.plan.format == Format::Csv {
            reader.read_header_again(offset, lines)?;
        }
        reader.seek(offset)?;
        Ok(reader)
    }

    /// The next batch of at most `most` records.
    ///
    /// # Errors
    /// When reading fails or the header row is none.
    pub(crate) fn step(&mut self, most: usize) -> Result<Step, FileError> {
        let before = self.cutter.offset;
        let (mut records, mut bytes) = (Vec::new(), 0);
        while records.len() < most && bytes < BATCH_BYTES {
            let Some(cut) = self.cut()? else { break };
            if let Some(record) = self.record(cut)? {
                bytes += record.payload.len();
                records.push(record);
            }
        }
        if !records.is_empty() || (self.cutter.offset > before && !self.plan.follow) {
            return self.batch(records).map(Step::Batch);
        }
        if !self.plan.follow
            || !follow::was_replaced(&self.plan.path, &self.file, self.cutter.offset)
        {
            return Ok(Step::End);
        }
        if self.plan.restart_when_replaced {
            Ok(Step::Replaced)
        } else {
            Err(FileError::Replaced {
                path: self.plan.path.clone(),
                line: self.cutter.lines,
            })
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.plan.path
    }

    fn batch(&self, records: Vec<SourceRecord>) -> Result<Batch, FileError> {
        let io = |error| FileError::io("read", &self.plan.path, error);
        let offset = self.cutter.offset;
        let length = self.file.metadata().map_err(io)?.len();
        if length < offset {
            return Err(FileError::Replaced {
                path: self.plan.path.clone(),
                line: self.cutter.lines,
            });
        }
        let position = Position::at(&self.file, offset, self.cutter.lines).map_err(io)?;
        Ok(Batch {
            records,
            position: position.encode(),
            behind: length - offset,
        })
    }

    fn cut(&mut self) -> Result<Option<Cut>, FileError> {
        self.cutter
            .next(&mut self.file, !self.plan.follow)
            .map_err(|error| FileError::io("read", &self.plan.path, error))
    }

    /// `None` for a blank line and for the header row.
    fn record(&mut self, cut: Cut) -> Result<Option<SourceRecord>, FileError> {
        let template = &self.plan.subject;
        if let Some(length) = cut.long {
            let reason = format!(
                "line {} has {length} bytes, more than `max_line` of {}; only its beginning is kept",
                cut.line, self.plan.max_line
            );
            return Ok(Some(SourceRecord {
                subject: template.render(|_| None),
                payload: Bytes::from(cut.bytes),
                fault: Some(Fault {
                    code: "line_too_long",
                    reason,
                }),
                ..SourceRecord::default()
            }));
        }
        let mut bytes = cut.bytes.as_slice();
        if cut.line == 1 {
            bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        }
        if bytes.trim_ascii().is_empty() {
            return Ok(None);
        }
        match (self.plan.format, &self.columns) {
            (Format::JsonLines, _) => Ok(Some(json_lines::record(
                bytes.trim_ascii(),
                cut.line,
                template,
            ))),
            (Format::Csv, Some(columns)) => Ok(Some(columns.record(bytes, cut.line, template))),
            (Format::Csv, None) => {
                let columns = Columns::read(bytes, self.plan.typed, self.plan.null.clone());
                self.columns = Some(columns.map_err(|reason| self.header_error(reason))?);
                Ok(None)
            }
        }
    }

    fn header_error(&self, reason: String) -> FileError {
        FileError::Header {
            path: self.plan.path.clone(),
            reason,
        }
    }

    /// The header stands at the start of the file, wherever reading goes on.
    fn read_header_again(&mut self, offset: u64, lines: u64) -> Result<(), FileError> {
        self.cutter = Cutter::new(Ending::Row, self.plan.max_line, 0, 0);
        self.seek(0)?;
        while self.columns.is_none() && self.cutter.offset < offset {
            let Some(cut) = self.cut()? else { break };
            self.record(cut)?;
        }
        self.cutter = Cutter::new(Ending::Row, self.plan.max_line, offset, lines);
        Ok(())
    }

    fn seek(&mut self, offset: u64) -> Result<(), FileError> {
        self.file
            .seek(SeekFrom::Start(offset))
            .map(drop)
            .map_err(|error| FileError::io("read", &self.plan.path, error))
    }
}

fn position_error(path: &Path, reason: String) -> FileError {
    FileError::Position {
        path: path.to_owned(),
        reason,
    }
}

fn open_file(path: &Path) -> Result<File, FileError> {
    let io = |error| FileError::io("open", path, error);
    let file = File::open(path).map_err(io)?;
    if file.metadata().map_err(io)?.is_dir() {
        return Err(FileError::Folder {
            path: path.to_owned(),
        });
    }
    Ok(file)
}
