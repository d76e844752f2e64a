//! What was seen, in numbers that people can judge a proposal by.

use serde::Serialize;
use serde_json::{Number, Value};

use super::recognise::KINDS;
use super::rules;
use super::seen::{Members, Numbers, Seen, Strings};

/// Places told about; a proposal with more of them is read by nobody.
const MAX_EVIDENCE: usize = 2_000;
/// Values listed of one place.
const MAX_VALUES: usize = 16;

/// What was seen at one place of the documents.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Evidence {
    /// A JSON pointer; `[]` stands for every item of an array, `{}` for every member of a map. Empty is the document.
    pub path: String,
    /// How often there was a value.
    pub seen: u64,
    /// Of how many: documents, objects that hold it, or items.
    pub of: u64,
    /// How often it was null.
    pub nulls: u64,
    /// Types beside null, by JSON Schema's words, with their counts.
    pub types: Vec<(&'static str, u64)>,
    /// The least number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub least: Option<Number>,
    /// The greatest number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub most: Option<Number>,
    /// Characters of the shortest and longest text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub length: Option<(u64, u64)>,
    /// Items of the shortest and longest array.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub items: Option<(u64, u64)>,
    /// How many different whole numbers and short texts there are; none when there are more than 64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub distinct: Option<usize>,
    /// The most frequent of them with their counts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<(Value, u64)>,
    /// What texts were recognised as, with how many of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub formats: Vec<(&'static str, u64)>,
}

/// All places, a place before what lies in it.
pub(super) fn of(top: &Seen) -> Vec<Evidence> {
    let mut all = Vec::new();
    add(top, String::new(), top.count(), &mut all);
    all
}

fn add(seen: &Seen, path: String, of: u64, all: &mut Vec<Evidence>) {
    if all.len() >= MAX_EVIDENCE {
        return;
    }
    all.push(one(seen, path.clone(), of));
    if let Some(arrays) = &seen.arrays
        && let Some(items) = arrays.items.as_ref().filter(|items| items.count() > 0)
    {
        add(items, format!("{path}/[]"), items.count(), all);
    }
    let Some(objects) = &seen.objects else { return };
    if let Some(values) = rules::map(objects) {
        add(&values, format!("{path}/{{}}"), values.count(), all);
    } else if let Members::Named(members) = &objects.members {
        for (name, member) in super::propose::ordered(members) {
            let name = name.replace('~', "~0").replace('/', "~1");
            add(&member.seen, format!("{path}/{name}"), objects.count, all);
        }
    }
}

fn one(seen: &Seen, path: String, of: u64) -> Evidence {
    let mut evidence = Evidence {
        path,
        seen: seen.count(),
        of,
        nulls: seen.nulls,
        types: Vec::new(),
        least: None,
        most: None,
        length: None,
        items: None,
        distinct: None,
        values: Vec::new(),
        formats: Vec::new(),
    };
    let mut count = |word, count| {
        if count > 0 {
            evidence.types.push((word, count));
        }
    };
    let strings = seen.strings.as_deref();
    let numbers = seen.numbers.as_deref();
    count("boolean", seen.booleans);
    count("integer", numbers.map_or(0, |numbers| numbers.integers));
    count("number", numbers.map_or(0, |numbers| numbers.fractions));
    count("string", strings.map_or(0, |strings| strings.count));
    count(
        "array",
        seen.arrays.as_ref().map_or(0, |arrays| arrays.count),
    );
    count(
        "object",
        seen.objects.as_ref().map_or(0, |objects| objects.count),
    );
    if let Some(numbers) = numbers {
        let (low, high) = (numbers.lowest, numbers.highest);
        let whole = numbers.integers > 0;
        evidence.least = number(numbers.least, low, whole && numbers.least as f64 <= low);
        evidence.most = number(numbers.most, high, whole && numbers.most as f64 >= high);
    }
    if let Some(strings) = strings {
        evidence.length = Some((strings.shortest, strings.longest));
        let kinds = KINDS.into_iter().zip(strings.kinds);
        evidence.formats = kinds.filter(|(_, times)| *times > 0).collect();
    }
    let arrays = seen.arrays.as_ref();
    evidence.items = arrays.map(|arrays| (arrays.fewest, arrays.most));
    if let Some(mut values) = values(numbers, strings) {
        evidence.distinct = Some(values.len());
        values.sort_by_key(|(_, times)| std::cmp::Reverse(*times));
        values.truncate(MAX_VALUES);
        evidence.values = values;
    }
    evidence
}

/// All whole numbers and texts with their counts, when they are known.
fn values(numbers: Option<&Numbers>, strings: Option<&Strings>) -> Option<Vec<(Value, u64)>> {
    if numbers.is_none() && strings.is_none() {
        return None;
    }
    let mut values = Vec::new();
    if let Some(numbers) = numbers {
        let known = numbers.distinct.0.as_ref();
        let known = known.filter(|_| numbers.fractions == 0)?;
        values.extend(known.iter().map(|(number, times)| {
            let number = number_of(*number).map_or(Value::Null, Value::Number);
            (number, *times)
        }));
    }
    if let Some(strings) = strings {
        let known = strings.distinct.0.as_ref()?.iter();
        values.extend(known.map(|(text, times)| (Value::from(&**text), *times)));
    }
    Some(values)
}

fn number(whole: i128, fraction: f64, is_whole: bool) -> Option<Number> {
    if is_whole {
        return number_of(whole);
    }
    Number::from_f64(fraction)
}

fn number_of(whole: i128) -> Option<Number> {
    let small = i64::try_from(whole).ok().map(Number::from);
    small.or_else(|| u64::try_from(whole).ok().map(Number::from))
}
