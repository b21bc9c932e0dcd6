//! The annotated item → [`Service`].
//!
//! Takes the impl block apart: takes `#[handler]` off the methods and collects names, documentation
//! and options. The shape of a handler's signature is judged in `signature`. What is wrong is
//! reported and left out of the model, so that the rest can still be expanded.

use proc_macro2::{Span, TokenStream};
use quote::ToTokens as _;
use syn::ext::IdentExt as _;
use syn::{
    Attribute, GenericParam, Ident, ImplItem, ImplItemFn, Item, ItemImpl, Path, PathArguments,
    TraitItem, Type,
};

use crate::ast::{Handler, Input, Service, ServiceKind, Spanned};
use crate::attr;
use crate::errors::Errors;
use crate::signature;
use crate::types::{first_borrow, ungroup};

/// What is left of the item: a service, or something that could not become one.
pub(crate) enum Parsed {
    Service(Service),
    /// A service that was refused as a whole; what it has besides is not worth checking.
    Refused(Service),
    /// The item to emit besides the errors, `#[handler]` removed.
    Other(TokenStream),
}

/// Reads the item under a service attribute.
pub(crate) fn parse(
    kind: ServiceKind,
    args: TokenStream,
    item: TokenStream,
    errors: &mut Errors,
) -> Parsed {
    match syn::parse2::<Item>(item.clone()) {
        Ok(Item::Impl(item)) => service(kind, args, item, errors),
        Ok(other) => not_an_impl(kind, other, errors),
        Err(error) => {
            errors.push(error);
            Parsed::Other(item)
        }
    }
}

fn not_an_impl(kind: ServiceKind, mut item: Item, errors: &mut Errors) -> Parsed {
    let attribute = kind.attribute();
    let advice = match &mut item {
        Item::Trait(item) => {
            for method in &mut item.items {
                if let TraitItem::Fn(method) = method {
                    method.attrs.retain(|attribute| !is_handler(attribute));
                }
            }
            "write the handlers into the inherent `impl` block of a struct: the struct is the service"
        }
        Item::Struct(_) | Item::Enum(_) => "move it to the `impl` block with the handlers",
        _ => "write `impl MyService { … }` below it",
    };
    errors.at(
        Span::call_site(),
        format!("`{attribute}` goes on an inherent `impl` block; {advice}"),
    );
    Parsed::Other(item.into_token_stream())
}

fn service(
    kind: ServiceKind,
    args: TokenStream,
    mut item: ItemImpl,
    errors: &mut Errors,
) -> Parsed {
    let marked = take_handler_attributes(&mut item, errors);
    let Some(ident) = self_ident(&item.self_ty) else {
        errors.on(
            &item.self_ty,
            "a service is a struct or an enum; write `impl MyService { … }`",
        );
        return Parsed::Other(item.into_token_stream());
    };
    let lifetime = item.generics.params.iter().find_map(|param| match param {
        GenericParam::Lifetime(param) => Some(param.lifetime.to_token_stream()),
        _ => None,
    });
    if let Some(borrow) = lifetime.or_else(|| first_borrow(&item.self_ty)) {
        errors.on(
            borrow,
            "a service is shared by all its invocations and cannot borrow; \
             let it own its dependencies or hold them in an `Arc`",
        );
        return Parsed::Other(item.into_token_stream());
    }
    take_service_attributes(&mut item, errors);
    if let Some((_, path, _)) = &item.trait_ {
        let attribute = kind.attribute();
        errors.on(
            path,
            format!(
                "`{attribute}` goes on an inherent `impl` block, not on the impl of a trait; \
                 write `impl {ident} {{ … }}`"
            ),
        );
        let mut further = Errors::default();
        return Parsed::Refused(model(kind, args, item, ident, marked, &mut further));
    }
    Parsed::Service(model(kind, args, item, ident, marked, errors))
}

/// The model of an impl block that can be a service.
fn model(
    kind: ServiceKind,
    args: TokenStream,
    item: ItemImpl,
    ident: Ident,
    marked: Vec<(usize, Attribute)>,
    errors: &mut Errors,
) -> Service {
    let mut options = attr::service_options(kind, args, errors);
    let name = options.name.take().unwrap_or_else(|| Spanned {
        value: ident.unraw().to_string(),
        span: ident.span(),
    });
    let krate = options.krate.take().unwrap_or_else(default_crate);
    let handlers = handlers(kind, &item, marked, errors);

    Service {
        kind,
        krate,
        ident,
        name,
        cfgs: named(&item.attrs, "cfg"),
        docs: named(&item.attrs, "doc"),
        options,
        handlers,
        item,
    }
}

