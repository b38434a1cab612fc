//! Named parameters in flat memory.
//!
//! All values lie in one region, all gradients in a second, the optimiser's two moments in a third and a fourth, at
//! the same places: one launch updates them all. Every parameter starts at a multiple of [`ALIGN`] elements; the
//! elements between two parameters are zero in all four and stay zero.
//!
//! ```
//! use isobath_engine::{DType, Device, Tape, Tensor, ops};
//! use isobath_engine::{init::Init, parameters::Parameters};
//!
//! let device = Device::cpu();
//! let parameters = Parameters::builder()
//!     .add("head.weight", [1, 2], Init::Values(vec![0.5, -1.0]))
//!     .add("head.bias", [1], Init::Zeros)
//!     .build(&device, DType::F32, 7)?;
//! assert_eq!(parameters.count(), 3);
//!
//! let x = Tensor::from_slice(&device, &[2, 2], &[1.0f32, 2.0, 3.0, 4.0])?;
//! let tape = Tape::start()?;
//! let y = ops::linear(&x, &parameters.get("head.weight")?, Some(&parameters.get("head.bias")?))?;
//! let gradients = tape.backward(&ops::sum(&y)?)?;
//! assert_eq!(parameters.gradient(&gradients, "head.weight")?.to_vec::<f32>()?, [4.0, 6.0]);
//! # Ok::<(), isobath_engine::Error>(())
//! ```

use crate::device::Device;
use crate::error::{Error, Result};
use crate::init::Init;
use crate::memory::Region;
use crate::shape::Shape;
use crate::tape::{Gradients, Leaf, fresh_id};
use crate::tensor::{DType, Tensor};
use crate::weights::listed;
use std::collections::HashMap;

/// Elements to which the start of every parameter is aligned: a cache line of f32.
pub const ALIGN: usize = 16;

/// A model's parameters, their gradients and the moments of their optimiser.
pub struct Parameters {
    /// In the order in which they were added.
    entries: Vec<Entry>,
    index: HashMap<String, usize>,
    pub(crate) values: Tensor,
    pub(crate) gradients: Tensor,
    pub(crate) moments: [Tensor; 2],
    pub(crate) steps: u64,
    /// The gradients of all steps together, where the optimiser never zeroes them.
    pub(crate) gradient_sum: Option<Tensor>,
}

/// One parameter.
pub(crate) struct Entry {
    pub(crate) name: String,
    /// First element in each of the flat regions.
    start: usize,
    /// The view of the values that models compute with: a leaf.
    pub(crate) tensor: Tensor,
}

impl Entry {
    /// This parameter's part of a flat region.
    pub(crate) fn part_of(&self, flat: &Tensor) -> Tensor {
        flat.view(self.start, *self.tensor.shape())
    }

    /// An error unless the loss depended on the parameter.
    pub(crate) fn expect_reached(&self, gradients: &Gradients) -> Result<()> {
        match self.tensor.leaf() {
            Some(leaf) if gradients.reaches(leaf.id) => Ok(()),
            _ => Err(Error::Parameter { name: self.name.clone(), what: "the loss does not depend on it".into() }),
        }
    }
}

/// Collects what [`Parameters`] will hold.
#[derive(Default)]
pub struct Builder {
    wanted: Vec<(String, Shape, Init)>,
}

impl Builder {
    /// Adds a parameter; `name` is its dotted name in a PyTorch state dict.
    #[allow(clippy::should_implement_trait)] // it adds a parameter, not a number
    pub fn add(mut self, name: impl Into<String>, shape: impl Into<Shape>, init: Init) -> Self {
        self.wanted.push((name.into(), shape.into(), init));
        self
    }

    /// Adds a linear layer: `name.weight` `[out, in]` drawn by `weight`, and `name.bias` `[out]` as PyTorch draws it.
    pub fn linear(self, name: &str, [out, inner]: [usize; 2], weight: Init) -> Self {
        self.add(format!("{name}.weight"), [out, inner], weight).add(format!("{name}.bias"), [out], Init::linear(inner))
    }

    /// Adds a normalisation: `name.weight` `[width]` of ones and `name.bias` `[width]` of zeros.
    pub fn norm(self, name: &str, width: usize) -> Self {
        self.add(format!("{name}.weight"), [width], Init::Ones).add(format!("{name}.bias"), [width], Init::Zeros)
    }

