//! Commands on their way to the GPU: recorded one after the other, submitted together.

use super::adapter::refused;
use super::fault::Faults;
use super::pipelines::Pipeline;
use super::timestamps::Timestamps;
use crate::device::profile::Profile;
use crate::error::Result;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, mpsc};
use std::time::Duration;
use wgpu::{BindGroup, Buffer, BufferUsages, CommandEncoder, ComputePass, ComputePassDescriptor, SubmissionIndex};

/// Bytes of the parameters of one launch, and what their place in the ring is a multiple of.
pub(super) const SLOT: usize = 256;
/// Bytes of parameters and small uploads of one submission.
const RING: usize = 1 << 20;
/// Uploads of more bytes are not batched.
const SMALL: usize = 1 << 16;
/// Bytes that one download fetches at a time.
const READBACK: usize = 4 << 20;
/// A submission that takes longer has hung.
const PATIENCE: Duration = Duration::from_secs(120);

/// A byte within a piece of memory.
pub(super) type Place = (usize, usize);

/// What a device has made and submitted so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Buffers.
    pub buffers: u64,
    /// Bytes of all buffers.
    pub buffer_bytes: u64,
    /// Bind groups.
    pub bind_groups: u64,
    /// Compute pipelines.
    pub pipelines: u64,
    /// Command buffers submitted.
    pub submissions: u64,
}

/// The memory, and the commands recorded since the last submission.
///
/// Parameters and small uploads are collected on the host and written to `ring` once a submission, ahead of its
/// commands; a submission reads each place of the ring that it wrote, and the queue keeps submissions in order.
pub(super) struct Commands {
    device: wgpu::Device,
    queue: wgpu::Queue,
    faults: Arc<Faults>,
    pieces: Vec<Buffer>,
    ring: Buffer,
    staged: Vec<u8>,
    readback: Buffer,
    encoder: Option<CommandEncoder>,
    pass: Option<ComputePass<'static>>,
    /// While dispatches are timed, each in a pass of its own.
    timestamps: Option<Timestamps>,
    /// What the last call of [`Commands::pace`] submitted.
    paced: Option<SubmissionIndex>,
    pub(super) counters: Counters,
}

impl Commands {
    pub(super) fn new(device: wgpu::Device, queue: wgpu::Queue, faults: Arc<Faults>) -> Self {
        let buffer = |label, size: usize, usage| {
            let size = size as u64;
            device.create_buffer(&wgpu::BufferDescriptor { label: Some(label), size, usage, mapped_at_creation: false })
        };
        let ring = buffer("ring", RING, BufferUsages::UNIFORM | BufferUsages::COPY_SRC | BufferUsages::COPY_DST);
        let readback = buffer("readback", READBACK, BufferUsages::MAP_READ | BufferUsages::COPY_DST);
        let counters = Counters { buffers: 2, buffer_bytes: (RING + READBACK) as u64, ..Counters::default() };
        let (pieces, staged) = (Vec::new(), Vec::with_capacity(RING));
        let (encoder, pass, timestamps, paced) = (None, None, None, None);
        Commands { device, queue, faults, pieces, ring, staged, readback, encoder, pass, timestamps, paced, counters }
    }

    /// The buffer that holds the parameters of launches.
    pub(super) fn ring(&self) -> &Buffer {
        &self.ring
    }

    /// A piece of memory.
    pub(super) fn piece(&self, piece: usize) -> &Buffer {
        &self.pieces[piece]
    }

    /// Adds a piece of memory, unless the driver has no more.
    pub(super) fn add_piece(&mut self, bytes: usize) -> Option<()> {
        let usage = BufferUsages::STORAGE | BufferUsages::COPY_SRC | BufferUsages::COPY_DST;
        let descriptor =
            wgpu::BufferDescriptor { label: Some("piece"), size: bytes as u64, usage, mapped_at_creation: false };
        let scope = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let piece = self.device.create_buffer(&descriptor);
        if pollster::block_on(scope.pop()).is_some() {
            return None;
        }
        self.pieces.push(piece);
        self.counters.buffers += 1;
        self.counters.buffer_bytes += bytes as u64;
        Some(())
    }

