//! Questions about types the user wrote: what they borrow, which parameters they mention.
//!
//! The answers are about syntax: an alias hides what it stands for, and then the compiler speaks.

use proc_macro2::TokenStream;
use quote::ToTokens as _;
use syn::visit_mut::{self, VisitMut};
use syn::{
    ExprPath, GenericArgument, GenericParam, Generics, Ident, Lifetime, Path, PathArguments, QSelf,
    Type, TypeBareFn, TypeImplTrait, TypeReference,
};

/// The first reference or lifetime in `ty` that is not `'static`.
pub(crate) fn first_borrow(ty: &Type) -> Option<TokenStream> {
    struct Find(Option<TokenStream>);

    impl VisitMut for Find {
        fn visit_lifetime_mut(&mut self, lifetime: &mut Lifetime) {
            if lifetime.ident != "static" {
                self.0.get_or_insert_with(|| lifetime.to_token_stream());
            }
        }

        fn visit_type_reference_mut(&mut self, reference: &mut TypeReference) {
            if reference.lifetime.is_none() {
                self.0.get_or_insert_with(|| reference.to_token_stream());
            }
            visit_mut::visit_type_reference_mut(self, reference);
        }

        // `fn(&str)` and `dyn Fn(&str)` borrow nothing: their lifetimes are the callee's.
        fn visit_type_bare_fn_mut(&mut self, _: &mut TypeBareFn) {}

        fn visit_parenthesized_generic_arguments_mut(
            &mut self,
            _: &mut syn::ParenthesizedGenericArguments,
        ) {
        }
    }

    let mut find = Find(None);
    find.visit_type_mut(&mut ty.clone());
    find.0
}

/// The first `impl Trait` in `ty`.
pub(crate) fn first_impl_trait(ty: &Type) -> Option<TokenStream> {
    struct Find(Option<TokenStream>);

    impl VisitMut for Find {
        fn visit_type_impl_trait_mut(&mut self, ty: &mut TypeImplTrait) {
            self.0.get_or_insert_with(|| ty.to_token_stream());
        }
    }

    let mut find = Find(None);
    find.visit_type_mut(&mut ty.clone());
    find.0
}

/// The first type or const parameter of `generics` that `ty` mentions.
pub(crate) fn first_parameter(ty: &Type, generics: &Generics) -> Option<Ident> {
    struct Find<'a> {
        generics: &'a Generics,
        found: Option<Ident>,
    }

    impl VisitMut for Find<'_> {
        fn visit_path_mut(&mut self, path: &mut Path) {
            // A parameter can only be the first segment: `T`, `T::Item`.
            if path.leading_colon.is_none()
                && let Some(first) = path.segments.first()
                && self.generics.params.iter().any(|param| match param {
                    GenericParam::Type(param) => param.ident == first.ident,
                    GenericParam::Const(param) => param.ident == first.ident,
                    GenericParam::Lifetime(_) => false,
                })
            {
                self.found.get_or_insert_with(|| first.ident.clone());
            }
            visit_mut::visit_path_mut(self, path);
        }
    }

    let mut find = Find {
        generics,
        found: None,
    };
    find.visit_type_mut(&mut ty.clone());
    find.found
}

/// The first `Self` in `ty`, alone or before an associated type.
pub(crate) fn first_self(ty: &Type) -> Option<Ident> {
    struct Find(Option<Ident>);

    impl VisitMut for Find {
        fn visit_path_mut(&mut self, path: &mut Path) {
            if path.leading_colon.is_none()
                && let Some(first) = path.segments.first()
                && first.ident == "Self"
            {
                self.0.get_or_insert_with(|| first.ident.clone());
            }
            visit_mut::visit_path_mut(self, path);
        }
    }

    let mut find = Find(None);
    find.visit_type_mut(&mut ty.clone());
    find.0
}

