//! Times of launches by the events of the driver.

use crate::device::profile::{Event, Profile};
use cudarc::driver::result::{DriverError, event};
use cudarc::driver::sys::{CUevent, CUevent_flags, CUstream};
use std::sync::Arc;
use std::time::Duration;

/// Launches that are timed before they are waited for.
pub(super) const MOST: usize = 1024;

/// An event before and one after each launch since the last wait.
pub(super) struct Times {
    profile: Arc<Profile>,
    /// When the first timed launch began.
    origin: Mark,
    began: bool,
    recorded: Vec<(&'static str, &'static str, [Mark; 2])>,
    free: Vec<Mark>,
    /// Events made.
    pub(super) made: u64,
}

impl Times {
    pub(super) fn new(profile: Arc<Profile>) -> Result<Self, DriverError> {
        Ok(Times { profile, origin: Mark::new(true)?, began: false, recorded: Vec::new(), free: Vec::new(), made: 1 })
    }

    /// Whether launches must be waited for before another is timed.
    pub(super) fn full(&self) -> bool {
        self.recorded.len() >= MOST
    }

    /// Times what `launch` hands over.
    pub(super) fn around(
        &mut self,
        [kernel, entry]: [&'static str; 2],
        stream: CUstream,
        launch: impl FnOnce() -> Result<(), DriverError>,
    ) -> Result<(), DriverError> {
        if !self.began {
            self.origin.record(stream)?;
            self.began = true;
        }
        let marks = [self.take()?, self.take()?];
        marks[0].record(stream)?;
        launch()?;
        marks[1].record(stream)?;
        self.recorded.push((kernel, entry, marks));
        Ok(())
    }

    fn take(&mut self) -> Result<Mark, DriverError> {
        match self.free.pop() {
            Some(mark) => Ok(mark),
            None => {
                self.made += 1;
                Mark::new(true)
            }
        }
    }

    /// Puts the times of all launches, which are done, in the profile.
    pub(super) fn collect(&mut self) -> Result<(), DriverError> {
        for (kernel, entry, marks) in self.recorded.drain(..) {
            let start = marks[0].since(&self.origin)?;
            self.profile.timed(Event { kernel, entry, start, time: marks[1].since(&marks[0])? });
            self.free.extend(marks);
        }
        Ok(())
    }
}

/// A point in the order of the stream.
pub(super) struct Mark(CUevent);

impl Mark {
    /// A point whose time counts, or only whether it was reached.
    pub(super) fn new(timed: bool) -> Result<Self, DriverError> {
        let flags = match timed {
            true => CUevent_flags::CU_EVENT_DEFAULT,
            false => CUevent_flags::CU_EVENT_DISABLE_TIMING,
        };
        event::create(flags).map(Mark)
    }

    pub(super) fn record(&self, stream: CUstream) -> Result<(), DriverError> {
        // SAFETY: event and stream live.
        unsafe { event::record(self.0, stream) }
    }

    /// Waits until the GPU is there.
    pub(super) fn wait(&self) -> Result<(), DriverError> {
        // SAFETY: the event lives.
        unsafe { event::synchronize(self.0) }
    }

    /// The time from another point, which both were reached, to this one.
    fn since(&self, other: &Mark) -> Result<Duration, DriverError> {
        // SAFETY: both events live.
        let milliseconds = unsafe { event::elapsed(other.0, self.0) }?;
        Ok(Duration::from_secs_f64(f64::from(milliseconds.max(0.0)) * 1e-3))
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        // SAFETY: it was created here. A driver that refuses has lost the GPU.
        let _ = unsafe { event::destroy(self.0) };
    }
}
