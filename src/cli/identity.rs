//! Who may do what: accounts over the admin API; users, groups, policies and access keys over IAM.

use argh::FromArgs;
use http::Method;

use super::client::{Client, encode};
use crate::access::builtin;
use crate::xml;

/// Make, list or remove accounts: `aerie account create NAME`, `list`, `remove NAME`.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "account")]
pub(super) struct AccountCommand {
    #[argh(positional, description = "create, list, remove")]
    action: String,
    #[argh(positional)]
    name: Option<String>,
    #[argh(option, description = "server, http://127.0.0.1:9000 unless AERIE_ENDPOINT says otherwise")]
    endpoint: Option<String>,
}

/// Make, list or remove users: `aerie user create NAME`, `list`, `remove NAME` (with its keys and policies).
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "user")]
pub(super) struct UserCommand {
    #[argh(positional, description = "create, list, remove")]
    action: String,
    #[argh(positional)]
    name: Option<String>,
    #[argh(option, description = "server, http://127.0.0.1:9000 unless AERIE_ENDPOINT says otherwise")]
    endpoint: Option<String>,
}

/// Make, list or remove groups and their members: `create NAME`, `list`, `remove NAME`, `add NAME USER`, `drop NAME USER`.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "group")]
pub(super) struct GroupCommand {
    #[argh(positional, description = "create, list, remove, add, drop")]
    action: String,
    #[argh(positional)]
    names: Vec<String>,
    #[argh(option, description = "server, http://127.0.0.1:9000 unless AERIE_ENDPOINT says otherwise")]
    endpoint: Option<String>,
}

/// Make, list, show, remove, attach or detach policies: `create NAME FILE.json`, `attach NAME --user USER`.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "policy")]
pub(super) struct PolicyCommand {
    #[argh(positional, description = "create, list, show, remove, attach, detach")]
    action: String,
    #[argh(positional)]
    names: Vec<String>,
    #[argh(option, description = "user that the policy is attached to")]
    user: Option<String>,
    #[argh(option, description = "group that the policy is attached to")]
    group: Option<String>,
    #[argh(option, description = "role that the policy is attached to")]
    role: Option<String>,
    #[argh(option, description = "server, http://127.0.0.1:9000 unless AERIE_ENDPOINT says otherwise")]
    endpoint: Option<String>,
}

/// Make, list, switch or remove access keys: `create`, `list`, `enable KEY`, `disable KEY`, `remove KEY`.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "access-key")]
pub(super) struct AccessKeyCommand {
    #[argh(positional, description = "create, list, enable, disable, remove")]
    action: String,
    #[argh(positional)]
    key: Option<String>,
    #[argh(option, description = "whose key; your own unless said")]
    user: Option<String>,
    #[argh(option, description = "file with a policy that bounds the key: a service account")]
    policy: Option<String>,
    #[argh(option, description = "seconds that the key lives")]
    seconds: Option<u32>,
    #[argh(option, description = "what the key is for")]
    description: Option<String>,
    #[argh(option, description = "server, http://127.0.0.1:9000 unless AERIE_ENDPOINT says otherwise")]
    endpoint: Option<String>,
}

/// Calls IAM.
struct Iam(Client);

impl Iam {
    fn find(endpoint: Option<String>) -> Result<Iam, String> {
        Client::find(endpoint).map(Iam)
    }

    fn call(&self, action: &str, parameters: &[(&str, &str)]) -> Result<Vec<u8>, String> {
        let mut form = format!("Action={action}&Version=2010-05-08");
        for (name, value) in parameters {
            form.push_str(&format!("&{name}={}", encode(value)));
        }
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        self.0.call_with(Method::POST, "/", "", &headers, form.into_bytes())
    }

    /// The fields of each member of a listing, over all its pages.
    fn list(
        &self,
        action: &str,
        parameters: &[(&str, &str)],
        list: &str,
        fields: &[&str],
    ) -> Result<Vec<Vec<String>>, String> {
        let mut rows = Vec::new();
        let mut marker: Option<String> = None;
        loop {
            let mut all = parameters.to_vec();
            all.extend(marker.as_deref().map(|marker| ("Marker", marker)));
            let answer = self.call(action, &all)?;
            let document = xml::parse(&answer).map_err(|error| error.to_string())?;
            let result = document.child(&format!("{action}Result")).ok_or("the answer has no result")?;
            let members = result.child(list).into_iter().flat_map(|list| list.children_named("member"));
            rows.extend(members.map(|member| {
                let plain = [member.text().trim().to_owned()];
                let named = fields.iter().map(|field| member.text_of(field).unwrap_or_default().to_owned());
                if fields.is_empty() { plain.to_vec() } else { named.collect() }
            }));
            marker = result.text_of("Marker").map(str::to_owned);
            if marker.is_none() {
                return Ok(rows);
            }
        }
    }

