//! A public service: everything the macro makes public is documented.

#![deny(warnings, missing_docs, unreachable_pub)]

use durably::prelude::*;

/// Keeps stock.
#[derive(Debug)]
pub struct Inventory;

#[durably::object]
impl Inventory {
    #[handler]
    async fn reserve(&self, _ctx: &ObjectContext, quantity: u64) -> HandlerResult<u64> {
        Ok(quantity)
    }
}

/// Keeps the public module's service.
pub mod nested {
    use durably::prelude::*;

    /// Answers.
    #[derive(Debug)]
    pub struct Echo;

    #[durably::service]
    impl Echo {
        /// Answers with the question.
        ///
        /// # Errors
        ///
        /// Never.
        #[handler]
        pub async fn echo(&self, _ctx: &Context, text: String) -> HandlerResult<String> {
            Ok(text)
        }
    }
}

fn main() {}
