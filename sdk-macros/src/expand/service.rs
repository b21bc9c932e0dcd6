//! `impl Service for T`: the definition with one erased closure a handler. A contract's definition has the
//! same body.

use proc_macro2::{Ident, Literal, Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::ext::IdentExt as _;
use syn::{Attribute, Expr, ExprLit, Lit, Meta, Path};

use super::{Blame, allow_deprecated, generated, located_at};
use crate::ast::{
    ClientOutput, Handler, HandlerKind, Input, OnMaxAttempts, Options, Output, Owner, Retry,
    Service, ServiceKind, Spanned,
};
use crate::kafka;

/// The impl with all handlers.
pub(crate) fn definition(service: &Service) -> TokenStream {
    let private = private(&service.krate);
    let body = body(service, &private, false);
    wrap(service, &private, &body)
}

/// The definition as a block, made of `self`. With `adjusted`, each handler passes `adjust`, with its
/// method's name, before it is added.
pub(super) fn body(service: &Service, private: &TokenStream, adjusted: bool) -> TokenStream {
    let options = options(private, &service.docs, &service.options);
    let (kind, name) = (kind(service.kind), &service.name.value);
    let handlers = service
        .handlers
        .iter()
        .filter_map(|h| handler(private, h, adjusted));
    // With every handler behind a `#[cfg]` there may be no use of the service left.
    let unused = service
        .handlers
        .iter()
        .all(|h| !h.cfgs.is_empty())
        .then(|| quote! { let _ = &service; });
    quote! {
        use #private::{SchemaAbsent as _, SchemaPresent as _};

        let service = ::std::sync::Arc::new(self);
        #unused
        let definition = #private::ServiceDefinition::new(#private::ServiceKind::#kind, #name)
            #options;
        #(#handlers)*
        definition
    }
}

/// The impl without handlers: the service is wrong, and its users need not hear of it again.
pub(crate) fn fallback(service: &Service) -> TokenStream {
    let private = private(&service.krate);
    let body = empty(service, &private);
    wrap(service, &private, &body)
}

/// A definition without handlers.
pub(super) fn empty(service: &Service, private: &TokenStream) -> TokenStream {
    let (kind, name) = (kind(service.kind), &service.name.value);
    quote! {
        #private::ServiceDefinition::new(#private::ServiceKind::#kind, #name)
    }
}

pub(super) fn wrap(service: &Service, private: &TokenStream, body: &TokenStream) -> TokenStream {
    let Owner { self_ty, generics } = service.item.owner();
    let (cfgs, allow_deprecated) = (&service.cfgs, allow_deprecated(service));
    let (impl_generics, _, where_clause) = generics.split_for_impl();
    quote! {
        #(#cfgs)*
        const _: () = {
            #[automatically_derived]
            #allow_deprecated
            impl #impl_generics #private::Service for #self_ty #where_clause {
                fn definition(self) -> #private::ServiceDefinition {
                    #body
                }
            }
        };
    }
}

