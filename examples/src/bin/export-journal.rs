//! Exports the journal of an invocation from a server, as a fixture for `durably::testing::RecordedJournal`:
//!
//! ```console
//! $ cargo run -p durably-examples --bin export-journal -- http://127.0.0.1:9070 inv_1… > tests/journals/checkout.json
//! ```
//!
//! The fixture goes to the standard output, the story it tells to the standard error. It holds what the journal holds,
//! payloads included: read it before you commit it.

use std::{env, process::ExitCode};

use anyhow::{Context, Result};
use durably::admin::AdminClient;

const USAGE: &str = "usage: export-journal <admin url> <invocation id>";

#[tokio::main]
async fn main() -> ExitCode {
    durably_examples::exit_code(export()).await
}

async fn export() -> Result<()> {
    let mut arguments = env::args().skip(1);
    let url = arguments.next().context(USAGE)?;
    let id = arguments.next().context(USAGE)?;

    let journal = AdminClient::new(url).export_journal(&id).await?;
    eprintln!("{journal}");
    print!("{}", journal.to_json());
    Ok(())
}
