//! Where the work is done: options of every command.

use clap::{Args, ValueEnum};
use isobath_engine::Device;
use isobath_kernels::{Precision, Target};
use isobath_ptx_simulator::Options;

use crate::{Error, Result};

/// The machine's part in a run.
#[derive(Args)]
pub(super) struct Machine {
    /// Number of threads [default: all cores]
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    /// Where to compute: the processor (auto or cpu), a GPU through Vulkan, Metal or DirectX 12 (wgpu), an NVIDIA GPU (cuda,
    /// or cuda:N for another than the first), or an NVIDIA GPU that the processor imitates (simulator), to check kernels
    #[arg(long, global = true, value_name = "DEVICE", value_parser = device, default_value = "auto")]
    device: DeviceName,
    /// Rounding of the factors of matrix products with --device cuda or simulator: f32 has none; tf32 and bf16 are for tensor
    /// cores, from compute capability 8.0 on [default: f32]
    #[arg(long, global = true, value_enum)]
    precision: Option<PrecisionName>,
    /// GPU of --device wgpu: part of its name, its index among all, or auto for the fastest one, which is never software
    /// [default: ISOBATH_ADAPTER of the environment, or else auto]
    #[arg(long, global = true, value_name = "NAME|INDEX")]
    adapter: Option<String>,
    /// Most memory that tensors may take on the device, such as 500MB or 2GiB
    #[arg(long, global = true, value_name = "SIZE", value_parser = bytes)]
    memory_limit: Option<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum DeviceName {
    /// The processor; a GPU has to be asked for.
    Auto,
    Cpu,
    Wgpu,
    /// The NVIDIA GPU of this number.
    Cuda(usize),
    Simulator,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum PrecisionName {
    F32,
    Tf32,
    Bf16,
}

impl Machine {
    /// Sets the threads up.
    pub(super) fn start_threads(&self) -> Result<()> {
        let Some(threads) = self.threads else { return Ok(()) };
        let pool = rayon::ThreadPoolBuilder::new().num_threads(usize::from(threads)).build_global();
        pool.map_err(|error| Error::Fault(format!("{threads} threads: {error}")))
    }

    /// Opens the device.
    pub(super) fn open(&self) -> Result<Device> {
        if self.adapter.is_some() && self.device != DeviceName::Wgpu {
            return Err(Error::Input("--adapter: expected --device wgpu beside it".into()));
        }
        if self.precision.is_some() && !matches!(self.device, DeviceName::Cuda(_) | DeviceName::Simulator) {
            return Err(Error::Input("--precision: expected --device cuda or --device simulator beside it".into()));
        }
        match self.device {
            DeviceName::Auto | DeviceName::Cpu => Ok(Device::cpu_with(self.memory_limit, false)),
            DeviceName::Wgpu => self.gpu(),
            DeviceName::Cuda(ordinal) => {
                let device = Device::cuda(ordinal, self.memory_limit, self.precision());
                opened(device, "compute with --device cpu")
            }
            DeviceName::Simulator => {
                eprintln!("computing on the PTX simulator, which is slow: it is there to check kernels");
                Ok(Device::simulator(self.memory_limit, Target::least(self.precision()), Options::default()))
            }
        }
    }

    /// The rounding that was asked for.
    pub(super) fn precision(&self) -> Precision {
        match self.precision {
            None | Some(PrecisionName::F32) => Precision::F32,
            Some(PrecisionName::Tf32) => Precision::Tf32,
            Some(PrecisionName::Bf16) => Precision::Bf16,
        }
    }

    /// The GPU that the command line names, or else the environment.
    fn gpu(&self) -> Result<Device> {
        let named = self.adapter.clone().or_else(|| std::env::var("ISOBATH_ADAPTER").ok());
        let device = Device::wgpu_with(named.as_deref().unwrap_or("auto"), self.memory_limit, false);
        opened(device, "choose one with --adapter, or compute with --device cpu")
    }
}

/// Says which GPU computes, or why none does and what to do instead.
fn opened(device: isobath_engine::Result<Device>, instead: &str) -> Result<Device> {
    let device = device.map_err(|error| match error {
        isobath_engine::Error::Device { .. } => Error::Input(format!("{error}; {instead}")),
        other => other.into(),
    })?;
    eprintln!("computing on {}", device.description());
    Ok(device)
}

/// A device by its name.
fn device(text: &str) -> std::result::Result<DeviceName, String> {
    let number = |text: &str| text.strip_prefix("cuda:")?.parse::<usize>().ok();
    match text {
        "auto" => Ok(DeviceName::Auto),
        "cpu" => Ok(DeviceName::Cpu),
        "wgpu" => Ok(DeviceName::Wgpu),
        "cuda" => Ok(DeviceName::Cuda(0)),
        "simulator" => Ok(DeviceName::Simulator),
        _ => match number(text) {
            Some(ordinal) => Ok(DeviceName::Cuda(ordinal)),
            None => Err("expected auto, cpu, wgpu, cuda, cuda:N or simulator".into()),
        },
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
