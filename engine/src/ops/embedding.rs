//! Rows of a table.

use crate::device::Bind::{In, Out};
use crate::error::{Error, Result, shape_error};
use crate::op::{Grads, Op, Wanted, apply};
use crate::shape::MAX_RANK;
use crate::tensor::{DType, Tensor};
use isobath_kernels::embedding::{EMBEDDING, EMBEDDING_BACKWARD, Params};

struct Embedding;

fn parameters(table: &Tensor, index: &Tensor) -> Params {
    Params { rows: index.len() as u32, v: table.shape()[0] as u32, c: table.shape()[1] as u32 }
}

impl Op for Embedding {
    fn name(&self) -> &'static str {
        "embedding"
    }

    fn index_inputs(&self) -> &'static [usize] {
        &[1]
    }

    fn forward(&self, x: &[&Tensor]) -> Result<(Tensor, Vec<Tensor>)> {
        let (table, index) = (x[0], x[1]);
        let shape = [index.shape().dims(), &[table.shape()[1]]].concat();
        let y = Tensor::empty(table.device(), shape.as_slice(), table.dtype())?;
        y.device().run(&EMBEDDING, &parameters(table, index), &[In(table), In(index), Out(&y)])?;
        Ok((y, vec![table.clone(), index.clone()]))
    }

    fn backward(&self, saved: Vec<Tensor>, dy: &Tensor, wanted: &Wanted) -> Result<Grads> {
        if !wanted.needs(0) {
            return Ok(vec![None; 2]);
        }
        let (table, index) = (&saved[0], &saved[1]);
        let dtable = wanted.output(0, table)?;
        dy.device().run(&EMBEDDING_BACKWARD, &parameters(table, index), &[In(index), In(dy), Out(&dtable)])?;
        Ok(vec![Some(dtable), None])
    }
}

/// The rows of `table` that `index` names: table `[v, c]`, index `[..]` of type u32, result `[.., c]`.
///
/// # Errors
/// When the table is no matrix, the index holds another type, or a number that is no row of the table.
pub fn embedding(table: &Tensor, index: &Tensor) -> Result<Tensor> {
    if table.shape().rank() != 2 || index.shape().rank() == MAX_RANK {
        let what = format!("expected table [v, c] and index [..], found {} and {}", table.shape(), index.shape());
        return shape_error("embedding", what);
    }
    if index.dtype() != DType::U32 {
        return Err(Error::Type { op: "embedding", what: format!("index: expected u32, found {index:?}") });
    }
    let rows = table.shape()[0];
    if let Some(wrong) = index.to_vec::<u32>()?.into_iter().find(|j| *j as usize >= rows) {
        return shape_error("embedding", format!("index: expected numbers below v = {rows}, found {wrong}"));
    }
    apply(Embedding, &[table, index])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Device, Tape};

    #[test]
    fn rows_come_by_index_and_their_gradients_add_up() -> Result<()> {
        let device = Device::cpu();
        let tape = Tape::start()?;
        let table = tape.watch(&Tensor::from_slice(&device, [3, 2], &[0.0f32, 1.0, 10.0, 11.0, 20.0, 21.0])?)?;
        let index = Tensor::from_slice(&device, [3], &[2u32, 0, 2])?;
        let y = embedding(&table, &index)?;
        assert_eq!(y.to_vec::<f32>()?, [20.0, 21.0, 0.0, 1.0, 20.0, 21.0]);
        let dy = Tensor::from_slice(&device, [3, 2], &[1.0f32, 2.0, 4.0, 8.0, 16.0, 32.0])?;
        let gradients = tape.backward_from(&y, &dy)?;
        assert_eq!(gradients.get(&table)?.to_vec::<f32>()?, [4.0, 8.0, 0.0, 0.0, 17.0, 34.0]);
        Ok(())
    }

    #[test]
    fn an_index_past_the_table_is_named() -> Result<()> {
        let device = Device::cpu();
        let table = Tensor::zeros(&device, [3, 2], DType::F32)?;
        let text = |index: &Tensor| embedding(&table, index).err().map(|e| e.to_string()).unwrap_or_default();
        let wrong = Tensor::from_slice(&device, [2], &[1u32, 3])?;
        assert_eq!(text(&wrong), "embedding: index: expected numbers below v = 3, found 3");
        let real = Tensor::zeros(&device, [2], DType::F32)?;
        assert_eq!(text(&real), "embedding: index: expected u32, found f32 [2] on cpu");
        Ok(())
    }
}
