//! A service inside `macro_rules!`: types and literals arrive in invisible groups.

use durably::prelude::*;

macro_rules! counter {
    ($ident:ident, $name:literal, $ty:ty, $ctx:ty) => {
        struct $ident;

        #[durably::object(name = $name, inactivity_timeout = "1s")]
        impl $ident {
            #[handler]
            async fn add(&self, ctx: $ctx, by: $ty) -> HandlerResult<$ty> {
                let _ = ctx;
                Ok(by)
            }
        }
    };
}

counter!(Small, "counter.Small", u8, &ObjectContext);
counter!(Large, "counter.Large", Option<u64>, &SharedObjectContext);

fn main() {}
