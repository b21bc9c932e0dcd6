//! The client has no parameters, so payloads cannot depend on those of the struct.

use durably::prelude::*;

struct Store<T>(T);

#[durably::service]
impl<T: serde::Serialize + serde::de::DeserializeOwned + Send + Sync + 'static> Store<T> {
    #[handler]
    async fn put(&self, _ctx: &Context, _value: Vec<T>) -> HandlerResult<()> {
        Ok(())
    }

    #[handler]
    async fn swap(&self, _ctx: &Context, _other: Self) -> HandlerResult<()> {
        Ok(())
    }

    #[handler]
    async fn get(&self, _ctx: &Context) -> HandlerResult<T> {
        Err(TerminalError::new("none").into())
    }

    #[handler]
    async fn list(&self, _ctx: &Context) -> Result<Vec<T>, TerminalError> {
        Ok(Vec::new())
    }
}

fn main() {}
