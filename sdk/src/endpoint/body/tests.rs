//! The body against a scripted attempt and a scripted request.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Wake, Waker};

use super::*;
use crate::endpoint::drain::Drain;

/// What an attempt was told, and what it shall write.
#[derive(Default)]
struct Script {
    input: Vec<u8>,
    chunks: usize,
    closed: usize,
    drained: usize,
    /// What the next polls write; `None`: nothing. The last one ends the attempt if `ends`.
    polls: VecDeque<Option<&'static [u8]>>,
    ends: bool,
    ends_when_closed: bool,
    dropped: bool,
    panics_when_dropped: bool,
}

struct Scripted {
    script: Arc<Mutex<Script>>,
    output: VecDeque<Bytes>,
    ended: bool,
}

impl Drive for Scripted {
    fn handle_input(&mut self, chunk: Bytes) {
        let mut script = self.script.lock().unwrap();
        assert_eq!(script.closed, 0, "input after the end of the input");
        assert!(!self.ended && !chunk.is_empty());
        script.chunks += 1;
        script.input.extend_from_slice(&chunk);
    }

    fn handle_input_closed(&mut self) {
        self.script.lock().unwrap().closed += 1;
    }

    fn handle_drain(&mut self) {
        self.script.lock().unwrap().drained += 1;
    }

    fn is_ready(&self) -> bool {
        true
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<()> {
        let mut script = self.script.lock().unwrap();
        if let Some(Some(output)) = script.polls.pop_front() {
            self.output.push_back(Bytes::from_static(output));
        }
        let closed = script.ends_when_closed && script.closed > 0;
        if (script.ends && script.polls.is_empty()) || closed {
            self.output.push_back(Bytes::from_static(b"end"));
            self.ended = true;
            return Poll::Ready(());
        }
        Poll::Pending
    }

    fn take_output(&mut self) -> Option<Bytes> {
        self.output.pop_front()
    }

    fn is_ended(&self) -> bool {
        self.ended
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        let mut script = self.script.lock().unwrap();
        script.dropped = true;
        let panics = script.panics_when_dropped;
        drop(script);
        assert!(!panics, "on purpose");
    }
}

/// One poll of the request's body.
enum Step {
    Data(&'static [u8]),
    Wait,
    Fail,
    End,
}

/// A request; after its steps it waits.
#[derive(Default)]
struct Request(Arc<Mutex<VecDeque<Step>>>);

impl Body for Request {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match self.0.lock().unwrap().pop_front() {
            Some(Step::Data(data)) => Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(data))))),
            Some(Step::Fail) => Poll::Ready(Some(Err(io::ErrorKind::ConnectionReset.into()))),
            Some(Step::End) => Poll::Ready(None),
            Some(Step::Wait) | None => Poll::Pending,
        }
    }
}

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// A body under test with handles on both sides of it.
struct Rig {
    body: Pin<Box<AttemptBody<Request, Scripted>>>,
    script: Arc<Mutex<Script>>,
    request: Arc<Mutex<VecDeque<Step>>>,
    wakes: Arc<Wakes>,
    drain: Drain,
}

impl Rig {
    fn new(script: Script, steps: impl IntoIterator<Item = Step>) -> Self {
        let script = Arc::new(Mutex::new(script));
        let request = Arc::new(Mutex::new(steps.into_iter().collect()));
        let drain = Drain::default();
        let attempt = Scripted {
            script: Arc::clone(&script),
            output: VecDeque::new(),
            ended: false,
        };
        let body = AttemptBody::new(attempt, Request(Arc::clone(&request)), Some(drain.watch()));
        Self {
            body: Box::pin(body),
            script,
            request,
            wakes: Arc::default(),
            drain,
        }
    }

    fn poll(&mut self) -> Poll<Option<Bytes>> {
        let waker = Waker::from(Arc::clone(&self.wakes));
        self.body
            .as_mut()
            .poll_output(&mut Context::from_waker(&waker))
    }

    fn push(&self, step: Step) {
        self.request.lock().unwrap().push_back(step);
    }

    fn script(&self) -> std::sync::MutexGuard<'_, Script> {
        self.script.lock().unwrap()
    }
}

fn chunk(text: &'static str) -> Poll<Option<Bytes>> {
    Poll::Ready(Some(Bytes::from_static(text.as_bytes())))
}

#[test]
fn the_end_leaves_at_once_and_the_response_waits_for_the_request() {
    let mut rig = Rig::new(
        Script {
            polls: [Some(&b"out"[..])].into(),
            ends: true,
            ..Script::default()
        },
        [Step::Data(b"in")],
    );
    assert_eq!(rig.poll(), chunk("out"));
    assert_eq!(rig.poll(), chunk("end"));
    assert!(!rig.body.is_finished());
    assert!(
        rig.script().dropped,
        "nothing of the attempt is needed any more"
    );
    assert_eq!(rig.poll(), Poll::Pending);
    rig.push(Step::Data(b"late"));
    assert_eq!(rig.poll(), Poll::Pending);
    rig.push(Step::End);
    assert_eq!(rig.poll(), Poll::Ready(None));
    assert!(rig.body.is_finished());
    assert_eq!(rig.script().input, b"in");
    assert_eq!(rig.script().closed, 0);
}

#[test]
fn after_an_ended_request_the_last_frame_is_known_for_the_last() {
    let mut rig = Rig::new(
        Script {
            polls: [Some(&b"out"[..])].into(),
            ends: true,
            ..Script::default()
        },
        [Step::Data(b"in"), Step::End],
    );
    assert_eq!(rig.poll(), chunk("out"));
    assert!(!rig.body.is_finished());
    assert_eq!(rig.poll(), chunk("end"));
    assert!(rig.body.is_finished());
    assert_eq!(rig.poll(), Poll::Ready(None));
    assert_eq!(rig.script().closed, 1);
}

