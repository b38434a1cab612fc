//! A fixed evaluation: which observed cells to hide in which test windows, as an `.npz` archive.

use std::fs::File;
use std::io::BufReader;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use npyz::npz::NpzArchive;

use super::nodes::SeaMask;
use crate::{Error, Result};

mod hide;

/// The cells that an evaluation hides. [`HeldOut::draw`] makes one, [`HeldOut::write`] and [`HeldOut::read`] keep it, and
/// [`HeldOut::remove_from`] takes its cells out of a record that is to train.
///
/// In the archive: `sea`, bool `[height, width]`; `starts`, the first frame of each test window;
/// and for each missing rate r and start s `hidden_{r}_{s}`, bool `[window, nodes]`.
#[derive(Debug, Clone, PartialEq)]
pub struct HeldOut {
    /// The nodes of the evaluation.
    pub mask: SeaMask,
    /// First frame of each test window.
    pub starts: Vec<usize>,
    /// Number of frames of a window.
    pub window: usize,
    /// The masks, by rate and start.
    pub cells: Vec<HiddenCells>,
}

/// The observed cells to hide from the model in one test window, and to score.
#[derive(Debug, Clone, PartialEq)]
pub struct HiddenCells {
    /// Fraction of the observed cells that is hidden.
    pub rate: f64,
    /// First frame of the window.
    pub start: usize,
    /// Whether a cell is hidden, `[window, nodes]`.
    pub hidden: Vec<bool>,
}

impl HeldOut {
    /// Reads the archive.
    ///
    /// # Errors
    /// [`Error::File`] when it cannot be opened; [`Error::Input`] when an array is absent, has
    /// another type or shape, or names a start that is not in `starts`.
    pub fn read(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|error| Error::file(path, error))?;
        // The archive reader is not proof against every damaged header.
        let outcome = catch_unwind(AssertUnwindSafe(|| read_archive(file)));
        let outcome = outcome.unwrap_or_else(|_| Err("expected an .npz archive, found a damaged one".into()));
        outcome.map_err(|refusal| Error::Input(format!("{}: {refusal}", path.display())))
    }

    /// The cells hidden at `rate`, one mask for each window, in the order of `starts`.
    ///
    /// # Errors
    /// [`Error::Input`] when the archive has no masks of this rate, with the rates it has.
    pub fn at_rate(&self, rate: f64) -> Result<Vec<&HiddenCells>> {
        let masks: Vec<_> = self.cells.iter().filter(|cells| cells.rate == rate).collect();
        if masks.is_empty() {
            let mut rates: Vec<f64> = self.cells.iter().map(|cells| cells.rate).collect();
            rates.dedup();
            return Err(Error::Input(format!("held-out cells: expected a missing rate of {rates:?}, found {rate}")));
        }
        Ok(masks)
    }
}

/// Why the archive could not be used, as the end of a sentence that begins with its path.
type Refusal = String;

fn read_archive(file: File) -> std::result::Result<HeldOut, Refusal> {
    let mut archive = NpzArchive::new(BufReader::new(file))
        .map_err(|error| format!("expected an .npz archive, found another file ({error})"))?;
    let (sea, shape) = array::<bool>(&mut archive, "sea", "bool", 2)?;
    let mask = SeaMask::new(sea, shape[0], shape[1]).map_err(|error| error.to_string())?;
    let (starts, _) = array::<i64>(&mut archive, "starts", "int64", 1)?;
    let frame = |start: i64| usize::try_from(start).map_err(|_| format!("starts: expected frames, found {start}"));
    let starts = starts.into_iter().map(frame).collect::<std::result::Result<Vec<_>, _>>()?;
    let names = archive.array_names().filter(|name| name.starts_with("hidden_"));
    let names: Vec<String> = names.map(String::from).collect();
    let mut window = 0;
    let mut cells = Vec::with_capacity(names.len());
    for name in names {
        let (rate, start) = parse_name(&name, &starts)
            .ok_or_else(|| format!("expected hidden_RATE_START with a start of {starts:?}, found {name}"))?;
        let (hidden, shape) = array::<bool>(&mut archive, &name, "bool", 2)?;
        if window == 0 {
            window = shape[0];
        }
        let expected = [window, mask.len()];
        if shape != expected {
            return Err(format!("{name}: expected the shape {expected:?}, found {shape:?}"));
        }
        cells.push(HiddenCells { rate, start, hidden });
    }
    if cells.is_empty() {
        return Err("expected arrays hidden_RATE_START, found none".into());
    }
    let order = |start| starts.iter().position(|&s| s == start);
    cells.sort_by(|a, b| a.rate.total_cmp(&b.rate).then(order(a.start).cmp(&order(b.start))));
    Ok(HeldOut { mask, starts, window, cells })
}

