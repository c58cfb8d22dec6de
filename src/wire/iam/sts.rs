//! Temporary credentials.

use http::StatusCode;

use super::ask::Ask;
use super::{Answer, Fault};
use crate::access::policy::{Name, Request, Verdict};
use crate::access::record::{Document as Policy, Role};
use crate::access::{Bearer, Bound, Issued, Kind, Owners, decide};
use crate::limits;
use crate::wire::date;
use crate::xml::Document;

/// Actions of STS; all others are IAM's.
pub const ACTIONS: [&str; 6] = [
    "AssumeRole",
    "AssumeRoleWithSAML",
    "AssumeRoleWithWebIdentity",
    "GetCallerIdentity",
    "GetFederationToken",
    "GetSessionToken",
];
/// Longest life in seconds of a role's session that another role's session asked for (STS).
const CHAINED_SECONDS_MAX: u32 = 3600;
/// Characters of a session's policy (STS).
const SESSION_POLICY_CHARS_MAX: usize = 2048;
/// Managed policies of a session (STS).
const SESSION_MANAGED_MAX: usize = 10;

fn write_credentials(document: &mut Document, issued: &Issued) {
    document.inside("Credentials", |document| {
        document.text("AccessKeyId", &issued.access_key);
        document.text("SecretAccessKey", issued.secret.as_str());
        document.text("SessionToken", &issued.token);
        document.value("Expiration", date::iso(issued.expires_ms));
    });
}

/// Nobody needs a permission to learn its own name.
pub fn caller_identity(ask: &Ask) -> Answer {
    let mut document = Document::fragment();
    document.text("Arn", &ask.caller.arn());
    document.text("UserId", &ask.caller.user_id());
    document.text("Account", ask.account());
    Ok(Some(document))
}

fn check_duration(seconds: u32, longest: u32) -> Result<u32, Fault> {
    match (*limits::SESSION_SECONDS.start()..=longest).contains(&seconds) {
        true => Ok(seconds),
        false => Err(Fault::invalid(format!(
            "The requested DurationSeconds is {seconds}, it must be between {} and {longest}",
            limits::SESSION_SECONDS.start()
        ))),
    }
}

/// As many seconds, but no more than the caller's own credentials have: a key that ends by itself leaves nothing behind.
fn within_key(ask: &Ask, seconds: u32) -> u32 {
    let temporary = ask.caller.is_temporary();
    let left = ask.caller.expires_ms.filter(|_| !temporary).map(|end_ms| (end_ms - ask.now_ms).max(0) / 1000);
    left.map_or(seconds, |left| seconds.min(u32::try_from(left).unwrap_or(u32::MAX)))
}

/// Credentials for the caller itself, with what it may do. Nobody needs a permission, but it can be denied.
pub fn session_token(ask: &Ask) -> Answer {
    if ask.caller.own_word(Request { action: "sts:GetSessionToken", resource: "*", context: ask }).denied {
        let text = format!("User: {} is not authorized to perform: sts:GetSessionToken", ask.caller.arn());
        return Err(Fault::denied(text));
    }
    let (bearer, bounds) = match &ask.caller.kind {
        Kind::Root => (Bearer::Root, Vec::new()),
        Kind::User(user) => (Bearer::User(user.id.clone()), Vec::new()),
        Kind::ServiceAccount { of, name } => {
            let bearer = of.as_ref().map_or(Bearer::Root, |user| Bearer::User(user.id.clone()));
            let policy = ask.directory.key(name).and_then(|key| key.policy.as_ref());
            let policy = policy.ok_or_else(|| Fault::denied("the access key is gone"))?;
            (bearer, vec![Bound { texts: vec![policy.text.clone()], managed: Vec::new() }])
        }
        Kind::Session { .. } | Kind::AssumedRole { .. } => {
            return Err(Fault::denied("Cannot call GetSessionToken with session credentials"));
        }
    };
    // As on AWS, root's sessions are short.
    let longest = if ask.caller.user().is_none() { 3600 } else { limits::SESSION_TOKEN_SECONDS_MAX };
    let seconds = check_duration(ask.number("DurationSeconds")?.unwrap_or(longest.min(43_200)), longest)?;
    let issued = ask.access.issue(ask.account(), bearer, bounds, within_key(ask, seconds));
    let mut document = Document::fragment();
    write_credentials(&mut document, &issued);
    Ok(Some(document))
}

