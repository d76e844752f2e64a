//! One binary that starts real servers and talks to them with real clients. Every test has its own folder and free ports.

mod connectors;
mod core;
mod crash;
mod demo;
mod harness;
mod jetstream;
mod pipeline;
mod python;
mod serve;
