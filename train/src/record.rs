//! A record made ready for a model: read, transformed, cut to the sea, with its statistics and its graph.

use std::ops::Range;
use std::path::Path;

use isobath_engine::{DType, Device};
use isobath_models::baselines::{OptimalInterpolation, Season, Variability};
use isobath_models::stimp::region::{Region, RegionData, RegionOptions};
use serde::{Deserialize, Serialize};

use crate::config::Data;
use crate::data::heldout::HeldOut;
use crate::data::netcdf::{self, Field};
use crate::data::nodes::{SeaMask, Series, Statistics, Transform, stencil};
use crate::data::rhythm::{self, Rhythm};
use crate::data::windows::{TrainShare, split};
use crate::{Error, Result};

/// The sea of a grid and what is known of its pixels: what weights are trained on and carry with them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "StoredPlace", into = "StoredPlace")]
pub struct Place {
    /// Latitude of each row, degrees north.
    pub latitude: Vec<f64>,
    /// Longitude of each column, degrees east.
    pub longitude: Vec<f64>,
    /// The sea pixels.
    pub mask: SeaMask,
    /// Shift and factor to the model's scale.
    pub scaling: Scaling,
    /// Statistics of each sea pixel over the training frames, on the model's scale.
    pub statistics: Statistics,
}

/// What takes values to a size that the network can give: it ends in a tanh, and noise of variance 1 is added to its
/// input. Logarithms are left as they are, as published; anything else is standardised over all training cells.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scaling {
    /// Taken off first.
    pub offset: f32,
    /// Divided by then.
    pub factor: f32,
}

impl Scaling {
    /// The scaling of transformed values over `train`, a range of cells.
    fn of(series: &Series, transform: Transform, train: Range<usize>) -> Self {
        let cells = || train.clone().filter(|cell| series.observed[*cell]).map(|cell| f64::from(series.values[cell]));
        let count = cells().count() as f64;
        if transform == Transform::Log10 || count == 0.0 {
            return Scaling { offset: 0.0, factor: 1.0 };
        }
        let mean = cells().sum::<f64>() / count;
        let std = (cells().map(|value| (value - mean).powi(2)).sum::<f64>() / count).sqrt();
        Scaling { offset: mean as f32, factor: if std > 0.0 { std as f32 } else { 1.0 } }
    }

    fn apply(self, series: &mut Series) {
        let cells = series.values.iter_mut().zip(&series.observed);
        cells.filter(|(_, seen)| **seen).for_each(|(value, _)| *value = (*value - self.offset) / self.factor);
    }

    /// Takes values back from the model's scale, in place.
    pub fn restore(self, values: &mut [f32]) {
        values.iter_mut().for_each(|value| *value = *value * self.factor + self.offset);
    }
}

impl Place {
    /// What the model is told about the place.
    ///
    /// # Errors
    /// What the engine says, such as a memory limit.
    pub fn region(&self, device: &Device, options: RegionOptions) -> Result<Region> {
        let SeaMask { height, width, ref nodes, .. } = self.mask;
        let graph = stencil(&self.mask);
        let row: Vec<f32> = nodes.iter().map(|pixel| (pixel / width) as f32 / height as f32).collect();
        let column: Vec<f32> = nodes.iter().map(|pixel| (pixel % width) as f32 / width as f32).collect();
        let Statistics { mean, std, variability, low, high } = &self.statistics;
        let data = RegionData {
            offsets: &graph.offsets,
            neighbours: &graph.neighbours,
            mean,
            std,
            variability: Some(variability),
            places: &self.mask.places(),
            low,
            high,
            row: &row,
            column: &column,
        };
        Ok(Region::new(device, &data, options, DType::F32)?)
    }

    /// Optimal interpolation by what the training frames say.
    pub fn interpolation(&self) -> OptimalInterpolation {
        OptimalInterpolation::new(self.statistics.variability.clone(), &self.mask.places())
    }

    /// The grid in words.
    pub fn grid(&self) -> String {
        grid(&self.latitude, &self.longitude)
    }

