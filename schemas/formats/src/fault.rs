//! What is wrong with a payload or value, while the way back from it is still being told.

use crate::Violation;

/// A violation whose place is written on the way back from it, innermost first: nothing is paid for it before.
#[derive(Debug)]
pub(crate) struct Fault(Box<Inner>);

#[derive(Debug)]
struct Inner {
    keyword: &'static str,
    expected: String,
    found: String,
    place: Vec<String>,
}

/// A fault at the place where this is called.
#[cold]
pub(crate) fn fault<T>(
    keyword: &'static str,
    expected: impl Into<String>,
    found: impl Into<String>,
) -> Result<T, Fault> {
    Err(Fault(Box::new(Inner {
        keyword,
        expected: expected.into(),
        found: found.into(),
        place: Vec::new(),
    })))
}

impl Fault {
    /// The same, found within the member or item `segment`.
    #[cold]
    pub(crate) fn within(mut self, segment: impl Into<String>) -> Self {
        self.0.place.push(segment.into());
        self
    }
}

impl From<Fault> for Violation {
    fn from(fault: Fault) -> Self {
        let Inner {
            keyword,
            expected,
            found,
            place,
        } = *fault.0;
        let segments = place.iter().rev();
        let path: String = segments
            .map(|segment| format!("/{}", segment.replace('~', "~0").replace('/', "~1")))
            .collect();
        Self::of(path, keyword, expected, found)
    }
}
