//! A call as text: the summary, then every entry point line by line.

use std::fmt;

use isobath_ptx_simulator::{Class, Limit};

use super::Call;
use super::listing::{Line, Listing, Traffic};
use super::roof::GPUS;

/// A number with three digits and the prefix of its thousands.
pub fn number(value: f64) -> String {
    let steps = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
    match steps.into_iter().find(|(step, _)| value >= 0.9995 * step) {
        Some((step, prefix)) => format!("{} {prefix}", three_digits(value / step)),
        None if value.fract() == 0.0 => format!("{value} "),
        None => format!("{} ", three_digits(value)),
    }
    .trim_end_matches(' ')
    .to_owned()
}

/// A time with three digits.
pub fn time(seconds: f64) -> String {
    let steps = [(1.0, "s"), (1e-3, "ms"), (1e-6, "us")];
    match steps.into_iter().find(|(step, _)| seconds >= 0.9995 * step) {
        Some((step, unit)) => format!("{} {unit}", three_digits(seconds / step)),
        None => format!("{} ns", three_digits(1e9 * seconds)),
    }
}

fn three_digits(value: f64) -> String {
    match value {
        v if v < 9.995 => format!("{v:.2}"),
        v if v < 99.95 => format!("{v:.1}"),
        v => format!("{v:.0}"),
    }
}

/// A number of bytes.
fn bytes(count: u64) -> String {
    let count = number(count as f64);
    if count.ends_with(char::is_alphabetic) { format!("{count}B") } else { format!("{count} B") }
}

/// Names and lengths of axes.
pub fn shape(axes: &[(&'static str, usize)]) -> String {
    axes.iter().map(|(name, length)| format!("{name}={length}")).collect::<Vec<_>>().join(", ")
}

/// How many times as much as was stated.
fn times(found: u64, stated: u64) -> String {
    if stated == 0 { "none stated".into() } else { format!("{:.2}x", found as f64 / stated as f64) }
}

fn percent(part: u64, whole: u64) -> f64 {
    100.0 * part as f64 / whole.max(1) as f64
}

impl Call {
    /// Thread-instructions of all launches.
    pub fn instructions(&self) -> u64 {
        self.listings.iter().map(|listing| listing.report.total().threads).sum()
    }

    /// Floating-point operations of all launches.
    pub fn flops(&self) -> u64 {
        self.listings.iter().map(|listing| listing.report.flops()).sum()
    }

    /// Bytes that all launches moved.
    pub fn bytes(&self) -> Traffic {
        self.listings.iter().fold(Traffic::default(), |sum, listing| sum.plus(listing.bytes()))
    }

    /// Flops for each byte that has to be moved.
    pub fn intensity(&self) -> f64 {
        self.flops() as f64 / self.bytes().different.iter().sum::<u64>().max(1) as f64
    }

    /// What is to be known of the call as a whole, label and value.
    pub fn facts(&self) -> Vec<(String, String)> {
        let (traffic, stated) = (self.bytes(), &self.cost);
        let requested: u64 = traffic.requested.iter().sum();
        let different: u64 = traffic.different.iter().sum();
        let pair = |[read, written]: [u64; 2]| format!("{} read, {} written", bytes(read), bytes(written));
        let launches = match self.listings.len() {
            1 => "one launch".to_owned(),
            several => format!("{several} launches"),
        };
        let mut facts = vec![
            ("thread-instructions".into(), format!("{} in {launches}", number(self.instructions() as f64))),
            (
                "flops".into(),
                format!(
                    "{}, {} of what the kernel states",
                    number(self.flops() as f64),
                    times(self.flops(), stated.flops)
                ),
            ),
            (
                "global memory".into(),
                format!(
                    "{}, {} of the {} stated",
                    pair(traffic.different),
                    times(different, stated.bytes),
                    bytes(stated.bytes)
                ),
            ),
            (
                "uncached".into(),
                format!("{}, {} of what is stated", pair(traffic.requested), times(requested, stated.bytes)),
            ),
            ("intensity".into(), format!("{:.2} flops a byte", self.intensity())),
        ];
        for gpu in &GPUS {
            let bound = gpu.bound(different, self.flops(), self.instructions());
            facts.push((
                gpu.name.into(),
                format!(
                    "at least {}, its {} roof ({}B/s, {}FLOP/s, ridge at {:.1} flops a byte); {} to issue the instructions",
                    time(bound.seconds()),
                    bound.roof(),
                    number(gpu.bandwidth),
                    number(gpu.flops),
                    gpu.ridge(),
                    time(bound.issue)
                ),
            ));
        }
        facts
    }
}

impl Listing {
    /// What is to be known of the launch as a whole, label and value.
    pub fn facts(&self) -> Vec<(String, String)> {
        let (r, total) = (&self.report, self.report.total());
        let share = |class: &Class| {
            let count = r.thread_instructions(*class);
            (count > 0).then(|| format!("{:.1} % {}", percent(count, total.threads), words(*class)))
        };
        let traffic = self.bytes();
        let sectors = percent(total.ideal_sectors, total.sectors);
        let mut facts = vec![
            ("launch".into(), format!("{} blocks of {} threads", r.blocks, r.threads)),
            (
                "instructions".into(),
                format!("{} of threads, {} of warps", number(total.threads as f64), number(total.warps as f64)),
            ),
            ("of them".into(), Class::ALL.iter().filter_map(share).collect::<Vec<_>>().join(", ")),
            ("flops".into(), number(r.flops() as f64)),
            (
                "global sectors".into(),
                format!(
                    "{} in {} requests; {} would do ({sectors:.0} % of them); {} different ones read, {} written",
                    number(total.sectors as f64),
                    number(total.requests as f64),
                    number(total.ideal_sectors as f64),
                    number(traffic.different[0] as f64 / 32.0),
                    number(traffic.different[1] as f64 / 32.0)
                ),
            ),
            (
                "shared memory".into(),
                format!(
                    "{} a block; {} bank conflicts in {} wavefronts",
                    bytes(u64::from(r.shared_bytes)),
                    number(total.bank_conflicts as f64),
                    number(total.wavefronts as f64)
                ),
            ),
            ("divergent branches".into(), number(total.divergent as f64)),
        ];
        for gpu in &GPUS {
            let occupancy = gpu.occupancy(r);
            let limit = match occupancy.limit {
                Limit::Warps => "warps",
                Limit::Blocks => "blocks",
                Limit::Registers => "registers",
                Limit::SharedMemory => "shared memory",
            };
            facts.push((
                format!("occupancy of {}", gpu.name),
                format!(
                    "{:.0} %: {} blocks on each of {} multiprocessors, limited by {limit}; {:.2} waves; {} registers a thread",
                    100.0 * occupancy.fraction(),
                    occupancy.blocks,
                    gpu.multiprocessors,
                    gpu.waves(r),
                    gpu.registers(r)
                ),
            ));
        }
        facts
    }
}

/// A class of instructions as people call it.
fn words(class: Class) -> &'static str {
    match class {
        Class::Fma => "FMA",
        Class::Float => "other float",
        Class::SpecialFunction => "special functions",
        Class::Matrix => "matrix",
        Class::Integer => "integer",
        Class::Predicate => "predicate",
        Class::Convert => "convert",
        Class::Move => "move",
        Class::Load => "load",
        Class::Store => "store",
        Class::SharedLoad => "shared load",
        Class::SharedStore => "shared store",
        Class::Copy => "asynchronous copy",
        Class::Atomic => "atomic",
        Class::Control => "control",
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.kernel, shape(&self.shape))?;
        write_facts(f, &self.facts())?;
        self.listings.iter().try_for_each(|listing| write!(f, "\n{listing}"))
    }
}

