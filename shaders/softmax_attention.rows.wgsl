// softmax_attention and softmax_attention_backward: heads and rows of an invocation.

// The rows of a workgroup: a row is a frame of a head, numbered head by head.
struct Place {
    // The first element of the first head in the first frame, counted from the start of a tensor.
    start: u32,
    heads: u32,
    first: u32,
    end: u32,
}

// The row of an invocation.
struct Row {
    // Its first element, counted from the start of a tensor.
    start: u32,
    // Its head and frame.
    head: u32,
    frame: u32,
    inside: bool,
}

// The vec4s that a head takes in shared memory: a power of two up to 8.
fn span() -> u32 {
    let fours = (p.dim + 3u) / 4u;
    return select(select(select(8u, 4u, fours <= 4u), 2u, fours <= 2u), 1u, fours <= 1u);
}

// Heads of a workgroup.
fn together() -> u32 {
    return min(8u / span(), 4u);
}

// Workgroups of all heads: each takes all rows where the window fits, 64 of them where it does not.
fn runs() -> u32 {
    return select((together() * p.frames + 63u) / 64u, 1u, p.frames <= CHUNK);
}

fn groups() -> u32 {
    return p.sequences * ((p.heads + together() - 1u) / together()) * runs();
}

fn place_of(index: u32) -> Place {
    let across = (p.heads + together() - 1u) / together();
    let head = index / runs() % across * together();
    let heads = min(p.heads - head, together());
    let start = (index / runs() / across * p.frames * p.heads + head) * p.dim;
    if runs() == 1u {
        return Place(start, heads, 0u, heads * p.frames);
    }
    let first = index % runs() * 64u;
    return Place(start, heads, first, min(first + 64u, heads * p.frames));
}

fn row_of(place: Place, row: u32) -> Row {
    let head = row / p.frames;
    let frame = row % p.frames;
    let inside = row < place.end;
    return Row(place.start + (frame * p.heads + head) * p.dim, select(0u, head, inside), frame, inside);
}

// Workgroups of wide heads: each takes 64 frames and a block of 32 features.
fn blocks() -> u32 {
    return (p.dim + 31u) / 32u;
}

fn wide_groups() -> u32 {
    return p.sequences * p.heads * ((p.frames + 63u) / 64u) * blocks();
}

fn wide_place(index: u32) -> Place {
    let runs = (p.frames + 63u) / 64u;
    let head = index / blocks() / runs;
    let first = index / blocks() % runs * 64u;
    let start = (head / p.heads * p.frames * p.heads + head % p.heads) * p.dim;
    return Place(start, 1u, first, min(first + 64u, p.frames));
}

// How many of four features of a head there are.
fn left(feature: u32) -> u32 {
    return min(max(p.dim, feature) - feature, 4u);
}

// The scores of four keys.
fn scores_of(at: u32) -> vec4<f32> {
    return vec4(score(at), score(at + 8u), score(at + 16u), score(at + 24u));
}
