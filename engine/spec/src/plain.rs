//! YAML that is no station file, as JSON.

use std::cell::RefCell;

use serde_json::Value;

use crate::fields::Context;
use crate::load::load;
use crate::problem::{At, Problem};

/// The first document of a YAML text as JSON: quoted texts stay texts, words without quotes become what they look like.
/// Nothing is put in for `${NAME}`.
///
/// # Errors
/// Everything that is wrong with the text.
pub fn yaml_value(file: &str, text: &str) -> Result<Value, Vec<Problem>> {
    let file = At {
        file: file.into(),
        line: 1,
        column: 1,
    };
    let mut problems = Vec::new();
    let nodes = load(&file, text, &mut problems);
    let context = Context {
        file: file.file.clone(),
        variables: &|name| Some(format!("${{{name}}}")),
        problems: RefCell::default(),
    };
    let value = nodes.first().map_or(Value::Null, |node| context.json(node));
    problems.extend(context.problems.into_inner());
    if problems.is_empty() {
        Ok(value)
    } else {
        Err(problems)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::yaml_value;

    #[test]
    fn words_are_what_they_look_like() {
        let text = "a: [1, 2.5, true, x, \"1\", null, '${HOME}']\nb: { c: -3 }";
        let value = json!({ "a": [1, 2.5, true, "x", "1", null, "${HOME}"], "b": { "c": -3 } });
        assert_eq!(yaml_value("t.yaml", text), Ok(value));
        let problems = yaml_value("t.yaml", "a: [").expect_err("it is not closed");
        assert_eq!(problems.len(), 1);
    }
}
