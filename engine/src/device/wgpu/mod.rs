//! A GPU behind Vulkan, Metal or DirectX 12, driven through the `wgpu` crate.
//!
//! Tensors lie in a slab of a few large buffers, the pieces. A launch writes the kernel's parameters and the starts of
//! its tensors to a ring and records one dispatch or several; what is recorded is submitted when the host reads a
//! tensor or the ring is full. A binding is a whole piece, so the bind groups of a training are a handful, made in its
//! first step. What shaders look like: [`isobath_kernels::wgsl`].

mod adapter;
mod commands;
mod fault;
mod kept;
mod pipelines;
pub mod shader;
mod timestamps;

pub use adapter::{Abilities, Offer, adapters};
pub use commands::Counters;

use super::bind::{self, Bind};
use super::profile::{Clock, Profile};
use crate::error::{Error, Result};
use crate::memory::{Region, Slab, Store};
use crate::shape::Shape;
use crate::tensor::DType;
use adapter::refused;
use bytemuck::Pod;
use commands::{Commands, Place, SLOT};
use fault::Faults;
use isobath_kernels::wgsl::{self, ABSENT, Dispatches, Limits};
use isobath_kernels::{Entry, Kernel};
use kept::Kept;
use pipelines::Pipelines;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Bytes of the smallest piece without a budget.
const PIECE: usize = 64 << 20;

/// A GPU's memory, commands and counters.
pub struct Wgpu {
    pub(super) slab: Slab,
    pub(super) profile: Arc<Profile>,
    offer: Offer,
    gpu: Arc<Gpu>,
    limits: Limits,
    /// Workgroups of one dimension of a grid.
    widest: u32,
}

/// What launches and the slab share.
struct Gpu(Mutex<(Commands, Pipelines)>);

impl Gpu {
    fn lock(&self) -> MutexGuard<'_, (Commands, Pipelines)> {
        // A panic between two commands leaves those before it as they were.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wgpu {
    pub(super) fn open(wanted: &str, limit: Option<usize>, checked: bool) -> Result<Self> {
        let offer = adapter::choose(wanted)?;
        let (device, queue) = offer.open()?;
        let offered = device.limits();
        let subgroups = device.features().contains(::wgpu::Features::SUBGROUP);
        let faults = Faults::watch(&device);
        let mut commands = Commands::new(device.clone(), queue, faults);
        let kept = Kept::open(&device, &offer.info());
        let pipelines = Pipelines::new(device, kept, checked, &mut commands);
        let gpu = Arc::new(Gpu(Mutex::new((commands, pipelines))));
        let largest = offered.max_storage_buffer_binding_size.min(offered.max_buffer_size) as usize;
        // Under a small budget no region may take most of it.
        let piece = limit.map_or(PIECE, |limit| (limit / 8).clamp(SLOT, PIECE).next_multiple_of(SLOT));
        let left = limit.map_or(usize::MAX, |limit| limit - limit % SLOT);
        let store = Pieces { gpu: gpu.clone(), largest, piece, left };
        Ok(Wgpu {
            slab: Slab::new(Box::new(store), limit, checked),
            profile: Arc::default(),
            offer,
            gpu,
            limits: Limits {
                workgroup_bytes: offered.max_compute_workgroup_storage_size,
                workgroup_size: offered.max_compute_invocations_per_workgroup,
                subgroups,
            },
            widest: offered.max_compute_workgroups_per_dimension,
        })
    }

    /// The adapter that was opened.
    pub fn adapter(&self) -> &Offer {
        &self.offer
    }

    /// What the device has made and submitted so far.
    pub fn counters(&self) -> Counters {
        self.gpu.lock().0.counters
    }

    /// Gives the device up, as a driver does that resets it: whatever uses it from now on fails with
    /// [`Error::DeviceLost`]. For tests of what follows.
    pub fn lose(&self) {
        self.gpu.lock().0.lose();
    }

    pub(super) fn expect_number_type(&self, dtype: DType) -> Result<()> {
        match dtype {
            DType::F32 | DType::U32 => Ok(()),
            DType::F64 => Err(Error::Type {
                op: "wgpu",
                what: "expected f32 or u32, found f64, which only the cpu computes with".into(),
            }),
        }
    }

