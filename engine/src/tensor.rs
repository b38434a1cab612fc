//! Contiguous memory with a shape.

use crate::device::Device;
use crate::error::{Error, Result, shape_error};
use crate::memory::{Block, Region};
use crate::shape::Shape;
use crate::tape::{Leaf, Trace};
use isobath_kernels::Element;
use std::fmt;
use std::sync::Arc;

/// What a tensor holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DType {
    /// Single precision: the product.
    F32,
    /// Double precision: the oracle of checks, on the CPU.
    F64,
    /// Indices.
    U32,
}

impl DType {
    /// Bytes of one element.
    pub fn bytes(self) -> usize {
        match self {
            DType::F32 | DType::U32 => 4,
            DType::F64 => 8,
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DType::F32 => "f32",
            DType::F64 => "f64",
            DType::U32 => "u32",
        })
    }
}

/// A number type of the host that a tensor can hold.
pub trait HostElement: Element {
    /// The tensor's type for it.
    const DTYPE: DType;
}
impl HostElement for f32 {
    const DTYPE: DType = DType::F32;
}
impl HostElement for f64 {
    const DTYPE: DType = DType::F64;
}
impl HostElement for u32 {
    const DTYPE: DType = DType::U32;
}

/// A contiguous array on a device. Clones share the memory; nothing writes a tensor after the operation that made it.
#[derive(Clone)]
pub struct Tensor {
    device: Device,
    block: Arc<Block>,
    /// First element within the block.
    start: usize,
    shape: Shape,
    dtype: DType,
    trace: Option<Trace>,
    leaf: Option<Arc<Leaf>>,
}

impl Tensor {
    /// Memory for a tensor of a step; its content is whatever was there.
    pub fn empty(device: &Device, shape: impl Into<Shape>, dtype: DType) -> Result<Tensor> {
        Self::empty_in(device, shape, dtype, Region::Step)
    }

    /// Memory in a given region; its content is whatever was there.
    pub fn empty_in(device: &Device, shape: impl Into<Shape>, dtype: DType, region: Region) -> Result<Tensor> {
        let shape = shape.into();
        let block = Arc::new(device.allocate(shape, dtype, region)?);
        Ok(Tensor { device: device.clone(), block, start: 0, shape, dtype, trace: None, leaf: None })
    }

    /// A tensor of zeros.
    pub fn zeros(device: &Device, shape: impl Into<Shape>, dtype: DType) -> Result<Tensor> {
        let out = Self::empty(device, shape, dtype)?;
        device.clear(&out)?;
        Ok(out)
    }

    /// A copy of `values`.
    ///
    /// # Errors
    /// When the number of values is not the shape's.
    pub fn from_slice<T: HostElement>(device: &Device, shape: impl Into<Shape>, values: &[T]) -> Result<Tensor> {
        let shape = shape.into();
        if values.len() != shape.len() {
            return shape_error(
                "from_slice",
                format!("{shape} holds {} elements, found {}", shape.len(), values.len()),
            );
        }
        let out = Self::empty(device, shape, T::DTYPE)?;
        out.overwrite(values)?;
        Ok(out)
    }

    /// A copy of f64 `values`, rounded to `dtype`.
    pub fn from_f64(device: &Device, shape: impl Into<Shape>, values: &[f64], dtype: DType) -> Result<Tensor> {
        match dtype {
            DType::F64 => Self::from_slice(device, shape, values),
            DType::F32 => Self::from_slice(device, shape, &values.iter().map(|v| *v as f32).collect::<Vec<_>>()),
            DType::U32 => Self::from_slice(device, shape, &values.iter().map(|v| *v as u32).collect::<Vec<_>>()),
        }
    }

    /// A scalar.
    pub fn scalar(device: &Device, value: f64, dtype: DType) -> Result<Tensor> {
        Self::from_f64(device, Shape::new(&[]), &[value], dtype)
    }

    /// The elements, on the host.
    ///
    /// # Errors
    /// When the tensor holds another type.
    pub fn to_vec<T: HostElement>(&self) -> Result<Vec<T>> {
        if self.dtype != T::DTYPE {
            return Err(Error::Type { op: "to_vec", what: format!("expected {}, found {}", T::DTYPE, self.dtype) });
        }
        let mut values = vec![T::zeroed(); self.len()];
        self.device.read(self, bytemuck::cast_slice_mut(&mut values))?;
        Ok(values)
    }

