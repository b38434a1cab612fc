//! Philox4x32-10: random numbers from a counter (Salmon, Moraes, Dror and Shaw 2011, "Parallel random numbers: as easy
//! as 1, 2, 3").
//!
//! A block of four words is a function of a key and of the block's index alone, so any thread or device can draw any
//! part of a sequence, in any order, and gets the same bits.

/// Names a sequence of random words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PhiloxKey {
    /// The seed of a run.
    pub seed: u64,
    /// The sequence within the run: every use of random numbers takes its own.
    pub stream: u64,
}

/// The two 32-bit halves of a word, the low one first.
#[inline(always)]
pub(crate) const fn halves(x: u64) -> [u32; 2] {
    [x as u32, (x >> 32) as u32]
}

/// The four words of block `index` of the sequence `key`.
pub fn block(key: PhiloxKey, index: u64) -> [u32; 4] {
    blocks::<1>(key, index).map(|[word]| word)
}

/// Words 0 to 3 of the `L` blocks from `first` on.
#[inline(always)]
pub(crate) fn blocks<const L: usize>(key: PhiloxKey, first: u64) -> [[u32; L]; 4] {
    let [low, high] = halves(key.stream);
    let mut counter = [[0; L], [0; L], [low; L], [high; L]];
    let [lows, highs, ..] = &mut counter;
    for (l, (low, high)) in lows.iter_mut().zip(highs).enumerate() {
        [*low, *high] = halves(first.wrapping_add(l as u64));
    }
    rounds(counter, halves(key.seed))
}

/// The ten rounds, on `L` counters side by side.
#[inline(always)]
fn rounds<const L: usize>(mut counter: [[u32; L]; 4], mut key: [u32; 2]) -> [[u32; L]; 4] {
    const MULTIPLIERS: [u32; 2] = [0xd251_1f53, 0xcd9e_8d57];
    const WEYL: [u32; 2] = [0x9e37_79b9, 0xbb67_ae85];
    for _ in 0..10 {
        let [a, b, c, d] = &mut counter;
        for (((a, b), c), d) in a.iter_mut().zip(b).zip(c).zip(d) {
            let left = halves(u64::from(MULTIPLIERS[0]) * u64::from(*a));
            let right = halves(u64::from(MULTIPLIERS[1]) * u64::from(*c));
            (*a, *b, *c, *d) = (right[1] ^ *b ^ key[0], right[0], left[1] ^ *d ^ key[1], left[0]);
        }
        key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
    }
    counter
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The known answers published with the Random123 library.
    #[test]
    fn known_answers() {
        let philox = |counter: [u32; 4], key| rounds(counter.map(|w| [w]), key).map(|[w]| w);
        assert_eq!(philox([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(philox([!0; 4], [!0; 2]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        let pi = [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344];
        assert_eq!(philox(pi, [0xa409_3822, 0x299f_31d0]), [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]);
    }

    #[test]
    fn key_and_index_fill_the_counter() {
        let key = PhiloxKey { seed: 0x299f_31d0_a409_3822, stream: 0x0370_7344_1319_8a2e };
        assert_eq!(block(key, 0x85a3_08d3_243f_6a88), [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]);
        let together = blocks::<3>(key, u64::from(u32::MAX));
        for l in 0..3 {
            assert_eq!(together.map(|w| w[l]), block(key, u64::from(u32::MAX) + l as u64));
        }
    }
}
