//! Reading a field `[time, latitude, longitude]` from a NetCDF file (NetCDF-3 and NetCDF-4).

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use netcdf_reader::{NcFile, NcType, NcVariable};

use super::time::TimeAxis;
use crate::{Error, Result};
use axes::{Axis, Grid, text};
use complete::Source;
use listing::list;

pub use listing::{VariableInfo, variables};

mod axes;
mod complete;
mod listing;
#[cfg(test)]
mod tests;

/// A variable on a regular grid through time, as read from a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    /// Name of the variable in the file.
    pub name: String,
    /// `long_name` of the variable.
    pub long_name: Option<String>,
    /// CF `standard_name` of the variable.
    pub standard_name: Option<String>,
    /// Units of `values`.
    pub units: Option<String>,
    /// Unpacked values `[frames, height, width]`, NaN where missing; rows in file order.
    pub values: Vec<f32>,
    /// Number of frames.
    pub frames: usize,
    /// Number of latitudes.
    pub height: usize,
    /// Number of longitudes.
    pub width: usize,
    /// Time of each frame.
    pub time: TimeAxis,
    /// Latitude of each row in degrees north, ascending or descending as in the file.
    pub latitude: Vec<f64>,
    /// Longitude of each column in degrees east, in the file's own range.
    pub longitude: Vec<f64>,
    /// The file's names of the time, latitude and longitude dimensions.
    pub dimensions: [String; 3],
    /// Text attributes of the file (title, source, history, ...), in file order.
    pub attributes: Vec<(String, String)>,
}

/// Reads the variable called `variable`: unpacked, with everything missing as NaN.
///
/// The variable needs a time, a latitude and a longitude dimension in any order; every other
/// dimension must have size 1. Missing is what `_FillValue`, `missing_value` and the valid range
/// say, what is not finite, and the default fill value of floats.
///
/// # Errors
/// [`Error::File`] when the file cannot be opened, [`Error::Input`] when it is not a complete
/// NetCDF file or does not hold such a variable.
pub fn read(path: &Path, variable: &str) -> Result<Field> {
    with_file(path, |source| read_field(source, variable))
}

/// Reads a mask `[latitude, longitude]`, such as land and sea: true where the variable is
/// present and not zero. Returns the mask with its height and width.
///
/// # Errors
/// As [`read`], and [`Error::Input`] when the variable depends on time.
pub fn read_mask(path: &Path, variable: &str) -> Result<(Vec<bool>, usize, usize)> {
    with_file(path, |source| {
        let found = lookup(source, variable)?;
        let grid = Grid::of(&source.file, variable, found, false)?;
        let mask = grid_values(source, variable, found, &grid)?;
        let [_, height, width] = grid.shape;
        Ok((mask.iter().map(|v| !v.is_nan() && *v != 0.0).collect(), height, width))
    })
}

/// Values beyond this in a float variable without `_FillValue` are NetCDF's default fill, 9.97e36.
const DEFAULT_FILL: f64 = 9.96e36;

/// Why a file could not be used, as the end of a sentence that begins with its path.
type Refusal = String;

fn with_file<T>(path: &Path, work: impl FnOnce(&Source) -> std::result::Result<T, Refusal>) -> Result<T> {
    let metadata = File::open(path).and_then(|file| file.metadata()).map_err(|error| Error::file(path, error))?;
    if metadata.is_dir() {
        return Err(Error::file(path, std::io::ErrorKind::IsADirectory.into()));
    }
    let attempt = || match NcFile::open(path) {
        Ok(file) => {
            let source = Source { file, bytes: metadata.len() };
            source.check_complete(path)?;
            work(&source)
        }
        Err(netcdf_reader::Error::InvalidMagic) => Err("expected a NetCDF file, found another format".into()),
        Err(error) => Err(damaged(&error)),
    };
    // A damaged file must end in a sentence even where the reader does not foresee the damage.
    let outcome = catch_unwind(AssertUnwindSafe(attempt));
    let outcome = outcome.unwrap_or_else(|_| Err(damaged(&"inconsistent header")));
    outcome.map_err(|refusal| Error::Input(format!("{}: {refusal}", path.display())))
}

fn damaged(error: &dyn std::fmt::Display) -> Refusal {
    let reason = error.to_string();
    if reason.contains("unsupported") {
        return format!("expected a NetCDF feature that is read here, found another ({reason})");
    }
    format!("expected a complete NetCDF file, found a truncated or damaged one ({reason})")
}

