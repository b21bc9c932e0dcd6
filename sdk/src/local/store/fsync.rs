//! When a commit is on disk.

use std::time::Duration;

/// When the embedded runtime asks the disk to keep what it has written.
///
/// Whatever is chosen, nothing that was acknowledged is lost when the *process* ends, however it ends: it was
/// handed to the operating system before. The choice is about what a *power cut*, or a crash of the operating
/// system, may take: always the last commits and never a part of one; what remains is whole.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// use durably::local::Fsync;
///
/// assert_eq!(Fsync::default(), Fsync::Always);
/// let cheaper = Fsync::Every(Duration::from_millis(100));
/// # assert_ne!(cheaper, Fsync::Never);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fsync {
    /// Before anything is acknowledged. A power cut takes nothing that was.
    #[default]
    Always,
    /// At the latest this long after it was acknowledged. A power cut may take what was acknowledged within
    /// that time.
    Every(Duration),
    /// When the operating system sees fit, which usually is within half a minute.
    Never,
}

impl Fsync {
    /// Whether a commit waits for the disk.
    pub(super) fn each_commit(self) -> bool {
        matches!(self, Self::Always | Self::Every(Duration::ZERO))
    }

    /// How long after a commit the disk is asked, if not within it.
    pub(super) fn delay(self) -> Option<Duration> {
        match self {
            Self::Every(delay) if !delay.is_zero() => Some(delay),
            _ => None,
        }
    }
}
