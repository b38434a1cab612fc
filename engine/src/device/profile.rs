//! What every kernel has cost so far, and when it ran.

use isobath_kernels::Cost;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What one kernel has cost so far.
#[derive(Clone, Debug)]
pub struct Launches {
    /// The kernel's name.
    pub kernel: &'static str,
    /// How often it ran.
    pub calls: u64,
    /// Time of all its runs; zero on a GPU whose launches no [`Clock`] times, as it runs them later.
    pub time: Duration,
    /// Operations and bytes of all its runs, as the kernel states them.
    pub cost: Cost,
}

/// What times launches one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// The processor's clock before and after each launch. A GPU is waited for each time, so that the way there and back
    /// counts too.
    Host,
    /// Timestamps that the GPU writes before and after each dispatch.
    Gpu,
}

/// A timed launch, or one dispatch of it.
#[derive(Clone, Debug)]
pub struct Event {
    /// The kernel's name.
    pub kernel: &'static str,
    /// What was dispatched: the entry point of the kernel's shader, or else the kernel itself.
    pub entry: &'static str,
    /// When it began, since the clock was set; on the GPU's own clock since the first timestamp.
    pub start: Duration,
    /// How long it took.
    pub time: Duration,
}

/// The launches of a device, by kernel.
#[derive(Default)]
pub(super) struct Profile(Mutex<State>);

#[derive(Default)]
struct State {
    launches: BTreeMap<&'static str, Launches>,
    /// What times launches, and since when.
    clock: Option<(Clock, Instant)>,
    events: Vec<Event>,
}

impl State {
    fn of(&mut self, kernel: &'static str) -> &mut Launches {
        let none = Launches { kernel, calls: 0, time: Duration::ZERO, cost: Cost::default() };
        self.launches.entry(kernel).or_insert(none)
    }
}

impl Profile {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one run.
    pub(super) fn count(&self, kernel: &'static str, cost: Cost) {
        let mut state = self.lock();
        let of = state.of(kernel);
        of.calls += 1;
        of.cost.flops += cost.flops;
        of.cost.bytes += cost.bytes;
    }

    /// Adds the time of a run that `start` began and that has just ended.
    pub(super) fn ended(&self, kernel: &'static str, start: Instant) {
        let time = start.elapsed();
        let mut state = self.lock();
        state.of(kernel).time += time;
        if let Some((_, origin)) = state.clock {
            let start = start.saturating_duration_since(origin);
            state.events.push(Event { kernel, entry: kernel, start, time });
        }
    }

    /// Adds what the GPU's clock timed.
    pub(super) fn timed(&self, event: Event) {
        let mut state = self.lock();
        state.of(event.kernel).time += event.time;
        state.events.push(event);
    }

    /// Sets or stops the clock; events begin anew.
    pub(super) fn set_clock(&self, clock: Option<Clock>) {
        let mut state = self.lock();
        state.clock = clock.map(|clock| (clock, Instant::now()));
        state.events.clear();
    }

    /// What times launches.
    pub(super) fn clock(&self) -> Option<Clock> {
        self.lock().clock.map(|(clock, _)| clock)
    }

    /// What was timed since this was last asked.
    pub(super) fn take_events(&self) -> Vec<Event> {
        std::mem::take(&mut self.lock().events)
    }

    /// Forgets all launches and events.
    pub(super) fn reset(&self) {
        let mut state = self.lock();
        state.launches.clear();
        state.events.clear();
    }

    /// All kernels that ran, slowest first.
    pub(super) fn launches(&self) -> Vec<Launches> {
        let mut all: Vec<Launches> = self.lock().launches.values().cloned().collect();
        all.sort_by_key(|l| std::cmp::Reverse(l.time));
        all
    }
}
