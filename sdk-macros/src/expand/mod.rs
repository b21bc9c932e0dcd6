//! [`Service`] → tokens: the item as written, the `Service` impl and the typed client.
//!
//! All paths are absolute, below `durably::__private`; impls sit in `const _`. When there are
//! errors, the same items are emitted with as much as can be trusted, so that code that uses the
//! service adds no errors of its own.

mod client;
mod contract;
mod service;

use proc_macro2::{Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote, quote_spanned};
use syn::{Attribute, FnArg, ImplItem, ItemImpl, Meta, PathArguments, Signature, TraitItem, Type};

use crate::ast::{Service, ServiceItem};
use crate::errors::Errors;
use crate::signature::known_context;

/// The whole output of a service attribute.
pub(crate) fn expand(service: &Service, errors: Errors) -> TokenStream {
    let sound = errors.is_empty();
    let (item, definition) = match &service.item {
        ServiceItem::Inherent(item) if sound => {
            (item.to_token_stream(), service::definition(service))
        }
        ServiceItem::Inherent(item) => (repaired(item), service::fallback(service)),
        ServiceItem::Contract(item) => (contract::declared(service, item, sound), quote! {}),
        ServiceItem::Implementation { item, contract } if sound => (
            contract::implemented(service, item, contract),
            contract::definition(service, contract),
        ),
        // What the compiler would say about the block has its cause in what was reported.
        ServiceItem::Implementation { .. } => (quote! {}, service::fallback(service)),
    };
    let client = match &service.item {
        // The contract has the client.
        ServiceItem::Implementation { .. } => quote! {},
        _ if sound => client::client(service, &service.handlers),
        _ => client::fallback(service),
    };
    let errors = errors.into_tokens();
    quote! {
        #item
        #definition
        #client
        #errors
    }
}

/// The impl block without what was reported and what the compiler would report once more: a second
/// method of the same name, and parameters of contexts.
fn repaired(item: &ItemImpl) -> TokenStream {
    let mut item = item.clone();
    for item in &mut item.items {
        if let ImplItem::Fn(method) = item {
            strip_contexts(&mut method.sig);
        }
    }
    let mut seen: Vec<Ident> = Vec::new();
    item.items.retain(|item| match item {
        ImplItem::Fn(method) => is_first(&method.sig.ident, &method.attrs, &mut seen),
        _ => true,
    });
    item.into_token_stream()
}

/// Whether a method is not the second of its name; conditional ones are left to their conditions.
fn is_first(ident: &Ident, attrs: &[Attribute], seen: &mut Vec<Ident>) -> bool {
    if is_conditional(attrs) {
        return true;
    }
    let first = !seen.contains(ident);
    seen.push(ident.clone());
    first
}

fn strip_contexts(sig: &mut Signature) {
    for param in &mut sig.inputs {
        if let FnArg::Typed(param) = param {
            strip_context(&mut param.ty);
        }
    }
}

fn strip_context(ty: &mut Type) {
    match ty {
        Type::Reference(reference) => strip_context(&mut reference.elem),
        Type::Path(path) if known_context(&Type::Path(path.clone())).is_some() => {
            if let Some(last) = path.path.segments.last_mut() {
                last.arguments = PathArguments::None;
            }
        }
        _ => {}
    }
}

/// Generated items repeat what the user wrote in the item: where something deprecated is allowed there, on the
/// item or on a method, it is allowed in them too. A deprecated handler is still served.
///
/// Only where it is needed: in a crate that forbids the lint, no attribute may allow it.
fn allow_deprecated(service: &Service) -> Option<TokenStream> {
    let attributes: Vec<&Attribute> = match &service.item {
        ServiceItem::Inherent(item) | ServiceItem::Implementation { item, .. } => {
            let methods = item.items.iter().filter_map(|item| match item {
                ImplItem::Fn(method) => Some(&method.attrs),
                _ => None,
            });
            item.attrs.iter().chain(methods.flatten()).collect()
        }
        ServiceItem::Contract(item) => {
            let methods = item.items.iter().filter_map(|item| match item {
                TraitItem::Fn(method) => Some(&method.attrs),
                _ => None,
            });
            item.attrs.iter().chain(methods.flatten()).collect()
        }
    };
    let served = service.handlers.iter().any(|h| !h.deprecated.is_empty());
    (served || attributes.into_iter().any(allows_deprecated))
        .then(|| quote! { #[allow(deprecated, reason = "it is allowed where it is written")] })
}

/// `#[allow(deprecated)]`, or `#[expect(…)]`.
fn allows_deprecated(attribute: &Attribute) -> bool {
    let Meta::List(list) = &attribute.meta else {
        return false;
    };
    let mut tokens = list.tokens.clone().into_iter();
    (list.path.is_ident("allow") || list.path.is_ident("expect"))
        && tokens.any(|token| match token {
            TokenTree::Ident(lint) => lint == "deprecated" || lint == "warnings",
            _ => false,
        })
}

fn is_conditional(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|a| a.path().is_ident("cfg"))
}

/// Where the compiler shall point when a type of the user is wrong: its first and its last token.
///
/// A handler's types occur several times in the output. If each occurrence spans exactly what the
/// user wrote, they all give the very same error, and the compiler prints it once.
#[derive(Clone, Copy)]
struct Blame {
    first: Span,
    last: Span,
}

impl Blame {
    fn of(ty: &impl ToTokens) -> Self {
        let mut spans = ty.to_token_stream().into_iter().map(|token| token.span());
        let first = spans.next().unwrap_or_else(Span::call_site);
        Self {
            first,
            last: spans.last().unwrap_or(first),
        }
    }

    /// `<ty as Trait>::Item`, the trait below `__private`.
    fn projection(self, private: &TokenStream, ty: &impl ToTokens, path: [&str; 2]) -> TokenStream {
        let [name, item] = path;
        let name = Ident::new(name, located_at(self.first));
        let item = Ident::new(item, self.last);
        let open = quote_spanned! {self.first=> < };
        quote! { #open #ty as #private::#name>::#item }
    }

    /// `CallerType::Request<Args…>`, the caller being the client's parameter: a name that no payload is likely to
    /// have, since it would hide it.
    fn request(self, args: &TokenStream) -> TokenStream {
        let close = quote_spanned! {self.last=> > };
        quote_spanned! {self.first=> CallerType::Request<#args #close }
    }

    /// `tokens` all at the first token.
    fn lead(self, tokens: &TokenStream) -> TokenStream {
        let tokens = tokens.clone().into_iter();
        tokens
            .map(|mut token| {
                token.set_span(self.first);
                token
            })
            .collect()
    }
}

/// `ident` as a name the macro made up: reported at the user's token, owned by the macro, so that
/// the user's lints do not judge it.
fn generated(ident: &Ident) -> Ident {
    let mut ident = ident.clone();
    ident.set_span(located_at(ident.span()));
    ident
}

fn located_at(span: Span) -> Span {
    Span::call_site().located_at(span)
}
