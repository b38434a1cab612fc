//! What every kernel can be given to do: operands of a shape, and the operation that launches it.

use isobath_engine::device::Bind::{Absent, In, Out};
use isobath_engine::ops::{self, Posterior, Spatial, SpatialWeights, TemporalWeights};
use isobath_engine::random::{PhiloxKey, normal};
use isobath_engine::{Csr, DType, Device, Error, Result, Tape, Tensor};
use isobath_kernels::{accumulate, adam, gemm, multiply_add, sum_squares};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// An operation and its operands.
pub(super) struct Work {
    /// The kernel of the operation; that of its gradient, if there is one, has the same axes.
    pub(super) kernel: &'static str,
    /// Names and usual lengths of the axes. One that is usually 0 is a choice: 0 or 1.
    pub(super) axes: &'static [(&'static str, usize)],
    operands: fn(&mut Operands<'_>, &[usize]) -> Result<()>,
    apply: fn(&[Tensor], &[usize]) -> Result<Tensor>,
}

/// Most bytes of an operand.
const LARGEST: usize = 1 << 30;

/// Ends the names of kernels that compute gradients.
const BACKWARD: &str = "_backward";

/// The work of a kernel.
pub(super) fn of(kernel: &str) -> Option<&'static Work> {
    let forward = kernel.strip_suffix(BACKWARD).unwrap_or(kernel);
    ALL.iter().find(|work| work.kernel == forward)
}

impl Work {
    /// Runs the operation, or the way back through it, on random operands.
    pub(super) fn run(&self, kernel: &str, lengths: &[usize], device: &Device) -> Result<()> {
        let mut operands = Operands { device, rng: StdRng::seed_from_u64(1), all: Vec::new() };
        (self.operands)(&mut operands, lengths)?;
        if !kernel.ends_with(BACKWARD) {
            let x: Vec<Tensor> = operands.all.iter().map(|(x, _)| x.clone()).collect();
            return (self.apply)(&x, lengths).map(drop);
        }
        let tape = Tape::start()?;
        let watch = |(x, variable): &(Tensor, bool)| if *variable { tape.watch(x) } else { Ok(x.clone()) };
        let x: Vec<Tensor> = operands.all.iter().map(watch).collect::<Result<_>>()?;
        let y = (self.apply)(&x, lengths)?;
        let dy = operands.numbers(y.shape().dims(), -1.0, 1.0)?;
        tape.backward_from(&y, &dy).map(drop)
    }
}

/// Operands in order, each with whether it has a gradient.
struct Operands<'a> {
    device: &'a Device,
    rng: StdRng,
    all: Vec<(Tensor, bool)>,
}

/// Elements of an operand.
fn elements(shape: &[usize]) -> Result<usize> {
    let bytes = shape.iter().try_fold(4usize, |product, length| product.checked_mul(*length));
    match bytes {
        Some(bytes) if bytes <= LARGEST => Ok(bytes / 4),
        _ => Err(Error::TooLarge { shape: shape.into(), requested: bytes.unwrap_or(usize::MAX), largest: LARGEST }),
    }
}

impl Operands<'_> {
    fn numbers(&mut self, shape: &[usize], low: f32, high: f32) -> Result<Tensor> {
        let values: Vec<f32> = (0..elements(shape)?).map(|_| self.rng.random_range(low..high)).collect();
        Tensor::from_slice(self.device, shape, &values)
    }

    /// Operands with a gradient.
    fn variables<const N: usize>(&mut self, shapes: [&[usize]; N]) -> Result<()> {
        for shape in shapes {
            let tensor = self.numbers(shape, -1.0, 1.0)?;
            self.all.push((tensor, true));
        }
        Ok(())
    }

    /// An operand without.
    fn constant(&mut self, shape: &[usize], low: f32, high: f32) -> Result<()> {
        let tensor = self.numbers(shape, low, high)?;
        self.all.push((tensor, false));
        Ok(())
    }

    /// Zeros and ones.
    fn mask(&mut self, shape: &[usize]) -> Result<()> {
        let values: Vec<f32> = (0..elements(shape)?).map(|_| self.rng.random_range(0..2) as f32).collect();
        self.all.push((Tensor::from_slice(self.device, shape, &values)?, false));
        Ok(())
    }

    /// Numbers of rows below `bound`.
    fn index(&mut self, shape: &[usize], bound: usize) -> Result<()> {
        let values: Vec<u32> = (0..elements(shape)?).map(|_| self.rng.random_range(0..bound) as u32).collect();
        self.all.push((Tensor::from_slice(self.device, shape, &values)?, false));
        Ok(())
    }
}

