//! Multiple imputation: a forecaster for each imputed data set, and what they say together (systems 1.8).

use std::path::{Path, PathBuf};

use isobath_engine::Device;
use isobath_engine::weights::Weights;
use isobath_models::rubin::Pooled;

use super::{Config, FILE, Imputation, TrainedForecaster, imputed, refit, train_forecaster};
use crate::data::nodes::Series;
use crate::imputing;
use crate::progress::Progress;
use crate::record::Record;
use crate::trained::{self, Trained};
use crate::training::{SELECTION, best_epochs};
use crate::{Error, Result};

/// Name of the settings in the folder of an ensemble.
pub const SETTINGS: &str = "forecaster.toml";

/// The model that imputes, and which one it is.
pub struct Imputer {
    /// STDDM.
    pub trained: Trained,
    /// Checksum of its weights.
    pub checksum: String,
}

impl Imputer {
    /// Reads a weights file of STDDM, or that of a folder.
    ///
    /// # Errors
    /// As [`Trained::load`].
    pub fn load(path: &Path, device: &Device) -> Result<Self> {
        let trained = Trained::load(path, device)?;
        let checksum = Weights::open(trained::file(path))?.metadata().remove("checksum").unwrap_or_default();
        Ok(Imputer { trained, checksum })
    }
}

/// The folder of a member, from 0.
pub fn member_folder(folder: &Path, member: usize) -> PathBuf {
    folder.join(format!("member-{member:02}"))
}

/// Trains the members of `config` that are not trained yet on the training frames of `record`, each on an imputed data
/// set of its own that sees nothing of the frames after them, and writes each into a folder of its own; `checksums` are those
/// of [`Imputation::checksums`]. `say` hears what comes next.
///
/// # Errors
/// As [`train_forecaster`], and [`Error::Input`] when a member in the folder was trained otherwise.
pub fn train_members(
    device: &Device,
    (imputation, checksums): (Imputation, Vec<Option<String>>),
    record: &Record,
    config: &Config,
    folder: &Path,
    say: &mut dyn FnMut(String),
) -> Result<()> {
    let members = config.ensemble.members;
    let series = record.series.part(record.train.clone());
    for (member, data_set) in checksums.into_iter().enumerate() {
        let place = member_folder(folder, member);
        let begin =
            |folder: &Path| begin(device, (imputation, data_set.clone()), record, config.clone(), member, folder);
        let mut trained = begin(&place)?;
        let named = format!("forecaster {} of {members}", member + 1);
        if trained.residuals.is_some() {
            say(format!("{named} is trained already"));
            continue;
        }
        say(match trained.step {
            0 => named,
            step => format!("{named} goes on from step {step}"),
        });
        std::fs::create_dir_all(&place).map_err(|error| Error::file(&place, error))?;
        let imputed = Series { values: imputation.data_set(record, &config.ensemble, member)?, ..series.clone() };
        if !config.train.refit {
            train_forecaster(&mut trained, &imputed, record.train.clone(), &place)?;
            continue;
        }
        let selection = place.join(SELECTION);
        std::fs::create_dir_all(&selection).map_err(|error| Error::file(&selection, error))?;
        let mut chosen = begin(&selection)?;
        let steps = train_forecaster(&mut chosen, &imputed, record.train.clone(), &selection)?;
        let epochs = best_epochs(&steps).unwrap_or(config.train.epochs);
        say(format!("best on the validation frames after {epochs} epochs; as many afresh on all training frames"));
        refit(&mut trained, &chosen, epochs, &imputed, record.train.clone(), &place)?;
    }
    Ok(())
}

/// A new member, or the one in its folder; `data_set` is the checksum of what a file imputed.
fn begin(
    device: &Device,
    (imputation, data_set): (Imputation, Option<String>),
    record: &Record,
    mut config: Config,
    member: usize,
    folder: &Path,
) -> Result<TrainedForecaster> {
    config.train.seed = config.train.seed.wrapping_add(member as u64);
    let path = folder.join(FILE);
    if !path.exists() {
        let mut trained = TrainedForecaster::new(device, config, record.place.clone())?;
        trained.imputer = imputation.imputer().map(|imputer| imputer.checksum.clone());
        trained.data_set = data_set;
        return Ok(trained);
    }
    let mut trained = TrainedForecaster::load(&path, device)?;
    if let Some((old, new)) = trained.config.difference(&config) {
        let path = path.display();
        return Err(Error::Input(format!("{path}: was trained with `{old}`, now asked to resume with `{new}`")));
    }
    if trained.data_set != data_set {
        let source = |sum: &Option<String>| match sum {
            Some(sum) => format!("a file of the checksum {sum}"),
            None => "weights".to_owned(),
        };
        let (path, old, new) = (path.display(), source(&trained.data_set), source(&data_set));
        return Err(Error::Input(format!("{path}: was trained on what {old} imputed, now asked to resume with {new}")));
    }
    expect_fits(&path, &trained, imputation.imputer())?;
    trained.config = config;
    Ok(trained)
}

