//! A workflow: one workflow handler, shared handlers beside it.

use durably::prelude::*;

mod signup {
    use super::*;

    pub struct Signup;

    #[durably::workflow]
    impl Signup {
        #[handler]
        async fn run(&self, ctx: &WorkflowContext, email: String) -> HandlerResult<bool> {
            ctx.workflow_client::<SignupClient>(email)
                .confirm(String::from("secret"))
                .send();
            Ok(true)
        }

        #[handler]
        async fn confirm(&self, _: &SharedWorkflowContext, secret: String) -> HandlerResult<()> {
            drop(secret);
            Ok(())
        }
    }
}

struct Caller;

#[durably::service]
impl Caller {
    #[handler]
    async fn call(&self, ctx: &Context) -> HandlerResult<bool> {
        let signup = ctx.workflow_client::<signup::SignupClient>("a@example.com");
        Ok(signup.run("a@example.com".to_owned()).await?)
    }
}

fn main() {}
