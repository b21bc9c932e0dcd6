//! `durably` under another name.

extern crate durably as library;

mod facade {
    pub use ::durably as sdk;
}

struct Orders;

#[library::service(crate = "crate::facade::sdk")]
impl Orders {
    #[library::handler]
    async fn run(&self, _: &library::Context) -> library::HandlerResult<()> {
        Ok(())
    }
}

fn main() {}
