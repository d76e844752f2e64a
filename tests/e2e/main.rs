//! One binary that starts real servers and talks to them with real clients. Every test has its own folder and free ports.

#![expect(unreachable_pub, reason = "modules of one test binary share helpers")]
#![expect(clippy::too_many_lines, reason = "a scenario reads best in one piece")]

mod bench;
mod connectors;
mod core;
mod crash;
mod damage;
mod demo;
mod edges;
mod erase;
mod flows;
mod functions;
mod harness;
mod jetstream;
mod migrations;
mod pipeline;
#[cfg(feature = "sql")]
mod postgres;
#[cfg(feature = "sql")]
mod postgres_clients;
#[cfg(feature = "sql")]
mod postgres_tls;
#[cfg(feature = "sql")]
mod previews;
#[cfg(feature = "sql")]
mod prompt;
mod proposals;
mod pullers;
mod python;
#[cfg(feature = "sql")]
mod queries;
#[cfg(feature = "sql")]
mod query_flows;
mod readings;
mod registry;
mod schema_examples;
mod schemas;
mod sealed;
mod serve;
#[cfg(feature = "sql")]
mod sql_functions;
#[cfg(feature = "sql")]
mod sql_stages;
mod states;
mod stations;
mod timed;
mod toolkits;
#[cfg(feature = "sql")]
mod tutorial;