/// A number for each element.
const LEN: &[(&str, usize)] = &[("len", 1 << 18)];
const ROWS: &[(&str, usize)] = &[("rows", 4096), ("channels", 64)];
const FIELD: &[(&str, usize)] = &[("batch", 4), ("frames", 46), ("nodes", 1024)];
const ATTENTION: &[(&str, usize)] = &[("sequences", 64), ("frames", 46), ("heads", 1), ("dim", 32)];
const SPATIAL: &[(&str, usize)] = &[
    ("batch", 1),
    ("frames", 46),
    ("nodes", 256),
    ("channels", 32),
    ("prototypes", 8),
    ("groups", 4),
    ("neighbours", 9),
];

static ALL: &[Work] = &[
    Work {
        kernel: "accumulate",
        axes: LEN,
        operands: |o, s| o.variables([s, s]),
        apply: |x, s| {
            let parameters = accumulate::Params { len: s[0] as u32, add: 1 };
            x[0].device().run(&accumulate::ACCUMULATE, &parameters, &[In(&x[0]), Out(&x[1])])?;
            Ok(x[1].clone())
        },
    },
    Work {
        kernel: "adam",
        axes: LEN,
        operands: |o, s| {
            o.variables([s, s, s])?;
            o.constant(s, 0.0, 1.0)?;
            o.constant(&[1], 0.0, 1.0)
        },
        apply: |x, s| {
            let (lr, beta1, beta2, eps, decay) = (1e-3, 0.9, 0.999, 1e-8, 1e-4);
            let settings = adam::Settings { lr, beta1, beta2, eps, decay, decoupled: false, max_norm: 1.0 };
            let bound = [Out(&x[0]), In(&x[1]), Out(&x[2]), Out(&x[3]), In(&x[4])];
            x[0].device().run(&adam::ADAM, &adam::Params::new(s[0] as u32, &settings, 3), &bound)?;
            Ok(x[0].clone())
        },
    },
    Work {
        // A product; with `broadcast`, by a row that all rows share.
        kernel: "binary",
        axes: &[("rows", 4096), ("columns", 64), ("broadcast", 0)],
        operands: |o, s| if s[2] == 1 { o.variables([&s[..2], &s[1..2]]) } else { o.variables([&s[..2], &s[..2]]) },
        apply: |x, _| ops::mul(&x[0], &x[1]),
    },
    Work {
        kernel: "clamp",
        axes: &[("rows", 256), ("nodes", 1024)],
        operands: |o, s| {
            o.variables([s])?;
            o.constant(&s[1..], -0.6, -0.4)?;
            o.constant(&s[1..], 0.4, 0.6)
        },
        apply: |x, _| ops::clamp(&x[0], &x[1], &x[2]),
    },
    Work {
        kernel: "columns",
        axes: &[("rows", 4096), ("columns", 96), ("width", 64)],
        operands: |o, s| o.variables([&s[..2]]),
        apply: |x, s| ops::slice(&x[0], 1, 0..s[2]),
    },
    Work {
        kernel: "q_sample",
        axes: FIELD,
        operands: |o, s| {
            o.variables([s, s])?;
            o.constant(&s[..1], 0.1, 1.0)?;
            o.constant(&s[..1], 0.1, 1.0)
        },
        apply: |x, _| ops::q_sample(&x[0], &x[1], &x[2], &x[3]),
    },
    Work {
        kernel: "posterior_step",
        axes: FIELD,
        operands: |o, s| o.variables([s, s, s]),
        apply: |x, _| ops::posterior_step(&x[0], &x[1], Some(&x[2]), Posterior { x: 0.75, x_hat: 0.3, noise: 0.1 }),
    },
    Work {
        kernel: "embedding",
        axes: &[("rows", 4096), ("v", 1000), ("channels", 64)],
        operands: |o, s| {
            o.variables([&s[1..]])?;
            o.index(&s[..1], s[1])
        },
        apply: |x, _| ops::embedding(&x[0], &x[1]),
    },
    Work {
        kernel: "gate",
        axes: ROWS,
        operands: |o, s| o.variables([&[s[0], 2 * s[1]]]),
        apply: |x, _| ops::gate(&x[0]),
    },
    Work { kernel: "gated_head", axes: SPATIAL, operands: spatial_operands, apply: spatial },
    Work { kernel: "graph_mix", axes: SPATIAL, operands: spatial_operands, apply: spatial },
    Work {
        kernel: "gemm",
        axes: &[("batch", 1), ("m", 512), ("n", 256), ("k", 256), ("transpose_a", 0), ("transpose_b", 0), ("bias", 0)],
        operands: |o, s| o.variables([&[s[0], s[1], s[3]], &[s[0], s[3], s[2]], &s[2..3]]),
        apply: |x, s| {
            let [batch, m, n, k, transpose_a, transpose_b, bias] = std::array::from_fn(|axis| s[axis] as u32);
            let (a_stride, b_stride) = (m * k, k * n);
            let parameters = gemm::Params { batch, m, n, k, transpose_a, transpose_b, a_stride, b_stride };
            let c = Tensor::empty(x[0].device(), &s[..3], DType::F32)?;
            let bias = if bias == 1 { In(&x[2]) } else { Absent };
            c.device().run(&gemm::GEMM, &parameters, &[In(&x[0]), In(&x[1]), bias, Out(&c)])?;
            Ok(c)
        },
    },
    Work {
        kernel: "group_norm",
        axes: &[("batch", 4), ("nodes", 1024), ("channels", 64), ("groups", 4)],
        operands: |o, s| o.variables([&s[..3], &s[2..3], &s[2..3]]),
        apply: |x, s| ops::group_norm(&x[0], &x[1], &x[2], s[3], 1e-5),
    },
    Work {
        kernel: "layer_norm",
        axes: ROWS,
        operands: |o, s| o.variables([s, &s[1..], &s[1..]]),
        apply: |x, _| ops::layer_norm(&x[0], &x[1], &x[2], 1e-5),
    },
    Work {
        kernel: "linear_attention",
        axes: ATTENTION,
        operands: attention_operands,
        apply: |x, s| ops::linear_attention(&x[0], &x[1], &x[2], s[2]),
    },
    Work {
        kernel: "masked_mse",
        axes: LEN,
        operands: |o, s| {
            o.variables([s, s])?;
            o.mask(s)
        },
        apply: |x, _| ops::masked_mse(&x[0], &x[1], &x[2]),
    },
    Work {
        kernel: "multiply_add",
        axes: &[("len", 1 << 14), ("rounds", 16)],
        operands: |o, s| o.variables([&s[..1]]),
        apply: |x, s| {
            let y = Tensor::empty(x[0].device(), &s[..1], DType::F32)?;
            let parameters = multiply_add::Params { len: s[0] as u32, rounds: s[1] as u32, a: 0.99, b: 0.1 };
            y.device().run(&multiply_add::MULTIPLY_ADD, &parameters, &[In(&x[0]), Out(&y)])?;
            Ok(y)
        },
    },
    Work {
        kernel: "node_linear",
        axes: &[("batch", 32), ("nodes", 128), ("channels", 32), ("out", 32), ("prototypes", 8)],
        operands: |o, s| o.variables([&s[..3], &[s[1], s[4]], &[s[4], s[2], s[3]]]),
        apply: |x, _| ops::node_linear(&x[0], &x[1], &x[2]),
    },
    Work {
        kernel: "normal",
        axes: LEN,
        operands: |o, _| o.variables([&[1]]),
        apply: |x, s| normal(x[0].device(), s, DType::F32, PhiloxKey { seed: 1, stream: 1 }, 0),
    },
    Work {
        // The last two axes change places.
        kernel: "permute",
        axes: &[("batch", 4), ("rows", 256), ("columns", 256)],
        operands: |o, s| o.variables([s]),
        apply: |x, _| ops::permute(&x[0], &[0, 2, 1]),
    },
    Work {
        // A sum over the axis `len`.
        kernel: "reduce",
        axes: &[("outer", 1), ("len", 4096), ("inner", 64)],
        operands: |o, s| o.variables([s]),
        apply: |x, _| ops::sum_axis(&x[0], 1..2),
    },
    Work {
        kernel: "select",
        axes: LEN,
        operands: |o, s| {
            o.mask(s)?;
            o.variables([s, s])
        },
        apply: |x, _| ops::select(&x[0], &x[1], &x[2]),
    },
    Work { kernel: "softmax", axes: ROWS, operands: |o, s| o.variables([s]), apply: |x, _| ops::softmax(&x[0]) },
    Work {
        kernel: "softmax_attention",
        axes: ATTENTION,
        operands: attention_operands,
        apply: |x, s| ops::softmax_attention(&x[0], &x[1], &x[2], s[2]),
    },
    Work {
        kernel: "spmm",
        axes: &[("batch", 4), ("nodes", 1024), ("channels", 64), ("neighbours", 9)],
        operands: |o, s| o.variables([&s[..3]]),
        apply: |x, s| ops::spmm(&graph(x[0].device(), s[1], s[3])?, &x[0]),
    },
    Work {
        kernel: "sum_squares",
        axes: LEN,
        operands: |o, s| o.variables([s]),
        apply: |x, s| {
            let y = Tensor::empty(x[0].device(), [1], DType::F32)?;
            let parameters = sum_squares::Params { len: s[0] as u32 };
            y.device().run(&sum_squares::SUM_SQUARES, &parameters, &[In(&x[0]), Out(&y)])?;
            Ok(y)
        },
    },
    Work {
        kernel: "temporal_block",
        axes: &[
            ("batch", 1),
            ("frames", 46),
            ("nodes", 32),
            ("inputs", 2),
            ("channels", 32),
            ("hidden", 128),
            ("heads", 1),
        ],
        operands: |o, s| {
            let &[b, t, n, f, c, hidden, _] = s else { unreachable!("seven axes") };
            o.variables([&[f, b, t, n], &[b, t, c], &[c, f], &[c], &[c], &[c, c], &[c, c], &[c, c], &[c, c]])?;
            o.variables([&[c], &[c], &[c], &[hidden, c], &[hidden], &[c, hidden], &[c]])
        },
        apply: |x, s| {
            let at = |i: usize| x[i + 2].clone();
            let weights = TemporalWeights {
                input: at(0),
                norm1: (at(1), at(2)),
                qkv: [at(3), at(4), at(5)],
                out: (at(6), at(7)),
                norm2: (at(8), at(9)),
                up: (at(10), at(11)),
                down: (at(12), at(13)),
            };
            ops::temporal_block(&x[0], &x[1], &weights, s[6], 1e-5)
        },
    },
    Work { kernel: "unary", axes: LEN, operands: |o, s| o.variables([s]), apply: |x, _| ops::sigmoid(&x[0]) },
];

