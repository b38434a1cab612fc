//! A kernel's PTX on the simulator: what each line did, and which roofs of two GPUs the whole meets.

mod listing;
mod roof;
mod text;
mod work;

use isobath_engine::device::ptx;
use isobath_engine::device::simulator::Focus;
use isobath_engine::{Device, Error as EngineError};
use isobath_kernels::{ALL, Cost, Entry, Target};
use isobath_ptx_simulator::Options;

use crate::{Error, Result};

pub use listing::{Line, Listing, Traffic};
pub use roof::{Bound, GPUS, Gpu};
pub use text::{number, shape, time};

/// Operands of a kernel and of what leads to it may take so many bytes.
const MEMORY: usize = 4 << 30;
/// A launch beyond so many thread-instructions is taken for a slip: it takes a minute or two.
const INSTRUCTIONS: u64 = 20_000_000_000;
/// Thread-instructions that a simulator with everything counted runs in a second, about.
const RATE: f64 = 2e8;

/// One call of a kernel.
pub struct Call {
    /// The kernel.
    pub kernel: &'static str,
    /// Names and lengths of the axes.
    pub shape: Vec<(&'static str, usize)>,
    /// The GPU that chose the entry points.
    pub target: Target,
    /// What the kernel says of its work.
    pub cost: Cost,
    /// The launches, first one first.
    pub listings: Vec<Listing>,
}

/// A kernel, and the lengths of the axes of what it is to work on.
pub struct Task {
    kernel: &'static Entry,
    work: &'static work::Work,
    lengths: Vec<usize>,
}

impl Task {
    /// The kernel of that name on operands of the shape that `lengths` gives, each `axis=length`; those that are left out
    /// have their usual length.
    ///
    /// # Errors
    /// [`Error::Input`] for a name that does not exist, with those that do, and a length that makes no sense.
    pub fn new(kernel: &str, lengths: &[String]) -> Result<Task> {
        let known = ALL.iter().find(|entry| entry.name == kernel);
        let known = known.ok_or_else(|| Error::Input(format!("kernel {kernel} not found; {}", suggestion(kernel))))?;
        let Some(work) = work::of(known.name) else {
            return Err(Error::Fault(format!("kernel {kernel} has no operands to simulate it on")));
        };
        let mut task = Task { kernel: known, work, lengths: work.axes.iter().map(|(_, usual)| *usual).collect() };
        for part in lengths {
            task.set(part)?;
        }
        Ok(task)
    }

    /// Names and lengths of the axes.
    pub fn shape(&self) -> Vec<(&'static str, usize)> {
        self.work.axes.iter().zip(&self.lengths).map(|((name, _), length)| (*name, *length)).collect()
    }

    fn set(&mut self, part: &str) -> Result<()> {
        let wrong = |what: String| Err(Error::Input(format!("--shape {part}: {what}")));
        let Some((name, length)) = part.split_once('=') else { return wrong("expected axis=length".into()) };
        let (name, axes) = (name.trim(), self.work.axes);
        let exact = axes.iter().position(|(axis, _)| *axis == name);
        let found = exact.or_else(|| axes.iter().position(|(axis, _)| letter(axis) == Some(name)));
        let Some(found) = found else {
            return wrong(format!("no axis {name}; {} has: {}", self.kernel.name, axis_names(axes)));
        };
        let choice = axes[found].1 == 0;
        let fits = |length: &usize| if choice { *length <= 1 } else { (1..=u32::MAX as usize).contains(length) };
        match length.trim().parse().ok().filter(fits) {
            Some(length) => self.lengths[found] = length,
            None if choice => return wrong(format!("expected 0 or 1, found {length}")),
            None => return wrong(format!("expected a length of at least 1, found {length}")),
        }
        Ok(())
    }

