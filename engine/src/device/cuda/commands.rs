//! Work on its way to the GPU: collected, then handed over at once.

use super::events::{Mark, Times};
use super::fault::{Issued, Progress, is_final, refused, text};
use super::graph::Graphs;
use super::memory::{MOST_STAGING, Pinned, Staging};
use super::modules::{Failure, Function, Modules};
use super::node::{Node, arguments};
use crate::device::profile::Profile;
use crate::error::{Error, Result};
use cudarc::driver::result::stream::StreamKind;
use cudarc::driver::result::{self, DriverError, stream};
use cudarc::driver::sys::{self, CUcontext, CUstream};
use isobath_kernels::Entry;
use isobath_kernels::wgsl::Dispatches;
use std::rc::Rc;
use std::sync::Arc;

/// Launches and copies that are collected at most.
const MOST: usize = 4096;
/// Bytes that one download fetches at a time.
const READBACK: usize = 8 << 20;

/// A byte within a piece of memory.
pub(super) type Place = (usize, usize);

/// What a device has made and handed over so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Files of PTX that the driver compiled or found in its cache.
    pub modules: u64,
    /// Allocations of the GPU's memory and of pinned memory, and events.
    pub allocations: u64,
    /// Bytes of the GPU's memory among them.
    pub bytes: u64,
    /// Graphs built.
    pub graphs: u64,
    /// Graphs launched.
    pub graph_launches: u64,
    /// Kernels launched by themselves.
    pub launches: u64,
}

/// The GPU's memory, and the work collected since it was last handed over.
pub(super) struct Commands {
    stream: CUstream,
    context: CUcontext,
    queue: Vec<Node>,
    graphs: Option<Graphs>,
    modules: Modules,
    pieces: Vec<u64>,
    staging: Staging,
    readback: Option<Pinned>,
    progress: Progress,
    /// While launches are timed, each by itself.
    times: Option<Times>,
    /// Where the last call of [`Commands::pace`] was, and another for the next.
    paced: Option<Mark>,
    spare: Option<Mark>,
    /// Why the GPU is gone.
    lost: Option<String>,
    counters: Counters,
}

// SAFETY: the driver's handles may be used on any thread to which their context is current: see `Gpu::lock`. No reference
// count leaves the commands.
unsafe impl Send for Commands {}

impl Commands {
    /// `graphs`: whether work that recurs becomes graphs.
    pub(super) fn new(context: CUcontext, graphs: bool) -> std::result::Result<Self, DriverError> {
        Ok(Commands {
            stream: stream::create(StreamKind::NonBlocking)?,
            context,
            queue: Vec::new(),
            graphs: graphs.then(Graphs::default),
            modules: Modules::default(),
            pieces: Vec::new(),
            staging: Staging::default(),
            readback: None,
            progress: Progress::new()?,
            times: None,
            paced: None,
            spare: None,
            lost: None,
            counters: Counters { allocations: 1, ..Counters::default() },
        })
    }

    pub(super) fn counters(&self) -> Counters {
        let (modules, graphs) = (self.modules.loaded, self.graphs.as_ref().map_or(0, |graphs| graphs.built));
        let allocations =
            self.counters.allocations + self.staging.allocations + self.times.as_ref().map_or(0, |times| times.made);
        Counters { modules, graphs, allocations, ..self.counters }
    }

    /// An error when the GPU is gone.
    pub(super) fn check(&self) -> Result<()> {
        match &self.lost {
            None => Ok(()),
            Some(what) => Err(Error::DeviceLost { device: "cuda".into(), what: what.clone() }),
        }
    }

    /// Gives the GPU up.
    pub(super) fn lose(&mut self, what: &str) {
        self.lost.get_or_insert_with(|| what.to_owned());
        self.queue.clear();
    }

    /// What the driver said, as an error of the engine.
    fn done<T>(&mut self, outcome: std::result::Result<T, DriverError>) -> Result<T> {
        outcome.map_err(|error| self.failed(error))
    }

    fn failed(&mut self, error: DriverError) -> Error {
        if is_final(error) { self.broken(error) } else { refused(text(error)) }
    }

