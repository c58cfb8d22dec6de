//! What a fleet operator asks of a running appliance: state, heal, scrub, verify, the outbox.

use argh::FromArgs;
use http::Method;

use super::client::{Client, encode};

/// Show drives, pool, outbox and upkeep as JSON.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "status")]
pub(super) struct Status {
    #[argh(option, description = "server, http://127.0.0.1:9000 unless AERIE_ENDPOINT says otherwise")]
    endpoint: Option<String>,
}

/// Heal what is degraded, or show how far it is: `aerie heal`, `aerie heal status`.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "heal")]
pub(super) struct Heal {
    #[argh(positional, description = "status only shows", default = "String::from(\"start\")")]
    action: String,
    #[argh(
        option,
        description = "empty folder that replaces a drive that was mounted, though nothing is mounted on it"
    )]
    replace: Vec<String>,
    #[argh(option, description = "server, http://127.0.0.1:9000 unless AERIE_ENDPOINT says otherwise")]
    endpoint: Option<String>,
}

/// Start a scrub: every block is read and verified, what is wrong is healed.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "scrub")]
pub(super) struct Scrub {
    #[argh(option, description = "server, http://127.0.0.1:9000 unless AERIE_ENDPOINT says otherwise")]
    endpoint: Option<String>,
}

/// Count every shard of every version now, and fail unless all are good.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "verify")]
pub(super) struct Verify {
    #[argh(option, description = "server, http://127.0.0.1:9000 unless AERIE_ENDPOINT says otherwise")]
    endpoint: Option<String>,
}

/// Look at results that wait for the broker and at dead invocations.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "outbox")]
pub(super) struct OutboxCommand {
    #[argh(
        positional,
        description = "status, dead, revive (dead ones are attempted anew), forget (dead ones go, and what they hold)",
        default = "String::from(\"status\")"
    )]
    action: String,
    #[argh(option, description = "only dead invocations of this hook")]
    hook: Option<String>,
    #[argh(option, description = "only the dead invocation with this id")]
    id: Option<i64>,
    #[argh(option, description = "server, http://127.0.0.1:9000 unless AERIE_ENDPOINT says otherwise")]
    endpoint: Option<String>,
}

impl Status {
    pub fn run(self) -> Result<(), String> {
        println!("{}", Client::find(self.endpoint)?.ask(Method::GET, "/_aerie/v1/status", "", Vec::new())?);
        Ok(())
    }
}

impl Heal {
    pub fn run(self) -> Result<(), String> {
        let method = match self.action.as_str() {
            "start" => Method::POST,
            "status" => Method::GET,
            other => return Err(format!("{other}: say `aerie heal` or `aerie heal status`")),
        };
        let named: Vec<String> = self.replace.iter().map(|place| format!("replace={}", encode(place))).collect();
        let answer = Client::find(self.endpoint)?.ask(method, "/_aerie/v1/heal", &named.join("&"), Vec::new())?;
        println!("{answer}");
        Ok(())
    }
}

impl Scrub {
    pub fn run(self) -> Result<(), String> {
        println!("{}", Client::find(self.endpoint)?.ask(Method::POST, "/_aerie/v1/scrub", "", Vec::new())?);
        Ok(())
    }
}

impl Verify {
    pub fn run(self) -> Result<(), String> {
        let answer = Client::find(self.endpoint)?.ask(Method::POST, "/_aerie/v1/verify", "", Vec::new())?;
        println!("{answer}");
        let census: serde_json::Value = serde_json::from_str(&answer).map_err(|error| error.to_string())?;
        match census["state"].as_str() {
            Some("whole") => Ok(()),
            _ => {
                Err("not every shard is good; see `aerie heal status`, and replace the drives that are out".to_owned())
            }
        }
    }
}

impl OutboxCommand {
    pub fn run(self) -> Result<(), String> {
        let (method, path) = match self.action.as_str() {
            "status" => (Method::GET, "/_aerie/v1/outbox"),
            "dead" => (Method::GET, "/_aerie/v1/outbox/dead"),
            "revive" => (Method::POST, "/_aerie/v1/outbox/revive"),
            "forget" => (Method::POST, "/_aerie/v1/outbox/forget"),
            other => return Err(format!("{other}: say status, dead, revive or forget")),
        };
        let hook = self.hook.map(|hook| format!("hook={}", super::client::encode(&hook)));
        let query = hook.into_iter().chain(self.id.map(|id| format!("id={id}"))).collect::<Vec<_>>().join("&");
        println!("{}", Client::find(self.endpoint)?.ask(method, path, &query, Vec::new())?);
        Ok(())
    }
}
