//! What is refused when it is deployed: text, place and hint.

use expect_test::{expect, expect_file};

use super::flight;
use crate::SqlStage;

fn error(statement: &str) -> String {
    match SqlStage::compile("sql:1", statement, &flight()) {
        Err(error) => error.to_string(),
        Ok(_) => "accepted".to_owned(),
    }
}

/// Blocks of `refused.slt` are apart by an empty line; those that start with `#` are remarks.
#[test]
fn refused() {
    let block = |block: &str| match block.split_once("\n----") {
        Some((statement, _)) => format!("{statement}\n----\n{}", error(statement)),
        None => block.to_owned(),
    };
    let blocks: Vec<_> = include_str!("refused.slt")
        .trim_end()
        .split("\n\n")
        .map(block)
        .collect();
    expect_file!["refused.slt"].assert_eq(&format!("{}\n", blocks.join("\n\n")));
}

#[test]
fn nothing_at_all() {
    for text in ["", " \n ", "-- a remark", ";"] {
        expect!["line 1, column 1: statement is empty; write `SELECT … FROM message`"]
            .assert_eq(&error(text));
    }
}

#[test]
fn too_much() {
    let long = format!("SELECT '{}' AS x FROM message", "x".repeat(70_000));
    expect!["line 1, column 1: statement has 70027 bytes, at most 65536 are allowed"]
        .assert_eq(&error(&long));
    let chain = format!(
        "SELECT carrier{} AS x FROM message",
        "||carrier".repeat(6_000)
    );
    expect!["line 1, column 1: statement has 12006 words and signs, at most 4096 are allowed; use a function for rules this long"].assert_eq(&error(&chain));
}