pub fn assume_role(ask: &Ask) -> Answer {
    let arn = ask.need("RoleArn")?;
    let session = ask.need("RoleSessionName")?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_+=,.@-".contains(&byte);
    if !(2..=64).contains(&session.len()) || !session.bytes().all(plain) {
        let text = "RoleSessionName must have 2 to 64 characters of letters, digits and _+=,.@-";
        return Err(Fault::invalid(text));
    }
    let denied = || {
        let text =
            format!("User: {} is not authorized to perform: sts:AssumeRole on resource: {arn}", ask.caller.arn());
        Fault::denied(text)
    };
    // Whether there is such a role is not for everybody to know.
    let role = find_role(ask, arn).filter(|role| may_assume(ask, role, arn)).ok_or_else(denied)?;
    let longest = if ask.caller.is_temporary() { CHAINED_SECONDS_MAX } else { role.session_s_max };
    let seconds = check_duration(ask.number("DurationSeconds")?.unwrap_or(3600), longest)?;
    let bounds = session_policies(ask, &role.account)?;
    let bearer = Bearer::Role { name: role.name.clone(), id: role.id.clone(), session: session.to_owned() };
    let issued = ask.access.issue(&role.account, bearer, bounds, within_key(ask, seconds));
    let mut document = Document::fragment();
    write_credentials(&mut document, &issued);
    document.inside("AssumedRoleUser", |document| {
        document.value("AssumedRoleId", format_args!("{}:{session}", role.id));
        document.text("Arn", &format!("arn:aws:sts::{}:assumed-role/{}/{session}", role.account, role.name));
    });
    document.value("PackedPolicySize", 0);
    Ok(Some(document))
}

fn find_role<'a>(ask: &'a Ask, arn: &str) -> Option<&'a Role> {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let ["arn", "aws", "iam", "", account, resource] = parts.as_slice() else { return None };
    let role = ask.directory.role(account, resource.rsplit('/').next()?)?;
    (*resource == format!("role{}{}", role.path, role.name)).then_some(&**role)
}

/// Both sides, as for any resource: the role's trust policy is its word.
fn may_assume(ask: &Ask, role: &Role, arn: &str) -> bool {
    if matches!(ask.caller.kind, Kind::ServiceAccount { .. }) {
        return false;
    }
    let request = Request { action: "sts:AssumeRole", resource: arn, context: ask };
    let trust = role.trust.policy.resource_grants(request, Some(&ask.caller));
    let same_account = role.account == ask.account();
    // The trust policy must allow, also within the account: a role is nobody's without it.
    let trusted = trust.allows();
    let owners = Owners { policy: trust, listed: false, same_account };
    let own = ask.caller.own_word(request);
    // Within the account, who is named itself needs no identity policy; from elsewhere both accounts must agree.
    let caller = [Some(ask.caller.arn()), ask.caller.role_arn()];
    let named = role.trust.policy.names().any(|name| match name {
        Name::Arn(arn) => caller.iter().flatten().any(|own| own == arn),
        _ => false,
    });
    let by_name = same_account && named && trust >= Verdict::Allow && own.within && !own.denied;
    trusted && (by_name || decide(Some(own), owners))
}

/// What bounds the session beyond the role's own policies.
fn session_policies(ask: &Ask, account: &str) -> Result<Vec<Bound>, Fault> {
    let arns: Vec<String> = (1..=SESSION_MANAGED_MAX + 1)
        .map_while(|number| ask.get(&format!("PolicyArns.member.{number}.arn")).map(str::to_owned))
        .collect();
    let text = ask.get("Policy").filter(|text| !text.is_empty());
    if arns.is_empty() && text.is_none() {
        return Ok(Vec::new());
    }
    if arns.len() > SESSION_MANAGED_MAX || text.is_some_and(|text| text.chars().count() > SESSION_POLICY_CHARS_MAX) {
        let message = "The session's policies are too large: 2,048 characters and ten managed policies are the limit";
        return Err(Fault::new(StatusCode::BAD_REQUEST, "PackedPolicyTooLarge", message));
    }
    if let Some(text) = text
        && let Err(fault) = Policy::new(text)
    {
        return Err(Fault::new(StatusCode::BAD_REQUEST, "MalformedPolicyDocument", fault.0));
    }
    if let Some(absent) = arns.iter().find(|arn| !ask.directory.has_policy(account, arn)) {
        return Err(Fault::invalid(format!("ARN {absent} is no policy of the role's account")));
    }
    Ok(vec![Bound { texts: text.map(str::to_owned).into_iter().collect(), managed: arns }])
}
