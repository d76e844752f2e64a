//! The binary `millstream`: one program that serves, and that talks to one that serves.
//!
//! What lives here: the composition of all rooms into a server, the management operations, the demo.
//! What may not come in: rules that a room of their own could hold. Nobody imports this crate.

mod blobs;
mod compile;
mod connectors;
mod damage;
mod demo;
mod flows;
mod functions;
mod logging;
mod manage;
mod metrics;
mod monitor;
mod running;
mod schemas;
mod serve;
mod shelf;
mod stages;

use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use millstream_cli::{Command, FunctionCommand, JournalCommand, VerifyArgs};
use millstream_config::Flavor;

/// JSON documents and records are many small allocations, made on one thread and freed on another. Measured with
/// `millstream-bench pipeline`; see `tests/bench/RESULTS.md`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A durable stream-processing broker that speaks NATS: schemas, WASM functions and SQL inside the log.
#[derive(Debug, Parser)]
#[command(name = "millstream", version, arg_required_else_help = true)]
struct Arguments {
    #[command(flatten)]
    connection: millstream_cli::Connection,
    #[command(subcommand)]
    command: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Run a server; takes nats-server's flags (`serve -h` lists them)
    #[command(disable_help_flag = true)]
    Serve {
        /// nats-server's flags
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        flags: Vec<String>,
    },
    /// See the whole way on real flight records: source, schema, function, SQL, log, client, sinks
    Demo(demo::DemoArgs),
    #[command(flatten)]
    User(millstream_cli::Command),
}

fn main() -> ExitCode {
    let status = match start() {
        Ok(status) => status,
        Err(error) => {
            serve::complain(&format!("millstream: {error:#}"));
            1
        }
    };
    ExitCode::from(u8::try_from(status).unwrap_or(1))
}

fn start() -> anyhow::Result<i32> {
    let mut arguments = std::env::args();
    let program = arguments.next().unwrap_or_default();
    let name = Path::new(&program)
        .file_name()
        .map(|name| name.to_string_lossy().into_owned());
    if name.as_deref() == Some("nats-server") {
        return serve::run(arguments.collect(), Flavor::NatsServer);
    }
    // `serve` has flags of its own kind, which clap would misread: `-js`, `-sd DIR`, `-DV`.
    let mut rest = arguments.peekable();
    if rest.next_if(|first| first == "serve").is_some() {
        return serve::run(rest.collect(), Flavor::Millstream);
    }
    let arguments = Arguments::try_parse().unwrap_or_else(|error| error.exit());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    match arguments.command {
        Action::Serve { flags } => serve::run(flags, Flavor::Millstream),
        Action::Demo(options) => {
            let mut out = std::io::stdout();
            runtime.block_on(demo::run(&options, &mut out))?;
            Ok(0)
        }
        Action::User(command) => {
            let mut system = millstream_cli::System::default();
            let mut console = system.console();
            if let Command::Journal(JournalCommand::Verify(VerifyArgs {
                online: false,
                store,
            })) = &command
            {
                let store = store
                    .clone()
                    .unwrap_or_else(|| Flavor::Millstream.store_dir());
                let report = manage::verify_offline(&store)?;
                return Ok(millstream_cli::verified(
                    &arguments.connection,
                    &report,
                    &mut console,
                ));
            }
            if let Command::Function(FunctionCommand::Test(test)) = &command {
                let file = std::slice::from_ref(&test.file);
                let bundle = match millstream_cli::Bundle::read(file, &mut console) {
                    Ok(bundle) => bundle,
                    Err(error) => {
                        let connection = &arguments.connection;
                        return Ok(millstream_cli::refused(connection, error, &mut console));
                    }
                };
                let report = functions::test_bundle(&bundle)?;
                return Ok(millstream_cli::tested(
                    &arguments.connection,
                    &report,
                    &mut console,
                ));
            }
            Ok(runtime.block_on(millstream_cli::run(
                &arguments.connection,
                &command,
                &mut console,
            )))
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::Arguments;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }
}
