//! Drawing the cells of an evaluation, keeping them in a file, and taking them out of a record.

use std::io::{self, Cursor, Write};
use std::ops::Range;
use std::path::Path;

use npyz::WriterBuilder;
use npyz::npz::NpzWriter;

use super::{HeldOut, HiddenCells};
use crate::data::netcdf::Field;
use crate::data::nodes::{SeaMask, Series};
use crate::data::{atomic, masks, windows};
use crate::{Error, Result};

impl HeldOut {
    /// Hides exactly the share `rate`, rounded, of the observed cells of `frames`, for each of `rates`, every choice
    /// being equally likely; all of the same `seed`. The test windows of `window` frames follow one another, the last
    /// one moved back to end with the frames.
    ///
    /// # Errors
    /// [`Error::Input`] when a rate is not above 0 and below 1 or the window does not fit into the frames.
    pub fn draw(
        mask: &SeaMask,
        series: &Series,
        frames: Range<usize>,
        window: usize,
        rates: &[f64],
        seed: u64,
    ) -> Result<Self> {
        let starts = windows::covering(&frames, window, window, "held-out")?;
        let nodes = series.nodes;
        let observed = &series.observed[frames.start * nodes..frames.end * nodes];
        let mut rates = rates.to_vec();
        rates.sort_by(f64::total_cmp);
        rates.dedup();
        let mut cells = Vec::with_capacity(rates.len() * starts.len());
        for rate in rates {
            if !(rate > 0.0 && rate < 1.0) {
                return Err(Error::Input(format!("hidden share: expected above 0 and below 1, found {rate}")));
            }
            let hidden = masks::hide_exact(observed, rate, &mut masks::generator(seed, rate.to_bits(), 0));
            for &start in &starts {
                let first = (start - frames.start) * nodes;
                cells.push(HiddenCells { rate, start, hidden: hidden[first..first + window * nodes].to_vec() });
            }
        }
        Ok(HeldOut { mask: mask.clone(), starts, window, cells })
    }

    /// Writes the archive that [`HeldOut::read`] reads.
    ///
    /// # Errors
    /// [`Error::File`] when it cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let bytes = self.archive().map_err(|error| Error::Fault(format!("{}: {error}", path.display())))?;
        atomic::write(path, |file| file.write_all(&bytes))
    }

    fn archive(&self) -> io::Result<Vec<u8>> {
        // In memory, because the writer closes the archive when it is dropped, where an error would be lost.
        let mut bytes = Cursor::new(Vec::new());
        let mut archive = NpzWriter::new(&mut bytes);
        let SeaMask { height, width, ref sea, .. } = self.mask;
        add(&mut archive, "sea", sea, &[height, width])?;
        let starts: Vec<i64> = self.starts.iter().map(|&start| start as i64).collect();
        add(&mut archive, "starts", &starts, &[starts.len()])?;
        for HiddenCells { rate, start, hidden } in &self.cells {
            add(&mut archive, &format!("hidden_{rate}_{start}"), hidden, &[self.window, self.mask.len()])?;
        }
        drop(archive);
        Ok(bytes.into_inner())
    }

    /// Whether each cell `[frames, nodes]` of a record of `frames` frames is hidden at `rate` in some window, or without
    /// a rate at any.
    ///
    /// # Errors
    /// [`Error::Input`] when a window lies outside the record.
    pub fn hidden(&self, frames: usize, rate: Option<f64>) -> Result<Vec<bool>> {
        let nodes = self.mask.len();
        let mut hidden = vec![false; frames * nodes];
        for cells in self.cells.iter().filter(|cells| rate.is_none_or(|rate| rate == cells.rate)) {
            let window = cells.start..cells.start + self.window;
            if window.end > frames {
                return Err(Error::Input(format!(
                    "held-out cells: expected windows within the {frames} frames of the record, found {window:?}"
                )));
            }
            let range = window.start * nodes..window.end * nodes;
            hidden[range].iter_mut().zip(&cells.hidden).for_each(|(all, hidden)| *all |= *hidden);
        }
        Ok(hidden)
    }

    /// Makes every cell that is hidden at any rate missing in those of `frames` of the field. Returns how many there
    /// were.
    ///
    /// # Errors
    /// [`Error::Input`] when the field has another grid or a window lies outside the record.
    pub fn remove_from(&self, field: &mut Field, frames: Range<usize>) -> Result<usize> {
        let SeaMask { height, width, .. } = self.mask;
        if [height, width] != [field.height, field.width] {
            return Err(Error::Input(format!(
                "held-out cells: expected a grid of {} x {} pixels, found {height} x {width}",
                field.height, field.width
            )));
        }
        let grid = self.mask.scatter(&self.hidden(field.frames, None)?, false);
        let pixels = height * width;
        let cells = field.values.iter_mut().zip(&grid).skip(frames.start * pixels).take(frames.len() * pixels);
        let hidden = cells.filter(|(value, hidden)| **hidden && !value.is_nan());
        Ok(hidden.map(|(value, _)| *value = f32::NAN).count())
    }
}