/// Removes `#[handler]` from all items of the block. Returns those of the methods with the method's
/// position.
fn take_handler_attributes(item: &mut ItemImpl, errors: &mut Errors) -> Vec<(usize, Attribute)> {
    let mut marked = Vec::new();
    for (position, item) in item.items.iter_mut().enumerate() {
        match item {
            ImplItem::Fn(method) => {
                let mut found = take_handler(&mut method.attrs).into_iter();
                if let Some(first) = found.next() {
                    marked.push((position, first));
                }
                for again in found {
                    errors.on(
                        again,
                        "the method is marked twice; write one `#[handler(…)]` with all options",
                    );
                }
            }
            ImplItem::Const(item) => refuse_handler(&mut item.attrs, errors),
            ImplItem::Type(item) => refuse_handler(&mut item.attrs, errors),
            ImplItem::Macro(item) => refuse_handler(&mut item.attrs, errors),
            _ => {}
        }
    }
    marked
}

fn refuse_handler(attributes: &mut Vec<Attribute>, errors: &mut Errors) {
    for attribute in take_handler(attributes) {
        errors.on(
            attribute,
            "`#[handler]` goes on a method: `#[handler] async fn name(&self, ctx: …) -> …`",
        );
    }
}

fn take_handler(attributes: &mut Vec<Attribute>) -> Vec<Attribute> {
    attributes.extract_if(.., |a| is_handler(a)).collect()
}

/// A second service attribute would make a second service of the same type.
fn take_service_attributes(item: &mut ItemImpl, errors: &mut Errors) {
    let twice = |attribute: &mut Attribute| {
        let segments: Vec<&Ident> = attribute.path().segments.iter().map(|s| &s.ident).collect();
        let last = match segments[..] {
            [last] => last,
            [first, last] if first == "durably" => last,
            _ => return false,
        };
        last == "service" || last == "object" || last == "workflow"
    };
    for attribute in item.attrs.extract_if(.., twice) {
        errors.on(
            attribute,
            "an `impl` block is one service; keep one of `#[durably::service]`, \
             `#[durably::object]` and `#[durably::workflow]`",
        );
    }
}

fn handlers(
    kind: ServiceKind,
    item: &ItemImpl,
    marked: Vec<(usize, Attribute)>,
    errors: &mut Errors,
) -> Vec<Handler> {
    marked
        .into_iter()
        .filter_map(|(position, attribute)| match item.items.get(position) {
            Some(ImplItem::Fn(method)) => Some((method, attribute)),
            _ => None,
        })
        .map(|(method, attribute)| handler(kind, item, method, &attribute, errors))
        .collect()
}

fn handler(
    kind: ServiceKind,
    item: &ItemImpl,
    method: &ImplItemFn,
    attribute: &Attribute,
    errors: &mut Errors,
) -> Handler {
    let mut options = attr::handler_options(kind, attribute, errors);
    let ident = method.sig.ident.clone();
    let name = options.name.take().unwrap_or_else(|| Spanned {
        value: ident.unraw().to_string(),
        span: ident.span(),
    });
    let before = errors.count();
    signature::check_qualifiers(kind, &method.sig, errors);
    signature::check_generics(&method.sig, errors);
    signature::check_receiver(&method.sig, errors);
    // A signature that is refused as a whole is not taken apart: its types say nothing reliable.
    let (context, input, output) = if errors.count() == before {
        (
            signature::context(kind, &method.sig, errors),
            signature::input(item, &method.sig, errors),
            signature::output(item, &method.sig, errors),
        )
    } else {
        (None, Input::Refused, None)
    };
    Handler {
        ident,
        name,
        cfgs: named(&method.attrs, "cfg"),
        docs: named(&method.attrs, "doc"),
        deprecated: named(&method.attrs, "deprecated"),
        options,
        context,
        input,
        output,
    }
}

/// Whether the attribute is `#[handler]`, under whatever path.
fn is_handler(attribute: &Attribute) -> bool {
    attribute
        .path()
        .segments
        .last()
        .is_some_and(|segment| segment.ident == "handler")
}

/// The last segment of the self type, where it is a struct or an enum.
fn self_ident(ty: &Type) -> Option<Ident> {
    let Type::Path(path) = ungroup(ty) else {
        return None;
    };
    let last = path.path.segments.last()?;
    let nominal =
        path.qself.is_none() && !matches!(last.arguments, PathArguments::Parenthesized(_));
    nominal.then(|| last.ident.clone())
}

fn named(attributes: &[Attribute], name: &str) -> Vec<Attribute> {
    let matching = attributes.iter().filter(|a| a.path().is_ident(name));
    matching.cloned().collect()
}

fn default_crate() -> Path {
    syn::parse_quote!(::durably)
}
