//! Graphs: lists of launches and copies in the order of their nodes.

use crate::launch::Work;
use crate::memory::Move;
use crate::{Driver, give, wish};
use cudarc::driver::sys::{
    CUDA_KERNEL_NODE_PARAMS, CUDA_MEMCPY3D, CUDA_MEMSET_NODE_PARAMS, CUcontext, CUgraph, CUgraphExec, CUgraphNode,
    CUmemorytype, CUresult, CUstream,
};
use isobath_ptx_simulator::Launch;
use std::ffi::c_ulonglong;
use std::ptr::without_provenance_mut;
use std::rc::Rc;

#[derive(Clone)]
enum Node {
    Launch(Rc<Work>),
    Move(Rc<Move>),
}

type Graph = Vec<Node>;

impl Node {
    /// # Safety
    /// As [`Work::new`].
    unsafe fn launch(p: &CUDA_KERNEL_NODE_PARAMS) -> Self {
        let grid = [p.gridDimX, p.gridDimY, p.gridDimZ];
        let block = [p.blockDimX, p.blockDimY, p.blockDimZ];
        let geometry = Launch { grid, block, shared_bytes: p.sharedMemBytes };
        // SAFETY: the caller's.
        Node::Launch(Rc::new(unsafe { Work::new(p.func, geometry, p.kernelParams) }))
    }

    fn copy(p: &CUDA_MEMCPY3D) -> Option<Self> {
        if (p.Height, p.Depth) != (1, 1) || p.dstMemoryType != CUmemorytype::CU_MEMORYTYPE_DEVICE {
            return None;
        }
        let (to, bytes) = (p.dstDevice, p.WidthInBytes);
        Some(Node::Move(Rc::new(match p.srcMemoryType {
            CUmemorytype::CU_MEMORYTYPE_HOST => Move::Up { to, from: p.srcHost.cast(), bytes },
            CUmemorytype::CU_MEMORYTYPE_DEVICE => Move::Along { to, from: p.srcDevice, bytes },
            _ => return None,
        })))
    }

    fn fill(p: &CUDA_MEMSET_NODE_PARAMS) -> Option<Self> {
        let pattern = p.value.to_ne_bytes()[..p.elementSize as usize].to_vec();
        let fill = Move::Fill { to: p.dst, pattern, times: p.width };
        (p.height == 1).then(|| Node::Move(Rc::new(fill)))
    }

