//! PostgreSQL's wire protocol, so that `psql`, BI tools and drivers read stations: a second door to questions in SQL.
//!
//! What lives here: the listener, who is let in, the simple and the extended protocol, values as bytes, and as much of
//! PostgreSQL's own catalog as tools ask for. What may not come in: another way to run a question than
//! `millstream_sql::query`, anything that writes, knowledge of what tables are made of.
//!
//! The way through the files: `serve` (the listener), `connection` and `tls` (plain or secret, and the loop), `startup` (login),
//! `session` (what a connection has set, and its cancel key), `handlers` (the two protocols), `statements` and `commands` (a text to
//! statements), `local` (those that are answered here), `cursors` and `copy` (other ways to take rows), `text` (what is run), `answer`
//! (rows as they come), `names` (what columns are called), `encode`, `parameters`, `lists` and `written` (values), `catalog` (what tools ask of
//! `pg_catalog`), `errors`.

mod answer;
mod catalog;
mod commands;
mod connection;
mod copy;
mod cursors;
mod encode;
mod errors;
mod handlers;
mod lists;
mod local;
mod names;
mod parameters;
mod serve;
mod session;
mod startup;
mod statements;
#[cfg(test)]
mod tests;
mod text;
mod tls;
mod written;

pub use serve::{Options, Postgres, StartError};
pub use tls::{Tls, TlsError};
