//! The command line: one file a command.

mod demo;
mod doctor;
mod evaluate;
mod evaluate_forecast;
mod forecast;
mod hide;
mod impute;
mod kernels;
mod machine;
mod outlook;
mod profile;
mod report;
mod simulate;
mod stimp;
mod synthetic;
mod train;
mod verify;

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::{Error, Result, interrupt};
use machine::Machine;

/// Fills the gaps of earth-science fields with STIMP's diffusion model, on the processor or a GPU.
#[derive(Parser)]
#[command(name = "isobath", version, after_help = "Start with: isobath demo")]
struct CommandLine {
    #[command(flatten)]
    machine: Machine,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Demo(demo::Demo),
    Stimp(Box<stimp::Stimp>),
    Train(train::Train),
    Impute(impute::Impute),
    Hide(hide::Hide),
    Evaluate(Box<evaluate::Evaluate>),
    Forecast(Box<forecast::Forecast>),
    EvaluateForecast(Box<evaluate_forecast::EvaluateForecast>),
    Verify(verify::Verify),
    Kernels(kernels::Kernels),
    Simulate(simulate::Simulate),
    Profile(profile::Profile),
    Doctor(doctor::Doctor),
}

/// Runs the command that the program was called with, and says in one sentence what went wrong.
pub fn run() -> ExitCode {
    let line = CommandLine::parse();
    // Those who catch a panic, such as the reader of a damaged file, say themselves what it means.
    std::panic::set_hook(Box::new(|_| {}));
    match without_panic(|| obey(&line)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Whoever read the errors may be gone, and the exit code still counts.
            let _ = writeln!(std::io::stderr(), "isobath: {error}");
            ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(1))
        }
    }
}

/// Ends also what nobody foresaw in one sentence.
fn without_panic(work: impl FnOnce() -> Result<()>) -> Result<()> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no reason is known");
        match text.strip_prefix("failed printing to ") {
            Some(stream) => Err(Error::Input(format!("expected to write to {stream}"))),
            None => Err(Error::Fault(format!("a fault in the program, please report it: {text}"))),
        }
    })
}

fn obey(line: &CommandLine) -> Result<()> {
    line.machine.start_threads()?;
    let device = || line.machine.open();
    interrupt::listen();
    match &line.command {
        Command::Demo(demo) => demo.run(&device()?),
        Command::Stimp(stimp) => stimp.run(&device()?),
        Command::Train(train) => train.run(&device()?),
        Command::Impute(impute) => impute.run(&device()?),
        Command::Hide(hide) => hide.run(),
        Command::Evaluate(evaluate) => evaluate.run(&device()?),
        Command::Forecast(forecast) => forecast.run(&device()?),
        Command::EvaluateForecast(evaluate) => evaluate.run(&device()?),
        Command::Verify(verify) => verify.run(&device()?),
        Command::Kernels(kernels) => kernels.run(),
        Command::Simulate(simulate) => simulate.run(line.machine.precision()),
        Command::Profile(profile) => profile.run(&device()?),
        Command::Doctor(doctor) => doctor.run(&device()?),
    }
}

/// The command as it was given, for the history of a file.
fn history() -> String {
    let words: Vec<String> = std::env::args().skip(1).collect();
    format!("isobath {} {}", env!("CARGO_PKG_VERSION"), words.join(" "))
}

/// Makes a folder for results.
fn make_folder(path: &std::path::Path) -> Result<()> {
    std::fs::create_dir_all(path).map_err(|error| Error::file(path, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_a_fault_of_ours_and_a_closed_output_is_not() {
        let fault = without_panic(|| panic!("index {} out of bounds", 7)).expect_err("a fault");
        assert_eq!(fault.to_string(), "a fault in the program, please report it: index 7 out of bounds");
        assert_eq!(fault.exit_code(), 3);
        let closed = without_panic(|| panic!("failed printing to stdout: {}", "Broken pipe")).expect_err("no reader");
        assert_eq!((closed.to_string().as_str(), closed.exit_code()), ("expected to write to stdout: Broken pipe", 2));
        assert!(without_panic(|| Ok(())).is_ok());
    }
}
