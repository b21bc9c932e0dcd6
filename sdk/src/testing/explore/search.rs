//! The search: which runs are made, in which sequence, and what each is compared with.
//!
//! The plain order comes first, uncut and then cut at each point; then the other orders, simplest first
//! (by how many decisions differ from the plain ones), each uncut, and cut at the points that no
//! earlier order had; then orders drawn by the seed. So the first failure is mostly the simplest.

use std::{
    any::Any,
    collections::{BTreeSet, HashSet, VecDeque},
    fmt::Debug,
    panic::AssertUnwindSafe,
    sync::Arc,
};

use futures::FutureExt as _;

use super::{
    Explore, ExploreFailure, ExploreFailureKind, ExploreReport,
    course::{Course, Event},
    outcome::Outcome,
    plan::{Cut, CutKind, Order, Plan},
    progress::Progress,
    report::{self, Report},
};
use crate::{
    engine::{Engine, invocation::Invocation},
    random::Rng,
    testing::TestRuntime,
};

/// A run that was made.
pub(super) struct Run<R> {
    /// What the scenario gave; `Err`: why it did not come to an end.
    value: Result<R, String>,
    outcome: Outcome,
    pub(super) course: Course,
    runtime: TestRuntime,
}

impl<R> Run<R> {
    pub(super) fn engine(&self) -> &Engine {
        self.runtime.engine()
    }
}

/// What is wrong with a run.
pub(super) struct Wrong {
    kind: ExploreFailureKind,
    what: String,
}

/// A failure as it was found.
pub(super) struct Found<R> {
    pub(super) wrong: Wrong,
    /// What the run was compared with.
    pub(super) plain: Option<Run<R>>,
    pub(super) run: Run<R>,
    pub(super) cut: Option<Cut>,
}

pub(super) struct Search<'a, P> {
    explore: &'a Explore,
    play: P,
    progress: Progress,
    pub(super) runs: u64,
    cuts: u64,
    orders: u64,
    strayed: u64,
}

/// The orders that wait to be tried, simplest first.
struct Orders {
    waiting: VecDeque<Order>,
    random: Rng,
    /// Some were not kept, for lack of room.
    lost: bool,
}

impl Orders {
    /// The orders that differ from this one in one later decision.
    fn add(&mut self, order: &Order, course: &Course, room: usize) {
        let from = order.keys().next_back().map_or(0, |last| last + 1);
        for (at, decision) in course.decisions.iter().enumerate().skip(from) {
            if !decision.is_order {
                continue;
            }
            for choice in 1..decision.of {
                if self.waiting.len() >= room {
                    self.lost = true;
                    return;
                }
                let mut next = order.clone();
                next.insert(at, choice);
                self.waiting.push_back(next);
            }
        }
    }
}

impl<'a, P> Search<'a, P> {
    pub(super) fn new(explore: &'a Explore, play: P) -> Self {
        Self {
            explore,
            play,
            progress: Progress::new(explore.progress),
            runs: 0,
            cuts: 0,
            orders: 0,
            strayed: 0,
        }
    }

    fn left(&self) -> u64 {
        self.explore.budget.saturating_sub(self.runs)
    }

    /// Makes one run.
    pub(super) async fn run<R>(
        &mut self,
        order: &Order,
        random: Option<Rng>,
        cut: Option<(Cut, Arc<Vec<Event>>)>,
    ) -> Run<R>
    where
        P: AsyncFn(&mut TestRuntime) -> R,
    {
        self.runs += 1;
        let (cuts, orders, budget) = (self.cuts, self.orders, self.explore.budget);
        self.progress
            .step(|| format!("{orders} orders, {cuts} cuts; the budget is {budget} runs"));
        let (cut, reference) = cut.unzip();
        let mut runtime = self.explore.runtime_of_run();
        runtime.explore(Course::new(order.clone(), random, cut, reference));
        let played = AssertUnwindSafe((self.play)(&mut runtime)).catch_unwind();
        let value = played.await.map_err(message);
        let course = runtime.take_course();
        let course = course.map_or_else(|| Course::new(Order::new(), None, None, None), |it| *it);
        Run {
            value,
            outcome: Outcome::of(runtime.engine()),
            course,
            runtime,
        }
    }