    /// An error unless `field` lies on this place's grid; `whose` says which that is.
    fn expect_grid_of(&self, field: &Field, path: &Path, whose: &str) -> Result<()> {
        let close = |a: &[f64], b: &[f64]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-3);
        if close(&self.latitude, &field.latitude) && close(&self.longitude, &field.longitude) {
            return Ok(());
        }
        let expected = self.grid();
        let found = grid(&field.latitude, &field.longitude);
        Err(Error::Input(format!("{}: {whose} {expected}, the file has {found}", path.display())))
    }
}

/// A grid in words.
fn grid(latitude: &[f64], longitude: &[f64]) -> String {
    let ends = |axis: &[f64]| format!("{:.3} to {:.3}", axis[0], axis[axis.len() - 1]);
    let (rows, columns) = (latitude.len(), longitude.len());
    format!("a grid of {rows} x {columns} (latitude {}, longitude {})", ends(latitude), ends(longitude))
}

/// [`Place`] as it is stored with weights.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredPlace {
    latitude: Vec<f64>,
    longitude: Vec<f64>,
    /// One digit a pixel, row by row: 1 is sea.
    sea: String,
    scaling: Scaling,
    mean: Vec<f32>,
    std: Vec<f32>,
    variability: Variability,
    low: Vec<f32>,
    high: Vec<f32>,
}

impl From<Place> for StoredPlace {
    fn from(place: Place) -> Self {
        let sea = place.mask.sea.iter().map(|&sea| if sea { '1' } else { '0' }).collect();
        let Statistics { mean, std, variability, low, high } = place.statistics;
        let (latitude, longitude, scaling) = (place.latitude, place.longitude, place.scaling);
        StoredPlace { latitude, longitude, sea, scaling, mean, std, variability, low, high }
    }
}

impl TryFrom<StoredPlace> for Place {
    type Error = Error;

    fn try_from(stored: StoredPlace) -> Result<Self> {
        let StoredPlace { latitude, longitude, sea, scaling, mean, std, variability, low, high } = stored;
        let sea = sea.chars().map(|digit| digit == '1').collect();
        let mask = SeaMask::new(sea, latitude.len(), longitude.len())?;
        let expected = mask.len();
        if let Some(found) = [&mean, &std, &low, &high].iter().map(|s| s.len()).find(|&len| len != expected) {
            return Err(Error::Input(format!("statistics: expected {expected} sea pixels, found {found}")));
        }
        if let Some(what) = variability.complaint(expected) {
            return Err(Error::Input(what));
        }
        let statistics = Statistics { mean, std, variability, low, high };
        Ok(Place { latitude, longitude, mask, scaling, statistics })
    }
}

/// A record at the sea pixels of its place.
#[derive(Clone, Debug)]
pub struct Record {
    /// The variable as the file has it, in its own units.
    pub field: Field,
    /// What is taken of the values before [`Scaling`].
    pub transform: Transform,
    /// Values that have no logarithm and count as missing.
    pub dropped: usize,
    /// Cells of the training frames that an evaluation hides.
    pub withheld: usize,
    /// Frames that train.
    pub train: Range<usize>,
    /// Where it is.
    pub place: Place,
    /// The values at the sea pixels, on the model's scale.
    pub series: Series,
}

impl Record {
    /// Reads a record to train on; statistics come from the training frames, and so does the sea unless `mask` or an
    /// evaluation in `data.heldout` gives it. What the evaluation hides in the training frames counts as missing.
    ///
    /// # Errors
    /// [`Error::File`] and [`Error::Input`] as [`netcdf::read`] and [`HeldOut::read`], and when the mask or the
    /// evaluation has another grid, or there are fewer frames than should train.
    pub fn to_train(path: &Path, data: &Data, mask: Option<SeaMask>) -> Result<Self> {
        let mut field = netcdf::read(path, &data.variable)?;
        let transform = data.transform.unwrap_or_else(|| usual_transform(&field));
        let heldout = data.heldout.as_deref().map(HeldOut::read).transpose()?;
        let withheld = heldout.as_ref().map_or(Ok(0), |heldout| {
            let train = 0..data.train_frames.unwrap_or(field.frames);
            heldout.remove_from(&mut field, train).map_err(|error| in_file(path, error))
        })?;
        let mask = mask.or(heldout.map(|heldout| heldout.mask));
        let record = Self::of_field(field, transform, data, mask).map_err(|error| in_file(path, error))?;
        Ok(Record { withheld, ..record })
    }

