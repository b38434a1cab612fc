//! The launches of [`temporal_block`](crate::temporal_block) and its backward on GPUs: their geometry and scratch memory.

use crate::temporal_block::Params;
use crate::wgsl::Dispatches;
use crate::{Precision, Target};

/// Sizes on a GPU in fours of numbers, padded: see `shaders/temporal_block.wgsl`.
struct Fours {
    /// Channels.
    c: u32,
    /// Features of all heads, each padded.
    w: u32,
    /// Hidden units.
    hidden: u32,
}

impl Fours {
    fn of(p: &Params) -> Self {
        let features = (p.channels / p.heads).div_ceil(4);
        Fours { c: p.channels.div_ceil(4), w: p.heads * features, hidden: p.hidden.div_ceil(4) }
    }

    /// Numbers of the packed weights: those of the planes, to q and k, of W_vo and of the feed-forward layer.
    fn packed(&self, p: &Params) -> [u32; 3] {
        let rows = 4 * self.c + 1;
        let qk = p.inputs * self.c + 2 * rows * self.w;
        let value_out = (p.heads * rows + 1) * self.c;
        let feed_forward = rows * self.hidden + (4 * self.hidden + 1) * self.c;
        [qk, value_out, feed_forward].map(|fours| 4 * fours)
    }

    /// A fourth of the frames of a block, and the blocks, where a workgroup of `invocations`, each with four frames by
    /// four channels, holds `arrays` fours a tile and three a feature.
    ///
    /// # Errors
    /// When not even four frames fit.
    fn block(&self, frames: u32, invocations: u32, arrays: u32) -> Result<(u32, u32), String> {
        let most = (ROOM.saturating_sub(3 * self.w) / (arrays * (self.w | 1))).min(invocations / self.w);
        if most == 0 {
            return Err(format!("four frames of {} features exceed a workgroup", 4 * self.w));
        }
        let quads = frames.div_ceil(4);
        let blocks = quads.div_ceil(most);
        Ok((quads.div_ceil(blocks), blocks))
    }
}

/// How windows share a block of threads in PTX, sizes in fours of numbers: see `kernels/ptx/temporal_block.ptx`.
struct Tiling {
    /// A fourth of the frames that are worked on at a time.
    quads: u32,
    /// Times that many for a window.
    turns: u32,
    /// Windows that a block works on side by side.
    windows: u32,
}

impl Tiling {
    /// Of blocks of `threads`, each with four frames by four channels, and room for `plane` fours of a fourth of the
    /// frames.
    ///
    /// # Errors
    /// When a block cannot hold the features of even four frames.
    fn of(p: &Params, threads: u32, plane: u32) -> Result<Self, String> {
        let w = Fours::of(p).w;
        if w > WIDEST {
            return Err(format!("{} features exceed the {} of a block", 4 * w, 4 * WIDEST));
        }
        let most = (threads / w).min(plane / (w | 1));
        let all = p.frames.div_ceil(4).max(1);
        let turns = all.div_ceil(most);
        let quads = all.div_ceil(turns);
        let side_by_side = (threads / (quads * w)).min(plane / (quads * (w | 1))).min(WIDEST / w);
        Ok(Tiling { quads, turns, windows: if turns == 1 { side_by_side } else { 1 } })
    }
}

/// Fours of features that a block keeps a number for.
const WIDEST: u32 = 96;

/// Windows that a block of 96 threads holds whole, where it does: see `kernels/ptx/temporal_block.window.ptx`.
fn whole_windows(p: &Params) -> Option<u32> {
    let Fours { c, w, .. } = Fours::of(p);
    let (columns, quads) = (c.max(w).next_power_of_two(), p.frames.div_ceil(4));
    let windows = (96 / (quads * columns)).min(64 / (w * c));
    // Lanes of a warp add up whole fours of channels, and of a head's features a power of two.
    let in_step = p.channels.is_multiple_of(4) && (w / p.heads).is_power_of_two() && columns <= 8;
    (in_step && 2 * windows * quads * columns > 96).then_some(windows)
}

