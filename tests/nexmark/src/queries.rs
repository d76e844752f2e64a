//! The queries of `examples/nexmark` and what is to be known of their tables.

use crate::Station;

/// A query as it lies in its file.
#[derive(Clone, Copy, Debug)]
pub struct Query {
    /// `q0` to `q22`.
    pub name: &'static str,
    /// The whole file.
    pub text: &'static str,
}

impl Query {
    /// What a flow is told beside the query: YAML, the lines behind `--:`.
    #[must_use]
    pub fn options(&self) -> String {
        let lines = self.text.lines();
        let options = lines.filter_map(|line| line.strip_prefix("--: "));
        options.map(|line| format!("{line}\n")).collect()
    }

    /// The query alone.
    #[must_use]
    pub fn sql(&self) -> String {
        let lines = self.text.lines().filter(|line| !line.starts_with("--"));
        lines.map(|line| format!("{line}\n")).collect()
    }

    /// The stations that it reads, without what is looked up.
    #[must_use]
    pub fn reads(&self) -> Vec<Station> {
        let sql = self.sql();
        let words: Vec<&str> = sql
            .split(|c: char| !c.is_alphanumeric() && c != '_')
            .collect();
        let read = |station: &Station| {
            words.windows(2).any(|pair| {
                ["FROM", "JOIN", "TABLE"].contains(&pair[0]) && pair[1] == station.name()
            })
        };
        Station::ALL.into_iter().filter(read).collect()
    }
}

/// The columns of each station, and their types as in a station file.
pub const COLUMNS: [(Station, &[(&str, &str)]); 3] = [
    (
        Station::Person,
        &[
            ("id", "int64"),
            ("name", "string"),
            ("emailAddress", "string"),
            ("creditCard", "string"),
            ("city", "string"),
            ("state", "string"),
            ("dateTime", "timestamp"),
            ("extra", "string"),
        ],
    ),
    (
        Station::Auction,
        &[
            ("id", "int64"),
            ("itemName", "string"),
            ("description", "string"),
            ("initialBid", "int64"),
            ("reserve", "int64"),
            ("dateTime", "timestamp"),
            ("expires", "timestamp"),
            ("seller", "int64"),
            ("category", "int64"),
            ("extra", "string"),
        ],
    ),
    (
        Station::Bid,
        &[
            ("auction", "int64"),
            ("bidder", "int64"),
            ("price", "int64"),
            ("channel", "string"),
            ("url", "string"),
            ("dateTime", "timestamp"),
            ("extra", "string"),
        ],
    ),
];

macro_rules! texts {
    ($($name:literal),*) => {
        [$(Query {
            name: $name,
            text: include_str!(concat!("../../../examples/nexmark/", $name, ".sql")),
        }),*]
    };
}

/// All of them, in order.
#[must_use]
pub fn queries() -> &'static [Query] {
    const QUERIES: [Query; 23] = texts![
        "q0", "q1", "q2", "q3", "q4", "q5", "q6", "q7", "q8", "q9", "q10", "q11", "q12", "q13",
        "q14", "q15", "q16", "q17", "q18", "q19", "q20", "q21", "q22"
    ];
    &QUERIES
}

#[cfg(test)]
mod tests {
    use super::queries;

    #[test]
    fn options_and_query_are_told_apart() {
        let by_name = |name: &str| *queries().iter().find(|query| query.name == name).unwrap();
        assert_eq!(by_name("q2").options(), "");
        assert_eq!(
            by_name("q2").sql(),
            "SELECT auction, price\nFROM bid\nWHERE auction % 123 = 0\n"
        );
        assert_eq!(by_name("q3").options(), "state_ttl: 24h\n");
        let reads = |name| -> Vec<_> {
            let reads = by_name(name).reads().into_iter();
            reads.map(super::Station::name).collect()
        };
        assert_eq!(reads("q3"), ["person", "auction"]);
        assert_eq!(reads("q5"), ["bid"]);
        assert_eq!(reads("q8"), ["person", "auction"]);
        assert_eq!(reads("q12"), ["bid"]);
        assert_eq!(reads("q13"), ["bid"]);
        for query in queries() {
            assert!(
                query.text.starts_with("-- "),
                "{} says nothing of itself",
                query.name
            );
            assert!(!query.reads().is_empty(), "{}", query.name);
        }
    }
}