#[test]
fn a_panicking_destructor_does_not_hold_the_end_back() {
    let script = Script {
        ends: true,
        panics_when_dropped: true,
        ..Script::default()
    };
    let mut rig = Rig::new(script, [Step::End]);
    assert_eq!(rig.poll(), chunk("end"));
    assert!(rig.script().dropped);
    assert_eq!(rig.poll(), Poll::Ready(None));
}

#[test]
fn frames_are_never_empty() {
    let mut rig = Rig::new(
        Script {
            polls: [Some(&b""[..]), Some(b"x")].into(),
            ..Script::default()
        },
        [Step::Data(b""), Step::Wait, Step::Data(b"in")],
    );
    assert_eq!(rig.poll(), Poll::Pending);
    assert_eq!(rig.poll(), chunk("x"));
    assert_eq!(rig.script().chunks, 1);
}

#[test]
fn a_request_that_breaks_off_ends_the_response_quietly() {
    let mut rig = Rig::new(
        Script::default(),
        [Step::Data(b"in"), Step::Wait, Step::Fail],
    );
    assert_eq!(rig.poll(), Poll::Pending);
    assert!(!rig.script().dropped);
    assert_eq!(rig.poll(), Poll::Ready(None));
    assert!(rig.script().dropped);
    assert_eq!(rig.script().closed, 0, "it did not end, it broke");
    assert_eq!(rig.poll(), Poll::Ready(None));
}

#[test]
fn a_turn_reads_a_bounded_part_of_the_request() {
    let count = TURN_CHUNKS * 2 + 1;
    let mut rig = Rig::new(Script::default(), (0..count).map(|_| Step::Data(b"frame")));
    for turn in 1..=2 {
        assert_eq!(rig.poll(), Poll::Pending);
        assert_eq!(rig.script().chunks, TURN_CHUNKS * turn);
        assert_eq!(
            rig.wakes.0.load(Ordering::SeqCst),
            turn,
            "there may be more"
        );
    }
    assert_eq!(rig.poll(), Poll::Pending);
    assert_eq!(rig.script().chunks, count);
    assert_eq!(
        rig.wakes.0.load(Ordering::SeqCst),
        2,
        "now the request wakes"
    );

    static LARGE: [u8; TURN_BYTES / 2] = [7; TURN_BYTES / 2];
    let mut rig = Rig::new(Script::default(), (0..3).map(|_| Step::Data(&LARGE)));
    assert_eq!(rig.poll(), Poll::Pending);
    assert_eq!(rig.script().chunks, 2);
}

#[test]
fn draining_closes_the_input_once_and_the_attempt_suspends() {
    let mut rig = Rig::new(
        Script {
            ends_when_closed: true,
            ..Script::default()
        },
        [Step::Data(b"in"), Step::Wait, Step::Data(b"more")],
    );
    assert_eq!(rig.poll(), Poll::Pending);
    rig.drain.start();
    assert_eq!(rig.wakes.0.load(Ordering::SeqCst), 1);
    // What is already here is taken first.
    assert_eq!(rig.poll(), chunk("end"));
    assert_eq!(rig.script().input, b"inmore");
    assert_eq!(rig.script().closed, 1);
    rig.push(Step::Data(b"late"));
    assert_eq!(rig.poll(), Poll::Pending);
    rig.push(Step::End);
    assert_eq!(rig.poll(), Poll::Ready(None));
    assert_eq!(rig.script().closed, 1);
}

#[test]
fn a_run_that_executes_goes_on_while_the_server_drains() {
    let mut rig = Rig::new(
        Script {
            polls: [None, None, Some(&b"proposal"[..])].into(),
            ..Script::default()
        },
        [],
    );
    rig.drain.start();
    assert_eq!(rig.poll(), Poll::Pending);
    assert_eq!(rig.script().closed, 1);
    rig.push(Step::Data(b"late"));
    assert_eq!(rig.poll(), chunk("proposal"));
    assert_eq!(rig.script().input, b"", "the input stays closed");
    rig.push(Step::End);
    assert_eq!(rig.poll(), Poll::Pending);
    assert_eq!(rig.script().closed, 1);
}

#[test]
fn draining_is_told_once_also_after_the_request_has_ended() {
    let mut rig = Rig::new(Script::default(), [Step::Data(b"in"), Step::End]);
    assert_eq!(rig.poll(), Poll::Pending);
    rig.drain.start();
    assert_eq!(rig.wakes.0.load(Ordering::SeqCst), 1, "it is woken");
    for _ in 0..2 {
        assert_eq!(rig.poll(), Poll::Pending);
        assert_eq!(rig.script().drained, 1);
        assert_eq!(rig.script().closed, 1);
    }
}

#[test]
fn an_answer_drains_what_has_come_and_waits_for_nothing() {
    let steps = Arc::new(Mutex::new(VecDeque::from([
        Step::Data(b"a"),
        Step::Data(b"b"),
    ])));
    let mut body = EndpointBody::answer(Bytes::from_static(b"no"), Request(Arc::clone(&steps)));
    assert_eq!(body.size_hint().exact(), Some(2));
    assert!(!body.is_end_stream());
    let mut cx = Context::from_waker(Waker::noop());
    let Poll::Ready(Some(Ok(frame))) = Pin::new(&mut body).poll_frame(&mut cx) else {
        panic!()
    };
    assert_eq!(frame.into_data().unwrap(), "no");
    assert!(body.is_end_stream());
    assert!(steps.lock().unwrap().is_empty());
}
