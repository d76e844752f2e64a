//! A few records as they were and as they became.

use serde_json::{Map, Value};

/// Most samples kept.
const MOST: usize = 3;

/// The first delivered record of each value of `band`, the field the example's function adds.
#[derive(Debug, Default)]
pub(super) struct Samples {
    kept: Vec<Sample>,
}

/// A delivered record.
#[derive(Debug)]
pub(super) struct Sample {
    /// Its subject.
    pub(super) subject: String,
    /// Its payload.
    pub(super) after: String,
    fields: Map<String, Value>,
}

impl Samples {
    /// Keeps it when it shows something new.
    pub(super) fn offer(&mut self, subject: &[u8], payload: &[u8]) {
        if self.kept.len() == MOST {
            return;
        }
        let Ok(fields) = serde_json::from_slice::<Map<String, Value>>(payload) else {
            return;
        };
        if self
            .kept
            .iter()
            .any(|sample| sample.fields.get("band") == fields.get("band"))
        {
            return;
        }
        self.kept.push(Sample {
            subject: String::from_utf8_lossy(subject).into_owned(),
            after: String::from_utf8_lossy(payload).into_owned(),
            fields,
        });
    }

    /// The samples with the source's record each was made of, where it can be told.
    pub(super) fn with_origins<'a>(&'a self, text: &'a str) -> Vec<(Option<&'a str>, &'a Sample)> {
        self.kept
            .iter()
            .map(|sample| (sample.origin(text), sample))
            .collect()
    }
}

impl Sample {
    /// The first line that agrees with the record in every field both have.
    fn origin<'a>(&self, text: &'a str) -> Option<&'a str> {
        text.lines().find(|line| {
            let Ok(before) = serde_json::from_str::<Map<String, Value>>(line) else {
                return false;
            };
            let mut common = self
                .fields
                .iter()
                .filter_map(|(name, after)| Some((before.get(name)?, after)))
                .peekable();
            common.peek().is_some() && common.all(|(before, after)| before == after)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Samples;

    #[test]
    fn each_band_once_with_its_origin() {
        let mut samples = Samples::default();
        for payload in [
            r#"{"n":1,"band":"early"}"#,
            r#"{"n":2,"band":"early"}"#,
            "no object",
            r#"{"n":3,"band":"late"}"#,
        ] {
            samples.offer(b"f.x", payload.as_bytes());
        }
        let text = "broken\n{\"n\":1,\"m\":7}\n{\"n\":4}\n";
        let found: Vec<_> = samples
            .with_origins(text)
            .iter()
            .map(|(before, sample)| (*before, sample.after.as_str()))
            .collect();
        assert_eq!(
            found,
            [
                (Some(r#"{"n":1,"m":7}"#), r#"{"n":1,"band":"early"}"#),
                (None, r#"{"n":3,"band":"late"}"#)
            ]
        );
    }
}
