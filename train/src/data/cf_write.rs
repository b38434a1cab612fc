//! Results as a CF-1.8 NetCDF file that xarray, CDO and Panoply read as it is.

use std::io;
use std::path::Path;

use netcdf_writer::{
    DimensionId, Error as WriterError, NcAttrValue, NcFileBuilder, NcWriteFormat, NcWriteOptions, VariableId,
};

use super::atomic;
use super::netcdf::Field;
use super::time::TimeAxis;
use crate::{Error, Result};

#[cfg(test)]
mod tests;

/// `_FillValue` of the written floats: NetCDF's default for them.
pub const FILL_VALUE: f32 = 9.969_21e36;

/// What goes into a file: variables `[frames, height, width]` on one grid.
#[derive(Debug, Clone)]
pub struct Output<'a> {
    /// Global attribute `title`.
    pub title: String,
    /// Global attribute `source`: the model and data behind the values.
    pub source: String,
    /// The command that wrote the file, put before the history of the input.
    pub history: String,
    /// Global attribute `comment`: how the values are to be read; empty for none.
    pub comment: String,
    /// Text attributes of the input that still hold: history, references, license, ...
    pub attributes: &'a [(String, String)],
    /// Names of the time, latitude and longitude dimensions.
    pub dimensions: [&'a str; 3],
    /// Time of each frame.
    pub time: &'a TimeAxis,
    /// Latitude of each row, degrees north.
    pub latitude: &'a [f64],
    /// Longitude of each column, degrees east.
    pub longitude: &'a [f64],
    /// Variables of real numbers.
    pub variables: Vec<OutputVariable<'a>>,
    /// Variables of categories.
    pub flags: Vec<OutputFlag<'a>>,
}

/// A variable of real numbers.
#[derive(Debug, Clone)]
pub struct OutputVariable<'a> {
    /// Name in the file.
    pub name: String,
    /// What it is, in words.
    pub long_name: String,
    /// CF standard name, if there is one.
    pub standard_name: Option<String>,
    /// Units, if the variable has any.
    pub units: Option<String>,
    /// Values `[frames, height, width]`, NaN where missing.
    pub values: &'a [f32],
}

/// A variable that says for each cell which of a few things it is.
#[derive(Debug, Clone)]
pub struct OutputFlag<'a> {
    /// Name in the file.
    pub name: String,
    /// What it is, in words.
    pub long_name: String,
    /// The meaning of the values 0, 1, ...: one word each.
    pub meanings: &'a [&'a str],
    /// Values `[frames, height, width]`.
    pub values: &'a [i8],
}

/// Median, mean, spread and quantiles of an ensemble, each `[frames, height, width]` in the units
/// of the field, NaN where missing.
#[derive(Debug, Clone, Copy)]
pub struct Summary<'a> {
    /// Median, the best estimate.
    pub median: &'a [f32],
    /// Mean.
    pub mean: &'a [f32],
    /// Standard deviation.
    pub std: &'a [f32],
    /// 5 % quantile.
    pub q05: &'a [f32],
    /// 95 % quantile.
    pub q95: &'a [f32],
}

impl<'a> Output<'a> {
    /// An output on the grid and the times of `field`, without variables yet.
    pub fn like(field: &'a Field, title: String, source: String, history: String) -> Self {
        Output {
            title,
            source,
            history,
            comment: String::new(),
            attributes: &field.attributes,
            dimensions: field.dimensions.each_ref().map(String::as_str),
            time: &field.time,
            latitude: &field.latitude,
            longitude: &field.longitude,
            variables: Vec::new(),
            flags: Vec::new(),
        }
    }