    /// A policy's ARN from its name.
    fn policy_arn(&self, name: &str) -> Result<String, String> {
        if name.starts_with("arn:") {
            return Ok(name.to_owned());
        }
        if let Some(builtin) = builtin::all().iter().find(|builtin| builtin.name == name) {
            return Ok(builtin.arn());
        }
        let policies = self.list("ListPolicies", &[("Scope", "Local")], "Policies", &["PolicyName", "Arn"])?;
        let found = policies.into_iter().find(|row| row[0] == name).map(|mut row| row.swap_remove(1));
        found.ok_or_else(|| format!("there is no policy {name}; see `aerie policy list`"))
    }
}

fn show(rows: Vec<Vec<String>>) {
    for row in rows {
        println!("{}", row.join("  ").trim_end());
    }
}

fn need(name: Option<String>, what: &str) -> Result<String, String> {
    name.ok_or_else(|| format!("name the {what}"))
}

fn unknown(action: &str, known: &str) -> Result<(), String> {
    Err(format!("{action}: say {known}"))
}

impl AccountCommand {
    pub fn run(self) -> Result<(), String> {
        let client = Client::find(self.endpoint)?;
        let path = |name: &str| format!("/_aerie/v1/accounts/{}", encode(name));
        let answer = match self.action.as_str() {
            "create" => client.ask(Method::POST, &path(&need(self.name, "account")?), "", Vec::new())?,
            "remove" => client.ask(Method::DELETE, &path(&need(self.name, "account")?), "", Vec::new())?,
            "list" => client.ask(Method::GET, "/_aerie/v1/accounts", "", Vec::new())?,
            other => return unknown(other, "create, list or remove"),
        };
        println!("{answer}");
        Ok(())
    }
}

impl UserCommand {
    pub fn run(self) -> Result<(), String> {
        let iam = Iam::find(self.endpoint)?;
        match self.action.as_str() {
            "list" => show(iam.list("ListUsers", &[], "Users", &["UserName", "Arn", "CreateDate"])?),
            "create" => {
                let name = need(self.name, "user")?;
                iam.call("CreateUser", &[("UserName", &name)])?;
                println!("user {name} made; `aerie access-key create --user {name}` makes its first key");
            }
            "remove" => {
                let name = need(self.name, "user")?;
                remove_user(&iam, &name)?;
                println!("user {name} removed");
            }
            other => return unknown(other, "create, list or remove"),
        }
        Ok(())
    }
}

/// Takes away what IAM wants gone before a user goes.
fn remove_user(iam: &Iam, name: &str) -> Result<(), String> {
    let user = ("UserName", name);
    for key in iam.list("ListAccessKeys", &[user], "AccessKeyMetadata", &["AccessKeyId"])? {
        iam.call("DeleteAccessKey", &[user, ("AccessKeyId", &key[0])])?;
    }
    for policy in iam.list("ListUserPolicies", &[user], "PolicyNames", &[])? {
        iam.call("DeleteUserPolicy", &[user, ("PolicyName", &policy[0])])?;
    }
    for policy in iam.list("ListAttachedUserPolicies", &[user], "AttachedPolicies", &["PolicyArn"])? {
        iam.call("DetachUserPolicy", &[user, ("PolicyArn", &policy[0])])?;
    }
    for group in iam.list("ListGroupsForUser", &[user], "Groups", &["GroupName"])? {
        iam.call("RemoveUserFromGroup", &[user, ("GroupName", &group[0])])?;
    }
    iam.call("DeleteUser", &[user]).map(drop)
}

impl GroupCommand {
    pub fn run(self) -> Result<(), String> {
        let iam = Iam::find(self.endpoint)?;
        match (self.action.as_str(), self.names.as_slice()) {
            ("list", []) => show(iam.list("ListGroups", &[], "Groups", &["GroupName", "Arn"])?),
            ("create", [name]) => {
                iam.call("CreateGroup", &[("GroupName", name)])?;
                println!("group {name} made");
            }
            ("remove", [name]) => {
                iam.call("DeleteGroup", &[("GroupName", name)])?;
                println!("group {name} removed");
            }
            ("add", [group, user]) => {
                iam.call("AddUserToGroup", &[("GroupName", group), ("UserName", user)])?;
                println!("{user} is in {group}");
            }
            ("drop", [group, user]) => {
                iam.call("RemoveUserFromGroup", &[("GroupName", group), ("UserName", user)])?;
                println!("{user} is not in {group}");
            }
            (other, _) => return unknown(other, "list, create GROUP, remove GROUP, add GROUP USER or drop GROUP USER"),
        }
        Ok(())
    }
}

