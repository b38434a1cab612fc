//! One piece of work for the GPU: on its own, or as a node of a graph.

use super::modules::Function;
use crate::device::ptx::Slot;
use cudarc::driver::result::{self, DriverError};
use cudarc::driver::sys::{self, CUcontext, CUgraph, CUgraphExec, CUgraphNode, CUmemorytype, CUstream};
use std::ffi::c_void;
use std::hash::{Hash, Hasher};
use std::rc::Rc;

/// A launch or a copy.
#[derive(PartialEq)]
pub(super) enum Node {
    /// An entry point on so many blocks.
    Launch { function: Rc<Function>, blocks: u32, arguments: Vec<u64> },
    /// From pinned memory of the host to the GPU.
    Upload { to: u64, from: u64, bytes: usize },
    /// Within the GPU's memory.
    Copy { to: u64, from: u64, bytes: usize },
    /// Zeros in so many 32-bit words.
    Clear { to: u64, words: usize },
}

/// Places arguments one behind the other, each at the start of a word.
pub(super) fn arguments(slots: &[Slot], buffers: &[u64], mut numbers: &[u8], scratch: u64, parts: u32) -> Vec<u64> {
    let mut words = Vec::with_capacity(slots.len());
    for slot in slots {
        match slot {
            Slot::Buffer(number) => words.push(buffers[*number]),
            Slot::Scratch => words.push(scratch),
            Slot::Parts => words.push(u64::from(parts)),
            Slot::Numbers(bytes) => {
                let number = numbers.split_off(..*bytes as usize).unwrap_or_default();
                for part in number.chunks(8) {
                    let mut word = [0; 8];
                    word[..part.len()].copy_from_slice(part);
                    words.push(u64::from_ne_bytes(word));
                }
            }
        }
    }
    words
}

/// The address of every argument, as the driver wants them.
fn pointers(slots: &[Slot], arguments: &[u64]) -> Vec<*mut c_void> {
    let mut at = 0;
    let pointer = |slot: &Slot| {
        let word = &arguments[at];
        at += if let Slot::Numbers(bytes) = slot { (*bytes as usize).div_ceil(8) } else { 1 };
        std::ptr::from_ref(word).cast_mut().cast()
    };
    slots.iter().map(pointer).collect()
}

impl Node {
    /// What a graph cannot change: all but addresses and numbers.
    pub(super) fn hash_shape(&self, state: &mut impl Hasher) {
        std::mem::discriminant(self).hash(state);
        match self {
            Node::Launch { function, blocks, .. } => (function.handle as usize, blocks).hash(state),
            Node::Upload { bytes, .. } | Node::Copy { bytes, .. } => bytes.hash(state),
            Node::Clear { words, .. } => words.hash(state),
        }
    }

    /// Whether a graph with `other` in it can do this instead.
    pub(super) fn has_shape_of(&self, other: &Node) -> bool {
        match (self, other) {
            (Node::Launch { function: f, blocks: b, .. }, Node::Launch { function: g, blocks: c, .. }) => {
                f == g && b == c
            }
            (Node::Upload { bytes: a, .. }, Node::Upload { bytes: b, .. })
            | (Node::Copy { bytes: a, .. }, Node::Copy { bytes: b, .. })
            | (Node::Clear { words: a, .. }, Node::Clear { words: b, .. }) => a == b,
            _ => false,
        }
    }

    /// Hands it to the GPU by itself.
    pub(super) fn run(&self, stream: CUstream) -> Result<(), DriverError> {
        // SAFETY: all addresses are those of live memory of at least that length, or of pinned memory that is not
        // written before the stream was waited for; a launch has the arguments that its entry point declares.
        unsafe {
            match self {
                Node::Launch { function, blocks, arguments } => {
                    let [x, y, z] = function.threads;
                    let mut pointers = pointers(&function.slots, arguments);
                    result::launch_kernel(function.handle, (*blocks, 1, 1), (x, y, z), 0, stream, &mut pointers)
                }
                Node::Upload { to, from, bytes } => {
                    sys::cuMemcpyHtoDAsync_v2(*to, *from as *const c_void, *bytes, stream).result()
                }
                Node::Copy { to, from, bytes } => result::memcpy_dtod_async(*to, *from, *bytes, stream),
                Node::Clear { to, words } => sys::cuMemsetD32Async(*to, 0, *words, stream).result(),
            }
        }
    }

