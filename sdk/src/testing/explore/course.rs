//! The course of one run: what was decided, where it could have been cut, and in which order the
//! engine got to know what.
//!
//! A handler is a function of the notifications that come to it, and what comes is a function of the order in
//! which the engine hears of things. So a run that is cut goes on as the uncut one did by hearing of the
//! same things in the same order: what an attempt says too early is held back until it is its turn,
//! as if it travelled slowly. Otherwise two results that race would look like a fault.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
};

use super::plan::{Cut, CutKind, Order};
use crate::{
    engine::{
        Engine, Fnv, Timer,
        invocation::{AttemptId, Index, What},
    },
    random::Rng,
    wire::{CommandMessage, Outgoing},
};

/// How many awaits of closures in a row, with nothing stored in between, are points of their own.
const AWAITS: u8 = 32;

/// Something that an attempt said.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "the small one is rare")]
pub(crate) enum Said {
    Message(Outgoing),
    /// The response broke off, or cannot be read.
    Broken(String),
}

/// Something that the engine got to know, by what it is, not by what it says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Event {
    /// The nth command of an invocation.
    Command(Index, u32),
    Proposal(Index, u32),
    Ended(Index),
    Failed(Index),
    Timer(Timer),
}

/// A place at which the run can be cut.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Point {
    pub(crate) kind: CutKind,
    /// Points with the same key are alike: of the same invocation, with the same journal, as much is lost, and
    /// its closures have come as far.
    pub(crate) key: u64,
}

/// A decision: of how many, and what was taken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Decision {
    pub(crate) of: usize,
    pub(crate) taken: usize,
    /// Whether it is about who is next, not about how much is told at once.
    pub(crate) is_order: bool,
}

/// What the engine hears of next.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "the small one is rare")]
pub(crate) enum Next {
    Said(AttemptId, Said),
    Timer(Timer),
}

/// Why a run was stopped.
#[derive(Clone, Debug)]
pub(crate) struct Stopped {
    pub(crate) index: Index,
    pub(crate) text: String,
    /// The attempt broke the protocol, or its journal; else it waits for something that cannot come.
    pub(crate) is_protocol: bool,
}

impl Stopped {
    /// The reason without the causes that a mismatch lists: a report lists its own.
    pub(crate) fn without_causes(&self) -> &str {
        let text = self.text.split_once("\nLikely causes");
        text.map_or(&self.text, |(text, _)| text)
    }
}

/// The order of the uncut run, to be kept after the cut.
#[derive(Debug)]
struct Gate {
    log: Arc<Vec<Event>>,
    places: HashMap<Event, VecDeque<usize>>,
    at: usize,
}

impl Gate {
    fn new(log: Arc<Vec<Event>>, at: usize) -> Self {
        let mut places: HashMap<Event, VecDeque<usize>> = HashMap::new();
        for (place, event) in log.iter().enumerate().skip(at) {
            places.entry(event.clone()).or_default().push_back(place);
        }
        Self { log, places, at }
    }

    fn next(&self) -> Option<&Event> {
        self.log.get(self.at)
    }

    /// How much would come before; 0 if it is the turn of this.
    fn distance(&self, event: &Event) -> usize {
        let place = self.places.get(event).and_then(VecDeque::front);
        place.map_or(usize::MAX, |place| place.saturating_sub(self.at))
    }