impl PolicyCommand {
    pub fn run(self) -> Result<(), String> {
        let iam = Iam::find(self.endpoint)?;
        match (self.action.as_str(), self.names.as_slice()) {
            ("list", []) => show(iam.list("ListPolicies", &[], "Policies", &["PolicyName", "Arn"])?),
            ("create", [name, file]) => {
                let text = std::fs::read_to_string(file).map_err(|error| format!("{file}: {error}"))?;
                iam.call("CreatePolicy", &[("PolicyName", name), ("PolicyDocument", &text)])?;
                println!("policy {name} made");
            }
            ("show", [name]) => {
                let arn = iam.policy_arn(name)?;
                let answer = iam.call("GetPolicy", &[("PolicyArn", &arn)])?;
                let version = in_result(&answer, "GetPolicyResult", "Policy", "DefaultVersionId")?;
                let answer = iam.call("GetPolicyVersion", &[("PolicyArn", &arn), ("VersionId", &version)])?;
                let text = in_result(&answer, "GetPolicyVersionResult", "PolicyVersion", "Document")?;
                println!("{}", percent_encoding::percent_decode_str(&text).decode_utf8_lossy());
            }
            ("remove", [name]) => {
                iam.call("DeletePolicy", &[("PolicyArn", &iam.policy_arn(name)?)])?;
                println!("policy {name} removed");
            }
            (verb @ ("attach" | "detach"), [name]) => {
                let (noun, parameter, whom) = match (&self.user, &self.group, &self.role) {
                    (Some(user), None, None) => ("User", "UserName", user),
                    (None, Some(group), None) => ("Group", "GroupName", group),
                    (None, None, Some(role)) => ("Role", "RoleName", role),
                    _ => return Err("name one of --user, --group and --role".to_owned()),
                };
                let verb = if verb == "attach" { "Attach" } else { "Detach" };
                let arn = iam.policy_arn(name)?;
                iam.call(&format!("{verb}{noun}Policy"), &[(parameter, whom), ("PolicyArn", &arn)])?;
                println!("policy {name} is {}ed: {whom}", verb.to_lowercase());
            }
            (other, _) => {
                return unknown(other, "list, create NAME FILE, show NAME, remove NAME, attach NAME or detach NAME");
            }
        }
        Ok(())
    }
}

fn in_result(answer: &[u8], result: &str, element: &str, field: &str) -> Result<String, String> {
    let document = xml::parse(answer).map_err(|error| error.to_string())?;
    let found = document.child(result).and_then(|result| result.child(element)?.text_of(field));
    found.map(str::to_owned).ok_or_else(|| format!("the answer has no {field}"))
}

impl AccessKeyCommand {
    pub fn run(self) -> Result<(), String> {
        let iam = Iam::find(self.endpoint)?;
        let mut parameters: Vec<(&str, &str)> = Vec::new();
        parameters.extend(self.user.as_deref().map(|user| ("UserName", user)));
        match self.action.as_str() {
            "list" => {
                let fields = ["AccessKeyId", "UserName", "Status", "CreateDate", "ExpirationDate", "Description"];
                show(iam.list("ListAccessKeys", &parameters, "AccessKeyMetadata", &fields)?);
            }
            "create" => {
                let policy = match &self.policy {
                    None => None,
                    Some(file) => Some(std::fs::read_to_string(file).map_err(|error| format!("{file}: {error}"))?),
                };
                let seconds = self.seconds.map(|seconds| seconds.to_string());
                parameters.extend(policy.as_deref().map(|policy| ("Policy", policy)));
                parameters.extend(seconds.as_deref().map(|seconds| ("DurationSeconds", seconds)));
                parameters.extend(self.description.as_deref().map(|text| ("Description", text)));
                let answer = iam.call("CreateAccessKey", &parameters)?;
                let field = |field| in_result(&answer, "CreateAccessKeyResult", "AccessKey", field);
                // As the credentials file has them: a shell can source it.
                println!("AERIE_ROOT_ACCESS_KEY={}", field("AccessKeyId")?);
                println!("AERIE_ROOT_SECRET_KEY={}", field("SecretAccessKey")?);
            }
            action @ ("enable" | "disable" | "remove") => {
                let key = need(self.key, "access key")?;
                parameters.push(("AccessKeyId", &key));
                match action {
                    "enable" => iam.call("UpdateAccessKey", &[&parameters[..], &[("Status", "Active")]].concat())?,
                    "disable" => iam.call("UpdateAccessKey", &[&parameters[..], &[("Status", "Inactive")]].concat())?,
                    _ => iam.call("DeleteAccessKey", &parameters)?,
                };
                println!("access key {key}: {action}d");
            }
            other => return unknown(other, "create, list, enable KEY, disable KEY or remove KEY"),
        }
        Ok(())
    }
}
