//! The best weights of a training that is validated, and its end when they get no better.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use isobath_engine::checkpoint::{self, State};
use isobath_engine::parameters::Parameters;

use crate::{Error, Result};

/// Name of the best weights so far, while a training runs.
const FILE: &str = "best.safetensors";
/// Metadata entry of their error.
const VALIDATION: &str = "validation";

/// The best weights so far, beside the checkpoint.
pub(crate) struct Best {
    path: PathBuf,
    patience: usize,
    /// Epoch and validation error.
    found: Option<(u64, f64)>,
}

impl Best {
    /// Those in the folder of a training that goes on from step `done`, else none yet.
    pub(crate) fn of(folder: &Path, done: u64, patience: usize) -> Result<Self> {
        let path = folder.join(FILE);
        let mut best = Best { path, patience, found: None };
        if done > 0 && best.path.exists() {
            // Weights newer than the checkpoint do no harm: the steps between are done again with the same bits.
            let state = checkpoint::state(&best.path)?;
            let error = state.metadata.get(VALIDATION).and_then(|text| text.parse().ok());
            best.found = error.map(|error| (state.epoch, error));
        }
        Ok(best)
    }

    /// Keeps the weights if they are better than those before. Whether the training should stop: no better ones were
    /// found for the epochs of its patience.
    pub(crate) fn judge(
        &mut self,
        parameters: &Parameters,
        (step, epoch): (u64, u64),
        seed: u64,
        error: f64,
    ) -> Result<bool> {
        match self.found.filter(|(_, best)| error.total_cmp(best).is_ge()) {
            Some((best, _)) => Ok(epoch >= best + self.patience as u64),
            None => {
                self.found = Some((epoch, error));
                let metadata = BTreeMap::from([(VALIDATION.to_owned(), error.to_string())]);
                checkpoint::save(&self.path, parameters, &State { step, epoch, seed, metadata }, false)?;
                Ok(false)
            }
        }
    }

    /// Puts the best weights in, if there are any in the folder.
    pub(crate) fn take(&self, parameters: &mut Parameters) -> Result<bool> {
        let there = self.path.exists();
        if there {
            checkpoint::load(&self.path, parameters)?;
        }
        Ok(there)
    }

    /// Removes the file, once the weights are elsewhere.
    pub(crate) fn remove(&self) -> Result<()> {
        match self.path.exists() {
            true => std::fs::remove_file(&self.path).map_err(|error| Error::file(&self.path, error)),
            false => Ok(()),
        }
    }
}
