//! Arguments and their values: `name`, `name = value`, `name(…)`.
//!
//! Splits lists of arguments and reads the values that options take: flags, durations, strings,
//! numbers. A value of the wrong form is reported with the form to write. Which options exist is
//! known in `attr`.

use proc_macro2::TokenStream;
use quote::ToTokens as _;
use syn::ext::IdentExt as _;
use syn::parse::{Parse, ParseStream, Parser as _};
use syn::punctuated::Punctuated;
use syn::{Expr, ExprLit, Ident, Lit, LitStr, Token, token};

use crate::ast::{OnMaxAttempts, Spanned};
use crate::duration;
use crate::errors::Errors;

/// One argument: `name`, `name = value` or `name(…)`.
pub(crate) struct Argument {
    pub(crate) name: Ident,
    pub(crate) value: Value,
}

/// What follows the name.
pub(crate) enum Value {
    Absent,
    Assigned(Expr),
    List(TokenStream),
}

impl Parse for Argument {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        if !input.peek(Ident::peek_any) {
            return Err(input.error("expected an option, such as `name = \"…\"`"));
        }
        let name = input.call(Ident::parse_any)?;
        let value = if input.peek(Token![=]) {
            let equals = input.parse::<Token![=]>()?;
            // At the end of the list the parser would point at the whole attribute.
            if input.is_empty() || input.peek(Token![,]) {
                let message = format!("expected a value; write `{name} = …`");
                return Err(syn::Error::new_spanned(equals, message));
            }
            Value::Assigned(input.parse()?)
        } else if input.peek(token::Paren) {
            let content;
            syn::parenthesized!(content in input);
            Value::List(content.parse()?)
        } else {
            Value::Absent
        };
        Ok(Self { name, value })
    }
}

/// Splits a list of arguments. A syntax error ends the list: what follows cannot be told apart.
pub(crate) fn arguments(tokens: TokenStream, errors: &mut Errors) -> Vec<Argument> {
    match Punctuated::<Argument, Token![,]>::parse_terminated.parse2(tokens) {
        Ok(arguments) => arguments.into_iter().collect(),
        Err(error) => {
            errors.push(error);
            Vec::new()
        }
    }
}

/// The options of a list that were given so far.
pub(crate) struct Seen<K>(Vec<K>);

impl<K: PartialEq> Seen<K> {
    pub(crate) fn new() -> Self {
        Self(Vec::new())
    }

    /// Whether this option is given for the first time. If not, that is reported.
    pub(crate) fn is_first(&mut self, key: K, argument: &Argument, errors: &mut Errors) -> bool {
        if self.0.contains(&key) {
            let name = argument.name.unraw();
            errors.on(
                &argument.name,
                format!("the option `{name}` is given twice; remove one"),
            );
            return false;
        }
        self.0.push(key);
        true
    }
}

/// `metadata("key" = "value", …)`.
pub(crate) fn metadata(argument: &Argument, errors: &mut Errors) -> Vec<(String, String)> {
    struct Pair {
        key: LitStr,
        value: LitStr,
    }

    impl Parse for Pair {
        fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
            let literal = |input: ParseStream<'_>| {
                input.parse::<LitStr>().map_err(|error| {
                    syn::Error::new(
                        error.span(),
                        "expected a string literal; write `metadata(\"key\" = \"value\", …)`",
                    )
                })
            };
            let key = literal(input)?;
            let incomplete = || {
                let message = "expected a value; write `metadata(\"key\" = \"value\", …)`";
                syn::Error::new_spanned(&key, message)
            };
            input.parse::<Token![=]>().map_err(|_| incomplete())?;
            if input.is_empty() {
                return Err(incomplete());
            }
            let value = literal(input)?;
            Ok(Self { key, value })
        }
    }

    let Value::List(tokens) = &argument.value else {
        errors.on(
            &argument.name,
            "expected a list; write `metadata(\"key\" = \"value\", …)`",
        );
        return Vec::new();
    };
    let pairs = match Punctuated::<Pair, Token![,]>::parse_terminated.parse2(tokens.clone()) {
        Ok(pairs) => pairs,
        Err(error) => {
            errors.push(error);
            return Vec::new();
        }
    };
    let mut metadata: Vec<(String, String)> = Vec::new();
    for Pair { key, value } in pairs {
        let name = key.value();
        if metadata.iter().any(|(known, _)| *known == name) {
            errors.on(
                &key,
                format!("the metadata key \"{name}\" is given twice; remove one"),
            );
        } else {
            metadata.push((name, value.value()));
        }
    }
    metadata
}

