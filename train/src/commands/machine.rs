//! Where the work is done: options of every command.

use clap::{Args, ValueEnum};
use isobath_engine::Device;

use crate::{Error, Result};

/// The machine's part in a run.
#[derive(Args)]
pub(super) struct Machine {
    /// Number of threads [default: all cores]
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    /// Where to compute
    #[arg(long, global = true, value_enum, default_value = "auto")]
    device: DeviceName,
    /// GPU of --device wgpu: part of its name, its index among all, or auto for the fastest one, which is never software
    /// [default: ISOBATH_ADAPTER of the environment, or else auto]
    #[arg(long, global = true, value_name = "NAME|INDEX")]
    adapter: Option<String>,
    /// Most memory that tensors may take on the device, such as 500MB or 2GiB
    #[arg(long, global = true, value_name = "SIZE", value_parser = bytes)]
    memory_limit: Option<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum DeviceName {
    /// The processor; a GPU has to be asked for
    Auto,
    /// The processor
    Cpu,
    /// A GPU, through Vulkan, Metal or DirectX 12
    Wgpu,
}

impl Machine {
    /// Sets the threads up and opens the device.
    pub(super) fn start(&self) -> Result<Device> {
        if let Some(threads) = self.threads {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(usize::from(threads)).build_global();
            pool.map_err(|error| Error::Fault(format!("{threads} threads: {error}")))?;
        }
        match self.device {
            DeviceName::Wgpu => self.gpu(),
            DeviceName::Auto | DeviceName::Cpu if self.adapter.is_some() => {
                Err(Error::Input("--adapter: expected --device wgpu beside it".into()))
            }
            DeviceName::Auto | DeviceName::Cpu => Ok(Device::cpu_with(self.memory_limit, false)),
        }
    }

    /// The GPU that the command line names, or else the environment.
    fn gpu(&self) -> Result<Device> {
        let named = self.adapter.clone().or_else(|| std::env::var("ISOBATH_ADAPTER").ok());
        let device = Device::wgpu_with(named.as_deref().unwrap_or("auto"), self.memory_limit, false);
        let device = device.map_err(|error| match error {
            isobath_engine::Error::Device { .. } => {
                Error::Input(format!("{error}; choose one with --adapter, or compute with --device cpu"))
            }
            other => other.into(),
        })?;
        eprintln!("computing on {}", device.description());
        Ok(device)
    }
}

/// A number of bytes with or without a unit.
fn bytes(text: &str) -> std::result::Result<usize, String> {
    const UNITS: [(&str, f64); 8] = [
        ("KiB", 1024.0),
        ("MiB", 1_048_576.0),
        ("GiB", 1_073_741_824.0),
        ("TiB", 1_099_511_627_776.0),
        ("kB", 1e3),
        ("MB", 1e6),
        ("GB", 1e9),
        ("B", 1.0),
    ];
    let with_unit = UNITS.iter().find_map(|(unit, scale)| Some((text.strip_suffix(unit)?, *scale)));
    let (number, scale) = with_unit.unwrap_or((text, 1.0));
    match number.trim().parse::<f64>() {
        Ok(number) if number > 0.0 && number.is_finite() => Ok((number * scale) as usize),
        _ => Err("expected a size such as 500MB or 2GiB".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn sizes_have_units() {
        assert_eq!(bytes("2GiB"), Ok(2 << 30));
        assert_eq!(bytes("1.5 MB"), Ok(1_500_000));
        assert_eq!(bytes("4096"), Ok(4096));
        for wrong in ["", "GiB", "-1MB", "two", "1 EB"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
    }
}
