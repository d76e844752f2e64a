//! PostgreSQL's wire protocol, so that `psql`, BI tools and drivers read stations: a second door to questions in SQL.
//!
//! What lives here: the listener, who is let in, the simple and the extended protocol, values as bytes, and as much of
//! PostgreSQL's own catalog as tools ask for. What may not come in: another way to run a question than
//! `millstream_sql::query`, anything that writes, knowledge of what tables are made of.
//!
//! The way through the files: `serve` (connections), `startup` (login), `session` (what a connection has set, and its cancel key),
//! `handlers` (the two protocols), `statements` (a text to statements), `local` (those that are answered here), `answer` (rows as
//! they come), `encode` and `parameters` (values), `catalog` (what tools ask of `pg_catalog`), `errors`.

mod answer;
mod catalog;
mod encode;
mod errors;
mod handlers;
mod local;
mod parameters;
mod serve;
mod session;
mod startup;
mod statements;
#[cfg(test)]
mod tests;

pub use serve::{Options, Postgres, StartError};