/// The launches on tensor cores, where the target asks for them and the shape is one that they are written for: a warp
/// for a window, see `kernels/ptx/temporal_block.sm_80.tf32.ptx`.
fn tensor_cores(p: &Params, target: &Target) -> Option<Dispatches> {
    // The entry points, the hidden units of a chunk, and numbers in 32 bits of a packed matrix.
    let (pack, window, units, numbers) = match target.factors() {
        Precision::F32 => return None,
        Precision::Tf32 => ("temporal_block_pack_tf32", "temporal_block_window_tf32", 8, 1),
        Precision::Bf16 => ("temporal_block_pack_bf16", "temporal_block_window_bf16", 16, 2),
    };
    if p.channels != 32 || p.heads != 1 || p.hidden == 0 || !(1..=48).contains(&p.frames) {
        return None;
    }
    // Keys, values, queries and both matrices of the feed-forward layer; then what stays f32.
    let hidden = p.hidden.next_multiple_of(units);
    let matrices = 3 * 32 * 32 + 2 * 32 * hidden;
    let others = 32 * p.inputs + 4 * 32 + hidden;
    let dispatches = Dispatches::with_scratch(1, (matrices / numbers + others) as usize)
        .then(pack, (matrices / 2 + others).div_ceil(256))
        .then(window, (p.batch * p.nodes).div_ceil(4));
    Some(dispatches)
}

/// The launches of `temporal_block` in PTX.
pub(crate) fn blocks(p: &Params, target: &Target) -> Dispatches {
    let windows = p.batch * p.nodes;
    if windows * p.frames * p.channels == 0 {
        return Dispatches::default();
    }
    if let Some(dispatches) = tensor_cores(p, target) {
        return dispatches;
    }
    let fours = Fours::of(p);
    let side_by_side = match Tiling::of(p, 192, 216) {
        Ok(tiling) => tiling.windows,
        Err(what) => return Dispatches::refused(what),
    };
    let packed = fours.packed(p).iter().sum::<u32>();
    if let Some(side_by_side) = whole_windows(p) {
        return Dispatches::with_scratch(1, packed as usize)
            .then("temporal_block_pack", packed.div_ceil(256))
            .then("temporal_block_window", windows.div_ceil(side_by_side));
    }
    // As many parts as keep a large GPU busy, while their matrices stay in its cache.
    let matrices = 16 * fours.w * fours.c * side_by_side;
    let parts = ((1 << 22) / matrices).clamp(256, 2048).min(windows.div_ceil(side_by_side));
    Dispatches::with_scratch(parts, (matrices + packed.div_ceil(parts).next_multiple_of(4)) as usize)
        .then("temporal_block_pack", packed.div_ceil(256))
        .then("temporal_block", parts)
}

/// Fours of a workgroup's memory.
const ROOM: u32 = 1024;

/// The dispatches of `temporal_block` in WGSL.
pub(crate) fn workgroups(p: &Params) -> Dispatches {
    let windows = p.batch * p.nodes;
    if windows * p.frames * p.channels == 0 {
        return Dispatches::default();
    }
    let fours = Fours::of(p);
    let entry = match fours.block(p.frames, 128, 9) {
        Ok((quads, _)) if quads * fours.w <= 32 => "temporal_block_32",
        Ok((quads, _)) if quads * fours.w <= 64 => "temporal_block_64",
        Ok(_) => "temporal_block_128",
        Err(what) => return Dispatches::refused(what),
    };
    let [qk, value_out, feed_forward] = fours.packed(p);
    // As many parts as keep a large GPU busy, while their matrices stay in its cache.
    let matrices = 32 * fours.w * fours.c;
    let parts = ((1 << 22) / matrices).clamp(256, 2048).min(windows);
    let share = (qk + value_out + feed_forward).div_ceil(parts).next_multiple_of(4);
    Dispatches::with_scratch(parts, (matrices + share) as usize)
        .then("temporal_block_pack_qk", qk.div_ceil(256))
        .then("temporal_block_pack_value_out", value_out.div_ceil(256))
        .then("temporal_block_pack_feed_forward", feed_forward.div_ceil(256))
        .then(entry, parts)
}

/// Sizes in fours of what a launch keeps: see `shaders/temporal_block_backward.wgsl`.
struct Layout {
    /// Weights for the planes, to q and k; those of W_vo with the biases; of the feed-forward layer; those turned.
    qk: u32,
    value_out: u32,
    feed_forward: u32,
    turned: u32,
    /// Sums over the tokens of a part.
    sums: u32,
}

impl Layout {
    fn of(p: &Params) -> Self {
        let Fours { c, w, hidden } = Fours::of(p);
        let (matrix, feed_forward) = (4 * w * c, 4 * hidden * c);
        let (value_out, biases) = (4 * p.heads * c * c, (p.heads + 1) * c);
        Layout {
            qk: p.inputs * c + 2 * (matrix + w),
            value_out: value_out + biases,
            feed_forward: 2 * feed_forward + hidden,
            turned: 2 * matrix + feed_forward + value_out,
            sums: p.inputs * c + 2 * matrix + w + value_out + biases + 2 * feed_forward + hidden + c,
        }
    }

