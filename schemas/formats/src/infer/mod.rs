//! A schema proposed from documents, with the evidence for it.
//!
//! What is proposed as a rule was true of every document that was looked at, and the thresholds that make a rule of it are in
//! `rules`. Nothing depends on the order of the documents; memory is bounded whatever they are.

mod evidence;
mod names;
mod propose;
mod recognise;
mod rules;
mod seen;

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use serde_json::{Value, json};
use thiserror::Error;

use self::names::Names;
use self::seen::Seen;
use crate::{JsonSchema, Shape};

pub use self::evidence::Evidence;

/// Places in documents that are told apart, all levels together.
const MAX_PLACES: usize = 10_000;
/// Levels below the top that are looked at.
const MAX_LEVELS: usize = 32;

/// A payload that is no JSON document.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("payload is no JSON document: {0}")]
pub struct NotJson(pub String);

/// What is known about documents so far.
///
/// The same documents lead to the same proposal in whatever order they are observed and however [`Inference::merge`] puts
/// pieces together, as long as there are no more than 10,000 different places in them; of more, only the upper levels are told
/// apart.
#[derive(Clone, Debug)]
pub struct Inference {
    top: Seen,
    /// Levels looked at.
    levels: usize,
    /// Documents looked at before places are counted again.
    patience: usize,
}

/// A schema for the documents that were observed.
#[derive(Clone, Debug)]
pub struct Proposal {
    /// What they are, for [`crate::Schema::text_of`].
    pub shape: Shape,
    /// The same as JSON Schema 2020-12, with what only it can say; indented.
    pub json_schema: String,
    /// What was seen, by path.
    pub evidence: Vec<Evidence>,
}

impl Default for Inference {
    fn default() -> Self {
        Self {
            top: Seen::default(),
            levels: MAX_LEVELS,
            patience: 0,
        }
    }
}

impl Inference {
    /// Takes a document in.
    ///
    /// # Errors
    /// When it is no JSON; then nothing changed.
    pub fn observe(&mut self, payload: &[u8]) -> Result<(), NotJson> {
        let document = serde_json::from_slice(payload);
        let document: Value = document.map_err(|error| NotJson(error.to_string()))?;
        self.top.add(&document, self.levels);
        // A document has at most half as many values as bytes, so places need not be counted every time.
        let places = payload.len() / 2 + 1;
        self.patience = self.patience.saturating_sub(places);
        if self.patience == 0 {
            self.settle();
        }
        Ok(())
    }

    /// Takes in what another one observed.
    pub fn merge(&mut self, mut other: Self) {
        self.levels = self.levels.min(other.levels);
        self.top.prune(self.levels);
        other.top.prune(self.levels);
        self.top.merge(other.top);
        self.settle();
    }

    /// Documents observed.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.top.count()
    }

    /// Looks less deep until few enough places are left.
    fn settle(&mut self) {
        let mut places = self.top.places();
        while places > MAX_PLACES && self.levels > 0 {
            self.levels -= 1;
            self.top.prune(self.levels);
            places = self.top.places();
        }
        self.patience = MAX_PLACES.saturating_sub(places).max(1);
    }

    /// A schema for what was observed. `name` is what one of the documents is called; it is made a valid name. As many levels
    /// are told apart as a schema may describe.
    #[must_use]
    pub fn proposal(&self, name: &str) -> Proposal {
        let mut top = Cow::Borrowed(&self.top);
        let mut levels = self.levels;
        let mut json_schema = document(&top, name);
        while levels > 0 && JsonSchema::compile(&json_schema, &[]).is_err() {
            levels -= 1;
            top.to_mut().prune(levels);
            json_schema = document(&top, name);
        }
        Proposal {
            shape: propose::shape(&top, name, &mut Names::default()),
            json_schema,
            evidence: evidence::of(&top),
        }
    }
}

fn document(top: &Seen, name: &str) -> String {
    let mut schema = json!({ "$schema": "https://json-schema.org/draft/2020-12/schema" });
    if let (Value::Object(all), Value::Object(own)) = (&mut schema, propose::json_schema(top)) {
        all.insert("title".to_owned(), Names::default().give(name).into());
        all.extend(own);
    }
    format!("{schema:#}")
}
