//! Sparse graphs on a device.

use crate::device::Device;
use crate::error::{Result, shape_error};
use crate::tensor::{DType, Tensor};

/// A square sparse matrix in compressed sparse rows, with its transpose: node i gathers from
/// `neighbours[offsets[i]..offsets[i + 1]]`, each weighted by its value, or by 1 without values.
///
/// Its tensors outlive a step. Values are constants: no gradient flows to them.
#[derive(Clone)]
pub struct Csr {
    pub(crate) nodes: usize,
    /// u32 `[nodes + 1]`.
    pub(crate) offsets: Tensor,
    /// u32 `[entries]`.
    pub(crate) neighbours: Tensor,
    /// `[entries]`.
    pub(crate) values: Option<Tensor>,
    /// The same three of the transposed matrix.
    pub(crate) offsets_t: Tensor,
    pub(crate) neighbours_t: Tensor,
    pub(crate) values_t: Option<Tensor>,
}

/// The rows of a sparse matrix as the host has them.
#[derive(Clone, Debug, PartialEq)]
pub struct Rows {
    /// Starts of each node's neighbours, `[nodes + 1]`.
    pub offsets: Vec<u32>,
    /// Neighbours, node by node.
    pub neighbours: Vec<u32>,
    /// Their values, where they are not all 1.
    pub values: Option<Vec<f64>>,
}

impl Csr {
    /// A graph of `nodes` nodes. `dtype` is the number type of the values; without values it does not matter.
    ///
    /// # Errors
    /// When `offsets` is not a rising list of `nodes + 1` entries from 0 to the number of neighbours, a neighbour is
    /// no node, or there are not as many values as neighbours.
    pub fn new(
        device: &Device,
        nodes: usize,
        offsets: &[u32],
        neighbours: &[u32],
        values: Option<&[f64]>,
        dtype: DType,
    ) -> Result<Csr> {
        validate(nodes, offsets, neighbours, values)?;
        let (offsets_t, neighbours_t, values_t) = transpose(nodes, offsets, neighbours, values);
        let index = |list: &[u32]| Tensor::from_slice(device, [list.len()], list)?.keep();
        let number = |list: &[f64]| Tensor::from_f64(device, [list.len()], list, dtype)?.keep();
        Ok(Csr {
            nodes,
            offsets: index(offsets)?,
            neighbours: index(neighbours)?,
            values: values.map(number).transpose()?,
            offsets_t: index(&offsets_t)?,
            neighbours_t: index(&neighbours_t)?,
            values_t: values_t.as_deref().map(number).transpose()?,
        })
    }

    /// Number of nodes.
    pub fn nodes(&self) -> usize {
        self.nodes
    }

    /// Number of stored entries.
    pub fn entries(&self) -> usize {
        self.neighbours.len()
    }

    /// Where it lives.
    pub fn device(&self) -> &Device {
        self.offsets.device()
    }
}

fn validate(nodes: usize, offsets: &[u32], neighbours: &[u32], values: Option<&[f64]>) -> Result<()> {
    let refuse = |what: String| shape_error("csr", what);
    if offsets.len() != nodes + 1 {
        return refuse(format!("offsets: expected nodes + 1 = {} entries, found {}", nodes + 1, offsets.len()));
    }
    if let Some(i) = offsets.windows(2).position(|pair| pair[0] > pair[1]) {
        return refuse(format!("offsets[{}] = {} is less than offsets[{i}] = {}", i + 1, offsets[i + 1], offsets[i]));
    }
    if offsets[0] != 0 || offsets[nodes] as usize != neighbours.len() {
        let found = format!("found {} to {}", offsets[0], offsets[nodes]);
        return refuse(format!("offsets: expected 0 to {}, the number of neighbours, {found}", neighbours.len()));
    }
    if let Some(e) = neighbours.iter().position(|j| *j as usize >= nodes) {
        return refuse(format!("neighbours[{e}] = {} is no node: there are {nodes}", neighbours[e]));
    }
    match values {
        Some(values) if values.len() != neighbours.len() => {
            refuse(format!("values: expected one for each of {} neighbours, found {}", neighbours.len(), values.len()))
        }
        _ => Ok(()),
    }
}

/// The transposed matrix: a counting sort by column, which keeps the order of rows.
fn transpose(
    nodes: usize,
    offsets: &[u32],
    neighbours: &[u32],
    values: Option<&[f64]>,
) -> (Vec<u32>, Vec<u32>, Option<Vec<f64>>) {
    let mut starts = vec![0u32; nodes + 1];
    for j in neighbours {
        starts[*j as usize + 1] += 1;
    }
    for i in 0..nodes {
        starts[i + 1] += starts[i];
    }
    let mut next = starts.clone();
    let mut rows = vec![0u32; neighbours.len()];
    let mut moved = values.map(|v| vec![0.0; v.len()]);
    for (i, pair) in offsets.windows(2).enumerate() {
        for e in pair[0] as usize..pair[1] as usize {
            let slot = &mut next[neighbours[e] as usize];
            rows[*slot as usize] = i as u32;
            if let (Some(moved), Some(values)) = (&mut moved, values) {
                moved[*slot as usize] = values[e];
            }
            *slot += 1;
        }
    }
    (starts, rows, moved)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_transpose_holds_the_same_entries() -> Result<()> {
        // 0 <- {1, 2}, 1 <- {}, 2 <- {2, 0, 1}
        let values = [0.1, 0.2, 0.3, 0.4, 0.5];
        let graph = Csr::new(&Device::cpu(), 3, &[0, 2, 2, 5], &[1, 2, 2, 0, 1], Some(&values), DType::F64)?;
        assert_eq!(graph.offsets_t.to_vec::<u32>()?, [0, 1, 3, 5]);
        assert_eq!(graph.neighbours_t.to_vec::<u32>()?, [2, 0, 2, 0, 2]);
        assert_eq!(graph.values_t.map(|v| v.to_f64()).transpose()?, Some(vec![0.4, 0.1, 0.5, 0.2, 0.3]));
        Ok(())
    }

    #[test]
    fn faults_are_named() {
        let refuse = |nodes, offsets: &[u32], neighbours: &[u32], values: Option<&[f64]>| {
            Csr::new(&Device::cpu(), nodes, offsets, neighbours, values, DType::F32).err().map(|e| e.to_string())
        };
        for (found, expected) in [
            (refuse(3, &[0, 1], &[0], None), "csr: offsets: expected nodes + 1 = 4 entries, found 2"),
            (refuse(2, &[0, 2, 1], &[0], None), "csr: offsets[2] = 1 is less than offsets[1] = 2"),
            (refuse(1, &[0, 2], &[0], None), "csr: offsets: expected 0 to 1, the number of neighbours, found 0 to 2"),
            (refuse(1, &[0, 1], &[7], None), "csr: neighbours[0] = 7 is no node: there are 1"),
            (refuse(1, &[0, 1], &[0], Some(&[])), "csr: values: expected one for each of 1 neighbours, found 0"),
        ] {
            assert_eq!(found.as_deref(), Some(expected));
        }
    }
}