    /// What was handed over is not done, so that nothing can be relied on any more.
    fn broken(&mut self, error: DriverError) -> Error {
        let said = text(error);
        let what = self.progress.culprit(error).map_or(said.clone(), |culprit| format!("{culprit}: {said}"));
        self.lose(&what);
        Error::DeviceLost { device: "cuda".into(), what: self.lost.clone().unwrap_or(what) }
    }

    /// An entry point of a kernel.
    fn function(&mut self, kernel: &Entry, entry: &'static str) -> Result<Rc<Function>> {
        self.modules.function(kernel, entry).map_err(|failure| match failure {
            Failure::Lost(error) => self.failed(error),
            Failure::Refused(error) => error,
        })
    }

    /// Adds a piece of memory; whether there was one left.
    pub(super) fn add_piece(&mut self, bytes: usize) -> bool {
        // SAFETY: nothing reads the memory before it is written.
        match unsafe { result::malloc_sync(bytes) } {
            Ok(piece) => {
                self.pieces.push(piece);
                self.counters.allocations += 1;
                self.counters.bytes += bytes as u64;
                true
            }
            Err(error) => {
                self.failed(error);
                false
            }
        }
    }

    fn address(&self, (piece, start): Place) -> u64 {
        self.pieces[piece] + start as u64
    }

    /// Collects the launches of one call; the scratch memory comes last of the places.
    pub(super) fn launch(
        &mut self,
        kernel: &Entry,
        numbers: &[u8],
        places: &[Option<Place>],
        dispatches: &Dispatches,
    ) -> Result<()> {
        self.check()?;
        let addresses: Vec<u64> = places.iter().map(|place| place.map_or(0, |place| self.address(place))).collect();
        let (scratch, buffers) = addresses.split_last().map_or((0, &addresses[..]), |(last, rest)| (*last, rest));
        for (entry, blocks) in dispatches.steps.iter().filter(|(_, blocks)| *blocks > 0) {
            let function = self.function(kernel, entry)?;
            let arguments = arguments(&function.slots, buffers, numbers, scratch, dispatches.parts);
            self.push(Node::Launch { function, blocks: *blocks, arguments })?;
        }
        Ok(())
    }

    fn push(&mut self, node: Node) -> Result<()> {
        self.queue.push(node);
        if self.queue.len() >= MOST { self.flush() } else { Ok(()) }
    }

    /// Replaces bytes of a piece.
    pub(super) fn write(&mut self, (piece, start): Place, bytes: &[u8]) -> Result<()> {
        self.check()?;
        for (i, bytes) in bytes.chunks(MOST_STAGING).enumerate() {
            let from = match self.staging.put(bytes) {
                Some(from) => from,
                None => {
                    self.finish()?;
                    let grown = self.staging.grow(bytes.len());
                    self.done(grown)?;
                    self.staging.put(bytes).ok_or_else(|| refused("there is no pinned memory for an upload"))?
                }
            };
            let to = self.address((piece, start + i * MOST_STAGING));
            self.push(Node::Upload { to, from, bytes: bytes.len() })?;
        }
        Ok(())
    }

    /// Replaces bytes of a piece by zeros; there are whole words of them.
    pub(super) fn clear(&mut self, place: Place, bytes: usize) -> Result<()> {
        self.check()?;
        if bytes == 0 {
            return Ok(());
        }
        self.push(Node::Clear { to: self.address(place), words: bytes / 4 })
    }

    /// Copies bytes from one place to another.
    pub(super) fn copy(&mut self, from: Place, to: Place, bytes: usize) -> Result<()> {
        self.check()?;
        if bytes == 0 {
            return Ok(());
        }
        self.push(Node::Copy { to: self.address(to), from: self.address(from), bytes })
    }

    /// Hands over what is collected, waits for it and fetches bytes of a piece.
    pub(super) fn read(&mut self, (piece, start): Place, bytes: &mut [u8]) -> Result<()> {
        self.flush()?;
        if self.readback.is_none() {
            let pinned = self.done(Pinned::new(READBACK))?;
            self.readback = Some(pinned);
            self.counters.allocations += 1;
        }
        for (i, part) in bytes.chunks_mut(READBACK).enumerate() {
            let (from, len) = (self.address((piece, start + i * READBACK)), part.len());
            let to = self.readback.as_ref().map_or(std::ptr::null_mut(), |pinned| pinned.pointer());
            // SAFETY: the pinned memory holds a part, and is not read before the stream was waited for.
            let outcome = unsafe { sys::cuMemcpyDtoHAsync_v2(to.cast(), from, len, self.stream) }.result();
            self.done(outcome)?;
            self.finish()?;
            if let Some(pinned) = &self.readback {
                // SAFETY: the copy is done.
                part.copy_from_slice(unsafe { pinned.bytes(len) });
            }
        }
        self.check()
    }

