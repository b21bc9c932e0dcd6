//! Everything a handler may return: aliases, `anyhow`, `thiserror`, a boxed error.

use durably::prelude::*;

type Reply = Result<String, TerminalError>;
type Fallible<T, E = OrderError> = Result<T, E>;

#[derive(Debug, thiserror::Error)]
enum OrderError {
    #[error("sold out")]
    SoldOut,
    #[error(transparent)]
    Terminal(#[from] TerminalError),
}

struct Orders;

#[durably::object]
impl Orders {
    #[handler]
    async fn alias(&self, _: &ObjectContext) -> Reply {
        Ok("ok".to_owned())
    }

    #[handler]
    async fn defaulted(&self, ctx: &ObjectContext) -> Fallible<String> {
        let text = ctx.object_client::<OrdersClient>("k").alias().await?;
        Err(if text.is_empty() {
            OrderError::SoldOut
        } else {
            TerminalError::new(text).into()
        })
    }

    #[handler]
    async fn anyhow(&self, ctx: &ObjectContext) -> anyhow::Result<u8> {
        ctx.object_client::<OrdersClient>("k").defaulted().await?;
        anyhow::bail!("no")
    }

    #[handler]
    async fn boxed(&self, ctx: &ObjectContext) -> Result<u8, durably::BoxError> {
        let number: u8 = ctx.object_client::<OrdersClient>("k").anyhow().await?;
        Ok(number + "1".parse::<u8>()?)
    }

    #[handler]
    async fn infallible(&self, _: &ObjectContext) -> Result<(), std::convert::Infallible> {
        Ok(())
    }
}

fn main() {}