/// One statement that adds a handler to `definition`.
fn handler(private: &TokenStream, handler: &Handler, adjusted: bool) -> Option<TokenStream> {
    let context = handler.context.as_ref()?;
    let output = handler.output.as_ref()?;
    let cfgs = &handler.cfgs;
    let name = &handler.name.value;
    let method = generated(&handler.ident);
    let kind = handler_kind(context.kind);
    let options = options(private, &handler.docs, &handler.options);

    let (input_param, decode, argument, input_metadata) = match &handler.input {
        Input::Absent => (
            quote! { _ },
            quote! {},
            quote! {},
            quote! { #private::no_input_metadata() },
        ),
        Input::Present(payload) => {
            let blame = Blame::of(&payload.ty);
            let of = |item| blame.projection(private, &payload.ty, ["FromInput", item]);
            let (from_input, body) = (of("from_input"), of("Body"));
            let schema = schema(private, blame, &body);
            let (required, content_type) = (of("REQUIRED"), of("CONTENT_TYPE"));
            (
                quote! { input },
                quote! { let input = #from_input(input).map_err(#private::decode_failure)?; },
                quote! { , input },
                quote! {
                    #private::input_metadata(
                        #required,
                        #content_type,
                        #schema,
                    )
                },
            )
        }
        Input::Refused => return None,
    };
    let output_metadata = output_metadata(private, output);
    let from_attempt =
        Blame::of(&context.ty).projection(private, &context.ty, ["FromAttempt", "from_attempt"]);
    let blame = Blame::of(&output.ty);
    let of = |item| blame.projection(private, &output.ty, ["HandlerReturn", item]);
    let (into_result, value) = (of("into_result"), of("Value"));
    let value_result = quote_spanned! {blame.last=> #into_result(output) };
    let encode = blame.projection(private, &value, ["Encode", "encode"]);

    // What the compiler has to say about the future (it is not `Send`, say) belongs to the handler.
    let span = located_at(handler.ident.span());
    let run = quote_spanned! {span=>
        move |attempt: #private::AttemptHandle, #input_param: #private::Input|
            -> #private::HandlerFuture
        {
            let service = ::std::sync::Arc::clone(&service);
            ::std::boxed::Box::pin(async move {
                let ctx = #from_attempt(attempt);
                #decode
                let output = <Self>::#method(&service, &ctx #argument).await;
                let value = #value_result?;
                #encode(&value).map_err(#private::HandlerError::from)
            })
        }
    };
    let adjust = adjusted.then(|| {
        let method = handler.ident.unraw().to_string();
        quote! { let handler = adjust(#method, handler); }
    });
    Some(quote! {
        #(#cfgs)*
        let definition = {
            let service = ::std::sync::Arc::clone(&service);
            let handler = #private::HandlerDefinition::new(
                #private::HandlerKind::#kind,
                #name,
                ::std::sync::Arc::new(#run),
            )
            #options
            .input(#input_metadata)
            .output(#output_metadata);
            #adjust
            definition.handler(handler)
        };
    })
}

fn output_metadata(private: &TokenStream, output: &Output) -> TokenStream {
    let ty = &output.ty;
    // The client was promised the first argument of `Result`: hold the alias to it.
    let assertion = match &output.client {
        ClientOutput::Projected(_) => None,
        ClientOutput::Value(value) => Some(quote! { #private::assert_value::<#ty, #value>(); }),
    };
    let blame = Blame::of(ty);
    let value = blame.projection(private, ty, ["HandlerReturn", "Value"]);
    let content_type = blame.projection(private, &value, ["Encode", "CONTENT_TYPE"]);
    let schema = schema(private, blame, &value);
    let metadata = quote! { #private::output_metadata(#content_type, #schema) };
    match assertion {
        None => metadata,
        Some(assertion) => quote! {{ #assertion #metadata }},
    }
}

/// The JSON schema of `ty`, if it has one.
fn schema(private: &TokenStream, blame: Blame, ty: &TokenStream) -> TokenStream {
    let private = blame.lead(private);
    let new = Ident::new("new", blame.last);
    quote_spanned! {blame.first=> (&&#private::SchemaProbe::<#ty>::#new()).json_schema() }
}

/// Setter calls, from documentation and options.
pub(super) fn options(private: &TokenStream, docs: &[Attribute], options: &Options) -> TokenStream {
    let mut calls = TokenStream::new();
    if let Some(text) = documentation(docs) {
        calls.extend(quote! { .documentation(#text) });
    }
    for (key, value) in &options.metadata {
        calls.extend(quote! { .metadata(#key, #value) });
    }
    for (setter, value) in [
        ("inactivity_timeout", &options.inactivity_timeout),
        ("abort_timeout", &options.abort_timeout),
        ("journal_retention", &options.journal_retention),
        ("idempotency_retention", &options.idempotency_retention),
        ("workflow_retention", &options.workflow_retention),
    ] {
        calls.extend(duration_call(setter, value.as_ref()));
    }
    for (setter, value) in [
        ("lazy_state", &options.lazy_state),
        ("ingress_private", &options.ingress_private),
    ] {
        if let Some(Spanned { value, .. }) = value {
            let setter = ident(setter);
            calls.extend(quote! { .#setter(#value) });
        }
    }
    if let Some(retry) = &options.retry {
        let policy = retry_policy(private, retry);
        calls.extend(quote! { .retry_policy(#policy) });
    }
    if let Some(kafka) = &options.kafka {
        let policy = kafka::policy(private, kafka);
        calls.extend(quote! { .kafka(#policy) });
    }
    calls
}

fn retry_policy(private: &TokenStream, retry: &Retry) -> TokenStream {
    let initial = duration_call("initial_interval", retry.initial_interval.as_ref());
    let max = duration_call("max_interval", retry.max_interval.as_ref());
    let factor = retry.factor.map(|factor| quote! { .factor(#factor) });
    let attempts = retry.max_attempts.map(|n| {
        let n = Literal::u32_unsuffixed(n);
        quote! { .max_attempts(#n) }
    });
    let then = retry.on_max_attempts.map(|then| {
        let variant = match then {
            OnMaxAttempts::Pause => ident("Pause"),
            OnMaxAttempts::Kill => ident("Kill"),
        };
        quote! { .on_max_attempts(#private::OnMaxAttempts::#variant) }
    });
    quote! { #private::InvocationRetryPolicy::new() #initial #max #factor #attempts #then }
}

fn duration_call(setter: &str, value: Option<&Spanned<u64>>) -> Option<TokenStream> {
    let milliseconds = value?.value;
    let setter = ident(setter);
    Some(quote! { .#setter(::core::time::Duration::from_millis(#milliseconds)) })
}

/// The text of doc comments, as rustdoc would read it: the common indentation removed.
///
/// A `#[doc = include_str!(…)]` is not known here; then the pieces are joined by `concat!`.
fn documentation(docs: &[Attribute]) -> Option<TokenStream> {
    let values: Vec<&Expr> = docs
        .iter()
        .filter_map(|attribute| match &attribute.meta {
            Meta::NameValue(pair) => Some(&pair.value),
            Meta::Path(_) | Meta::List(_) => None,
        })
        .collect();
    if values.is_empty() {
        return None;
    }
    let literals: Option<Vec<String>> = values.iter().map(|value| literal_text(value)).collect();
    match literals {
        Some(pieces) => {
            let text = unindent(&pieces);
            (!text.is_empty()).then(|| quote! { #text })
        }
        None => Some(quote! { ::core::concat!(#(#values, "\n"),*) }),
    }
}

fn literal_text(value: &Expr) -> Option<String> {
    match value {
        Expr::Lit(ExprLit {
            lit: Lit::Str(text),
            ..
        }) => Some(text.value()),
        _ => None,
    }
}

fn unindent(pieces: &[String]) -> String {
    let lines: Vec<&str> = pieces
        .iter()
        .flat_map(|piece| piece.split('\n'))
        .map(str::trim_end)
        .collect();
    let indentation = lines
        .iter()
        .filter(|line| !line.is_empty())
        .map(|line| line.len() - line.trim_start_matches(' ').len())
        .min()
        .unwrap_or_default();
    let lines: Vec<&str> = lines
        .iter()
        .map(|line| line.get(indentation..).unwrap_or_default())
        .collect();
    lines.join("\n").trim_matches('\n').to_owned()
}

/// The only module that macro output names.
pub(super) fn private(krate: &Path) -> TokenStream {
    quote! { #krate::__private }
}

pub(super) fn kind(kind: ServiceKind) -> Ident {
    ident(match kind {
        ServiceKind::Service => "Service",
        ServiceKind::Object => "Object",
        ServiceKind::Workflow => "Workflow",
    })
}

fn handler_kind(kind: HandlerKind) -> Ident {
    ident(match kind {
        HandlerKind::Service => "Service",
        HandlerKind::Exclusive => "Exclusive",
        HandlerKind::Shared => "Shared",
        HandlerKind::Workflow => "Workflow",
    })
}

fn ident(name: &str) -> Ident {
    Ident::new(name, Span::call_site())
}

#[cfg(test)]
mod tests {
    use super::unindent;

    #[test]
    fn documentation_reads_as_written() {
        let text = |lines: &[&str]| unindent(&lines.map_to_owned());
        assert_eq!(text(&[" One line."]), "One line.");
        assert_eq!(
            text(&[" Head.", "", "   * item", " Tail."]),
            "Head.\n\n  * item\nTail."
        );
        assert_eq!(text(&["\n    Block.\n      More.\n"]), "Block.\n  More.");
        assert_eq!(text(&["", "  "]), "");
    }

    trait MapToOwned {
        fn map_to_owned(&self) -> Vec<String>;
    }

    impl MapToOwned for &[&str] {
        fn map_to_owned(&self) -> Vec<String> {
            self.iter().map(|&line| line.to_owned()).collect()
        }
    }
}
