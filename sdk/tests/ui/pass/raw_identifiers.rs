//! Keywords as names: the server sees them without `r#`.

use durably::prelude::*;

#[allow(non_camel_case_types, reason = "the point of the test")]
struct r#struct;

#[durably::service]
impl r#struct {
    #[handler]
    async fn r#type(&self, ctx: &Context, r#in: String) -> HandlerResult<String> {
        ctx.service_client::<structClient>()
            .r#type(r#in.clone())
            .await?;
        Ok(r#in)
    }
}

fn main() {}