    /// Hands over what is collected and waits until all is done.
    pub(super) fn finish(&mut self) -> Result<()> {
        self.flush()?;
        // SAFETY: the stream lives.
        let outcome = unsafe { stream::synchronize(self.stream) };
        self.done(outcome)?;
        self.progress.clear();
        self.staging.clear();
        let collected = self.times.as_mut().map_or(Ok(()), Times::collect);
        self.done(collected)
    }

    /// Hands over what is collected and waits for what the call before handed over.
    pub(super) fn pace(&mut self) -> Result<()> {
        self.flush()?;
        let mark = match self.spare.take() {
            Some(mark) => mark,
            None => {
                self.counters.allocations += 1;
                self.done(Mark::new(false))?
            }
        };
        let recorded = mark.record(self.stream);
        self.done(recorded)?;
        if let Some(before) = self.paced.replace(mark) {
            let waited = before.wait();
            self.spare = Some(before);
            self.done(waited)?;
        }
        Ok(())
    }

    /// Times launches from now on for `profile`, or no more.
    pub(super) fn time(&mut self, profile: Option<Arc<Profile>>) -> Result<()> {
        self.finish()?;
        if let Some(times) = self.times.take() {
            self.counters.allocations += times.made;
        }
        let times = profile.map(Times::new).transpose();
        self.times = self.done(times)?;
        Ok(())
    }

    /// Hands over what is collected: as one graph where it was seen before, or else piece by piece.
    fn flush(&mut self) -> Result<()> {
        self.check()?;
        let nodes = std::mem::take(&mut self.queue);
        if self.times.is_some() {
            return nodes.into_iter().try_for_each(|node| self.timed(node));
        }
        self.hand_over(nodes).map_err(|error| self.broken(error))
    }

    fn hand_over(&mut self, nodes: Vec<Node>) -> std::result::Result<(), DriverError> {
        let (stream, context) = (self.stream, self.context);
        let nodes = match &mut self.graphs {
            None => nodes,
            Some(graphs) => match graphs.ready(nodes, context)? {
                Err(nodes) => nodes,
                Ok(graph) => {
                    self.counters.graph_launches += 1;
                    return self.progress.follow(Issued::Graph(graph.label.clone()), stream, || graph.launch(stream));
                }
            },
        };
        nodes.into_iter().try_for_each(|node| match &node {
            Node::Launch { function, blocks, .. } => {
                self.counters.launches += 1;
                self.progress.follow(Issued::Launch(function.clone(), *blocks), stream, || node.run(stream))
            }
            _ => node.run(stream),
        })
    }

    /// Hands over one node, and times it if it is a launch.
    fn timed(&mut self, node: Node) -> Result<()> {
        if self.times.as_ref().is_some_and(Times::full) {
            self.finish()?;
        }
        let stream = self.stream;
        let outcome = match (&node, &mut self.times) {
            (Node::Launch { function, blocks, .. }, Some(times)) => {
                self.counters.launches += 1;
                let issued = Issued::Launch(function.clone(), *blocks);
                let run = || times.around([function.kernel, function.entry], stream, || node.run(stream));
                self.progress.follow(issued, stream, run)
            }
            _ => node.run(stream),
        };
        outcome.map_err(|error| self.broken(error))
    }
}

impl Drop for Commands {
    fn drop(&mut self) {
        // SAFETY: stream and pieces were made here, and nothing uses them any more. A driver that refuses has lost the
        // GPU.
        unsafe {
            let _ = stream::synchronize(self.stream);
            for piece in &self.pieces {
                let _ = result::free_sync(*piece);
            }
            let _ = stream::destroy(self.stream);
        }
    }
}
