//! The signature of a handler: `async fn name(&self, ctx: &XContext[, input: T]) -> Result<T, E>`.
//!
//! One small function a rule. Each reports at the token that breaks the rule and says what to write.

use quote::ToTokens as _;
use syn::{Attribute, FnArg, PatType, PathArguments, Receiver, ReturnType, Signature, Type};

use crate::ast::{ClientOutput, Context, HandlerKind, Input, Output, Owner, Payload, ServiceKind};
use crate::errors::Errors;
use crate::types::{
    first_borrow, first_impl_trait, first_parameter, first_self, is_self, result_value, ungroup,
    without_self,
};

/// A handler is a plain `async fn`.
pub(crate) fn check_qualifiers(kind: ServiceKind, sig: &Signature, errors: &mut Errors) {
    if let Some(unsafety) = &sig.unsafety {
        errors.on(
            unsafety,
            "a handler is called by the endpoint and cannot be `unsafe`; remove `unsafe`",
        );
    }
    if let Some(abi) = &sig.abi {
        errors.on(abi, "a handler is a plain `async fn`; remove the ABI");
    }
    if sig.asyncness.is_none() {
        let (name, context) = (&sig.ident, kind.example_context());
        errors.on(
            sig.fn_token,
            format!("a handler is asynchronous; write `async fn {name}(&self, {context}, …)`"),
        );
    }
}

/// A handler has no parameters of its own: the server knows it by its name alone.
pub(crate) fn check_generics(sig: &Signature, errors: &mut Errors) {
    if sig.generics.lifetimes().next().is_some() {
        errors.on(
            &sig.generics.params,
            "a handler has no lifetime parameters: it borrows only `&self` and its context, \
             without naming the lifetimes; remove them",
        );
    } else if !sig.generics.params.is_empty() {
        errors.on(
            &sig.generics.params,
            "a handler cannot be generic: the server calls it by name, with bytes; \
             use concrete types, or make the struct generic",
        );
    } else if let Some(clause) = &sig.generics.where_clause {
        errors.on(
            clause,
            "a handler cannot have a `where` clause; move it to the `impl` block",
        );
    }
}

/// A handler takes `&self`.
pub(crate) fn check_receiver(sig: &Signature, errors: &mut Errors) {
    const WHY: &str = "a handler takes `&self`: all invocations share one value of the service";
    match sig.inputs.first() {
        Some(FnArg::Receiver(receiver)) if is_shared_self(receiver, sig) => {}
        Some(FnArg::Receiver(receiver)) => errors.on(receiver, format!("{WHY}; write `&self`")),
        _ => {
            let name = &sig.ident;
            let message = format!("{WHY}; write `{name}(&self, …)`");
            errors.at(sig.paren_token.span.open(), message);
        }
    }
}

fn is_shared_self(receiver: &Receiver, sig: &Signature) -> bool {
    // A lifetime of the method itself was reported where it is declared.
    let named = sig.generics.lifetimes().next().is_some();
    match ungroup(&receiver.ty) {
        Type::Reference(reference) => {
            reference.mutability.is_none()
                && (named || reference.lifetime.is_none())
                && is_self(ungroup(&reference.elem))
        }
        _ => false,
    }
}

/// The second parameter: a shared reference to a context of the right kind.
pub(crate) fn context(kind: ServiceKind, sig: &Signature, errors: &mut Errors) -> Option<Context> {
    let (accepted, example) = (kind.contexts(), kind.example_context());
    let Some(FnArg::Typed(param)) = sig.inputs.iter().nth(1) else {
        let name = &sig.ident;
        errors.at(
            sig.paren_token.span.close(),
            format!(
                "a handler takes a context, here {accepted}; write `{name}(&self, {example}, …)`"
            ),
        );
        return None;
    };
    refuse_conditional(&param.attrs, errors);
    let whole = ungroup(&param.ty);
    let (by_reference, inner) = match whole {
        Type::Reference(reference) => (
            reference.mutability.is_none() && reference.lifetime.is_none(),
            ungroup(&reference.elem),
        ),
        other => (false, other),
    };
    let Some(found) = known_context(inner) else {
        errors.on(
            whole,
            format!("the second parameter of a handler is its context, here {accepted}; write `{example}`"),
        );
        return None;
    };
    let handler_kind = match handler_kind(kind, found.name) {
        Some(handler_kind) => handler_kind,
        None => {
            let attribute = kind.attribute();
            errors.on(
                whole,
                format!(
                    "`{}` is a context of `{}`; a handler of `{attribute}` takes {accepted}",
                    found.name,
                    found.home.attribute(),
                ),
            );
            return None;
        }
    };
    if !by_reference {
        errors.on(
            whole,
            format!(
                "a handler takes its context by shared reference; write `&{}`",
                found.name
            ),
        );
        return None;
    }
    if found.has_arguments {
        errors.on(
            inner,
            format!("contexts have no parameters; write `&{}`", found.name),
        );
        return None;
    }
    Some(Context {
        kind: handler_kind,
        ty: inner.clone(),
        param: whole.to_token_stream(),
    })
}

/// A context type, as it is written in a signature.
pub(crate) struct KnownContext {
    name: &'static str,
    home: ServiceKind,
    pub(crate) has_arguments: bool,
}

/// The context that a type names, by the last segment of its path.
pub(crate) fn known_context(ty: &Type) -> Option<KnownContext> {
    const CONTEXTS: [(&str, ServiceKind); 5] = [
        ("Context", ServiceKind::Service),
        ("ObjectContext", ServiceKind::Object),
        ("SharedObjectContext", ServiceKind::Object),
        ("WorkflowContext", ServiceKind::Workflow),
        ("SharedWorkflowContext", ServiceKind::Workflow),
    ];
    let Type::Path(path) = ty else {
        return None;
    };
    let last = path.path.segments.last()?;
    let (name, home) = CONTEXTS.into_iter().find(|(name, _)| last.ident == name)?;
    Some(KnownContext {
        name,
        home,
        has_arguments: !matches!(last.arguments, PathArguments::None),
    })
}

