//! The annotated item → [`Service`].
//!
//! Takes the item apart (an inherent `impl` block, a contract or the `impl` of one): takes `#[handler]`
//! off the methods and collects names, documentation and options. The shape of a handler's signature is
//! judged in `signature`. What is wrong is reported and left out of the model, so that the rest can still
//! be expanded.

use proc_macro2::{Span, TokenStream};
use quote::ToTokens as _;
use syn::ext::IdentExt as _;
use syn::parse::{Parse, ParseStream};
use syn::{
    Attribute, GenericParam, Ident, ImplItem, ImplItemFn, Item, ItemImpl, ItemTrait, Path,
    PathArguments, Signature, Token, TraitItem, Type, Visibility,
};

use crate::ast::{Handler, Input, Options, Owner, Service, ServiceItem, ServiceKind, Spanned};
use crate::attr;
use crate::errors::Errors;
use crate::signature;
use crate::types::{first_borrow, ungroup};

/// What is left of the item: a service, or something that could not become one.
pub(crate) enum Parsed {
    Service(Box<Service>),
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
        Ok(Item::Impl(item)) => implementation(kind, args, item, errors),
        Ok(Item::Trait(item)) => contract(kind, args, item, errors),
        Ok(other) => not_an_impl(kind, other, errors),
        Err(error) => {
            errors.push(error);
            Parsed::Other(item)
        }
    }
}

fn not_an_impl(kind: ServiceKind, item: Item, errors: &mut Errors) -> Parsed {
    let attribute = kind.attribute();
    let advice = match &item {
        Item::Struct(_) | Item::Enum(_) => "move it to the `impl` block with the handlers",
        _ => "write `impl MyService { … }` below it",
    };
    errors.at(
        Span::call_site(),
        format!("`{attribute}` goes on an `impl` block or a trait; {advice}"),
    );
    Parsed::Other(item.into_token_stream())
}

/// The block with the handlers' code, of a contract's or its own.
fn implementation(
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
    take_service_attributes(&mut item.attrs, errors);
    let mut options = attr::service_options(kind, args, errors);
    let contract = item.trait_.as_ref().map(|(_, path, _)| path.clone());
    if contract.is_some() {
        refuse_name(&mut options, "service", errors);
    }
    let owner = Owner {
        self_ty: Some(&item.self_ty),
        generics: &item.generics,
    };
    let mut handlers = Vec::new();
    for (method, attribute) in item.items.iter().zip(&marked) {
        // All methods of a contract are handlers, marked or not.
        if let ImplItem::Fn(method) = method
            && (attribute.is_some() || contract.is_some())
        {
            let (attrs, sig) = (&method.attrs, &method.sig);
            let mut handler = handler(kind, owner, attrs, sig, attribute.as_ref(), errors);
            if contract.is_some() {
                refuse_name(&mut handler.options, "handlers", errors);
            }
            handlers.push(handler);
        }
    }
    let (cfgs, docs) = (named(&item.attrs, "cfg"), named(&item.attrs, "doc"));
    let item = match contract {
        Some(contract) => ServiceItem::Implementation { item, contract },
        None => ServiceItem::Inherent(item),
    };
    let service = model(kind, ident, item, (cfgs, docs), options, handlers);
    Parsed::Service(Box::new(service))
}

/// The trait that says what a service's handlers are.
fn contract(
    kind: ServiceKind,
    args: TokenStream,
    mut item: ItemTrait,
    errors: &mut Errors,
) -> Parsed {
    take_service_attributes(&mut item.attrs, errors);
    let before = errors.count();
    if !item.generics.params.is_empty() {
        errors.on(
            &item.generics.params,
            "a contract cannot be generic: callers know it by its name alone; use concrete types",
        );
    } else if let Some(clause) = &item.generics.where_clause {
        errors.on(clause, "a contract has no `where` clause; remove it");
    }
    if let Some(unsafety) = &item.unsafety {
        errors.on(unsafety, "a contract is an ordinary trait; remove `unsafe`");
    }
    if errors.count() > before {
        for method in &mut item.items {
            if let TraitItem::Fn(method) = method {
                take_handler(&mut method.attrs);
            }
        }
        return Parsed::Other(item.into_token_stream());
    }
    let options = attr::service_options(kind, args, errors);
    let mut handlers = Vec::new();
    for method in &mut item.items {
        let TraitItem::Fn(method) = method else {
            errors.on(
                method,
                "a contract holds its handlers and nothing else; put the rest into another trait",
            );
            continue;
        };
        let attribute = only_handler(&mut method.attrs, errors);
        if let Some(body) = &method.default {
            errors.at(
                body.brace_token.span.open(),
                "a contract has no code; move the body to its `impl`, and write `;` here",
            );
        }
        let owner = Owner {
            self_ty: None,
            generics: &item.generics,
        };
        let (attrs, sig) = (&method.attrs, &method.sig);
        handlers.push(handler(kind, owner, attrs, sig, attribute.as_ref(), errors));
    }
    let (cfgs, docs) = (named(&item.attrs, "cfg"), named(&item.attrs, "doc"));
    let ident = item.ident.clone();
    let item = ServiceItem::Contract(item);
    let service = model(kind, ident, item, (cfgs, docs), options, handlers);
    Parsed::Service(Box::new(service))
}

/// What a contract names is not named again where it is implemented.
fn refuse_name(options: &mut Options, what: &str, errors: &mut Errors) {
    if let Some(name) = options.name.take() {
        errors.at(
            name.span,
            format!("the contract names its {what}; move `name` to the trait"),
        );
    }
}

