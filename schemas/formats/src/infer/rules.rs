//! When what was seen is taken for a rule. Every threshold is here.

use super::recognise::KINDS;
use super::seen::{MAX_DISTINCT, Members, Numbers, Objects, Seen, Strings, together};

/// Observations before few different values are taken for all there are.
const ENOUGH: u64 = 100;
/// Words of an enumeration.
const MAX_SYMBOLS: usize = 16;
/// How often each of them must have occurred: a value seen once suggests that there are others.
const OFTEN: u64 = 3;
/// Characters of a word of an enumeration.
const MAX_WORD: usize = 32;
/// Different names before an object may be a map.
const MANY_NAMES: usize = 20;
/// A name of a map occurs in at most one of so many objects, on the average.
const RARE: u64 = 10;
/// How often the least and the most of a range must have occurred.
const OFTEN_BOUND: u64 = 10;
/// Numbers of a range.
const MIN_RANGE: usize = 4;

/// The words when the texts are an enumeration: at least [`ENOUGH`] texts, two to [`MAX_SYMBOLS`] different ones, each at least
/// [`OFTEN`] times, none of them free text, and no dates or addresses.
pub(super) fn symbols(strings: &Strings) -> Option<Vec<&str>> {
    let values = strings.distinct.0.as_ref()?;
    let few = (2..=MAX_SYMBOLS).contains(&values.len());
    let often = values.values().all(|times| *times >= OFTEN);
    let word = |text: &str| {
        let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | '+' | ' ');
        !text.is_empty()
            && text.chars().count() <= MAX_WORD
            && text.chars().all(plain)
            && text.split(' ').count() <= 3
    };
    let words = strings.count >= ENOUGH && few && often && values.keys().all(|text| word(text));
    (words && kind(strings).is_none()).then(|| values.keys().map(AsRef::as_ref).collect())
}

/// The kind of text that all texts are, as a place in [`KINDS`].
pub(super) fn kind(strings: &Strings) -> Option<usize> {
    (0..KINDS.len()).find(|kind| strings.kinds[*kind] == strings.count)
}

/// What numbers are between: from zero when [`ENOUGH`] were seen and none was negative; from and to when they begin at zero or
/// one, every whole number up to the most occurred, and both ends often, as in months and minutes. Ranges that begin
/// elsewhere say more about which messages were looked at: days from the 20th to the 31st are the end of a month.
pub(super) fn range(numbers: &Numbers) -> (Option<i128>, Option<i128>) {
    let count = numbers.integers + numbers.fractions;
    if count < ENOUGH {
        return (None, None);
    }
    if numbers.fractions == 0
        && let Some(values) = &numbers.distinct.0
        && (MIN_RANGE..=MAX_DISTINCT).contains(&values.len())
    {
        let starts = matches!(numbers.least, 0 | 1);
        let span = numbers.most - numbers.least + 1;
        let often = |value: &i128| values.get(value).is_some_and(|times| *times >= OFTEN_BOUND);
        if starts && span == values.len() as i128 && often(&numbers.least) && often(&numbers.most) {
            return (Some(numbers.least), Some(numbers.most));
        }
    }
    let negative = numbers.integers > 0 && numbers.least < 0;
    let negative = negative || numbers.fractions > 0 && numbers.lowest < 0.0;
    ((!negative).then_some(0), None)
}

/// What the members of a map are: of objects with too many names to tell apart, or with at least [`MANY_NAMES`], none of them
/// in every object and each in few of them, whose members are all of one type.
pub(super) fn map(objects: &Objects) -> Option<Seen> {
    match &objects.members {
        Members::Together(seen) => Some(seen.clone()),
        Members::Deep => None,
        Members::Named(members) => {
            if members.len() < MANY_NAMES {
                return None;
            }
            let counts = members.values().map(|member| member.seen.count());
            let always = counts.clone().any(|count| count == objects.count);
            let all: u64 = counts.sum();
            let rare =
                all.saturating_mul(RARE) <= objects.count.saturating_mul(members.len() as u64);
            if always || !rare {
                return None;
            }
            let seen = together(members.clone());
            (types(&seen) == 1).then_some(seen)
        }
    }
}

/// Types seen beside null.
pub(super) fn types(seen: &Seen) -> usize {
    usize::from(seen.booleans > 0)
        + usize::from(seen.numbers.is_some())
        + usize::from(seen.strings.is_some())
        + usize::from(seen.arrays.is_some())
        + usize::from(seen.objects.is_some())
}
