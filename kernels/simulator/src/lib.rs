//! Runs PTX, the assembly language of NVIDIA GPUs, on the CPU: with no GPU, no driver and no toolkit.
//!
//! A [`Module`] is a PTX text as a person writes it. Its kernels run on a [`Memory`] in warps of 32 lanes in lock-step;
//! lanes that part at a branch meet again at its immediate post-dominator. On the way every access is checked, and a
//! [`Fault`] names the line, the block and the thread: accesses out of bounds or misaligned, memory or registers that
//! are read before they are written, races in shared memory, divergent barriers, loops that do not end. The [`Report`]
//! counts, for every line, executions, flops, sectors of global memory, bank conflicts and divergent branches.
//!
//! ```
//! use isobath_ptx_simulator::{Argument, Launch, Memory, Module, Options};
//!
//! let module = Module::parse("scale.ptx", "
//!     .version 6.0
//!     .target sm_61
//!     .address_size 64
//!     // y[i] = scale * x[i], i < count
//!     .visible .entry scale(.param .u64 x, .param .u64 y, .param .f32 scale, .param .u32 count)
//!     {
//!         .reg .u64 from, to;
//!         .reg .u32 i, n, block, threads;
//!         .reg .f32 value, factor;
//!         .reg .pred outside;
//!         ld.param.u64 from, [x];
//!         ld.param.u64 to, [y];
//!         ld.param.f32 factor, [scale];
//!         ld.param.u32 n, [count];
//!         mov.u32 i, %tid.x;
//!         mov.u32 block, %ctaid.x;
//!         mov.u32 threads, %ntid.x;
//!         mad.lo.u32 i, block, threads, i;
//!         setp.ge.u32 outside, i, n;
//!         @outside ret;
//!         mad.wide.u32 from, i, 4, from;
//!         mad.wide.u32 to, i, 4, to;
//!         ld.global.f32 value, [from];
//!         mul.f32 value, value, factor;
//!         st.global.f32 [to], value;
//!         ret;
//!     }
//! ")?;
//! let mut memory = Memory::new();
//! let x = memory.add_f32("x", &[1.0, 2.0, 3.0]);
//! let y = memory.reserve("y", 12);
//! let arguments = [Argument::Buffer(x), Argument::Buffer(y), Argument::F32(0.5), Argument::U32(3)];
//! let kernel = module.kernel("scale")?;
//! let report = kernel.launch(&Launch::linear(1, 32), &arguments, &mut memory, &Options::counting())?;
//! assert_eq!(memory.read_f32(y), [0.5, 1.0, 1.5]);
//! assert_eq!(report.flops(), 3);
//! assert_eq!(report.global_bytes_read(), 32);
//!
//! // One element more than there are, and the fault says where.
//! let arguments = [Argument::Buffer(x), Argument::Buffer(y), Argument::F32(0.5), Argument::U32(4)];
//! let fault = kernel.launch(&Launch::linear(1, 32), &arguments, &mut memory, &Options::default()).unwrap_err();
//! assert_eq!((fault.text.as_str(), fault.place.unwrap().thread), ("ld.global.f32 value, [from];", [3, 0, 0]));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What it does not show
//!
//! Time, caches, the order in which blocks see each other's writes, and how the approximations of a real device round:
//! they are computed here as exactly as the host can, which is within the error that the PTX ISA allows. Lanes of a
//! warp run in step where no branch has parted them; a `bar.warp.sync` that is missing between accesses to shared memory
//! is named all the same, but one that names some lanes counts for all. The warps of a block run one after the other up
//! to the next barrier: one that waits for another by reading memory over and over
//! uses up its instructions and ends in [`FaultKind::Budget`].
//!
//! Refused by name, as [`Error::UnknownInstruction`]: calls, directed rounding of arithmetic, arithmetic on halves,
//! carries, `wgmma`, `mbarrier` and bulk copies, clusters, textures and surfaces.

#![forbid(unsafe_code)]

mod counters;
mod decode;
mod error;
mod execute;
mod fault;
mod flow;
mod launch;
mod memory;
mod module;
mod occupancy;
mod parse;
mod program;
mod report;

pub use counters::Counts;
pub use error::Error;
pub use fault::{Fault, FaultKind, Place};
pub use launch::{Argument, Counting, Launch, Options};
pub use memory::{Buffer, Memory, Permission};
pub use module::{Kernel, Module};
pub use occupancy::{Limit, Multiprocessor, Occupancy};
pub use parse::syntax::Space;
pub use program::Class;
pub use report::{Report, Row};
