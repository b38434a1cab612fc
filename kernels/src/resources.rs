//! What ptxas makes of the PTX: registers and shared memory, from the table that CI compares with every assembly.

/// What one entry point takes of a multiprocessor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resources {
    /// Bytes of shared memory of a block.
    pub shared_bytes: u32,
    /// Registers of a thread on each GPU for which the entry point is written: its compute capability and their number.
    pub registers: [Option<(u32, u32)>; 4],
}

/// What the table says of an entry point; `None` when it does not know it.
pub fn resources(entry: &str) -> Option<Resources> {
    let mut lines = TABLE.lines();
    let capabilities = lines.next()?.split('\t').skip(2).map(|title| title.strip_prefix("sm_")?.parse().ok());
    let mut fields = lines.find_map(|line| line.strip_prefix(entry)?.strip_prefix('\t'))?.split('\t');
    let shared_bytes = fields.next()?.parse().ok()?;
    let mut registers = [None; 4];
    for (row, (capability, field)) in registers.iter_mut().zip(capabilities.zip(fields)) {
        *row = capability.zip(field.parse().ok());
    }
    Some(Resources { shared_bytes, registers })
}

const TABLE: &str = include_str!("../ptx/resources.tsv");

#[cfg(test)]
mod tests {
    use super::{TABLE, resources};

    #[test]
    fn every_row_is_read() {
        for line in TABLE.lines().skip(1) {
            let name = line.split('\t').next().unwrap();
            let found = resources(name).unwrap();
            assert!(found.registers.iter().flatten().all(|(_, count)| (1..=255).contains(count)), "{line}: {found:?}");
            assert!(found.registers.iter().flatten().any(|(capability, _)| *capability == 90), "{line}: {found:?}");
        }
        assert_eq!(resources("gem"), None);
    }
}
