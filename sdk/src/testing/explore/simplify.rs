//! Making a failure simpler: fewer decisions that differ from the plain order, an earlier cut.

use std::{
    collections::{HashSet, VecDeque},
    fmt::Debug,
    sync::Arc,
};

use super::{
    plan::{Cut, Order},
    search::{Found, Run, Search, fault, unrepeatable},
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
            let is_cut = best.cut.is_some();
            if let Some(simpler) = self.fails(&fewer, is_cut, base, until).await {
                best = simpler;
                order = fewer;
                decisions = order.keys().copied().collect();
            }
        }
        if let Some(cut) = best.cut {
            let plain = self.run::<R>(&order, None, None).await;
            if fault(&plain).is_none()
                && let Some(earlier) = self.fails_cut(&order, plain, cut.at, base, until).await
            {
                best = earlier;
            }
        }
        best
    }

    /// Whether this order fails as well: uncut or, if the failure is that of a cut, cut somewhere.
    async fn fails<R>(
        &mut self,
        order: &Order,
        is_cut: bool,
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
        // The plain order itself: then it is no order that matters.
        let wrong = if order.is_empty() {
            unrepeatable(base, &run)
        } else {
            fault(&run).or_else(|| self.order_matters(base, &run))
        };
        if let Some(wrong) = wrong {
            return Some(Found::alone(wrong, run));
        }
        if !is_cut {
            return None;
        }
        let points = run.course.points.len();
        self.fails_cut(order, run, points, base, until).await
    }

    /// The first cut that fails, of this order's uncut run before one of its points.
    async fn fails_cut<R>(
        &mut self,
        order: &Order,
        plain: Run<R>,
        before: usize,
        base: &Run<R>,
        until: u64,
    ) -> Option<Found<R>>
    where
        P: AsyncFn(&mut TestRuntime) -> R,
        R: PartialEq + Debug,
    {
        let log = Arc::new(plain.course.log.clone());
        let mut keys = HashSet::new();
        let points = plain.course.points.clone();
        for (at, point) in points.iter().enumerate().take(before) {
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
