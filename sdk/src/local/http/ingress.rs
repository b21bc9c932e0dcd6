//! The ingress: requests for handlers over HTTP, answered as the real server (1.7) answers them.
//!
//! In: connections. Out: answers, once what they promise is on disk. What a path means says [`route`], what
//! the engine is asked for is put together here, what is answered is written by [`answer`]. There is one path
//! that the real server does not have: `POST /restate/invocation/{id}/signal/{name}/resolve` (or `reject`).
//!
//! A client that goes away leaves its invocation alone.
//!
//! As on the server, pages of all origins may call handlers from a browser and read the answers; only the admin port
//! is closed to them.

mod answer;
mod body;
mod request;
mod route;
mod time;

use std::{convert::Infallible, future::Future, pin::Pin, sync::Arc};

use bytes::Bytes;
use http::{Method, Request, request::Parts};
use hyper::{body::Incoming, service::Service};
use serde::{Deserialize, Serialize};
use tokio::{
    net::TcpListener,
    sync::{oneshot, watch},
};

use self::{
    answer::{Answer, Ended, Refusal},
    body::Budget,
    request::{Invoking, check_scope},
    route::{Ask, Completion, Route, Target, Way, Which, route, trim},
};
use crate::{
    engine::{
        Engine, Origin, already_invoked,
        catalog::{Catalog, HandlerType},
        check_invocation_id,
        invocation::{Index, Outcome, Status},
        keyed::KeyedId,
        not_found,
    },
    local::{core::Core, handle::Handle},
    protocol::message::Failure,
};

/// Serves connections until `stop` says so.
pub(crate) async fn serve(listener: TcpListener, handle: Handle, stop: watch::Receiver<bool>) {
    // It stays the same for as long as the runtime runs.
    let Ok(catalog) = handle.ask(|engine| engine.catalog.clone()).await else {
        return;
    };
    let ingress = Arc::new(Ingress {
        handle,
        catalog,
        budget: Budget::default(),
    });
    let mut stopping = stop.clone();
    let stopped = async move {
        // A sender that is gone means the same.
        drop(stopping.wait_for(|stop| *stop).await);
    };
    crate::server::serve_other(listener, Requests { ingress, stop }, stopped).await;
}

/// The ingress as hyper calls it.
#[derive(Clone)]
struct Requests {
    ingress: Arc<Ingress>,
    stop: watch::Receiver<bool>,
}

impl Service<Request<Incoming>> for Requests {
    type Response = Answer;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Answer, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let (ingress, mut stop) = (Arc::clone(&self.ingress), self.stop.clone());
        Box::pin(async move { Ok(ingress.answer(request, &mut stop).await) })
    }
}

struct Ingress {
    handle: Handle,
    catalog: Catalog,
    budget: Budget,
}

/// What is known of an invocation before its outcome is.
#[derive(Clone, Debug)]
struct Seen {
    id: String,
    /// When its result is forgotten, if it has one already.
    expires: Option<u64>,
    output_type: Option<String>,
    output_type_if_empty: bool,
}

impl Seen {
    fn of(engine: &Engine, index: Index) -> Self {
        let invocation = &engine.invocations[index];
        Self {
            id: invocation.id.clone(),
            expires: invocation.is_over().then(|| invocation.expires_at()),
            output_type: invocation.info.output_type.clone(),
            output_type_if_empty: invocation.info.output_type_if_empty,
        }
    }

    fn ended(self, outcome: Outcome) -> Ended {
        let typed = match &outcome {
            Ok(body) => !body.is_empty() || self.output_type_if_empty,
            Err(_) => false,
        };
        Ended {
            id: self.id,
            expires: self.expires,
            content_type: self.output_type.filter(|_| typed),
            outcome,
        }
    }
}

/// What the engine says at once of an invocation that is to be waited for.
#[derive(Debug)]
enum Found {
    Waiting(Seen),
    /// It is a run that is there already, or nobody at all.
    Ended(Ended),
}

impl Ingress {
    async fn answer(&self, request: Request<Incoming>, stop: &mut watch::Receiver<bool>) -> Answer {
        let (parts, body) = request.into_parts();
        if body::is_too_long(&parts.headers) {
            return answer::too_long();
        }
        let origin = answer::origin(&parts.headers);
        let mut answer = if parts.method == Method::OPTIONS {
            answer::preflight(&parts.headers)
        } else {
            let answer = tokio::select! {
                biased;
                answer = self.respond(&parts, body) => answer,
                _ = stop.wait_for(|stop| *stop) => Err(Refusal::new(503, "the runtime stops")),
            };
            answer.unwrap_or_else(Refusal::into_answer)
        };
        answer::share(&mut answer, origin);
        answer
    }