    /// The scratch memory of parts that keep `kept` fours of their windows, and shifts of `windows` side by side; parts as
    /// many as `room` fours hold, within reason.
    fn scratch(&self, p: &Params, room: u32, kept: u32, windows: u32) -> Dispatches {
        let c = p.channels.div_ceil(4);
        let packed = self.qk + self.value_out + self.feed_forward + self.turned;
        let slot = kept + self.sums;
        // As many parts as keep a large GPU busy.
        let most = (room / slot).clamp(64, 512);
        let batch = p.batch.max(1);
        let parts = if batch > most { most } else { batch * (most / batch).clamp(1, p.nodes.max(1).div_ceil(windows)) };
        let shifts = batch * (parts / batch).max(1) * windows * p.frames * c;
        let shared = packed + self.sums + (4 * c + 1) * c + shifts;
        Dispatches::with_scratch(parts, 4 * (slot + shared.div_ceil(parts)) as usize)
    }
}

fn groups(numbers: u32) -> u32 {
    numbers.div_ceil(256)
}

/// The dispatches of `temporal_block_backward` in WGSL.
pub(crate) fn workgroups_backward(p: &Params) -> Dispatches {
    let Fours { c, w, .. } = Fours::of(p);
    let rows = match Fours::of(p).block(p.frames.max(1), 64, 14) {
        Ok((quads, blocks)) => quads * blocks,
        Err(what) => return Dispatches::refused(what),
    };
    let layout = Layout::of(p);
    let dispatches = layout.scratch(p, 1 << 22, 24 * w * c + w + 8 * rows * w, 1);
    let parts = dispatches.parts;
    dispatches
        .then("temporal_block_backward_pack_qk", groups(4 * layout.qk))
        .then("temporal_block_backward_pack_value_out", groups(4 * layout.value_out))
        .then("temporal_block_backward_pack_feed_forward", groups(4 * layout.feed_forward))
        .then("temporal_block_backward_pack_turned", groups(4 * layout.turned))
        .then("temporal_block_backward", parts)
        .then("temporal_block_backward_sum", groups(layout.sums))
        .then("temporal_block_backward_shift", groups(p.batch * p.frames * p.channels))
        .then("temporal_block_backward_values", groups(p.channels * (p.channels + 1)))
        .then("temporal_block_backward_qkv", groups(p.channels * p.channels))
        .then("temporal_block_backward_norm1", groups(p.channels))
        .then("temporal_block_backward_feed_forward", groups((p.hidden * p.channels).max(p.hidden + p.channels)))
        .then("temporal_block_backward_norm2", groups(p.channels * p.inputs.max(1)))
}

/// The most parts of a backward whose blocks hold whole windows: three on each multiprocessor of a large GPU.
const WALKS: u32 = 384;

/// The launches of `temporal_block_backward` in PTX where blocks hold whole windows, and the sums of their part in
/// registers: see `kernels/ptx/temporal_block_backward.attention.ptx`.
fn whole_windows_backward(p: &Params, target: &Target) -> Option<Dispatches> {
    if [p.batch, p.nodes, p.frames, p.channels].contains(&0) {
        return None;
    }
    let in_block = whole_windows(p)?;
    let Fours { c, w, hidden } = Fours::of(p);
    let columns = c.max(w).next_power_of_two();
    let fits = (1..=4 * columns).contains(&hidden) && p.heads * c * c <= 128 && (1..=8).contains(&p.inputs);
    if !fits || p.batch > WALKS {
        return None;
    }
    let side_by_side = (128 / (p.frames.div_ceil(3) * columns)).min(64 / (w * c));
    let walks = p.nodes.div_ceil(side_by_side);
    // A part's sums weigh as much as some eight windows.
    let parts = p.batch * (WALKS / p.batch).min(walks.div_ceil(4));
    let windows = p.batch * p.nodes;
    let layout = Layout::of(p);
    let packed = layout.qk + layout.value_out + layout.feed_forward + layout.turned;
    let fixed = packed + layout.sums + (4 * c + 1) * c;
    let tokens = (windows as usize + parts as usize) * (p.frames * c) as usize;
    let fours = fixed as usize + tokens + (parts * layout.sums) as usize;
    let [attended, feed, attention] = walks_of(p, target);
    // On tensor cores each of a block's four warps has a window.
    let of_block = if attended == "temporal_block_backward_window_attended" { in_block } else { 4 };
    let dispatches = Dispatches::with_scratch(parts, 4 * fours.div_ceil(parts as usize))
        .then("temporal_block_backward_pack", groups(4 * (layout.qk + layout.value_out + layout.feed_forward)))
        .then("temporal_block_backward_turn", groups(4 * layout.turned))
        .then(attended, windows.div_ceil(of_block))
        .then(feed, parts)
        .then(attention, parts)
        .then("temporal_block_backward_window_inputs", parts)
        .then("temporal_block_backward_window_sum", groups(layout.sums))
        .then("temporal_block_backward_window_shift", groups(p.batch * p.frames * c));
    Some(finished(dispatches, p))
}

