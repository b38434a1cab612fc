//! Matrix products: a linear layer over the last axis (a 1x1 convolution in channel-last layout) and `matmul`.

use crate::device::Bind::{Absent, In, Out};
use crate::error::{Result, shape_error};
use crate::op::{Grads, Op, Wanted, apply, expect_shape};
use crate::tensor::Tensor;
use bytemuck::Zeroable;
use isobath_kernels::gemm::{GEMM, Params};
use isobath_kernels::reduce;

struct Linear;

impl Op for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn forward(&self, x: &[&Tensor]) -> Result<(Tensor, Vec<Tensor>)> {
        let (input, weight) = (x[0], x[1]);
        let (m, n, k) = (input.shape().rows(), weight.shape()[0], weight.shape()[1]);
        let y = Tensor::empty(input.device(), input.shape().with_last(n), input.dtype())?;
        let bias = x.get(2).map_or(Absent, |b| In(b));
        product(m, n, k, (false, true), In(input), In(weight), bias, &y)?;
        Ok((y, vec![input.clone(), weight.clone()]))
    }

    fn backward(&self, saved: Vec<Tensor>, dy: &Tensor, wanted: &Wanted) -> Result<Grads> {
        let (input, weight) = (&saved[0], &saved[1]);
        let (rows, out, inner) = (input.shape().rows(), weight.shape()[0], weight.shape()[1]);
        let mut grads: Grads = vec![None, None, None];
        if wanted.needs(0) {
            let dx = wanted.output(0, input)?;
            product(rows, inner, out, (false, false), In(dy), In(weight), Absent, &dx)?;
            grads[0] = Some(dx);
        }
        if wanted.needs(1) {
            let dw = wanted.output(1, weight)?;
            product(out, inner, rows, (true, false), In(dy), In(input), Absent, &dw)?;
            grads[1] = Some(dw);
        }
        if wanted.needs(2) {
            let like = weight.view(0, [out].into());
            let db = wanted.output(2, &like)?;
            let sum = reduce::Params { outer: 1, len: rows as u32, inner: out as u32, kind: reduce::SUM, scale: 1.0 };
            dy.device().run(&reduce::REDUCE, &sum, &[In(dy), Out(&db)])?;
            grads[2] = Some(db);
        }
        Ok(grads)
    }
}

/// c = op(a) op(b) + bias for single matrices.
#[allow(clippy::too_many_arguments)] // a product has that many
fn product(
    m: usize,
    n: usize,
    k: usize,
    (transpose_a, transpose_b): (bool, bool),
    a: crate::device::Bind<'_>,
    b: crate::device::Bind<'_>,
    bias: crate::device::Bind<'_>,
    c: &Tensor,
) -> Result<()> {
    let [m, n, k] = [m, n, k].map(|v| v as u32);
    let (transpose_a, transpose_b) = (u32::from(transpose_a), u32::from(transpose_b));
    let parameters = Params { batch: 1, m, n, k, transpose_a, transpose_b, ..Params::zeroed() };
    c.device().run(&GEMM, &parameters, &[a, b, bias, Out(c)])
}

/// y = x weight^T + bias over the last axis: x `[.., in]`, weight `[out, in]`, bias `[out]`, y `[.., out]`.
///
/// # Errors
/// When the shapes do not fit.
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    if weight.shape().rank() != 2 || x.shape().rank() == 0 || x.shape().last() != weight.shape()[1] {
        let what =
            format!("expected x [.., in] and weight [out, in], found x {} and weight {}", x.shape(), weight.shape());
        return shape_error("linear", what);
    }
    match bias {
        None => apply(Linear, &[x, weight]),
        Some(bias) => {
            expect_shape("linear", "bias [out]", bias.shape(), [weight.shape()[0]])?;
            apply(Linear, &[x, weight, bias])
        }
    }
}

struct MatMul {
    transpose_b: bool,
}

impl MatMul {
    fn run(&self, a: &Tensor, b: &Tensor, c: &Tensor, (ta, tb): (bool, bool)) -> Result<()> {
        let rank = c.shape().rank();
        let (m, n) = (c.shape()[rank - 2] as u32, c.shape()[rank - 1] as u32);
        let k = a.shape()[if ta { rank - 2 } else { rank - 1 }] as u32;
        let batch = c.shape().dims()[..rank - 2].iter().product::<usize>() as u32;
        let (transpose_a, transpose_b) = (u32::from(ta), u32::from(tb));
        let parameters = Params { batch, m, n, k, transpose_a, transpose_b, a_stride: m * k, b_stride: k * n };
        c.device().run(&GEMM, &parameters, &[In(a), In(b), Absent, Out(c)])
    }
}

impl Op for MatMul {
    fn name(&self) -> &'static str {
        "matmul"
    }

    fn forward(&self, x: &[&Tensor]) -> Result<(Tensor, Vec<Tensor>)> {
        let (a, b) = (x[0], x[1]);
        let rank = b.shape().rank();
        let n = b.shape()[if self.transpose_b { rank - 2 } else { rank - 1 }];
        let c = Tensor::empty(a.device(), a.shape().with_last(n), a.dtype())?;
        self.run(a, b, &c, (false, self.transpose_b))?;
        Ok((c, vec![a.clone(), b.clone()]))
    }

    fn backward(&self, saved: Vec<Tensor>, dc: &Tensor, wanted: &Wanted) -> Result<Grads> {
        let (a, b) = (&saved[0], &saved[1]);
        let mut grads: Grads = vec![None, None];
        if wanted.needs(0) {
            let da = wanted.output(0, a)?;
            self.run(dc, b, &da, (false, !self.transpose_b))?;
            grads[0] = Some(da);
        }
        if wanted.needs(1) {
            let db = wanted.output(1, b)?;
            let (left, right) = if self.transpose_b { (dc, a) } else { (a, dc) };
            self.run(left, right, &db, (true, false))?;
            grads[1] = Some(db);
        }
        Ok(grads)
    }
}

/// c = a b, or a b^T: a `[.., m, k]`, b `[.., k, n]` (`[.., n, k]` with `transpose_b`), c `[.., m, n]`.
///
/// # Errors
/// When the shapes do not fit.
pub fn matmul(a: &Tensor, b: &Tensor, transpose_b: bool) -> Result<Tensor> {
    let (sa, sb) = (a.shape().dims(), b.shape().dims());
    let rank = sa.len();
    let fits = rank >= 2 && sb.len() == rank && sa[..rank - 2] == sb[..rank - 2];
    if !fits || sa[rank - 1] != sb[if transpose_b { rank - 1 } else { rank - 2 }] {
        let expected = if transpose_b { "[.., n, k]" } else { "[.., k, n]" };
        let what = format!("expected a [.., m, k] and b {expected}, found a {} and b {}", a.shape(), b.shape());
        return shape_error("matmul", what);
    }
    apply(MatMul { transpose_b }, &[a, b])
}