/// An error unless the forecaster was trained on what this imputer fills, or on files from anywhere.
fn expect_fits(path: &Path, trained: &TrainedForecaster, imputer: Option<&Imputer>) -> Result<()> {
    let (path, Some(imputer)) = (path.display(), imputer) else { return Ok(()) };
    let (own, other) = (&trained.place, &imputer.trained.place);
    let grids = || (own.grid(), other.grid());
    if own.mask != other.mask || grids().0 != grids().1 {
        let (own_sea, other_sea) = (own.mask.len(), other.mask.len());
        let (own, other) = grids();
        return Err(Error::Input(format!(
            "{path}: the forecaster was trained on {own_sea} sea pixels of {own}, the imputer on {other_sea} of {other}"
        )));
    }
    if own.scaling != other.scaling {
        let (own, other) = (own.scaling, other.scaling);
        return Err(Error::Input(format!(
            "{path}: the forecaster was trained on values less {} over {}, the imputer on values less {} over {}; give \
             both the same training frames",
            own.offset, own.factor, other.offset, other.factor
        )));
    }
    match &trained.imputer {
        Some(found) if *found != imputer.checksum => Err(Error::Input(format!(
            "{path}: the forecaster was trained on what the weights {found} imputed, those given are {}",
            imputer.checksum
        ))),
        _ => Ok(()),
    }
}

/// Forecasters that were trained on as many imputed data sets.
pub struct Ensemble {
    /// Each with its weights.
    pub members: Vec<TrainedForecaster>,
    /// The settings of all.
    pub config: Config,
}

impl Ensemble {
    /// Reads the folder of a training.
    ///
    /// # Errors
    /// [`Error::File`] and [`Error::Input`] when it is not one, or not done, or not of this imputer, where there is one.
    pub fn load(folder: &Path, imputer: Option<&Imputer>, device: &Device) -> Result<Self> {
        let settings = folder.join(SETTINGS);
        let config = Config::read(&settings)?;
        config.check().map_err(|error| Error::Input(format!("{}: {error}", settings.display())))?;
        let load = |member: usize| {
            let path = member_folder(folder, member).join(FILE);
            let trained = TrainedForecaster::load(&path, device)?;
            expect_fits(&path, &trained, imputer)?;
            if trained.residuals.is_none() {
                let path = path.display();
                return Err(Error::Input(format!(
                    "{path}: expected a forecaster whose training is done, found one of {} steps; go on with `isobath \
                     train forecaster --resume`",
                    trained.step
                )));
            }
            Ok(trained)
        };
        let members = (0..config.ensemble.members).map(load).collect::<Result<Vec<_>>>()?;
        Ok(Ensemble { members, config })
    }

    /// Frames of history that a forecast needs.
    pub fn history(&self, imputation: Imputation) -> usize {
        let window = imputation.imputer().map_or(0, |imputer| imputer.trained.config.train.window);
        self.config.model.frames.max(window)
    }

    /// The members' forecasts of the frames from `origin` on. Nothing of `record` from there on is looked at: the window
    /// before it is imputed anew, once for each member, or each reads it from its file, whoever imputed that.
    ///
    /// # Errors
    /// [`Error::Input`] when there are fewer frames before it than [`Ensemble::history`], and for files that do not fit.
    pub fn forecast(
        &self,
        imputation: Imputation,
        record: &Record,
        origin: usize,
        progress: (&mut Progress, u64),
    ) -> Result<Forecasts> {
        let (history, count, series) = (self.history(imputation), self.members.len(), &record.series);
        if origin < history || origin > series.frames {
            return Err(Error::Input(format!(
                "a forecast from frame {origin}: expected at least {history} frames before it, of {}",
                series.frames
            )));
        }
        let sets = match imputation {
            Imputation::Drawn(imputer) => {
                let seed = self.config.ensemble.seed.wrapping_add(origin as u64);
                imputing::data_sets(&imputer.trained, &series.part(origin - history..origin), (count, seed), progress)?
            }
            Imputation::Files(files) => {
                imputation.expect_number(count)?;
                let read = |path: &PathBuf| imputed::read_data_set(path, record, origin - history..origin);
                files.iter().map(read).collect::<Result<Vec<_>>>()?.concat()
            }
        };
        let window = self.config.model.frames * series.nodes;
        let sets = sets.chunks(history * series.nodes).map(|set| &set[set.len() - window..]);
        let members = self.members.iter().zip(sets).map(|(member, set)| member.forecast(set));
        Ok(Forecasts { members: members.collect::<Result<_>>()? })
    }

    /// Steps of imputing for a forecast.
    ///
    /// # Errors
    /// None that [`Ensemble::load`] has not found.
    pub fn work(&self, imputation: Imputation) -> Result<u64> {
        let work = |imputer: &Imputer| imputing::work(&imputer.trained, self.history(imputation), self.members.len());
        imputation.imputer().map_or(Ok(0), work)
    }

    /// The variance within each imputed data set at every cell of a forecast, `[T', n]` a member.
    pub fn variances(&self) -> Vec<Vec<f32>> {
        self.members.iter().filter_map(|member| Some(member.residuals.as_ref()?.variance())).collect()
    }
}

/// A forecast by each member, `[T', n]` on the model's scale.
pub struct Forecasts {
    /// In the order of the members.
    pub members: Vec<Vec<f32>>,
}

impl Forecasts {
    /// The mean of the members.
    pub fn mean(&self) -> Vec<f32> {
        let mean = |cell: usize| self.members.iter().map(|member| f64::from(member[cell])).sum::<f64>();
        (0..self.members[0].len()).map(|cell| (mean(cell) / self.members.len() as f64) as f32).collect()
    }

    /// The members combined by Rubin's rules with these `variances` within.
    ///
    /// # Errors
    /// [`Error::Input`] for fewer than two members.
    pub fn pooled(&self, variances: &[Vec<f32>]) -> Result<Pooled> {
        fn slices(arrays: &[Vec<f32>]) -> Vec<&[f32]> {
            arrays.iter().map(Vec::as_slice).collect()
        }
        Pooled::new(&slices(&self.members), &slices(variances)).map_err(|error| Error::Input(error.to_string()))
    }
}
