//! Encryption keys of a running appliance: make, list, rotate, disable, shred.

use argh::FromArgs;
use http::Method;

use super::client::{Client, encode};

/// Encryption keys: create, list, rotate, disable, enable, alias, shred.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "key")]
pub(super) struct KeyCommand {
    #[argh(subcommand)]
    action: Action,
}

#[derive(FromArgs, Debug)]
#[argh(subcommand)]
enum Action {
    Create(Create),
    List(List),
    Rotate(Rotate),
    Disable(Disable),
    Enable(Enable),
    Alias(Alias),
    Shred(Shred),
}

/// Make a KMS key.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "create")]
struct Create {
    #[argh(positional, description = "its id; random unless given")]
    name: Option<String>,
    #[argh(option, description = "another name; aws/s3 makes it the key of requests that name none")]
    alias: Option<String>,
    #[argh(option, description = "server, http://127.0.0.1:9000 unless AERIE_ENDPOINT says otherwise")]
    endpoint: Option<String>,
}

/// Show all keys as JSON, without their secrets.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "list")]
struct List {
    #[argh(option, description = "server, http://127.0.0.1:9000 unless AERIE_ENDPOINT says otherwise")]
    endpoint: Option<String>,
}

/// Give a key a new version, which seals from now on; older ones go on to open.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "rotate")]
struct Rotate {
    #[argh(positional, description = "KMS key: id, alias/NAME or ARN")]
    name: Option<String>,
    #[argh(option, description = "the key of this bucket instead")]
    bucket: Option<String>,
    #[argh(option, description = "server, http://127.0.0.1:9000 unless AERIE_ENDPOINT says otherwise")]
    endpoint: Option<String>,
}

/// Let a KMS key neither seal nor open until it is enabled again.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "disable")]
struct Disable {
    #[argh(positional)]
    name: String,
    #[argh(option, description = "server, http://127.0.0.1:9000 unless AERIE_ENDPOINT says otherwise")]
    endpoint: Option<String>,
}

/// Make a disabled KMS key usable again.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "enable")]
struct Enable {
    #[argh(positional)]
    name: String,
    #[argh(option, description = "server, http://127.0.0.1:9000 unless AERIE_ENDPOINT says otherwise")]
    endpoint: Option<String>,
}

/// Give an alias to a KMS key, whichever had it before.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "alias")]
struct Alias {
    #[argh(positional)]
    name: String,
    #[argh(positional)]
    alias: String,
    #[argh(option, description = "server, http://127.0.0.1:9000 unless AERIE_ENDPOINT says otherwise")]
    endpoint: Option<String>,
}

/// Destroy a key: every sealed object of a bucket, or all under a KMS key, can never be read again.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "shred")]
struct Shred {
    #[argh(positional, description = "KMS key: id, alias/NAME or ARN")]
    name: Option<String>,
    #[argh(option, description = "the key of this bucket instead, which every sealed object in it needs")]
    bucket: Option<String>,
    #[argh(switch, description = "you mean it: there is no way back")]
    yes: bool,
    #[argh(option, description = "server, http://127.0.0.1:9000 unless AERIE_ENDPOINT says otherwise")]
    endpoint: Option<String>,
}

impl KeyCommand {
    pub fn run(self) -> Result<(), String> {
        match self.action {
            Action::Create(Create { name, alias, endpoint }) => {
                ask(endpoint, Method::POST, "", &[("alias", alias), ("key", name)])
            }
            Action::List(List { endpoint }) => ask(endpoint, Method::GET, "", &[]),
            Action::Rotate(Rotate { name, bucket, endpoint }) => {
                ask(endpoint, Method::POST, "/rotate", &[("bucket", bucket), ("key", name)])
            }
            Action::Disable(Disable { name, endpoint }) => {
                ask(endpoint, Method::POST, "/disable", &[("key", Some(name))])
            }
            Action::Enable(Enable { name, endpoint }) => ask(endpoint, Method::POST, "/enable", &[("key", Some(name))]),
            Action::Alias(Alias { name, alias, endpoint }) => {
                ask(endpoint, Method::POST, "/alias", &[("alias", Some(alias)), ("key", Some(name))])
            }
            Action::Shred(Shred { yes: false, .. }) => {
                Err("what was sealed with the key can never be read again; say --yes if that is meant".to_owned())
            }
            Action::Shred(Shred { name, bucket, endpoint, .. }) => {
                ask(endpoint, Method::POST, "/shred", &[("bucket", bucket), ("key", name)])
            }
        }
    }
}

/// `parameters` are in the order of their names.
fn ask(
    endpoint: Option<String>,
    method: Method,
    call: &str,
    parameters: &[(&str, Option<String>)],
) -> Result<(), String> {
    let given = parameters.iter().filter_map(|(name, value)| Some(format!("{name}={}", encode(value.as_ref()?))));
    let query = given.collect::<Vec<_>>().join("&");
    println!("{}", Client::find(endpoint)?.ask(method, &format!("/_aerie/v1/keys{call}"), &query, Vec::new())?);
    Ok(())
}
