//! The names the server accepts, checked while the service compiles.
//!
//! The rules are those of the endpoint manifest (`services[].name`, `services[].handlers[].name`)
//! and the server's reserved service names. This module knows no tokens.

/// What is wrong with `name` as the name of a service, if anything.
pub(crate) fn service_problem(name: &str) -> Option<String> {
    if !matches_rule(name, ".-") {
        let shown = shown(name);
        return Some(format!(
            "{shown} cannot name a service: a service name consists of ASCII letters, digits, `_`, \
             `.` and `-`, and starts with a letter, or with `_` and a letter or digit"
        ));
    }
    let lower = name.to_ascii_lowercase();
    if lower.starts_with("restate") || lower == "openapi" {
        return Some(format!(
            "`{name}` cannot name a service: the server reserves `openapi` and all names that start \
             with `restate`"
        ));
    }
    None
}

/// What is wrong with `name` as the name of a handler, if anything.
pub(crate) fn handler_problem(name: &str) -> Option<String> {
    if matches_rule(name, "") {
        return None;
    }
    let shown = shown(name);
    Some(format!(
        "{shown} cannot name a handler: a handler name consists of ASCII letters, digits and `_`, \
         and starts with a letter, or with `_` and a letter or digit"
    ))
}

fn shown(name: &str) -> String {
    if name.is_empty() {
        "an empty string".to_owned()
    } else {
        format!("`{name}`")
    }
}

/// `^([a-zA-Z]|_[a-zA-Z0-9])[a-zA-Z0-9_]*$`, where later characters may also be in `extra`.
fn matches_rule(name: &str, extra: &str) -> bool {
    let mut chars = name.chars();
    let start = match chars.next() {
        Some('_') => chars.next().is_some_and(|c| c.is_ascii_alphanumeric()),
        Some(c) => c.is_ascii_alphabetic(),
        None => false,
    };
    start && chars.all(|c| c.is_ascii_alphanumeric() || c == '_' || extra.contains(c))
}

#[cfg(test)]
mod tests {
    use super::{handler_problem, service_problem};

    #[test]
    fn services() {
        for name in [
            "a",
            "Orders",
            "_9",
            "_a",
            "com.example.Orders-v2",
            "a_b",
            "openapis",
        ] {
            assert_eq!(service_problem(name), None, "{name}");
        }
        for name in [
            "",
            "_",
            "__a",
            "9a",
            ".a",
            "-a",
            "a b",
            "a/b",
            "größe",
            "restate",
            "RestateOrders",
            "OpenAPI",
        ] {
            assert!(service_problem(name).is_some(), "{name}");
        }
    }

    #[test]
    fn handlers() {
        for name in ["a", "reserve", "on_event2", "_9", "_a", "type", "restate"] {
            assert_eq!(handler_problem(name), None, "{name}");
        }
        for name in ["", "_", "__a", "9a", "a.b", "a-b", "a b", "größe"] {
            assert!(handler_problem(name).is_some(), "{name}");
        }
    }
}
