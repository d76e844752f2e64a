//! The rules of the house that no compiler checks: who imports whom, how long files are, doors, folders, paths.
//!
//! What lives here: `tests/rules.rs`, run by the test command. What may not come in: anything that needs a server.
