//! The engine of Isobath: tensors, reverse-mode automatic differentiation, parameters, the optimiser, devices.
//!
//! A [`Tensor`] is contiguous memory on a [`Device`] with a shape. An [`op::Op`] is a forward and a backward
//! written by hand; [`op::apply`] runs the forward and, while a [`Tape`] records on this thread, remembers what
//! the backward needs. [`Tape::backward`] walks the record once, newest first, and returns [`Gradients`].
//!
//! ```
//! use isobath_engine::{Device, Tape, Tensor, ops};
//!
//! let device = Device::cpu();
//! let x = Tensor::from_slice(&device, &[2, 3], &[1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0])?;
//! let w = Tensor::from_slice(&device, &[1, 3], &[0.5f32, -0.25, 0.125])?;
//!
//! let tape = Tape::start()?;
//! let w = tape.watch(&w)?;
//! let y = ops::linear(&x, &w, None)?;          // [2, 3] x [1, 3] -> [2, 1]
//! let loss = ops::sum(&ops::square(&y)?)?;
//! let gradients = tape.backward(&loss)?;
//!
//! // d/dw sum (x w)^2 = 2 x^T (x w)
//! assert_eq!(gradients.get(&w)?.to_vec::<f32>()?, [12.75, 16.5, 20.25]);
//! # Ok::<(), isobath_engine::Error>(())
//! ```

pub mod adam;
pub mod cache;
pub mod checkpoint;
pub mod device;
pub mod error;
pub mod graph;
pub mod init;
pub mod memory;
pub mod op;
pub mod ops;
pub mod parameters;
pub mod random;
pub mod schedule;
pub mod shape;
pub mod tape;
pub mod tensor;
pub mod weights;

pub use device::Device;
pub use error::{Error, Result};
pub use graph::Csr;
pub use shape::Shape;
pub use tape::{Gradients, Tape};
pub use tensor::{DType, Tensor};

/// The README's example, run as a test.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
