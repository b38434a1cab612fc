//! What a file holds.

use std::path::Path;

use netcdf_reader::NcGroup;

use super::axes::{dimensions, text};
use super::complete::Source;
use super::{Refusal, damaged, with_file};
use crate::Result;

/// A variable of a file, for listings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VariableInfo {
    /// Name, with its groups (`group/variable`) in a NetCDF-4 file.
    pub name: String,
    /// Name and length of each dimension, slowest first.
    pub dimensions: Vec<(String, usize)>,
    /// Units, if the variable has any.
    pub units: Option<String>,
    /// Whether the variable holds the coordinates of its own dimension.
    pub is_coordinate: bool,
}

impl std::fmt::Display for VariableInfo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let dimensions = self.dimensions.iter().map(|(name, size)| format!("{name} = {size}"));
        let dimensions: Vec<_> = dimensions.collect();
        write!(f, "{}[{}]", self.name, dimensions.join(", "))
    }
}

/// Lists the variables of a file with their dimensions.
///
/// # Errors
/// [`crate::Error::File`] when the file cannot be opened, [`crate::Error::Input`] when it is not NetCDF.
pub fn variables(path: &Path) -> Result<Vec<VariableInfo>> {
    with_file(path, list)
}

pub(super) fn list(source: &Source) -> std::result::Result<Vec<VariableInfo>, Refusal> {
    fn visit(group: &NcGroup, folder: &str, list: &mut Vec<VariableInfo>) {
        list.extend(group.variables.iter().map(|variable| VariableInfo {
            name: format!("{folder}{}", variable.name),
            dimensions: dimensions(variable),
            units: text(variable, "units"),
            is_coordinate: variable.is_coordinate_variable(),
        }));
        for child in &group.groups {
            visit(child, &format!("{folder}{}/", child.name), list);
        }
    }
    let mut list = Vec::new();
    visit(source.file.root_group().map_err(|error| damaged(&error))?, "", &mut list);
    Ok(list)
}
