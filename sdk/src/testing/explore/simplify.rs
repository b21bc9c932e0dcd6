//! Making a failure simpler: fewer decisions that differ from the plain order, an earlier cut.

use std::{
    collections::{HashSet, VecDeque},
    fmt::Debug,
    sync::Arc,
};

use super::{
    plan::{Cut, Order},
    search::{Found, Run, Search, fault},
};
use crate::testing::TestRuntime;

/// Runs that are spent on it.
const RUNS: u64 = 400;

impl<P> Search<'_, P> {
    /// Looks for an earlier cut, and for fewer decisions.
    pub(super) async fn simplify<R>(&mut self, found: Found<R>, base: &Run<R>) -> Found<R>
    where
        P: AsyncFn(&mut TestRuntime) -> R,
        R: PartialEq + Debug,
    {
        let until = self.runs + RUNS;
        let mut best = found;
        let mut order = best.order();
        let mut decisions: VecDeque<usize> = order.keys().copied().collect();
        while let Some(at) = decisions.pop_front() {
            let mut fewer = order.clone();
            fewer.remove(&at);
            if let Some(simpler) = self.fails(&fewer, best.cut, base, until).await {
                best = simpler;
                order = fewer;
                decisions = order.keys().copied().collect();
            }
        }
        if let Some(cut) = best.cut {
            let before = Cut { at: cut.at, ..cut };
            if let Some(earlier) = self.fails_before(&order, before, base, until).await {
                best = earlier;
            }
        }
        best
    }

    /// Whether this order fails as well, uncut or cut near there.
    async fn fails<R>(
        &mut self,
        order: &Order,
        cut: Option<Cut>,
        base: &Run<R>,
        until: u64,
    ) -> Option<Found<R>>
    where
        P: AsyncFn(&mut TestRuntime) -> R,
        R: PartialEq + Debug,
    {
        if self.runs >= until {
            return None;
        }
        let run = self.run::<R>(order, None, None).await;
        if let Some(wrong) = fault(&run).or_else(|| self.order_matters(base, &run)) {
            return Some(Found::alone(wrong, run));
        }
        let cut = cut?;
        let points = run.course.points.len();
        let past = Cut { at: points, ..cut };
        self.fails_before(order, past, base, until).await
    }

    /// The first cut before this one that fails.
    async fn fails_before<R>(
        &mut self,
        order: &Order,
        cut: Cut,
        base: &Run<R>,
        until: u64,
    ) -> Option<Found<R>>
    where
        P: AsyncFn(&mut TestRuntime) -> R,
        R: PartialEq + Debug,
    {
        let plain = self.run::<R>(order, None, None).await;
        if fault(&plain).is_some() {
            return None;
        }
        let log = Arc::new(plain.course.log.clone());
        let mut keys = HashSet::new();
        let points = plain.course.points.clone();
        for (at, point) in points.iter().enumerate().take(cut.at) {
            if self.runs >= until {
                return None;
            }
            if !keys.insert((point.kind, point.key)) {
                continue;
            }
            let kind = point.kind;
            let cut = Cut { at, kind };
            let run = self.run(order, None, Some((cut, Arc::clone(&log)))).await;
            if let Some(wrong) = self.cut_matters(base, &plain, &run) {
                let (plain, cut) = (Some(plain), Some(cut));
                return Some(Found {
                    wrong,
                    plain,
                    run,
                    cut,
                });
            }
        }
        None
    }
}
