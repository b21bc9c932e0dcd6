//! What an attempt says, decoded.

use bytes::Bytes;
use prost::Message as _;

use super::messages::{
    Attach, AwaitingOn, Call, CompleteAwakeable, CompletePromise, EagerState, EagerStateKeys,
    EphemeralRead, Error, Ids, KeyedRead, OneWayCall, Output, Proposal, SendSignal, Sleep,
    StateWrite, Suspension, Tree,
};
use crate::protocol::{
    MessageType,
    frame::{Frame, FrameDecoder, FrameError, Limits},
    message::NotificationResult,
};

/// A message of an attempt.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Outgoing {
    /// A command, and the bytes in which the journal keeps it.
    Command(MessageType, Bytes, CommandMessage),
    /// The result of a run's closure.
    Proposal(u32, NotificationResult),
    AwaitingOn(Awaited),
    /// A state read within a run (v8): answered, not stored.
    EphemeralRead(EphemeralRead),
    Suspension(Awaited),
    Error(Error),
    End,
}

/// A command by its fields. GetPromise, PeekPromise and GetLazyState are keyed reads.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum CommandMessage {
    Output(Output),
    GetLazyState(KeyedRead),
    GetLazyStateKeys(Ids),
    GetEagerState(EagerState),
    GetEagerStateKeys(EagerStateKeys),
    SetState(StateWrite),
    ClearState(StateWrite),
    ClearAllState(StateWrite),
    GetPromise(KeyedRead),
    PeekPromise(KeyedRead),
    CompletePromise(CompletePromise),
    Sleep(Sleep),
    Call(Call),
    OneWayCall(OneWayCall),
    SendSignal(SendSignal),
    Run(Ids),
    Attach(Attach),
    GetOutput(Attach),
    CompleteAwakeable(CompleteAwakeable),
}

impl CommandMessage {
    /// The handler's own name for it; empty if it has none.
    #[cfg_attr(not(feature = "local"), allow(dead_code, reason = "for looking at it"))]
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Output(command) => &command.name,
            Self::GetLazyState(command) => &command.name,
            Self::GetLazyStateKeys(command) | Self::Run(command) => &command.name,
            Self::GetEagerState(command) => &command.name,
            Self::GetEagerStateKeys(command) => &command.name,
            Self::SetState(command) | Self::ClearState(command) | Self::ClearAllState(command) => {
                &command.name
            }
            Self::GetPromise(command) | Self::PeekPromise(command) => &command.name,
            Self::CompletePromise(command) => &command.name,
            Self::Sleep(command) => &command.name,
            Self::Call(command) => &command.name,
            Self::OneWayCall(command) => &command.name,
            Self::SendSignal(command) => &command.name,
            Self::Attach(command) | Self::GetOutput(command) => &command.name,
            Self::CompleteAwakeable(command) => &command.name,
        }
    }

    /// The command in a journal entry of this type.
    pub(crate) fn decode(ty: MessageType, payload: &Bytes) -> Result<Self, OutgoingError> {
        let undecodable = |source| OutgoingError::Undecodable { ty, source };
        macro_rules! decode {
            ($($constant:ident => $variant:ident,)*) => {
                match ty {
                    $(MessageType::$constant => {
                        Self::$variant(prost::Message::decode(payload.clone()).map_err(undecodable)?)
                    })*
                    _ => return Err(OutgoingError::Unexpected(ty)),
                }
            };
        }
        Ok(decode! {
            OUTPUT => Output,
            GET_LAZY_STATE => GetLazyState,
            GET_LAZY_STATE_KEYS => GetLazyStateKeys,
            GET_EAGER_STATE => GetEagerState,
            GET_EAGER_STATE_KEYS => GetEagerStateKeys,
            SET_STATE => SetState,
            CLEAR_STATE => ClearState,
            CLEAR_ALL_STATE => ClearAllState,
            GET_PROMISE => GetPromise,
            PEEK_PROMISE => PeekPromise,
            COMPLETE_PROMISE => CompletePromise,
            SLEEP => Sleep,
            CALL => Call,
            ONE_WAY_CALL => OneWayCall,
            SEND_SIGNAL => SendSignal,
            RUN => Run,
            ATTACH_INVOCATION => Attach,
            GET_INVOCATION_OUTPUT => GetOutput,
            COMPLETE_AWAKEABLE => CompleteAwakeable,
        })
    }
}

