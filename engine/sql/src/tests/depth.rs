//! Deep statements end in an error or run on a small stack.

use expect_test::expect;
use millstream_pipeline::Stage;

use super::{AA, UA, compile, flight, records, show};
use crate::SqlStage;

fn chain(terms: usize) -> String {
    let terms: Vec<_> = (0..terms).map(|n| format!("flight <> {n}0001")).collect();
    format!("SELECT carrier FROM message WHERE {}", terms.join(" OR "))
}

#[test]
fn deep_statements_are_refused() {
    let refused = |text: &str| {
        SqlStage::compile("sql:1", text, &flight())
            .expect_err("too deep")
            .to_string()
    };
    expect!["line 1, column 35: expressions are nested more than 200 levels deep; write `x IN (…)` or a `CASE` instead of a long chain of operators"].assert_eq(&refused(&chain(1_000)));
    let nested = format!(
        "SELECT {}1{} AS x FROM message",
        "(".repeat(500),
        ")".repeat(500)
    );
    expect!["line 1, column 1: statement is nested too deep"].assert_eq(&refused(&nested));
    let calls = format!(
        "SELECT {}flight{} AS x FROM message",
        "abs(".repeat(300),
        ")".repeat(300)
    );
    expect!["line 1, column 1: statement is nested too deep"].assert_eq(&refused(&calls));
}

/// As deep as is allowed, on the stack that a thread of the runtime has.
#[test]
fn allowed_depth_runs_on_a_small_stack() {
    let sums = format!(
        "SELECT {} AS x FROM message",
        vec!["flight"; 190].join(" + ")
    );
    for text in [chain(190), sums] {
        let run = move || show(&compile(&text).process(&mut records(&[UA, AA])));
        let thread = std::thread::Builder::new()
            .stack_size(2 * 1024 * 1024)
            .spawn(run);
        let answers = thread
            .expect("thread")
            .join()
            .expect("no overflow of the stack");
        assert_eq!(answers.lines().count(), 2, "{answers}");
    }
}
