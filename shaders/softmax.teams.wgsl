// softmax, softmax_backward and layer_norm: the team of invocations that has a row, and its sums.

// An invocation's row, and its place in the team.
struct Place {
    row: u32,
    member: u32,
}

// Invocations of a row: a power of two.
fn team() -> u32 {
    return min(256u, 1u << (32u - countLeadingZeros((p.channels + 7u) / 8u - 1u)));
}

fn place_of(index: u32, lane: u32) -> Place {
    return Place(index * (256u / team()) + lane / team(), lane % team());
}

fn is_inside(place: Place, i: u32) -> bool {
    return place.row < p.rows && i < p.channels;
}

// Within the tensor for any place, so that loads need no branch.
fn row_start(place: Place) -> u32 {
    return min(place.row, p.rows - 1u) * p.channels;
}

// The sum over a team, always in the same order: sixteen members fold the rest, then all add what these have.
fn total(lane: u32, value: f32) -> f32 {
    let n = team();
    let member = lane % n;
    workgroupBarrier();
    shared_[lane] = value;
    workgroupBarrier();
    if n > 16u {
        if member < 16u {
            var folded = value;
            for (var i = 16u; i < n; i += 16u) {
                folded += shared_[lane + i];
            }
            shared_[lane] = folded;
        }
        workgroupBarrier();
    }
    let first = lane - member;
    var all = shared_[first];
    for (var i = 1u; i < min(n, 16u); i++) {
        all += shared_[first + i];
    }
    return all;
}

// The sum over a team, the same number in each member; teams wider than a subgroup meet in shared memory.
fn total_by_shuffles(lane: u32, size: u32, value: f32) -> f32 {
    let n = team();
    var all = value;
    for (var i = 1u; i < min(n, size); i *= 2u) {
        all += subgroupShuffleXor(all, i);
    }
    if n > size {
        workgroupBarrier();
        shared_[lane] = all;
        workgroupBarrier();
        let first = lane - lane % n;
        all = shared_[first];
        for (var i = size; i < n; i += size) {
            all += shared_[first + i];
        }
    }
    return all;
}
