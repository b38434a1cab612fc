use super::*;
use rand_distr::{Distribution, StandardNormal};

/// NumPy's numbers at the 8 gaps of [`small`]: centred by `lstsq`, then filled by its own SVD until they moved less than
/// 1e-14, with 0, 1 and 2 modes.
const EXPECTED: [[f64; 8]; 3] = [
    [0.20320124, 1.1922515, 0.50045279, -0.53157616, -1.14607189, -1.1542787, -0.44942158, -0.24385774],
    [0.28113536, 1.13020767, -0.02313592, -0.44865542, -1.66830975, -0.89283683, 0.69654609, -0.14343107],
    [-0.03626141, 1.19261123, 0.03580981, -0.70958758, -1.85859413, 0.47357297, 0.720619, 0.11817514],
];

/// A field of 6 x 9 with 8 gaps.
fn small() -> (Vec<f32>, Vec<bool>) {
    let value = |cell: usize| {
        let (t, n) = ((cell / 9) as f64, (cell % 9) as f64);
        ((1.3 * t + 0.4 * n).sin() + 0.3 * (0.7 * t * n).cos() - 0.5 * t / (1.0 + n)) as f32
    };
    let visible = |cell: usize| !(3 * (cell / 9) + 5 * (cell % 9)).is_multiple_of(7);
    ((0..54).map(value).collect(), (0..54).map(visible).collect())
}

#[test]
fn the_fixed_point_is_that_of_a_truncated_svd() {
    let (values, visible) = small();
    let exact = Dineof { tolerance: 1e-12, passes: 20_000, ..Dineof::default() };
    for (rank, expected) in EXPECTED.iter().enumerate() {
        let mut x = Anomalies::new(&values, &visible, &[0.0; 9]);
        exact.fit(&mut x, rank, |_, _| true);
        for (gap, expected) in (0..54).filter(|cell| !visible[*cell]).zip(expected) {
            let found = x.estimate(gap / 9, gap % 9);
            assert!((found - expected).abs() < 1e-6, "rank {rank}, cell {gap}: {found} instead of {expected}");
        }
    }
}

/// A field of two modes and noise of 0.05 round -2 in 30 x 200, half of it hidden; node 3 and frame 4 are hidden whole.
fn two_modes() -> (Vec<f32>, Vec<bool>) {
    let mut random = ChaCha8Rng::seed_from_u64(5);
    let mut visible = vec![false; 6000];
    index::sample(&mut random, 6000, 3000).into_iter().for_each(|cell| visible[cell] = true);
    (0..6000).filter(|cell| cell / 200 == 4 || cell % 200 == 3).for_each(|cell| visible[cell] = false);
    let noise = StandardNormal.sample_iter(random).take(6000);
    let value = |(cell, noise): (usize, f32)| {
        let (t, n) = ((cell / 200) as f32, (cell % 200) as f32);
        -2.0 + (0.5 * t).sin() * (0.1 * n).cos() + 0.3 * (1.7 * t).cos() * (0.37 * n).sin() + 0.05 * noise
    };
    (noise.enumerate().map(value).collect(), visible)
}

#[test]
fn the_rank_is_found_and_the_gaps_are_filled() {
    let (values, visible) = two_modes();
    let filled = Dineof::default().fill(&values, &visible, &[7.0; 200]);
    // The levels of nodes and frames are no better known than their gaps allow: up to two modes put them right.
    assert!((2..=4).contains(&filled.rank), "{} modes", filled.rank);
    assert!((0.05..0.08).contains(&filled.error), "{}", filled.error);
    let gaps = (0..6000).filter(|cell| !visible[*cell] && cell / 200 != 4 && cell % 200 != 3);
    let squares: Vec<f32> = gaps.map(|cell| (filled.values[cell] - values[cell]).powi(2)).collect();
    let error = (squares.iter().sum::<f32>() / squares.len() as f32).sqrt();
    assert!((0.05..0.07).contains(&error), "{error}");
    // Node 3 stays round its given level; nothing is known of frame 4, which has each node's level.
    let node = (0..30).map(|frame| filled.values[frame * 200 + 3] - 7.0);
    assert!(node.clone().all(|value| value.abs() < 0.2) && node.sum::<f32>().abs() < 0.1);
    assert!(filled.values[800..803].iter().all(|value| (value + 2.0).abs() < 0.3), "{:?}", &filled.values[800..803]);
}

#[test]
fn hidden_values_are_not_read_and_threads_do_not_matter() {
    let (mut values, visible) = two_modes();
    let bits = |values: &[f32]| {
        let filled = Dineof::default().fill(values, &visible, &[7.0; 200]).values;
        filled.into_iter().map(f32::to_bits).collect::<Vec<_>>()
    };
    let before = bits(&values);
    values.iter_mut().zip(&visible).filter(|(_, seen)| !**seen).for_each(|(value, _)| *value = f32::NAN);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread");
    assert!(before == pool.install(|| bits(&values)));
}

#[test]
fn too_little_to_learn_from_leaves_levels() {
    let fill = |visible: [bool; 4]| Dineof::default().fill(&[1.0, 2.0, 3.0, 4.0], &visible, &[7.0, 8.0]);
    let none = fill([false; 4]);
    assert_eq!((none.values, none.rank, none.error.is_nan()), (vec![7.0, 8.0, 7.0, 8.0], 0, true));
    assert_eq!(fill([true, false, false, false]).values, [1.0, 8.0, 1.0, 8.0]);
    assert_eq!(fill([true, false, false, true]).rank, 0);
    assert_eq!(fill([true; 4]).values, [1.0, 2.0, 3.0, 4.0]);
}
