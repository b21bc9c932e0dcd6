//! The admin API, on a port of its own, and the page in the browser.
//!
//! In flow the heads of requests (the body of one only is ever read), out come whole answers. What operators do is the server's,
//! with its codes and bodies; how one looks at invocations is ours, as the server has SQL for that. See [`guard`] for
//! who may ask.
//!
//! | request | answer |
//! | --- | --- |
//! | `GET /` | the page |
//! | `GET /health`, `GET /version` | as the server |
//! | `PATCH /invocations/{id}/cancel` … `/kill`, `/pause`, `/resume`, `/purge` | as the server |
//! | `DELETE /invocations/{id}?mode=cancel\|kill\|purge` | as the server; deprecated there |
//! | `GET /invocations?status=&service=&handler=&key=&scope=&limit=&before=` | `{"invocations": [row …], "next": …}`, newest first |
//! | `GET /invocations/{id}?from=&limit=` | the row, with `"journal": [event …], "journal_next": …` |
//! | `GET /services`, `GET /services/{name}` | names, types, handlers |
//! | `GET /state/{service}/{key}?scope=` | `{"state": {name: value …}, "base64": {…}, "more": …}` |
//! | `POST /services/{name}/state` | as the server, unless a handler is at work there |
//!
//! A list may be shorter than its limit, or empty, and still have a `next`: one request looks at so many only.

mod filter;
mod guard;
mod journal;
mod look;
mod page;
mod row;
mod state;
mod time;

use std::{convert::Infallible, sync::Arc};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header, request::Parts};
use http_body_util::Full;
use hyper::{body::Incoming, service::service_fn};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::watch};

use self::filter::{Filter, Part, pairs, shortened, unescape, unknown};
use crate::{
    engine::{Engine, check_invocation_id, does_not_exist, invocation::Status, keyed::KeyedId},
    local::handle::{Handle, Stopped},
    protocol::message::Failure,
};

type Answer = Response<Full<Bytes>>;
/// An answer that ends the work; boxed, as it seldom comes.
type Refusal = Box<Answer>;

/// Serves connections until `stop` says so. `hosts` are the names that the header `Host` may have besides addresses
/// and `localhost`.
pub(crate) async fn serve(
    listener: TcpListener,
    handle: Handle,
    hosts: Vec<String>,
    mut stop: watch::Receiver<bool>,
) {
    let admin = Arc::new(Admin { handle, hosts });
    let requests = service_fn(move |request: Request<Incoming>| {
        let (admin, (head, body)) = (admin.clone(), request.into_parts());
        async move { Ok::<_, Infallible>(admin.respond(&head, body).await) }
    });
    let stopped = async move {
        // A sender that is gone means the same.
        drop(stop.wait_for(|stop| *stop).await);
    };
    crate::server::serve_other(listener, requests, stopped).await;
}

/// Serves the admin API of a runtime.
#[derive(Debug)]
struct Admin {
    handle: Handle,
    /// Names of hosts besides addresses and `localhost`.
    hosts: Vec<String>,
}

/// What an operator does to an invocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Cancel,
    Kill,
    Pause,
    Resume,
    Purge,
}

impl Operation {
    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "cancel" => Self::Cancel,
            "kill" => Self::Kill,
            "pause" => Self::Pause,
            "resume" => Self::Resume,
            "purge" => Self::Purge,
            _ => return None,
        })
    }

    /// 202 if it takes effect later than now.
    fn apply(self, engine: &mut Engine, id: &str) -> Result<StatusCode, Failure> {
        let index = engine.find(id).ok_or_else(|| does_not_exist(id))?;
        let status = &engine.invocations[index].status;
        let (now, later) = (StatusCode::OK, StatusCode::ACCEPTED);
        let code = match (self, status) {
            (Self::Cancel, Status::Scheduled(_) | Status::Queued) => now,
            (Self::Cancel, _) => later,
            (Self::Pause, Status::Paused) => now,
            (Self::Pause, _) => later,
            _ => now,
        };
        match self {
            Self::Cancel => engine.cancel(index)?,
            Self::Kill => engine.kill(index)?,
            Self::Pause => engine.pause(index)?,
            Self::Resume => engine.resume(index)?,
            Self::Purge => engine.purge(index)?,
        }
        Ok(code)
    }
}