    async fn respond(&self, parts: &Parts, body: Incoming) -> Result<Answer, Refusal> {
        let path = trim(parts.uri.path());
        match route(&path, &self.catalog)? {
            Route::Health => {
                allow(parts, &[Method::GET])?;
                let services = self.catalog.names().collect();
                Ok(answer::found(&Health { services }))
            }
            Route::Invoke { scope, target, way } => {
                self.invoke(parts, body, &path, scope, &target, way).await
            }
            Route::Complete { awakeable, how } => {
                allow(parts, &[Method::POST])?;
                let awakeable = awakeable.to_owned();
                let (body, _held) = self.budget.read(body).await?;
                let outcome = outcome_of(how, body);
                let complete =
                    move |engine: &mut Engine| engine.complete_awakeable(&awakeable, &outcome);
                self.handle.ask(complete).await??;
                Ok(answer::accepted())
            }
            Route::Signal {
                invocation,
                name,
                how,
            } => {
                allow(parts, &[Method::POST])?;
                let invocation = invocation.to_owned();
                let (body, _held) = self.budget.read(body).await?;
                let outcome = outcome_of(how, body);
                let signal = move |engine: &mut Engine| {
                    let target = engine.find(&invocation)?;
                    engine.signal(target, &name, &outcome);
                    Some(())
                };
                let known = self.handle.ask(signal).await?;
                known.map(|()| answer::accepted()).ok_or_else(nobody)
            }
            Route::Existing { which, ask } => {
                check(&which)?;
                allow(parts, &[Method::GET])?;
                self.existing(which, ask).await
            }
            Route::ByBody { ask } => {
                allow(parts, &[Method::POST])?;
                let (body, _held) = self.budget.read(body).await?;
                let which = serde_json::from_slice::<InvocationTargetRequest>(&body);
                let which: Which = match which {
                    Ok(which) => which.into(),
                    Err(error) => {
                        let what = match ask {
                            Ask::Lookup => "lookup",
                            Ask::Attach | Ask::Output => "request",
                        };
                        let message = format!("cannot read body: invalid {what} body: {error}");
                        return Err(Refusal::new(500, message));
                    }
                };
                check(&which)?;
                self.existing(which, ask).await
            }
        }
    }

    // ---- handlers ----------------------------------------------------------------------------

    async fn invoke(
        &self,
        parts: &Parts,
        body: Incoming,
        path: &str,
        scope: Option<String>,
        target: &Target<'_>,
        way: Way,
    ) -> Result<Answer, Refusal> {
        let Target {
            service, handler, ..
        } = target;
        let Some(info) = self.catalog.handler(service, handler) else {
            let message = format!(
                "the service '{service}' exists, but the handler '{handler}' was not found, check that \
                 the handler exists in the latest registered service version."
            );
            return Err(Refusal::new(404, message));
        };
        if info.private {
            return Err(Refusal::new(400, "the invoked service is not public"));
        }
        if let Some(scope) = &scope {
            check_scope(scope)?;
        }
        allow(parts, &[Method::GET, Method::POST])?;
        let request = Invoking {
            parts,
            path,
            scope,
            target,
            info,
            way,
        };
        let idempotency_key = request.idempotency_key()?;
        let (body, held) = self.budget.read(body).await?;
        let (mut submission, delay) = request.submission(idempotency_key, body)?;
        let submit = move |core: &mut Core| {
            // Once it is written, it is the store's.
            core.reply(move || drop(held));
            let engine = &mut core.engine;
            let begins = delay.map(|delay| engine.now().saturating_add(delay));
            submission.invoke_time = begins.unwrap_or_default();
            let submitted = engine.submit(submission, Origin::Outside)?;
            Ok::<_, Failure>((submitted, begins))
        };
        match way {
            Way::Call => {
                let find = move |core: &mut Core| {
                    let (submitted, _) = submit(core)?;
                    let engine = &core.engine;
                    let seen = Seen::of(engine, submitted.index);
                    let invocation = &engine.invocations[submitted.index];
                    if submitted.already && invocation.info.ty == HandlerType::Workflow {
                        return Ok((
                            Found::Ended(Ended {
                                id: seen.id,
                                expires: None,
                                content_type: None,
                                outcome: Err(already_invoked()),
                            }),
                            None,
                        ));
                    }
                    Ok((Found::Waiting(seen), Some(submitted.index)))
                };
                self.wait(find).await
            }
            Way::Send => {
                let send = move |core: &mut Core| {
                    let (submitted, begins) = submit(core)?;
                    let invocation = &core.engine.invocations[submitted.index];
                    let begins = match &invocation.status {
                        Status::Scheduled(begins) => Some(*begins),
                        _ => begins.filter(|_| !submitted.already),
                    };
                    let id = &invocation.id;
                    Ok::<_, Failure>(answer::sent(id, begins, submitted.already))
                };
                Ok(self.handle.ask_core(send).await??)
            }
        }
    }

