//! A report of a run as one HTML page that needs nothing else: maps with a frame slider, time series at any pixel, the
//! loss, the scores, the learned embedding and how it all was made.
//!
//! The page is the template `page.html` with the style and the script put in. Fields travel as 16-bit numbers in
//! base64, sea pixels only, and the script draws them; [`Report::plots`] writes the same pictures as PNG files.

mod data;
mod layers;
mod pixels;
mod plots;
mod simulation;
mod text;

use std::io::Write;
use std::path::Path;

use isobath_models::metrics::{IntervalScores, Scores};

use crate::data::atomic;
use crate::data::nodes::Transform;
use crate::data::time::TimeAxis;
use crate::picture::Colormap;
use crate::record::{Place, Record};
use crate::trained::Trained;
use crate::training::Step;
use crate::{Error, Result};

pub use plots::loss_curve;
pub use simulation::simulation;
pub use text::pretty_units;

/// Size in bytes beyond which a page leaves out frames, evenly, and says so.
pub const LARGEST: usize = 15 << 20;

/// One script in four files.
const SCRIPT: &str =
    concat!(include_str!("fields.js"), include_str!("maps.js"), include_str!("charts.js"), include_str!("script.js"));

/// What a page shows. Whatever is empty or `None` is left out of it.
pub struct Report<'a> {
    /// Heading of the page.
    pub title: String,
    /// What the page is about, in a sentence or two.
    pub lead: String,
    /// What the fields hold.
    pub quantity: Quantity,
    /// The grid and its sea.
    pub place: &'a Place,
    /// The filled or forecast records, at least one; the reader chooses among several.
    pub views: Vec<View<'a>>,
    /// A few results, label and value.
    pub highlights: Vec<(String, String)>,
    /// The score table.
    pub scores: Vec<Score>,
    /// Units of the scores.
    pub score_units: String,
    /// How the error of forecasts grows, the same lead times for each method.
    pub lead_errors: Vec<LeadErrors>,
    /// The trainings.
    pub loss: Vec<Curve>,
    /// The learned embedding of the sea pixels `[nodes, prototypes]`.
    pub embedding: Vec<f32>,
    /// The resolved configuration as TOML.
    pub config: Option<String>,
    /// How the page was made, label and value: versions, seed, device, times.
    pub facts: Vec<(String, String)>,
}

/// What a field holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Quantity {
    /// What it is, in words.
    pub name: String,
    /// Units as people write them.
    pub units: String,
    /// Whether it is shown on logarithmic scales, and its errors as differences of log10.
    pub logarithmic: bool,
    /// Colours of its maps.
    pub colormap: Colormap,
}

impl Quantity {
    /// The variable of `record`: logarithmic if the model works on its logarithm.
    pub fn of(record: &Record) -> Self {
        let field = &record.field;
        let name = text::short_name(field.long_name.as_deref().unwrap_or(&field.name));
        let units = pretty_units(field.units.as_deref().unwrap_or_default());
        let logarithmic = record.transform == Transform::Log10;
        let warm = ["K", "°C"].contains(&units.as_str());
        Quantity { name, units, logarithmic, colormap: if warm { Colormap::Thermal } else { Colormap::Viridis } }
    }

    /// Units of its scores, which are those of the model's scale.
    fn score_units(&self) -> String {
        if self.logarithmic { format!("log₁₀ {}", self.units).trim_end().to_owned() } else { self.units.clone() }
    }

    /// `what` and the units, as a label.
    fn label(&self, what: &str) -> String {
        if self.units.is_empty() { what.to_owned() } else { format!("{what}, {}", self.units) }
    }
}

/// A record with its gaps filled, or a forecast. Every array is `[frames, height, width]` in the variable's units, NaN
/// where there is no value; on land nothing is read.
pub struct View<'a> {
    /// What tells it from other views, such as the missing rate.
    pub name: String,
    /// Time of each frame.
    pub time: &'a TimeAxis,
    /// What the model saw.
    pub observed: &'a [f32],
    /// What was hidden from it, where that is known; cells that were seen may hold anything.
    pub truth: Option<&'a [f32]>,
    /// Title of the estimate, such as `imputed (median)`.
    pub estimate_name: String,
    /// The best estimate; what was observed stands in its place.
    pub estimate: &'a [f32],
    /// Standard deviation of the samples.
    pub spread: Option<&'a [f32]>,
    /// Standard deviation of a forecast in total, in the units of the scores.
    pub deviation: Option<&'a [f32]>,
    /// The interval round the estimate; its width is a map where it is that of a forecast.
    pub interval: Option<Interval<'a>>,
    /// The first frame that is a forecast.
    pub forecast: Option<usize>,
}

