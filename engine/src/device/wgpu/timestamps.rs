//! Times of dispatches on the GPU's own clock.

use crate::device::profile::{Event, Profile};
use std::sync::Arc;
use std::time::Duration;
use wgpu::{Buffer, BufferUsages, CommandEncoder, ComputePassTimestampWrites, QuerySet, QueryType};

/// Dispatches of one submission that can be timed.
const DISPATCHES: usize = 1024;
/// More dispatches than one launch has.
const MARGIN: usize = 64;
/// Bytes of a timestamp.
const STAMP: usize = size_of::<u64>();

/// Two timestamps for each dispatch since the last submission.
pub(super) struct Timestamps {
    queries: QuerySet,
    resolved: Buffer,
    readback: Buffer,
    /// Nanoseconds of a tick.
    period: f64,
    /// Kernel and entry point of the dispatches that are recorded.
    recorded: Vec<(&'static str, &'static str)>,
    /// The first timestamp of all.
    origin: Option<u64>,
    profile: Arc<Profile>,
}

impl Timestamps {
    pub(super) fn new(device: &wgpu::Device, queue: &wgpu::Queue, profile: Arc<Profile>) -> Self {
        let queries = device.create_query_set(&wgpu::QuerySetDescriptor {
            label: Some("timestamps"),
            ty: QueryType::Timestamp,
            count: 2 * DISPATCHES as u32,
        });
        let buffer = |usage| {
            let size = Self::BYTES as u64;
            device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("timestamps"),
                size,
                usage,
                mapped_at_creation: false,
            })
        };
        Timestamps {
            queries,
            resolved: buffer(BufferUsages::QUERY_RESOLVE | BufferUsages::COPY_SRC),
            readback: buffer(BufferUsages::MAP_READ | BufferUsages::COPY_DST),
            period: f64::from(queue.get_timestamp_period()),
            recorded: Vec::with_capacity(DISPATCHES),
            origin: None,
            profile,
        }
    }

    /// Buffers that are made.
    pub(super) const BUFFERS: usize = 2;
    /// Bytes of each of them.
    pub(super) const BYTES: usize = 2 * DISPATCHES * STAMP;

    /// Whether what is recorded must be submitted before another launch.
    pub(super) fn full(&self) -> bool {
        self.recorded.len() + MARGIN > DISPATCHES
    }

    /// Where the pass of the next dispatch writes its times.
    pub(super) fn next(&mut self, kernel: &'static str, entry: &'static str) -> ComputePassTimestampWrites<'_> {
        let first = 2 * self.recorded.len() as u32;
        self.recorded.push((kernel, entry));
        ComputePassTimestampWrites {
            query_set: &self.queries,
            beginning_of_pass_write_index: Some(first),
            end_of_pass_write_index: Some(first + 1),
        }
    }

    /// Ends a submission that has timestamps: the buffer that they can be read from and their bytes.
    pub(super) fn resolve(&self, encoder: &mut CommandEncoder) -> Option<(Buffer, usize)> {
        let (count, bytes) = (2 * self.recorded.len(), 2 * self.recorded.len() * STAMP);
        if count == 0 {
            return None;
        }
        encoder.resolve_query_set(&self.queries, 0..count as u32, &self.resolved, 0);
        encoder.copy_buffer_to_buffer(&self.resolved, 0, &self.readback, 0, bytes as u64);
        Some((self.readback.clone(), bytes))
    }

    /// Puts what the GPU wrote in the profile.
    pub(super) fn collect(&mut self, bytes: &[u8]) {
        let (stamps, _) = bytes.as_chunks::<STAMP>();
        let origin = *self.origin.get_or_insert(stamps.first().map_or(0, |first| u64::from_ne_bytes(*first)));
        for ((kernel, entry), stamps) in self.recorded.drain(..).zip(stamps.chunks_exact(2)) {
            let [start, end] = [stamps[0], stamps[1]].map(u64::from_ne_bytes);
            let span = |from: u64, to: u64| Duration::from_nanos((to.saturating_sub(from) as f64 * self.period) as u64);
            self.profile.timed(Event { kernel, entry, start: span(origin, start), time: span(start, end) });
        }
    }
}
