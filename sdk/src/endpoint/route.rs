//! From method and path to what is asked for. Total: any path is a route or none, nothing panics.
//!
//! An endpoint may be mounted under any prefix, so only the end of a path counts. The same cut gives
//! the path that the runtime signs (request identity), which never has the prefix.

use http::Method;

use super::error::RequestError;

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route<'p> {
    /// `GET {prefix}/discover`
    Discover,
    /// `GET {prefix}/health`
    Health,
    /// `POST {prefix}/invoke/{service}/{handler}`
    Invoke { service: &'p str, handler: &'p str },
}

impl<'p> Route<'p> {
    pub(crate) fn parse(method: &Method, path: &'p str) -> Result<Self, RequestError> {
        match Tail::of(path, method) {
            Tail::Discover if method == Method::GET => Ok(Self::Discover),
            Tail::Health if method == Method::GET => Ok(Self::Health),
            Tail::Invoke {
                service, handler, ..
            } if method == Method::POST => Ok(Self::Invoke { service, handler }),
            Tail::Discover => Err(RequestError::WrongMethod {
                path: "/discover",
                method: "GET",
            }),
            Tail::Health => Err(RequestError::WrongMethod {
                path: "/health",
                method: "GET",
            }),
            Tail::Invoke { .. } => Err(RequestError::WrongMethod {
                path: "/invoke",
                method: "POST",
            }),
            Tail::Other => Err(RequestError::NoSuchPath),
        }
    }
}

/// The path without the prefix under which the endpoint is mounted: what the runtime signs.
#[cfg(feature = "identity")]
pub(crate) fn signed_path<'p>(method: &Method, path: &'p str) -> &'p str {
    match Tail::of(path, method) {
        Tail::Discover => "/discover",
        Tail::Health => "/health",
        Tail::Invoke { path, .. } => path,
        Tail::Other => path,
    }
}

/// The end of a path, as far as it is known.
enum Tail<'p> {
    Discover,
    Health,
    Invoke {
        #[cfg_attr(
            not(feature = "identity"),
            allow(dead_code, reason = "only identity asks for it")
        )]
        path: &'p str,
        service: &'p str,
        handler: &'p str,
    },
    Other,
}

impl<'p> Tail<'p> {
    fn of(path: &'p str, method: &Method) -> Self {
        let invoke = Self::invoke(path);
        // A handler may be named `discover`, and a prefix may end in `/invoke/x`: the method says
        // which of the two a path like `/invoke/x/discover` is.
        if method == Method::POST
            && let Some(invoke) = invoke
        {
            return invoke;
        }
        match path.rsplit_once('/') {
            Some((_, "discover")) => Self::Discover,
            Some((_, "health")) => Self::Health,
            _ => invoke.unwrap_or(Self::Other),
        }
    }

    /// The last three segments, if the first of them is `invoke` and the others are not empty.
    fn invoke(path: &'p str) -> Option<Self> {
        let (rest, handler) = path.rsplit_once('/')?;
        let (rest, service) = rest.rsplit_once('/')?;
        let (prefix, verb) = rest.rsplit_once('/')?;
        let path = path.get(prefix.len()..)?;
        (verb == "invoke" && !service.is_empty() && !handler.is_empty()).then_some(Self::Invoke {
            path,
            service,
            handler,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn invoke(
        service: &'static str,
        handler: &'static str,
    ) -> Result<Route<'static>, RequestError> {
        Ok(Route::Invoke { service, handler })
    }

    #[test]
    fn known_paths() {
        let get = |path| Route::parse(&Method::GET, path);
        let post = |path| Route::parse(&Method::POST, path);
        assert_eq!(get("/discover"), Ok(Route::Discover));
        assert_eq!(get("/some/prefix/discover"), Ok(Route::Discover));
        assert_eq!(get("/invoke/x/discover"), Ok(Route::Discover));
        assert_eq!(get("/health"), Ok(Route::Health));
        assert_eq!(get("/a/health"), Ok(Route::Health));
        assert_eq!(post("/invoke/Greeter/greet"), invoke("Greeter", "greet"));
        assert_eq!(
            post("/a/b/invoke/Greeter/greet"),
            invoke("Greeter", "greet")
        );
        assert_eq!(post("/invoke/invoke/invoke"), invoke("invoke", "invoke"));
        assert_eq!(
            post("/invoke/Greeter/discover"),
            invoke("Greeter", "discover")
        );
        assert_eq!(post("/invoke/Greeter/health"), invoke("Greeter", "health"));
    }

    #[test]
    fn unknown_paths() {
        for path in [
            "",
            "/",
            "//",
            "///",
            "*",
            "discover",
            "/discover/",
            "/invoke",
            "/invoke/",
            "/invoke/Greeter",
            "/invoke/Greeter/",
            "/invoke//greet",
            "invoke/Greeter/greet",
            "/invoke/Greeter/greet/more",
            "/Greeter/greet",
            "/héalth",
        ] {
            for method in [Method::GET, Method::POST] {
                let found = Route::parse(&method, path);
                assert_eq!(found, Err(RequestError::NoSuchPath), "{method} {path}");
            }
        }
        for (method, path) in [
            (Method::POST, "/discover"),
            (Method::POST, "/health"),
            (Method::GET, "/invoke/Greeter/greet"),
            (Method::PUT, "/invoke/Greeter/greet"),
        ] {
            let error = Route::parse(&method, path).unwrap_err();
            assert!(
                matches!(error, RequestError::WrongMethod { .. }),
                "{method} {path}"
            );
            assert_eq!(error.status(), http::StatusCode::NOT_FOUND);
        }
    }

    #[test]
    #[cfg(feature = "identity")]
    fn signed_paths_have_no_prefix() {
        let get = |path| signed_path(&Method::GET, path);
        let post = |path| signed_path(&Method::POST, path);
        assert_eq!(get("/discover"), "/discover");
        assert_eq!(get("/a/discover"), "/discover");
        assert_eq!(get("/a/invoke/b/discover"), "/discover");
        assert_eq!(get("/a/health"), "/health");
        assert_eq!(post("/invoke/S/h"), "/invoke/S/h");
        assert_eq!(post("/a/b/invoke/S/h"), "/invoke/S/h");
        assert_eq!(post("/a/b"), "/a/b");
    }

    proptest! {
        #[test]
        fn no_path_panics(path in "(/|invoke|discover|health|[a-zA-Z_é%.*]{0,3}){0,9}") {
            for method in [Method::GET, Method::POST] {
                let _ = Route::parse(&method, &path);
                #[cfg(feature = "identity")]
                let _ = signed_path(&method, &path);
            }
        }
    }
}
