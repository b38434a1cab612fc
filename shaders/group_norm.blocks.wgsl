// group_norm and group_norm_backward: blocks of rows and columns, loads and stores.

// Where an invocation works: a sample, its first node there, a column of four channels; `row` of the workgroup's rows.
struct Place {
    sample: u32,
    node: u32,
    column: u32,
    row: u32,
    inside: bool,
}

// Columns of four channels.
fn columns() -> u32 {
    return (p.channels + 3u) / 4u;
}

// Workgroups that share a run of nodes.
fn blocks() -> u32 {
    return (columns() + 31u) / 32u;
}

// Columns of a workgroup, 32 at most.
fn width() -> u32 {
    return (columns() + blocks() - 1u) / blocks();
}

// Nodes that a workgroup works on side by side, 8 at least.
fn rows() -> u32 {
    return 256u / width();
}

// The channels of a column: neighbours where the number of channels is a multiple of four, else as far apart as there
// are columns, so that neighbouring invocations read neighbouring channels.
fn channels_of(column: u32) -> vec4<u32> {
    let k = vec4(0u, 1u, 2u, 3u);
    return select(column + columns() * k, 4u * column + k, p.channels % 4u == 0u);
}

// The place of a channel among the columns.
fn slot(channel: u32) -> u32 {
    return select(channel % columns() * 4u + channel / columns(), channel, p.channels % 4u == 0u);
}

// Nodes of a chunk, four an invocation.
fn run() -> u32 {
    return 4u * rows();
}

fn chunks() -> u32 {
    return (p.nodes + run() - 1u) / run();
}

fn place_of(index: u32, lane: u32) -> Place {
    let part = index / blocks();
    let row = lane / width();
    let column = index % blocks() * width() + lane % width();
    let node = part % chunks() * run() + row;
    return Place(part / chunks(), node, column, row, row < rows() && column < columns());
}

fn x_four(place: Place, node: u32) -> vec4<f32> {
    let at = (p.x + node_start(place, node)) / 4u + min(place.column, columns() - 1u);
    return select(vec4(0.0), x[at], is_inside(place, node));
}

fn x_ones(place: Place, node: u32) -> vec4<f32> {
    let i = p.x + node_start(place, node) + channels_within(place);
    let inside = (channels_of(place.column) < vec4(p.channels)) & vec4(is_inside(place, node));
    return select(vec4(0.0), vec4(x_each[i.x], x_each[i.y], x_each[i.z], x_each[i.w]), inside);
}

fn store_ones(place: Place, node: u32, value: vec4<f32>) {
    let i = channels_of(place.column);
    store_one(place, node, i.x, value.x);
    store_one(place, node, i.y, value.y);
    store_one(place, node, i.z, value.z);
    store_one(place, node, i.w, value.w);
}

fn is_inside(place: Place, node: u32) -> bool {
    return place.inside && node < p.nodes;
}

// Within the tensor for any place, so that loads need no branch.
fn channels_within(place: Place) -> vec4<u32> {
    return min(channels_of(place.column), vec4(p.channels - 1u));
}

fn node_start(place: Place, node: u32) -> u32 {
    return (place.sample * p.nodes + min(node, p.nodes - 1u)) * p.channels;
}

// The sums over all rows of the workgroup, always in the same order: eight rows fold the rest, then all add these.
fn over_rows(lane: u32, value: vec4<f32>) -> vec4<f32> {
    workgroupBarrier();
    shared_[lane] = value;
    workgroupBarrier();
    let eight = 8u * width();
    if lane < eight {
        var folded = value;
        for (var i = lane + eight; i < rows() * width(); i += eight) {
            folded += shared_[i];
        }
        shared_[lane] = folded;
    }
    workgroupBarrier();
    let column = lane % width();
    var all = shared_[column];
    for (var row = 1u; row < 8u; row++) {
        all += shared_[column + row * width()];
    }
    return all;
}
