//! A server in a process of its own, whose memory can be measured.
//!
//! The process is this test binary again, told by the environment to run the same test: which then
//! serves instead.

use std::env;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::Arc;

use durably::{EndpointBuilder, HttpServer};
use tokio::net::TcpListener;

use crate::rig::{self, Client};
use crate::wire;

const SERVE: &str = "HOSTILE_SERVE";

pub(crate) const MIB: usize = 1024 * 1024;

/// Runs a test against a server in a process of its own. `name` is the path of the test.
pub(crate) fn test<F: Future<Output = ()>>(
    name: &str,
    build: impl FnOnce(EndpointBuilder) -> EndpointBuilder,
    configure: impl FnOnce(HttpServer) -> HttpServer,
    test: impl FnOnce(Child) -> F,
) {
    if env::var_os(SERVE).is_some() {
        return serve(build, configure);
    }
    rig::run(async { test(Child::start(name)).await });
}

fn serve(
    build: impl FnOnce(EndpointBuilder) -> EndpointBuilder,
    configure: impl FnOnce(HttpServer) -> HttpServer,
) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let endpoint = build(rig::endpoint(&Arc::default())).build().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("\nlistening {}", listener.local_addr().unwrap());
        // When the test goes, its end of the pipe does.
        let (gone, stop) = tokio::sync::oneshot::channel::<()>();
        std::thread::spawn(move || {
            let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
            drop(gone);
        });
        let server = HttpServer::new(endpoint)
            .handle_signals(false)
            .drain_deadline(std::time::Duration::ZERO)
            .with_graceful_shutdown(async { drop(stop.await) });
        configure(server).serve(listener).await.unwrap();
    });
}

/// The process.
pub(crate) struct Child {
    process: std::process::Child,
    pub(crate) address: SocketAddr,
}

impl Child {
    fn start(test: &str) -> Self {
        let mut process = Command::new(env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture"])
            .env(SERVE, "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        let mut lines = output.lines();
        let address = lines
            .find_map(|line| line.unwrap().strip_prefix("listening ").map(str::to_owned))
            .unwrap_or_else(|| panic!("no test is named {test}"));
        std::thread::spawn(move || lines.for_each(drop));
        Self {
            process,
            address: address.parse().unwrap(),
        }
    }

    /// The memory that the process has at present, in bytes.
    pub(crate) fn memory(&self) -> usize {
        let statm = std::fs::read_to_string(format!("/proc/{}/statm", self.process.id())).unwrap();
        let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
        pages * 4096
    }

    /// The most memory that the process has had so far, in bytes.
    pub(crate) fn peak(&self) -> usize {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib: usize = peak.unwrap().trim_end_matches("kB").trim().parse().unwrap();
        kib * 1024
    }

    /// What its handlers have counted: started, dropped, issued.
    pub(crate) async fn counts(&self) -> (usize, usize, usize) {
        let mut client = Client::connect(self.address).await;
        let body = client
            .exchange("/invoke/Plain/counts", wire::journal(""))
            .await;
        serde_json::from_str(&wire::output(&body)).unwrap()
    }

    /// Waits until so many attempts are open.
    pub(crate) async fn until_open(&self, count: usize) {
        loop {
            let (started, dropped, _) = self.counts().await;
            if started - dropped == count {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    /// Waits until nothing is issued any more, and gives how much was.
    pub(crate) async fn settled(&self) -> usize {
        let mut last = (0, 0);
        loop {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            let issued = self.counts().await.2;
            last = if issued == last.0 {
                (issued, last.1 + 1)
            } else {
                (issued, 0)
            };
            if last.1 == 6 && issued > 0 {
                return issued;
            }
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
