//! The 16 bit type codes of messages and their ranges.

use std::fmt;

/// The type code in a frame's header.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct MessageType(pub(crate) u16);

macro_rules! message_types {
    ($($constant:ident = $code:literal $name:literal,)*) => {
        #[allow(dead_code, reason = "the table is complete, whether or not a code is named elsewhere")]
        impl MessageType {
            $(pub(crate) const $constant: Self = Self($code);)*

            /// The name of the message in the protocol, if the code is a known one.
            pub(crate) fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($code => Some($name),)*
                    _ => None,
                }
            }
        }
    };
}

message_types! {
    START = 0x0000 "Start",
    SUSPENSION = 0x0001 "Suspension",
    ERROR = 0x0002 "Error",
    END = 0x0003 "End",
    COMMAND_ACK = 0x0004 "CommandAck",
    PROPOSE_RUN_COMPLETION = 0x0005 "ProposeRunCompletion",
    AWAITING_ON = 0x0006 "AwaitingOn",
    RUN_ACK = 0x0007 "ProposeRunCompletionAck",
    GET_STATE_EPHEMERAL = 0x0200 "GetStateEphemeralCommand",
    STATE_EPHEMERAL = 0x0300 "GetStateEphemeralNotification",
    INPUT = 0x0400 "Input",
    OUTPUT = 0x0401 "Output",
    GET_LAZY_STATE = 0x0402 "GetLazyState",
    SET_STATE = 0x0403 "SetState",
    CLEAR_STATE = 0x0404 "ClearState",
    CLEAR_ALL_STATE = 0x0405 "ClearAllState",
    GET_LAZY_STATE_KEYS = 0x0406 "GetLazyStateKeys",
    GET_EAGER_STATE = 0x0407 "GetEagerState",
    GET_EAGER_STATE_KEYS = 0x0408 "GetEagerStateKeys",
    GET_PROMISE = 0x0409 "GetPromise",
    PEEK_PROMISE = 0x040A "PeekPromise",
    COMPLETE_PROMISE = 0x040B "CompletePromise",
    SLEEP = 0x040C "Sleep",
    CALL = 0x040D "Call",
    ONE_WAY_CALL = 0x040E "OneWayCall",
    SEND_SIGNAL = 0x0410 "SendSignal",
    RUN = 0x0411 "Run",
    ATTACH_INVOCATION = 0x0412 "AttachInvocation",
    GET_INVOCATION_OUTPUT = 0x0413 "GetInvocationOutput",
    COMPLETE_AWAKEABLE = 0x0414 "CompleteAwakeable",
    LAZY_STATE_COMPLETION = 0x8002 "GetLazyStateCompletion",
    LAZY_STATE_KEYS_COMPLETION = 0x8006 "GetLazyStateKeysCompletion",
    GET_PROMISE_COMPLETION = 0x8009 "GetPromiseCompletion",
    PEEK_PROMISE_COMPLETION = 0x800A "PeekPromiseCompletion",
    COMPLETE_PROMISE_COMPLETION = 0x800B "CompletePromiseCompletion",
    SLEEP_COMPLETION = 0x800C "SleepCompletion",
    CALL_COMPLETION = 0x800D "CallCompletion",
    CALL_INVOCATION_ID = 0x800E "CallInvocationIdCompletion",
    RUN_COMPLETION = 0x8011 "RunCompletion",
    ATTACH_COMPLETION = 0x8012 "AttachInvocationCompletion",
    OUTPUT_COMPLETION = 0x8013 "GetInvocationOutputCompletion",
    SIGNAL = 0xFBFF "SignalNotification",
}

impl MessageType {
    /// `0x0400–0x7FFF`: a journal command.
    pub(crate) fn is_command(self) -> bool {
        (0x0400..=0x7FFF).contains(&self.0)
    }

    /// `0x8000–0xFBFF`: a notification.
    pub(crate) fn is_notification(self) -> bool {
        (0x8000..=0xFBFF).contains(&self.0)
    }

    /// Whether an attempt may have to keep what a message of this type holds until it ends. Acks and
    /// the answers of ephemeral reads are done with when they have come.
    pub(crate) fn is_kept(self) -> bool {
        self == Self::START || self.is_command() || self.is_notification()
    }

    /// How many completion ids a recorded command of this type has taken: a call two (invocation
    /// id, then result), every other completable command one.
    pub(crate) fn completion_ids(self) -> u32 {
        match self {
            Self::CALL => 2,
            Self::GET_LAZY_STATE
            | Self::GET_LAZY_STATE_KEYS
            | Self::GET_EAGER_STATE
            | Self::GET_EAGER_STATE_KEYS
            | Self::GET_PROMISE
            | Self::PEEK_PROMISE
            | Self::COMPLETE_PROMISE
            | Self::SLEEP
            | Self::ONE_WAY_CALL
            | Self::RUN
            | Self::ATTACH_INVOCATION
            | Self::GET_INVOCATION_OUTPUT => 1,
            _ => 0,
        }
    }
}

impl fmt::Display for MessageType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "{:#06x}", self.0),
        }
    }
}

impl fmt::Debug for MessageType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