    /// This has come. What stands before it does not come any more, as the result of a run that nobody
    /// waits for, or comes later, when it is nobody's turn.
    fn pass(&mut self, event: &Event) {
        let place = self.places.get_mut(event).and_then(VecDeque::pop_front);
        let Some(place) = place.filter(|place| *place >= self.at) else {
            return;
        };
        for skipped in &self.log[self.at..place] {
            if let Some(places) = self.places.get_mut(skipped) {
                places.pop_front();
            }
        }
        self.at = place + 1;
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Course {
    order: Order,
    /// Decides what the order does not say.
    random: Option<Rng>,
    cut: Option<Cut>,
    reference: Option<Arc<Vec<Event>>>,
    gate: Option<Gate>,
    pub(crate) decisions: Vec<Decision>,
    pub(crate) points: Vec<Point>,
    pub(crate) log: Vec<Event>,
    held: BTreeMap<AttemptId, VecDeque<Said>>,
    /// How many attempts may be crashed to keep the order.
    crashes_left: usize,
    /// Of each invocation: its commands so far, the records that are in the hash, the hash.
    known: Vec<(u32, usize, Fnv)>,
    /// Of each invocation: its records when an attempt was polled last, and how often one was since.
    polls: Vec<(usize, u8)>,
    /// After the cut it could not keep the order of the uncut run.
    pub(crate) strayed: bool,
    /// Where it was cut: in which invocation, and in words.
    pub(crate) was_cut: Option<(Index, String)>,
    pub(crate) stopped: Option<Stopped>,
}

impl Course {
    pub(crate) fn new(
        order: Order,
        random: Option<Rng>,
        cut: Option<Cut>,
        reference: Option<Arc<Vec<Event>>>,
    ) -> Self {
        Self {
            order,
            random,
            cut,
            reference,
            gate: None,
            decisions: Vec::new(),
            points: Vec::new(),
            log: Vec::new(),
            held: BTreeMap::new(),
            crashes_left: 20,
            strayed: false,
            known: Vec::new(),
            polls: Vec::new(),
            was_cut: None,
            stopped: None,
        }
    }

    /// Whether the order of the uncut run is kept by holding things back.
    pub(crate) fn is_gated(&self) -> bool {
        self.gate.is_some()
    }

    pub(crate) fn choose(&mut self, of: usize, is_order: bool) -> usize {
        if of < 2 || self.gate.is_some() {
            return 0;
        }
        let at = self.decisions.len();
        let taken = match (self.order.get(&at), &mut self.random) {
            (Some(choice), _) => (*choice).min(of - 1),
            (None, Some(random)) => random.below(of as u64) as usize,
            (None, None) => 0,
        };
        self.decisions.push(Decision {
            of,
            taken,
            is_order,
        });
        taken
    }

    /// The decisions that differ from the plain order.
    pub(crate) fn order(&self) -> Order {
        let decisions = self.decisions.iter().enumerate();
        let other = decisions.filter(|(_, decision)| decision.taken > 0);
        other.map(|(at, decision)| (at, decision.taken)).collect()
    }

    /// Whether one of the next points is where it is cut.
    pub(crate) fn is_near(&self) -> bool {
        let near = |cut: Cut| cut.at.saturating_sub(self.points.len()) < 2;
        self.was_cut.is_none() && self.cut.is_some_and(near)
    }

    /// Here the run can be cut; whether it is.
    pub(crate) fn point(
        &mut self,
        kind: CutKind,
        engine: &Engine,
        index: Index,
        lost: usize,
        executes: bool,
    ) -> bool {
        if self.was_cut.is_some() {
            return false;
        }
        let at = self.points.len();
        // A closure that waits is somewhere else at each of its awaits, though the journal is the same.
        let awaits = match kind {
            CutKind::Crash if executes && lost == 0 => self.polls.get(index).map_or(0, |it| it.1),
            _ => 0,
        };
        let key = match self.cut {
            Some(_) => 0,
            None => self.key(
                engine,
                index,
                &[lost.min(255) as u8, u8::from(executes), awaits],
            ),
        };
        self.points.push(Point { kind, key });
        self.cut == Some(Cut { at, kind })
    }

    /// It is cut here.
    pub(crate) fn begin_gate(&mut self, index: Index, words: String) {
        self.was_cut = Some((index, words));
        if let Some(log) = &self.reference {
            self.gate = Some(Gate::new(Arc::clone(log), self.log.len()));
        }
    }

    fn known(&mut self, index: Index) -> &mut (u32, usize, Fnv) {
        if self.known.len() <= index {
            self.known.resize(index + 1, (0, 0, Fnv::new(0)));
        }
        &mut self.known[index]
    }

    fn key(&mut self, engine: &Engine, index: Index, place: &[u8]) -> u64 {
        let mut key = self.journal_hash(engine, index);
        key.add(place);
        key.get()
    }

    /// An attempt was polled, and what it said is stored.
    pub(crate) fn polled(&mut self, engine: &Engine, index: Index) {
        let records = engine.invocations[index].records.len();
        if self.polls.len() <= index {
            self.polls.resize(index + 1, (0, 0));
        }
        let (known, polls) = &mut self.polls[index];
        *polls = if *known == records {
            polls.saturating_add(1).min(AWAITS - 1)
        } else {
            0
        };
        *known = records;
    }

    fn journal_hash(&mut self, engine: &Engine, index: Index) -> Fnv {
        let invocation = &engine.invocations[index];
        let (_, seen, hash) = self.known(index);
        if *seen == 0 {
            hash.add(&invocation.raw);
            *seen = 1;
        }
        for record in invocation.records.get(*seen - 1..).unwrap_or_default() {
            if let What::Command(msg, _) | What::Notification(msg, _) = &record.what {
                hash.add(&msg.ty.0.to_be_bytes());
                hash.add(&msg.payload);
            }
        }
        *seen = (invocation.records.len() + 1).max(*seen);
        *hash
    }

    /// Two runs with the same hash have written the same journals.
    pub(crate) fn journals_hash(&mut self, engine: &Engine) -> u64 {
        let hashes = (0..engine.invocations.len()).map(|index| {
            let hash = self.journal_hash(engine, index).get();
            (engine.invocations[index].raw, hash)
        });
        let mut hashes: Vec<_> = hashes.collect();
        hashes.sort_unstable();
        let mut all = Fnv::new(0);
        for (raw, hash) in hashes {
            all.add(&raw);
            all.add(&hash.to_be_bytes());
        }
        all.get()
    }

    // ---- the order of what the engine hears --------------------------------------------------

    /// What this is in the log. A command is the next one of its invocation.
    fn event(&self, index: Index, said: &Said) -> Option<Event> {
        Some(match said {
            Said::Message(Outgoing::Command(..)) => {
                let commands = self.known.get(index).map_or(0, |known| known.0);
                Event::Command(index, commands)
            }
            Said::Message(Outgoing::Proposal(id, _)) => Event::Proposal(index, *id),
            Said::Message(Outgoing::End) => Event::Ended(index),
            Said::Message(Outgoing::Error(_)) | Said::Broken(_) => Event::Failed(index),
            Said::Message(
                Outgoing::AwaitingOn(_) | Outgoing::EphemeralRead(_) | Outgoing::Suspension(_),
            ) => return None,
        })
    }

    /// The engine hears of this now.
    pub(crate) fn hears(&mut self, index: Index, said: &Said) {
        if let Some(event) = self.event(index, said) {
            if let Event::Command(..) = event {
                self.known(index).0 += 1;
            }
            self.heard(event);
        }
    }

    pub(crate) fn heard(&mut self, event: Event) {
        match &mut self.gate {
            Some(gate) => gate.pass(&event),
            None => self.log.push(event),
        }
    }

    /// Holds back what an attempt says.
    pub(crate) fn hold(&mut self, attempt: AttemptId, said: impl IntoIterator<Item = Said>) {
        self.held.entry(attempt).or_default().extend(said);
    }

    /// Takes what it is the turn of: something that is held, or a timer that is due. If nothing is and `any`,
    /// it is what comes first of what there is.
    pub(crate) fn take_next(&mut self, engine: &Engine, due: &[Timer], any: bool) -> Option<Next> {
        // Nobody listens to an attempt that is over.
        self.held
            .retain(|attempt, queue| !queue.is_empty() && engine.running(*attempt).is_some());
        let gate = self.gate.as_ref()?;
        let timers = due.iter().map(|timer| {
            let place = gate.distance(&Event::Timer(timer.clone()));
            (place, timer)
        });
        let first_timer = timers.min_by_key(|(place, _)| *place);
        let said = self.held.iter().filter_map(|(attempt, queue)| {
            let (index, _) = engine.running(*attempt)?;
            let (place, at) = self.first_of(gate, index, queue);
            Some((place, *attempt, at))
        });
        let first_said = said.min_by_key(|(place, _, _)| *place);
        match (first_said, first_timer) {
            (Some((place, attempt, at)), timer)
                if timer.is_none_or(|(other, _)| place <= other) =>
            {
                if place > 0 && !any {
                    return None;
                }
                self.strayed |= place > 0;
                let said = self.held.get_mut(&attempt)?.remove(at)?;
                Some(Next::Said(attempt, said))
            }
            (_, Some((place, timer))) if place == 0 || any => {
                self.strayed |= place > 0;
                Some(Next::Timer(timer.clone()))
            }
            _ => None,
        }
    }

    /// What of all that an attempt has said is heard first: how much would come before, and its place. What
    /// was said stays in line, except for what closures come to: they end at any time, so that it may
    /// have been said before anything but the run's own command.
    fn first_of(&self, gate: &Gate, index: Index, queue: &VecDeque<Said>) -> (usize, usize) {
        let free = queue.iter().enumerate().filter(|(at, said)| match said {
            Said::Message(Outgoing::Proposal(id, _)) => {
                !queue.range(..*at).any(|said| is_run(said, *id))
            }
            // What was said before it is lost then.
            Said::Message(Outgoing::Error(_)) => true,
            _ => *at == 0,
        });
        let places = free.map(|(at, said)| {
            let event = self.event(index, said);
            (event.map_or(0, |event| gate.distance(&event)), at)
        });
        places.min().unwrap_or((usize::MAX, 0))
    }

    /// An attempt that cannot go on as the uncut run did, since it does not know yet what the other one knew:
    /// the result of a run is there, and it is the turn of a command of the same invocation. Another crash
    /// helps, which is as possible as the first.
    pub(crate) fn take_ignorant(&mut self, engine: &Engine) -> Option<AttemptId> {
        let next = self.next_invocation()?;
        let held = self.held.iter().find(|(attempt, queue)| {
            let index = engine.running(**attempt).map(|(index, _)| index);
            let head = queue.front();
            index == Some(next) && matches!(head, Some(Said::Message(Outgoing::Proposal(..))))
        });
        let attempt = held.map(|(attempt, _)| *attempt)?;
        self.crashes_left = self.crashes_left.checked_sub(1)?;
        Some(attempt)
    }

    /// Whose turn it is.
    pub(crate) fn next_invocation(&self) -> Option<Index> {
        match self.gate.as_ref()?.next()? {
            Event::Command(index, _)
            | Event::Proposal(index, _)
            | Event::Ended(index)
            | Event::Failed(index) => Some(*index),
            Event::Timer(_) => None,
        }
    }
}

fn is_run(said: &Said, id: u32) -> bool {
    matches!(said, Said::Message(Outgoing::Command(_, _, CommandMessage::Run(run))) if run.result == id)
}

/// What was said, in words.
pub(crate) fn words(said: &Said, describe: impl Fn(&CommandMessage) -> String) -> String {
    match said {
        Said::Message(Outgoing::Command(_, _, command)) => format!("→ {}", describe(command)),
        Said::Message(Outgoing::Proposal(..)) => "the result of a run".to_owned(),
        Said::Message(Outgoing::AwaitingOn(_)) => "what it waits for".to_owned(),
        Said::Message(Outgoing::EphemeralRead(_)) => "a read within a run".to_owned(),
        Said::Message(Outgoing::Suspension(_)) => "its suspension".to_owned(),
        Said::Message(Outgoing::Error(_)) => "its failure".to_owned(),
        Said::Message(Outgoing::End) => "its end".to_owned(),
        Said::Broken(_) => "the break of its response".to_owned(),
    }
}
