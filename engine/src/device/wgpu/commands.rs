//! Commands on their way to the GPU: recorded one after the other, submitted together.

use super::adapter::refused;
use super::fault::Faults;
use crate::error::Result;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, mpsc};
use std::time::Duration;
use wgpu::{BindGroup, Buffer, BufferUsages, CommandEncoder, ComputePass, ComputePipeline, SubmissionIndex};

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
        let (encoder, pass, paced) = (None, None, None);
        Commands { device, queue, faults, pieces, ring, staged, readback, encoder, pass, paced, counters }
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

    /// Puts bytes of at most a [`SLOT`] or a [`SMALL`] upload on the ring and says where; submits first when it is full.
    pub(super) fn stage(&mut self, bytes: &[u8]) -> usize {
        let mut start = self.staged.len().next_multiple_of(SLOT);
        if start + bytes.len().max(SLOT) > RING {
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
        pipeline: &ComputePipeline,
        buffers: &BindGroup,
        parameters: &BindGroup,
        slot: usize,
        groups: [u32; 2],
    ) {
        if self.pass.is_none() {
            let pass = self.encoder().begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            self.pass = Some(pass.forget_lifetime());
        }
        let Some(pass) = &mut self.pass else { return };
        pass.set_pipeline(pipeline);
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
            self.fetch(submission, bytes)?;
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

    /// Waits for a submission and copies what it left in the readback buffer.
    fn fetch(&mut self, submission: Option<SubmissionIndex>, bytes: &mut [u8]) -> Result<()> {
        let mapped = self.readback.slice(..bytes.len() as u64);
        let (send, receive) = mpsc::channel();
        // The receiver outlives the call.
        mapped.map_async(wgpu::MapMode::Read, move |done| drop(send.send(done)));
        self.wait(submission)?;
        let unreadable = || refused("the result could not be read back from the GPU");
        receive.try_recv().map_err(|_| unreadable())?.map_err(|_| unreadable())?;
        bytes.copy_from_slice(&mapped.get_mapped_range().map_err(|_| unreadable())?);
        self.readback.unmap();
        Ok(())
    }

    /// Hands what is recorded to the GPU.
    fn submit(&mut self) -> Option<SubmissionIndex> {
        self.pass = None;
        let encoder = self.encoder.take()?;
        if !self.staged.is_empty() {
            self.queue.write_buffer(&self.ring, 0, &self.staged);
            self.staged.clear();
        }
        self.counters.submissions += 1;
        Some(self.queue.submit([encoder.finish()]))
    }

    fn encoder(&mut self) -> &mut CommandEncoder {
        self.encoder
            .get_or_insert_with(|| self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default()))
    }

    /// The encoder outside of any pass, where copies are recorded.
    fn copies(&mut self) -> &mut CommandEncoder {
        self.pass = None;
        self.encoder()
    }
}
