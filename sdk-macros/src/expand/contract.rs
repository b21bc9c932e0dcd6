//! A contract and its implementations.
//!
//! The trait as written, its methods asynchronous by what they return, plus two hidden items: the type
//! `DurablyContract`, which only the attribute on an `impl` provides and whose bound tells the kinds apart,
//! and a function that makes the definition of whatever implements the trait. So names, kinds and
//! payloads come from the contract alone, and that an `impl` keeps it is the compiler's own check.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens as _, quote, quote_spanned};
use syn::ext::IdentExt as _;
use syn::{FnArg, ImplItem, ItemImpl, ItemTrait, Path, ReturnType, Signature, TraitItem};

use super::service::{self, private};
use super::{allow_deprecated, is_first, located_at, strip_contexts};
use crate::ast::{Service, ServiceKind};
use crate::types::first_self;

/// The trait.
pub(super) fn declared(service: &Service, item: &ItemTrait, sound: bool) -> TokenStream {
    let private = private(&service.krate);
    let mut item = item.clone();
    let mut seen = Vec::new();
    item.items.retain_mut(|item| match item {
        TraitItem::Fn(method) => {
            method.default = None;
            method.semi_token.get_or_insert_default();
            if !sound {
                strip_contexts(&mut method.sig);
            }
            // `Self` was reported, and may not even have a size.
            let of_itself = !sound && mentions_self(&method.sig);
            if method.sig.asyncness.take().is_some() {
                returns_future(&mut method.sig.output);
            }
            sound || !of_itself && is_first(&method.sig.ident, &method.attrs, &mut seen)
        }
        _ => false,
    });
    let bound = Ident::new(
        match service.kind {
            ServiceKind::Service => "OfService",
            ServiceKind::Object => "OfObject",
            ServiceKind::Workflow => "OfWorkflow",
        },
        located_at(service.ident.span()),
    );
    let body = if sound {
        service::body(service, &private, true)
    } else {
        let empty = service::empty(service, &private);
        quote! { let _ = adjust; #empty }
    };
    let allow_deprecated = allow_deprecated(service);
    item.items.push(TraitItem::Verbatim(quote! {
        #[doc(hidden)]
        type DurablyContract: #private::#bound;

        #[doc(hidden)]
        #allow_deprecated
        fn __durably_definition(
            self,
            adjust: impl ::core::ops::Fn(&str, #private::HandlerDefinition) -> #private::HandlerDefinition,
        ) -> #private::ServiceDefinition
        where
            Self: ::core::marker::Sized + ::core::marker::Send + ::core::marker::Sync + 'static,
        {
            #body
        }
    }));
    quote! {
        #[allow(dead_code, reason = "a contract may be there for its client alone")]
        #item
    }
}

fn mentions_self(sig: &Signature) -> bool {
    let inputs = sig.inputs.iter().filter_map(|input| match input {
        FnArg::Typed(param) => Some(&*param.ty),
        FnArg::Receiver(_) => None,
    });
    let output = match &sig.output {
        ReturnType::Type(_, ty) => Some(&**ty),
        ReturnType::Default => None,
    };
    inputs.chain(output).any(|ty| first_self(ty).is_some())
}

/// `-> T` becomes what an `async fn` returns, and can be sent to another thread.
fn returns_future(output: &mut ReturnType) {
    let ty = match &*output {
        ReturnType::Default => quote! { () },
        ReturnType::Type(_, ty) => ty.to_token_stream(),
    };
    let future = quote! {
        impl ::core::future::Future<Output = #ty> + ::core::marker::Send
    };
    *output = ReturnType::Type(Default::default(), Box::new(syn::Type::Verbatim(future)));
}

/// The `impl` of a contract, as written and with what the attribute provides.
pub(super) fn implemented(service: &Service, item: &ItemImpl, contract: &Path) -> TokenStream {
    let private = private(&service.krate);
    let mut item = item.clone();
    let kind = service::kind(service.kind);
    // All at the contract's name: what the compiler says of it is about the contract.
    let span = at_name(contract);
    let private: TokenStream = (private.into_iter())
        .map(|mut token| {
            token.set_span(span);
            token
        })
        .collect();
    let kind = Ident::new(&kind.to_string(), span);
    let provided = quote_spanned! {span=> type DurablyContract = #private::kind::#kind; };
    item.items.push(ImplItem::Verbatim(provided));
    item.into_token_stream()
}

fn at_name(contract: &Path) -> Span {
    let name = contract.segments.last().map(|last| last.ident.span());
    located_at(name.unwrap_or_else(Span::call_site))
}

/// `impl Service` for an implementation: the contract's definition, with the options given here.
pub(super) fn definition(service: &Service, contract: &Path) -> TokenStream {
    let private = private(&service.krate);
    // The documentation is the contract's: callers do not know who implements it.
    let options = service::options(&private, &[], &service.options);
    let arms = service.handlers.iter().filter_map(|handler| {
        let options = service::options(&private, &[], &handler.options);
        let (cfgs, method) = (&handler.cfgs, handler.ident.unraw().to_string());
        let arm = quote! { #(#cfgs)* #method => handler #options, };
        (!options.is_empty()).then_some(arm)
    });
    let definition = Ident::new("__durably_definition", at_name(contract));
    let body = quote! {
        <Self as #contract>::#definition(self, |method, handler| match method {
            #(#arms)*
            _ => handler,
        })
        #options
    };
    service::wrap(service, &private, &body)
}
