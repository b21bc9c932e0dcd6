//! Cases × columns: the table that the end-to-end suites of this repository share.
//!
//! A column is a way in which a case runs. Each pair is a test of its own, `module::case::column`,
//! with all that `cargo test` and `cargo nextest` offer for tests (filters, `--exact`, `--skip`,
//! `--list`, `--test-threads`); at the end a table shows what became of each pair.
//!
//! In: cases and the command line. Out: the exit code; the reasons of failures and the table on
//! stdout. This module knows nothing of the services.

use std::any::Any;
use std::cell::RefCell;
use std::collections::HashSet;
use std::fmt::{Debug, Write as _};
use std::future::Future;
use std::panic::{AssertUnwindSafe, Location, PanicHookInfo};
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, Once, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use libtest_mimic::{Arguments, Failed, Trial};

/// How many run at a time, unless `--test-threads` says otherwise. Most of their time they wait.
const THREADS: usize = 10;

/// A way in which cases run.
pub(crate) trait Column: Copy + PartialEq + Send + Sync + 'static {
    /// All of them, in the order of the table.
    const ALL: &'static [Self];

    fn name(self) -> &'static str;
}

type Run<C> = Arc<dyn Fn(C) -> Result<(), String> + Send + Sync>;

/// One line of the table.
struct Case<C: Column> {
    name: String,
    columns: &'static [C],
    run: Run<C>,
    /// They are not to run side by side: see [`Suite::add_spread`].
    spread: bool,
}

/// What became of one case in each column, and how long it took.
type Outcomes = Vec<Option<(bool, Duration)>>;

/// All cases of a test binary.
pub(crate) struct Suite<C: Column> {
    cases: Vec<Case<C>>,
}

impl<C: Column> Default for Suite<C> {
    fn default() -> Self {
        Self { cases: Vec::new() }
    }
}

impl<C: Column> Suite<C> {
    /// Adds a case. It fails with the text that it gives.
    #[track_caller]
    pub(crate) fn add(
        &mut self,
        name: &str,
        columns: &'static [C],
        run: impl Fn(C) -> Result<(), String> + Send + Sync + 'static,
    ) {
        self.add_case(name, columns, Arc::new(run), false);
    }

    /// As [`add`](Self::add), for cases that wait for each other: they are spread among all, so that
    /// they do not hold up the threads together, or come one by one at the end.
    #[track_caller]
    #[allow(dead_code, reason = "not each suite has such cases")]
    pub(crate) fn add_spread(
        &mut self,
        name: &str,
        columns: &'static [C],
        run: impl Fn(C) -> Result<(), String> + Send + Sync + 'static,
    ) {
        self.add_case(name, columns, Arc::new(run), true);
    }

    #[track_caller]
    fn add_case(&mut self, name: &str, columns: &'static [C], run: Run<C>, spread: bool) {
        let module = Path::new(Location::caller().file()).file_stem();
        let module = module.unwrap_or_default().to_string_lossy();
        self.cases.push(Case {
            name: format!("{module}::{name}"),
            columns,
            run,
            spread,
        });
    }

    /// Runs what the command line asks for, and shows the table.
    pub(crate) fn run(self) -> ExitCode {
        let mut names = HashSet::new();
        for Case { name, .. } in &self.cases {
            assert!(names.insert(name), "two cases have the name `{name}`");
        }
        record_panics();
        let mut arguments = Arguments::from_args();
        arguments.test_threads.get_or_insert(THREADS);

        let outcomes = vec![vec![None; C::ALL.len()]; self.cases.len()];
        let outcomes = Arc::new(Mutex::new(outcomes));
        let (mut trials, mut spread) = (Vec::new(), Vec::new());
        for (at, case) in self.cases.iter().enumerate() {
            for column in case.columns {
                let (column, run, outcomes) = (*column, case.run.clone(), outcomes.clone());
                let name = format!("{}::{}", case.name, column.name());
                let list = if case.spread {
                    &mut spread
                } else {
                    &mut trials
                };
                list.push(Trial::test(name, move || {
                    let start = Instant::now();
                    let result = std::panic::catch_unwind(AssertUnwindSafe(|| run(column)));
                    let result = result.unwrap_or_else(|panic| Err(panicked(&*panic)));
                    let mut outcomes = outcomes.lock().unwrap_or_else(PoisonError::into_inner);
                    let place = C::ALL.iter().position(|known| *known == column);
                    outcomes[at][place.unwrap_or_default()] =
                        Some((result.is_ok(), start.elapsed()));
                    result.map_err(Failed::from)
                }));
            }
        }
        let stride = trials.len() / spread.len().max(1) + 1;
        for (n, trial) in spread.into_iter().enumerate() {
            trials.insert((n * stride).min(trials.len()), trial);
        }
        let start = Instant::now();
        let conclusion = libtest_mimic::run(&arguments, trials);
        if !arguments.list {
            let outcomes = outcomes.lock().unwrap_or_else(PoisonError::into_inner);
            let names = self.cases.iter().map(|case| &*case.name);
            print!("{}", table::<C>(names.zip(&*outcomes), start.elapsed()));
        }
        conclusion.exit_code()
    }
}