    /// Whether a graph that is ready to run allows the change.
    fn may_become(&self, other: &Node) -> bool {
        match (self, other) {
            (Node::Launch(a), Node::Launch(b)) => a.has_geometry_of(b),
            (Node::Move(a), Node::Move(b)) => std::mem::discriminant(&**a) == std::mem::discriminant(&**b),
            _ => false,
        }
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuGraphCreate(graph: *mut CUgraph, _flags: u32) -> CUresult {
    let new: Box<Graph> = Box::default();
    // SAFETY: the caller's.
    unsafe { give(graph, Box::into_raw(new).cast()) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuGraphDestroy(graph: CUgraph) -> CUresult {
    // SAFETY: the caller got it from `cuGraphCreate` and uses it no more.
    drop(unsafe { Box::from_raw(graph.cast::<Graph>()) });
    CUresult::CUDA_SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuGraphInstantiateWithFlags(
    executable: *mut CUgraphExec,
    graph: CUgraph,
    _flags: c_ulonglong,
) -> CUresult {
    // SAFETY: the caller got it from `cuGraphCreate`.
    let copy = Box::new(unsafe { &*graph.cast::<Graph>() }.clone());
    // SAFETY: the caller's.
    unsafe { give(executable, Box::into_raw(copy).cast()) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuGraphExecDestroy(executable: CUgraphExec) -> CUresult {
    // SAFETY: the caller got it from `cuGraphInstantiateWithFlags` and uses it no more.
    drop(unsafe { Box::from_raw(executable.cast::<Graph>()) });
    CUresult::CUDA_SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuGraphLaunch(executable: CUgraphExec, _stream: CUstream) -> CUresult {
    let mut driver = Driver::lock();
    if wish("fault-in-graph").is_some() {
        driver.fault = Some(CUresult::CUDA_ERROR_ILLEGAL_ADDRESS);
    }
    // SAFETY: the caller got it from `cuGraphInstantiateWithFlags`.
    for node in unsafe { &*executable.cast::<Graph>() } {
        match node {
            Node::Launch(work) => driver.launch(work),
            Node::Move(what) => match driver.carry_out(what) {
                CUresult::CUDA_SUCCESS => {}
                error => return error,
            },
        }
    }
    CUresult::CUDA_SUCCESS
}

/// Adds a node behind the last one, which alone it may wait for: graphs here are chains. A node is known by its number.
///
/// # Safety
/// As the driver's functions that add nodes.
unsafe fn add(
    to: *mut CUgraphNode,
    graph: CUgraph,
    before: *const CUgraphNode,
    count: usize,
    node: Option<Node>,
) -> CUresult {
    // SAFETY: the caller got it from `cuGraphCreate`.
    let graph = unsafe { &mut *graph.cast::<Graph>() };
    // SAFETY: the caller has so many nodes there.
    let last = (count > 0).then(|| unsafe { *before }.addr());
    let behind_last = count < 2 && last.unwrap_or(0) == graph.len();
    let Some(node) = node.filter(|_| behind_last) else { return CUresult::CUDA_ERROR_INVALID_VALUE };
    graph.push(node);
    // SAFETY: the caller's.
    unsafe { give(to, without_provenance_mut(graph.len())) }
}

/// Puts a node in the place of one of its kind.
///
/// # Safety
/// As the driver's functions that change nodes.
unsafe fn replace(executable: CUgraphExec, node: CUgraphNode, new: Option<Node>) -> CUresult {
    if wish("refuse-update").is_some() {
        return CUresult::CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE;
    }
    // SAFETY: the caller got it from `cuGraphInstantiateWithFlags`.
    let graph = unsafe { &mut *executable.cast::<Graph>() };
    match (graph.get_mut(node.addr().wrapping_sub(1)), new) {
        (Some(old), Some(new)) if old.may_become(&new) => *old = new,
        _ => return CUresult::CUDA_ERROR_INVALID_VALUE,
    }
    CUresult::CUDA_SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuGraphAddKernelNode(
    node: *mut CUgraphNode,
    graph: CUgraph,
    before: *const CUgraphNode,
    count: usize,
    what: *const CUDA_KERNEL_NODE_PARAMS,
) -> CUresult {
    // SAFETY: the caller's.
    unsafe { add(node, graph, before, count, Some(Node::launch(&*what))) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuGraphAddMemcpyNode(
    node: *mut CUgraphNode,
    graph: CUgraph,
    before: *const CUgraphNode,
    count: usize,
    what: *const CUDA_MEMCPY3D,
    _context: CUcontext,
) -> CUresult {
    // SAFETY: the caller's.
    unsafe { add(node, graph, before, count, Node::copy(&*what)) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuGraphAddMemsetNode(
    node: *mut CUgraphNode,
    graph: CUgraph,
    before: *const CUgraphNode,
    count: usize,
    what: *const CUDA_MEMSET_NODE_PARAMS,
    _context: CUcontext,
) -> CUresult {
    // SAFETY: the caller's.
    unsafe { add(node, graph, before, count, Node::fill(&*what)) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuGraphExecKernelNodeSetParams(
    executable: CUgraphExec,
    node: CUgraphNode,
    what: *const CUDA_KERNEL_NODE_PARAMS,
) -> CUresult {
    // SAFETY: the caller's.
    unsafe { replace(executable, node, Some(Node::launch(&*what))) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuGraphExecMemcpyNodeSetParams(
    executable: CUgraphExec,
    node: CUgraphNode,
    what: *const CUDA_MEMCPY3D,
    _context: CUcontext,
) -> CUresult {
    // SAFETY: the caller's.
    unsafe { replace(executable, node, Node::copy(&*what)) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuGraphExecMemsetNodeSetParams(
    executable: CUgraphExec,
    node: CUgraphNode,
    what: *const CUDA_MEMSET_NODE_PARAMS,
    _context: CUcontext,
) -> CUresult {
    // SAFETY: the caller's.
    unsafe { replace(executable, node, Node::fill(&*what)) }
}
