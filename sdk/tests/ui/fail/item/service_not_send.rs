//! A service is shared between threads. The compiler says so for the service and for its handlers.

use durably::prelude::*;
use std::rc::Rc;

struct Local(Rc<u8>);

#[durably::service]
impl Local {
    #[handler]
    async fn run(&self, _ctx: &Context) -> HandlerResult<()> {
        Ok(())
    }
}

fn main() {}
