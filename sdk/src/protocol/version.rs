//! Protocol versions and their content types.

use std::fmt;

/// A version of the service protocol, as negotiated by the content type of an invocation request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ProtocolVersion {
    V5,
    V6,
    V7,
    /// No server speaks it yet; an endpoint takes it only when told to.
    V8,
}

impl ProtocolVersion {
    /// The lowest version that this SDK speaks.
    pub(crate) const MIN: Self = Self::V5;
    /// The highest version that servers speak today.
    pub(crate) const MAX: Self = Self::V7;
    /// Every version, lowest first.
    pub(crate) const ALL: [Self; 4] = [Self::V5, Self::V6, Self::V7, Self::V8];

    /// The version that a content type names; the comparison is exact, as the server's is.
    pub(crate) fn from_content_type(content_type: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|version| version.content_type() == content_type)
    }

    /// `application/vnd.restate.invocation.vN`.
    pub(crate) const fn content_type(self) -> &'static str {
        match self {
            Self::V5 => "application/vnd.restate.invocation.v5",
            Self::V6 => "application/vnd.restate.invocation.v6",
            Self::V7 => "application/vnd.restate.invocation.v7",
            Self::V8 => "application/vnd.restate.invocation.v8",
        }
    }

    /// The number as the endpoint manifest writes it.
    pub(crate) const fn number(self) -> u32 {
        match self {
            Self::V5 => 5,
            Self::V6 => 6,
            Self::V7 => 7,
            Self::V8 => 8,
        }
    }

    /// Metadata on failures travels from v6 on.
    pub(crate) fn has_failure_metadata(self) -> bool {
        self >= Self::V6
    }

    /// `Start.random_seed` counts from v6 on; before, a server may fill it but it is not stable.
    pub(crate) fn has_random_seed(self) -> bool {
        self >= Self::V6
    }

    /// v8 brings state reads within runs.
    pub(crate) fn has_v8(self) -> bool {
        self >= Self::V8
    }

    /// v7 brings await trees, `AwaitingOn`, run acks, error behaviour, scopes and limit keys.
    pub(crate) fn has_v7(self) -> bool {
        self >= Self::V7
    }
}

impl fmt::Display for ProtocolVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}", self.number())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_types_are_compared_exactly() {
        for version in ProtocolVersion::ALL {
            assert_eq!(
                ProtocolVersion::from_content_type(version.content_type()),
                Some(version)
            );
        }
        for wrong in [
            "",
            "application/vnd.restate.invocation.v4",
            "application/vnd.restate.invocation.v6; q=1",
        ] {
            assert_eq!(ProtocolVersion::from_content_type(wrong), None);
        }
    }
}
