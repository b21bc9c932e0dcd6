//! The attribute macros of `durably`: [`macro@service`], [`macro@object`] and [`macro@workflow`] on
//! an `impl` block or a trait, [`macro@handler`] on its methods. Use them through `durably`, which re-exports
//! them.
//!
//! Each of the three makes a *service* of the struct:
//!
//! * the `impl` block stays as it is, so handlers can be called like any method;
//! * the struct implements `durably::Service`, so an endpoint can serve it;
//! * for a struct `Foo` there is a `FooClient`, by which other handlers call it.
//!
//! # Handlers
//!
//! ```
//! # use durably::prelude::*;
//! # struct Greeter;
//! # #[durably::service]
//! # impl Greeter {
//! #[handler]
//! async fn greet(&self, ctx: &Context, name: String) -> HandlerResult<String> {
//! #     let _ = ctx;
//!     Ok(format!("Hello, {name}!"))
//! }
//! # }
//! ```
//!
//! A handler takes `&self`, a context and at most one input. The context says how it is invoked:
//!
//! | attribute | context | |
//! | --- | --- | --- |
//! | `#[durably::service]` | `&Context` | any number at a time |
//! | `#[durably::object]` | `&ObjectContext` | one at a time for each key |
//! | | `&SharedObjectContext` | any number at a time, reads state only |
//! | `#[durably::workflow]` | `&WorkflowContext` | the workflow itself: once for each key |
//! | | `&SharedWorkflowContext` | any number at a time beside it |
//!
//! The macro knows a context by its name, so write it with its own name, with or without a path. An
//! input is an owned type that implements `serde::de::DeserializeOwned` (JSON) or
//! `durably::Decode`, or a `durably::KafkaEvent`. Without an input, the body of a request is
//! ignored. The handler returns a `Result<T, E>`: `T` implements `serde::Serialize` (JSON) or
//! `durably::Encode`, and `E` is `durably::HandlerError`, `durably::TerminalError` or any error
//! type; aliases such as `HandlerResult<T>` and `anyhow::Result<T>` are fine. Methods without
//! `#[handler]` are left alone. `#[cfg]` on a handler or on the block holds for all that is generated.
//!
//! # Options
//!
//! | option | service | handler | |
//! | --- | --- | --- | --- |
//! | `name = "…"` | ✓ | ✓ | the name the server knows; by default that of the struct or method |
//! | `metadata("k" = "v", …)` | ✓ | ✓ | shown by the server |
//! | `inactivity_timeout = "1m"` | ✓ | ✓ | after so much silence an attempt is asked to suspend |
//! | `abort_timeout = "10m"` | ✓ | ✓ | and after so much more it is aborted |
//! | `journal_retention = "1d"` | ✓ | ✓ | how long the journal of a finished invocation is kept |
//! | `idempotency_retention = "1d"` | ✓ | ✓ | how long an idempotency key is remembered; not on the workflow handler |
//! | `workflow_retention = "1d"` | | ✓ | how long the result of a workflow is kept; only on the workflow handler |
//! | `lazy_state` | ✓ | ✓ | state is read when it is asked for; `lazy_state = false` for the contrary |
//! | `ingress_private` | ✓ | ✓ | only other handlers may call it; `ingress_private = false` for the contrary |
//! | `retry(…)` | ✓ | ✓ | how the server repeats failed attempts, see below |
//! | `kafka(…)` | | ✓ | what becomes of a Kafka record that the handler cannot take, see below |
//! | `crate = "…"` | ✓ | | the path of `durably`, where it is not `::durably` |
//!
//! `retry` takes `initial_interval = "100ms"`, `max_interval = "10s"`, `factor = 2.0`,
//! `max_attempts = 5` and `on_max_attempts = "pause"` or `"kill"`, all optional. Durations are whole
//! numbers with a unit, `ms`, `s`, `m` or `min`, `h`, `d`, largest first: `"1h 30m"`. An option of a
//! handler overrides that of its service.
//!
//! `kafka` takes `dead_letter = "Service/handler"` (or `"Object/key/handler"`), the handler that gets the
//! records on which this one fails for good, and `on_decode_failure` and `on_terminal_failure`, each
//! `"fail"`, `"pause"` or `"dead_letter"`: see `durably::KafkaPolicy`.
//!
//! The `///` documentation of the `impl` block and of its handlers is sent to the server and shown
//! there.
//!
//! # Clients
//!
//! `FooClient` has one method a handler, which takes the input (of a `KafkaEvent<T>`, the `T`) and makes
//! a request. What that is, is the caller's affair, for which the client has a type parameter:
//!
//! | the client comes from | it makes |
//! | --- | --- |
//! | `ctx.service_client::<FooClient>()`, `ctx.object_client::<FooClient>(key)`, `ctx.workflow_client::<FooClient>(key)` | a `durably::Request`, journaled by the handler |
//! | the `service`, `object` and `workflow` of an ingress client (feature `client`) | an HTTP request to the server |
//! | those of `durably::testing` | a request for the test kit |
//!
//! # Contracts
//!
//! On a trait, the attributes make a *contract*: the client, without anybody who implements the handlers.
//! An `impl` of the trait with the same attribute is the service, and the compiler checks that it keeps the
//! contract. All methods are handlers, marked or not. Names are the contract's; options may be given in
//! both places, those of the `impl` override.
//!
//! ```
//! use durably::prelude::*;
//!
//! /// In a crate that callers depend on.
//! #[durably::service]
//! pub trait Greeter {
//!     /// Greets one person.
//!     async fn greet(&self, ctx: &Context, name: String) -> HandlerResult<String>;
//! }
//!
//! /// In the program that serves it.
//! struct MyGreeter;
//!
//! #[durably::service(journal_retention = "1d")]
//! impl Greeter for MyGreeter {
//!     async fn greet(&self, _ctx: &Context, name: String) -> HandlerResult<String> {
//!         Ok(format!("Hello, {name}!"))
//!     }
//! }
//!
//! let endpoint = Endpoint::builder().bind(MyGreeter).build()?;
//! # let _ = endpoint;
//! # async fn call(ctx: &Context) -> HandlerResult<()> {
//! let greeting = ctx.service_client::<GreeterClient>().greet("Ada".to_owned()).await?;
//! # Ok(())
//! # }
//! # Ok::<(), durably::BuildError>(())
//! ```
//!
//! # Generic services
//!
//! Structs may have type parameters. The client has none, so inputs and outputs cannot mention them;
//! errors can.
//!
//! ```
//! # use durably::prelude::*;
//! trait Store: Send + Sync + 'static {
//!     type Error: std::error::Error + Send + Sync + 'static;
//! }
//!
//! struct Inventory<S> {
//!     store: S,
//! }
//!
//! #[durably::object]
//! impl<S: Store> Inventory<S> {
//!     #[handler]
//!     async fn reserve(&self, ctx: &ObjectContext, quantity: u64) -> Result<u64, S::Error> {
//! #       let _ = (ctx, &self.store);
//!         Ok(quantity)
//!     }
//! }
//!
//! fn request(ctx: &Context) -> durably::Request<'_, u64, u64> {
//!     ctx.object_client::<InventoryClient>("sku-1").reserve(3)
//! }
//! ```
//!
//! # Structure
//!
//! Tokens flow one way: `parse` (with `attr`, `kafka` and `values` for arguments, `signature` for handlers) makes the
//! model in `ast`; `check` judges it; `expand` writes it out. All mistakes are collected in `errors`
//! and reported at once, each at its token. `names`, `duration` and `types` answer questions on the
//! way. The output names nothing but `durably::__private` and the standard library.

