//! Graphs of the driver: work that recurs, handed over at once.

use super::fault::is_final;
use super::node::Node;
use cudarc::driver::result::{DriverError, graph};
use cudarc::driver::sys::{self, CUcontext, CUgraph, CUgraphExec, CUgraphInstantiate_flags, CUgraphNode, CUstream};
use std::collections::{BTreeSet, VecDeque};
use std::hash::{DefaultHasher, Hasher};
use std::rc::Rc;

/// Graphs that are kept, and that work which is seen again makes way for.
const KEPT: usize = 8;
/// Sequences that are remembered until they are seen again.
const REMEMBERED: usize = 64;
/// Work that is handed over piece by piece as quickly.
const LEAST: usize = 8;

/// Work that was seen twice, as graphs.
#[derive(Default)]
pub(super) struct Graphs {
    /// Last used last.
    kept: Vec<Graph>,
    /// Shapes of what was seen once.
    seen: VecDeque<u64>,
    /// Graphs built so far.
    pub(super) built: u64,
}

impl Graphs {
    /// The graph that does this work, ready to be launched; gives work back that is new.
    pub(super) fn ready(
        &mut self,
        nodes: Vec<Node>,
        context: CUcontext,
    ) -> Result<Result<&Graph, Vec<Node>>, DriverError> {
        if nodes.len() < LEAST {
            return Ok(Err(nodes));
        }
        let kept = self.kept.iter().position(|graph| graph.fits(&nodes)).map(|index| self.kept.remove(index));
        let mut graph = match kept {
            Some(graph) if graph.update(&nodes, context)? => graph,
            None if !self.was_seen(&nodes) => return Ok(Err(nodes)),
            _ => {
                self.built += 1;
                Graph::build(&nodes, context)?
            }
        };
        graph.nodes = nodes;
        if self.kept.len() == KEPT {
            self.kept.remove(0);
        }
        self.kept.push(graph);
        Ok(Ok(&self.kept[self.kept.len() - 1]))
    }

    /// Whether work of this shape came before; from now on it did.
    fn was_seen(&mut self, nodes: &[Node]) -> bool {
        let mut state = DefaultHasher::new();
        nodes.iter().for_each(|node| node.hash_shape(&mut state));
        let shape = state.finish();
        if self.seen.contains(&shape) {
            return true;
        }
        self.seen.push_back(shape);
        if self.seen.len() > REMEMBERED {
            self.seen.pop_front();
        }
        false
    }
}

/// Work in the order of its nodes, one after the other.
pub(super) struct Graph {
    graph: CUgraph,
    executable: CUgraphExec,
    handles: Vec<CUgraphNode>,
    /// What the nodes do at present.
    nodes: Vec<Node>,
    /// Its launches in words.
    pub(super) label: Rc<str>,
}

impl Graph {
    fn build(nodes: &[Node], context: CUcontext) -> Result<Self, DriverError> {
        let mut raw = std::ptr::null_mut();
        // SAFETY: the driver writes the handle.
        unsafe { sys::cuGraphCreate(&mut raw, 0) }.result()?;
        let (executable, handles) = (std::ptr::null_mut(), Vec::with_capacity(nodes.len()));
        let mut graph = Graph { graph: raw, executable, handles, nodes: Vec::new(), label: label(nodes) };
        for node in nodes {
            let handle = node.add(graph.graph, graph.handles.last(), context)?;
            graph.handles.push(handle);
        }
        // SAFETY: the graph was created above.
        graph.executable = unsafe { graph::instantiate(graph.graph, CUgraphInstantiate_flags(0)) }?;
        Ok(graph)
    }

    fn fits(&self, nodes: &[Node]) -> bool {
        self.nodes.len() == nodes.len() && self.nodes.iter().zip(nodes).all(|(a, b)| a.has_shape_of(b))
    }

    /// Gives it the addresses and numbers of these nodes; whether the driver allows that.
    fn update(&self, nodes: &[Node], context: CUcontext) -> Result<bool, DriverError> {
        for ((old, new), handle) in self.nodes.iter().zip(nodes).zip(&self.handles) {
            if old == new {
                continue;
            }
            match new.replace(self.executable, *handle, context) {
                Ok(()) => {}
                Err(error) if is_final(error) => return Err(error),
                Err(_) => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Hands the work to the GPU.
    pub(super) fn launch(&self, stream: CUstream) -> Result<(), DriverError> {
        // SAFETY: graph and stream live.
        unsafe { graph::launch(self.executable, stream) }
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        // SAFETY: both were created here; what is still running is freed by the driver when it is done. A driver that
        // refuses has lost the GPU.
        unsafe {
            if !self.executable.is_null() {
                let _ = graph::exec_destroy(self.executable);
            }
            let _ = graph::destroy(self.graph);
        }
    }
}

fn label(nodes: &[Node]) -> Rc<str> {
    let launched = |node: &Node| match node {
        Node::Launch { function, .. } => Some(function.kernel),
        _ => None,
    };
    let launches = nodes.iter().filter_map(launched).count();
    let kernels: BTreeSet<&str> = nodes.iter().filter_map(launched).collect();
    let kernels = kernels.into_iter().collect::<Vec<_>>().join(", ");
    format!("one of the {launches} launches of a graph ({kernels}; ISOBATH_CUDA_GRAPHS=off tells which)").into()
}