/// The table of what ran, and its sums.
fn table<'a, C: Column>(
    cases: impl Iterator<Item = (&'a str, &'a Outcomes)>,
    took: Duration,
) -> String {
    let ran: Vec<_> = cases
        .filter(|(_, outcomes)| outcomes.iter().any(Option::is_some))
        .collect();
    let width = ran.iter().map(|(name, _)| name.len()).max().unwrap_or(4);
    let mut text = String::new();
    // Writing to a string cannot fail.
    let mut line = |name: &str, cells: &[String], seconds: &str| {
        let _ = write!(text, "| {name:width$} |");
        for (column, cell) in C::ALL.iter().zip(cells) {
            let _ = write!(text, " {cell:^0$} |", column.name().len().max(4));
        }
        let _ = writeln!(text, " {seconds:>7} |");
    };
    let heads: Vec<_> = C::ALL
        .iter()
        .map(|column| column.name().to_owned())
        .collect();
    let rules: Vec<_> = heads
        .iter()
        .map(|head| "-".repeat(head.len().max(4)))
        .collect();
    line("case", &heads, "seconds");
    line(&"-".repeat(width), &rules, "------:");
    let (mut passed, mut failed) = (vec![0; C::ALL.len()], 0);
    for (name, outcomes) in &ran {
        let cell = |outcome: &Option<_>| match outcome {
            Some((true, _)) => "ok".to_owned(),
            Some((false, _)) => "FAIL".to_owned(),
            None => "–".to_owned(),
        };
        let cells: Vec<_> = outcomes.iter().map(cell).collect();
        for (count, (ok, _)) in passed
            .iter_mut()
            .zip(outcomes.iter())
            .filter_map(|(count, o)| Some((count, (*o)?)))
        {
            *count += usize::from(ok);
            failed += usize::from(!ok);
        }
        // Of the columns, the slowest.
        let slowest = outcomes.iter().flatten().map(|(_, took)| *took).max();
        let seconds = slowest.unwrap_or_default().as_secs_f64();
        line(name, &cells, &format!("{seconds:.1}"));
    }
    let sums: Vec<_> = passed.iter().map(ToString::to_string).collect();
    line("ok", &sums, &format!("{:.1}", took.as_secs_f64()));
    let _ = writeln!(
        text,
        "{} cases in up to {} columns: {} ok, {failed} failed, in {:.1} s\n",
        ran.len(),
        C::ALL.len(),
        passed.iter().sum::<usize>(),
        took.as_secs_f64(),
    );
    text
}

// ---- running one case ------------------------------------------------------------------------

/// One runtime for all cases: what a static server is asked through, and the handlers that it calls,
/// must not end with the case that came first.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    RUNTIME
        .get_or_init(|| tokio::runtime::Runtime::new().expect("the runtime starts"))
        .block_on(future)
}

/// The result of a case, panics and endless waits included.
pub(crate) async fn outcome<E>(
    limit: Duration,
    case: impl Future<Output = Result<(), E>>,
) -> Result<(), String>
where
    E: Debug,
{
    let case = tokio::time::timeout(limit, AssertUnwindSafe(case).catch_unwind());
    match case.await {
        Ok(Ok(result)) => result.map_err(|error| format!("{error:?}")),
        Ok(Err(panic)) => Err(panicked(&*panic)),
        Err(_) => Err(format!("it has not ended within {limit:?}")),
    }
}

thread_local! {
    /// What the last panic of this thread said, and where.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// What is said of a panic that was caught in this thread.
fn panicked(panic: &(dyn Any + Send)) -> String {
    let text = PANIC.take();
    let plain = || panic.downcast_ref::<String>().cloned();
    text.or_else(plain)
        .unwrap_or_else(|| "a panic without a text".to_owned())
}

/// Cases that run side by side would mix their panics on stderr: those of a case are kept for its
/// report. Those of handlers are shown, unless they are meant.
fn record_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let show = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic: &PanicHookInfo<'_>| {
            let text = panic.payload_as_str().unwrap_or_default();
            let place = panic.location().map(ToString::to_string);
            let thread = std::thread::current();
            let of_handler = thread.name().is_some_and(|name| name.starts_with("tokio"));
            if of_handler {
                if !text.contains("on purpose") {
                    show(panic);
                }
                return;
            }
            let mut report = format!("{}: {text}", place.unwrap_or_default());
            if std::env::var_os("RUST_BACKTRACE").is_some_and(|wanted| wanted == "full") {
                let _ = write!(report, "\n{}", std::backtrace::Backtrace::force_capture());
            }
            PANIC.set(Some(report));
        }));
    });
}
