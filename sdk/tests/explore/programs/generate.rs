//! Scenarios by number.

use super::language::{Fails, Join, Leaf, Request, Stmt, To};

/// Random numbers: SplitMix64.
pub(super) struct Source(u64);

impl Source {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

#[derive(Debug)]
pub(super) struct Scenario {
    pub(super) requests: Vec<Request>,
    /// The time moves on after each request.
    pub(super) one_by_one: bool,
    /// This request is cancelled after a second.
    pub(super) cancelled: Option<usize>,
}

struct Generator<'a> {
    source: &'a mut Source,
    /// Statements that may still be made.
    left: u64,
    workflows: u64,
    /// Results may wake several branches, or tokio's combinators may be used, but not both.
    forks: bool,
}

impl Scenario {
    pub(super) fn generate(source: &mut Source) -> Self {
        // Mostly small ones: most mistakes need few statements.
        let left = match source.below(8) {
            0 => 4 + source.below(16),
            _ => 2 + source.below(6),
        };
        let forks = source.one_in(2);
        let mut generator = Generator {
            source,
            left,
            workflows: 0,
            forks,
        };
        let count = 1 + generator.source.below(3);
        let requests: Vec<_> = (0..count).map(|_| generator.request(0)).collect();
        let cancelled = source.one_in(4).then(|| source.below(count) as usize);
        Self {
            requests,
            one_by_one: source.one_in(4),
            cancelled,
        }
    }
}

impl Generator<'_> {
    fn below(&mut self, n: u64) -> u64 {
        self.source.below(n)
    }

    /// An exclusive handler may only wait for objects of a deeper level: else two could wait for each other.
    fn request(&mut self, level: u64) -> Request {
        let key = format!("{level}-{}", self.below(2));
        let to = match self.below(6) {
            0 | 1 => To::Service,
            2 | 3 => To::Object(key),
            4 => To::Shared(key),
            _ => {
                self.workflows += 1;
                To::Workflow(format!("w{}", self.workflows))
            }
        };
        let program = self.program(level + 1, 2);
        Request { to, program }
    }

    fn program(&mut self, level: u64, depth: u64) -> Vec<Stmt> {
        let count = 1 + self.below(3);
        (0..count).map(|_| self.stmt(level, depth)).collect()
    }

    fn programs(&mut self, level: u64, depth: u64) -> Vec<Vec<Stmt>> {
        let count = 2 + self.below(2);
        (0..count).map(|_| self.program(level, depth)).collect()
    }

    fn stmt(&mut self, level: u64, depth: u64) -> Stmt {
        self.left = self.left.saturating_sub(1);
        let deep = depth > 0 && self.left > 0;
        let choice = self.below(if deep { 18 } else { 10 });
        let depth = depth.saturating_sub(1);
        match choice {
            0..=5 => Stmt::Await(self.leaf(level)),
            6 | 7 => Stmt::Set(self.below(3) as u8),
            8 => Stmt::Clear(self.below(3) as u8),
            9 if level < 3 && self.left > 0 => {
                let request = self.request(level);
                Stmt::Send(request, self.below(3))
            }
            9 | 10 => Stmt::Drop(self.leaf(level), self.source.one_in(2)),
            11 | 12 => {
                let join = match self.below(if self.forks { 4 } else { 5 }) {
                    0 => Join::Durably,
                    1 => Join::Try,
                    2 => Join::Futures,
                    3 => Join::All,
                    _ => Join::Tokio,
                };
                Stmt::Join(self.programs(level, depth), join)
            }
            13 => Stmt::Select(self.program(level, depth), self.program(level, depth)),
            14 => Stmt::SelectAll(self.programs(level, depth)),
            15 => Stmt::Unordered(self.programs(level, depth), self.program(level, 0)),
            16 => Stmt::Channel(self.program(level, 0), self.program(level, 0)),
            _ if self.forks => Stmt::Fork(self.leaf(level), self.programs(level, depth)),
            _ => Stmt::Await(self.leaf(level)),
        }
    }

    fn leaf(&mut self, level: u64) -> Leaf {
        let calls = level < 3 && self.left > 0;
        match self.below(if calls { 16 } else { 12 }) {
            0 | 1 => Leaf::Sleep(self.below(3)),
            2..=4 => Leaf::Run {
                yields: self.below(3) as u32,
                fails: match self.below(8) {
                    0 => Fails::Terminally,
                    1 => Fails::Always,
                    _ => Fails::Never,
                },
            },
            5 => Leaf::Awakeable(self.below(3)),
            6 => Leaf::Signal,
            7 => Leaf::Now,
            8 => Leaf::Get(self.below(3) as u8),
            9 => Leaf::GetKeys,
            10 => Leaf::Promise(self.below(3)),
            11 => match self.leaf(level) {
                nested @ Leaf::Timeout(_) => nested,
                other => Leaf::Timeout(Box::new(other)),
            },
            12 | 13 => Leaf::Call(self.request(level)),
            14 => {
                let request = self.request(level);
                let key = self
                    .source
                    .one_in(2)
                    .then(|| format!("i{level}-{}", self.below(2)));
                Leaf::Attach(request, key)
            }
            _ => Leaf::Cancel(self.request(level)),
        }
    }
}
