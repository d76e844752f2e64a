//! The nearest valid name for something misspelt.

/// The candidate that `name` was probably meant to be, if any is near: at most one edit per three
/// characters, upper and lower case alike.
#[must_use]
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| {
            (
                strsim::osa_distance(&name, &candidate.to_lowercase()),
                candidate,
            )
        })
        .filter(|(distance, candidate)| *distance <= (candidate.len().max(name.len()) / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn near_and_far() {
        let words = ["subjects", "schema", "stages"];
        assert_eq!(nearest("subject", words), Some("subjects"));
        assert_eq!(nearest("Shcema", words), Some("schema"));
        assert_eq!(nearest("colour", words), None);
        assert_eq!(nearest("x", []), None);
    }
}
