//! Checkpoints: the parameters, their moments and where the training stood, in one safetensors file.
//!
//! Arrays: `param/<name>`, and with the moments `moment1/<name>` and `moment2/<name>`, in the parameters' type, so
//! that a training continues with the same bits. Metadata: `format`, `version`, `step`, `epoch`, `seed`, the
//! optimiser's `optimizer_step`, and whatever the caller adds. An optimiser that never zeroes its gradients adds the arrays
//! `gradient_sum/<name>`. Random numbers are counter-based, so the seed and the
//! counters are their whole state.

use crate::error::{Error, Result};
use crate::parameters::{Parameters, fill};
use crate::weights::{self, CHECKSUM, Weights, listed};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// What the metadata calls this format.
pub const FORMAT: &str = "isobath-checkpoint";
/// The version that [`save`] writes and the newest that [`load`] reads.
pub const VERSION: u64 = 1;

/// Prefixes of the arrays, in the order of [`Parameters::flats`].
const GROUPS: [&str; 3] = ["param", "moment1", "moment2"];
/// Prefix of what an optimiser has added up that never zeroes its gradients.
const SUM: &str = "gradient_sum";
const RESERVED: [&str; 7] = ["format", "version", "step", "epoch", "seed", "optimizer_step", CHECKSUM];

/// Where a training stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Steps done.
    pub step: u64,
    /// Epochs done.
    pub epoch: u64,
    /// Seed of the run.
    pub seed: u64,
    /// Further entries of the caller.
    pub metadata: BTreeMap<String, String>,
}

/// Writes a checkpoint: to a temporary file beside `path`, forced to the disk and renamed, so that `path` is at every
/// moment the old file or the new one. Without moments the file is a third as long and starts a new optimiser.
///
/// # Errors
/// When the file cannot be written, or a metadata entry has a name that the format uses itself. A failure leaves the
/// old file as it was and no temporary one.
pub fn save(path: impl AsRef<Path>, parameters: &Parameters, state: &State, with_moments: bool) -> Result<()> {
    let path = path.as_ref();
    if let Some(key) = state.metadata.keys().find(|key| RESERVED.contains(&key.as_str())) {
        let what = format!("the metadata entry {key} is the format's own");
        return Err(Error::Format { path: path.display().to_string(), what });
    }
    let mut arrays = Vec::new();
    let sum = parameters.gradient_sum.as_ref().map(|sum| (SUM, sum));
    let groups = GROUPS.into_iter().zip(parameters.flats()).chain(sum);
    for (group, flat) in groups.take(if with_moments { 4 } else { 1 }) {
        arrays.extend(parameters.entries().iter().map(|e| (format!("{group}/{}", e.name), e.part_of(flat))));
    }
    weights::write(path, &arrays, header(parameters, state, with_moments))
}

fn header(parameters: &Parameters, state: &State, with_moments: bool) -> HashMap<String, String> {
    let mut entries: HashMap<String, String> = state.metadata.clone().into_iter().collect();
    let mut put = |key: &str, value: String| entries.insert(key.into(), value);
    put("format", FORMAT.into());
    put("version", VERSION.to_string());
    put("step", state.step.to_string());
    put("epoch", state.epoch.to_string());
    put("seed", state.seed.to_string());
    if with_moments {
        put("optimizer_step", parameters.steps.to_string());
    }
    entries
}

/// Reads a checkpoint into `parameters`. A file without moments leaves the optimiser as new. Axes of length 1 at the
/// end of a shape do not count: PyTorch's weight `[out, in, 1]` of a 1x1 convolution is our `[out, in]`.
///
/// # Errors
/// When the file cannot be read, is damaged, of another format or of a newer version, or does not have exactly the
/// model's parameters in their shapes; then `parameters` has not changed.
pub fn load(path: impl AsRef<Path>, parameters: &mut Parameters) -> Result<State> {
    let file = Weights::open(path)?;
    let (state, steps) = read_header(&file)?;
    let groups = if steps.is_some() { &GROUPS[..] } else { &GROUPS[..1] };
    let mut names = file.names();
    let of = |name: &String, group: &str| name.starts_with(&format!("{group}/"));
    let summed = steps.is_some() && names.iter().any(|name| of(name, SUM));
    let expected = groups.iter().copied().chain(summed.then_some(SUM));
    names.retain(|name| !expected.clone().any(|group| of(name, group)));
    if !names.is_empty() {
        return Err(file.error(format!("unexpected in a checkpoint: {}", listed(names.iter()))));
    }
    let arrays: Vec<_> = groups.iter().map(|group| file.group(group, parameters)).collect::<Result<_>>()?;
    let sum = match summed {
        true => Some((file.group(SUM, parameters)?, parameters.another_flat()?)),
        false => None,
    };
    file.check_sum()?;
    parameters.gradient_sum = match sum {
        Some((arrays, flat)) => {
            for (entry, values) in parameters.entries().iter().zip(arrays) {
                fill(&entry.part_of(&flat), &values)?;
            }
            Some(flat)
        }
        None => None,
    };
    // Zeros replace the moments that the file does not have.
    for (k, flat) in parameters.flats().into_iter().enumerate() {
        for (i, entry) in parameters.entries().iter().enumerate() {
            let part = entry.part_of(flat);
            match arrays.get(k) {
                Some(arrays) => fill(&part, &arrays[i])?,
                None => fill(&part, &vec![0.0; part.len()])?,
            }
        }
    }
    parameters.steps = steps.unwrap_or(0);
    Ok(state)
}