mod ast;
mod attr;
mod check;
mod duration;
mod errors;
mod expand;
mod kafka;
mod names;
mod parse;
mod signature;
mod types;
mod values;

use proc_macro::TokenStream;

use ast::ServiceKind;
use errors::Errors;
use parse::Parsed;

/// Makes a service of the struct: handlers without a key and without state.
///
/// See the [crate documentation](crate) for handlers, options and clients.
///
/// # Examples
///
/// ```
/// use durably::prelude::*;
///
/// struct Greeter {
///     greeting: String,
/// }
///
/// /// Greets people.
/// #[durably::service(inactivity_timeout = "1m", retry(max_attempts = 10, on_max_attempts = "pause"))]
/// impl Greeter {
///     /// Greets one person.
///     #[handler]
///     async fn greet(&self, _ctx: &Context, name: String) -> HandlerResult<String> {
///         Ok(format!("{}, {name}!", self.greeting))
///     }
/// }
///
/// struct Receptionist;
///
/// #[durably::service]
/// impl Receptionist {
///     #[handler]
///     async fn welcome(&self, ctx: &Context, names: Vec<String>) -> HandlerResult<Vec<String>> {
///         let greeter = ctx.service_client::<GreeterClient>();
///         let mut greetings = Vec::new();
///         for name in names {
///             greetings.push(greeter.greet(name).await?);
///         }
///         Ok(greetings)
///     }
/// }
/// ```
#[proc_macro_attribute]
pub fn service(args: TokenStream, item: TokenStream) -> TokenStream {
    expand_service(ServiceKind::Service, args.into(), item.into()).into()
}

