//! Modules and their kernels.

use std::sync::Arc;

use crate::decode::{Source, decode};
use crate::error::Error;
use crate::execute;
use crate::fault::Fault;
use crate::launch::{Argument, Launch, Options};
use crate::memory::Memory;
use crate::parse;
use crate::program::Program;
use crate::report::Report;

/// A PTX text, ready to run.
#[derive(Clone, Debug)]
pub struct Module {
    file: String,
    target: String,
    version: (u32, u32),
    kernels: Vec<Kernel>,
}

/// A kernel of a [`Module`].
#[derive(Clone, Debug)]
pub struct Kernel(Program);

impl Module {
    /// Parses and decodes a text; `name` stands for it in messages.
    ///
    /// # Errors
    /// [`Error::Syntax`] and [`Error::UnknownInstruction`], with the line.
    pub fn parse(name: &str, text: &str) -> Result<Self, Error> {
        let parsed = parse::parse(text).map_err(|error| Error::Syntax {
            file: name.to_owned(),
            line: error.line,
            expected: error.expected,
            found: error.found,
        })?;
        let source = Source {
            file: Arc::from(name),
            lines: text.lines().map(str::to_owned).collect(),
            constants: Arc::from(parsed.constants.as_slice()),
            text: &parsed,
        };
        let kernels = parsed.entries.iter().map(|entry| decode(&source, entry).map(Kernel));
        let kernels = kernels.collect::<Result<_, _>>()?;
        Ok(Self { file: name.to_owned(), target: parsed.target.clone(), version: parsed.version, kernels })
    }

    /// The architecture the text is written for, such as `sm_61`.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// The version of the PTX ISA, major and minor.
    pub fn version(&self) -> (u32, u32) {
        self.version
    }

    /// All kernels, in the order of the text.
    pub fn kernels(&self) -> &[Kernel] {
        &self.kernels
    }

    /// The kernel of a name.
    ///
    /// # Errors
    /// [`Error::UnknownKernel`], with the names that there are.
    pub fn kernel(&self, name: &str) -> Result<&Kernel, Error> {
        self.kernels.iter().find(|kernel| kernel.name() == name).ok_or_else(|| Error::UnknownKernel {
            file: self.file.clone(),
            kernel: name.to_owned(),
            known: self.kernels.iter().map(Kernel::name).collect::<Vec<_>>().join(", "),
        })
    }
}

impl Kernel {
    /// The entry point's name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Static instructions.
    pub fn instructions(&self) -> usize {
        self.0.instructions.len()
    }

    /// An estimate of the registers of a thread: the most 32-bit values that are live at once.
    pub fn registers(&self) -> u32 {
        self.0.registers
    }

    /// Bytes of static shared memory of a block.
    pub fn shared_bytes(&self) -> u32 {
        self.0.shared_bytes
    }

    /// Threads of a block along x, y and z as `.reqntid` states them; zeros where it does not.
    pub fn required_threads(&self) -> [u32; 3] {
        self.0.required_threads
    }

    /// Names and bytes of the parameters, in order.
    pub fn parameters(&self) -> impl Iterator<Item = (&str, u32)> {
        self.0.parameters.iter().map(|parameter| (parameter.name.as_str(), parameter.bytes))
    }

    /// Runs a grid.
    ///
    /// Blocks run at the same time on all cores, unless the kernel has global atomics: then they run one after the
    /// other, so that these happen in the order of blocks, warps and lanes. Either way the same launch gives the same
    /// bits and the same counts, if no block reads what another writes without an atomic.
    ///
    /// # Errors
    /// The fault of the lowest block that has one. What the blocks wrote until then stays in `memory`.
    pub fn launch(
        &self,
        launch: &Launch,
        arguments: &[Argument],
        memory: &mut Memory,
        options: &Options,
    ) -> Result<Report, Box<Fault>> {
        let (counts, touched) = execute::run(&self.0, launch, arguments, memory, options)?;
        Ok(Report::new(&self.0, launch, counts, touched))
    }
}