    /// Submits what is recorded, and from then on times dispatches for `profile` or no more.
    pub(super) fn time(&mut self, profile: Option<Arc<Profile>>) -> Result<()> {
        self.finish()?;
        self.timestamps = profile.map(|profile| Timestamps::new(&self.device, &self.queue, profile));
        if self.timestamps.is_some() {
            self.counters.buffers += Timestamps::BUFFERS as u64;
            self.counters.buffer_bytes += (Timestamps::BUFFERS * Timestamps::BYTES) as u64;
        }
        self.faults.check()
    }

    /// Submits what is recorded and waits until all is done.
    pub(super) fn finish(&mut self) -> Result<()> {
        self.submit();
        self.wait(None)
    }

    /// Puts bytes of at most a [`SLOT`] or a [`SMALL`] upload on the ring and says where; submits first when it is full.
    pub(super) fn stage(&mut self, bytes: &[u8]) -> usize {
        let mut start = self.staged.len().next_multiple_of(SLOT);
        let full = self.timestamps.as_ref().is_some_and(Timestamps::full);
        if full || start + bytes.len().max(SLOT) > RING {
            self.submit();
            start = 0;
        }
        self.staged.resize(start, 0);
        self.staged.extend_from_slice(bytes);
        start
    }

    /// Records `groups` workgroups of a pipeline; `slot` is where its parameters are on the ring.
    pub(super) fn dispatch(
        &mut self,
        pipeline: &Pipeline,
        buffers: &BindGroup,
        parameters: &BindGroup,
        slot: usize,
        groups: [u32; 2],
    ) {
        let encoder = encoder(&mut self.encoder, &self.device);
        let pass = match &mut self.timestamps {
            None => self.pass.get_or_insert_with(|| encoder.begin_compute_pass(&<_>::default()).forget_lifetime()),
            Some(timestamps) => {
                // The last one ends before the next one begins.
                self.pass = None;
                let timestamp_writes = Some(timestamps.next(pipeline.kernel, pipeline.entry));
                let descriptor = ComputePassDescriptor { label: None, timestamp_writes };
                self.pass.insert(encoder.begin_compute_pass(&descriptor).forget_lifetime())
            }
        };
        pass.set_pipeline(&pipeline.pipeline);
        pass.set_bind_group(0, buffers, &[]);
        pass.set_bind_group(1, parameters, &[slot as u32]);
        pass.dispatch_workgroups(groups[0], groups[1], 1);
    }

    /// Replaces bytes of a piece.
    pub(super) fn write(&mut self, (piece, start): Place, bytes: &[u8]) -> Result<()> {
        if bytes.len() > SMALL {
            // The queue writes ahead of what is submitted later: launches recorded so far must go first.
            self.submit();
            self.queue.write_buffer(&self.pieces[piece], start as u64, bytes);
        } else if !bytes.is_empty() {
            let from = self.stage(bytes);
            let (ring, piece) = (self.ring.clone(), self.pieces[piece].clone());
            let len = bytes.len() as u64;
            self.copies().copy_buffer_to_buffer(&ring, from as u64, &piece, start as u64, len);
        }
        self.faults.check()
    }

    /// Replaces bytes of a piece by zeros.
    pub(super) fn clear(&mut self, (piece, start): Place, len: usize) -> Result<()> {
        let piece = self.pieces[piece].clone();
        self.copies().clear_buffer(&piece, start as u64, Some(len as u64));
        self.faults.check()
    }

    /// Copies bytes from one place to another.
    pub(super) fn copy(&mut self, from: Place, to: Place, len: usize) -> Result<()> {
        let (source, target) = (self.pieces[from.0].clone(), self.pieces[to.0].clone());
        if source != target {
            self.copies().copy_buffer_to_buffer(&source, from.1 as u64, &target, to.1 as u64, len as u64);
            return self.faults.check();
        }
        // No buffer may be copied to itself: by way of the ring.
        for done in (0..len).step_by(SMALL) {
            let step = (len - done).min(SMALL);
            let way = self.stage(&[0; SMALL][..step]) as u64;
            let ring = self.ring.clone();
            let copies = self.copies();
            copies.copy_buffer_to_buffer(&source, (from.1 + done) as u64, &ring, way, step as u64);
            copies.copy_buffer_to_buffer(&ring, way, &target, (to.1 + done) as u64, step as u64);
        }
        self.faults.check()
    }