fn add<T: npyz::AutoSerialize + Copy>(
    archive: &mut NpzWriter<&mut Cursor<Vec<u8>>>,
    name: &str,
    values: &[T],
    shape: &[usize],
) -> io::Result<()> {
    let shape: Vec<u64> = shape.iter().map(|&length| length as u64).collect();
    let mut array = archive.array(name, Default::default())?.default_dtype().shape(&shape).begin_nd()?;
    array.extend(values.iter().copied())?;
    array.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::time::TimeAxis;

    /// A field without gaps.
    fn field(frames: usize, height: usize, width: usize) -> Field {
        let axis = |length: usize| (0..length).map(|i| i as f64).collect::<Vec<_>>();
        Field {
            name: "chl".into(),
            long_name: None,
            standard_name: None,
            units: None,
            values: (0..frames * height * width).map(|cell| cell as f32).collect(),
            frames,
            height,
            width,
            time: TimeAxis::decode(axis(frames), "days since 2000-01-01", "standard").unwrap(),
            latitude: axis(height),
            longitude: axis(width),
            dimensions: ["time", "lat", "lon"].map(String::from),
            attributes: Vec::new(),
        }
    }

    #[test]
    fn drawn_cells_are_observed_ones_at_the_rate_and_survive_a_file() {
        let mut field = field(20, 3, 4);
        field.values.iter_mut().step_by(5).for_each(|value| *value = f32::NAN);
        let mask = SeaMask::new((0..12).map(|pixel| pixel != 6).collect(), 3, 4).unwrap();
        let series = Series::gather(&field, &mask).unwrap();
        // Frames 4 to 20 in windows of 6: the last one begins at 14 and shares two frames with the one before.
        let draw = |rates: &[f64], seed| HeldOut::draw(&mask, &series, 4..20, 6, rates, seed).unwrap();
        let held = draw(&[0.9, 0.5], 1);
        assert_eq!((held.starts.as_slice(), held.window, held.cells.len()), (&[4, 10, 14][..], 6, 6));
        let count = |cells: &[bool]| cells.iter().filter(|cell| **cell).count();
        let observed = count(&series.observed[4 * 11..]) as f64;
        for rate in [0.5, 0.9] {
            let hidden = held.hidden(20, Some(rate)).unwrap();
            assert_eq!(count(&hidden), (rate * observed).round_ties_even() as usize);
            assert!(hidden.iter().zip(&series.observed).all(|(hidden, seen)| *seen || !hidden));
            assert_eq!(count(&hidden[..4 * 11]), 0);
        }
        assert_eq!(draw(&[0.5], 1).cells[..], held.cells[..3]);
        assert_ne!(draw(&[0.5], 2).cells[..], held.cells[..3]);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("held.npz");
        held.write(&path).unwrap();
        assert_eq!(HeldOut::read(&path).unwrap(), held);
        let error = |rate| HeldOut::draw(&mask, &series, 4..20, 6, &[rate], 1).unwrap_err().to_string();
        assert_eq!(error(1.0), "hidden share: expected above 0 and below 1, found 1");
        assert!(error(f64::NAN).contains("NaN"));
        assert!(HeldOut::draw(&mask, &series, 4..20, 17, &[0.5], 1).unwrap_err().to_string().contains("window = 17"));
    }

    #[test]
    fn only_the_cells_of_training_frames_are_removed() {
        let whole = field(20, 3, 4);
        let mask = SeaMask::new((0..12).map(|pixel| pixel != 6).collect(), 3, 4).unwrap();
        let series = Series::gather(&whole, &mask).unwrap();
        let held = HeldOut::draw(&mask, &series, 0..20, 10, &[0.5], 1).unwrap();
        let mut part = whole.clone();
        let removed = held.remove_from(&mut part, 0..15).unwrap();
        let expected = mask.scatter(&held.hidden(20, None).unwrap(), false);
        for (cell, (before, after)) in whole.values.iter().zip(&part.values).enumerate() {
            let hidden = expected[cell] && cell < 15 * 12;
            assert_eq!(after.is_nan(), hidden, "cell {cell}");
            assert!(hidden || before == after);
        }
        assert_eq!(removed, part.values.iter().filter(|value| value.is_nan()).count());
        let mut short = field(19, 3, 4);
        assert!(held.remove_from(&mut short, 0..19).unwrap_err().to_string().contains("the 19 frames"));
        let mut other = field(20, 4, 3);
        assert!(held.remove_from(&mut other, 0..20).unwrap_err().to_string().contains("4 x 3 pixels, found 3 x 4"));
    }
}
