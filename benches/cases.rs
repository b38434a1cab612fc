//! Time of every row of the case table at its large shape in f32: the forward alone, and forward with backward.
//!
//! `cargo bench -p isobath-benches --bench cases -- group_norm` runs the rows whose names contain `group_norm`.

use criterion::{Criterion, criterion_group, criterion_main};
use isobath_engine::{DType, Device, Result, Tape, Tensor};
use isobath_tests::{Case, Kind, Problem, Values, cases};
use std::cell::LazyCell;
use std::time::Duration;

/// Operands of a row on the device, and the gradient of its result.
struct Operands {
    problem: Problem,
    x: Vec<Tensor>,
    dy: Tensor,
}

impl Operands {
    fn new(case: &Case) -> Result<Self> {
        let device = Device::cpu();
        let mut values = Values::new(1);
        let problem = (case.problem)(case.large, &mut values);
        let x: Vec<Tensor> =
            problem.inputs.iter().map(|input| input.tensor(&device, DType::F32)).collect::<Result<_>>()?;
        let y = (problem.apply)(&x)?;
        let dy = values.constant_in(y.shape().dims(), -1.0, 1.0).tensor(&device, DType::F32)?;
        Ok(Operands { problem, x, dy })
    }

    fn forward(&self) -> Result<Tensor> {
        (self.problem.apply)(&self.x)
    }

    fn forward_backward(&self) -> Result<()> {
        let tape = Tape::start()?;
        let mut x = Vec::with_capacity(self.x.len());
        for (tensor, input) in self.x.iter().zip(&self.problem.inputs) {
            x.push(if input.kind == Kind::Variable { tape.watch(tensor)? } else { tensor.clone() });
        }
        tape.backward_from(&(self.problem.apply)(&x)?, &self.dy)?;
        Ok(())
    }
}

fn rows(criterion: &mut Criterion) {
    for case in cases::all() {
        // Made at the first use: a row that a filter leaves out costs nothing.
        let operands = LazyCell::new(|| Operands::new(&case).expect("operands of a row"));
        let mut group = criterion.benchmark_group(case.name);
        group.bench_function("forward", |bench| bench.iter(|| operands.forward().expect("the forward of a row")));
        group.bench_function("forward_backward", |bench| {
            bench.iter(|| operands.forward_backward().expect("the backward of a row"));
        });
        group.finish();
    }
}

criterion_group! {
    name = table;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(10)
        .without_plots();
    targets = rows
}
criterion_main!(table);
