//! A model with what its weights were made with and where: the file that `train` writes and `impute` reads.
//!
//! It is a checkpoint of the engine whose metadata carry the model's name, the resolved configuration and the
//! [`Place`], so that weights and data are all that imputing needs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use isobath_engine::checkpoint::{self, State};
use isobath_engine::{DType, Device};
use isobath_models::baselines::OptimalInterpolation;
use isobath_models::stimp::stddm::Stddm;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::config::Config;
use crate::record::Place;
use crate::{Error, Result};

/// Name of the weights in the folder of a training.
pub const FILE: &str = "stddm.safetensors";
const MODEL: &str = "stddm";
/// Metadata entry of a training that its validation frames ended.
pub(crate) const STOPPED: &str = "stopped_early";

/// A model and its surroundings.
pub struct Trained {
    /// The resolved configuration.
    pub config: Config,
    /// Where it was trained.
    pub place: Place,
    /// The network with its weights.
    pub model: Stddm,
    /// Steps done.
    pub step: u64,
    /// Whether the validation frames ended the training before its last epoch.
    pub stopped_early: bool,
}

impl Trained {
    /// A model with fresh weights.
    ///
    /// # Errors
    /// What the engine says, such as options that do not fit together or a memory limit.
    pub fn new(device: &Device, config: Config, place: Place) -> Result<Self> {
        let region = place.region(device, config.model.region())?;
        let model = Stddm::new(device, config.model.clone(), region, DType::F32, config.train.seed)?;
        Ok(Trained { config, place, model, step: 0, stopped_early: false })
    }

    /// Reads a weights file, or [`FILE`] in a folder.
    ///
    /// # Errors
    /// [`Error::File`] when it cannot be read, [`Error::Input`] when it is damaged, not one of this program's, or its
    /// arrays are not those of its configuration.
    pub fn load(path: &Path, device: &Device) -> Result<Self> {
        let path = file(path);
        let (config, place): (Config, Place) = surroundings(&path, MODEL)?;
        config.check().map_err(|error| Error::Input(format!("{}: {error}", path.display())))?;
        let mut trained = Trained::new(device, config, place)?;
        let state = checkpoint::load(&path, &mut trained.model.parameters)?;
        (trained.step, trained.stopped_early) = (state.step, state.metadata.contains_key(STOPPED));
        Ok(trained)
    }

    /// Optimal interpolation as its training frames taught it, that of the network where it has one.
    pub fn interpolation(&self) -> Arc<OptimalInterpolation> {
        self.model.interpolation().cloned().unwrap_or_else(|| Arc::new(self.place.interpolation()))
    }

    /// Writes the weights file, whole or not at all.
    ///
    /// # Errors
    /// [`Error::File`] when it cannot be written; the old one then stays.
    pub fn save(&self, path: &Path, epoch: u64) -> Result<()> {
        let mut metadata = metadata(MODEL, &self.config, &self.place)?;
        if self.stopped_early {
            metadata.insert(STOPPED.into(), "true".into());
        }
        let state = State { step: self.step, epoch, seed: self.config.train.seed, metadata };
        Ok(checkpoint::save(path, &self.model.parameters, &state, true)?)
    }
}

/// The configuration and the place that a weights file of `model` carries.
pub(crate) fn surroundings<C: DeserializeOwned>(path: &Path, model: &str) -> Result<(C, Place)> {
    // The version first: a newer one may describe its model in other words.
    let metadata = checkpoint::state(path)?.metadata;
    match metadata.get("model") {
        Some(found) if found == model => Ok((entry(path, &metadata, "config")?, entry(path, &metadata, "place")?)),
        found => {
            let (path, found) = (path.display(), found.map_or("none", String::as_str));
            Err(Error::Input(format!("{path}: expected weights of `isobath train {model}`, found the model {found}")))
        }
    }
}

/// What a weights file carries besides the arrays.
pub(crate) fn metadata(model: &str, config: &impl Serialize, place: &Place) -> Result<BTreeMap<String, String>> {
    let text = |value: serde_json::Result<String>| value.map_err(|error| Error::Fault(error.to_string()));
    Ok(BTreeMap::from([
        ("model".to_owned(), model.to_owned()),
        ("config".to_owned(), text(serde_json::to_string(config))?),
        ("place".to_owned(), text(serde_json::to_string(place))?),
    ]))
}

/// The weights file that a user means by a file or a folder.
pub fn file(path: &Path) -> PathBuf {
    if path.is_dir() { path.join(FILE) } else { path.to_owned() }
}

/// An entry of the metadata of a weights file, from JSON.
pub(crate) fn entry<T: DeserializeOwned>(path: &Path, metadata: &BTreeMap<String, String>, key: &str) -> Result<T> {
    let refuse = |what: String| Error::Input(format!("{}: metadata entry {key}: {what}", path.display()));
    let text = metadata.get(key).ok_or_else(|| refuse("missing".into()))?;
    serde_json::from_str(text).map_err(|error| refuse(error.to_string()))
}
