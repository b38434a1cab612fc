//! The `isobath` command.

fn main() -> std::process::ExitCode {
    isobath_train::commands::run()
}