impl View<'_> {
    /// How wide the interval of a forecast is.
    fn width(&self) -> Option<Vec<f32>> {
        let interval = self.interval.as_ref().filter(|_| self.forecast.is_some())?;
        Some(interval.low.iter().zip(interval.high).map(|(low, high)| high - low).collect())
    }
}

/// An interval for every cell.
pub struct Interval<'a> {
    /// What it is, such as `5 to 95 % of the samples`.
    pub name: String,
    /// Lower ends `[frames, height, width]`.
    pub low: &'a [f32],
    /// Upper ends `[frames, height, width]`.
    pub high: &'a [f32],
}

/// A row of the score table.
#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    /// Rows of one group follow each other and are compared, such as those of one missing rate.
    pub group: String,
    /// The method.
    pub method: String,
    /// Whether it is what this page is about, rather than something to compare with.
    pub own: bool,
    /// Its scores.
    pub scores: Scores,
    /// Coverage and width of its 90 % interval, where it gives one.
    pub interval: Option<IntervalScores>,
    /// Time it took, without any training.
    pub seconds: f64,
}

/// Errors of a method's forecasts.
#[derive(Clone, Debug, PartialEq)]
pub struct LeadErrors {
    /// The method.
    pub method: String,
    /// Lead times, counted from 1, and the mean absolute error at each, where there is one.
    pub mae: Vec<(usize, Option<f64>)>,
}

/// The loss of a training.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    /// What was trained.
    pub name: String,
    /// Its steps.
    pub steps: Vec<Step>,
}

impl<'a> Report<'a> {
    /// What a record gives: the quantity and the place. Views and results are for the caller to add.
    pub fn of(record: &'a Record) -> Self {
        let quantity = Quantity::of(record);
        Report {
            title: text::capital(&quantity.name),
            lead: String::new(),
            score_units: quantity.score_units(),
            quantity,
            place: &record.place,
            views: Vec::new(),
            highlights: Vec::new(),
            scores: Vec::new(),
            lead_errors: Vec::new(),
            loss: Vec::new(),
            embedding: Vec::new(),
            config: None,
            facts: Vec::new(),
        }
    }

    /// Adds what a model brings: the embedding and the configuration.
    ///
    /// # Errors
    /// What the engine says, and [`Error::Fault`] for a configuration that cannot be written.
    pub fn with_model(mut self, trained: &Trained) -> Result<Self> {
        let embedding = trained.model.node_embedding()?.to_f64()?;
        self.embedding = embedding.into_iter().map(|value| value as f32).collect();
        self.config = Some(toml::to_string(&trained.config).map_err(|error| Error::Fault(error.to_string()))?);
        Ok(self)
    }

    /// The page, of at most about [`LARGEST`] bytes.
    ///
    /// # Errors
    /// [`Error::Input`] when the grid's coordinates cannot be drawn as a map.
    pub fn page(&self) -> Result<String> {
        self.page_of(LARGEST)
    }

    fn page_of(&self, largest: usize) -> Result<String> {
        let stride = layers::stride(self, largest);
        let data = data::json(self, stride)?;
        let entry = |name: &str| -> String {
            match name {
                "title" => text::escape(&self.title),
                "lead" => text::escape(&self.lead),
                "style" => include_str!("style.css").to_owned(),
                "highlights" => text::definitions(&self.highlights),
                "note" => text::stride_note(stride),
                "scores" => text::score_table(&self.scores, &self.score_units),
                "leads" => text::lead_table(&self.lead_errors, &self.score_units),
                "facts" => text::definitions(&self.facts),
                "config" => text::escape(self.config.as_deref().unwrap_or_default()),
                // A `<` could end the element that holds the data.
                "data" => data.to_string().replace('<', "\\u003c"),
                "script" => SCRIPT.to_owned(),
                other => format!("{{{{{other}}}}}"),
            }
        };
        Ok(text::fill(include_str!("page.html"), entry))
    }

    /// Writes the page, whole or not at all.
    ///
    /// # Errors
    /// As [`Report::page`], and [`Error::File`] when it cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let page = self.page()?;
        atomic::write(path, |file| file.write_all(page.as_bytes()))
    }
}

#[cfg(test)]
mod tests;
