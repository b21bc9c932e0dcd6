//! Not yet.
use crate::session::Session;
pub(crate) async fn run(_session: &Session) -> anyhow::Result<()> {
    Ok(())
}