    /// Submits what is recorded, waits for it and fetches bytes of a piece.
    pub(super) fn read(&mut self, (piece, start): Place, bytes: &mut [u8]) -> Result<()> {
        for (i, bytes) in bytes.chunks_mut(READBACK).enumerate() {
            let (source, target) = (self.pieces[piece].clone(), self.readback.clone());
            let (from, len) = (start + i * READBACK, bytes.len() as u64);
            self.copies().copy_buffer_to_buffer(&source, from as u64, &target, 0, len);
            let submission = self.submit();
            self.fetch(&target, submission, bytes)?;
        }
        self.faults.check()
    }

    /// Submits what is recorded and waits for what the call before submitted.
    pub(super) fn pace(&mut self) -> Result<()> {
        let submission = self.submit();
        match std::mem::replace(&mut self.paced, submission) {
            Some(before) => self.wait(Some(before)),
            None => self.faults.check(),
        }
    }

    /// An error when the device is lost or refused something.
    pub(super) fn check(&self) -> Result<()> {
        self.faults.check()
    }

    /// Gives the device up.
    pub(super) fn lose(&mut self) {
        self.device.destroy();
        // The loss is reported once the queue is empty.
        let _ = self.wait(None);
    }

    /// Waits until a submission is done, or all are.
    fn wait(&self, submission: Option<SubmissionIndex>) -> Result<()> {
        let wait = wgpu::PollType::Wait { submission_index: submission, timeout: Some(PATIENCE) };
        // Where the driver loses the device, wgpu tells `faults` and then panics.
        match catch_unwind(AssertUnwindSafe(|| self.device.poll(wait))) {
            Ok(Ok(_)) => {}
            Ok(Err(_)) => self.faults.report(true, &format!("no answer for {} s", PATIENCE.as_secs())),
            Err(_) => self.faults.report(true, "the driver cannot say why"),
        }
        self.faults.check()
    }

    /// Waits for a submission and copies what it left in a buffer to read from.
    fn fetch(&self, from: &Buffer, submission: Option<SubmissionIndex>, bytes: &mut [u8]) -> Result<()> {
        let mapped = from.slice(..bytes.len() as u64);
        let (send, receive) = mpsc::channel();
        // The receiver outlives the call.
        mapped.map_async(wgpu::MapMode::Read, move |done| drop(send.send(done)));
        self.wait(submission)?;
        let unreadable = || refused("the result could not be read back from the GPU");
        receive.try_recv().map_err(|_| unreadable())?.map_err(|_| unreadable())?;
        bytes.copy_from_slice(&mapped.get_mapped_range().map_err(|_| unreadable())?);
        from.unmap();
        Ok(())
    }

    /// Hands what is recorded to the GPU.
    fn submit(&mut self) -> Option<SubmissionIndex> {
        self.pass = None;
        let mut encoder = self.encoder.take()?;
        let timed = self.timestamps.as_ref().and_then(|timestamps| timestamps.resolve(&mut encoder));
        if !self.staged.is_empty() {
            self.queue.write_buffer(&self.ring, 0, &self.staged);
            self.staged.clear();
        }
        self.counters.submissions += 1;
        let submission = self.queue.submit([encoder.finish()]);
        if let Some((stamps, len)) = timed {
            self.collect(&stamps, len, submission.clone());
        }
        Some(submission)
    }

    /// Waits for the times of a submission.
    fn collect(&mut self, stamps: &Buffer, len: usize, submission: SubmissionIndex) {
        let mut bytes = vec![0; len];
        match (self.fetch(stamps, Some(submission), &mut bytes), &mut self.timestamps) {
            (Ok(()), Some(timestamps)) => timestamps.collect(&bytes),
            (Err(error), _) => self.faults.report(false, &error.to_string()),
            (Ok(()), None) => {}
        }
    }

    /// The encoder outside of any pass, where copies are recorded.
    fn copies(&mut self) -> &mut CommandEncoder {
        self.pass = None;
        encoder(&mut self.encoder, &self.device)
    }
}

fn encoder<'a>(open: &'a mut Option<CommandEncoder>, device: &wgpu::Device) -> &'a mut CommandEncoder {
    open.get_or_insert_with(|| device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default()))
}
