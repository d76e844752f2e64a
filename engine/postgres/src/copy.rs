//! `COPY … TO STDOUT`: rows as a file's text or bytes.

use bytes::{BufMut, Bytes, BytesMut};
use pgwire::messages::data::DataRow;

/// How rows are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Copy {
    pub(crate) form: Form,
    pub(crate) header: bool,
    pub(crate) delimiter: u8,
    pub(crate) null: String,
    pub(crate) quote: u8,
    pub(crate) escape: u8,
    /// Columns whose values are in quotes always: all of them.
    pub(crate) force_quote: bool,
}

/// The forms of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Tabs between values, backslashes before what is special.
    Text,
    /// Commas between values, quotes around what is special.
    Csv,
    /// As values are in binary.
    Binary,
}

impl Copy {
    /// The usual way of a form.
    pub(crate) fn of(form: Form) -> Self {
        let is_csv = form == Form::Csv;
        Self {
            form,
            header: false,
            delimiter: if is_csv { b',' } else { b'\t' },
            null: if is_csv {
                String::new()
            } else {
                "\\N".to_owned()
            },
            quote: b'"',
            escape: b'"',
            force_quote: false,
        }
    }

    /// What comes before all rows.
    pub(crate) fn head(&self, names: &[&str]) -> Option<Bytes> {
        match self.form {
            // The signature, no flags, nothing more.
            Form::Binary => Some(Bytes::from_static(b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0")),
            _ if self.header => {
                let names = names.iter().map(|name| Some(name.as_bytes()));
                Some(self.line(names))
            }
            _ => None,
        }
    }

    /// What comes behind all rows.
    pub(crate) fn tail(&self) -> Option<Bytes> {
        (self.form == Form::Binary).then(|| Bytes::from_static(&[0xff, 0xff]))
    }

    /// A row.
    pub(crate) fn row(&self, row: &DataRow) -> Bytes {
        if self.form == Form::Binary {
            let mut out = BytesMut::with_capacity(row.data.len() + 2);
            out.put_i16(row.field_count);
            out.put_slice(&row.data);
            return out.freeze();
        }
        self.line(Values(&row.data))
    }

    fn line<'a>(&self, values: impl Iterator<Item = Option<&'a [u8]>>) -> Bytes {
        let mut out = BytesMut::new();
        for (index, value) in values.enumerate() {
            if index > 0 {
                out.put_u8(self.delimiter);
            }
            match (value, self.form) {
                (None, _) => out.put_slice(self.null.as_bytes()),
                (Some(value), Form::Csv) => self.quoted(value, index == 0, &mut out),
                (Some(value), _) => self.escaped(value, &mut out),
            }
        }
        out.put_u8(b'\n');
        out.freeze()
    }

    fn quoted(&self, value: &[u8], is_first: bool, out: &mut BytesMut) {
        let special = |byte: &u8| {
            *byte == self.delimiter || *byte == self.quote || matches!(*byte, b'\n' | b'\r')
        };
        // Alone on a line it would end the file.
        let ends = is_first && value == b"\\.";
        let is_null = value == self.null.as_bytes();
        if !self.force_quote && !is_null && !ends && !value.iter().any(special) {
            out.put_slice(value);
            return;
        }
        out.put_u8(self.quote);
        for byte in value {
            if *byte == self.quote || *byte == self.escape {
                out.put_u8(self.escape);
            }
            out.put_u8(*byte);
        }
        out.put_u8(self.quote);
    }

    fn escaped(&self, value: &[u8], out: &mut BytesMut) {
        for byte in value {
            let letter = match byte {
                b'\x08' => b'b',
                b'\t' => b't',
                b'\n' => b'n',
                b'\x0b' => b'v',
                b'\x0c' => b'f',
                b'\r' => b'r',
                b'\\' => b'\\',
                byte if *byte == self.delimiter => *byte,
                byte => {
                    out.put_u8(*byte);
                    continue;
                }
            };
            out.put_slice(&[b'\\', letter]);
        }
    }
}

/// The values of a row, each behind its length; -1 is NULL.
struct Values<'a>(&'a [u8]);

impl<'a> Iterator for Values<'a> {
    type Item = Option<&'a [u8]>;

    fn next(&mut self) -> Option<Self::Item> {
        let (length, rest) = self.0.split_first_chunk::<4>()?;
        self.0 = rest;
        let Ok(length) = usize::try_from(i32::from_be_bytes(*length)) else {
            return Some(None);
        };
        let (value, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some(Some(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(values: &[Option<&str>]) -> DataRow {
        let mut data = BytesMut::new();
        for value in values {
            match value {
                None => data.put_i32(-1),
                Some(value) => {
                    data.put_i32(i32::try_from(value.len()).expect("short"));
                    data.put_slice(value.as_bytes());
                }
            }
        }
        DataRow::new(data, i16::try_from(values.len()).expect("few"))
    }

    #[test]
    fn rows_are_written_as_files_have_them() {
        let row = row(&[
            Some("a\tb\\"),
            None,
            Some(""),
            Some("x,\"y\"\n"),
            Some("\\."),
        ]);
        let text = Copy::of(Form::Text);
        assert_eq!(text.row(&row), "a\\tb\\\\\t\\N\t\tx,\"y\"\\n\t\\\\.\n");
        let mut csv = Copy::of(Form::Csv);
        assert_eq!(csv.row(&row), "a\tb\\,,\"\",\"x,\"\"y\"\"\n\",\\.\n");
        csv.null = "NULL".to_owned();
        csv.delimiter = b';';
        csv.force_quote = true;
        assert_eq!(
            csv.row(&row),
            "\"a\tb\\\";NULL;\"\";\"x,\"\"y\"\"\n\";\"\\.\"\n"
        );
        csv.header = true;
        csv.force_quote = false;
        assert_eq!(csv.head(&["a", "b;c"]).expect("a line"), "a;\"b;c\"\n");
        let binary = Copy::of(Form::Binary);
        let bytes = binary.row(&row);
        assert_eq!(&bytes[..6], [0, 5, 0, 0, 0, 4]);
        assert_eq!(binary.head(&[]).expect("a head").len(), 19);
    }
}