fn handler_kind(kind: ServiceKind, context: &str) -> Option<HandlerKind> {
    match (kind, context) {
        (ServiceKind::Service, "Context") => Some(HandlerKind::Service),
        (ServiceKind::Object, "ObjectContext") => Some(HandlerKind::Exclusive),
        (ServiceKind::Object, "SharedObjectContext") => Some(HandlerKind::Shared),
        (ServiceKind::Workflow, "WorkflowContext") => Some(HandlerKind::Workflow),
        (ServiceKind::Workflow, "SharedWorkflowContext") => Some(HandlerKind::Shared),
        _ => None,
    }
}

/// The third parameter, if any: an owned, concrete type. More are refused.
pub(crate) fn input(owner: Owner<'_>, sig: &Signature, errors: &mut Errors) -> Input {
    let mut rest = sig.inputs.iter().skip(2);
    let Some(FnArg::Typed(param)) = rest.next() else {
        return Input::Absent;
    };
    if let Some(second) = rest.next() {
        errors.on(
            second,
            "a handler takes at most one input; put the inputs into one struct or a tuple",
        );
        return Input::Refused;
    }
    refuse_conditional(&param.attrs, errors);
    match input_problem(owner, param) {
        Some(error) => {
            errors.push(error);
            Input::Refused
        }
        None => Input::Present(Box::new(Payload {
            ty: (*param.ty).clone(),
            client_ty: without_self(&param.ty, owner.self_ty),
        })),
    }
}

fn input_problem(owner: Owner<'_>, param: &PatType) -> Option<syn::Error> {
    let ty = ungroup(&param.ty);
    if let Type::Reference(reference) = ty {
        let owned = match ungroup(&reference.elem) {
            Type::Path(path) if path.path.is_ident("str") => "; write `String`",
            Type::Slice(_) => "; write `Vec<…>`",
            _ => "; remove the `&`",
        };
        let message = format!("the input of a handler is decoded for it, so it is owned{owned}");
        return Some(syn::Error::new_spanned(ty, message));
    }
    if let Some(borrow) = first_borrow(ty) {
        let message = "the input of a handler is decoded for it, so it is owned; \
                       use a type without lifetimes";
        return Some(syn::Error::new_spanned(borrow, message));
    }
    if let Some(opaque) = first_impl_trait(ty) {
        let message = "the input of a handler is a concrete type; name it";
        return Some(syn::Error::new_spanned(opaque, message));
    }
    if let Some(error) = implementor(owner, ty, "input") {
        return Some(error);
    }
    let resolved = without_self(ty, owner.self_ty);
    first_parameter(&resolved, owner.generics)
        .map(|parameter| parameter_error(ty, "input", &parameter))
}

/// The return type: a `Result`, which a trait of the runtime checks, of something owned.
pub(crate) fn output(owner: Owner<'_>, sig: &Signature, errors: &mut Errors) -> Option<Output> {
    let ReturnType::Type(_, ty) = &sig.output else {
        errors.at(
            sig.paren_token.span.close(),
            "a handler returns a `Result`; write `-> HandlerResult<()>`",
        );
        return None;
    };
    if let Some(borrow) = first_borrow(ty) {
        errors.on(
            borrow,
            "what a handler returns outlives it, so it is owned; return an owned type",
        );
        return None;
    }
    if let Some(opaque) = first_impl_trait(ty) {
        errors.on(
            opaque,
            "what a handler returns is a concrete type, which its client can name; name it",
        );
        return None;
    }
    if let Some(error) = implementor(owner, ty, "output") {
        errors.push(error);
        return None;
    }
    let resolved = without_self(ty, owner.self_ty);
    let client = match first_parameter(&resolved, owner.generics) {
        None => ClientOutput::Projected(resolved),
        Some(parameter) => match result_value(&resolved) {
            // Only the error depends on the parameter, and the client does not see it.
            Some(value) if first_parameter(value, owner.generics).is_none() => {
                ClientOutput::Value(value.clone())
            }
            _ => {
                errors.push(parameter_error(ty, "output", &parameter));
                return None;
            }
        },
    };
    Some(Output {
        ty: (**ty).clone(),
        client,
    })
}

/// In a contract, `Self` is whoever implements it, and callers do not know who that is.
fn implementor(owner: Owner<'_>, ty: &Type, what: &str) -> Option<syn::Error> {
    let mention = owner.self_ty.is_none().then(|| first_self(ty))??;
    Some(syn::Error::new_spanned(
        mention,
        format!(
            "the {what} of a contract's handler is the same for all who implement it; name the type"
        ),
    ))
}

fn parameter_error(ty: &Type, what: &str, parameter: &syn::Ident) -> syn::Error {
    syn::Error::new_spanned(
        ty,
        format!(
            "the {what} of a handler cannot depend on `{parameter}`, a parameter of the `impl` \
             block: the generated client has no parameters; use a concrete type"
        ),
    )
}

fn refuse_conditional(attributes: &[Attribute], errors: &mut Errors) {
    for attribute in attributes {
        if attribute.path().is_ident("cfg") || attribute.path().is_ident("cfg_attr") {
            errors.on(
                attribute,
                "a parameter of a handler cannot be conditional; put the `#[cfg]` on the handler",
            );
        }
    }
}
