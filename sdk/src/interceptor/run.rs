//! Interceptors around a run's closure.
//!
//! The closure's future borrows from the handler and need not be `Send`, so it cannot lie within the
//! interceptors' futures, which are boxed. It lies beside them: [`RunChain`] polls the interceptors; when
//! the innermost awaits the closure, it polls that, and polls the interceptors again once it has ended.
//! What is to be in force while the closure is polled is a function of its own, [`RunNext::within`].

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context as TaskContext, Poll, Waker},
};

use bytes::Bytes;

use super::{AttemptInfo, layers::Layers};
use crate::{error::HandlerResult, executor::Cell, service::HandlerFuture};

/// What a poll of the closure is done within.
type Scope = Box<dyn FnMut(&mut dyn FnMut()) + Send>;

/// A run whose closure is executed, as [`Interceptor::run`](crate::Interceptor::run) sees it.
///
/// # Examples
///
/// See [`Interceptor`](crate::Interceptor).
#[derive(Clone, Debug)]
pub struct RunInfo {
    attempt: AttemptInfo,
    name: Arc<str>,
}

impl RunInfo {
    /// The run's name.
    ///
    /// # Examples
    ///
    /// See [`Interceptor`](crate::Interceptor).
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The attempt in which the closure is executed.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::RunInfo;
    ///
    /// fn full_name(run: &RunInfo) -> String {
    ///     format!("{}: {}", run.attempt().service_name(), run.name())
    /// }
    /// # let _ = full_name;
    /// ```
    #[must_use]
    pub fn attempt(&self) -> &AttemptInfo {
        &self.attempt
    }
}

/// What lies within an interceptor around a run: further interceptors, then the closure.
///
/// # Examples
///
/// See [`Interceptor`](crate::Interceptor).
pub struct RunNext {
    run: RunInfo,
    layers: Layers,
    /// The next of them.
    at: usize,
    link: Link,
}

impl RunNext {
    /// Does every poll of the closure within `scope`, which is handed that poll and must call it: to
    /// enter a span, or to set what belongs to the thread. The closure does not lie within the futures of
    /// its interceptors, so that nothing that they set is in force there by itself.
    ///
    /// # Examples
    ///
    /// ```
    /// use bytes::Bytes;
    /// use durably::{Interceptor, RunInfo, RunNext, prelude::*};
    ///
    /// struct Spans;
    ///
    /// impl Interceptor for Spans {
    ///     async fn run(&self, run: &RunInfo, next: RunNext) -> HandlerResult<Bytes> {
    ///         let span = tracing::info_span!("run", name = run.name());
    ///         next.within(move |poll| span.in_scope(poll)).run().await
    ///     }
    /// }
    /// # let _ = Spans;
    /// ```
    #[must_use]
    pub fn within(self, scope: impl FnMut(&mut dyn FnMut()) + Send + 'static) -> Self {
        self.link.lock().scopes.push(Box::new(scope));
        self
    }

    /// Goes on: executes the closure. What it gives is the encoded result. Dropping the future drops the
    /// closure.
    ///
    /// # Examples
    ///
    /// See [`Interceptor`](crate::Interceptor).
    pub fn run(self) -> impl Future<Output = HandlerResult<Bytes>> + Send + 'static {
        self.go_on()
    }

    fn go_on(mut self) -> HandlerFuture {
        match self.layers.0.get(self.at).cloned() {
            Some(layer) => {
                self.at += 1;
                let run = self.run.clone();
                layer.run(run, self)
            }
            None => Box::pin(Executing(self.link)),
        }
    }
}

impl fmt::Debug for RunNext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunNext")
            .field("run", &self.run)
            .finish_non_exhaustive()
    }
}

/// What the interceptors and the closure beside them share.
#[derive(Clone, Default)]
struct Link(Arc<Mutex<Shared>>);

#[derive(Default)]
struct Shared {
    /// Outermost first.
    scopes: Vec<Scope>,
    /// The innermost interceptor awaits the closure.
    awaited: Option<Waker>,
    /// It does so no more.
    given_up: bool,
    result: Option<HandlerResult<Bytes>>,
}

impl Link {
    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The closure, as the innermost interceptor awaits it.
struct Executing(Link);

impl Future for Executing {
    type Output = HandlerResult<Bytes>;

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let mut shared = self.0.lock();
        match shared.result.take() {
            Some(result) => Poll::Ready(result),
            None => {
                let old = shared.awaited.replace(cx.waker().clone());
                drop(shared);
                drop(old);
                Poll::Pending
            }
        }
    }
}

impl Drop for Executing {
    fn drop(&mut self) {
        self.0.lock().given_up = true;
    }
}

/// The interceptors around a closure that is being executed.
pub(crate) struct RunChain {
    interceptors: HandlerFuture,
    link: Link,
}

impl RunChain {
    /// The interceptors of a run, if there are any.
    pub(crate) fn new(cell: &Arc<Cell>, name: &str) -> Option<Self> {
        let layers = cell.request.setting.layers.clone()?;
        let link = Link::default();
        let next = RunNext {
            run: RunInfo {
                attempt: AttemptInfo::new(cell),
                name: name.into(),
            },
            layers,
            at: 0,
            link: link.clone(),
        };
        Some(Self {
            interceptors: next.go_on(),
            link,
        })
    }

    /// Polls the interceptors and, when they await it, the closure. With `None` as context, the closure
    /// is to be dropped.
    pub(crate) fn poll(
        &mut self,
        cx: &mut TaskContext<'_>,
        mut closure: impl FnMut(Option<&mut TaskContext<'_>>) -> Poll<HandlerResult<Bytes>>,
    ) -> Poll<HandlerResult<Bytes>> {
        loop {
            let polled = self.interceptors.as_mut().poll(cx);
            let (awaited, given_up) = {
                let shared = self.link.lock();
                (shared.awaited.is_some(), shared.given_up)
            };
            if polled.is_ready() || given_up {
                let _ = closure(None);
                return polled;
            }
            if !awaited {
                return Poll::Pending;
            }
            // Not under the lock: the closure is the user's.
            let mut scopes = std::mem::take(&mut self.link.lock().scopes);
            let mut result = Poll::Pending;
            nest(&mut scopes, &mut || {
                if result.is_pending() {
                    result = closure(Some(&mut *cx));
                }
            });
            let mut shared = self.link.lock();
            shared.scopes = scopes;
            let Poll::Ready(result) = result else {
                return Poll::Pending;
            };
            shared.result = Some(result);
            let waker = shared.awaited.take();
            drop(shared);
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}

/// Polls within all scopes.
fn nest(scopes: &mut [Scope], poll: &mut dyn FnMut()) {
    match scopes.split_first_mut() {
        None => poll(),
        Some((outer, inner)) => outer(&mut || nest(inner, &mut *poll)),
    }
}

impl fmt::Debug for RunChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunChain").finish_non_exhaustive()
    }
}
