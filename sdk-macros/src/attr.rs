//! Arguments of the attributes: `#[durably::object(name = "…", …)]` and `#[handler(…)]`.
//!
//! In go the tokens between the parentheses, out come [`Options`]. One table names every option and
//! where it is accepted. A mistake is reported at its token and the remaining options are still
//! read, so that all of them show up in one build.

use proc_macro2::TokenStream;
use syn::ext::IdentExt as _;
use syn::{Attribute, Meta};

use crate::ast::{Options, Retry, ServiceKind, Spanned};
use crate::errors::Errors;
use crate::kafka::kafka;
use crate::values::{
    Argument, Seen, Value, arguments, attempts, duration, factor, flag, metadata, on_max_attempts,
    path, text,
};

/// Where options are written.
#[derive(Clone, Copy)]
pub(crate) enum Level {
    Service(ServiceKind),
    Handler(ServiceKind),
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Key {
    AbortTimeout,
    Crate,
    IdempotencyRetention,
    InactivityTimeout,
    IngressPrivate,
    JournalRetention,
    Kafka,
    LazyState,
    Metadata,
    Name,
    Retry,
    WorkflowRetention,
}

struct Row {
    key: Key,
    name: &'static str,
    on_service: bool,
    on_handler: bool,
}

const fn row(key: Key, name: &'static str, on_service: bool, on_handler: bool) -> Row {
    Row {
        key,
        name,
        on_service,
        on_handler,
    }
}

/// Every option. The order is that of the messages.
const OPTIONS: [Row; 12] = [
    row(Key::Name, "name", true, true),
    row(Key::Metadata, "metadata", true, true),
    row(Key::InactivityTimeout, "inactivity_timeout", true, true),
    row(Key::AbortTimeout, "abort_timeout", true, true),
    row(Key::JournalRetention, "journal_retention", true, true),
    row(
        Key::IdempotencyRetention,
        "idempotency_retention",
        true,
        true,
    ),
    row(Key::WorkflowRetention, "workflow_retention", false, true),
    row(Key::LazyState, "lazy_state", true, true),
    row(Key::IngressPrivate, "ingress_private", true, true),
    row(Key::Retry, "retry", true, true),
    row(Key::Kafka, "kafka", false, true),
    row(Key::Crate, "crate", true, false),
];

const RETRY_OPTIONS: [&str; 5] = [
    "initial_interval",
    "max_interval",
    "factor",
    "max_attempts",
    "on_max_attempts",
];

/// Reads the arguments of the attribute on the impl block.
pub(crate) fn service_options(
    kind: ServiceKind,
    args: TokenStream,
    errors: &mut Errors,
) -> Options {
    let mut options = Options::default();
    read_options(&mut options, Level::Service(kind), args, errors);
    options
}

/// Reads a `#[handler]` attribute.
pub(crate) fn handler_options(
    kind: ServiceKind,
    attribute: &Attribute,
    errors: &mut Errors,
) -> Options {
    let mut options = Options::default();
    match &attribute.meta {
        Meta::Path(_) => {}
        Meta::List(list) => {
            let level = Level::Handler(kind);
            read_options(&mut options, level, list.tokens.clone(), errors);
        }
        Meta::NameValue(_) => errors.on(
            attribute,
            "expected `#[handler]` or `#[handler(option = value, …)]`",
        ),
    }
    options
}

fn read_options(options: &mut Options, level: Level, args: TokenStream, errors: &mut Errors) {
    let mut seen = Seen::new();
    for argument in arguments(args, errors) {
        let name = argument.name.unraw().to_string();
        let Some(row) = OPTIONS.iter().find(|row| row.name == name) else {
            errors.on(&argument.name, unknown_option(&name, level));
            continue;
        };
        if let Some(message) = misplaced(row, level) {
            errors.on(&argument.name, message);
            continue;
        }
        if seen.is_first(row.key, &argument, errors) {
            read_option(options, row.key, &argument, errors);
        }
    }
}

fn unknown_option(name: &str, level: Level) -> String {
    let (place, names): (_, Vec<_>) = match level {
        Level::Service(kind) => (
            kind.attribute(),
            OPTIONS.iter().filter(|row| row.on_service).collect(),
        ),
        Level::Handler(_) => (
            "#[handler]",
            OPTIONS.iter().filter(|row| row.on_handler).collect(),
        ),
    };
    let names = list(names.iter().map(|row| row.name));
    format!("unknown option `{name}`; `{place}` accepts {names}")
}

fn misplaced(row: &Row, level: Level) -> Option<String> {
    let name = row.name;
    match level {
        Level::Service(_) if row.key == Key::Kafka => Some(
            "`kafka` is an option of each handler that takes records; write `#[handler(kafka(…))]` \
             on it"
                .to_owned(),
        ),
        Level::Service(_) if !row.on_service => Some(format!(
            "`{name}` is an option of the workflow handler; write `#[handler({name} = …)]` on it"
        )),
        Level::Handler(kind) if !row.on_handler => Some(format!(
            "`{name}` is an option of the whole service; write it in `{}` on the impl block",
            kind.attribute()
        )),
        _ => None,
    }
}

fn read_option(options: &mut Options, key: Key, argument: &Argument, errors: &mut Errors) {
    match key {
        Key::AbortTimeout => options.abort_timeout = duration(argument, errors),
        Key::Crate => options.krate = path(argument, errors),
        Key::IdempotencyRetention => options.idempotency_retention = duration(argument, errors),
        Key::InactivityTimeout => options.inactivity_timeout = duration(argument, errors),
        Key::IngressPrivate => options.ingress_private = flag(argument, errors),
        Key::JournalRetention => options.journal_retention = duration(argument, errors),
        Key::Kafka => options.kafka = kafka(argument, errors),
        Key::LazyState => options.lazy_state = flag(argument, errors),
        Key::Metadata => options.metadata = metadata(argument, errors),
        Key::Name => {
            options.name =
                text(argument, "a string literal, such as \"Orders\"", errors).map(|literal| {
                    Spanned {
                        value: literal.value(),
                        span: literal.span(),
                    }
                });
        }
        Key::Retry => options.retry = retry(argument, errors),
        Key::WorkflowRetention => options.workflow_retention = duration(argument, errors),
    }
}

/// `retry(initial_interval = "100ms", …)`.
fn retry(argument: &Argument, errors: &mut Errors) -> Option<Retry> {
    let Value::List(tokens) = &argument.value else {
        errors.on(
            &argument.name,
            "expected a list; write `retry(initial_interval = \"100ms\", max_attempts = 5)`",
        );
        return None;
    };
    let mut retry = Retry::default();
    let mut seen = Seen::new();
    for argument in arguments(tokens.clone(), errors) {
        let name = argument.name.unraw().to_string();
        if !seen.is_first(name.clone(), &argument, errors) {
            continue;
        }
        match name.as_str() {
            "initial_interval" => retry.initial_interval = duration(&argument, errors),
            "max_interval" => retry.max_interval = duration(&argument, errors),
            "factor" => retry.factor = factor(&argument, errors),
            "max_attempts" => retry.max_attempts = attempts(&argument, errors),
            "on_max_attempts" => retry.on_max_attempts = on_max_attempts(&argument, errors),
            _ => {
                let accepted = list(RETRY_OPTIONS.into_iter());
                errors.on(
                    &argument.name,
                    format!("unknown option `{name}`; `retry` accepts {accepted}"),
                );
            }
        }
    }
    Some(retry)
}

/// `` `a`, `b` and `c` ``.
fn list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let mut names: Vec<String> = names.map(|name| format!("`{name}`")).collect();
    let last = names.pop().unwrap_or_default();
    if names.is_empty() {
        last
    } else {
        format!("{} and {last}", names.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ast::OnMaxAttempts;

    fn read(level: Level, args: &str) -> (Options, Vec<String>) {
        let (mut options, mut errors) = (Options::default(), Errors::default());
        let tokens = args.parse().expect("tokens");
        read_options(&mut options, level, tokens, &mut errors);
        (options, errors.messages())
    }

    #[test]
    fn every_option_is_read() {
        let (options, messages) = read(
            Level::Handler(ServiceKind::Object),
            r#"name = "a", metadata("k" = "v", "l" = "w",), inactivity_timeout = "1s",
               abort_timeout = "2s", journal_retention = "3s", idempotency_retention = "4s",
               workflow_retention = "5s", lazy_state, ingress_private = false,
               retry(initial_interval = "6ms", max_interval = "7ms", factor = 2, max_attempts = 3,
                     on_max_attempts = "kill"),"#,
        );
        assert_eq!(messages, Vec::<String>::new());
        assert_eq!(options.name.unwrap().value, "a");
        assert_eq!(
            options.metadata,
            [("k", "v"), ("l", "w")].map(|(k, v)| (k.to_owned(), v.to_owned()))
        );
        let value = |duration: Option<Spanned<u64>>| duration.unwrap().value;
        assert_eq!(value(options.inactivity_timeout), 1_000);
        assert_eq!(value(options.abort_timeout), 2_000);
        assert_eq!(value(options.journal_retention), 3_000);
        assert_eq!(value(options.idempotency_retention), 4_000);
        assert_eq!(value(options.workflow_retention), 5_000);
        assert!(options.lazy_state.unwrap().value);
        assert!(!options.ingress_private.unwrap().value);
        let retry = options.retry.unwrap();
        assert_eq!(value(retry.initial_interval), 6);
        assert_eq!(value(retry.max_interval), 7);
        assert_eq!(retry.factor, Some(2.0));
        assert_eq!(retry.max_attempts, Some(3));
        assert!(matches!(retry.on_max_attempts, Some(OnMaxAttempts::Kill)));
    }

    #[test]
    fn attempts_fit_into_32_bits() {
        for (attempts, expected) in [
            ("1", Some(1)),
            ("4_294_967_295", Some(u32::MAX)),
            ("4294967296", None),
            ("18446744073709551616", None),
            ("0", None),
        ] {
            let args = format!("retry(max_attempts = {attempts})");
            let (options, messages) = read(Level::Service(ServiceKind::Service), &args);
            assert_eq!(options.retry.unwrap().max_attempts, expected, "{attempts}");
            assert_eq!(messages.is_empty(), expected.is_some(), "{messages:?}");
        }
    }

    #[test]
    fn one_mistake_does_not_hide_the_next() {
        let (options, messages) = read(
            Level::Service(ServiceKind::Service),
            r#"nam = "a", lazy_state = 1, retry(factor = 0), name = "b""#,
        );
        assert_eq!(messages.len(), 3, "{messages:?}");
        assert_eq!(options.name.unwrap().value, "b");
    }
}