    /// A record to train on from a field that is already read.
    ///
    /// # Errors
    /// As [`Record::to_train`].
    pub fn of_field(field: Field, transform: Transform, data: &Data, mask: Option<SeaMask>) -> Result<Self> {
        let share = data.train_frames.map_or(TrainShare::Fraction(1.0), TrainShare::Frames);
        let train = split(field.frames, share)?.train;
        let (scaled, dropped) = scaled(&field, transform)?;
        let mask = match mask {
            Some(mask) => mask,
            None => SeaMask::observed(&scaled, train.clone(), data.missing_threshold)?,
        };
        let mut series = Series::gather(&scaled, &mask)?;
        let scaling = Scaling::of(&series, transform, train.start * mask.len()..train.end * mask.len());
        scaling.apply(&mut series);
        let statistics = Statistics::of(&series, train.clone())?;
        let (latitude, longitude) = (field.latitude.clone(), field.longitude.clone());
        let place = Place { latitude, longitude, mask, scaling, statistics };
        Ok(Record { field, transform, dropped, withheld: 0, train, place, series })
    }

    /// Reads a record for weights that were trained at `place`.
    ///
    /// # Errors
    /// As [`Record::to_train`], and [`Error::Input`] with both grids when they differ.
    pub fn at(path: &Path, data: &Data, place: Place) -> Result<Self> {
        Self::of_field_at(netcdf::read(path, &data.variable)?, path, data, place)
    }

    /// As [`Record::to_train`], with a frame for every step of the time axis, wholly missing where the file leaves it out.
    /// The training frames then count those too.
    ///
    /// # Errors
    /// As [`Record::to_train`], and [`Error::Input`] when the time axis is irregular.
    pub fn regular_to_train(path: &Path, data: &Data) -> Result<(Self, Rhythm)> {
        let field = netcdf::read(path, &data.variable)?;
        let read = |field: Field| {
            // What is wrong with the number of frames is said of those in the file.
            split(field.frames, data.train_frames.map_or(TrainShare::Fraction(1.0), TrainShare::Frames))?;
            let transform = data.transform.unwrap_or_else(|| usual_transform(&field));
            let (field, rhythm) = rhythm::regular(field)?;
            let data = Data { train_frames: training_end(data, &rhythm), ..data.clone() };
            Ok((Self::of_field(field, transform, &data, None)?, rhythm))
        };
        read(field).map_err(|error| in_file(path, error))
    }

    /// As [`Record::at`], with a frame for every step of the time axis, wholly missing where the file leaves it out. The
    /// training frames then count those too.
    ///
    /// # Errors
    /// As [`Record::at`], and [`Error::Input`] when the time axis is irregular.
    pub fn regular_at(path: &Path, data: &Data, place: Place) -> Result<(Self, Rhythm)> {
        let field = netcdf::read(path, &data.variable)?;
        let (field, rhythm) = rhythm::regular(field).map_err(|error| in_file(path, error))?;
        let data = Data { train_frames: training_end(data, &rhythm), ..data.clone() };
        Ok((Self::of_field_at(field, path, &data, place)?, rhythm))
    }

    fn of_field_at(field: Field, path: &Path, data: &Data, place: Place) -> Result<Self> {
        place.expect_grid_of(&field, path, "the weights were trained on")?;
        let transform = data.transform.unwrap_or_default();
        let (scaled, dropped) = scaled(&field, transform).map_err(|error| in_file(path, error))?;
        let mut series = Series::gather(&scaled, &place.mask)?;
        place.scaling.apply(&mut series);
        let train = 0..data.train_frames.unwrap_or(field.frames).min(field.frames);
        Ok(Record { field, transform, dropped, withheld: 0, train, place, series })
    }