fn model(
    kind: ServiceKind,
    ident: Ident,
    item: ServiceItem,
    (cfgs, docs): (Vec<Attribute>, Vec<Attribute>),
    mut options: Options,
    handlers: Vec<Handler>,
) -> Service {
    let name = options.name.take().unwrap_or_else(|| Spanned {
        value: ident.unraw().to_string(),
        span: ident.span(),
    });
    let krate = options.krate.take().unwrap_or_else(default_crate);
    Service {
        kind,
        krate,
        item,
        ident,
        name,
        cfgs,
        docs,
        options,
        handlers,
    }
}

/// Removes `#[handler]` from all items of the block. Returns, for each item, that of a method.
fn take_handler_attributes(item: &mut ItemImpl, errors: &mut Errors) -> Vec<Option<Attribute>> {
    let take = |item: &mut ImplItem| {
        add_missing_body(item, errors);
        match item {
            ImplItem::Fn(method) => only_handler(&mut method.attrs, errors),
            ImplItem::Const(item) => refuse_handler(&mut item.attrs, errors),
            ImplItem::Type(item) => refuse_handler(&mut item.attrs, errors),
            ImplItem::Macro(item) => refuse_handler(&mut item.attrs, errors),
            _ => None,
        }
    };
    item.items.iter_mut().map(take).collect()
}

/// Reports a handler that ends in a semicolon, and gives it a body, so that it is read like the others.
/// The parser knows no such methods in `impl` blocks and leaves them as they are, with their attributes.
fn add_missing_body(item: &mut ImplItem, errors: &mut Errors) {
    let ImplItem::Verbatim(tokens) = item else {
        return;
    };
    let Ok(method) = syn::parse2::<WithoutBody>(tokens.clone()) else {
        return;
    };
    // Of others the compiler says it.
    if !method.attrs.iter().any(is_handler) {
        return;
    }
    errors.on(
        method.semicolon,
        "a handler has a body; write `{ … }` here, or declare it in a trait, which makes a contract",
    );
    *item = ImplItem::Fn(ImplItemFn {
        attrs: method.attrs,
        vis: method.vis,
        defaultness: None,
        sig: method.sig,
        block: syn::parse_quote!({ loop {} }),
    });
}

/// A method that ends in a semicolon.
struct WithoutBody {
    attrs: Vec<Attribute>,
    vis: Visibility,
    sig: Signature,
    semicolon: Token![;],
}

impl Parse for WithoutBody {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        Ok(Self {
            attrs: input.call(Attribute::parse_outer)?,
            vis: input.parse()?,
            sig: input.parse()?,
            semicolon: input.parse()?,
        })
    }
}

/// Removes `#[handler]`, of which there may be one.
fn only_handler(attributes: &mut Vec<Attribute>, errors: &mut Errors) -> Option<Attribute> {
    let mut found = take_handler(attributes).into_iter();
    let first = found.next();
    for again in found {
        errors.on(
            again,
            "the method is marked twice; write one `#[handler(…)]` with all options",
        );
    }
    first
}

fn refuse_handler(attributes: &mut Vec<Attribute>, errors: &mut Errors) -> Option<Attribute> {
    for attribute in take_handler(attributes) {
        errors.on(
            attribute,
            "`#[handler]` goes on a method: `#[handler] async fn name(&self, ctx: …) -> …`",
        );
    }
    None
}

fn take_handler(attributes: &mut Vec<Attribute>) -> Vec<Attribute> {
    attributes.extract_if(.., |a| is_handler(a)).collect()
}

/// A second service attribute would make a second service of the same type.
fn take_service_attributes(attributes: &mut Vec<Attribute>, errors: &mut Errors) {
    let twice = |attribute: &mut Attribute| {
        let segments: Vec<&Ident> = attribute.path().segments.iter().map(|s| &s.ident).collect();
        let last = match segments[..] {
            [last] => last,
            [first, last] if first == "durably" => last,
            _ => return false,
        };
        last == "service" || last == "object" || last == "workflow"
    };
    for attribute in attributes.extract_if(.., twice) {
        errors.on(
            attribute,
            "an `impl` block is one service; keep one of `#[durably::service]`, \
             `#[durably::object]` and `#[durably::workflow]`",
        );
    }
}

fn handler(
    kind: ServiceKind,
    owner: Owner<'_>,
    attrs: &[Attribute],
    sig: &Signature,
    attribute: Option<&Attribute>,
    errors: &mut Errors,
) -> Handler {
    let options = match attribute {
        Some(attribute) => attr::handler_options(kind, attribute, errors),
        None => Options::default(),
    };
    let ident = sig.ident.clone();
    let name = options.name.clone().unwrap_or_else(|| Spanned {
        value: ident.unraw().to_string(),
        span: ident.span(),
    });
    let before = errors.count();
    signature::check_qualifiers(kind, sig, errors);
    signature::check_generics(sig, errors);
    signature::check_receiver(sig, errors);
    // A signature that is refused as a whole is not taken apart: its types say nothing reliable.
    let (context, input, output) = if errors.count() == before {
        (
            signature::context(kind, sig, errors),
            signature::input(owner, sig, errors),
            signature::output(owner, sig, errors),
        )
    } else {
        (None, Input::Refused, None)
    };
    Handler {
        ident,
        name,
        cfgs: named(attrs, "cfg"),
        docs: named(attrs, "doc"),
        deprecated: named(attrs, "deprecated"),
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
