//! Which dimension of a variable is time, latitude or longitude (CF Conventions, chapter 4).

use std::cmp::Reverse;

use netcdf_reader::{NcFile, NcGroup, NcVariable};

/// What a dimension of a field stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Time,
    Latitude,
    Longitude,
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Role::Time => "time",
            Role::Latitude => "latitude",
            Role::Longitude => "longitude",
        }
    }
}

/// A dimension of a variable with its one-dimensional coordinate variable.
pub(super) struct Axis<'f> {
    /// Position among the variable's dimensions.
    pub(super) position: usize,
    pub(super) coordinate: &'f NcVariable,
    /// Path of the coordinate variable in the file.
    pub(super) path: String,
}

/// Name and length of each dimension, slowest first.
pub(super) fn dimensions(variable: &NcVariable) -> Vec<(String, usize)> {
    let dimensions = variable.dimensions().iter();
    dimensions.map(|d| (d.name.clone(), usize::try_from(d.size).unwrap_or(usize::MAX))).collect()
}

/// The axes of a variable, and its lengths `[frames, height, width]` along them.
pub(super) struct Grid<'f> {
    pub(super) time: Option<Axis<'f>>,
    pub(super) latitude: Axis<'f>,
    pub(super) longitude: Axis<'f>,
    pub(super) shape: [usize; 3],
}

impl<'f> Grid<'f> {
    /// Finds the axes of the variable at `path`, or says what is wrong with its dimensions.
    pub(super) fn of(file: &'f NcFile, path: &str, variable: &NcVariable, with_time: bool) -> Result<Self, String> {
        let all = dimensions(variable);
        let listed: Vec<_> = all.iter().map(|(name, size)| format!("{name} = {size}")).collect();
        let listed = listed.join(", ");
        let expected = if with_time { "time, latitude, longitude" } else { "latitude, longitude" };
        let axis = |role: Role| {
            find(file, path, variable, role).ok_or_else(|| {
                format!(
                    "variable `{path}`: expected the dimensions ({expected}), found ({listed}) \
                     with no one-dimensional {} coordinate",
                    role.name()
                )
            })
        };
        let time = if with_time { Some(axis(Role::Time)?) } else { None };
        let (latitude, longitude) = (axis(Role::Latitude)?, axis(Role::Longitude)?);
        let length = |axis: &Axis| all[axis.position].1;
        let shape = [time.as_ref().map_or(1, length), length(&latitude), length(&longitude)];
        let count = all.iter().fold(1usize, |n, (_, size)| n.saturating_mul(*size));
        let used = shape.iter().fold(1usize, |n, size| n.saturating_mul(*size));
        let shared = latitude.position == longitude.position
            || time.iter().any(|t| [latitude.position, longitude.position].contains(&t.position));
        if count != used || shared {
            return Err(format!(
                "variable `{path}`: expected the dimensions ({expected}) and others of size 1, \
                 found ({listed})"
            ));
        }
        if count == 0 {
            return Err(format!("variable `{path}`: expected data, found ({listed})"));
        }
        Ok(Grid { time, latitude, longitude, shape })
    }
}

/// The text of an attribute, if it has one.
pub(super) fn text(variable: &NcVariable, attribute: &str) -> Option<String> {
    let text = variable.attribute(attribute)?.value.as_string()?;
    let trimmed = text.trim_matches(['\0', ' ']);
    (!trimmed.is_empty()).then(|| trimmed.to_owned())
}

/// The axis of `role` among the dimensions of the variable at `path`; the longest of several.
fn find<'f>(file: &'f NcFile, path: &str, variable: &NcVariable, role: Role) -> Option<Axis<'f>> {
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let groups = [folder, ""].map(|name| (name, file.group(name).ok()));
    let axis = |(position, dimension): (usize, &netcdf_reader::NcDimension)| {
        let coordinates = |(name, group): &(&str, Option<&'f NcGroup>)| {
            let coordinate = coordinate(group.as_ref()?, &dimension.name, role)?;
            let path = format!("{name}/{}", coordinate.name);
            Some(Axis { position, coordinate, path: path.trim_matches('/').to_owned() })
        };
        groups.iter().find_map(coordinates)
    };
    let axes = variable.dimensions().iter().enumerate().filter_map(axis);
    axes.min_by_key(|axis| Reverse(variable.dimensions()[axis.position].size))
}

fn coordinate<'f>(group: &'f NcGroup, dimension: &str, role: Role) -> Option<&'f NcVariable> {
    let along = |variable: &&NcVariable| match variable.dimensions() {
        [only] => only.name == dimension && role_of(variable) == Some(role),
        _ => false,
    };
    let named = group.variables.iter().find(|variable| variable.name == dimension);
    named.filter(along).or_else(|| group.variables.iter().find(along))
}

/// The role that a coordinate variable's standard name, units, axis or name give it, in this order.
fn role_of(variable: &NcVariable) -> Option<Role> {
    if let Some(name) = text(variable, "standard_name") {
        return match name.as_str() {
            "time" => Some(Role::Time),
            "latitude" => Some(Role::Latitude),
            "longitude" => Some(Role::Longitude),
            _ => None,
        };
    }
    let units = text(variable, "units").unwrap_or_default().to_lowercase();
    match units.as_str() {
        "degrees_north" | "degree_north" | "degrees_n" | "degree_n" => return Some(Role::Latitude),
        "degrees_east" | "degree_east" | "degrees_e" | "degree_e" => return Some(Role::Longitude),
        units if units.contains(" since ") => return Some(Role::Time),
        "" | "degrees" | "degree" => {}
        _ => return None,
    }
    if let Some(axis) = text(variable, "axis") {
        return match axis.as_str() {
            "T" => Some(Role::Time),
            "Y" => Some(Role::Latitude),
            "X" => Some(Role::Longitude),
            _ => None,
        };
    }
    match variable.name.to_lowercase().as_str() {
        "time" => Some(Role::Time),
        "lat" | "latitude" | "nav_lat" => Some(Role::Latitude),
        "lon" | "longitude" | "nav_lon" => Some(Role::Longitude),
        _ => None,
    }
}
