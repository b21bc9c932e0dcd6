//! The typed client of a service: `FooClient<C>` with one method a handler, generic over who calls (a
//! context, an ingress client).
//!
//! It is `pub`, like the request types it returns, whatever the visibility of the struct: other
//! modules call the service through it. Payloads may be more private than that; then a method is of
//! use only where they can be named.

use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::ext::IdentExt as _;

use super::service::private;
use super::{Blame, allow_deprecated, generated, located_at};
use crate::ast::{ClientOutput, Handler, Input, Service, ServiceKind};

/// The client of a service with errors: the methods whose types can be trusted.
pub(crate) fn fallback(service: &Service) -> TokenStream {
    let mut seen: Vec<&Ident> = Vec::new();
    let distinct = service.handlers.iter().filter(|handler| {
        let first = !handler.cfgs.is_empty() || !seen.contains(&&handler.ident);
        seen.push(&handler.ident);
        first
    });
    client(service, distinct)
}

/// The client type, its methods and the trait by which a context makes it.
pub(crate) fn client<'h>(
    service: &Service,
    handlers: impl IntoIterator<Item = &'h Handler>,
) -> TokenStream {
    let private = private(&service.krate);
    let cfgs = &service.cfgs;
    let name = &service.name.value;
    let mut ident = format_ident!("{}Client", service.ident.unraw());
    ident.set_span(located_at(service.ident.span()));
    let keyed = match service.kind {
        ServiceKind::Service => false,
        ServiceKind::Object | ServiceKind::Workflow => true,
    };
    let (key_field, debug_key) = if keyed {
        (
            Some(quote! { key: ::std::string::String, }),
            Some(quote! { .field("key", &self.key) }),
        )
    } else {
        (None, None)
    };
    let summary = summary(service, name);
    let client_name = ident.to_string();
    let constructor = constructor(service.kind, &private, &ident);
    let allow_deprecated = allow_deprecated(service);
    let methods = handlers
        .into_iter()
        .filter_map(|handler| method(service, &private, handler));
    quote! {
        #(#cfgs)*
        #[doc = #summary]
        #[derive(::core::clone::Clone)]
        pub struct #ident<CallerType = ()> {
            caller: CallerType,
            #key_field
        }

        #(#cfgs)*
        const _: () = {
            #[allow(clippy::type_complexity, reason = "the types are the handlers' own")]
            #allow_deprecated
            impl<CallerType: #private::Caller> #ident<CallerType> {
                #(#methods)*
            }

            #constructor

            #[automatically_derived]
            impl<CallerType> ::core::fmt::Debug for #ident<CallerType> {
                fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                    f.debug_struct(#client_name)#debug_key.finish_non_exhaustive()
                }
            }
        };
    }
}

fn summary(service: &Service, name: &str) -> String {
    match service.kind {
        ServiceKind::Service => format!(
            "Calls the service `{name}`: from a handler, made by `ctx.service_client()`; from outside, by the \
             `service()` of an ingress client or of the test kit."
        ),
        ServiceKind::Object => format!(
            "Calls one object of `{name}`: from a handler, made by `ctx.object_client(key)`; from outside, by \
             the `object(key)` of an ingress client or of the test kit."
        ),
        ServiceKind::Workflow => format!(
            "Calls one workflow of `{name}`: from a handler, made by `ctx.workflow_client(key)`; from outside, \
             by the `workflow(key)` of an ingress client or of the test kit."
        ),
    }
}

fn constructor(kind: ServiceKind, private: &TokenStream, ident: &Ident) -> TokenStream {
    let (client_trait, key_param, key) = match kind {
        ServiceKind::Service => (quote! { ServiceClient }, None, None),
        ServiceKind::Object => (
            quote! { ObjectClient },
            Some(quote! { , key: ::std::string::String }),
            Some(quote! { , key }),
        ),
        ServiceKind::Workflow => (
            quote! { WorkflowClient },
            Some(quote! { , key: ::std::string::String }),
            Some(quote! { , key }),
        ),
    };
    quote! {
        #[automatically_derived]
        impl #private::#client_trait for #ident {
            type With<CallerType: #private::Caller> = #ident<CallerType>;

            fn with<CallerType: #private::Caller>(caller: CallerType #key_param) -> #ident<CallerType> {
                #ident { caller #key }
            }
        }
    }
}

/// The method that makes the request. Left out where the handler's types were refused.
fn method(service: &Service, private: &TokenStream, handler: &Handler) -> Option<TokenStream> {
    let (input, param, argument) = match &handler.input {
        Input::Absent => (quote! { () }, None, quote! { () }),
        Input::Present(payload) => {
            let ty = &payload.client_ty;
            let body = Blame::of(ty).projection(private, ty, ["FromInput", "Body"]);
            (
                body.clone(),
                Some(quote! { , input: #body }),
                quote! { input },
            )
        }
        Input::Refused => return None,
    };
    let output = handler.output.as_ref()?;
    let blame = Blame::of(&output.ty);
    let value = match &output.client {
        ClientOutput::Projected(ty) => blame.projection(private, ty, ["HandlerReturn", "Value"]),
        ClientOutput::Value(ty) => quote! { #ty },
    };
    let (service_name, name) = (&service.name.value, &handler.name.value);
    let target = match service.kind {
        ServiceKind::Service => quote! { service(#service_name, #name) },
        ServiceKind::Object => quote! { object(#service_name, self.key.clone(), #name) },
        ServiceKind::Workflow => quote! { workflow(#service_name, self.key.clone(), #name) },
    };
    let Handler {
        cfgs, deprecated, ..
    } = handler;
    let docs = if handler.docs.is_empty() {
        let summary = format!("Calls the handler `{name}`.");
        quote! { #[doc = #summary] }
    } else {
        let docs = &handler.docs;
        quote! { #(#docs)* }
    };
    let ident = generated(&handler.ident);
    let request = blame.request(&quote! { #input, #value });
    let signature = quote_spanned! {ident.span()=>
        pub fn #ident(&self #param) -> #request
    };
    Some(quote! {
        #(#cfgs)*
        #docs
        #(#deprecated)*
        #signature {
            self.caller.request(#private::Target::#target, #argument)
        }
    })
}