impl Admin {
    /// Answers a request. Total: whatever comes, an answer goes.
    async fn respond(&self, head: &Parts, body: Incoming) -> Answer {
        let mut answer = match guard::check(&head.uri, &head.headers, &self.hosts) {
            Ok(()) => self
                .answer(head, body)
                .await
                .unwrap_or_else(|refused| *refused),
            Err(why) => *fault(StatusCode::FORBIDDEN, &why),
        };
        let headers = answer.headers_mut();
        headers.insert(
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        );
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(
            "cross-origin-resource-policy",
            HeaderValue::from_static("same-origin"),
        );
        answer
    }

    async fn answer(&self, head: &Parts, body: Incoming) -> Result<Answer, Refusal> {
        let query = head.uri.query().unwrap_or_default();
        let path = head.uri.path();
        let segments: Option<Vec<_>> = path.split('/').skip(1).map(unescape).collect();
        let Some(segments) = segments else {
            return Err(bad("the path is wrongly encoded"));
        };
        let segments: Vec<_> = segments.iter().map(String::as_str).collect();
        let method = &head.method;
        let get = matches!(*method, Method::GET | Method::HEAD);
        match *segments {
            [""] if get => Ok(page::answer()),
            ["health"] if get => Ok(empty(StatusCode::OK)),
            ["version"] if get => Ok(json(
                &json!({"version": env!("CARGO_PKG_VERSION"), "runtime": "durably::local"}),
            )),
            ["services"] if get => self.services(None).await,
            ["services", name] if get => self.services(Some(name)).await,
            ["services", name, "state"] if *method == Method::POST => {
                let new = state::read(name, &head.headers, body).await?;
                self.replace_state(new).await
            }
            ["state", service, key] if get => {
                let of = state::read_id(service, key, query).map_err(bad)?;
                self.state(of).await
            }
            ["invocations"] if get => {
                let filter = Filter::read(query).map_err(bad)?;
                let listed = look::list(&self.handle, filter).await.map_err(stopped)?;
                Ok(json(&listed))
            }
            ["invocations", id] if get => self.invocation(id, query).await,
            ["invocations", id] if *method == Method::DELETE => self.delete(id, query).await,
            ["invocations", id, what] => match Operation::of(what) {
                Some(operation) if *method == Method::PATCH => {
                    self.tell(id, operation, query).await
                }
                Some(_) => Err(not_allowed("PATCH")),
                None if matches!(what, "purge-journal" | "restart-as-new") => {
                    Err(not_here(&format!("{what:?}")))
                }
                None => Ok(empty(StatusCode::NOT_FOUND)),
            },
            ["query"] => Err(fault(
                StatusCode::NOT_IMPLEMENTED,
                "there is no SQL here: GET /invocations and GET /invocations/{id} show the columns of sys_invocation, \
                 and the journal",
            )),
            ["" | "health" | "version" | "services" | "invocations"]
            | ["services", _]
            | ["state", _, _] => Err(not_allowed("GET")),
            ["invocations", _] => Err(not_allowed("GET,DELETE")),
            ["services", _, "state"] => Err(not_allowed("POST")),
            [
                known @ ("deployments" | "subscriptions" | "kafka-clusters" | "limits" | "vqueues"
                | "cluster-health" | "openapi" | "services"),
                ..,
            ] => Err(not_here(&format!("/{known}"))),
            _ => Ok(empty(StatusCode::NOT_FOUND)),
        }
    }

    async fn tell(&self, id: &str, operation: Operation, query: &str) -> Result<Answer, Refusal> {
        for (name, value) in pairs(query).map_err(bad)? {
            match (operation, &*name, &*value) {
                (Operation::Resume, "deployment", "keep" | "latest") => {}
                (Operation::Resume, "deployment", _) => {
                    return Err(bad(
                        "deployment: there is one only, so \"keep\" or \"latest\"",
                    ));
                }
                _ => return Err(bad(unknown(&name))),
            }
        }
        self.operate(id, operation).await.map(empty)
    }

    /// The older form: what is not found, or cannot be done, is accepted all the same.
    async fn delete(&self, id: &str, query: &str) -> Result<Answer, Refusal> {
        let mut operation = Operation::Cancel;
        for (name, value) in pairs(query).map_err(bad)? {
            operation = match (&*name, &*value) {
                ("mode", "cancel" | "Cancel") => Operation::Cancel,
                ("mode", "kill" | "Kill") => Operation::Kill,
                ("mode", "purge" | "Purge") => Operation::Purge,
                ("mode", other) => {
                    return Err(bad(format!(
                        "mode: there is no {:?}, only cancel, kill, purge",
                        shortened(other)
                    )));
                }
                _ => return Err(bad(unknown(&name))),
            };
        }
        match self.operate(id, operation).await {
            Err(refused)
                if ![StatusCode::NOT_FOUND, StatusCode::CONFLICT].contains(&refused.status()) =>
            {
                Err(refused)
            }
            _ => Ok(empty(StatusCode::ACCEPTED)),
        }
    }

