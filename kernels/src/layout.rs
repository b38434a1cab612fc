//! How a kernel walks contiguous tensors of several axes.

/// The most axes of a strided kernel; shorter shapes have leading axes of length 1.
pub const AXES: usize = 6;

/// Lengths and strides with every axis merged into its neighbour where all operands allow it, axes of length 1
/// dropped, aligned to the right. The shape has at most [`AXES`] axes, `strides` one a shape's axis.
pub fn merge<const N: usize>(dims: &[usize], strides: [&[usize]; N]) -> ([u32; AXES], [[u32; AXES]; N]) {
    let mut lengths = [1; AXES];
    let mut steps = [[0; AXES]; N];
    let mut at = AXES;
    for axis in (0..dims.len()).rev().filter(|axis| dims[*axis] != 1) {
        let continues =
            at < AXES && steps.iter().zip(strides).all(|(step, stride)| stride[axis] as u32 == step[at] * lengths[at]);
        if continues {
            lengths[at] *= dims[axis] as u32;
            continue;
        }
        at -= 1;
        lengths[at] = dims[axis] as u32;
        for (step, stride) in steps.iter_mut().zip(strides) {
            step[at] = stride[axis] as u32;
        }
    }
    (lengths, steps)
}

/// Offset of the `index`-th element of the space `lengths`, slowest axis first.
#[inline(always)]
pub(crate) fn offset(mut index: usize, lengths: &[u32], strides: &[u32]) -> usize {
    let mut offset = 0;
    for (length, stride) in lengths.iter().zip(strides).rev() {
        if index == 0 {
            break;
        }
        offset += index % *length as usize * *stride as usize;
        index /= *length as usize;
    }
    offset
}

/// Cuts the elements `start..start + len` of a row-major `[.., width]` array at the ends of rows and calls
/// `f(row, column, range)` on every piece, where `range` counts from `start`.
#[inline(always)]
pub(crate) fn pieces(start: usize, len: usize, width: usize, mut f: impl FnMut(usize, usize, std::ops::Range<usize>)) {
    let (mut row, mut column) = (start / width, start % width);
    let mut at = 0;
    while at < len {
        let end = len.min(at + width - column);
        f(row, column, at..end);
        at = end;
        row += 1;
        column = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merged_axes_address_the_same_elements() {
        // A bias over the last two of four axes: two merged axes remain.
        let (lengths, [x, bias]) = merge(&[2, 1, 3, 4], [&[12, 12, 4, 1], &[0, 0, 4, 1]]);
        assert_eq!(lengths, [1, 1, 1, 1, 2, 12]);
        assert_eq!((x[4..].to_vec(), bias[4..].to_vec()), (vec![12, 1], vec![0, 1]));
        let found: Vec<usize> = (0..24).map(|i| offset(i, &lengths, &bias)).collect();
        assert_eq!(found, (0..24).map(|i| i % 12).collect::<Vec<_>>());
    }

    #[test]
    fn pieces_end_with_their_rows() {
        let mut found = Vec::new();
        pieces(5, 6, 4, |row, column, range| found.push((row, column, range)));
        assert_eq!(found, [(1, 1, 0..3), (2, 0, 3..6)]);
    }
}
