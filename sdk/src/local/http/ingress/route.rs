//! What the path of a request means.
//!
//! In: a path and the catalog, which says what services there are and whether they have keys. Out: a
//! [`Route`], or the refusal that the real server gives, in its words. A path is read from left to right; what
//! comes too much is an error for handlers, and ignored behind a verb.

use std::{borrow::Cow, str::Split};

use super::answer::Refusal;
use crate::engine::{
    catalog::{Catalog, ServiceType},
    check_invocation_id,
    keyed::KeyedId,
    submit::IdempotencyKey,
};

const OF_HANDLER: &str =
    "bad path, expected either /:service-name/:handler or /:object-name/:object-key/:handler";
const OF_RESTATE: &str = "bad path, expected /restate/call/:service/:handler, \
    /restate/send/:service/:handler, /restate/scope/:scope/call/:service/:handler, \
    /restate/attach/:invocation_id, /restate/output/:invocation_id, or /restate/lookup";
const OF_AWAKEABLES: &str =
    "bad path, expected either /restate/awakeables/:id/resolve or /restate/awakeables/:id/reject";
const OF_WORKFLOW: &str = "bad path, expected either \
    /restate/workflow/:workflow_name/:workflow_key/output or \
    /restate/workflow/:workflow_name/:workflow_key/attach";
const OF_INVOCATION: &str = "bad path, expected either /restate/invocation/:invocation_id/output or \
    /restate/invocation/:invocation_id/attach or \
    /restate/invocation/:invocation_target/:idempotency_key/output or \
    /restate/invocation/:invocation_target/:idempotency_key/attach";

/// More segments than any path has.
const TOO_MANY: usize = 8;

/// What a request is about.
#[derive(Debug, PartialEq)]
pub(super) enum Route<'p> {
    Health,
    Invoke {
        /// Not checked yet: what else is wrong comes first.
        scope: Option<String>,
        target: Target<'p>,
        way: Way,
    },
    Complete {
        awakeable: &'p str,
        how: Completion,
    },
    /// Ours alone: the real server has no such path.
    Signal {
        invocation: &'p str,
        name: String,
        how: Completion,
    },
    Existing {
        which: Which,
        ask: Ask,
    },
    /// As [`Existing`](Self::Existing); the body says which.
    ByBody {
        ask: Ask,
    },
}

/// A handler, which need not exist.
#[derive(Debug, PartialEq)]
pub(super) struct Target<'p> {
    pub(super) service: &'p str,
    pub(super) key: Option<String>,
    pub(super) handler: &'p str,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Way {
    Call,
    Send,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Completion {
    Resolve,
    Reject,
}

/// What is wanted of an invocation that is there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Ask {
    Attach,
    Output,
    Lookup,
}

/// An invocation, as it is looked for.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Which {
    Id(String),
    Run(KeyedId),
    Idempotent(IdempotencyKey),
}

type Segments<'p> = Split<'p, char>;

/// The path without slashes at its end, and with one at its beginning.
pub(super) fn trim(path: &str) -> Cow<'_, str> {
    if path.ends_with('/') || path.starts_with("//") {
        return format!("/{}", path.trim_matches('/')).into();
    }
    path.into()
}

/// Reads a trimmed path.
pub(super) fn route<'p>(path: &'p str, catalog: &Catalog) -> Result<Route<'p>, Refusal> {
    let mut rest = path.split('/');
    rest.next();
    let count = rest.clone().count();
    let first = rest.next().filter(|_| (2..TOO_MANY).contains(&count));
    match first {
        None => Err(Refusal::new(400, format!("bad path: {path}"))),
        Some("restate") => of_restate(rest, catalog),
        Some("openapi") => Err(Refusal::not_found()),
        Some(service) => {
            let target = target(service, &mut rest, catalog, OF_HANDLER)?;
            let way = match (rest.next(), rest.next()) {
                (None, _) => Way::Call,
                (Some("send"), None) => Way::Send,
                _ => return Err(Refusal::new(400, OF_HANDLER)),
            };
            Ok(Route::Invoke {
                scope: None,
                target,
                way,
            })
        }
    }
}

