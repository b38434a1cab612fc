//! What the driver reports outside of any call.

use crate::error::{Error, Result};
use std::sync::{Arc, Mutex, PoisonError};

/// The first thing that went wrong, or that the device was lost, which comes before all else; every later call fails with
/// it.
#[derive(Default)]
pub(super) struct Faults(Mutex<Option<(bool, String)>>);

impl Faults {
    /// Collects what `device` reports from now on.
    pub(super) fn watch(device: &wgpu::Device) -> Arc<Self> {
        let faults = Arc::new(Faults::default());
        let (lost, refused) = (faults.clone(), faults.clone());
        device.set_device_lost_callback(move |why, reason| match why {
            wgpu::DeviceLostReason::Destroyed => lost.report(true, "it was given up"),
            _ => lost.report(true, &reason),
        });
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| refused.report(false, &error.to_string())));
        faults
    }

    /// Remembers that the device was lost, or else refused something.
    pub(super) fn report(&self, lost: bool, reason: &str) {
        let mut fault = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if fault.as_ref().is_none_or(|(known, _)| lost && !known) {
            *fault = Some((lost, one_line(reason)));
        }
    }

    /// An error when anything was reported.
    pub(super) fn check(&self) -> Result<()> {
        let fault = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let device = || "wgpu".to_owned();
        match &*fault {
            None => Ok(()),
            Some((true, what)) => Err(Error::DeviceLost { device: device(), what: what.clone() }),
            Some((false, what)) => Err(Error::Device { device: device(), what: what.clone() }),
        }
    }
}

/// The lines of a report in one sentence.
pub(super) fn one_line(text: &str) -> String {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}