/// `option`, `option = true` or `option = false`.
pub(crate) fn flag(argument: &Argument, errors: &mut Errors) -> Option<Spanned<bool>> {
    let name = &argument.name;
    match &argument.value {
        Value::Absent => Some(Spanned {
            value: true,
            span: name.span(),
        }),
        Value::Assigned(value) => match literal(value) {
            Some(Lit::Bool(literal)) => Some(Spanned {
                value: literal.value,
                span: name.span(),
            }),
            _ => {
                let message =
                    format!("expected `true` or `false`; write `{name}` or `{name} = false`");
                errors.on(value, message);
                None
            }
        },
        Value::List(_) => {
            let message = format!("expected `true` or `false`; write `{name}` or `{name} = false`");
            errors.on(name, message);
            None
        }
    }
}

/// `option = "30s"`, in milliseconds.
pub(crate) fn duration(argument: &Argument, errors: &mut Errors) -> Option<Spanned<u64>> {
    let literal = text(argument, "a duration, such as \"30s\"", errors)?;
    match duration::parse(&literal.value()) {
        Ok(value) => Some(Spanned {
            value,
            span: argument.name.span(),
        }),
        Err(problem) => {
            let accepted = duration::ACCEPTED;
            errors.on(
                &literal,
                format!(
                    "{} is not a duration: {problem}; expected {accepted}",
                    literal.token()
                ),
            );
            None
        }
    }
}

/// `crate = "path::to::durably"`.
pub(crate) fn path(argument: &Argument, errors: &mut Errors) -> Option<syn::Path> {
    let expected = "a path as a string literal, such as \"::my_crate::durably\"";
    let literal = text(argument, expected, errors)?;
    let path = literal.parse_with(syn::Path::parse_mod_style);
    if path.is_err() {
        errors.on(&literal, format!("expected {expected}"));
    }
    path.ok()
}

/// `factor = 2.0`.
pub(crate) fn factor(argument: &Argument, errors: &mut Errors) -> Option<f64> {
    let parsed = match assigned(argument) {
        Some(Lit::Float(literal)) => literal.base10_parse::<f64>().ok(),
        Some(Lit::Int(literal)) => literal.base10_parse::<f64>().ok(),
        _ => None,
    };
    let factor = parsed.filter(|factor| factor.is_finite() && *factor > 0.0);
    if factor.is_none() {
        let message = "expected a number above zero; write `factor = 2.0`";
        errors.on(blamed(argument), message);
    }
    factor
}

/// `max_attempts = 5`.
pub(crate) fn attempts(argument: &Argument, errors: &mut Errors) -> Option<u32> {
    let mut message = "expected a whole number of attempts, the first one included, so at least 1; \
                       write `max_attempts = 5`";
    let parsed = match assigned(argument) {
        Some(Lit::Int(literal)) => {
            let parsed = literal.base10_parse::<u32>().ok();
            // Written out, it would wrap: the compiler does not judge literals of a macro.
            if parsed.is_none() {
                message = "at most 4294967295 attempts can be counted; write a smaller number";
            }
            parsed
        }
        _ => None,
    };
    let attempts = parsed.filter(|attempts| *attempts > 0);
    if attempts.is_none() {
        errors.on(blamed(argument), message);
    }
    attempts
}

/// `on_max_attempts = "pause"` or `"kill"`.
pub(crate) fn on_max_attempts(argument: &Argument, errors: &mut Errors) -> Option<OnMaxAttempts> {
    let expected = "\"pause\" or \"kill\"";
    let literal = text(argument, expected, errors)?;
    match literal.value().as_str() {
        "pause" => Some(OnMaxAttempts::Pause),
        "kill" => Some(OnMaxAttempts::Kill),
        _ => {
            errors.on(&literal, format!("expected {expected}"));
            None
        }
    }
}

/// The string literal assigned to an option, or an error that says what was expected.
pub(crate) fn text(argument: &Argument, expected: &str, errors: &mut Errors) -> Option<LitStr> {
    if let Some(Lit::Str(literal)) = assigned(argument) {
        return Some(literal.clone());
    }
    let name = &argument.name;
    errors.on(
        blamed(argument),
        format!("expected {expected}; write `{name} = \"…\"`"),
    );
    None
}

fn assigned(argument: &Argument) -> Option<&Lit> {
    match &argument.value {
        Value::Assigned(value) => literal(value),
        Value::Absent | Value::List(_) => None,
    }
}

/// The literal that an expression is. Groups without delimiters come from `macro_rules!`.
fn literal(expr: &Expr) -> Option<&Lit> {
    match expr {
        Expr::Lit(ExprLit { lit, .. }) => Some(lit),
        Expr::Group(group) => literal(&group.expr),
        _ => None,
    }
}

/// What to blame for a wrong value: the value, or the name where there is none.
fn blamed(argument: &Argument) -> TokenStream {
    match &argument.value {
        Value::Absent | Value::List(_) => argument.name.to_token_stream(),
        Value::Assigned(value) => value.to_token_stream(),
    }
}