    /// The elements as f64, whatever the type.
    pub fn to_f64(&self) -> Result<Vec<f64>> {
        Ok(match self.dtype {
            DType::F64 => self.to_vec::<f64>()?,
            DType::F32 => self.to_vec::<f32>()?.into_iter().map(f64::from).collect(),
            DType::U32 => self.to_vec::<u32>()?.into_iter().map(f64::from).collect(),
        })
    }

    /// The only element.
    ///
    /// # Errors
    /// When there are several.
    pub fn item(&self) -> Result<f64> {
        match self.to_f64()?.as_slice() {
            [value] => Ok(*value),
            _ => shape_error("item", format!("expected one element, found {}", self.shape)),
        }
    }

    /// A copy that outlives the step.
    pub fn keep(&self) -> Result<Tensor> {
        let out = Self::empty_in(&self.device, self.shape, self.dtype, Region::Persistent)?;
        self.device.copy(self, &out)?;
        Ok(out)
    }

    /// Replaces the content; the caller is its only user (parameters and their moments).
    pub(crate) fn overwrite<T: HostElement>(&self, values: &[T]) -> Result<()> {
        assert_eq!(values.len(), self.shape.len(), "overwrite: as many values as elements");
        self.device.write(self, bytemuck::cast_slice(values))
    }

    /// Where it lives.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Lengths of its axes.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// What it holds.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.len()
    }

    /// Whether it has no elements.
    pub fn is_empty(&self) -> bool {
        self.shape.is_empty()
    }

    /// The same memory, apart from any tape: no gradient flows back through it.
    pub fn detach(&self) -> Tensor {
        Tensor { trace: None, leaf: None, ..self.clone() }
    }

    /// `shape` elements from element `start` on, sharing the memory, apart from any tape.
    pub(crate) fn view(&self, start: usize, shape: Shape) -> Tensor {
        assert!(start + shape.len() <= self.len(), "a view past the end of {}", self.shape);
        Tensor { start: self.start + start, shape, ..self.detach() }
    }

    pub(crate) fn trace(&self) -> Option<Trace> {
        self.trace
    }

    pub(crate) fn leaf(&self) -> Option<&Arc<Leaf>> {
        self.leaf.as_ref()
    }

    pub(crate) fn with_trace(self, trace: Option<Trace>) -> Tensor {
        Tensor { trace, ..self }
    }

    pub(crate) fn with_leaf(self, leaf: Leaf) -> Tensor {
        Tensor { leaf: Some(Arc::new(leaf)), trace: None, ..self }
    }

    /// Whether this handle is the only one to its memory.
    pub(crate) fn is_sole_owner(&self) -> bool {
        Arc::strong_count(&self.block) == 1
    }

    /// Whether two tensors share an element.
    pub(crate) fn overlaps(&self, other: &Tensor) -> bool {
        Arc::ptr_eq(&self.block, &other.block) && {
            let range = |t: &Tensor| (t.start * t.dtype.bytes(), (t.start + t.len()) * t.dtype.bytes());
            let ((a, b), (c, d)) = (range(self), range(other));
            a < d && c < b
        }
    }

    /// The piece of the device's memory in which the tensor lies, and its first byte there.
    pub(crate) fn place(&self) -> (usize, usize) {
        let (piece, start) = self.block.place();
        (piece, start + self.start * self.dtype.bytes())
    }

    /// # Safety
    /// Nothing may write the tensor while the slice lives.
    pub(crate) unsafe fn bytes(&self) -> &[u8] {
        // SAFETY: passed on from the caller.
        unsafe { self.block.bytes(self.start * self.dtype.bytes(), self.len() * self.dtype.bytes()) }
    }

    /// # Safety
    /// Nothing else may use the tensor's elements while the slice lives.
    #[allow(clippy::mut_from_ref)] // the memory belongs to the device, the tensor is a handle
    pub(crate) unsafe fn bytes_mut(&self) -> &mut [u8] {
        // SAFETY: passed on from the caller.
        unsafe { self.block.bytes_mut(self.start * self.dtype.bytes(), self.len() * self.dtype.bytes()) }
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} on {}", self.dtype, self.shape, self.device.name())
    }
}
