//! Generic structs: parameters and `Self` where the client can do without them.

use durably::prelude::*;
use serde::{Deserialize, Serialize};

trait Store: Send + Sync + 'static {
    type Error: std::error::Error + Send + Sync;

    fn load(&self) -> impl Future<Output = Result<u64, Self::Error>> + Send;
}

struct Inventory<S, const LIMIT: u64> {
    store: S,
}

#[durably::object]
impl<S, const LIMIT: u64> Inventory<S, LIMIT>
where
    S: Store,
    S::Error: 'static,
{
    /// The error mentions the parameter, the value does not.
    #[handler]
    async fn stock(&self, _ctx: &SharedObjectContext) -> Result<u64, S::Error> {
        Ok(self.store.load().await?.min(LIMIT))
    }

    #[handler]
    async fn reserve(&self, _ctx: &ObjectContext, quantity: u64) -> HandlerResult<u64> {
        Ok(self.store.load().await? + quantity)
    }
}

/// `Self` of a struct without parameters is known to the client.
#[derive(Serialize, Deserialize)]
struct Point {
    x: u64,
}

#[durably::service]
impl Point {
    #[handler]
    async fn add(&self, _ctx: &Context, other: Self) -> Result<Self, TerminalError> {
        Ok(Self {
            x: self.x + other.x,
        })
    }

    #[handler]
    async fn all(&self, _ctx: &Context, others: Vec<Self>) -> HandlerResult<Option<Self>> {
        Ok(others.into_iter().next())
    }
}

/// So are its constants.
struct Digest;

#[durably::service]
impl Digest {
    const LENGTH: usize = 4;

    #[handler]
    async fn reversed(
        &self,
        ctx: &Context,
        mut digest: [u8; Self::LENGTH],
    ) -> HandlerResult<[u8; Self::LENGTH]> {
        drop(ctx.service_client::<DigestClient>().reversed([0; 4]));
        digest.reverse();
        Ok(digest)
    }
}

/// A parameter that is fixed by the impl block.
struct Sized<T>(T);

#[durably::service(name = "SizedText")]
impl Sized<String> {
    #[handler]
    async fn text(&self, ctx: &Context, other: Self) -> HandlerResult<String> {
        drop(ctx.service_client::<PointClient>().add(Point { x: 1 }));
        let _ = ctx
            .service_client::<SizedClient>()
            .text(Self(String::new()));
        Ok(other.0)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Sized<T> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(deserializer).map(Self)
    }
}

struct Memory;

impl Store for Memory {
    type Error = std::io::Error;

    async fn load(&self) -> Result<u64, Self::Error> {
        Ok(3)
    }
}

fn main() {
    fn assert_service(_: impl durably::Service) {}
    fn stock(ctx: &durably::Context) -> durably::Request<'_, (), u64> {
        ctx.object_client::<InventoryClient>("sku").stock()
    }
    let _ = stock;
    assert_service(Inventory::<_, 5> { store: Memory });
}