    /// Adds the five variables of an ensemble of the variable of `field`: `NAME` (the median),
    /// `NAME_mean`, `NAME_std`, `NAME_q05` and `NAME_q95`.
    pub fn add_summary(&mut self, field: &Field, summary: Summary<'a>) {
        let name = &field.name;
        let what = field.long_name.as_ref().unwrap_or(name);
        let mut add = |suffix: &str, words: &str, standard: &Option<String>, values: &'a [f32]| {
            self.variables.push(OutputVariable {
                name: format!("{name}{suffix}"),
                long_name: format!("{what} ({words})"),
                standard_name: standard.clone(),
                units: field.units.clone(),
                values,
            });
        };
        add("", "median", &field.standard_name, summary.median);
        add("_mean", "mean", &field.standard_name, summary.mean);
        add("_std", "standard deviation", &None, summary.std);
        add("_q05", "5 % quantile", &field.standard_name, summary.q05);
        add("_q95", "95 % quantile", &field.standard_name, summary.q95);
    }

    /// Writes the file: NetCDF-3 with 64-bit offsets, or 64-bit data where a variable needs it.
    ///
    /// # Errors
    /// [`Error::File`] when the file cannot be written, nothing being left of it;
    /// [`Error::Fault`] when a variable does not fill the grid or a name is not valid.
    pub fn write(&self, path: &Path) -> Result<()> {
        let fault = |error: WriterError| Error::Fault(format!("{}: {error}", path.display()));
        let file = self.build().map_err(fault)?;
        let write = |format: NcWriteFormat| {
            atomic::write(path, |to| {
                let written = file.write(to, NcWriteOptions { format });
                written.map(|_| ()).map_err(|error| match error {
                    WriterError::Io(error) => error,
                    other => io::Error::other(other),
                })
            })
        };
        write(self.format())
    }

    fn format(&self) -> NcWriteFormat {
        // A variable of CDF-2 holds less than 4 GiB.
        let cells = self.time.values.len() * self.latitude.len() * self.longitude.len();
        match cells < 1 << 30 {
            true => NcWriteFormat::Offset64,
            false => NcWriteFormat::Cdf5,
        }
    }

    fn build(&self) -> netcdf_writer::Result<NcFileBuilder> {
        let mut file = NcFileBuilder::new();
        for (name, value) in self.global_attributes() {
            file.add_attribute(name, NcAttrValue::Chars(value))?;
        }
        let lengths = [self.time.values.len(), self.latitude.len(), self.longitude.len()];
        let mut dimensions = Vec::with_capacity(3);
        for (name, length) in self.dimensions.iter().zip(lengths) {
            dimensions.push(file.add_dimension(*name, length as u64)?);
        }
        let (units, calendar) = (self.time.units.as_str(), self.time.calendar.as_str());
        let time = [("standard_name", "time"), ("units", units), ("calendar", calendar), ("axis", "T")];
        let latitude = [("standard_name", "latitude"), ("units", "degrees_north"), ("axis", "Y")];
        let longitude = [("standard_name", "longitude"), ("units", "degrees_east"), ("axis", "X")];
        self.coordinate(&mut file, 0, dimensions[0], &self.time.values, &time)?;
        self.coordinate(&mut file, 1, dimensions[1], self.latitude, &latitude)?;
        self.coordinate(&mut file, 2, dimensions[2], self.longitude, &longitude)?;
        for variable in &self.variables {
            add_variable(&mut file, variable, &dimensions)?;
        }
        for flag in &self.flags {
            add_flag(&mut file, flag, &dimensions)?;
        }
        Ok(file)
    }

    fn coordinate(
        &self,
        file: &mut NcFileBuilder,
        axis: usize,
        dimension: DimensionId,
        values: &[f64],
        attributes: &[(&str, &str)],
    ) -> netcdf_writer::Result<()> {
        let variable = file.add_variable::<f64>(self.dimensions[axis], &[dimension])?;
        for (name, value) in attributes {
            add_text(file, variable, name, value)?;
        }
        file.write_variable(variable, values)
    }

    fn global_attributes(&self) -> Vec<(String, String)> {
        let of_input =
            |name: &str| self.attributes.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, v)| v);
        let mut history = self.history.clone();
        if let Some(old) = of_input("history") {
            history = format!("{history}\n{old}");
        }
        let mut all = vec![
            ("Conventions".to_owned(), "CF-1.8".to_owned()),
            ("title".to_owned(), self.title.clone()),
            ("source".to_owned(), self.source.clone()),
            ("history".to_owned(), history),
        ];
        if !self.comment.is_empty() {
            all.push(("comment".to_owned(), self.comment.clone()));
        }
        // Extents, versions and identifiers of the input would be wrong of a result.
        for (name, new) in [
            ("license", "license"),
            ("references", "references"),
            ("title", "input_title"),
            ("source", "input_source"),
            ("institution", "input_institution"),
        ] {
            all.extend(of_input(name).map(|value| (new.to_owned(), value.clone())));
        }
        all
    }
}

fn add_variable(
    file: &mut NcFileBuilder,
    of: &OutputVariable,
    dimensions: &[DimensionId],
) -> netcdf_writer::Result<()> {
    let variable = file.add_variable::<f32>(&of.name, dimensions)?;
    add_text(file, variable, "long_name", &of.long_name)?;
    if let Some(name) = &of.standard_name {
        add_text(file, variable, "standard_name", name)?;
    }
    if let Some(units) = &of.units {
        add_text(file, variable, "units", units)?;
    }
    file.set_variable_fill_value(variable, FILL_VALUE)?;
    let fill = |&value: &f32| if value.is_finite() { value } else { FILL_VALUE };
    let values: Vec<f32> = of.values.iter().map(fill).collect();
    file.write_variable(variable, &values)
}

fn add_flag(file: &mut NcFileBuilder, flag: &OutputFlag, dimensions: &[DimensionId]) -> netcdf_writer::Result<()> {
    let variable = file.add_variable::<i8>(&flag.name, dimensions)?;
    add_text(file, variable, "long_name", &flag.long_name)?;
    let values = (0..flag.meanings.len()).map(|value| value as i8).collect();
    file.add_variable_attribute(variable, "flag_values", NcAttrValue::Bytes(values))?;
    add_text(file, variable, "flag_meanings", &flag.meanings.join(" "))?;
    file.write_variable(variable, flag.values)
}

fn add_text(file: &mut NcFileBuilder, variable: VariableId, name: &str, value: &str) -> netcdf_writer::Result<()> {
    file.add_variable_attribute(variable, name, NcAttrValue::Chars(value.to_owned()))
}
