//! The ingress of the embedded runtime beside the real server's: a client cannot tell them apart.
//!
//! **To add a case**: in the `cases` function of its module, add
//! `suite.case("what_it_shows", async |p| { … })`. It makes requests of the [`Play`] `p`, over HTTP/1.1 and
//! HTTP/2 alike; each answer that it sees, with all its headers, must be the same on both. The server's
//! answers are the truth: none stands in a case. Where they may differ, [`play::EXCEPTIONS`] says why.
//! `DURABLY_SURFACE_SEEN=1` shows what was seen.
//!
//! In: cases. Out: a table of case × version of HTTP.

#![allow(clippy::unwrap_used, reason = "a test")]

mod awakeables;
mod calls;
mod errors;
mod exchange;
mod existing;
mod headers;
mod keys;
mod ours;
mod paths;
mod play;
mod scopes;
mod sends;
mod services;
#[path = "../suite/table.rs"]
mod table;

use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use durably::local::{Fsync, LocalRuntime};
use durably::test_server::{RestateServer, Served};
use exchange::Http;
use play::Play;
use table::{Column, Suite, block_on, outcome};
use tokio::sync::OnceCell;

/// How long one case may take on one backend. Some make hundreds of requests, each of which waits for the disk.
const LIMIT: Duration = Duration::from_secs(400);

impl Column for Http {
    const ALL: &'static [Self] = &[Self::One, Self::Two];

    fn name(self) -> &'static str {
        match self {
            Self::One => "http1",
            Self::Two => "http2",
        }
    }
}

/// Who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum On {
    Server,
    /// One that takes scopes.
    Scopes,
    Local,
}

impl On {
    fn name(self) -> &'static str {
        match self {
            // As long as the other: names of it stand in lengths of bodies.
            Self::Server | Self::Scopes => "there",
            Self::Local => "local",
        }
    }

    async fn address(self) -> SocketAddr {
        static SERVER: OnceCell<Server> = OnceCell::const_new();
        static SCOPES: OnceCell<Server> = OnceCell::const_new();
        static LOCAL: OnceCell<Local> = OnceCell::const_new();
        let url = match self {
            Self::Server => {
                let server = SERVER.get_or_init(|| Server::start(false)).await;
                server.server.ingress_url().to_owned()
            }
            Self::Scopes => {
                let server = SCOPES.get_or_init(|| Server::start(true)).await;
                server.server.ingress_url().to_owned()
            }
            Self::Local => LOCAL.get_or_init(Local::start).await.runtime.ingress_url(),
        };
        url.trim_start_matches("http://").parse().unwrap()
    }
}

struct Server {
    server: RestateServer,
    _served: Served,
}

impl Server {
    async fn start(scopes: bool) -> Self {
        // It writes backtraces into answers.
        let builder = RestateServer::builder().env("RUST_BACKTRACE", "0");
        let builder = if scopes { builder.scopes() } else { builder };
        let server = builder.start().await.unwrap();
        let served = server.serve(services::services()).await.unwrap();
        Self {
            server,
            _served: served,
        }
    }
}

struct Local {
    runtime: LocalRuntime,
    _folder: tempfile::TempDir,
}

impl Local {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let builder = LocalRuntime::builder(services::services());
        let builder = builder.path(folder.path()).fsync(Fsync::Never);
        let builder = builder.ingress(any).admin(any);
        Self {
            runtime: builder.start().await.unwrap(),
            _folder: folder,
        }
    }
}

impl Suite<Http> {
    /// Adds a case that both must play alike.
    #[track_caller]
    fn case(&mut self, name: &'static str, case: impl AsyncFn(&Play) + Send + Sync + 'static) {
        self.beside(On::Server, Http::ALL, name, case);
    }

    /// Adds one for a server that takes scopes.
    #[track_caller]
    fn scoped(&mut self, name: &'static str, case: impl AsyncFn(&Play) + Send + Sync + 'static) {
        self.beside(On::Scopes, Http::ALL, name, case);
    }

    /// Adds one about the bytes of HTTP/1.1.
    #[track_caller]
    fn on_http1(&mut self, name: &'static str, case: impl AsyncFn(&Play) + Send + Sync + 'static) {
        self.beside(On::Server, &[Http::One], name, case);
    }

    #[track_caller]
    fn beside(
        &mut self,
        server: On,
        columns: &'static [Http],
        name: &'static str,
        case: impl AsyncFn(&Play) + Send + Sync + 'static,
    ) {
        self.add(name, columns, move |http| {
            block_on(async {
                let truth = play(name, server, http, &case).await?;
                let local = play(name, On::Local, http, &case).await?;
                let mut reasons = difference(&truth, &local);
                if std::env::var_os("DURABLY_SURFACE_SEEN").is_some() {
                    println!("{name}:\n  {}", truth.join("\n  "));
                }
                reasons.truncate(5);
                if reasons.is_empty() {
                    return Ok(());
                }
                Err(reasons.join("\n"))
            })
        });
    }

    /// Adds one about what only the local runtime has.
    #[track_caller]
    fn ours(&mut self, name: &'static str, case: impl AsyncFn(&Play) + Send + Sync + 'static) {
        self.add(name, Http::ALL, move |http| {
            block_on(async {
                play(name, On::Local, http, &case).await?;
                Ok(())
            })
        });
    }
}

/// Plays a case on one backend.
async fn play(
    name: &str,
    on: On,
    http: Http,
    case: &impl AsyncFn(&Play),
) -> Result<Vec<String>, String> {
    let tag = format!("{name}-{}", http.name());
    let play = Play::new(on.address().await, http, tag, on.name());
    let run = async {
        case(&play).await;
        Ok::<_, String>(())
    };
    match outcome(LIMIT, run).await {
        Ok(()) => Ok(play.into_lines()),
        Err(error) => {
            let seen = play.lines().join("\n  seen before: ");
            Err(format!("on {on:?}: {error}\n  seen before: {seen}"))
        }
    }
}

/// Where what was seen differs.
fn difference(server: &[String], local: &[String]) -> Vec<String> {
    let mut differences = Vec::new();
    for at in 0..server.len().max(local.len()) {
        let line = |lines: &[String]| lines.get(at).cloned().unwrap_or_default();
        let (left, right) = (line(server), line(local));
        if left != right {
            differences.push(format!("on the server  {left}\n        locally  {right}"));
        }
    }
    differences
}

fn main() -> ExitCode {
    let mut suite = Suite::default();
    for cases in [
        paths::cases,
        calls::cases,
        keys::cases,
        sends::cases,
        headers::cases,
        errors::cases,
        existing::cases,
        awakeables::cases,
        scopes::cases,
        ours::cases,
    ] {
        cases(&mut suite);
    }
    suite.run()
}
