//! Medians, spreads, and printing.

use std::io::Write as _;

/// Writes a line to standard output; a closed pipe ends the program's interest in it.
pub(crate) fn say(line: &str) {
    let _closed = writeln!(std::io::stdout(), "{line}");
}

/// Writes a line to standard error.
pub(crate) fn complain(line: &str) {
    let _closed = writeln!(std::io::stderr(), "{line}");
}

/// Median, lowest and highest of some figures; zeros when there are none.
pub(crate) fn spread(mut figures: Vec<f64>) -> (f64, f64, f64) {
    figures.sort_by(f64::total_cmp);
    let Some((&low, &high)) = figures.first().zip(figures.last()) else {
        return (0.0, 0.0, 0.0);
    };
    let middle = figures.len() / 2;
    let median = if figures.len() % 2 == 1 {
        figures[middle]
    } else {
        f64::midpoint(figures[middle - 1], figures[middle])
    };
    (median, low, high)
}

/// `1.23 M`, `45.6 k`.
pub(crate) fn short(figure: f64) -> String {
    match figure {
        _ if figure >= 1e6 => format!("{:.2} M", figure / 1e6),
        _ if figure >= 1e3 => format!("{:.1} k", figure / 1e3),
        _ => format!("{figure:.1}"),
    }
}

#[cfg(test)]
mod tests {
    use super::spread;

    #[test]
    fn medians() {
        assert_eq!(spread(vec![3.0, 1.0, 2.0]), (2.0, 1.0, 3.0));
        assert_eq!(spread(vec![4.0, 1.0, 2.0, 3.0]), (2.5, 1.0, 4.0));
        assert_eq!(spread(Vec::new()), (0.0, 0.0, 0.0));
    }
}