impl fmt::Display for Listing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} ({})", self.report.kernel, self.report.file)?;
        write_facts(f, &self.facts())?;
        let heads = ["warps", "threads", "sectors", "ideal", "conflicts", "divergent"];
        let [warps, threads, sectors, ideal, conflicts, divergent] = heads;
        writeln!(
            f,
            "\n{:>5} {warps:>9} {threads:>11} {:>5} {sectors:>9} {ideal:>9} {conflicts:>9} {divergent:>9}",
            "line", "%"
        )?;
        let all = self.report.total().warps;
        self.lines.iter().try_for_each(|line| write_line(f, line, all))
    }
}

fn write_facts(f: &mut fmt::Formatter<'_>, facts: &[(String, String)]) -> fmt::Result {
    facts.iter().try_for_each(|(label, value)| writeln!(f, "  {label:<22} {value}"))
}

/// A line of the listing; what is zero stays blank. The share is that of all warp-instructions.
fn write_line(f: &mut fmt::Formatter<'_>, line: &Line, all: u64) -> fmt::Result {
    let counts = line.counts.unwrap_or_default();
    let blank = |count: u64| if count == 0 { String::new() } else { count.to_string() };
    let share = if counts.warps == 0 { String::new() } else { format!("{:.1}", percent(counts.warps, all)) };
    let (warps, threads) = match line.counts {
        Some(counts) => (counts.warps.to_string(), counts.threads.to_string()),
        None => Default::default(),
    };
    let row = format!(
        "{:>5} {warps:>9} {threads:>11} {share:>5} {:>9} {:>9} {:>9} {:>9}  {}",
        line.number,
        blank(counts.sectors),
        blank(counts.ideal_sectors),
        blank(counts.bank_conflicts),
        blank(counts.divergent),
        line.text
    );
    writeln!(f, "{}", row.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits() {
        assert_eq!(number(0.0), "0");
        assert_eq!(number(999.0), "999");
        assert_eq!(number(999_600.0), "1.00 M");
        assert_eq!(number(12_345.0), "12.3 k");
        assert_eq!(bytes(112), "112 B");
        assert_eq!(bytes(112_000_000_000), "112 GB");
        assert_eq!(time(1.234e-5), "12.3 us");
        assert_eq!(time(2.5e-8), "25.0 ns");
    }
}
