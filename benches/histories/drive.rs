//! Pure. Tells a subject a history as keyward would see it, and asks it again and again.

use std::fmt;
use std::net::IpAddr;

use crate::looks::Onlooker;
use crate::observed::{Acknowledged, Observed, Request, Said, Subject};
use crate::schedule::{ASKED_UNTIL, DAY, HOUR, MINUTE, Moment, SECOND};
use crate::truth::Truth;
use crate::world::{Exchange, World, stamp};

/// What a subject said in the course of a history.
#[derive(Clone, Debug, Default)]
pub struct Course {
    /// When it was asked and said *yes* wrongly for the first time, and the use that came later.
    pub wrong: Option<(Moment, Moment)>,
    /// Whether it said *yes* while a sender held the key that would not use it any more.
    pub early: bool,
    /// When it said *yes* first, rightly.
    pub yes: Option<Moment>,
    /// What stood in the way, each time that it was deserved.
    pub barred: Vec<String>,
}

/// What happens in a history, in order.
pub struct Plan {
    events: Vec<(Moment, Event)>,
}

/// In the order in which they come where they do so at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Back(usize),
    Jump(usize),
    Announced,
    Rotated(usize, usize),
    Sent(usize),
    Ended(usize),
    Acknowledged(usize),
    Look(usize),
    Ask,
}

impl Plan {
    /// Of that world, once it is played.
    pub fn new(world: &World) -> Self {
        let questions = questions(world);
        let mut events: Vec<(Moment, Event)> = questions.iter().map(|at| (*at, Event::Ask)).collect();
        for n8n in 0..world.n8ns.len() {
            let moments = Onlooker::new(world, n8n).map(|onlooker| onlooker.moments(&questions));
            events.extend(moments.into_iter().flatten().map(|at| (at, Event::Look(n8n))));
        }
        for (place, exchange) in world.exchanges.iter().enumerate().filter(|(_, exchange)| exchange.is_seen) {
            events.push((exchange.at, Event::Sent(place)));
            events.extend(exchange.ends.map(|ends| (ends, Event::Ended(place))));
        }
        for (set, known) in world.sets.iter().enumerate() {
            let steps = known.file.steps().iter().enumerate();
            events.extend(steps.map(|(step, (at, _))| (back_by(world, *at), Event::Rotated(set, step))));
        }
        events.extend(world.down.iter().enumerate().map(|(place, (_, until))| (*until, Event::Back(place))));
        events.extend(world.clock.changes().enumerate().map(|(place, at)| (at, Event::Jump(place))));
        events.extend(world.announced.map(|(at, _)| (at, Event::Announced)));
        events.extend(world.acknowledged.iter().enumerate().map(|(place, (at, ..))| (*at, Event::Acknowledged(place))));
        events.retain(|(at, _)| *at <= ASKED_UNTIL + DAY);
        events.sort_unstable();
        Self { events }
    }
}

/// Plays the plan to the subject. With `trace` each thing that it sees after that moment, and each answer, goes there.
pub fn drive(world: &World, plan: &Plan, truth: &Truth, subject: &mut dyn Subject, trace: Trace<'_>) -> Course {
    let mut onlookers: Vec<_> = (0..world.n8ns.len()).map(|n8n| Onlooker::new(world, n8n)).collect();
    let mut course = Course::default();
    for (at, event) in &plan.events {
        match *event {
            Event::Ask => {
                let said = subject.answer(stamp(world, *at));
                trace(format_args!("{} asked: {said:?}", Spelled(*at)));
                if course.heed(*at, said, truth) {
                    break;
                }
            }
            Event::Look(n8n) => {
                let Some(onlooker) = onlookers[n8n].as_mut() else { continue };
                let observed = if onlooker.is_silent(*at) {
                    let instance = world.n8ns[n8n].configured.unwrap_or_default();
                    Observed::LookFailed { at: stamp(world, *at), instance }
                } else {
                    Observed::Looked(onlooker.look(*at))
                };
                tell(*at, &observed, subject, trace);
            }
            other @ (Event::Back(_)
            | Event::Jump(_)
            | Event::Announced
            | Event::Rotated(..)
            | Event::Sent(_)
            | Event::Ended(_)
            | Event::Acknowledged(_)) => {
                if let Some(observed) = observed(world, *at, other) {
                    tell(*at, &observed, subject, trace);
                }
            }
        }
    }
    course
}

fn tell(at: Moment, observed: &Observed<'_>, subject: &mut dyn Subject, trace: Trace<'_>) {
    trace(format_args!("{} {observed:?}", Spelled(at)));
    subject.observe(observed);
}

impl Course {
    /// Whether it is over.
    fn heed(&mut self, at: Moment, said: Said, truth: &Truth) -> bool {
        match said {
            Said::Yes => {
                if let Some(later) = truth.later_use(at) {
                    self.wrong = self.wrong.or(Some((at, later)));
                } else if at >= truth.free {
                    self.yes = Some(at);
                    return true;
                } else {
                    self.early |= truth.is_held(at);
                }
            }
            Said::NotProven(reasons) | Said::No(reasons) => {
                let is_deserved = truth.deserved.is_some_and(|from| at >= from);
                self.barred.extend(reasons.into_iter().next().filter(|_| is_deserved));
            }
        }
        false
    }
}