/// Rate and start of `hidden_{rate}_{start}`.
fn parse_name(name: &str, starts: &[usize]) -> Option<(f64, usize)> {
    let (rate, start) = name.strip_prefix("hidden_")?.rsplit_once('_')?;
    let start = start.parse().ok().filter(|start| starts.contains(start))?;
    let rate = rate.parse().ok().filter(|rate| (0.0..=1.0).contains(rate))?;
    Some((rate, start))
}

/// Elements and shape of an array of `rank` dimensions in C order.
fn array<T: npyz::Deserialize>(
    archive: &mut NpzArchive<BufReader<File>>,
    name: &str,
    kind: &str,
    rank: usize,
) -> std::result::Result<(Vec<T>, Vec<usize>), Refusal> {
    let wrong = |found| format!("{name}: expected {kind} of {rank} dimensions in C order, found {found}");
    // The parser of a damaged header points at the place on lines of their own.
    let unreadable = |error: std::io::Error| {
        let error = error.to_string();
        format!("{name}: expected an array, found damage ({})", error.lines().next().unwrap_or_default().trim_end())
    };
    let array = match archive.by_name(name) {
        Ok(Some(array)) => array,
        Ok(None) => return Err(format!("array `{name}` not found")),
        Err(error) => return Err(unreadable(error)),
    };
    let shape: Vec<usize> = array.shape().iter().map(|&length| length as usize).collect();
    if shape.len() != rank || (rank > 1 && array.order() != npyz::Order::C) {
        return Err(wrong(format!("the shape {shape:?} in {:?} order", array.order())));
    }
    let found = array.dtype().descr();
    let values = array.data::<T>().map_err(|_| wrong(format!("the type {found}")))?;
    let values = values.collect::<std::io::Result<Vec<T>>>();
    Ok((values.map_err(unreadable)?, shape))
}

#[cfg(test)]
mod tests {
    use super::*;
    use npyz::WriterBuilder;
    use npyz::npz::NpzWriter;

    fn add<T: npyz::AutoSerialize + Copy>(
        archive: &mut NpzWriter<std::io::BufWriter<File>>,
        name: &str,
        values: &[T],
        shape: &[u64],
    ) {
        let builder = archive.array(name, Default::default()).unwrap();
        let mut array = builder.default_dtype().shape(shape).begin_nd().unwrap();
        array.extend(values.iter().copied()).unwrap();
        array.finish().unwrap();
    }

    /// Reads an archive of 2 x 2 pixels (3 nodes), windows of 2 frames at 5 and 3.
    fn with(name: &str, shape: &[u64], starts: &[i64]) -> Result<HeldOut> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cells.npz");
        let mut archive = NpzWriter::create(&path).unwrap();
        add(&mut archive, "sea", &[true, false, true, true], &[2, 2]);
        add(&mut archive, "starts", starts, &[starts.len() as u64]);
        add(&mut archive, "hidden_0.5_3", &[true, false, false, false, true, false], &[2, 3]);
        let cells = vec![true; shape.iter().product::<u64>() as usize];
        add(&mut archive, name, &cells, shape);
        drop(archive);
        HeldOut::read(&path)
    }

    #[test]
    fn masks_come_by_rate_in_the_order_of_the_starts() {
        let held = with("hidden_0.5_5", &[2, 3], &[5, 3]).unwrap();
        assert_eq!((held.mask.nodes.as_slice(), held.window), (&[0, 2, 3][..], 2));
        let cells = held.at_rate(0.5).unwrap();
        assert_eq!((cells[0].start, cells[1].start), (5, 3));
        assert_eq!(cells[1].hidden, [true, false, false, false, true, false]);
        let error = held.at_rate(0.1).unwrap_err().to_string();
        assert_eq!(error, "held-out cells: expected a missing rate of [0.5], found 0.1");
    }

    #[test]
    fn wrong_archives_are_refused() {
        let error = |outcome: Result<HeldOut>| {
            let error = outcome.unwrap_err();
            assert_eq!(error.exit_code(), 2);
            error.to_string()
        };
        let shape = error(with("hidden_0.5_5", &[2, 4], &[5, 3]));
        assert!(shape.ends_with("hidden_0.5_5: expected the shape [2, 3], found [2, 4]"), "{shape}");
        assert!(error(with("hidden_0.5_6", &[2, 3], &[5, 3])).contains("found hidden_0.5_6"));
        assert!(error(with("hidden_2_5", &[2, 3], &[5, 3])).contains("found hidden_2_5"));
        assert!(error(with("hidden_0.5_5", &[2, 3], &[5, -3])).contains("found -3"));
        let rank = error(with("hidden_0.5_5", &[6], &[5, 3]));
        assert!(rank.contains("expected bool of 2 dimensions"), "{rank}");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cells.npz");
        assert!(error(HeldOut::read(&path)).ends_with("no such file or folder"));
        std::fs::write(&path, "PK").unwrap();
        assert!(error(HeldOut::read(&path)).contains("expected an .npz archive"));
    }
}