fn lookup<'f>(source: &'f Source, name: &str) -> std::result::Result<&'f NcVariable, Refusal> {
    let found = source.file.root_group().ok().and_then(|root| root.variable(name));
    if let Some(variable) = found {
        return match variable.dtype() {
            NcType::Byte
            | NcType::UByte
            | NcType::Short
            | NcType::UShort
            | NcType::Int
            | NcType::UInt
            | NcType::Int64
            | NcType::UInt64
            | NcType::Float
            | NcType::Double => Ok(variable),
            other => Err(format!("variable `{name}`: expected numbers, found the type {other:?}")),
        };
    }
    let data = list(source)?.into_iter().filter(|info| !info.is_coordinate);
    let names: Vec<String> = data.map(|info| info.name).collect();
    if names.is_empty() {
        return Err(format!("variable `{name}` not found; the file has no data variables"));
    }
    Err(format!("variable `{name}` not found; the file has: {}", names.join(", ")))
}

fn read_field(source: &Source, name: &str) -> std::result::Result<Field, Refusal> {
    let variable = lookup(source, name)?;
    let grid = Grid::of(&source.file, name, variable, true)?;
    let [frames, height, width] = grid.shape;
    let values = grid_values(source, name, variable, &grid)?;
    if values.iter().all(|value| value.is_nan()) {
        return Err(format!("variable `{name}`: expected data, found only missing values"));
    }
    let Some(time) = &grid.time else {
        return Err(format!("variable `{name}`: expected a time dimension, found none"));
    };
    let names = [time, &grid.latitude, &grid.longitude].map(|axis| variable.dimensions()[axis.position].name.clone());
    Ok(Field {
        name: variable.name.clone(),
        long_name: text(variable, "long_name"),
        standard_name: text(variable, "standard_name"),
        units: text(variable, "units"),
        values,
        frames,
        height,
        width,
        time: time_axis(source, time)?,
        latitude: coordinate_values(source, &grid.latitude)?,
        longitude: coordinate_values(source, &grid.longitude)?,
        dimensions: names,
        attributes: text_attributes(source),
    })
}

fn time_axis(source: &Source, axis: &Axis) -> std::result::Result<TimeAxis, Refusal> {
    let values = coordinate_values(source, axis)?;
    let units = text(axis.coordinate, "units").unwrap_or_default();
    let calendar = text(axis.coordinate, "calendar").unwrap_or_else(|| "standard".into());
    TimeAxis::decode(values, &units, &calendar).map_err(|refusal| format!("variable `{}`: {refusal}", axis.path))
}

fn coordinate_values(source: &Source, axis: &Axis) -> std::result::Result<Vec<f64>, Refusal> {
    source.check_size(axis.coordinate)?;
    let array = source.file.read_variable_unpacked(&axis.path).map_err(|error| damaged(&error))?;
    let values: Vec<f64> = array.iter().copied().collect();
    match values.iter().find(|value| !value.is_finite()) {
        Some(value) => Err(format!("variable `{}`: expected finite coordinates, found {value}", axis.path)),
        None => Ok(values),
    }
}

/// Values `[frames, height, width]` of a variable, whatever the order of its dimensions.
fn grid_values(
    source: &Source,
    name: &str,
    variable: &NcVariable,
    grid: &Grid,
) -> std::result::Result<Vec<f32>, Refusal> {
    source.check_size(variable)?;
    let mut array = source.file.read_variable_unpacked_masked(name).map_err(|error| damaged(&error))?;
    let is_float = matches!(variable.dtype(), NcType::Float | NcType::Double);
    if is_float && variable.attribute("_FillValue").is_none() {
        array.mapv_inplace(|v| if v.abs() > DEFAULT_FILL { f64::NAN } else { v });
    }
    let position = |axis: &Axis| axis.position;
    let mut order: Vec<usize> = grid.time.iter().map(position).collect();
    order.extend([&grid.latitude, &grid.longitude].map(position));
    let squeezed: Vec<usize> = (0..array.ndim()).filter(|i| !order.contains(i)).collect();
    order.splice(0..0, squeezed);
    let missing_unless_finite = |value: &f64| match *value as f32 {
        finite if finite.is_finite() => finite,
        _ => f32::NAN,
    };
    Ok(array.permuted_axes(order).iter().map(missing_unless_finite).collect())
}

fn text_attributes(source: &Source) -> Vec<(String, String)> {
    let attributes = source.file.global_attributes().unwrap_or_default().iter();
    attributes.filter_map(|a| Some((a.name.clone(), a.value.as_string()?))).collect()
}