    /// Runs the kernel's PTX on the simulator with everything counted, on random operands. Work that would take minutes is
    /// refused unless it `may_last`.
    ///
    /// # Errors
    /// [`Error::Input`] for a kernel without PTX, what its PTX does wrong, and a shape that is too large or that the
    /// kernel does not take.
    pub fn run(&self, target: Target, may_last: bool) -> Result<Call> {
        let files = ptx::read(self.kernel).map_err(Error::Input)?;
        let refused = if may_last { |_: &Cost| None } else { too_long };
        let focus = Focus { kernel: self.kernel.name, refused };
        let device = Device::simulator_of(focus, Some(MEMORY), target, Options::counting());
        self.work.run(self.kernel.name, &self.lengths, &device).map_err(|error| match error {
            EngineError::Device { what, .. } => Error::Input(what),
            EngineError::Shape { .. } => Error::Input(error.to_string()),
            other => other.into(),
        })?;
        let Device::Simulator(simulator) = &device else { return Err(Error::Fault("no simulator".into())) };
        let listings: Vec<Listing> =
            simulator.take_reports().into_iter().map(|report| Listing::new(report, &files)).collect();
        let launches = device.profile();
        let cost = launches.iter().find(|launches| launches.kernel == self.kernel.name).map(|launches| launches.cost);
        Ok(Call { kernel: self.kernel.name, shape: self.shape(), target, cost: cost.unwrap_or_default(), listings })
    }
}

/// Why a launch would take too long. Kernels execute about an instruction for each flop and each byte that they move.
fn too_long(cost: &Cost) -> Option<String> {
    let instructions = cost.flops.saturating_add(cost.bytes);
    (instructions > INSTRUCTIONS).then(|| {
        format!(
            "{} flops and {} bytes, about as many thread-instructions, take the simulator some {:.0} minutes; expected at \
             most {} together: make --shape smaller, or add --patient",
            number(cost.flops as f64),
            number(cost.bytes as f64),
            (instructions as f64 / RATE / 60.0).ceil(),
            number(INSTRUCTIONS as f64),
        )
    })
}

/// The letter of an axis in formulas.
fn letter(axis: &str) -> Option<&'static str> {
    let letters = [
        ("batch", "b"),
        ("frames", "t"),
        ("nodes", "n"),
        ("channels", "c"),
        ("prototypes", "k"),
        ("groups", "g"),
        ("inputs", "f"),
    ];
    letters.iter().find(|(name, _)| *name == axis).map(|(_, letter)| *letter)
}

fn axis_names(axes: &[(&'static str, usize)]) -> String {
    let name = |(axis, usual): &(&str, usize)| match letter(axis) {
        Some(letter) => format!("{axis} or {letter} ({usual})"),
        None => format!("{axis} ({usual})"),
    };
    axes.iter().map(name).collect::<Vec<_>>().join(", ")
}

/// The kernels whose names are most like a word.
fn suggestion(word: &str) -> String {
    let mut names: Vec<(usize, &str)> = ALL.iter().map(|entry| (distance(word, entry.name), entry.name)).collect();
    names.sort_unstable();
    let nearest: Vec<&str> = names.iter().take(4).map(|(_, name)| *name).collect();
    format!("the nearest of {}: {} (see isobath kernels)", names.len(), nearest.join(", "))
}

/// Letters to put in, leave out or replace to come from one word to another, less those of a part that they share.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let replaced = corner + usize::from(x != y);
            corner = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(corner + 1);
        }
    }
    let within = !a.is_empty() && (b.contains(a) || a.contains(b));
    if within { row[b.len()].min(2) } else { row[b.len()] }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(kernel: &str, lengths: &[&str]) -> String {
        let lengths: Vec<String> = lengths.iter().map(|part| (*part).to_owned()).collect();
        Task::new(kernel, &lengths).err().map(|error| error.to_string()).expect("an error")
    }

    #[test]
    fn axes_have_names_and_letters() {
        let task = Task::new("group_norm", &["b=2".into(), "nodes=10".into(), "c=8".into()]).expect("a task");
        assert_eq!(task.shape(), [("batch", 2), ("nodes", 10), ("channels", 8), ("groups", 4)]);
        // gemm's own letters come first.
        let task = Task::new("gemm", &["n=3".into(), "k=5".into(), "b=7".into()]).expect("a task");
        assert_eq!(task.shape()[..4], [("batch", 7), ("m", 512), ("n", 3), ("k", 5)]);
    }

    #[test]
    fn what_is_wrong_is_named_with_what_there_is() {
        assert!(refused("layer_nrom", &[]).contains("kernel layer_nrom not found; the nearest of 44: layer_norm,"));
        assert!(refused("attention", &[]).contains("linear_attention"));
        let axis = refused("gate", &["nodes=4"]);
        assert_eq!(axis, "--shape nodes=4: no axis nodes; gate has: rows (4096), channels or c (64)");
        assert!(refused("gate", &["rows"]).ends_with("expected axis=length"));
        assert!(refused("gate", &["rows=0"]).ends_with("expected a length of at least 1, found 0"));
        assert!(refused("gemm", &["bias=2"]).ends_with("expected 0 or 1, found 2"));
    }

    #[test]
    fn long_work_is_refused_with_an_estimate() {
        assert_eq!(too_long(&Cost { flops: 1 << 30, bytes: 1 << 20 }), None);
        let why = too_long(&Cost { flops: 1 << 40, bytes: 1 << 30 }).expect("a reason");
        assert!(why.contains("1.10 T flops") && why.contains("some 92 minutes"), "{why}");
    }
}