/// `ty` with `Self` replaced by what it stands for, if anything, for use outside of the item.
pub(crate) fn without_self(ty: &Type, self_ty: Option<&Type>) -> Type {
    struct Replace<'a>(&'a Type);

    impl VisitMut for Replace<'_> {
        fn visit_type_mut(&mut self, ty: &mut Type) {
            if is_self(ty) {
                *ty = self.0.clone();
            } else {
                visit_mut::visit_type_mut(self, ty);
            }
        }

        // `Self::LENGTH`, as in `[u8; Self::LENGTH]`, becomes `<Orders>::LENGTH`.
        fn visit_expr_path_mut(&mut self, expr: &mut ExprPath) {
            visit_mut::visit_expr_path_mut(self, expr);
            let path = &expr.path;
            let of_self = expr.qself.is_none()
                && path.leading_colon.is_none()
                && path.segments.len() > 1
                && path
                    .segments
                    .first()
                    .is_some_and(|first| first.ident == "Self");
            if of_self {
                expr.qself = Some(QSelf {
                    lt_token: Default::default(),
                    ty: Box::new(self.0.clone()),
                    position: 0,
                    as_token: None,
                    gt_token: Default::default(),
                });
                expr.path = Path {
                    leading_colon: Some(Default::default()),
                    segments: expr.path.segments.iter().skip(1).cloned().collect(),
                };
            }
        }
    }

    let mut ty = ty.clone();
    if let Some(self_ty) = self_ty {
        Replace(self_ty).visit_type_mut(&mut ty);
    }
    ty
}

/// Whether `ty` is the plain type `Self`.
pub(crate) fn is_self(ty: &Type) -> bool {
    matches!(ty, Type::Path(path) if path.qself.is_none() && path.path.is_ident("Self"))
}

/// `T` of a type that is written `Result<T, E>`.
pub(crate) fn result_value(ty: &Type) -> Option<&Type> {
    let Type::Path(path) = ungroup(ty) else {
        return None;
    };
    let last = path.path.segments.last()?;
    match &last.arguments {
        PathArguments::AngleBracketed(arguments) if last.ident == "Result" => {
            match arguments.args.first() {
                Some(GenericArgument::Type(value)) => Some(value),
                _ => None,
            }
        }
        _ => None,
    }
}

/// `ty` without the invisible groups that `macro_rules!` puts around types, and parentheses.
pub(crate) fn ungroup(ty: &Type) -> &Type {
    match ty {
        Type::Group(group) => ungroup(&group.elem),
        Type::Paren(paren) => ungroup(&paren.elem),
        _ => ty,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ty(text: &str) -> Type {
        syn::parse_str(text).expect("a type")
    }

    #[test]
    fn borrows_are_found() {
        for text in [
            "&str",
            "Vec<&str>",
            "Cow<'_, str>",
            "(u8, &'a [u8])",
            "&'static &str",
        ] {
            assert!(first_borrow(&ty(text)).is_some(), "{text}");
        }
        for text in [
            "String",
            "Cow<'static, str>",
            "fn(&str) -> &str",
            "Box<dyn Fn(&str)>",
        ] {
            assert!(first_borrow(&ty(text)).is_none(), "{text}");
        }
    }

    #[test]
    fn parameters_are_found() {
        let item: syn::ItemImpl =
            syn::parse_str("impl<'a, S: Store, const N: usize> Orders<'a, S, N> {}").expect("impl");
        for text in ["S", "S::Item", "Vec<S>", "[u8; N]", "<S as Store>::Item"] {
            assert!(
                first_parameter(&ty(text), &item.generics).is_some(),
                "{text}"
            );
        }
        for text in ["String", "::S", "store::S", "Item<M>"] {
            assert!(
                first_parameter(&ty(text), &item.generics).is_none(),
                "{text}"
            );
        }
    }

    #[test]
    fn self_is_found() {
        for text in ["Self", "Vec<Self>", "Self::Item", "<Self as Store>::Item"] {
            assert!(first_self(&ty(text)).is_some(), "{text}");
        }
        for text in ["String", "my::Self_", "Result<Selfish, E>"] {
            assert!(first_self(&ty(text)).is_none(), "{text}");
        }
    }

    #[test]
    fn self_is_replaced() {
        let replaced = without_self(&ty("Result<Vec<Self>, Error>"), Some(&ty("Orders")));
        assert_eq!(replaced, ty("Result<Vec<Orders>, Error>"));
        let orders = ty("Orders");
        for (text, expected) in [
            ("[u8; Self::LENGTH]", "[u8; <Orders>::LENGTH]"),
            (
                "Buffer<{ Self::LENGTH + 1 }>",
                "Buffer<{ <Orders>::LENGTH + 1 }>",
            ),
            (
                "[Self; <Self as Sized>::N]",
                "[Orders; <Orders as Sized>::N]",
            ),
            ("[u8; Selfish::LENGTH]", "[u8; Selfish::LENGTH]"),
        ] {
            assert_eq!(
                without_self(&ty(text), Some(&orders)),
                ty(expected),
                "{text}"
            );
        }
    }
}