/// Makes a virtual object of the struct: each key has its own state and its own queue.
///
/// Handlers that take `&ObjectContext` run one at a time for each key; those that take
/// `&SharedObjectContext` run beside them and only read state. See the [crate documentation](crate)
/// for handlers, options and clients.
///
/// # Examples
///
/// ```
/// use durably::prelude::*;
///
/// struct Counter;
///
/// #[durably::object(name = "shop.Counter")]
/// impl Counter {
///     #[handler]
///     async fn on_event(&self, ctx: &ObjectContext, event: KafkaEvent<u64>) -> HandlerResult<()> {
/// #       let _ = (ctx, event);
///         Ok(())
///     }
///
///     #[handler(name = "current", lazy_state)]
///     async fn current_value(&self, ctx: &SharedObjectContext) -> HandlerResult<u64> {
/// #       let _ = ctx;
///         Ok(0)
///     }
/// }
///
/// struct Caller;
///
/// #[durably::service]
/// impl Caller {
///     #[handler]
///     async fn count(&self, ctx: &Context, key: String) -> HandlerResult<u64> {
///         let counter = ctx.object_client::<CounterClient>(key);
///         Ok(counter.current_value().await?)
///     }
/// }
/// ```
#[proc_macro_attribute]
pub fn object(args: TokenStream, item: TokenStream) -> TokenStream {
    expand_service(ServiceKind::Object, args.into(), item.into()).into()
}

/// Makes a workflow of the struct: one handler that runs once for each key, others beside it.
///
/// Exactly one handler takes `&WorkflowContext`: the workflow handler. The others take
/// `&SharedWorkflowContext`; they run while the workflow runs and as long as its result is kept. See
/// the [crate documentation](crate) for handlers, options and clients.
///
/// # Examples
///
/// ```
/// use durably::prelude::*;
///
/// struct Signup;
///
/// #[durably::workflow]
/// impl Signup {
///     #[handler(workflow_retention = "7d")]
///     async fn run(&self, ctx: &WorkflowContext, email: String) -> HandlerResult<bool> {
/// #       let _ = (ctx, email);
///         Ok(true)
///     }
///
///     #[handler]
///     async fn confirm(&self, ctx: &SharedWorkflowContext, secret: String) -> HandlerResult<()> {
/// #       let _ = (ctx, secret);
///         Ok(())
///     }
/// }
///
/// struct Caller;
///
/// #[durably::service]
/// impl Caller {
///     #[handler]
///     async fn sign_up(&self, ctx: &Context, email: String) -> HandlerResult<bool> {
///         let signup = ctx.workflow_client::<SignupClient>(email.clone());
///         Ok(signup.run(email).await?)
///     }
/// }
/// ```
#[proc_macro_attribute]
pub fn workflow(args: TokenStream, item: TokenStream) -> TokenStream {
    expand_service(ServiceKind::Workflow, args.into(), item.into()).into()
}

