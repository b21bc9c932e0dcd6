//! A bad network between server and services: a TCP proxy that splits what passes at any byte, delays
//! it, holds it up, swallows it, and cuts connections in the middle of it.
//!
//! In: connections of the server, a seed, and whether the weather is foul. Out: connections to the
//! services. It knows nothing of what passes through, and changes none of its bytes.

use std::{
    net::Ipv4Addr,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::Notify,
    task::{JoinHandle, JoinSet},
};

use crate::random::Random;

/// A proxy on loopback; gone, with its connections, when it is dropped.
pub(crate) struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

struct Shared {
    target: AtomicU16,
    foul: AtomicBool,
    /// Cuts what is open.
    clear: Notify,
    counts: Counts,
}

/// What has happened to connections, and how many bytes have passed.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) connections: AtomicU64,
    pub(crate) resets: AtomicU64,
    pub(crate) closes: AtomicU64,
    pub(crate) half_closes: AtomicU64,
    pub(crate) stalls: AtomicU64,
    pub(crate) holes: AtomicU64,
    pub(crate) bytes: AtomicU64,
}

impl Counts {
    /// Connections that were ended by the proxy.
    pub(crate) fn cut(&self) -> u64 {
        self.resets.load(Relaxed) + self.closes.load(Relaxed)
    }
}

impl Proxy {
    /// Opens a proxy to a port of loopback.
    pub(crate) async fn start(seed: u64, target: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            target: AtomicU16::new(target),
            foul: AtomicBool::new(false),
            clear: Notify::new(),
            counts: Counts::default(),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared), Random::new(seed)));
        Self {
            port,
            shared,
            accepting,
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Leads connections from now on to another port; those that are open stay where they are.
    pub(crate) fn lead_to(&self, target: u16) {
        self.shared.target.store(target, Relaxed);
    }

    /// Does from now on all that this proxy can do. Before, everything passes at once.
    pub(crate) fn turn_foul(&self) {
        self.shared.foul.store(true, Relaxed);
    }

    /// Cuts all connections, and lets from now on everything pass.
    pub(crate) fn turn_fair(&self) {
        self.shared.foul.store(false, Relaxed);
        self.shared.clear.notify_waiters();
    }

    pub(crate) fn counts(&self) -> &Counts {
        &self.shared.counts
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, mut random: Random) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                count(&shared.counts.connections);
                connections.spawn(connection(stream, Arc::clone(&shared), random.fork()));
            }
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
}

/// How passing on in one direction has ended.
enum End {
    /// The sender has closed its side, and the receiver knows.
    Closed,
    /// The proxy, or an error, ends the connection: with a reset, or as if both sides had closed.
    Cut { reset: bool },
}

async fn connection(mut server: TcpStream, shared: Arc<Shared>, mut random: Random) {
    if shared.is_foul() && random.chance(60) {
        // Nobody there, or somebody who never answers.
        if random.chance(300) {
            shared.stay_foul(random.millis(300, 3_000)).await;
        }
        cut(&shared, true, [&server]);
        return;
    }
    let target = (Ipv4Addr::LOCALHOST, shared.target.load(Relaxed));
    let Ok(mut services) = TcpStream::connect(target).await else {
        // As a connection refused, as near as a proxy can come to it.
        let _ = server.set_zero_linger();
        return;
    };
    let _ = server.set_nodelay(true);
    let _ = services.set_nodelay(true);
    let lifetime = random.millis(100, 6_000);
    let end = {
        let (from_server, to_server) = server.split();
        let (from_services, to_services) = services.split();
        let there = pass(from_server, to_services, &shared, random.fork());
        let back = pass(from_services, to_server, &shared, random.fork());
        let both = async {
            let (mut there, mut back) = (pin!(there), pin!(back));
            tokio::select! {
                end = &mut there => match end {
                    End::Closed => back.await,
                    cut => cut,
                },
                end = &mut back => match end {
                    End::Closed => there.await,
                    cut => cut,
                },
            }
        };
        let reset = random.chance(500);
        tokio::select! {
            end = both => end,
            // Also when nothing passes.
            () = tokio::time::sleep(lifetime), if shared.is_foul() => End::Cut { reset },
            () = shared.clear.notified() => End::Cut { reset },
        }
    };
    if let End::Cut { reset } = end {
        cut(&shared, reset, [&server, &services]);
    }
}