    /// Allocates the parameters and draws their values.
    ///
    /// # Errors
    /// Two parameters of one name, no parameter at all, initial values that do not fit, another type than f32 and
    /// f64, more elements than one launch can address, or not enough memory.
    pub fn build(self, device: &Device, dtype: DType, seed: u64) -> Result<Parameters> {
        if dtype == DType::U32 {
            return Err(Error::Type { op: "parameters", what: format!("expected f32 or f64, found {dtype}") });
        }
        let total: usize = self.wanted.iter().map(|(_, shape, _)| shape.len().next_multiple_of(ALIGN)).sum();
        if total == 0 || u32::try_from(total).is_err() {
            let what = format!("expected 1 to {} elements together, found {total}", u32::MAX);
            return Err(Error::Shape { op: "parameters", what });
        }
        let flat = || zeros(device, total, dtype);
        let mut built = Parameters {
            entries: Vec::with_capacity(self.wanted.len()),
            index: HashMap::new(),
            values: flat()?,
            gradients: flat()?,
            moments: [flat()?, flat()?],
            steps: 0,
            gradient_sum: None,
        };
        let mut start = 0;
        for (name, shape, init) in self.wanted {
            built.insert(name, start, shape, init, seed)?;
            start += shape.len().next_multiple_of(ALIGN);
        }
        Ok(built)
    }
}

impl Parameters {
    /// An empty builder.
    pub fn builder() -> Builder {
        Builder::default()
    }

    fn insert(&mut self, name: String, start: usize, shape: Shape, init: Init, seed: u64) -> Result<()> {
        if self.index.insert(name.clone(), self.entries.len()).is_some() {
            return Err(Error::Parameter { name, what: "added twice".into() });
        }
        let values = init.values(&name, shape.len(), seed)?;
        let id = fresh_id();
        // The slot is a leaf too: that tells the tape to add a second contribution in place.
        let slot = self.gradients.view(start, shape).with_leaf(Leaf { id, slot: None });
        let tensor = self.values.view(start, shape).with_leaf(Leaf { id, slot: Some(slot) });
        fill(&tensor, &values)?;
        self.entries.push(Entry { name, start, tensor });
        Ok(())
    }

    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// What a checkpoint holds: the values, then the two moments.
    pub(crate) fn flats(&self) -> [&Tensor; 3] {
        [&self.values, &self.moments[0], &self.moments[1]]
    }

    /// A region of zeros as long as the values.
    pub(crate) fn another_flat(&self) -> Result<Tensor> {
        zeros(self.device(), self.values.len(), self.dtype())
    }

    fn entry(&self, name: &str) -> Result<&Entry> {
        self.index.get(name).map(|i| &self.entries[*i]).ok_or_else(|| {
            let what = format!("not found; the model has {}", listed(self.names()));
            Error::Parameter { name: name.into(), what }
        })
    }

    /// The parameter as a leaf: while a tape records, what is computed with it has a gradient. The tensor shares the
    /// parameter's memory and follows its updates.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn get(&self, name: &str) -> Result<Tensor> {
        Ok(self.entry(name)?.tensor.clone())
    }

    /// `name.weight` and `name.bias`.
    ///
    /// # Errors
    /// When one of them is missing.
    pub fn pair(&self, name: &str) -> Result<(Tensor, Tensor)> {
        Ok((self.get(&format!("{name}.weight"))?, self.get(&format!("{name}.bias"))?))
    }

    /// `values` as a tensor of the parameters' number type, where they live.
    ///
    /// # Errors
    /// When the number of values is not the shape's.
    pub fn tensor(&self, shape: impl Into<Shape>, values: &[f32]) -> Result<Tensor> {
        match self.dtype() {
            DType::F32 => Tensor::from_slice(self.device(), shape, values),
            dtype => {
                let values: Vec<f64> = values.iter().map(|v| f64::from(*v)).collect();
                Tensor::from_f64(self.device(), shape, &values, dtype)
            }
        }
    }

    /// The parameter's gradient in the last backward pass; it shares the memory that the next pass writes.
    ///
    /// # Errors
    /// When there is no parameter of that name, or the loss did not depend on it.
    pub fn gradient(&self, gradients: &Gradients, name: &str) -> Result<Tensor> {
        let entry = self.entry(name)?;
        entry.expect_reached(gradients)?;
        Ok(entry.part_of(&self.gradients))
    }

    /// All names, in the order in which they were added.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|entry| entry.name.as_str())
    }

    /// The parameter's shape.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn shape(&self, name: &str) -> Result<Shape> {
        Ok(*self.entry(name)?.tensor.shape())
    }

    /// Number of elements of all parameters together.
    pub fn count(&self) -> usize {
        self.entries.iter().map(|entry| entry.tensor.len()).sum()
    }

    /// Updates the optimiser has made.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Where they live.
    pub fn device(&self) -> &Device {
        self.values.device()
    }

    /// What they are made of: f32 or f64.
    pub fn dtype(&self) -> DType {
        self.values.dtype()
    }

    /// Replaces the parameter's values, the slowest axis first.
    ///
    /// # Errors
    /// When there is none of that name, or it has another number of elements.
    pub fn set(&mut self, name: &str, values: &[f32]) -> Result<()> {
        let tensor = &self.entry(name)?.tensor;
        if values.len() != tensor.len() {
            let what = format!("{} holds {} elements, found {}", tensor.shape(), tensor.len(), values.len());
            return Err(Error::Parameter { name: name.into(), what });
        }
        fill(tensor, &values.iter().map(|v| f64::from(*v)).collect::<Vec<_>>())
    }

    /// The parameter's values, rounded to f32.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn to_vec(&self, name: &str) -> Result<Vec<f32>> {
        Ok(self.entry(name)?.tensor.to_f64()?.into_iter().map(|v| v as f32).collect())
    }
}

