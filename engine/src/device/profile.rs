//! What every kernel has cost so far.

use isobath_kernels::Cost;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// What one kernel has cost so far.
#[derive(Clone, Debug)]
pub struct Launches {
    /// The kernel's name.
    pub kernel: &'static str,
    /// How often it ran.
    pub calls: u64,
    /// Wall time of all its runs; zero on a GPU, which runs them later.
    pub time: Duration,
    /// Operations and bytes of all its runs, as the kernel states them.
    pub cost: Cost,
}

/// The launches of a device, by kernel.
#[derive(Default)]
pub(super) struct Profile(Mutex<BTreeMap<&'static str, Launches>>);

impl Profile {
    /// Counts one run.
    pub(super) fn count(&self, kernel: &'static str, time: Duration, cost: Cost) {
        let mut launches = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let none = Launches { kernel, calls: 0, time: Duration::ZERO, cost: Cost::default() };
        let entry = launches.entry(kernel).or_insert(none);
        entry.calls += 1;
        entry.time += time;
        entry.cost.flops += cost.flops;
        entry.cost.bytes += cost.bytes;
    }

    /// All kernels that ran, slowest first.
    pub(super) fn launches(&self) -> Vec<Launches> {
        let launches = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<Launches> = launches.values().cloned().collect();
        all.sort_by_key(|l| std::cmp::Reverse(l.time));
        all
    }
}