    pub(super) fn run<P: Pod>(&self, kernel: &Kernel<P>, parameters: &P, bound: &[Bind<'_>]) -> Result<()> {
        bind::check(kernel.name, kernel.buffers, bound)?;
        let dispatches = (kernel.wgsl.dispatches)(parameters, &self.limits);
        if let Some(what) = dispatches.refused {
            return Err(refused(format!("{}: {what}", kernel.name)));
        }
        let parameter_bytes = bytemuck::bytes_of(parameters);
        if self.profile.clock() == Some(Clock::Host) {
            self.finish()?;
            let start = Instant::now();
            self.launch(&kernel.entry(), parameter_bytes, bound, &dispatches)?;
            self.finish()?;
            self.profile.ended(kernel.name, start);
        } else {
            self.launch(&kernel.entry(), parameter_bytes, bound, &dispatches)?;
        }
        self.profile.count(kernel.name, bind::cost(kernel, parameters, bound));
        Ok(())
    }

    /// Waits until all launches are done.
    pub(super) fn finish(&self) -> Result<()> {
        self.gpu.lock().0.finish()
    }

    /// Times launches from now on, or no more.
    pub(super) fn set_clock(&self, clock: Option<Clock>) -> Result<()> {
        if clock == Some(Clock::Gpu) && !self.offer.abilities().timestamps {
            let name = &self.offer.name;
            return Err(refused(format!(
                "{name} offers no timestamps; the host's clock can time its launches one by one"
            )));
        }
        self.gpu.lock().0.time((clock == Some(Clock::Gpu)).then(|| self.profile.clone()))?;
        self.profile.set_clock(clock);
        Ok(())
    }

    fn launch(&self, kernel: &Entry, parameters: &[u8], bound: &[Bind<'_>], dispatches: &Dispatches) -> Result<()> {
        // Taken before and given back after the lock on the commands, which the slab takes too. Launches that use the
        // memory next come later on the same queue.
        let scratch = match (dispatches.parts as usize, dispatches.part) {
            (0, _) | (_, 0) => None,
            (parts, part) => Some(self.slab.allocate(4 * parts * part, Shape::new(&[parts, part]), Region::Step)?),
        };
        let tensors = bound.iter().map(|bind| bind.tensor().map(|tensor| tensor.place()));
        let places: Vec<Option<Place>> = tensors.chain([scratch.as_ref().map(|block| block.place())]).collect();
        let mut slot = parameters.to_vec();
        for start in places.iter().map(start_of).chain([dispatches.parts]) {
            slot.extend_from_slice(&start.to_ne_bytes());
        }
        assert!(slot.len() <= SLOT, "{}: {} bytes of parameters and starts", kernel.name, slot.len());
        // An absent buffer is bound to any piece.
        let any = places.iter().flatten().map(|(piece, _)| *piece).next().unwrap_or(0);
        let (commands, pipelines) = &mut *self.gpu.lock();
        commands.check()?;
        let slot = commands.stage(&slot);
        for (entry, groups) in dispatches.steps.iter().filter(|(_, groups)| *groups > 0) {
            let pipeline = pipelines.pipeline(kernel, entry, commands)?;
            let piece = |binding: &u32| places[*binding as usize].map_or(any, |(piece, _)| piece);
            let buffers = pipelines.group(&pipeline, pipeline.bindings.iter().map(piece).collect(), commands);
            let grid = fold(*groups, self.widest);
            commands.dispatch(&pipeline, &buffers, &pipelines.parameters, slot, grid);
        }
        Ok(())
    }

    pub(super) fn read(&self, place: Place, bytes: &mut [u8]) -> Result<()> {
        self.gpu.lock().0.read(place, bytes)
    }

    pub(super) fn pace(&self) -> Result<()> {
        self.gpu.lock().0.pace()
    }

    pub(super) fn write(&self, place: Place, bytes: &[u8]) -> Result<()> {
        self.gpu.lock().0.write(place, bytes)
    }

    pub(super) fn clear(&self, place: Place, len: usize) -> Result<()> {
        self.gpu.lock().0.clear(place, len)
    }

    pub(super) fn copy(&self, from: Place, to: Place, len: usize) -> Result<()> {
        self.gpu.lock().0.copy(from, to, len)
    }
}

/// A tensor's first element within its piece.
fn start_of(place: &Option<Place>) -> u32 {
    place.map_or(ABSENT, |(_, start)| {
        assert!(start.is_multiple_of(4 * wgsl::ALIGN), "a tensor starts at byte {start}, which no vec4 load may");
        (start / 4) as u32
    })
}

/// `groups` workgroups as rows of at most `widest`; the last row may have some too many.
fn fold(groups: u32, widest: u32) -> [u32; 2] {
    let rows = groups.div_ceil(widest);
    [groups.div_ceil(rows), rows]
}

/// The slab's pieces on the GPU.
struct Pieces {
    gpu: Arc<Gpu>,
    largest: usize,
    /// Bytes of the smallest piece.
    piece: usize,
    /// Bytes that the budget leaves for further pieces.
    left: usize,
}

impl Store for Pieces {
    fn largest(&self) -> usize {
        self.largest
    }

    fn grow(&mut self, bytes: usize) -> Option<usize> {
        let len = bytes.next_multiple_of(self.piece).min(self.largest).min(self.left);
        if len < bytes {
            return None;
        }
        self.gpu.lock().0.add_piece(len)?;
        self.left -= len;
        Some(len)
    }

    fn address(&mut self, _: usize) -> Option<NonNull<u8>> {
        None
    }

    fn fill(&mut self, piece: usize, start: usize, len: usize, byte: u8) {
        // A fault stays with the device: its next use reports it.
        let _ = self.gpu.lock().0.write((piece, start), &vec![byte; len]);
    }

    fn read(&mut self, piece: usize, start: usize, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        // As in `fill`.
        let _ = self.gpu.lock().0.read((piece, start), &mut bytes);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grids_hold_every_group_and_few_more() {
        for groups in [1, 7, 65_535, 65_536, 65_537, 1 << 20, u32::MAX / 64] {
            let [width, rows] = fold(groups, 65_535);
            assert!(width <= 65_535 && width * rows >= groups && width * rows - groups < rows, "{groups}");
        }
    }
}
