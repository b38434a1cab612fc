//! What a launch did, line by line.

use std::fmt;
use std::sync::Arc;

use crate::counters::Counts;
use crate::launch::Launch;
use crate::memory::SECTOR;
use crate::occupancy::{Multiprocessor, Occupancy};
use crate::program::{Class, Operation, Program};

/// What a launch did. Its `Display` is the annotated listing.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The kernel.
    pub kernel: String,
    /// The name of the PTX text.
    pub file: Arc<str>,
    /// One row for each instruction, in the order of the text.
    pub rows: Vec<Row>,
    /// An estimate of the registers of a thread: the most 32-bit values that are live at once.
    pub registers: u32,
    /// Bytes of shared memory of a block, static and dynamic.
    pub shared_bytes: u32,
    /// Blocks of the launch.
    pub blocks: u64,
    /// Threads of a block.
    pub threads: u32,
    /// Different sectors of global memory that were read: what has to be moved however large the caches are.
    pub distinct_sectors_read: u64,
    /// Different sectors of global memory that were written, by stores and atomics.
    pub distinct_sectors_written: u64,
}

/// One instruction and what was counted for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The line of the text, from 1.
    pub line: u32,
    /// That line.
    pub text: String,
    /// What the instruction is counted as.
    pub class: Class,
    /// Floating-point operations of one thread.
    pub flops: u32,
    /// Whether it writes memory.
    pub writes: bool,
    /// The counts.
    pub counts: Counts,
}

impl Report {
    pub(crate) fn new(program: &Program, launch: &Launch, counts: Vec<Counts>, touched: [u64; 2]) -> Self {
        let rows = program.instructions.iter().zip(counts).map(|(instruction, counts)| Row {
            line: instruction.line,
            text: program.lines.get(instruction.line as usize - 1).map_or("", |line| line.trim()).to_owned(),
            class: instruction.class,
            flops: instruction.flops,
            writes: matches!(instruction.operation, Operation::Store { .. } | Operation::Atomic { .. }),
            counts,
        });
        Self {
            kernel: program.name.clone(),
            file: program.file.clone(),
            rows: rows.collect(),
            registers: program.registers,
            shared_bytes: program.shared_bytes + launch.shared_bytes,
            blocks: launch.grid.iter().map(|axis| u64::from(*axis)).product(),
            threads: launch.block.iter().product(),
            distinct_sectors_read: touched[0],
            distinct_sectors_written: touched[1],
        }
    }

    /// The sums of all rows.
    pub fn total(&self) -> Counts {
        self.rows.iter().fold(Counts::default(), |sum, row| sum.plus(row.counts))
    }

    /// Instructions of a class that threads executed.
    pub fn thread_instructions(&self, class: Class) -> u64 {
        self.rows.iter().filter(|row| row.class == class).map(|row| row.counts.threads).sum()
    }

    /// Floating-point operations of all threads.
    pub fn flops(&self) -> u64 {
        self.rows.iter().map(|row| u64::from(row.flops) * row.counts.threads).sum()
    }

    /// Bytes that global memory moved for loads, in whole sectors, as if nothing were cached.
    pub fn global_bytes_read(&self) -> u64 {
        self.global_bytes(false)
    }

    /// Bytes that global memory moved for stores and atomics, in whole sectors.
    pub fn global_bytes_written(&self) -> u64 {
        self.global_bytes(true)
    }

    fn global_bytes(&self, writes: bool) -> u64 {
        let rows = self.rows.iter().filter(|row| row.writes == writes);
        rows.map(|row| row.counts.sectors).sum::<u64>() * SECTOR as u64
    }

    /// How many blocks of the launch a multiprocessor holds, by the estimate of registers.
    pub fn occupancy(&self, multiprocessor: &Multiprocessor) -> Occupancy {
        Occupancy::new(multiprocessor, self.threads, self.registers, self.shared_bytes)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = self.total();
        writeln!(f, "{} ({})", self.kernel, self.file)?;
        writeln!(f, "  warp instructions    {}", total.warps)?;
        writeln!(f, "  thread instructions  {}", total.threads)?;
        for class in Class::ALL {
            let count = self.thread_instructions(class);
            if count > 0 {
                let share = 100.0 * count as f64 / total.threads as f64;
                writeln!(f, "    {:<18} {count} ({share:.1} %)", format!("{class:?}"))?;
            }
        }
        writeln!(f, "  flops                {}", self.flops())?;
        writeln!(f, "  divergent branches   {}", total.divergent)?;
        writeln!(f, "  global sectors       {} of {} at best", total.sectors, total.ideal_sectors)?;
        let (read, written) = (self.distinct_sectors_read, self.distinct_sectors_written);
        writeln!(f, "    of them different  {read} read, {written} written")?;
        writeln!(f, "  bank conflicts       {} in {} wavefronts", total.bank_conflicts, total.wavefronts)?;
        writeln!(f, "  registers, estimated {}", self.registers)?;
        writeln!(f, "  shared memory        {} bytes a block", self.shared_bytes)?;
        for multiprocessor in [Multiprocessor::SM_61, Multiprocessor::SM_90] {
            let o = self.occupancy(&multiprocessor);
            let (sm, percent) = (multiprocessor.capability, 100.0 * o.fraction());
            writeln!(f, "  occupancy of sm_{sm}   {percent:.0} % ({} blocks, limit {:?})", o.blocks, o.limit)?;
        }
        writeln!(
            f,
            "{:>6} {:>10} {:>12} {:>10} {:>10} {:>9}  text",
            "line", "warps", "threads", "sectors", "ideal", "conflicts"
        )?;
        for row in &self.rows {
            let c = &row.counts;
            let counts = format!(
                "{:>10} {:>12} {:>10} {:>10} {:>9}",
                c.warps, c.threads, c.sectors, c.ideal_sectors, c.bank_conflicts
            );
            writeln!(f, "{:>6} {counts}  {}", row.line, row.text)?;
        }
        Ok(())
    }
}
