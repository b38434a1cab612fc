//! The text of an entry point, line by line, beside what was counted.

use isobath_engine::device::ptx::File;
use isobath_ptx_simulator::{Counts, Report};

/// One launch of an entry point.
pub struct Listing {
    /// What was counted.
    pub report: Report,
    /// The whole entry point as it is written.
    pub lines: Vec<Line>,
}

/// A line of PTX.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// Its number in the file, from 1.
    pub number: u32,
    /// What it says.
    pub text: String,
    /// The counts of all its instructions together; none on a line without.
    pub counts: Option<Counts>,
}

impl Listing {
    /// The lines of the entry point that a report is about.
    pub(super) fn new(report: Report, files: &[File]) -> Listing {
        let text = files.iter().find(|file| *file.name == *report.file).map_or("", |file| &file.text);
        let all: Vec<&str> = text.lines().collect();
        let (Some(first), Some(last)) = (report.rows.first(), report.rows.last()) else {
            return Listing { report, lines: Vec::new() };
        };
        let (first, last) = (first.line as usize - 1, last.line as usize - 1);
        let start = (0..=first.min(all.len())).rev().find(|i| all.get(*i).is_some_and(|line| line.contains(".entry")));
        let end = (last..all.len()).find(|i| all[*i].starts_with('}')).unwrap_or(last);
        let line = |i: usize| {
            let number = i as u32 + 1;
            let counts = report.rows.iter().filter(|row| row.line == number).map(|row| row.counts);
            Line { number, text: all.get(i).unwrap_or(&"").to_string(), counts: counts.reduce(Counts::plus) }
        };
        let lines = (start.unwrap_or(first)..=end).map(line).collect();
        Listing { report, lines }
    }

    /// Bytes of global memory, read and written: of the sectors that requests asked for, and of different ones.
    pub fn bytes(&self) -> Traffic {
        let r = &self.report;
        Traffic {
            requested: [r.global_bytes_read(), r.global_bytes_written()],
            different: [32 * r.distinct_sectors_read, 32 * r.distinct_sectors_written],
        }
    }
}

/// Bytes of global memory, read and written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// As if nothing were cached.
    pub requested: [u64; 2],
    /// As if everything were.
    pub different: [u64; 2],
}

impl Traffic {
    /// The sum of two launches.
    pub fn plus(self, other: Traffic) -> Traffic {
        let sum = |a: [u64; 2], b: [u64; 2]| [a[0] + b[0], a[1] + b[1]];
        Traffic { requested: sum(self.requested, other.requested), different: sum(self.different, other.different) }
    }
}
