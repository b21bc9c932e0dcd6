//! How everybody outside talks to the engine.
//!
//! In: closures over it, from any task. Out: their results, once all that they changed is on disk.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::core::{Core, Input};
use crate::{
    engine::{
        Engine,
        invocation::{CallerId, Index, Outcome, Waiter},
    },
    protocol::message::Failure,
};

/// The runtime does not run any more, for this reason.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the runtime has stopped: {0}")]
pub(crate) struct Stopped(pub(crate) Arc<str>);

/// Asks the engine.
#[derive(Clone, Debug)]
pub(crate) struct Handle {
    inputs: mpsc::Sender<Input>,
    runtime: tokio::runtime::Handle,
}

impl Handle {
    pub(super) fn new(inputs: mpsc::Sender<Input>) -> Self {
        Self {
            inputs,
            runtime: tokio::runtime::Handle::current(),
        }
    }

    /// Runs `ask` on the engine; its answer comes once all that it changed is on disk.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&mut Engine) -> T + Send + 'static,
    ) -> Result<T, Stopped> {
        self.ask_core(|core| ask(&mut core.engine)).await
    }

    pub(in crate::local) async fn ask_core<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&mut Core) -> T + Send + 'static,
    ) -> Result<T, Stopped> {
        let (reply, answer) = oneshot::channel();
        let asks = move |core: &mut Core| {
            let answer = ask(core);
            core.reply(move || drop(reply.send(answer)));
        };
        self.send(Box::new(asks)).await?;
        answer.await.map_err(|_| stopped())
    }

    /// Finds or makes an invocation, and waits for its outcome. The invocation goes on if nobody does.
    pub(in crate::local) async fn outcome(
        &self,
        find: impl FnOnce(&mut Core) -> Result<Index, Failure> + Send + 'static,
    ) -> Result<Result<Outcome, Failure>, Stopped> {
        let (reply, answer) = oneshot::channel();
        let (register, registered) = oneshot::channel();
        // Who asked may be gone by the time of an answer.
        let asks = move |core: &mut Core| {
            let index = match find(core) {
                Ok(index) => index,
                Err(failure) => return core.reply(move || drop(reply.send(Err(failure)))),
            };
            let caller = core.call(Box::new(move |outcome| drop(reply.send(Ok(outcome)))));
            let _ = register.send((index, caller));
            core.engine.wait_for(index, Waiter::Outside(caller));
        };
        self.send(Box::new(asks)).await?;
        let waiting = Waiting {
            handle: self,
            registered: Some(registered),
        };
        let answer = answer.await.map_err(|_| stopped());
        waiting.forget();
        answer
    }

    async fn send(&self, ask: Box<dyn FnOnce(&mut Core) + Send>) -> Result<(), Stopped> {
        let sent = self.inputs.send(Input::Ask(ask)).await;
        sent.map_err(|_| stopped())
    }
}

fn stopped() -> Stopped {
    Stopped(Arc::from("it was shut down, or its store failed"))
}

/// Somebody who waits for an outcome; when it goes, the engine need not remember.
struct Waiting<'a> {
    handle: &'a Handle,
    registered: Option<oneshot::Receiver<(Index, CallerId)>>,
}

impl Waiting<'_> {
    /// The outcome has come.
    fn forget(mut self) {
        self.registered = None;
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let Some(registered) = self.registered.take() else {
            return;
        };
        let inputs = self.handle.inputs.clone();
        self.handle.runtime.spawn(async move {
            if let Ok((index, caller)) = registered.await {
                let gone = move |core: &mut Core| core.stop_waiting(index, caller);
                // When the runtime has stopped, nobody remembers anything.
                drop(inputs.send(Input::Ask(Box::new(gone))).await);
            }
        });
    }
}
