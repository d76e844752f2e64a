//! "Did you mean": the valid name nearest to a misspelt one.

/// The candidate that `name` was probably meant to be, if any is near: at most one edit per three characters, upper and
/// lower case alike.
#[must_use]
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = name.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| {
            let distance = strsim::osa_distance(&lower, &candidate.to_lowercase());
            (distance, candidate)
        })
        // Two short names have nothing in common although little has to change between them.
        .filter(|(distance, candidate)| {
            let length = candidate.chars().count();
            *distance <= (length.max(name.chars().count()) / 3).max(1) && *distance < length
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn near_and_far() {
        let words = ["subjects", "schema", "stages", "y"];
        assert_eq!(nearest("subject", words), Some("subjects"));
        assert_eq!(nearest("Shcema", words), Some("schema"));
        assert_eq!(nearest("satges", words), Some("stages"));
        assert_eq!(nearest("colour", words), None);
        assert_eq!(nearest("z", words), None);
        assert_eq!(nearest("x", []), None);
    }
}
