//! An invocation may move between threads while it waits.

use durably::prelude::*;
use std::rc::Rc;

struct Sleepy;

#[durably::service]
impl Sleepy {
    #[handler]
    async fn run(&self, _ctx: &Context) -> HandlerResult<()> {
        let local = Rc::new(1);
        std::future::ready(()).await;
        drop(local);
        Ok(())
    }
}

fn main() {}
