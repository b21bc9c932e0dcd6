//! Proves that the verdict survives whatever people wrap errors in.

use std::io;
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use proptest::prelude::*;

use super::*;

fn declined() -> TerminalError {
    TerminalError::new("declined")
        .with_code(402)
        .with_metadata("provider", "acme")
}

fn retryable(error: impl Into<HandlerError>) -> Retryable {
    match error.into().into_failure() {
        Failure::Retryable(retryable) => retryable,
        Failure::Terminal(error) => panic!("terminal: {error:?}"),
    }
}

#[track_caller]
fn assert_declined(error: impl Into<HandlerError>) {
    let error = error.into();
    assert!(error.is_terminal());
    assert_eq!(error.as_terminal(), Some(&declined()));
    match error.into_failure() {
        Failure::Terminal(error) => assert_eq!(error, declined()),
        Failure::Retryable(error) => panic!("retryable: {error:?}"),
    }
}

#[derive(Debug, thiserror::Error)]
enum Wrapped {
    #[error("from: {0}")]
    From(#[from] TerminalError),
    #[error("source")]
    Source {
        #[source]
        cause: TerminalError,
    },
    #[error("a box")]
    Boxed(#[source] BoxError),
    #[error(transparent)]
    Any(#[from] anyhow::Error),
    #[error("io")]
    Io(#[from] io::Error),
    #[error("not a source: {0}")]
    Hidden(TerminalError),
}

#[derive(Debug, thiserror::Error)]
#[error(transparent)]
struct Transparent<E: Error + 'static>(#[from] E);

#[derive(Debug, thiserror::Error)]
#[error(transparent)]
struct TransparentBox(BoxError);

#[test]
fn std_errors_are_retryable() {
    fn handler() -> HandlerResult<u32> {
        Ok("x".parse::<u32>()?)
    }
    let error = handler().unwrap_err();
    assert!(!error.is_terminal());
    assert!(error.as_error().is::<std::num::ParseIntError>());
    let retryable = retryable(error);
    assert_eq!(retryable.message, "invalid digit found in string");
    assert_eq!(retryable.details, "");
    assert_eq!(retryable.delay, None);
    assert_eq!(retryable.behavior, Behavior::Retry);
}

#[test]
fn text_is_a_retryable_error() {
    assert_eq!(retryable("borrowed").message, "borrowed");
    assert_eq!(retryable("owned".to_owned()).message, "owned");
}

#[test]
fn question_mark_takes_every_kind_of_error() {
    fn terminal() -> HandlerResult<()> {
        Err(declined())?
    }
    fn enumeration() -> HandlerResult<()> {
        Err(Wrapped::From(declined()))?
    }
    fn any() -> HandlerResult<()> {
        Err(anyhow!(declined()))?
    }
    fn bail() -> HandlerResult<()> {
        Ok((|| anyhow::bail!(declined()))()?)
    }
    fn context() -> HandlerResult<()> {
        Err::<(), _>(declined()).context("charging")?;
        Ok(())
    }
    fn boxed() -> HandlerResult<()> {
        let error: BoxError = declined().into();
        Err(error)?
    }
    fn nested() -> HandlerResult<()> {
        boxed()?;
        Ok(())
    }
    for handler in [terminal, enumeration, any, bail, context, boxed, nested] {
        assert_declined(handler().unwrap_err());
    }
}

/// In a test that calls a handler.
#[test]
fn question_mark_takes_a_handlers_error_where_any_is_taken() {
    fn test() -> Result<(), Box<dyn Error>> {
        Ok(Err::<(), _>(HandlerError::from(declined()))?)
    }
    let error = test().unwrap_err();
    assert!(error.is::<TerminalError>());
}

#[test]
fn terminal_in_thiserror_enums() {
    assert_declined(Wrapped::from(declined()));
    assert_declined(Wrapped::Source { cause: declined() });
    assert_declined(Wrapped::Boxed(declined().into()));
    assert_declined(Wrapped::Boxed(Wrapped::from(declined()).into()));
    assert_declined(Wrapped::Any(anyhow!(declined()).context("outer")));
    assert_declined(Wrapped::Io(io::Error::other(declined())));
    assert_declined(Transparent(declined()));
    assert_declined(Transparent(Transparent(declined())));
    assert_declined(Transparent(Wrapped::from(declined())));
    // what an error type keeps out of its chain cannot be found
    assert!(!HandlerError::from(Wrapped::Hidden(declined())).is_terminal());
}

#[test]
fn terminal_in_anyhow() {
    assert_declined(anyhow::Error::new(declined()));
    assert_declined(anyhow!(declined()));
    assert_declined(anyhow!(declined()).context("a").context("b"));
    assert_declined(anyhow!(Wrapped::from(declined())).context("a"));
    let nested = Err::<(), _>(declined())
        .context("a")
        .context("b")
        .unwrap_err();
    assert_declined(anyhow!(Wrapped::Any(nested)).context("c"));
    // text made from an error is text
    assert!(!HandlerError::from(anyhow!("{}", declined())).is_terminal());
}

#[test]
fn retryable_opts_out() {
    for inner in [
        BoxError::from(declined()),
        anyhow!(declined()).context("x").into(),
        Wrapped::from(declined()).into(),
        HandlerError::from(declined()).into_error(),
    ] {
        let text = inner.to_string();
        let failure = retryable(anyhow!(RetryableError::new(inner)).context("outer"));
        assert_eq!(failure.message, "outer");
        assert_eq!(failure.details.lines().next(), Some(&*text));
    }
    assert!(!HandlerError::from(Transparent(RetryableError::new(declined()))).is_terminal());
}

#[test]
fn retryable_settings_are_found_in_chains() {
    let second = Duration::from_secs(1);
    let failure = retryable(RetryableError::new("busy").after(second));
    assert_eq!(
        (failure.delay, failure.behavior),
        (Some(second), Behavior::Retry)
    );
    assert_eq!((&*failure.message, &*failure.details), ("busy", ""));

    let failure = retryable(anyhow!(RetryableError::new("busy").pause()).context("charging"));
    assert_eq!((failure.delay, failure.behavior), (None, Behavior::Pause));
    assert_eq!((&*failure.message, &*failure.details), ("charging", "busy"));

    let failure = retryable(Transparent(RetryableError::new("busy").pause().fail()));
    assert_eq!(failure.behavior, Behavior::Fail);
    assert_eq!((&*failure.message, &*failure.details), ("busy", ""));

    // the outer one decides
    let inner = RetryableError::new("busy").pause();
    let failure = retryable(RetryableError::new(anyhow!(inner).context("x")).after(second));
    assert_eq!(
        (failure.delay, failure.behavior),
        (Some(second), Behavior::Retry)
    );
}

#[test]
fn details_are_the_causes_without_markers() {
    let error = anyhow!(RetryableError::new(
        anyhow!(io::Error::other("reset")).context("read the reply"),
    ))
    .context("charge the card")
    .context("checkout");
    let failure = retryable(error);
    assert_eq!(failure.message, "checkout");
    assert_eq!(failure.details, "charge the card\nread the reply\nreset");
}

#[test]
fn text_forms() {
    let error = HandlerError::from(anyhow!(declined()).context("charging"));
    assert_eq!(error.to_string(), "charging");
    assert_eq!(format!("{error:#}"), "charging: declined");
    assert_eq!(
        format!("{error:?}"),
        "charging (terminal, code 402)\n\nCaused by:\n    declined",
    );
    assert_eq!(format!("{:?}", HandlerError::from("plain")), "plain");
    // in other people's reports the marker is readable
    let report = anyhow!(declined()).context("charging");
    assert_eq!(
        format!("{report:#}"),
        "charging: declined: terminal error, code 402"
    );
    let report = anyhow!(RetryableError::new("busy").after(Duration::from_secs(5)));
    assert_eq!(
        format!("{report:#}"),
        "busy: retryable error, again after 5s"
    );
}

#[test]
fn terminal_error_values() {
    let error = TerminalError::new("x");
    assert_eq!(
        (error.code(), error.message(), error.metadata()),
        (500, "x", &[][..])
    );
    let copy = error.clone().with_code(409).with_metadata("a", "1");
    assert_eq!(error.code(), 500, "a copy is independent");
    assert!(copy.is_cancelled());
    assert_eq!(copy.metadata().len(), 1);
    assert_ne!(error, copy);
    assert_eq!(
        format!("{error:?}"),
        "TerminalError { code: 500, message: \"x\", metadata: [] }"
    );
}

#[test]
fn metadata_is_a_map() {
    let entries = [("z", "1"), ("a\0", "2"), ("m", "3"), ("z", "4")];
    let error = entries
        .into_iter()
        .fold(TerminalError::new("x"), |error, (key, value)| {
            error.with_metadata(key, value)
        });
    let expected = [("a\u{FFFD}", "2"), ("m", "3"), ("z", "4")].map(|(k, v)| (k.into(), v.into()));
    assert_eq!(error.metadata(), expected);
}

#[test]
fn an_error_that_is_its_own_source_ends() {
    #[derive(Debug)]
    struct Ouroboros;
    impl fmt::Display for Ouroboros {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("tail")
        }
    }
    impl Error for Ouroboros {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(self)
        }
    }
    assert_eq!(retryable(Ouroboros).message, "tail");
}

#[test]
fn errors_are_send_sync_and_small() {
    fn check<T: Send + Sync + 'static>() {}
    check::<TerminalError>();
    check::<RetryableError>();
    check::<HandlerError>();
    assert_eq!(size_of::<Result<u64, TerminalError>>(), 16);
}

/// One layer around an error.
#[derive(Clone, Copy, Debug)]
enum Layer {
    Context,
    AnyhowNew,
    Boxed,
    Transparent,
    Io,
    Arc,
    Retryable,
    Fail,
}

fn wrap(error: BoxError, layer: Layer) -> BoxError {
    match layer {
        Layer::Context => anyhow::Error::from_boxed(error).context("context").into(),
        Layer::AnyhowNew => anyhow::Error::new(TransparentBox(error)).into(),
        Layer::Boxed => Wrapped::Boxed(error).into(),
        Layer::Transparent => TransparentBox(error).into(),
        Layer::Io => io::Error::other(error).into(),
        Layer::Arc => Arc::new(TransparentBox(error)).into(),
        Layer::Retryable => RetryableError::new(error).into(),
        Layer::Fail => RetryableError::new(error).fail().into(),
    }
}

fn layers() -> impl Strategy<Value = Vec<Layer>> {
    let layer = prop_oneof![
        4 => Just(Layer::Context),
        4 => Just(Layer::AnyhowNew),
        4 => Just(Layer::Boxed),
        4 => Just(Layer::Transparent),
        4 => Just(Layer::Io),
        4 => Just(Layer::Arc),
        1 => Just(Layer::Retryable),
        1 => Just(Layer::Fail),
    ];
    proptest::collection::vec(layer, 0..12)
}

proptest! {
    /// Any tower of wrappers: the outermost retryable layer decides, else the core does.
    #[test]
    fn the_outermost_marker_decides(terminal: bool, layers in layers()) {
        let core: BoxError = if terminal { declined().into() } else { "plain".into() };
        let error = layers.iter().fold(core, |error, layer| wrap(error, *layer));
        let top = error.to_string();
        let outermost = layers.iter().rev().find_map(|layer| match layer {
            Layer::Retryable => Some(Behavior::Retry),
            Layer::Fail => Some(Behavior::Fail),
            _ => None,
        });
        match (HandlerError::from(error).into_failure(), outermost) {
            (Failure::Terminal(error), None) if terminal => prop_assert_eq!(error, declined()),
            (Failure::Retryable(failure), Some(behavior)) => {
                prop_assert_eq!(failure.behavior, behavior);
                prop_assert_eq!(failure.message, top);
                prop_assert!(!failure.details.contains("terminal error, code"));
                prop_assert!(!failure.details.contains("retryable error"));
            }
            (Failure::Retryable(failure), None) if !terminal => {
                prop_assert_eq!(failure.behavior, Behavior::Retry);
            }
            (failure, _) => prop_assert!(false, "unexpected: {:?}", failure),
        }
    }
}