    /// A `field` of the same variable, such as an imputed one, at the nodes and on the scale of this record.
    ///
    /// # Errors
    /// [`Error::Input`] with both grids when they differ, and when no value has a logarithm that needs one.
    pub fn like(&self, field: Field, path: &Path) -> Result<Self> {
        self.place.expect_grid_of(&field, path, "the data have")?;
        let data = Data { transform: Some(self.transform), ..Data::default() };
        Self::of_field_at(field, path, &data, self.place.clone())
    }

    /// Period of the year of each of `frames`, from 0.
    pub fn periods(&self, season: Season, frames: Range<usize>) -> Vec<usize> {
        self.field.time.dates[frames].iter().map(|date| season.period(date.month, date.day_of_year)).collect()
    }

    /// The cells of `frames` at the nodes: a range of [`Series::values`].
    pub fn cells(&self, frames: Range<usize>) -> Range<usize> {
        frames.start * self.series.nodes..frames.end * self.series.nodes
    }

    /// The record over `frames` alone, all of them to be filled.
    pub fn part(&self, frames: Range<usize>) -> Record {
        let (field, pixels) = (&self.field, self.place.mask.sea.len());
        let field = Field {
            values: field.values[frames.start * pixels..frames.end * pixels].to_vec(),
            frames: frames.len(),
            time: field.time.slice(frames.clone()),
            ..field.clone()
        };
        Record { field, series: self.series.part(frames), train: 0..0, place: self.place.clone(), ..*self }
    }

    /// The values of the `visible` cells `[frames, nodes]` in the variable's units on the grid
    /// `[frames, height, width]`, NaN elsewhere.
    pub fn seen(&self, visible: &[bool]) -> Vec<f32> {
        let shown = self.place.mask.scatter(visible, false);
        self.field.values.iter().zip(shown).map(|(value, shown)| if shown { *value } else { f32::NAN }).collect()
    }

    /// What was read, in a few lines for the user.
    pub fn describe(&self) -> String {
        let Series { frames, nodes, observed, .. } = &self.series;
        let missing = observed.iter().filter(|seen| !**seen).count() as f64 / observed.len() as f64;
        let dates = &self.field.time.dates;
        let mut text = format!(
            "`{}`: {frames} frames, {} to {}, on {} x {} pixels, {nodes} of them sea; {:.1} % of the sea cells missing",
            self.field.name,
            dates[0],
            dates[dates.len() - 1],
            self.field.height,
            self.field.width,
            100.0 * missing,
        );
        if self.transform == Transform::Log10 {
            text += "; in log10";
        }
        if self.withheld > 0 {
            text += &format!("; {} cells of the training frames withheld for evaluation", self.withheld);
        }
        if self.dropped > 0 {
            text += &format!("\n{} values of zero or less have no logarithm and count as missing", self.dropped);
        }
        text
    }
}

/// The transformed field, and how many values were dropped on the way.
fn scaled(field: &Field, transform: Transform) -> Result<(Field, usize)> {
    let mut scaled = field.clone();
    let dropped = transform.apply(&mut scaled.values);
    if scaled.values.iter().all(|value| value.is_nan()) {
        return Err(Error::Input(format!(
            "variable `{}`: expected values above 0 to take log10 of, found {dropped} of zero or less and none above",
            field.name
        )));
    }
    Ok((scaled, dropped))
}

/// The training frames among those of a completed axis.
fn training_end(data: &Data, rhythm: &Rhythm) -> Option<usize> {
    data.train_frames.map(|frames| rhythm.places.get(frames).copied().unwrap_or(rhythm.time.values.len()))
}

/// Chlorophyll is log-normal; its variables are told by their names.
fn usual_transform(field: &Field) -> Transform {
    let standard = field.standard_name.as_deref().unwrap_or_default();
    let chlorophyll = standard.contains("chlorophyll") || field.name.to_lowercase().contains("chl");
    if chlorophyll { Transform::Log10 } else { Transform::Identity }
}

fn in_file(path: &Path, error: Error) -> Error {
    match error {
        Error::Input(sentence) => Error::Input(format!("{}: {sentence}", path.display())),
        other => other,
    }
}