    /// Explores.
    pub(super) async fn search<R>(&mut self) -> Result<ExploreReport, ExploreFailure>
    where
        P: AsyncFn(&mut TestRuntime) -> R,
        R: PartialEq + Debug,
    {
        let plain_order = Order::new();
        let plain = self.run::<R>(&plain_order, None, None).await;
        if let Some(wrong) = fault(&plain) {
            let found = Found::alone(wrong, plain);
            return Err(self.report_beside(&found, &found.run));
        }
        let base = Arc::new(plain);
        let again = self.run::<R>(&plain_order, None, None).await;
        if let Some(wrong) = unrepeatable(&base, &again) {
            return Err(self.report_beside(&Found::alone(wrong, again), &base));
        }
        let mut orders = Orders {
            waiting: VecDeque::new(),
            random: Rng::new(self.explore.seed ^ 0x6f72_6465_7273),
            lost: false,
        };
        let mut journals = HashSet::new();
        let mut points = HashSet::new();
        let mut complete = true;
        let mut made = Some(again);
        let mut order = plain_order;
        loop {
            self.orders += 1;
            let mut run = match made.take() {
                None => self.run::<R>(&order, None, None).await,
                Some(run) => run,
            };
            let wrong = if order.is_empty() {
                unrepeatable(&base, &run)
            } else {
                fault(&run).or_else(|| self.order_matters(&base, &run))
            };
            if let Some(wrong) = wrong {
                let found = Found {
                    wrong,
                    plain: None,
                    run,
                    cut: None,
                };
                let found = self.simplify(found, &base).await;
                return Err(self.report_beside(&found, &base));
            }
            let room = usize::try_from(self.explore.orders).unwrap_or(usize::MAX);
            orders.add(&run.course.order(), &run.course, room.saturating_mul(4));
            let hash = journals_hash(&mut run);
            if journals.insert(hash) {
                let more = self.explore.orders > self.orders && !orders.waiting.is_empty();
                complete &= self.cut_all(&base, run, &mut points, more).await?;
            }
            // The next order.
            let tried = self.orders;
            if self.left() == 0 || tried >= self.explore.orders {
                complete &= orders.waiting.is_empty() && !orders.lost;
                break;
            }
            // The second half is drawn if there are too many to try them all.
            let draws = orders.lost || orders.waiting.len() as u64 > self.explore.orders - tried;
            if draws && tried >= self.explore.orders / 2 {
                let random = Rng::new(orders.random.next_u64());
                let run = self.run::<R>(&Order::new(), Some(random), None).await;
                order = run.course.order();
                made = Some(run);
            } else {
                match orders.waiting.pop_front() {
                    Some(next) => order = next,
                    None => break,
                }
            }
        }
        Ok(ExploreReport {
            runs: self.runs,
            orders: self.orders,
            cuts: self.cuts,
            strayed: self.strayed,
            complete,
        })
    }

    /// Cuts the run of an order wherever no run before was cut alike; whether that was possible everywhere.
    /// `more`: there are orders to come.
    async fn cut_all<R>(
        &mut self,
        base: &Arc<Run<R>>,
        run: Run<R>,
        points: &mut HashSet<(CutKind, u64)>,
        more: bool,
    ) -> Result<bool, ExploreFailure>
    where
        P: AsyncFn(&mut TestRuntime) -> R,
        R: PartialEq + Debug,
    {
        let all = run.course.points.iter().enumerate();
        let new = all.filter(|(_, point)| !points.contains(&(point.kind, point.key)));
        let mut keys = HashSet::new();
        let new = new.filter(|(_, point)| keys.insert((point.kind, point.key)));
        let mut new: Vec<_> = new.map(|(at, point)| (at, *point)).collect();
        // Something is left for the orders to come.
        let share = if more {
            (self.left() / 2).max(1)
        } else {
            self.left()
        };
        let share = usize::try_from(share).unwrap_or(usize::MAX);
        let all = new.len() <= share;
        if !all {
            let mut random = Rng::new(self.explore.seed ^ self.orders.rotate_left(32));
            let mut kept = BTreeSet::new();
            while kept.len() < share {
                kept.insert(random.below(new.len() as u64) as usize);
            }
            new = kept.into_iter().map(|at| new[at]).collect();
        }
        let order = run.course.order();
        let log = Arc::new(run.course.log.clone());
        for (at, point) in new {
            if self.left() == 0 {
                return Ok(false);
            }
            points.insert((point.kind, point.key));
            let kind = point.kind;
            let cut = Cut { at, kind };
            self.cuts += 1;
            let cut_run = self.run(&order, None, Some((cut, Arc::clone(&log)))).await;
            if let Some(wrong) = self.cut_matters(base, &run, &cut_run) {
                let found = Found {
                    wrong,
                    plain: Some(run),
                    run: cut_run,
                    cut: Some(cut),
                };
                let found = self.simplify(found, base).await;
                return Err(self.report_beside(&found, base));
            }
        }
        Ok(all)
    }

