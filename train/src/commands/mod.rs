//! The command line: one file a command.

mod demo;
mod doctor;
mod evaluate;
mod hide;
mod impute;
mod machine;
mod report;
mod train;
mod verify;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::{Error, Result, interrupt};
use machine::Machine;

/// Fills the gaps of earth-science fields with STIMP's diffusion model, on the processor.
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
    Train(train::Train),
    Impute(impute::Impute),
    Hide(hide::Hide),
    Evaluate(Box<evaluate::Evaluate>),
    Verify(verify::Verify),
    Doctor(doctor::Doctor),
}

/// Runs the command that the program was called with, and says in one sentence what went wrong.
pub fn run() -> ExitCode {
    let line = CommandLine::parse();
    match obey(&line) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("isobath: {error}");
            ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(1))
        }
    }
}

fn obey(line: &CommandLine) -> Result<()> {
    let device = line.machine.start()?;
    interrupt::listen();
    match &line.command {
        Command::Demo(demo) => demo.run(&device),
        Command::Train(train) => train.run(&device),
        Command::Impute(impute) => impute.run(&device),
        Command::Hide(hide) => hide.run(),
        Command::Evaluate(evaluate) => evaluate.run(&device),
        Command::Verify(verify) => verify.run(&device),
        Command::Doctor(doctor) => doctor.run(&device),
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