/// Reads where the training stood and the caller's own entries, which may say what model to [`load`] into.
///
/// # Errors
/// When the file cannot be read, its header is damaged, or it is of another format or of a newer version.
pub fn state(path: impl AsRef<Path>) -> Result<State> {
    Ok(read_header(&Weights::open(path)?)?.0)
}

/// The state, and the optimiser's steps if the file has moments.
fn read_header(file: &Weights) -> Result<(State, Option<u64>)> {
    let mut metadata = file.metadata();
    match metadata.remove("format") {
        Some(format) if format == FORMAT => {}
        Some(format) => return Err(file.error(format!("expected format {FORMAT}, found {format}"))),
        None => return Err(file.error(format!("expected format {FORMAT}, found no metadata entry format"))),
    }
    let mut take = |key: &str| match metadata.remove(key) {
        Some(value) => number(file, key, &value),
        None => Err(file.error(format!("the metadata entry {key} is missing"))),
    };
    let version = take("version")?;
    if version > VERSION {
        let what = format!("version {version} is newer than {VERSION}, the newest that this program reads");
        return Err(file.error(what));
    }
    let (step, epoch, seed) = (take("step")?, take("epoch")?, take("seed")?);
    let steps = metadata.remove("optimizer_step").map(|steps| number(file, "optimizer_step", &steps)).transpose()?;
    metadata.remove(CHECKSUM);
    Ok((State { step, epoch, seed, metadata }, steps))
}

