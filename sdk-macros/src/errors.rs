//! The error collector: every mistake of one impl block, reported in one go.
//!
//! Parsing and checking push into it and go on; expansion turns it into `compile_error!`s. A message
//! says what is wrong, what is accepted and, where it is known, what to write instead.

use proc_macro2::{Span, TokenStream};
use quote::ToTokens;

/// The mistakes found so far, in source order of the checks.
#[derive(Default)]
#[must_use = "errors that nobody reports let a wrong service compile"]
pub(crate) struct Errors(Vec<syn::Error>);

impl Errors {
    /// Reports `message` at one token.
    pub(crate) fn at(&mut self, span: Span, message: impl std::fmt::Display) {
        self.0.push(syn::Error::new(span, message));
    }

    /// Reports `message` at everything that `tokens` spans.
    pub(crate) fn on(&mut self, tokens: impl ToTokens, message: impl std::fmt::Display) {
        self.0.push(syn::Error::new_spanned(tokens, message));
    }

    /// Takes over an error of the parser.
    pub(crate) fn push(&mut self, error: syn::Error) {
        self.0.push(error);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many mistakes were found; two readings tell whether a step found one.
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// One `compile_error!` a mistake.
    pub(crate) fn into_tokens(self) -> TokenStream {
        self.0.iter().map(syn::Error::to_compile_error).collect()
    }

    #[cfg(test)]
    pub(crate) fn messages(&self) -> Vec<String> {
        self.0.iter().map(ToString::to_string).collect()
    }
}