/// Marks a method as a handler, inside an `impl` block with [`macro@service`], [`macro@object`] or
/// [`macro@workflow`].
///
/// Those attributes read it and take it off; anywhere else it is an error. See the
/// [crate documentation](crate#handlers) for what a handler looks like and which options it takes.
///
/// # Examples
///
/// ```
/// use durably::prelude::*;
///
/// struct Greeter;
///
/// #[durably::service]
/// impl Greeter {
///     #[handler(name = "greetPerson", metadata("audience" = "people"))]
///     async fn greet(&self, _ctx: &Context, name: String) -> HandlerResult<String> {
///         Ok(self.compose(&name))
///     }
///
///     // No handler: an ordinary method.
///     fn compose(&self, name: &str) -> String {
///         format!("Hello, {name}!")
///     }
/// }
/// ```
///
/// Outside of a service:
///
/// ```compile_fail
/// use durably::prelude::*;
///
/// #[handler]
/// async fn greet(name: String) -> HandlerResult<String> {
///     Ok(name)
/// }
/// ```
#[proc_macro_attribute]
pub fn handler(_args: TokenStream, item: TokenStream) -> TokenStream {
    let mut errors = Errors::default();
    errors.at(
        proc_macro2::Span::call_site(),
        "`#[handler]` marks a method inside an `impl` block with `#[durably::service]`, \
         `#[durably::object]` or `#[durably::workflow]`; put one of them on the block",
    );
    let mut tokens: proc_macro2::TokenStream = item.into();
    tokens.extend(errors.into_tokens());
    tokens.into()
}