fn number(file: &Weights, key: &str, value: &str) -> Result<u64> {
    value.parse().map_err(|_| file.error(format!("metadata entry {key}: expected a whole number, found {value:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adam::Adam;
    use crate::init::Init;
    use crate::{DType, Device, Tape, ops};
    use rand::{RngExt, SeedableRng, rngs::Xoshiro256PlusPlus};
    use std::path::PathBuf;

    fn model(seed: u64, b: usize, name: &str) -> Parameters {
        let builder = Parameters::builder().add("a.weight", [4, 3], Init::linear(3)).add(name, [b], Init::linear(1));
        builder.build(&Device::cpu(), DType::F32, seed).unwrap()
    }

    fn step(parameters: &mut Parameters) {
        step_with(&Adam::default(), parameters);
    }

    fn step_with(adam: &Adam, parameters: &mut Parameters) {
        let tape = Tape::start().unwrap();
        let square = |name| ops::square(&parameters.get(name).unwrap()).unwrap();
        let y = ops::linear(&square("a.weight"), &ops::reshape(&square("b"), [2, 3]).unwrap(), None).unwrap();
        let gradients = tape.backward(&ops::sum(&y).unwrap()).unwrap();
        adam.step(parameters, &gradients).unwrap();
    }

    fn bits(p: &Parameters) -> (u64, Vec<Vec<u32>>) {
        (p.steps, p.flats().map(|f| f.to_vec::<f32>().unwrap().into_iter().map(f32::to_bits).collect()).to_vec())
    }

    fn state() -> State {
        let metadata = BTreeMap::from([("model".to_owned(), "a \"small\" one".to_owned())]);
        State { step: 9, epoch: 2, seed: u64::MAX, metadata }
    }

    /// A trained model in a file.
    fn saved(with_moments: bool) -> (tempfile::TempDir, PathBuf, Parameters) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.safetensors");
        let mut parameters = model(1, 6, "b");
        for _ in 0..3 {
            step(&mut parameters);
        }
        save(&path, &parameters, &state(), with_moments).unwrap();
        (folder, path, parameters)
    }

    fn complaint(path: &Path, parameters: &mut Parameters) -> String {
        let before = bits(parameters);
        let error = load(path, parameters).unwrap_err().to_string();
        assert_eq!(bits(parameters), before, "a failed load changed the parameters");
        error.strip_prefix(&format!("{}: ", path.display())).expect("starts with the path").to_owned()
    }

    #[test]
    fn training_continues_with_the_same_bits() {
        let (_folder, path, mut first) = saved(true);
        let mut second = model(2, 6, "b");
        assert_eq!(load(&path, &mut second).unwrap(), state());
        assert_eq!((bits(&second), second.steps()), (bits(&first), 3));
        step(&mut first);
        step(&mut second);
        assert_eq!(bits(&second), bits(&first));
    }

    #[test]
    fn gradients_that_are_never_zeroed_continue_too() {
        let adam = Adam { accumulate_gradients: true, ..Adam::default() };
        let (_folder, path, mut first) = saved(true);
        step_with(&adam, &mut first);
        step_with(&adam, &mut first);
        save(&path, &first, &state(), true).unwrap();
        let mut second = model(2, 6, "b");
        load(&path, &mut second).unwrap();
        step_with(&adam, &mut first);
        step_with(&adam, &mut second);
        assert_eq!(bits(&second), bits(&first));
    }

    #[test]
    fn without_moments_the_optimiser_starts_anew() {
        let (_folder, path, first) = saved(false);
        let mut second = model(2, 6, "b");
        step(&mut second);
        load(&path, &mut second).unwrap();
        let (steps, flats) = bits(&second);
        assert_eq!((steps, &flats[0]), (0, &bits(&first).1[0]));
        assert!(flats[1].iter().chain(&flats[2]).all(|b| *b == 0));
    }

    #[test]
    fn other_models_are_told_apart() {
        let (_folder, path, _) = saved(true);
        let shape = complaint(&path, &mut model(1, 7, "b"));
        assert_eq!(shape, "parameter b: expected [7], found [6]");
        assert_eq!(complaint(&path, &mut model(1, 6, "c")), "missing: param/c");
        let mut smaller = Parameters::builder().add("b", [6], Init::Ones).build(&Device::cpu(), DType::F32, 0).unwrap();
        assert_eq!(complaint(&path, &mut smaller), "not in the model: param/a.weight");
    }

    /// Replaces text in the header by other text of the same length.
    fn doctored(path: &Path, from: &str, to: &str) {
        let mut bytes = std::fs::read(path).unwrap();
        let at = bytes.windows(from.len()).position(|w| w == from.as_bytes()).expect("in the file");
        bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
        std::fs::write(path, bytes).unwrap();
    }

    #[test]
    fn wrong_headers_are_named() {
        for (from, to, expected) in [
            (
                "isobath-checkpoint",
                "somebody-elses-one",
                "expected format isobath-checkpoint, found somebody-elses-one",
            ),
            ("\"format\"", "\"Format\"", "expected format isobath-checkpoint, found no metadata entry format"),
            ("\"version\":\"1\"", "\"version\":\"2\"", "version 2 is newer than 1, the newest that this program reads"),
            ("\"step\":\"9\"", "\"step\":\"x\"", "metadata entry step: expected a whole number, found \"x\""),
            ("\"epoch\"", "\"epoxy\"", "the metadata entry epoch is missing"),
            (
                "\"optimizer_step\"",
                "\"optimizer_stop\"",
                "unexpected in a checkpoint: moment1/a.weight, moment1/b, moment2/a.weight, moment2/b",
            ),
            ("moment1/b", "moment3/b", "unexpected in a checkpoint: moment3/b"),
            ("moment1/b", "moment1/d", "missing: moment1/b"),
        ] {
            let (_folder, path, mut parameters) = saved(true);
            doctored(&path, from, to);
            assert_eq!(complaint(&path, &mut parameters), expected);
        }
    }

    #[test]
    fn damaged_files_are_refused_in_one_sentence() {
        let (_folder, path, mut parameters) = saved(true);
        let whole = std::fs::read(&path).unwrap();
        let header = 8 + u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
        let mut random = Xoshiro256PlusPlus::seed_from_u64(4);
        let lengths = [0, 1, 7, 8, 9, header, whole.len() - 1].into_iter();
        let drawn: Vec<usize> = (0..200).map(|_| random.random_range(0..whole.len())).collect();
        for length in lengths.chain(drawn) {
            std::fs::write(&path, &whole[..length]).unwrap();
            let what = complaint(&path, &mut parameters);
            assert!(what.starts_with("no whole safetensors file: ") && !what.contains('\n'), "{length}: {what}");
        }
        for _ in 0..200 {
            let mut bytes = whole.clone();
            bytes[random.random_range(header..whole.len())] ^= 1 << random.random_range(0..8);
            std::fs::write(&path, bytes).unwrap();
            let what = complaint(&path, &mut parameters);
            assert!(what.starts_with("the arrays are damaged: expected the checksum "), "{what}");
        }
        let mut refused = 0;
        for _ in 0..2000 {
            let mut bytes = whole.clone();
            bytes[random.random_range(0..header)] ^= 1 << random.random_range(0..8);
            std::fs::write(&path, bytes).unwrap();
            // A flip may hit a digit of a counter or a blank: no reader can know. None may panic.
            if load(&path, &mut parameters).is_err_and(|e| !e.to_string().contains('\n')) {
                refused += 1;
            }
        }
        assert!(refused > 1700, "{refused}");
    }

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_else() {
        let (folder, path, parameters) = saved(true);
        let old = std::fs::read(&path).unwrap();
        let mut reserved = state();
        reserved.metadata.insert("seed".into(), "3".into());
        let error = save(&path, &parameters, &reserved, true).unwrap_err().to_string();
        assert!(error.ends_with("c.safetensors: the metadata entry seed is the format's own"));
        let occupied = folder.path().join("folder");
        std::fs::create_dir(&occupied).unwrap();
        save(&occupied, &parameters, &state(), true).unwrap_err();
        save(folder.path().join("absent/c"), &parameters, &state(), true).unwrap_err();
        assert_eq!(std::fs::read(&path).unwrap(), old);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
