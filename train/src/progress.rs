//! How far a long task is: a bar on a terminal, a line every tenth of the way elsewhere.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressStyle};

/// Lines in a task's output when there is no terminal.
const LINES: u64 = 10;

/// The progress of one task.
pub struct Progress {
    bar: ProgressBar,
    task: &'static str,
    total: u64,
    first: u64,
    done: u64,
    /// Whether lines are written instead of a bar.
    lines: bool,
}

impl Progress {
    /// A task of `total` steps, of which `done` are done already.
    pub fn new(task: &'static str, total: u64, done: u64) -> Self {
        let bar = ProgressBar::new(total).with_position(done);
        let form = "{prefix} {bar:30} {pos}/{len}  {per_sec}  {msg}  {eta} left";
        // A template that is wrong would show the default bar.
        bar.set_style(ProgressStyle::with_template(form).unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_prefix(task);
        bar.reset_eta();
        Progress { bar, task, total, first: done, done, lines: !std::io::stderr().is_terminal() }
    }

    /// `done` steps are done; `state` is said beside them.
    pub fn at(&mut self, done: u64, state: impl FnOnce() -> String) {
        let tenth = |steps: u64| steps * LINES / self.total.max(1);
        if !self.lines {
            self.bar.set_message(state());
            self.bar.set_position(done);
        } else if tenth(done) > tenth(self.done) {
            let left =
                self.bar.elapsed().as_secs_f64() * (self.total - done) as f64 / (done - self.first).max(1) as f64;
            eprintln!("{}: {done} of {} steps  {}  about {left:.0} s left", self.task, self.total, state());
        }
        self.done = done;
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
