//! Operations over the nodes of a graph.

use crate::device::Bind::{Absent, In, Out};
use crate::error::{Error, Result, shape_error};
use crate::graph::Csr;
use crate::op::{Grads, Op, Wanted, apply, expect_shape};
use crate::tensor::Tensor;
use isobath_kernels::node_linear::{self, NODE_LINEAR};
use isobath_kernels::node_linear_backward::NODE_LINEAR_BACKWARD;
use isobath_kernels::spmm::{self, SPMM};

struct Spmm {
    graph: Csr,
}

impl Csr {
    /// y = base + matrix x, or with the transposed matrix.
    pub(crate) fn multiply(&self, x: &Tensor, base: Option<&Tensor>, y: &Tensor, transposed: bool) -> Result<()> {
        let (offsets, neighbours, values) = if transposed {
            (&self.offsets_t, &self.neighbours_t, &self.values_t)
        } else {
            (&self.offsets, &self.neighbours, &self.values)
        };
        let [batch, nodes, channels] = [0, 1, 2].map(|axis| x.shape()[axis] as u32);
        let parameters = spmm::Params { batch, nodes, channels, entries: self.entries() as u32 };
        let values = values.as_ref().map_or(Absent, In);
        y.device().run(
            &SPMM,
            &parameters,
            &[In(offsets), In(neighbours), values, In(x), base.map_or(Absent, In), Out(y)],
        )
    }
}

impl Op for Spmm {
    fn name(&self) -> &'static str {
        "spmm"
    }

    fn forward(&self, x: &[&Tensor]) -> Result<(Tensor, Vec<Tensor>)> {
        let y = Tensor::empty(x[0].device(), x[0].shape(), x[0].dtype())?;
        self.graph.multiply(x[0], None, &y, false)?;
        Ok((y, Vec::new()))
    }

    fn backward(&self, _saved: Vec<Tensor>, dy: &Tensor, wanted: &Wanted) -> Result<Grads> {
        let dx = wanted.output(0, dy)?;
        self.graph.multiply(dy, None, &dx, true)?;
        Ok(vec![Some(dx)])
    }
}

/// y[b, i, :] = sum over the neighbours j of node i of value_ij x[b, j, :]: x, y `[b, n, c]`. The graph's values are
/// constants.
///
/// # Errors
/// When x is not `[b, n, c]` with the graph's n, or lives on another device or in another number type.
pub fn spmm(graph: &Csr, x: &Tensor) -> Result<Tensor> {
    if x.shape().rank() != 3 || x.shape()[1] != graph.nodes() {
        let what = format!("x: expected [b, n, c] with the graph's n = {}, found {}", graph.nodes(), x.shape());
        return shape_error("spmm", what);
    }
    if !graph.device().same(x.device()) {
        return Err(Error::Type { op: "spmm", what: "x lives on another device than the graph".into() });
    }
    apply(Spmm { graph: graph.clone() }, &[x])
}

struct NodeLinear;

fn parameters(x: &Tensor, pool: &Tensor) -> node_linear::Params {
    let [batch, nodes, channels] = [0, 1, 2].map(|axis| x.shape()[axis] as u32);
    node_linear::Params { batch, nodes, channels, out: pool.shape()[2] as u32, prototypes: pool.shape()[0] as u32 }
}

impl Op for NodeLinear {
    fn name(&self) -> &'static str {
        "node_linear"
    }

    fn forward(&self, x: &[&Tensor]) -> Result<(Tensor, Vec<Tensor>)> {
        let [x, e, pool] = [x[0], x[1], x[2]];
        let y = Tensor::empty(x.device(), x.shape().with_last(pool.shape()[2]), x.dtype())?;
        y.device().run(&NODE_LINEAR, &parameters(x, pool), &[In(x), In(e), In(pool), Out(&y)])?;
        Ok((y, vec![x.clone(), e.clone(), pool.clone()]))
    }

    fn backward(&self, saved: Vec<Tensor>, dy: &Tensor, wanted: &Wanted) -> Result<Grads> {
        let [x, e, pool] = [&saved[0], &saved[1], &saved[2]];
        let (dx, de, dpool) = (wanted.output(0, x)?, wanted.output(1, e)?, wanted.output(2, pool)?);
        let bound = [In(x), In(e), In(pool), In(dy), Out(&dx), Out(&de), Out(&dpool)];
        dy.device().run(&NODE_LINEAR_BACKWARD, &parameters(x, pool), &bound)?;
        Ok(vec![Some(dx), Some(de), Some(dpool)])
    }
}

/// `y[b, n, :] = x[b, n, :] W_n` with `W_n = sum_j e[n, j] pool[j]`: x `[b, n, c]`, e `[n, k]`, pool `[k, c, o]`, y
/// `[b, n, o]`. The weights of the nodes are never stored.
///
/// # Errors
/// When the shapes do not fit or x has no channels.
pub fn node_linear(x: &Tensor, e: &Tensor, pool: &Tensor) -> Result<Tensor> {
    if x.shape().rank() != 3 || pool.shape().rank() != 3 || x.shape()[2] != pool.shape()[1] || x.shape()[2] == 0 {
        let what = format!("expected x [b, n, c] and pool [k, c, o], found x {} and pool {}", x.shape(), pool.shape());
        return shape_error("node_linear", what);
    }
    expect_shape("node_linear", "e [n, k]", e.shape(), [x.shape()[1], pool.shape()[0]])?;
    apply(NodeLinear, &[x, e, pool])
}