fn attention_operands(o: &mut Operands<'_>, s: &[usize]) -> Result<()> {
    let shape = [s[0], s[1], s[2] * s[3]];
    o.variables([&shape, &shape, &shape])
}

/// The input of a spatial block, its weights, a target and its mask.
fn spatial_operands(o: &mut Operands<'_>, s: &[usize]) -> Result<()> {
    let &[b, t, n, c, k, _, _] = s else { unreachable!("seven axes") };
    o.variables([&[b, n, t, c], &[n, k], &[k, c, c], &[c], &[c], &[2 * c, c], &[2 * c], &[1, c], &[1]])?;
    o.constant(&[b, t, n], -1.0, 1.0)?;
    o.mask(&[b, t, n])
}

/// The loss of a gated spatial block.
fn spatial(x: &[Tensor], s: &[usize]) -> Result<Tensor> {
    let pair = |i: usize| (x[i].clone(), x[i + 1].clone());
    let (embedding, pool) = pair(1);
    let weights = SpatialWeights { embedding, pool, norm: pair(3), gate: Some(pair(5)), out: pair(7) };
    let graph = graph(x[0].device(), s[2], s[6])?;
    let block = Spatial { graph, residual: true, groups: s[5], eps: 1e-5, bounds: None };
    ops::spatial_block(&x[0], &weights, &block, Some((&x[9], &x[10])))
}

