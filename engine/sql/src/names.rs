//! What somebody may have meant by a name that is not there.

/// The candidate nearest to `name`: the same but for case, or at most a third of its letters away.
pub(crate) fn nearest<'a>(
    name: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let lower = name.to_lowercase();
    let allowed = (name.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| {
            (
                strsim::osa_distance(&lower, &candidate.to_lowercase()),
                candidate,
            )
        })
        // Two short names have nothing in common although little has to change between them.
        .filter(|(distance, candidate)| {
            *distance <= allowed && *distance < candidate.chars().count()
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn near_and_far() {
        let columns = ["carrier", "dep_delay", "band", "x"];
        assert_eq!(nearest("bnad", columns), Some("band"));
        assert_eq!(nearest("Carrier", columns), Some("carrier"));
        assert_eq!(nearest("dep_dealy", columns), Some("dep_delay"));
        assert_eq!(nearest("y", columns), None);
        assert_eq!(nearest("weather", columns), None);
    }
}
