//! The command line. Each command does one thing and ends with 0, or says what to do and ends with 1 (2 for bad usage).
//!
//! `serve` is the appliance; all others are clients of a running one, over S3 and the admin API, or work offline
//! (`plan`, `hook new`, `hook test`, `tls init`). Nothing below `cli` prints to standard output.

mod audit;
mod bundle;
mod client;
mod govern;
mod hook;
mod identity;
mod key;
mod log;
mod object;
mod operate;
mod serve;
mod subscribe;
mod supervisor;
mod template;
mod tls;
mod trial;

use std::process::ExitCode;

use argh::FromArgs;

/// Edge-first S3 object store: hooks and inference where the data lands, results over MQTT.
#[derive(FromArgs, Debug)]
struct Arguments {
    #[argh(subcommand)]
    command: Command,
}

#[derive(FromArgs, Debug)]
#[argh(subcommand)]
enum Command {
    Serve(serve::Serve),
    Plan(serve::PlanCommand),
    Hook(hook::HookCommand),
    Model(hook::ModelCommand),
    Audit(audit::Audit),
    Bucket(object::BucketCommand),
    Clock(govern::Clock),
    Notify(object::Notify),
    Put(object::Put),
    Get(object::Get),
    Subscribe(subscribe::Subscribe),
    Account(identity::AccountCommand),
    User(identity::UserCommand),
    Group(identity::GroupCommand),
    Policy(identity::PolicyCommand),
    AccessKey(identity::AccessKeyCommand),
    Status(operate::Status),
    Heal(operate::Heal),
    Scrub(operate::Scrub),
    Verify(operate::Verify),
    Outbox(operate::OutboxCommand),
    Key(key::KeyCommand),
    Tls(tls::TlsCommand),
    Version(Version),
}

/// Print the version.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "version")]
struct Version {}

/// Runs the process's command line.
pub fn main() -> ExitCode {
    let strings: Vec<String> = std::env::args_os().map(|argument| argument.to_string_lossy().into_owned()).collect();
    let name = "aerie";
    let arguments: Vec<&str> = strings.iter().skip(1).map(String::as_str).collect();
    if matches!(arguments.first(), Some(&("--version" | "-V"))) {
        return done(version());
    }
    match Arguments::from_args(&[name], &arguments) {
        Ok(Arguments { command }) => done(run(command)),
        Err(early) => match early.status {
            Ok(()) => {
                println!("{}", early.output);
                ExitCode::SUCCESS
            }
            Err(()) => {
                eprintln!("{}\nRun `{}` for what there is.", early.output.trim_end(), help_for(&arguments));
                ExitCode::from(2)
            }
        },
    }
}

/// How to ask for the help of the command that was not understood: as many of its words as name one.
fn help_for(arguments: &[&str]) -> String {
    let explains = |words: &&[&str]| {
        let asked = [*words, &["--help"]].concat();
        matches!(Arguments::from_args(&["aerie"], &asked), Err(argh::EarlyExit { status: Ok(()), .. }))
    };
    let prefixes = (0..=arguments.len().min(2)).rev().map(|count| &arguments[..count]);
    let words = prefixes.into_iter().find(explains).unwrap_or_default();
    [&["aerie"], words, &["--help"]].concat().join(" ")
}

fn run(command: Command) -> Result<(), String> {
    match command {
        Command::Serve(serve) => serve.run(),
        Command::Plan(plan) => plan.run(),
        Command::Hook(hook) => hook.run(),
        Command::Model(model) => model.run(),
        Command::Audit(audit) => audit.run(),
        Command::Bucket(bucket) => bucket.run(),
        Command::Clock(clock) => clock.run(),
        Command::Notify(notify) => notify.run(),
        Command::Put(put) => put.run(),
        Command::Get(get) => get.run(),
        Command::Subscribe(subscribe) => subscribe.run(),
        Command::Account(account) => account.run(),
        Command::User(user) => user.run(),
        Command::Group(group) => group.run(),
        Command::Policy(policy) => policy.run(),
        Command::AccessKey(key) => key.run(),
        Command::Status(status) => status.run(),
        Command::Heal(heal) => heal.run(),
        Command::Scrub(scrub) => scrub.run(),
        Command::Verify(verify) => verify.run(),
        Command::Outbox(outbox) => outbox.run(),
        Command::Key(key) => key.run(),
        Command::Tls(tls) => tls.run(),
        Command::Version(Version {}) => version(),
    }
}

fn version() -> Result<(), String> {
    println!("aerie {}", env!("CARGO_PKG_VERSION"));
    Ok(())
}

fn done(result: Result<(), String>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("aerie: {message}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_mistypes_is_told_where_the_help_is() {
        for (arguments, help) in [
            (&["hook", "stats"] as &[&str], "aerie hook stats --help"),
            (&["hook", "stat"], "aerie hook --help"),
            (&["verify", "--now"], "aerie verify --help"),
            (&["frobnicate"], "aerie --help"),
            (&[], "aerie --help"),
        ] {
            assert_eq!(help_for(arguments), help);
        }
    }
}