    /// One run alone, with what it is compared with.
    pub(super) async fn only<R>(&mut self, plan: &Plan) -> Result<ExploreReport, ExploreFailure>
    where
        P: AsyncFn(&mut TestRuntime) -> R,
        R: PartialEq + Debug,
    {
        let base = self.run::<R>(&Order::new(), None, None).await;
        if let Some(wrong) = fault(&base) {
            let found = Found::alone(wrong, base);
            return Err(self.report_beside(&found, &found.run));
        }
        let base = Arc::new(base);
        self.orders = 1;
        let run = self.run::<R>(&plan.order, None, None).await;
        let wrong = if plan.order.is_empty() {
            fault(&run).or_else(|| unrepeatable(&base, &run))
        } else {
            fault(&run).or_else(|| self.order_matters(&base, &run))
        };
        if let Some(wrong) = wrong {
            let (plain, cut) = (None, None);
            let found = Found {
                wrong,
                plain,
                run,
                cut,
            };
            return Err(self.report_beside(&found, &base));
        }
        if let Some(cut) = plan.cut {
            self.cuts = 1;
            let log = Arc::new(run.course.log.clone());
            let cut_run = self.run(&plan.order, None, Some((cut, log))).await;
            if let Some(wrong) = self.cut_matters(&base, &run, &cut_run) {
                let found = Found {
                    wrong,
                    plain: Some(run),
                    run: cut_run,
                    cut: Some(cut),
                };
                return Err(self.report_beside(&found, &base));
            }
        }
        Ok(ExploreReport {
            runs: self.runs,
            orders: self.orders,
            cuts: self.cuts,
            strayed: self.strayed,
            complete: false,
        })
    }

    // ---- what runs are compared with ---------------------------------------------------------

    pub(super) fn order_matters<R: PartialEq + Debug>(
        &self,
        base: &Run<R>,
        run: &Run<R>,
    ) -> Option<Wrong> {
        if self.explore.order_may_matter {
            return None;
        }
        let names = ("in this order", "in the plain order");
        let what = differs(run, base, names)?;
        Some(Wrong {
            kind: ExploreFailureKind::Order,
            what: format!("the outcome depends on the order in which things happen: {what}"),
        })
    }

    pub(super) fn cut_matters<R: PartialEq + Debug>(
        &mut self,
        base: &Run<R>,
        plain: &Run<R>,
        run: &Run<R>,
    ) -> Option<Wrong> {
        if let Some(wrong) = fault(run) {
            return Some(wrong);
        }
        let what = differs(run, plain, ("with the cut", "without it"))?;
        // Handlers that race may end as they do in another order.
        if self.explore.order_may_matter
            && (run.course.strayed || differs(run, base, ("", "")).is_none())
        {
            self.strayed += u64::from(run.course.strayed);
            return None;
        }
        Some(Wrong {
            kind: ExploreFailureKind::Outcome,
            what: format!("a cut changes the outcome: {what}"),
        })
    }

    // ---- reports -----------------------------------------------------------------------------

    /// The report of a failure beside the run that it was compared with, or else beside this one.
    fn report_beside<R>(&self, found: &Found<R>, base: &Run<R>) -> ExploreFailure {
        self.made(found, found.plain.as_ref().unwrap_or(base))
    }