fn cut<const N: usize>(shared: &Shared, reset: bool, streams: [&TcpStream; N]) {
    if reset {
        for stream in streams {
            let _ = stream.set_zero_linger();
        }
        count(&shared.counts.resets);
    } else {
        count(&shared.counts.closes);
    }
}

/// Passes bytes on in one direction.
async fn pass(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    shared: &Shared,
    mut random: Random,
) -> End {
    let mut buffer = vec![0; 16 * 1024];
    // So many bytes pass until something happens, at exactly this byte.
    let mut budget = random.budget();
    loop {
        let mut rest = match from.read(&mut buffer).await {
            Ok(0) => {
                let _ = to.shutdown().await;
                return End::Closed;
            }
            Ok(read) => buffer.get(..read).unwrap(),
            Err(_) => return End::Cut { reset: true },
        };
        while !rest.is_empty() {
            let foul = shared.is_foul();
            let size = if foul {
                random.piece(rest.len()).min(budget)
            } else {
                rest.len()
            };
            let (piece, later) = rest.split_at(size);
            if to.write_all(piece).await.is_err() {
                return End::Cut { reset: true };
            }
            rest = later;
            let passed = size.try_into().unwrap();
            shared.counts.bytes.fetch_add(passed, Relaxed);
            if !foul {
                continue;
            }
            budget -= size;
            if budget > 0 {
                match random.below(1000) {
                    0..5 => tokio::time::sleep(random.millis(20, 100)).await,
                    5..60 => tokio::time::sleep(random.millis(1, 8)).await,
                    _ => tokio::task::yield_now().await,
                }
                continue;
            }
            budget = random.budget();
            match random.below(100) {
                0..35 => return End::Cut { reset: true },
                35..55 => return End::Cut { reset: false },
                55..65 => {
                    // One side sees the end, the other goes on talking for a while.
                    count(&shared.counts.half_closes);
                    let _ = to.shutdown().await;
                    swallow(&mut from, shared, random.millis(50, 1_000)).await;
                    return End::Cut { reset: true };
                }
                65..75 => {
                    count(&shared.counts.holes);
                    swallow(&mut from, shared, random.millis(200, 4_000)).await;
                    return End::Cut { reset: true };
                }
                _ => {
                    count(&shared.counts.stalls);
                    shared.stay_foul(random.millis(100, 1_500)).await;
                }
            }
        }
    }
}

/// Takes what comes and passes nothing on, for this time or until the weather clears.
async fn swallow(from: &mut ReadHalf<'_>, shared: &Shared, time: Duration) {
    let mut buffer = vec![0; 16 * 1024];
    let reading = async { while matches!(from.read(&mut buffer).await, Ok(1..)) {} };
    tokio::select! {
        () = reading => {}
        () = shared.stay_foul(time) => {}
    }
}

impl Shared {
    fn is_foul(&self) -> bool {
        self.foul.load(Relaxed)
    }

    /// Waits for this time, or until the weather clears.
    async fn stay_foul(&self, time: Duration) {
        let start = Instant::now();
        while self.is_foul() && start.elapsed() < time {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Random {
    /// From a few bytes (the middle of a preface) to a megabyte (the middle of a long exchange), each
    /// order of magnitude as often.
    fn budget(&mut self) -> usize {
        let magnitude = 1 << self.between(8, 20);
        1 + self.index(magnitude)
    }

    /// How much of what is there passes at once; at least a byte.
    fn piece(&mut self, all: usize) -> usize {
        match self.below(100) {
            0..5 => 1,
            5..10 => 1 + self.index(all.min(16)),
            10..35 => 1 + self.index(all),
            _ => all,
        }
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}