/// The entry points that walk whole windows in the precision that is asked for: x1 again, back through the feed-forward
/// layer, back through the attention, which is in tf32 for both precisions.
fn walks_of(p: &Params, target: &Target) -> [&'static str; 3] {
    let attended = "temporal_block_backward_window_attended";
    let attended_tf32 = "temporal_block_backward_window_attended_tf32";
    let attended_bf16 = "temporal_block_backward_window_attended_bf16";
    let feed = "temporal_block_backward_window_feed";
    let feed_tf32 = "temporal_block_backward_window_feed_tf32";
    let feed_bf16 = "temporal_block_backward_window_feed_bf16";
    let attention = "temporal_block_backward_window_attention";
    let attention_tf32 = "temporal_block_backward_window_attention_tf32";
    match (target.factors(), p.channels, p.heads) {
        (Precision::Tf32, 32, 1) => [attended_tf32, feed_tf32, attention_tf32],
        (Precision::Tf32, 32, _) => [attended, feed_tf32, attention],
        (Precision::Bf16, 32, 1) => [attended_bf16, feed_bf16, attention_tf32],
        (Precision::Bf16, 32, _) => [attended, feed_bf16, attention],
        _ => [attended, feed, attention],
    }
}

/// The launches from the sums of all parts to the gradients.
fn finished(dispatches: Dispatches, p: &Params) -> Dispatches {
    let [c, f, hidden] = [p.channels, p.inputs, p.hidden];
    dispatches
        .then("temporal_block_backward_value_sums", groups(c * (c + 1)))
        .then("temporal_block_backward_attention", groups(c * c))
        .then("temporal_block_backward_feed_forward", groups(c * (hidden.max(f) + 1)))
}

/// Groups of windows of which a part keeps what one entry point leaves to the next.
const KEPT: u32 = 4;

/// The launches of `temporal_block_backward` in PTX.
pub(crate) fn blocks_backward(p: &Params, target: &Target) -> Dispatches {
    let Fours { c, w, .. } = Fours::of(p);
    if let Some(dispatches) = whole_windows_backward(p, target) {
        return dispatches;
    }
    let tiling = match Tiling::of(p, 96, 108) {
        Ok(tiling) => tiling,
        Err(what) => return Dispatches::refused(what),
    };
    let layout = Layout::of(p);
    let window = 24 * w * c + 3 * w + 8 * tiling.quads * tiling.turns * w;
    let mut dispatches = layout.scratch(p, 1 << 24, KEPT * tiling.windows * window, tiling.windows);
    let parts = dispatches.parts;
    dispatches = dispatches
        .then("temporal_block_backward_pack", groups(4 * (layout.qk + layout.value_out + layout.feed_forward)))
        .then("temporal_block_backward_turn", groups(4 * layout.turned));
    // Tasks of a part, and groups of windows of a task; the number of blocks past the parts tells a launch its round.
    let runs = (parts / p.batch.max(1)).max(1);
    let tasks = (p.batch * runs).div_ceil(parts).max(1);
    let rounds = (tasks * p.nodes.div_ceil(runs).div_ceil(tiling.windows).max(1)).div_ceil(KEPT);
    for blocks in parts..parts + rounds {
        dispatches = dispatches
            .then("temporal_block_backward_keys", blocks)
            .then("temporal_block_backward_queries", blocks)
            .then("temporal_block_backward", blocks)
            .then("temporal_block_backward_values", blocks)
            .then("temporal_block_backward_inputs", blocks);
    }
    dispatches = dispatches
        .then("temporal_block_backward_sum", groups(layout.sums))
        .then("temporal_block_backward_shift", groups(p.batch * p.frames * p.channels));
    finished(dispatches, p)
}
