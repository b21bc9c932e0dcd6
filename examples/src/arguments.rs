//! What an example's command line asks for.

use std::ffi::OsString;
use std::path::PathBuf;

/// Where `local` keeps its journal by default: where [`LocalRuntime`](durably::local::LocalRuntime) does.
const FOLDER: &str = "durably-data";

const USAGE: &str = "\
give none for the demonstration, `--server` for the demonstration on a real Restate server, `--keep FOLDER` for \
the demonstration with its journal in a folder of yours, `local [FOLDER]` to run the handlers with the local runtime \
until ctrl-c, or `serve` to serve them for a Restate server";

/// What the program shall do.
#[derive(Debug)]
pub(crate) enum Arguments {
    Demonstrate(Demonstration),
    /// Serve the handlers, for a server elsewhere.
    Serve,
    /// Run them with the local runtime, on a journal in this folder.
    Local(PathBuf),
}

/// What a demonstration shall run on.
#[derive(Debug, Default)]
pub(crate) struct Demonstration {
    /// A real server, instead of the local runtime.
    pub(crate) on_server: bool,
    /// Where the local runtime's journal lies, and stays.
    pub(crate) keep: Option<PathBuf>,
}

impl Arguments {
    pub(crate) fn read(arguments: impl Iterator<Item = OsString>) -> anyhow::Result<Self> {
        let words: Vec<_> = arguments
            .map(|word| word.to_string_lossy().into_owned())
            .collect();
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        Ok(match words[..] {
            [] => Self::Demonstrate(Demonstration::default()),
            ["--server"] => Self::Demonstrate(Demonstration {
                on_server: true,
                keep: None,
            }),
            ["--keep", folder] => Self::Demonstrate(Demonstration {
                on_server: false,
                keep: Some(folder.into()),
            }),
            ["local" | "--local"] => Self::Local(FOLDER.into()),
            ["local" | "--local", folder] => Self::Local(folder.into()),
            ["serve" | "--serve"] => Self::Serve,
            _ => anyhow::bail!("unknown argument `{}`: {USAGE}", words.join(" ")),
        })
    }
}

impl Demonstration {
    /// Refuses what is for the local runtime only.
    pub(crate) fn is_on_server(&self) -> anyhow::Result<()> {
        anyhow::ensure!(
            self.keep.is_none(),
            "`--keep` is for the local runtime, and this demonstration needs a Restate server"
        );
        Ok(())
    }
}