/// What there is to see; looks and questions are aside.
fn observed(world: &World, at: Moment, event: Event) -> Option<Observed<'_>> {
    let now = stamp(world, at);
    let observed = match event {
        Event::Back(place) => Observed::Restarted { down: stamp(world, world.down[place].0), at: now },
        Event::Jump(_) => Observed::ClockJumped { before: stamp(world, at - 1), after: now },
        Event::Announced => Observed::Announced { at: now, set: world.sets[0].name, next: world.announced?.1 },
        Event::Rotated(set, step) => rotated(world, at, (set, step)),
        Event::Sent(place) => Observed::Request(request(world, place, &world.exchanges[place])),
        Event::Ended(place) => Observed::Ended { at: now, exchange: number(place) },
        Event::Acknowledged(place) => {
            let (_, binding, peer) = world.acknowledged[place];
            Observed::Acknowledged(acknowledged(world, at, binding, peer))
        }
        Event::Look(_) | Event::Ask => return None,
    };
    Some(observed)
}

/// keyward looks at its files every two seconds; where it was down, when it is back.
fn rotated(world: &World, at: Moment, (set, step): (usize, usize)) -> Observed<'_> {
    let (changed, current) = world.sets[set].file.steps()[step];
    let down = world.down.iter().find(|(from, to)| (*from..*to).contains(&changed));
    let after = stamp(world, down.map_or(changed - 2 * SECOND, |(from, _)| *from));
    Observed::Rotated { after, by: stamp(world, at), set: world.sets[set].name, current }
}

fn request<'w>(world: &'w World, place: usize, exchange: &'w Exchange) -> Request<'w> {
    let binding = &world.bindings[exchange.binding];
    let thrown_away = exchange.ids.as_ref();
    Request {
        at: stamp(world, exchange.at),
        exchange: number(place),
        set: world.sets[binding.set].name,
        instance: world.n8ns[binding.n8n].tag.filter(|_| binding.workflow.is_some() || thrown_away.is_some()),
        workflow: thrown_away.map(|(workflow, _)| workflow.as_ref()).or(binding.workflow.as_deref()),
        node: thrown_away.map(|(_, node)| node.as_ref()).or(binding.node.as_deref()),
        execution: exchange.execution,
        peer: exchange.peer,
        key: exchange.key,
        upstream: exchange.upstream,
        accepted: exchange.accepted,
        client: binding.client,
        path: binding.path,
        model: binding.model,
        origin: binding.origin,
        is_open: exchange.ends.is_some(),
    }
}

fn acknowledged(world: &World, at: Moment, binding: usize, peer: IpAddr) -> Acknowledged<'_> {
    let binding = &world.bindings[binding];
    Acknowledged {
        at: stamp(world, at),
        instance: world.n8ns[binding.n8n].tag,
        workflow: binding.workflow.as_deref(),
        node: binding.node.as_deref(),
        peer,
        client: binding.client,
        origin: binding.origin,
    }
}

fn number(place: usize) -> u64 {
    u64::try_from(place).unwrap_or(u64::MAX)
}

/// When keyward sees what changed then: where it was down, when it is back.
fn back_by(world: &World, moment: Moment) -> Moment {
    world.down.iter().find(|(from, to)| (*from..*to).contains(&moment)).map_or(moment, |(_, to)| *to)
}

/// From the first replacement of the key on: soon, then less and less often.
fn questions(world: &World) -> Vec<Moment> {
    let asked = world.statements.asked;
    let was_current = |at: &Moment| world.sets[0].file.at(at - 1) == asked;
    let Some(replaced) = world.sets[0].file.changes().find(was_current) else { return Vec::new() };
    let soon = [MINUTE, 5 * MINUTE].into_iter().chain((1..=36).map(|step| step * 10 * MINUTE));
    let later = (7..=48).map(|hour| hour * HOUR).chain((1..=48).map(|step| 2 * DAY + step * 6 * HOUR));
    let all = soon.chain(later).chain((1..=30).map(|day| (14 + day) * DAY)).map(|span| replaced + span);
    let is_up = |at: &Moment| !world.down.iter().any(|(from, to)| (*from..=*to).contains(at));
    all.filter(|at| *at < ASKED_UNTIL).filter(is_up).collect()
}

/// Takes each line of a trace; what is not wanted is never written out.
pub type Trace<'t> = &'t mut dyn FnMut(fmt::Arguments<'_>);

/// A moment as people read it in a trace.
pub struct Spelled(pub Moment);

impl fmt::Display for Spelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, span) = if self.0 < 0 { ('-', -self.0) } else { ('+', self.0) };
        let (days, hours, minutes) = (span / DAY, span % DAY / HOUR, span % HOUR / MINUTE);
        write!(f, "{sign}{days}d {hours:02}:{minutes:02}:{:02}.{:03}", span % MINUTE / SECOND, span % SECOND)
    }
}
