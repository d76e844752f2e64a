//! "Did you mean": the valid name closest to a misspelt one.

/// The candidate most like `name`, when one is like enough to be meant.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = name.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| {
            (
                strsim::jaro_winkler(&lower, &candidate.to_lowercase()),
                candidate,
            )
        })
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn misspelt_names_find_their_neighbour() {
        let names = ["path", "rate", "subject", "max_line"];
        assert_eq!(nearest("pth", names), Some("path"));
        assert_eq!(nearest("Subjct", names), Some("subject"));
        assert_eq!(nearest("zzz", names), None);
    }
}
