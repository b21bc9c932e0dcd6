//! `kafka(…)`: what becomes of a record that a handler cannot take.
//!
//! In go the tokens between the parentheses, out comes [`Kafka`]. What does not fit together, such as
//! a failure that goes to dead letters when nobody receives those, is reported here too.

use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::LitStr;
use syn::ext::IdentExt as _;

use crate::ast::{DeadLetters, Kafka, RecordFailure, Spanned};
use crate::errors::Errors;
use crate::names;
use crate::values::{Argument, Seen, Value, arguments, text};

/// Reads the option.
pub(crate) fn kafka(argument: &Argument, errors: &mut Errors) -> Option<Kafka> {
    let tokens = match &argument.value {
        Value::List(tokens) if !tokens.is_empty() => tokens.clone(),
        _ => {
            let message = "expected a list; write `kafka(dead_letter = \"Service/handler\")`";
            errors.on(&argument.name, message);
            return None;
        }
    };
    let mut kafka = Kafka::default();
    let mut named = false;
    let mut seen = Seen::new();
    for argument in arguments(tokens, errors) {
        let name = argument.name.unraw().to_string();
        if !seen.is_first(name.clone(), &argument, errors) {
            continue;
        }
        match name.as_str() {
            "dead_letter" => {
                named = true;
                kafka.dead_letter = dead_letter(&argument, errors);
            }
            "on_decode_failure" => kafka.on_decode_failure = failure(&argument, errors),
            "on_terminal_failure" => kafka.on_terminal_failure = failure(&argument, errors),
            _ => errors.on(
                &argument.name,
                format!(
                    "unknown option `{name}`; `kafka` accepts `dead_letter`, `on_decode_failure` and \
                     `on_terminal_failure`"
                ),
            ),
        }
    }
    check_dead_letters(&kafka, named, argument.name.span(), errors);
    Some(kafka)
}

fn check_dead_letters(kafka: &Kafka, named: bool, span: Span, errors: &mut Errors) {
    let failures = [&kafka.on_decode_failure, &kafka.on_terminal_failure];
    if !named {
        for failure in failures.into_iter().flatten() {
            if failure.value == RecordFailure::DeadLetter {
                errors.at(
                    failure.span,
                    "nobody receives the dead letters; add `dead_letter = \"Service/handler\"`",
                );
            }
        }
    } else if failures.into_iter().all(|failure| {
        let other = |failure: &Spanned<_>| failure.value != RecordFailure::DeadLetter;
        failure.as_ref().is_some_and(other)
    }) {
        errors.at(
            kafka.dead_letter.as_ref().map_or(span, |target| target.span),
            "no record becomes a dead letter, as both failures lead elsewhere; remove `dead_letter` or \
             one of those",
        );
    }
}

/// `dead_letter = "Service/handler"` or `"Object/key/handler"`.
fn dead_letter(argument: &Argument, errors: &mut Errors) -> Option<Spanned<DeadLetters>> {
    let expected = "\"Service/handler\", or \"Object/key/handler\" for a virtual object";
    let literal = text(argument, expected, errors)?;
    match target(&literal.value(), expected) {
        Ok(value) => Some(Spanned {
            value,
            span: literal.span(),
        }),
        Err(problem) => {
            errors.on(&literal, problem);
            None
        }
    }
}

fn target(text: &str, expected: &str) -> Result<DeadLetters, String> {
    let split = || {
        let (service, rest) = text.split_once('/')?;
        Some(match rest.rsplit_once('/') {
            Some((key, handler)) => (service, Some(key), handler),
            None => (service, None, rest),
        })
    };
    let Some((service, key, handler)) = split() else {
        return Err(format!("expected {expected}"));
    };
    let problem = names::service_problem(service).or_else(|| names::handler_problem(handler));
    match problem {
        Some(problem) => Err(format!("{problem}; expected {expected}")),
        None => Ok(DeadLetters {
            service: service.to_owned(),
            key: key.map(str::to_owned),
            handler: handler.to_owned(),
        }),
    }
}

/// `on_…_failure = "fail"`, `"pause"` or `"dead_letter"`.
fn failure(argument: &Argument, errors: &mut Errors) -> Option<Spanned<RecordFailure>> {
    let expected = "\"fail\", \"pause\" or \"dead_letter\"";
    let literal: LitStr = text(argument, expected, errors)?;
    let value = match literal.value().as_str() {
        "fail" => RecordFailure::Fail,
        "pause" => RecordFailure::Pause,
        "dead_letter" => RecordFailure::DeadLetter,
        _ => {
            errors.on(&literal, format!("expected {expected}"));
            return None;
        }
    };
    Some(Spanned {
        value,
        span: literal.span(),
    })
}

/// The policy as an expression.
pub(crate) fn policy(private: &TokenStream, kafka: &Kafka) -> TokenStream {
    let variant = |failure: &Option<Spanned<RecordFailure>>| {
        let target = kafka.dead_letter.as_ref();
        match (failure.as_ref().map(|failure| failure.value), target) {
            (Some(RecordFailure::Pause), _) => quote! { Pause },
            (None | Some(RecordFailure::DeadLetter), Some(target)) => {
                let DeadLetters {
                    service,
                    key,
                    handler,
                } = &target.value;
                let target = match key {
                    Some(key) => quote! { object(#service, #key, #handler) },
                    None => quote! { service(#service, #handler) },
                };
                quote! { DeadLetter(#private::Target::#target) }
            }
            (None | Some(RecordFailure::DeadLetter), None) | (Some(RecordFailure::Fail), _) => {
                quote! { Fail }
            }
        }
    };
    let decode = variant(&kafka.on_decode_failure);
    let terminal = variant(&kafka.on_terminal_failure);
    quote! {
        #private::KafkaPolicy::new()
            .on_decode_failure(#private::RecordFailure::#decode)
            .on_terminal_failure(#private::RecordFailure::#terminal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets() {
        let of = |text| {
            let DeadLetters {
                service,
                key,
                handler,
            } = target(text, "a target")?;
            Ok::<_, String>((service, key, handler))
        };
        let plain = ("com.x.Dead-2".to_owned(), None, "record".to_owned());
        assert_eq!(of("com.x.Dead-2/record"), Ok(plain));
        for (text, key) in [("D/orders/r", "orders"), ("D/a/b/r", "a/b"), ("D//r", "")] {
            let keyed = ("D".to_owned(), Some(key.to_owned()), "r".to_owned());
            assert_eq!(of(text), Ok(keyed));
        }
        for wrong in [
            "",
            "Dead",
            "/record",
            "Dead/",
            "Dead/re cord",
            "restate/x",
            "/",
        ] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }
}
