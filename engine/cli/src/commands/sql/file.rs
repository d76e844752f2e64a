//! The rows of a statement as a Parquet file, which the server makes.

use std::io::Write as _;
use std::path::Path;

use tempfile::NamedTempFile;

use super::{How, body, point};
use crate::client::Client;
use crate::console::Console;
use crate::error::CliError;

/// The media type by which the server knows what is wanted.
const PARQUET: &str = "application/vnd.apache.parquet";

/// Writes the file when it is whole: a statement that fails leaves what was there before.
pub(super) async fn write(
    path: &Path,
    statement: &str,
    how: &How,
    client: &Client,
    console: &mut Console<'_>,
) -> Result<(), CliError> {
    let wrong = |source| CliError::Save {
        path: path.to_owned(),
        source,
    };
    let body = body(statement, how.timeout);
    let mut answer = match client.post_bytes(&["query"], &body, PARQUET).await {
        Ok(answer) => answer,
        Err(error) => {
            point(statement, &error, console)?;
            return Err(error);
        }
    };
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let mut draft = NamedTempFile::new_in(folder.unwrap_or(Path::new("."))).map_err(wrong)?;
    let mut written = 0;
    while let Some(bytes) = answer.next().await? {
        draft.write_all(&bytes).map_err(wrong)?;
        written += bytes.len();
        console.progress(&format!("{written} bytes written"))?;
    }
    console.progress_done()?;
    draft.persist(path).map_err(|error| wrong(error.error))?;
    writeln!(console.err, "{written} bytes written to {}", path.display())?;
    Ok(())
}
