//! How a kernel runs on a GPU: the text of its shader, and the dispatches of one launch.
//!
//! `shaders/<name>.wgsl` sees its tensors and parameters as below. A long one goes on in `<name>.<part>.wgsl`, which
//! another kernel may share; together they are one module.
//!
//! ```wgsl
//! struct Parameters {
//!     len: u32,       // the kernel's parameter block, one member for each of its numbers,
//!     x: u32,         // then the first element of every buffer within its binding, in declared order;
//!     y: u32,         // ABSENT (all bits set) for an optional buffer that the caller left out,
//!     scratch: u32,   // then, where the shader uses them, the first element of the scratch memory
//!     parts: u32,     // and the number of parts that the scratch memory has
//! }
//! @group(0) @binding(0) var<storage, read_write> x: array<vec4<f32>>; // the number of a binding is the buffer's
//! @group(0) @binding(1) var<storage, read_write> y: array<f32>;
//! @group(0) @binding(2) var<storage, read_write> scratch: array<f32>; // after the last buffer
//! @group(1) @binding(0) var<uniform> p: Parameters;
//! ```
//!
//! A binding is a whole piece of the device's memory, not one tensor: launches on other tensors differ in their
//! parameters alone, so a handful of bind groups serves a whole training. Every tensor starts at a multiple of
//! [`ALIGN`] elements. Several bindings may be the same piece, so all are `read_write` and no launch writes what
//! another of its bindings reads. An entry point needs bindings only for the buffers that it uses.
//!
//! Workgroups are numbered from 0; past 65 535 the device folds them into rows, so a shader computes its number as
//! `group.y * grid.x + group.x` from `workgroup_id` and `num_workgroups`, and ignores numbers past the last one.
//!
//! An entry point whose name ends in [`SUBGROUPS`] uses subgroup operations. It stands beside one that does without,
//! and runs where [`Limits::subgroups`] says so; adapters without them never see it.

/// Elements to which the start of every tensor is aligned, so that `vec4` loads never straddle two tensors.
pub const ALIGN: usize = 16;

/// In place of a start: the buffer is absent.
pub const ABSENT: u32 = u32::MAX;

/// Ends the names of entry points that use subgroup operations, for subgroups of any size.
pub const SUBGROUPS: &str = "_subgroups";

/// What an adapter offers beyond what every one does, for launches that choose between entry points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of memory that the invocations of a workgroup share: 16 KiB or more.
    pub workgroup_bytes: u32,
    /// Invocations of a workgroup: 256 or more.
    pub workgroup_size: u32,
    /// Whether invocations that run in lock-step can reduce numbers without shared memory.
    pub subgroups: bool,
}

/// A kernel's code for GPUs.
pub struct Wgsl<P: 'static> {
    /// Names and texts of its files in `shaders`: `<name>.wgsl` first, then those in which it goes on or that it shares.
    pub files: &'static [(&'static str, &'static str)],
    /// What to dispatch for given parameters.
    pub dispatches: fn(&P, &Limits) -> Dispatches,
}

/// The dispatches of one launch. Each sees all that those before it wrote.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dispatches {
    /// Parts of the scratch memory.
    pub parts: u32,
    /// Numbers of one part.
    pub part: usize,
    /// Entry points, each with its number of workgroups; none runs for 0.
    pub steps: Vec<(&'static str, u32)>,
    /// Why the adapter cannot run this launch.
    pub refused: Option<String>,
}

impl Dispatches {
    /// A launch of a single dispatch.
    pub fn one(entry: &'static str, groups: u32) -> Self {
        Dispatches { steps: vec![(entry, groups)], ..Dispatches::default() }
    }

    /// A launch with scratch memory of `parts` times `part` numbers, whose dispatches follow by [`Dispatches::then`].
    pub fn with_scratch(parts: u32, part: usize) -> Self {
        Dispatches { parts, part, ..Dispatches::default() }
    }

    /// No launch: these parameters need more of something than the adapter has.
    pub fn refused(what: String) -> Self {
        Dispatches { refused: Some(what), ..Dispatches::default() }
    }

    /// Another dispatch after those so far.
    pub fn then(mut self, entry: &'static str, groups: u32) -> Self {
        self.steps.push((entry, groups));
        self
    }
}
