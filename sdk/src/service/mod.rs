//! stub
use std::{future::Future, pin::Pin, sync::Arc};
use bytes::Bytes;
use crate::{error::HandlerError, executor::AttemptHandle, payload::Input};
pub type HandlerFuture = Pin<Box<dyn Future<Output = Result<Bytes, HandlerError>> + Send>>;
pub type HandlerFn = Arc<dyn Fn(AttemptHandle, Input) -> HandlerFuture + Send + Sync>;