    fn made<R>(&self, found: &Found<R>, plain: &Run<R>) -> ExploreFailure {
        let kind = found.wrong.kind;
        let course = &found.run.course;
        let (plain, failed) = (plain.engine(), found.run.engine());
        let order = found.order();
        let decisions = order.len();
        let names = match found.cut {
            Some(_) => ("without the cut", "with it"),
            None if std::ptr::eq(plain, failed) => ("", ""),
            None if order.is_empty() => ("the first time", "the second time"),
            None => ("in the plain order", "in this one"),
        };
        let stopped = course.stopped.as_ref().map(|stopped| stopped.index);
        let cut_at = course.was_cut.as_ref().map(|(index, _)| *index);
        let parting = report::parting(plain, failed, stopped, cut_at);
        let mismatch = report::mismatch_of(&found.run);
        let journals = parting.as_ref();
        let journals = journals.map(|parting| report::diff(parting, names, mismatch));
        let cut = course.was_cut.as_ref().map(|(index, words)| {
            let target = failed.invocations.get(*index).map(Invocation::target);
            format!("{}: {words}", target.unwrap_or_default())
        });
        let plan = Plan {
            seed: self.explore.seed,
            order,
            cut: found.cut,
        };
        ExploreFailure(Box::new(Report {
            kind,
            what: found.wrong.what.clone(),
            cut,
            order: decisions,
            rerun: plan.to_string(),
            runs: self.runs,
            journals: journals.unwrap_or_default(),
            causes: report::causes(kind, parting.as_ref(), failed.invocations.len() > 1),
        }))
    }
}

impl<R> Found<R> {
    /// A run that fails by itself.
    pub(super) fn alone(wrong: Wrong, run: Run<R>) -> Self {
        Self {
            wrong,
            plain: None,
            run,
            cut: None,
        }
    }

    pub(super) fn order(&self) -> Order {
        match &self.plain {
            Some(plain) => plain.course.order(),
            None => self.run.course.order(),
        }
    }
}

/// What fails a run whatever others come to.
pub(super) fn fault<R>(run: &Run<R>) -> Option<Wrong> {
    let reason = match &run.value {
        Ok(_) => None,
        Err(reason) => Some(reason.clone()),
    };
    if let Some(stopped) = &run.course.stopped {
        let invocations = &run.engine().invocations;
        let target = invocations.get(stopped.index).map(Invocation::target);
        let target = target.unwrap_or_default();
        return Some(if stopped.is_protocol {
            Wrong {
                kind: ExploreFailureKind::Mismatch,
                what: format!("{target} does not replay: {}", stopped.without_causes()),
            }
        } else {
            Wrong {
                kind: ExploreFailureKind::Stuck,
                what: stopped.text.clone(),
            }
        });
    }
    reason.map(|reason| Wrong {
        kind: ExploreFailureKind::Stuck,
        what: match run.course.was_cut {
            Some(_) => format!("with a cut the scenario does not come to its end: {reason}"),
            None => format!("the scenario does not come to its end: {reason}"),
        },
    })
}

/// What differs between what two runs came to.
fn differs<R: PartialEq + Debug>(
    run: &Run<R>,
    plain: &Run<R>,
    names: (&str, &str),
) -> Option<String> {
    match (&run.value, &plain.value) {
        (Ok(here), Ok(there)) if here != there => Some(format!(
            "the scenario returned {here:?} {}, and {there:?} {}",
            names.0, names.1
        )),
        _ => run.outcome.difference(&plain.outcome, names),
    }
}

/// Whether the same run came out otherwise the second time: its outcome, or what handlers did although
/// the same had come to them.
pub(super) fn unrepeatable<R: PartialEq + Debug>(first: &Run<R>, second: &Run<R>) -> Option<Wrong> {
    let kind = ExploreFailureKind::Unrepeatable;
    if let Some(wrong) = fault(second) {
        return Some(wrong);
    }
    let what = differs(second, first, ("the second time", "the first time"));
    let what = what.or_else(|| report::other_commands(first.engine(), second.engine()))?;
    Some(Wrong {
        kind,
        what: format!(
            "the same run comes out otherwise when it is made again, without any cut: {what}"
        ),
    })
}

fn journals_hash<R>(run: &mut Run<R>) -> u64 {
    let Run {
        course, runtime, ..
    } = run;
    course.journals_hash(runtime.engine())
}

/// What a panic says.
fn message(panic: Box<dyn Any + Send>) -> String {
    let text = panic.downcast::<String>().map(|text| *text);
    text.unwrap_or_else(|panic| match panic.downcast::<&str>() {
        Ok(text) => (*text).to_owned(),
        Err(_) => "a panic with something that is not text".to_owned(),
    })
}