    /// Waits for an outcome, if the engine does not know at once what to say.
    async fn wait(
        &self,
        find: impl FnOnce(&mut Core) -> Result<(Found, Option<Index>), Failure> + Send + 'static,
    ) -> Result<Answer, Refusal> {
        let (say, mut said) = oneshot::channel();
        let outcome = self.handle.outcome(move |core| {
            let (found, index) = find(core)?;
            drop(say.send(found));
            index.ok_or_else(not_found)
        });
        let reached = outcome.await?;
        match (said.try_recv(), reached) {
            (Ok(Found::Ended(ended)), _) => Ok(ended.into_answer()),
            (Ok(Found::Waiting(seen)), Ok(outcome)) => Ok(seen.ended(outcome).into_answer()),
            (_, Err(failure)) => Err(failure.into()),
            (Err(_), Ok(_)) => Err(Refusal::new(500, "the engine has found nothing")),
        }
    }

    // ---- invocations that are there ----------------------------------------------------------

    async fn existing(&self, which: Which, ask: Ask) -> Result<Answer, Refusal> {
        match ask {
            Ask::Attach => {
                let find = move |core: &mut Core| {
                    let engine = &mut core.engine;
                    Ok(match find(engine, &which) {
                        Some(index) => (Found::Waiting(Seen::of(engine, index)), Some(index)),
                        None => (Found::Ended(Ended::nobody(id_of(engine, which))), None),
                    })
                };
                self.wait(find).await
            }
            Ask::Output => {
                let look = move |engine: &mut Engine| {
                    let index = find(engine, &which).ok_or_else(nobody)?;
                    match &engine.invocations[index].status {
                        Status::Completed(outcome) => {
                            let ended = Seen::of(engine, index).ended(outcome.clone());
                            Ok(ended.into_answer())
                        }
                        _ => Err(Refusal::new(
                            470,
                            "the invocation exists but has not completed yet",
                        )),
                    }
                };
                self.handle.ask(look).await?
            }
            Ask::Lookup => {
                let invocation_id = match which {
                    Which::Id(id) => id,
                    which => {
                        (self.handle)
                            .ask(move |engine| id_of(engine, which))
                            .await?
                    }
                };
                Ok(answer::found(&Lookup { invocation_id }))
            }
        }
    }
}

#[derive(Serialize)]
struct Health<'a> {
    services: Vec<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Lookup {
    invocation_id: String,
}

/// An invocation in a body. (What is wrong with it is told with this name.)
#[derive(Deserialize)]
#[serde(
    tag = "target",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
enum InvocationTargetRequest {
    Workflow {
        scope: Option<String>,
        workflow_name: String,
        workflow_key: String,
    },
    IdempotentInvocation {
        scope: Option<String>,
        service: String,
        key: Option<String>,
        handler: String,
        idempotency_key: String,
    },
    Invocation {
        invocation_id: String,
    },
}

impl From<InvocationTargetRequest> for Which {
    fn from(request: InvocationTargetRequest) -> Self {
        use InvocationTargetRequest as Request;
        match request {
            Request::Workflow {
                scope,
                workflow_name: service,
                workflow_key: key,
            } => Self::Run(KeyedId {
                service,
                key,
                scope,
            }),
            Request::IdempotentInvocation {
                scope,
                service,
                key,
                handler,
                idempotency_key,
            } => Self::Idempotent((service, key, handler, idempotency_key, scope)),
            Request::Invocation { invocation_id } => Self::Id(invocation_id),
        }
    }
}

fn allow(parts: &Parts, methods: &[Method]) -> Result<(), Refusal> {
    match methods.contains(&parts.method) {
        true => Ok(()),
        false => Err(Refusal::method()),
    }
}

fn nobody() -> Refusal {
    Refusal::new(404, "invocation not found")
}

/// Refuses what can be nobody's id or scope.
fn check(which: &Which) -> Result<(), Refusal> {
    match which {
        Which::Id(id) => check_invocation_id(id).map_err(|why| {
            let message = format!("bad invocation id '{id}': {why}");
            Refusal::new(400, message)
        }),
        Which::Run(KeyedId { scope, .. }) | Which::Idempotent((_, _, _, _, scope)) => {
            scope.as_deref().map_or(Ok(()), check_scope)
        }
    }
}

fn find(engine: &mut Engine, which: &Which) -> Option<Index> {
    match which {
        Which::Id(id) => engine.find(id),
        Which::Run(workflow) => engine.find_run(workflow),
        Which::Idempotent(key) => engine.find_idempotent(key),
    }
}

/// The id that it has, or would have.
fn id_of(engine: &Engine, which: Which) -> String {
    match which {
        Which::Id(id) => id,
        Which::Run(workflow) => engine.id_of_run(&workflow),
        Which::Idempotent(key) => engine.id_by_idempotency_key(&key),
    }
}

/// A rejection's body is its reason.
fn outcome_of(how: Completion, body: Bytes) -> Outcome {
    match how {
        Completion::Resolve => Ok(body),
        Completion::Reject => Err(Failure {
            code: 500,
            message: String::from_utf8_lossy(&body).into_owned(),
            metadata: Vec::new(),
        }),
    }
}