/// What a handler waits for: any of these lets it go on. Trees of v7 are flattened, which says the
/// same as long as every node is "first completed", as this SDK writes them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Awaited {
    pub(crate) completions: Vec<u32>,
    pub(crate) signals: Vec<u32>,
    pub(crate) named: Vec<String>,
}

impl Awaited {
    fn add(&mut self, tree: Tree) {
        self.completions.extend(tree.completions);
        self.signals.extend(tree.signals);
        self.named.extend(tree.named);
        tree.nested.into_iter().for_each(|nested| self.add(nested));
    }

    fn of_tree(tree: Option<Tree>) -> Self {
        let mut awaited = Self::default();
        if let Some(tree) = tree {
            awaited.add(tree);
        }
        awaited
    }

    pub(crate) fn of(suspension: Suspension) -> Self {
        let mut awaited = Self::of_tree(suspension.tree);
        awaited.completions.extend(suspension.completions);
        awaited.signals.extend(suspension.signals);
        awaited.named.extend(suspension.named);
        awaited
    }
}

/// Why bytes are not what an attempt may say.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OutgoingError {
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("a {ty} message cannot be decoded: {source}")]
    Undecodable {
        ty: MessageType,
        source: prost::DecodeError,
    },
    #[error("a {0} message has no business on the way to a runtime")]
    Unexpected(MessageType),
    #[error("the proposal for completion {0} has neither a value nor a failure, or both")]
    BadProposal(u32),
}

impl Outgoing {
    fn decode(frame: Frame) -> Result<Self, OutgoingError> {
        let Frame { ty, payload } = frame;
        let undecodable = |source| OutgoingError::Undecodable { ty, source };
        Ok(match ty {
            MessageType::END => Self::End,
            MessageType::ERROR => Self::Error(Error::decode(payload).map_err(undecodable)?),
            MessageType::SUSPENSION => Self::Suspension(Awaited::of(
                Suspension::decode(payload).map_err(undecodable)?,
            )),
            MessageType::AWAITING_ON => {
                let message = AwaitingOn::decode(payload).map_err(undecodable)?;
                Self::AwaitingOn(Awaited::of_tree(message.tree))
            }
            MessageType::GET_STATE_EPHEMERAL => {
                Self::EphemeralRead(EphemeralRead::decode(payload).map_err(undecodable)?)
            }
            MessageType::PROPOSE_RUN_COMPLETION => {
                let proposal = Proposal::decode(payload).map_err(undecodable)?;
                let result = match (proposal.value, proposal.failure) {
                    (Some(content), None) => {
                        NotificationResult::Value(crate::protocol::message::Value { content })
                    }
                    (None, Some(failure)) => NotificationResult::Failure(failure.into()),
                    _ => return Err(OutgoingError::BadProposal(proposal.id)),
                };
                Self::Proposal(proposal.id, result)
            }
            _ => {
                let command = CommandMessage::decode(ty, &payload)?;
                Self::Command(ty, payload, command)
            }
        })
    }
}

/// Cuts the bytes of a response into messages.
#[derive(Debug)]
pub(crate) struct OutgoingDecoder(FrameDecoder);

impl Default for OutgoingDecoder {
    fn default() -> Self {
        Self(FrameDecoder::new(Limits::default()))
    }
}

impl OutgoingDecoder {
    /// Takes bytes, cut anywhere.
    pub(crate) fn push(&mut self, chunk: Bytes) {
        self.0.push(chunk);
    }

    /// The next message, if all of it is there.
    pub(crate) fn next(&mut self) -> Result<Option<Outgoing>, OutgoingError> {
        self.0.next_frame()?.map(Outgoing::decode).transpose()
    }
}