    async fn operate(&self, id: &str, operation: Operation) -> Result<StatusCode, Refusal> {
        check_id(id)?;
        let id = id.to_owned();
        let done = self.handle.ask(move |engine| operation.apply(engine, &id));
        done.await
            .map_err(stopped)?
            .map_err(|failure| refusal(&failure))
    }

    async fn invocation(&self, id: &str, query: &str) -> Result<Answer, Refusal> {
        check_id(id)?;
        let part = Part::read(query).map_err(bad)?;
        match look::one(&self.handle, id, part).await.map_err(stopped)? {
            Some(found) => Ok(json(&found)),
            None => Err(refusal(&does_not_exist(id))),
        }
    }

    async fn services(&self, name: Option<&str>) -> Result<Answer, Refusal> {
        let all = self.handle.ask(|engine| look::services(&engine.catalog));
        let mut all = all.await.map_err(stopped)?;
        let Some(name) = name else {
            return Ok(json(&json!({ "services": all })));
        };
        all.retain(|service| service["name"] == name);
        match all.first() {
            Some(service) => Ok(json(service)),
            None => Err(fault(
                StatusCode::NOT_FOUND,
                &format!("The requested service '{}' does not exist", shortened(name)),
            )),
        }
    }

    async fn replace_state(&self, new: state::New) -> Result<Answer, Refusal> {
        let replace = move |engine: &mut Engine| engine.replace_state(&new.of, new.state);
        let done = self.handle.ask(replace).await.map_err(stopped)?;
        done.map_err(|failure| refusal(&failure))?;
        Ok(empty(StatusCode::ACCEPTED))
    }

    async fn state(&self, of: KeyedId) -> Result<Answer, Refusal> {
        let state = self.handle.ask(move |engine| {
            let place = engine.find_place(&of)?;
            // Cheap: the values are shared.
            Some(engine.keyed(place).state.clone())
        });
        let state = state.await.map_err(stopped)?.unwrap_or_default();
        Ok(json(&look::state(&state)))
    }
}

/// As the server: what cannot be an id is another fault than an id of nobody.
fn check_id(id: &str) -> Result<(), Refusal> {
    check_invocation_id(id).map_err(|reason| {
        bad(format!(
            "The request field 'invocation_id' is invalid. Reason: {reason}"
        ))
    })
}

// ---- answers ---------------------------------------------------------------------------------

fn empty(status: StatusCode) -> Answer {
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = status;
    answer
}

fn json(value: &impl Serialize) -> Answer {
    // Maps with text for keys, text and numbers: nothing that could not be written.
    let body = serde_json::to_vec(value).unwrap_or_default();
    let mut answer = Response::new(Full::from(body));
    let json = HeaderValue::from_static("application/json");
    answer.headers_mut().insert(header::CONTENT_TYPE, json);
    answer
}

fn fault(status: StatusCode, message: &str) -> Refusal {
    let mut answer = json(&json!({"message": message, "restate_code": Value::Null}));
    *answer.status_mut() = status;
    Box::new(answer)
}

fn bad(message: impl AsRef<str>) -> Refusal {
    fault(StatusCode::BAD_REQUEST, message.as_ref())
}

fn refusal(failure: &Failure) -> Refusal {
    let code = u16::try_from(failure.code).ok();
    let status = code.and_then(|code| StatusCode::from_u16(code).ok());
    fault(
        status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
        &failure.message,
    )
}

fn stopped(Stopped(why): Stopped) -> Refusal {
    fault(
        StatusCode::SERVICE_UNAVAILABLE,
        &format!("the runtime has stopped: {why}"),
    )
}

fn not_allowed(allow: &'static str) -> Refusal {
    let mut answer = Box::new(empty(StatusCode::METHOD_NOT_ALLOWED));
    let headers = answer.headers_mut();
    headers.insert(header::ALLOW, HeaderValue::from_static(allow));
    answer
}

fn not_here(what: &str) -> Refusal {
    let message = format!(
        "durably::local has no {what}: its services are those of the program that it runs in"
    );
    fault(StatusCode::NOT_IMPLEMENTED, &message)
}
