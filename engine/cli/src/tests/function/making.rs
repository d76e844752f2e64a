//! `function init` and `function build`.
