//! The model of a service: what the attributes and the item below them said, without their syntax.
//!
//! `parse` and `attr` build it, `check` judges it, `expand` reads it. Types, identifiers and
//! attributes of the user are kept as tokens because the output repeats them.

use proc_macro2::{Span, TokenStream};
use syn::{Attribute, Generics, Ident, ItemImpl, ItemTrait, Path, Type};

/// Which attribute stands on the impl block.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum ServiceKind {
    Service,
    Object,
    Workflow,
}

impl ServiceKind {
    /// The attribute as the user writes it.
    pub(crate) fn attribute(self) -> &'static str {
        match self {
            Self::Service => "#[durably::service]",
            Self::Object => "#[durably::object]",
            Self::Workflow => "#[durably::workflow]",
        }
    }

    /// The contexts its handlers take, for messages.
    pub(crate) fn contexts(self) -> &'static str {
        match self {
            Self::Service => "`&Context`",
            Self::Object => "`&ObjectContext` (exclusive) or `&SharedObjectContext` (shared)",
            Self::Workflow => {
                "`&WorkflowContext` (the workflow handler) or `&SharedWorkflowContext` (shared)"
            }
        }
    }

    /// A parameter to suggest.
    pub(crate) fn example_context(self) -> &'static str {
        match self {
            Self::Service => "ctx: &Context",
            Self::Object => "ctx: &ObjectContext",
            Self::Workflow => "ctx: &WorkflowContext",
        }
    }
}

/// How a handler is invoked; follows from its context type.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum HandlerKind {
    Service,
    Exclusive,
    Shared,
    Workflow,
}

/// A value and the token to blame for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spanned<T> {
    pub(crate) value: T,
    pub(crate) span: Span,
}

/// What a service attribute stands on, as written, `#[handler]` removed.
pub(crate) enum ServiceItem {
    /// `impl Greeter { … }`: the handlers and their code.
    Inherent(ItemImpl),
    /// `trait Greeter { … }`: the handlers without code.
    Contract(ItemTrait),
    /// `impl Greeter for MyGreeter { … }`: the code of a contract's handlers.
    Implementation {
        item: ItemImpl,
        /// The contract.
        contract: Path,
    },
}

impl ServiceItem {
    /// What the methods' types may mention.
    pub(crate) fn owner(&self) -> Owner<'_> {
        match self {
            Self::Inherent(item) | Self::Implementation { item, .. } => Owner {
                self_ty: Some(&item.self_ty),
                generics: &item.generics,
            },
            Self::Contract(item) => Owner {
                self_ty: None,
                generics: &item.generics,
            },
        }
    }
}

/// What the types of handlers may mention.
#[derive(Clone, Copy)]
pub(crate) struct Owner<'i> {
    /// What `Self` stands for; nothing in a contract.
    pub(crate) self_ty: Option<&'i Type>,
    pub(crate) generics: &'i Generics,
}

/// An item with one of the service attributes.
pub(crate) struct Service {
    pub(crate) kind: ServiceKind,
    /// The path of the `durably` crate.
    pub(crate) krate: Path,
    pub(crate) item: ServiceItem,
    /// The name of the trait, or the last segment of the self type.
    pub(crate) ident: Ident,
    pub(crate) name: Spanned<String>,
    /// `#[cfg]`s below the service attribute: they hold for all generated items.
    pub(crate) cfgs: Vec<Attribute>,
    pub(crate) docs: Vec<Attribute>,
    pub(crate) options: Options,
    pub(crate) handlers: Vec<Handler>,
}

/// A method with `#[handler]`, or any of a contract's.
pub(crate) struct Handler {
    pub(crate) ident: Ident,
    /// The name that the server knows; where a contract is implemented, that of the method.
    pub(crate) name: Spanned<String>,
    pub(crate) cfgs: Vec<Attribute>,
    pub(crate) docs: Vec<Attribute>,
    pub(crate) deprecated: Vec<Attribute>,
    pub(crate) options: Options,
    pub(crate) context: Option<Context>,
    pub(crate) input: Input,
    pub(crate) output: Option<Output>,
}

/// The context parameter of a handler.
pub(crate) struct Context {
    pub(crate) kind: HandlerKind,
    /// The type behind the reference, as written.
    pub(crate) ty: Type,
    /// The type with the reference: what to blame.
    pub(crate) param: TokenStream,
}

/// The input parameter of a handler.
pub(crate) enum Input {
    /// The handler takes none.
    Absent,
    /// The handler takes one of this type.
    Present(Box<Payload>),
    /// There is one, and it was reported.
    Refused,
}

/// A type as the handler has it and as the client, outside of the impl block, can name it.
pub(crate) struct Payload {
    /// As written.
    pub(crate) ty: Type,
    /// With `Self` replaced by the self type.
    pub(crate) client_ty: Type,
}

/// The return type of a handler.
pub(crate) struct Output {
    /// The whole return type, a `Result`.
    pub(crate) ty: Type,
    pub(crate) client: ClientOutput,
}

/// How the client names what a handler returns.
pub(crate) enum ClientOutput {
    /// By projection from the whole return type, `Self` replaced.
    Projected(Type),
    /// By the first argument of `Result<T, E>`: `E` mentions a parameter of the impl block.
    Value(Type),
}

/// The options of a service or a handler. Durations are in milliseconds.
#[derive(Default)]
pub(crate) struct Options {
    pub(crate) name: Option<Spanned<String>>,
    pub(crate) krate: Option<Path>,
    pub(crate) metadata: Vec<(String, String)>,
    pub(crate) inactivity_timeout: Option<Spanned<u64>>,
    pub(crate) abort_timeout: Option<Spanned<u64>>,
    pub(crate) journal_retention: Option<Spanned<u64>>,
    pub(crate) idempotency_retention: Option<Spanned<u64>>,
    pub(crate) workflow_retention: Option<Spanned<u64>>,
    pub(crate) lazy_state: Option<Spanned<bool>>,
    pub(crate) ingress_private: Option<Spanned<bool>>,
    pub(crate) retry: Option<Retry>,
    pub(crate) kafka: Option<Kafka>,
}

/// What becomes of a Kafka record that the handler cannot take.
#[derive(Default)]
pub(crate) struct Kafka {
    pub(crate) dead_letter: Option<Spanned<DeadLetters>>,
    pub(crate) on_decode_failure: Option<Spanned<RecordFailure>>,
    pub(crate) on_terminal_failure: Option<Spanned<RecordFailure>>,
}

/// The handler that receives dead letters.
#[derive(Debug)]
pub(crate) struct DeadLetters {
    pub(crate) service: String,
    /// Of a virtual object.
    pub(crate) key: Option<String>,
    pub(crate) handler: String,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum RecordFailure {
    Fail,
    Pause,
    DeadLetter,
}

/// The retry policy of invocations.
#[derive(Default)]
pub(crate) struct Retry {
    pub(crate) initial_interval: Option<Spanned<u64>>,
    pub(crate) max_interval: Option<Spanned<u64>>,
    pub(crate) factor: Option<f64>,
    pub(crate) max_attempts: Option<u32>,
    pub(crate) on_max_attempts: Option<OnMaxAttempts>,
}

/// What happens to an invocation whose attempts are used up.
#[derive(Clone, Copy)]
pub(crate) enum OnMaxAttempts {
    Pause,
    Kill,
}