fn of_restate<'p>(mut rest: Segments<'p>, catalog: &Catalog) -> Result<Route<'p>, Refusal> {
    match rest.next().unwrap_or_default() {
        "health" => Ok(Route::Health),
        "call" => invoke(None, Way::Call, rest, catalog),
        "send" => invoke(None, Way::Send, rest, catalog),
        "scope" => {
            let scope = decoded(needed(&mut rest, OF_RESTATE)?)?;
            match rest.next() {
                Some("call") => invoke(Some(scope), Way::Call, rest, catalog),
                Some("send") => invoke(Some(scope), Way::Send, rest, catalog),
                _ => Err(Refusal::new(400, OF_RESTATE)),
            }
        }
        "attach" => by_id(Ask::Attach, rest),
        "output" => by_id(Ask::Output, rest),
        "lookup" => match rest.next() {
            None => Ok(Route::ByBody { ask: Ask::Lookup }),
            Some(_) => Err(Refusal::new(400, OF_RESTATE)),
        },
        "awakeables" | "a" => {
            let awakeable = needed(&mut rest, OF_AWAKEABLES)?;
            let how = completion(needed(&mut rest, OF_AWAKEABLES)?)?;
            Ok(Route::Complete { awakeable, how })
        }
        "workflow" => {
            let name = needed(&mut rest, OF_WORKFLOW)?;
            let key = decoded(needed(&mut rest, OF_WORKFLOW)?)?;
            let ask = attach_or_output(needed(&mut rest, OF_WORKFLOW)?)?;
            let which = Which::Run(KeyedId::new(name, &key, None));
            Ok(Route::Existing { which, ask })
        }
        "invocation" => of_invocation(rest, catalog),
        _ => Err(Refusal::not_found()),
    }
}

fn invoke<'p>(
    scope: Option<String>,
    way: Way,
    mut rest: Segments<'p>,
    catalog: &Catalog,
) -> Result<Route<'p>, Refusal> {
    let service = needed(&mut rest, OF_RESTATE)?;
    let target = target(service, &mut rest, catalog, OF_RESTATE)?;
    if rest.next().is_some() {
        return Err(Refusal::new(400, OF_RESTATE));
    }
    Ok(Route::Invoke { scope, target, way })
}

fn by_id(ask: Ask, mut rest: Segments<'_>) -> Result<Route<'_>, Refusal> {
    match (rest.next(), rest.next()) {
        (None, _) => Ok(Route::ByBody { ask }),
        (Some(id), None) => Ok(Route::Existing {
            which: Which::Id(id.to_owned()),
            ask,
        }),
        _ => Err(Refusal::new(400, OF_RESTATE)),
    }
}

/// An id or a handler, and perhaps an idempotency key, which is not decoded.
fn of_invocation<'p>(mut rest: Segments<'p>, catalog: &Catalog) -> Result<Route<'p>, Refusal> {
    let first = needed(&mut rest, OF_INVOCATION)?;
    let mut after = rest.clone();
    let second = needed(&mut after, OF_INVOCATION)?;
    if after.clone().next().is_none() {
        let ask = attach_or_output(second)?;
        let which = Which::Id(first.to_owned());
        return Ok(Route::Existing { which, ask });
    }
    if second == "signal" && check_invocation_id(first).is_ok() {
        let name = decoded(needed(&mut after, OF_INVOCATION)?)?;
        let how = completion(needed(&mut after, OF_INVOCATION)?)?;
        return Ok(Route::Signal {
            invocation: first,
            name,
            how,
        });
    }
    let target = target(first, &mut rest, catalog, OF_INVOCATION)?;
    let idempotency_key = needed(&mut rest, OF_INVOCATION)?.to_owned();
    let ask = attach_or_output(needed(&mut rest, OF_INVOCATION)?)?;
    let (service, handler) = (target.service.to_owned(), target.handler.to_owned());
    let which = Which::Idempotent((service, target.key, handler, idempotency_key, None));
    Ok(Route::Existing { which, ask })
}