/// Nodes row by row of a square, each with itself and its nearest neighbours; the square's ends meet.
fn graph(device: &Device, nodes: usize, neighbours: usize) -> Result<Csr> {
    elements(&[nodes, neighbours])?;
    let side = (nodes as f64).sqrt().ceil() as isize;
    let mut steps: Vec<(isize, isize)> = (-side / 2..=side / 2).flat_map(|y| (-2..=2).map(move |x| (y, x))).collect();
    steps.sort_by_key(|(y, x)| y * y + x * x);
    let steps = || steps.iter().cycle().take(neighbours);
    let near = |i: usize| steps().map(move |(y, x)| (i as isize + y * side + x).rem_euclid(nodes as isize) as u32);
    let offsets: Vec<u32> = (0..=nodes).map(|i| (i * neighbours) as u32).collect();
    let list: Vec<u32> = (0..nodes).flat_map(near).collect();
    Csr::new(device, nodes, &offsets, &list, None, DType::F32)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// On the processor, at lengths that are quickly done: what the simulator runs too.
    #[test]
    fn every_kernel_is_launched_by_its_work() {
        for kernel in isobath_kernels::ALL {
            let work = of(kernel.name).unwrap_or_else(|| panic!("no work for {}", kernel.name));
            let small = |(name, usual): &(&str, usize)| if *name == "groups" { 2 } else { (*usual).min(4) };
            let lengths: Vec<usize> = work.axes.iter().map(small).collect();
            let device = Device::cpu();
            work.run(kernel.name, &lengths, &device).unwrap_or_else(|e| panic!("{}: {e}", kernel.name));
            let launches = device.profile();
            let calls = launches.iter().find(|launches| launches.kernel == kernel.name).map(|launches| launches.calls);
            assert_eq!(calls, Some(1), "{}: {launches:?}", kernel.name);
        }
    }
}
