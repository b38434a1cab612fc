//! Where the imputed data sets of forecasters come from.

use std::ops::Range;
use std::path::{Path, PathBuf};

use isobath_engine::weights;

use super::{Imputer, Members};
use crate::data::netcdf;
use crate::data::time::Date;
use crate::imputing;
use crate::progress::Progress;
use crate::record::Record;
use crate::{Error, Result};

/// What fills the gaps that forecasters see.
#[derive(Clone, Copy)]
pub enum Imputation<'a> {
    /// STDDM draws a data set for each.
    Drawn(&'a Imputer),
    /// NetCDF files hold one for each, from wherever they come.
    Files(&'a [PathBuf]),
}

impl Imputation<'_> {
    /// STDDM, where it is that.
    pub fn imputer(&self) -> Option<&Imputer> {
        match self {
            Imputation::Drawn(imputer) => Some(imputer),
            Imputation::Files(_) => None,
        }
    }

    /// An error unless there is a file for each of `members`.
    ///
    /// # Errors
    /// [`Error::Input`] with both numbers.
    pub fn expect_number(&self, members: usize) -> Result<()> {
        match self {
            Imputation::Files(files) if files.len() != members => {
                let found = files.len();
                Err(Error::Input(format!(
                    "--imputed: expected {members} files, one for each forecaster, found {found}"
                )))
            }
            _ => Ok(()),
        }
    }

    /// The data set that trains `member`, `[train, n]` on the model's scale.
    pub(super) fn data_set(&self, record: &Record, settings: &Members, member: usize) -> Result<Vec<f32>> {
        let imputer = match self {
            Imputation::Files(files) => return read_data_set(&files[member], record, record.train.clone()),
            Imputation::Drawn(imputer) => imputer,
        };
        let series = record.series.part(record.train.clone());
        let mut progress = Progress::new("imputing", imputing::work(&imputer.trained, series.frames, 1)?, 0);
        let seed = settings.seed ^ (member as u64 + 1).wrapping_mul(0xd1b5_4a32_d192_ed03);
        imputing::data_sets(&imputer.trained, &series, (1, seed), (&mut progress, 0))
    }

    /// The checksum of what a file holds to train each member; none where they are drawn.
    ///
    /// # Errors
    /// [`Error::Input`] and [`Error::File`] when there is no such file for a member, or one does not fit the record.
    pub fn checksums(&self, record: &Record, members: usize) -> Result<Vec<Option<String>>> {
        self.expect_number(members)?;
        let Imputation::Files(files) = self else { return Ok(vec![None; members]) };
        let sum = |path: &PathBuf| {
            let values = read_data_set(path, record, record.train.clone())?;
            let bytes: Vec<u8> = values.into_iter().flat_map(f32::to_le_bytes).collect();
            Ok(Some(weights::checksum([&bytes[..]])))
        };
        files.iter().map(sum).collect()
    }
}

/// Reads `frames` of an imputed data set of `record`, `[frames, n]` on the model's scale: the file's values where the
/// record has none, what was observed as it is.
///
/// # Errors
/// [`Error::File`] and [`Error::Input`] as [`netcdf::read`], and when the file is on another grid, leaves out one of the
/// frames, or has gaps itself.
pub(super) fn read_data_set(path: &Path, record: &Record, frames: Range<usize>) -> Result<Vec<f32>> {
    let refuse = |what: String| Err(Error::Input(format!("{}: {what}", path.display())));
    let given = record.like(netcdf::read(path, &record.field.name)?, path)?;
    let own = &record.field.time.dates[frames.clone()];
    let mut values = record.series.values[record.cells(frames.clone())].to_vec();
    let observed = &record.series.observed[record.cells(frames)];
    let nodes = record.series.nodes;
    let mut gaps: Vec<(usize, &Date)> = Vec::new();
    for (i, date) in own.iter().enumerate() {
        let dates = &given.field.time.dates;
        let Ok(frame) = dates.binary_search(date) else {
            let (first, last, count) = (dates[0], dates[dates.len() - 1], dates.len());
            return refuse(format!("expected a frame of {date}, found none among {count} of {first} to {last}"));
        };
        let cells = (i * nodes..(i + 1) * nodes).zip(given.cells(frame..frame + 1));
        for (cell, from) in cells.filter(|(cell, _)| !observed[*cell]) {
            values[cell] = given.series.values[from];
            if !given.series.observed[from] {
                gaps.push((cell, date));
            }
        }
    }
    match gaps.first() {
        None => Ok(values),
        Some((_, date)) => {
            let (gaps, cells) = (gaps.len(), values.len());
            refuse(format!("expected a value in every sea cell, found {gaps} of {cells} without, the first on {date}"))
        }
    }
}