/// The handler of a service that there is.
fn target<'p>(
    service: &'p str,
    rest: &mut Segments<'p>,
    catalog: &Catalog,
    expected: &'static str,
) -> Result<Target<'p>, Refusal> {
    let known = catalog.service(service).ok_or_else(|| {
        let message = format!(
            "service '{service}' not found, make sure to register the service before calling it."
        );
        Refusal::new(404, message)
    })?;
    let key = match known.ty {
        ServiceType::Service => None,
        _ => Some(decoded(needed(rest, expected)?)?),
    };
    let handler = needed(rest, expected)?;
    Ok(Target {
        service,
        key,
        handler,
    })
}

fn needed<'p>(rest: &mut Segments<'p>, expected: &'static str) -> Result<&'p str, Refusal> {
    rest.next().ok_or_else(|| Refusal::new(400, expected))
}

fn completion(verb: &str) -> Result<Completion, Refusal> {
    match verb {
        "resolve" => Ok(Completion::Resolve),
        "reject" => Ok(Completion::Reject),
        _ => Err(Refusal::not_found()),
    }
}

fn attach_or_output(verb: &str) -> Result<Ask, Refusal> {
    match verb {
        "attach" => Ok(Ask::Attach),
        "output" => Ok(Ask::Output),
        _ => Err(Refusal::not_found()),
    }
}

/// A percent-encoded segment.
fn decoded(segment: &str) -> Result<String, Refusal> {
    String::from_utf8(unescape(segment.as_bytes())).map_err(|error| {
        let message = format!("bad path, cannot decode key: {error:?}");
        Refusal::new(400, message)
    })
}

/// Without percent-encoding. What is no such encoding stays.
pub(super) fn unescape(text: &[u8]) -> Vec<u8> {
    let digit = |digit: u8| char::from(digit).to_digit(16);
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        if first == b'%'
            && let [high, low, after @ ..] = after
            && let (Some(high), Some(low)) = (digit(*high), digit(*low))
        {
            rest = after;
            // Two digits of base 16 are a byte.
            bytes.extend(u8::try_from(high * 16 + low));
            continue;
        }
        bytes.push(first);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn catalog() -> Catalog {
        let manifest = br#"{"services": [
            {"name": "Plain", "ty": "SERVICE", "handlers": [{"name": "greet"}]},
            {"name": "Obj", "ty": "VIRTUAL_OBJECT", "handlers": [{"name": "add", "ty": "EXCLUSIVE"}]}
        ]}"#;
        Catalog::read(manifest, false).unwrap()
    }

    #[test]
    fn keys_are_decoded_and_names_are_not() {
        let catalog = catalog();
        let Ok(Route::Invoke { target, way, .. }) = route("/Obj/a%2Fb%/a%64d/send", &catalog)
        else {
            panic!("it is a path of a handler")
        };
        assert_eq!(target.key.as_deref(), Some("a/b%"));
        assert_eq!((target.handler, way), ("a%64d", Way::Send));
    }

    #[test]
    fn an_idempotency_key_may_be_a_verb() {
        let route = route("/restate/invocation/Plain/greet/output/attach", &catalog());
        let Ok(Route::Existing { which, ask }) = route else {
            panic!("it is a path of an invocation")
        };
        assert_eq!(ask, Ask::Attach);
        assert!(matches!(which, Which::Idempotent((_, _, _, key, _)) if key == "output"));
    }

    #[test]
    fn slashes_around_a_path_do_not_count() {
        for (path, trimmed) in [
            ("/a/b", "/a/b"),
            ("//a/b", "/a/b"),
            ("/a//b//", "/a//b"),
            ("////", "/"),
            ("", ""),
            ("*", "*"),
        ] {
            assert_eq!(trim(path), trimmed);
        }
    }

    proptest! {
        #[test]
        fn any_path_has_an_answer(path in "(/(restate|invocation|Obj|Plain|signal|attach|%|é|\\PC{0,5})){0,9}") {
            let _ = route(&trim(&path), &catalog());
        }

        #[test]
        fn what_is_escaped_comes_back(text in "\\PC{0,20}") {
            let escaped: String = text.bytes().map(|byte| format!("%{byte:02x}")).collect();
            prop_assert_eq!(unescape(escaped.as_bytes()), text.as_bytes());
        }
    }
}
