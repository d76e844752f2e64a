//! Rows as a Parquet file, in pieces as they come.

use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;

/// Bytes of a row group while it is made: what is held before anything is written.
const GROUP: usize = 16 << 20;

/// A file that is being written.
pub(super) struct File {
    /// `None` when it is finished.
    writer: Option<ArrowWriter<Written>>,
    written: Written,
}

impl File {
    pub(super) fn begin(schema: SchemaRef) -> Result<Self, ParquetError> {
        let written = Written::default();
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .build();
        let writer = ArrowWriter::try_new(written.clone(), schema, Some(properties))?;
        Ok(Self {
            writer: Some(writer),
            written,
        })
    }

    /// Takes rows in; answers the bytes that are ready.
    pub(super) fn rows(&mut self, batch: &RecordBatch) -> Result<Vec<u8>, ParquetError> {
        if let Some(writer) = &mut self.writer {
            writer.write(batch)?;
            if writer.in_progress_size() > GROUP {
                writer.flush()?;
            }
        }
        Ok(self.written.take())
    }

    /// The last bytes.
    pub(super) fn finish(&mut self) -> Result<Vec<u8>, ParquetError> {
        if let Some(writer) = self.writer.take() {
            writer.close()?;
        }
        Ok(self.written.take())
    }
}

/// Bytes that were written and not told yet.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Written {
    fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        // Only this query's thread writes.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.bytes())
    }
}

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.bytes().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
