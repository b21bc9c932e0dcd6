//! What one run of an exploration does: in which order things happen, and where it is cut; and how that
//! is written down, to be run again.

use std::{collections::BTreeMap, fmt, str::FromStr};

/// Where the order differs from the plain one: at which decision, and what is chosen there. In the plain
/// order timers that are due happen first, and who has waited longest is next.
pub(super) type Order = BTreeMap<usize, usize>;

/// How a run is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum CutKind {
    /// The attempt is dropped, and another one begins at once.
    Crash,
    /// The request ends, so that the attempt suspends.
    Suspend,
}

/// A cut, by the number of the point in the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cut {
    pub(crate) at: usize,
    pub(crate) kind: CutKind,
}

/// One run, exactly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) seed: u64,
    pub(super) order: Order,
    pub(super) cut: Option<Cut>,
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed={}", self.seed)?;
        if !self.order.is_empty() {
            f.write_str(" order=")?;
            for (nth, (at, choice)) in self.order.iter().enumerate() {
                let comma = if nth > 0 { "," } else { "" };
                write!(f, "{comma}{at}:{choice}")?;
            }
        }
        match self.cut {
            Some(Cut { at, kind }) => write!(
                f,
                " {}={at}",
                match kind {
                    CutKind::Crash => "crash",
                    CutKind::Suspend => "suspend",
                }
            ),
            None => Ok(()),
        }
    }
}

impl FromStr for Plan {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| {
            let number = text.parse::<usize>();
            number.map_err(|_| format!("`{text}` is not a number"))
        };
        let mut plan = Self {
            seed: 1,
            order: Order::new(),
            cut: None,
        };
        for part in text.split_whitespace() {
            match part.split_once('=') {
                Some(("seed", seed)) => {
                    let seed = seed.parse();
                    plan.seed = seed.map_err(|_| format!("`{part}` is no seed"))?;
                }
                Some(("order", order)) => {
                    for decision in order.split(',') {
                        let (at, choice) = decision
                            .split_once(':')
                            .ok_or_else(|| format!("`{decision}` is no decision"))?;
                        plan.order.insert(number(at)?, number(choice)?);
                    }
                }
                Some((kind @ ("crash" | "suspend"), at)) => {
                    let kind = if kind == "crash" {
                        CutKind::Crash
                    } else {
                        CutKind::Suspend
                    };
                    let at = number(at)?;
                    plan.cut = Some(Cut { at, kind });
                }
                _ => return Err(format!("`{part}` is no part of a run")),
            }
        }
        Ok(plan)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test")]

    use super::*;

    #[test]
    fn a_plan_is_read_as_it_is_written() {
        for text in [
            "seed=1",
            "seed=7 order=3:1,12:2 crash=57",
            "seed=18446744073709551615 suspend=0",
        ] {
            assert_eq!(text.parse::<Plan>().unwrap().to_string(), text);
        }
        for text in ["seed=x", "order=1", "crash=-1", "cut=3", "order=1:2,"] {
            assert!(text.parse::<Plan>().is_err(), "{text}");
        }
    }
}