fn zeros(device: &Device, total: usize, dtype: DType) -> Result<Tensor> {
    let flat = Tensor::empty_in(device, [total], dtype, Region::Persistent)?;
    device.clear(&flat)?;
    Ok(flat)
}

/// Writes `values`, rounded to the tensor's type.
///
/// # Errors
/// When the device was lost.
pub(crate) fn fill(tensor: &Tensor, values: &[f64]) -> Result<()> {
    match tensor.dtype() {
        DType::F64 => tensor.overwrite(values),
        _ => tensor.overwrite(&values.iter().map(|v| *v as f32).collect::<Vec<_>>()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Tape, ops};

    fn two() -> Builder {
        Parameters::builder().add("a", [3, 5], Init::linear(5)).add("b", [2], Init::Ones)
    }

    #[test]
    fn padding_is_zero_and_order_does_not_matter() {
        let device = Device::cpu_with(None, true);
        let parameters = two().build(&device, DType::F64, 1).unwrap();
        let flat = parameters.values.to_f64().unwrap();
        assert_eq!((flat.len(), flat[15], parameters.count()), (32, 0.0, 17));
        assert_eq!((&flat[16..18], &flat[18..]), (&[1.0, 1.0][..], &[0.0; 14][..]));
        let turned = Parameters::builder().add("b", [2], Init::Ones).add("a", [3, 5], Init::linear(5));
        let turned = turned.build(&device, DType::F64, 1).unwrap();
        assert_eq!(turned.get("a").unwrap().to_f64().unwrap(), flat[..15]);
        assert_eq!(turned.names().collect::<Vec<_>>(), ["b", "a"]);
    }

    #[test]
    fn gradients_land_in_the_flat_region_and_add_up_where_a_parameter_is_used_twice() {
        let device = Device::cpu_with(None, true);
        let builder = Parameters::builder().add("a", [1, 15], Init::linear(1)).add("b", [2], Init::Ones);
        let parameters = builder.build(&device, DType::F64, 1).unwrap();
        for _ in 0..2 {
            let tape = Tape::start().unwrap();
            let a = parameters.get("a").unwrap();
            let cubes = ops::linear(&ops::square(&a).unwrap(), &parameters.get("a").unwrap(), None).unwrap();
            let gradients = tape.backward(&cubes).unwrap();
            let found = parameters.gradient(&gradients, "a").unwrap().to_f64().unwrap();
            for (found, a) in found.iter().zip(a.to_f64().unwrap()) {
                assert!((found - 3.0 * a * a).abs() < 1e-15, "{found} {a}");
            }
            assert!(gradients.get(&a).unwrap().overlaps(&parameters.gradients), "the gradient left its slot");
            assert_eq!(parameters.gradients.to_f64().unwrap()[15..], [0.0; 17]);
            let error = parameters.gradient(&gradients, "b").unwrap_err().to_string();
            assert_eq!(error, "parameter b: the loss does not depend on it");
        }
    }

    #[test]
    fn misuse_is_named() {
        let device = Device::cpu();
        let error = |built: Result<Parameters>| built.err().unwrap().to_string();
        assert_eq!(error(two().add("a", [1], Init::Zeros).build(&device, DType::F32, 0)), "parameter a: added twice");
        assert!(error(two().build(&device, DType::U32, 0)).contains("expected f32 or f64, found u32"));
        assert!(error(Parameters::builder().build(&device, DType::F32, 0)).contains("found 0"));
        let mut parameters = two().build(&device, DType::F32, 0).unwrap();
        assert_eq!(parameters.get("c").unwrap_err().to_string(), "parameter c: not found; the model has a, b");
        let error = parameters.set("b", &[1.0; 3]).unwrap_err().to_string();
        assert_eq!(error, "parameter b: [2] holds 2 elements, found 3");
        parameters.set("b", &[2.5, -3.5]).unwrap();
        assert_eq!(parameters.to_vec("b").unwrap(), [2.5, -3.5]);
    }
}