    /// Adds it to a graph, behind the last node.
    pub(super) fn add(
        &self,
        graph: CUgraph,
        after: Option<&CUgraphNode>,
        context: CUcontext,
    ) -> Result<CUgraphNode, DriverError> {
        let mut node = std::ptr::null_mut();
        let (before, count) = after.map_or((std::ptr::null(), 0), |after| (std::ptr::from_ref(after), 1));
        // SAFETY: graph, node and context live; addresses and arguments as in `run`, which the driver copies.
        let outcome = unsafe {
            match self {
                Node::Launch { function, blocks, arguments } => {
                    let mut pointers = pointers(&function.slots, arguments);
                    let launch = launch(function, *blocks, &mut pointers);
                    sys::cuGraphAddKernelNode(&mut node, graph, before, count, &launch)
                }
                Node::Upload { .. } | Node::Copy { .. } => {
                    sys::cuGraphAddMemcpyNode(&mut node, graph, before, count, &self.copy(), context)
                }
                Node::Clear { to, words } => {
                    sys::cuGraphAddMemsetNode(&mut node, graph, before, count, &clear(*to, *words), context)
                }
            }
        };
        outcome.result().map(|()| node)
    }

    /// Takes the place of a node of its shape.
    pub(super) fn replace(&self, graph: CUgraphExec, node: CUgraphNode, context: CUcontext) -> Result<(), DriverError> {
        // SAFETY: as in `add`; the node is one of the graph's, and of this shape.
        let outcome = unsafe {
            match self {
                Node::Launch { function, blocks, arguments } => {
                    let mut pointers = pointers(&function.slots, arguments);
                    let launch = launch(function, *blocks, &mut pointers);
                    sys::cuGraphExecKernelNodeSetParams(graph, node, &launch)
                }
                Node::Upload { .. } | Node::Copy { .. } => {
                    sys::cuGraphExecMemcpyNodeSetParams(graph, node, &self.copy(), context)
                }
                Node::Clear { to, words } => {
                    sys::cuGraphExecMemsetNodeSetParams(graph, node, &clear(*to, *words), context)
                }
            }
        };
        outcome.result()
    }

    /// A copy in the driver's words: one row of bytes.
    fn copy(&self) -> sys::CUDA_MEMCPY3D {
        let (to, from, bytes, host) = match self {
            Node::Upload { to, from, bytes } => (*to, *from, *bytes, true),
            Node::Copy { to, from, bytes } => (*to, *from, *bytes, false),
            Node::Launch { .. } | Node::Clear { .. } => unreachable!("no copy"),
        };
        let kind = if host { CUmemorytype::CU_MEMORYTYPE_HOST } else { CUmemorytype::CU_MEMORYTYPE_DEVICE };
        sys::CUDA_MEMCPY3D {
            srcXInBytes: 0,
            srcY: 0,
            srcZ: 0,
            srcLOD: 0,
            srcMemoryType: kind,
            srcHost: if host { from as *const c_void } else { std::ptr::null() },
            srcDevice: if host { 0 } else { from },
            srcArray: std::ptr::null_mut(),
            reserved0: std::ptr::null_mut(),
            srcPitch: bytes,
            srcHeight: 1,
            dstXInBytes: 0,
            dstY: 0,
            dstZ: 0,
            dstLOD: 0,
            dstMemoryType: CUmemorytype::CU_MEMORYTYPE_DEVICE,
            dstHost: std::ptr::null_mut(),
            dstDevice: to,
            dstArray: std::ptr::null_mut(),
            reserved1: std::ptr::null_mut(),
            dstPitch: bytes,
            dstHeight: 1,
            WidthInBytes: bytes,
            Height: 1,
            Depth: 1,
        }
    }
}

fn launch(function: &Function, blocks: u32, pointers: &mut [*mut c_void]) -> sys::CUDA_KERNEL_NODE_PARAMS {
    let [x, y, z] = function.threads;
    sys::CUDA_KERNEL_NODE_PARAMS {
        func: function.handle,
        gridDimX: blocks,
        gridDimY: 1,
        gridDimZ: 1,
        blockDimX: x,
        blockDimY: y,
        blockDimZ: z,
        sharedMemBytes: 0,
        kernelParams: pointers.as_mut_ptr(),
        extra: std::ptr::null_mut(),
    }
}

fn clear(to: u64, words: usize) -> sys::CUDA_MEMSET_NODE_PARAMS {
    sys::CUDA_MEMSET_NODE_PARAMS { dst: to, pitch: 4 * words, value: 0, elementSize: 4, width: words, height: 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_argument_starts_a_word() {
        let slots = [Slot::Buffer(1), Slot::Numbers(4), Slot::Numbers(12), Slot::Buffer(0), Slot::Scratch, Slot::Parts];
        let numbers: Vec<u8> = [1u32, 2, 3, 4].iter().flat_map(|n| n.to_ne_bytes()).collect();
        let words = arguments(&slots, &[70, 80], &numbers, 90, 5);
        assert_eq!(words, [80, 1, 2 | 3 << 32, 4, 70, 90, 5]);
        let at = |pointer: *mut c_void| (pointer as usize - words.as_ptr() as usize) / 8;
        assert_eq!(pointers(&slots, &words).into_iter().map(at).collect::<Vec<_>>(), [0, 1, 2, 4, 5, 6]);
    }
}
