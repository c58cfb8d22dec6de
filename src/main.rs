//! The `aerie` binary: everything lives in the library, so that tests drive the same code.

fn main() -> std::process::ExitCode {
    aerie::cli::main()
}
