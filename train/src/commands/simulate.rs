//! `isobath simulate`.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use isobath_kernels::{Precision, Target};

use crate::data::atomic;
use crate::html;
use crate::simulation::Task;
use crate::{Error, Result};

/// Run one kernel's PTX on a simulated GPU, and show what every line of it does
#[derive(Args)]
#[command(after_help = "Examples:\n  isobath simulate gemm --shape m=512,n=256,k=256\n  \
    isobath simulate temporal_block_backward --shape b=2,n=64 --html block.html")]
pub(super) struct Simulate {
    /// The kernel, as isobath kernels names it
    kernel: String,
    /// Lengths of axes, by name or by the letter that formulas have for it; a name that does not exist says which do
    #[arg(long, value_name = "AXIS=N", value_delimiter = ',')]
    shape: Vec<String>,
    /// Write a page with the listing and the roofs: one HTML file
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Compute capability of the GPU that chooses among entry points, 61 for 6.1 [default: the least for the --precision]
    #[arg(long, value_name = "NN", value_parser = clap::value_parser!(u32).range(61..))]
    capability: Option<u32>,
    /// Take the minutes or hours that a large shape needs
    #[arg(long)]
    patient: bool,
}

impl Simulate {
    pub(super) fn run(&self, precision: Precision) -> Result<()> {
        let task = Task::new(&self.kernel, &self.shape)?;
        if let Some(path) = &self.html {
            // Data and weights never have this ending: no slip of the keyboard puts a page in their place.
            if !path.extension().is_some_and(|ending| ending == "html" || ending == "htm") {
                let path = path.display();
                return Err(Error::Input(format!(
                    "{path}: expected the name of an HTML page, such as {}.html",
                    self.kernel
                )));
            }
            atomic::expect_replaceable(path)?;
        }
        let least = Target::least(precision);
        let capability = self.capability.unwrap_or(least.capability);
        if capability < least.capability {
            return Err(Error::Input(format!(
                "--capability {capability}: expected {} or more with this --precision",
                least.capability
            )));
        }
        let call = task.run(Target { capability, precision }, self.patient)?;
        if let Some(path) = &self.html {
            let page = html::simulation(&call);
            atomic::write(path, |file| file.write_all(page.as_bytes()))?;
        }
        print!("{call}");
        if let Some(path) = &self.html {
            println!("\nwrote {}", path.display());
        }
        Ok(())
    }
}