fn expand_service(
    kind: ServiceKind,
    args: proc_macro2::TokenStream,
    item: proc_macro2::TokenStream,
) -> proc_macro2::TokenStream {
    let mut errors = Errors::default();
    match parse::parse(kind, args, item, &mut errors) {
        Parsed::Service(service) => {
            check::check(&service, &mut errors);
            expand::expand(&service, errors)
        }
        Parsed::Other(mut tokens) => {
            tokens.extend(errors.into_tokens());
            tokens
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{ServiceKind, expand_service};

    /// The output without whitespace, for looking things up in it.
    fn expand(kind: ServiceKind, args: &str, item: &str) -> String {
        let tokens = expand_service(kind, args.parse().unwrap(), item.parse().unwrap());
        compact(&tokens.to_string())
    }

    fn compact(text: &str) -> String {
        text.split_whitespace().collect()
    }

    fn assert_contains(output: &str, parts: &[&str]) {
        for part in parts {
            assert!(
                output.contains(&compact(part)),
                "{part}\n\nis not in\n\n{output}"
            );
        }
    }

    #[test]
    fn options_reach_the_definition() {
        let output = expand(
            ServiceKind::Workflow,
            r#"name = "shop.Checkout", metadata("team" = "payments"), inactivity_timeout = "30s",
               abort_timeout = "1m 30s", journal_retention = "7d", idempotency_retention = "12h",
               lazy_state, ingress_private = false,
               retry(initial_interval = "100ms", max_interval = "10s", factor = 2.5,
                     max_attempts = 5, on_max_attempts = "pause")"#,
            "impl Checkout {
                #[handler(name = \"start\", workflow_retention = \"1d\", retry(on_max_attempts = \"kill\"))]
                async fn run(&self, ctx: &WorkflowContext) -> HandlerResult<()> {}
            }",
        );
        assert_contains(
            &output,
            &[
                r#"ServiceDefinition::new(::durably::__private::ServiceKind::Workflow, "shop.Checkout")"#,
                r#".metadata("team", "payments")"#,
                ".inactivity_timeout(::core::time::Duration::from_millis(30000u64))",
                ".abort_timeout(::core::time::Duration::from_millis(90000u64))",
                ".journal_retention(::core::time::Duration::from_millis(604800000u64))",
                ".idempotency_retention(::core::time::Duration::from_millis(43200000u64))",
                ".lazy_state(true).ingress_private(false)",
                ".retry_policy(::durably::__private::InvocationRetryPolicy::new()",
                ".initial_interval(::core::time::Duration::from_millis(100u64))",
                ".max_interval(::core::time::Duration::from_millis(10000u64))",
                ".factor(2.5f64).max_attempts(5)",
                ".on_max_attempts(::durably::__private::OnMaxAttempts::Pause)",
                r#"::durably::__private::HandlerKind::Workflow, "start","#,
                ".workflow_retention(::core::time::Duration::from_millis(86400000u64))",
                ".on_max_attempts(::durably::__private::OnMaxAttempts::Kill)",
                ".input(::durably::__private::no_input_metadata())",
                r#"Target::workflow("shop.Checkout", self.key.clone(), "start")"#,
            ],
        );
        assert!(!output.contains("handler]"), "{output}");
    }

    #[test]
    fn documentation_reaches_the_definition_and_the_client() {
        let output = expand(
            ServiceKind::Service,
            "",
            "/// Greets\n/// people.\nimpl Greeter {
                /// One person.
                #[handler]
                async fn greet(&self, ctx: &Context, name: String) -> HandlerResult<()> {}
                #[doc = include_str!(\"x.md\")]
                #[handler]
                async fn other(&self, ctx: &Context) -> HandlerResult<()> {}
            }",
        );
        assert_contains(
            &output,
            &[
                r#".documentation("Greets\npeople.")"#,
                r#".documentation("One person.")"#,
                r#".documentation(::core::concat!(include_str!("x.md"), "\n"))"#,
                r#"#[doc = " One person."] pub fn greet(&self, input: <String as"#,
                r#"#[doc = include_str!("x.md")] pub fn other(&self)"#,
            ],
        );
    }

    #[test]
    fn kinds_follow_from_contexts() {
        for (kind, context, expected) in [
            (ServiceKind::Service, "Context", "Service"),
            (ServiceKind::Object, "ObjectContext", "Exclusive"),
            (
                ServiceKind::Object,
                "durably::SharedObjectContext",
                "Shared",
            ),
            (ServiceKind::Workflow, "WorkflowContext", "Workflow"),
        ] {
            let item = format!(
                "impl Orders {{ #[handler] async fn run(&self, _: &{context}) -> R {{}} }}"
            );
            let output = expand(kind, "", &item);
            assert_contains(&output, &[&format!("HandlerKind::{expected},\"run\"")]);
        }
    }

    #[test]
    fn deprecated_is_allowed_only_where_the_item_allows_it() {
        let item = |block: &str, method: &str| {
            format!(
                "{block} impl Till {{
                    {method} #[handler] async fn pay(&self, _: &Context, x: Euros) -> R {{}}
                }}"
            )
        };
        let allowed = "#[allow(deprecated, reason = \"it is allowed where it is written\")]";
        for (block, method) in [
            ("#[allow(deprecated)]", ""),
            ("", "#[expect(dead_code, deprecated, reason = \"x\")]"),
            ("", "#[deprecated]"),
        ] {
            let output = expand(ServiceKind::Service, "", &item(block, method));
            assert_eq!(output.matches(&compact(allowed)).count(), 2, "{output}");
        }
        let block = "#[allow(dead_code, reason = \"deprecated\")]";
        let output = expand(
            ServiceKind::Service,
            "",
            &item(block, "#[doc = \"deprecated\"]"),
        );
        assert!(!output.contains(&compact(allowed)), "{output}");
    }

    /// What the service of an implementation is called, only its contract knows.
    #[test]
    fn who_implements_a_contract_may_be_called_like_another_service() {
        let item = |header: &str| {
            format!(
                "impl {header} {{
                    #[handler(kafka(dead_letter = \"Orders/record\"))]
                    async fn record(&self, _: &Context, x: u8) -> R {{}}
                }}"
            )
        };
        let own = expand(ServiceKind::Service, "", &item("Orders"));
        assert_contains(&own, &["compile_error!"]);
        let implementation = expand(ServiceKind::Service, "", &item("Intake for Orders"));
        assert!(
            !implementation.contains("compile_error"),
            "{implementation}"
        );
        let target = r#"Target::service("Orders", "record")"#;
        assert_contains(&implementation, &[target]);
    }

    #[test]
    fn the_crate_can_have_another_path() {
        let output = expand(
            ServiceKind::Service,
            "crate = \"crate::sdk\"",
            "impl A { #[handler] async fn run(&self, _: &Context, x: u8) -> R {} }",
        );
        assert!(!output.contains("::durably"), "{output}");
        assert_contains(&output, &["impl crate::sdk::__private::Service for A"]);
    }
}
