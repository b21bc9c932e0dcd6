//! `cargo run --release -p durably-benches --bin compare`: builds and runs this SDK, `restate-sdk` from
//! crates.io and a bare echo side by side, checks every answer, and prints a table in Markdown.
//!
//! Without a switch: processor time, interleaved. `--instructions`, `--allocations` (both under
//! valgrind), `--growth`, `--costs` and `--soak` are runs of their own. Linux only: it reads `/proc`.

mod build;
mod costs;
mod growth;
mod memory;
mod process;
mod progress;
mod rows;
mod session;
mod soak;
mod table;
mod timing;
mod valgrind;

use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

use session::{Session, What};

const HELP: &str = "\
cargo run --release -p durably-benches --bin compare [-- SWITCHES]

  (none)          processor time per invocation, interleaved
  --instructions  instructions per invocation (valgrind)
  --allocations   heap blocks and bytes per invocation (valgrind)
  --growth        how time, memory and copies grow with the journal, the fan-out, the payload
  --costs         dependencies, build times, binary size, idle memory of a hello world
  --soak          a million invocations and their memory

  --only TEXT     only the rows whose name contains TEXT
  --protocol N    the service protocol's version: 6 or 7 (default)
  --at-once N     how many short invocations are open at once (default 1)
  --without-peer  without restate-sdk, which takes minutes to build
";

fn main() -> ExitCode {
    let session = match Session::from_args(std::env::args().skip(1)) {
        Ok(Some(session)) => session,
        Ok(None) => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprint!("{error}\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    match run(&session) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            progress::clear();
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs until done or told to stop; what was started is stopped either way, as everything that is
/// started belongs to the future that is dropped here.
fn run(session: &Session) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut interrupted = signal(SignalKind::interrupt())?;
        let mut terminated = signal(SignalKind::terminate())?;
        let work = async {
            match session.what {
                What::Timing => timing::run(session).await,
                What::Instructions => valgrind::instructions(session).await,
                What::Allocations => valgrind::allocations(session).await,
                What::Growth => growth::run(session).await,
                What::Costs => costs::run(session).await,
                What::Soak => soak::run(session).await,
            }
        };
        tokio::select! {
            done = work => done,
            _ = interrupted.recv() => anyhow::bail!("interrupted"),
            _ = terminated.recv() => anyhow::bail!("told to stop"),
        }
    })
}
