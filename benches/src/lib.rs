//! What the benches share: a coast of the published size, and how times are told.

pub mod coast;
pub mod timing;
