//! Tensors, reverse-mode autodiff, parameters, optimiser and devices.
