//! From the text of a policy to its compiled form, or to what is wrong with it, in AWS's words.

use super::condition::{Condition, Unreadable};
use super::json::Json;
use super::pattern::{Pattern, Reading};
use super::principal::Names;
use super::statement::{Patterns, Statement};
use super::{Policy, actions};
use crate::limits;

/// Where a policy is to be used: that decides which elements it must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use<'a> {
    /// Of a user, group, role or session, or managed.
    Identity,
    /// Of the bucket of this name.
    Bucket(&'a str),
    /// Of a role: who may assume it.
    Trust,
}

/// What is wrong with a policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PolicyFault(pub String);

fn fault<T>(text: impl Into<String>) -> Result<T, PolicyFault> {
    Err(PolicyFault(text.into()))
}

/// Compiles a policy.
pub fn parse(text: &str, usage: Use<'_>) -> Result<Policy, PolicyFault> {
    let limit = match usage {
        Use::Bucket(_) => limits::BUCKET_POLICY_BYTES_MAX,
        Use::Identity => limits::MANAGED_POLICY_CHARS_MAX,
        Use::Trust => limits::TRUST_POLICY_CHARS_MAX,
    };
    let length = match usage {
        Use::Bucket(_) => text.len(),
        // As on AWS, white space does not count here.
        Use::Identity | Use::Trust => text.chars().filter(|character| !character.is_whitespace()).count(),
    };
    if length > limit {
        return fault(format!(
            "Policy exceeds the maximum allowed document size: it has {length}, the limit is {limit}"
        ));
    }
    let Ok(json @ Json::Object(_)) = serde_json::from_str::<Json>(text) else {
        return fault("Policies must be valid JSON and the first byte must be '{'");
    };
    let variables = version(&json)?;
    known_members(&json, &["Version", "Id", "Statement"])?;
    if let Some(id) = json.get("Id")
        && !matches!(id, Json::Text(_))
    {
        return fault("Invalid policy id: it must be text");
    }
    let statements = match json.get("Statement") {
        None => return fault("Missing required field Statement"),
        Some(statements) => statements.items(),
    };
    if statements.is_empty() {
        return fault("Could not parse the policy: Statement is empty!");
    }
    let mut sids: Vec<&str> = Vec::new();
    let mut compiled = Vec::with_capacity(statements.len());
    for statement in statements {
        if let Some(sid) = statement.get("Sid") {
            let Json::Text(sid) = sid else { return fault("Statement IDs (SID) must be text") };
            let plain = usage != Use::Identity || sid.bytes().all(|byte| byte.is_ascii_alphanumeric());
            if !plain {
                return fault(
                    "Statement IDs (SID) must be alpha-numeric. Check that your input satisfies the regular expression [0-9A-Za-z]*",
                );
            }
            if !sid.is_empty() && sids.contains(&sid.as_str()) {
                return fault("Statement IDs (SID) in a single policy must be unique.");
            }
            sids.push(sid);
        }
        compiled.push(read_statement(statement, usage, variables)?);
    }
    Ok(Policy { statements: compiled })
}

/// Whether the policy's language has variables.
fn version(json: &Json) -> Result<bool, PolicyFault> {
    match json.get("Version") {
        None => Ok(false),
        Some(Json::Text(version)) if version == "2008-10-17" => Ok(false),
        Some(Json::Text(version)) if version == "2012-10-17" => Ok(true),
        Some(_) => fault("The policy must contain a valid version string: 2012-10-17 or 2008-10-17"),
    }
}

fn known_members(json: &Json, known: &[&str]) -> Result<(), PolicyFault> {
    let Json::Object(members) = json else { return fault("Syntax errors in policy: an object is expected") };
    match members.iter().find(|(name, _)| !known.contains(&name.as_str())) {
        Some((name, _)) => fault(format!("Unknown field {name}")),
        None => Ok(()),
    }
}

fn read_statement(json: &Json, usage: Use<'_>, variables: bool) -> Result<Statement, PolicyFault> {
    const MEMBERS: [&str; 9] =
        ["Sid", "Effect", "Principal", "NotPrincipal", "Action", "NotAction", "Resource", "NotResource", "Condition"];
    known_members(json, &MEMBERS)?;
    let deny = match json.get("Effect") {
        Some(Json::Text(effect)) if effect == "Allow" => false,
        Some(Json::Text(effect)) if effect == "Deny" => true,
        Some(Json::Text(effect)) => return fault(format!("Invalid effect: {effect}")),
        Some(_) => return fault("Invalid effect: it must be Allow or Deny"),
        None => return fault("Missing required field Effect"),
    };
    let names = principals(json, usage, deny)?;
    let (texts, not) = one_of(json, "Action", "NotAction")?;
    check_actions(&texts, usage)?;
    // An action has wildcards, never variables.
    let reading = Reading { wildcards: true, variables: false, ignore_case: true };
    let actions = Patterns { patterns: texts.iter().map(|text| Pattern::new(text, reading)).collect(), not };
    let resources = resources(json, usage, variables)?;
    Ok(Statement { deny, names, actions, resources, conditions: conditions(json, variables)? })
}

fn principals(json: &Json, usage: Use<'_>, deny: bool) -> Result<Option<Names>, PolicyFault> {
    let (element, not) = match (json.get("Principal"), json.get("NotPrincipal")) {
        (Some(_), Some(_)) => return fault("Statement has both Principal and NotPrincipal"),
        (Some(element), None) => (element, false),
        (None, Some(element)) => (element, true),
        (None, None) if usage == Use::Identity => return Ok(None),
        (None, None) => return fault("Missing required field Principal"),
    };
    if usage == Use::Identity {
        return fault("Policy document should not specify a principal.");
    }
    if not && !deny {
        return fault("Allow with NotPrincipal is not allowed.");
    }
    match Names::parse(element, not) {
        Some(names) => Ok(Some(names)),
        None => fault("Invalid principal in policy"),
    }
}

/// The texts of an element or of its not-form, of which there must be one.
fn one_of<'j>(json: &'j Json, name: &str, not_name: &str) -> Result<(Vec<&'j str>, bool), PolicyFault> {
    let (element, not) = match (json.get(name), json.get(not_name)) {
        (Some(_), Some(_)) => return fault(format!("Statement has both {name} and {not_name}")),
        (Some(element), None) => (element, false),
        (None, Some(element)) => (element, true),
        (None, None) => return fault(format!("Missing required field {name}")),
    };
    let mut texts = Vec::new();
    for item in element.items() {
        match item {
            Json::Text(text) => texts.push(text.as_str()),
            _ => return fault(format!("Syntax errors in policy: {name} must be text or a list of texts")),
        }
    }
    if texts.is_empty() {
        return fault(format!("Missing required field {name} cannot be empty!"));
    }
    Ok((texts, not))
}

fn check_actions(texts: &[&str], usage: Use<'_>) -> Result<(), PolicyFault> {
    for text in texts {
        let good = match usage {
            Use::Bucket(_) => *text == "*" || actions::is_of_s3(text),
            Use::Trust => *text == "*" || text.to_ascii_lowercase().starts_with("sts:"),
            Use::Identity => *text == "*" || is_service_action(text),
        };
        match usage {
            _ if good => {}
            Use::Bucket(_) => return fault("Policy has invalid action"),
            Use::Trust => return fault("AssumeRole policy may only specify STS AssumeRole actions."),
            Use::Identity if text.contains(':') => {
                return fault(format!("The policy failed legacy parsing: the action {text} is malformed"));
            }
            Use::Identity => {
                return fault("Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.");
            }
        }
    }
    Ok(())
}

/// `SERVICE:ACTION`, of any service: what nobody asks for here does no harm.
fn is_service_action(text: &str) -> bool {
    text.split_once(':').is_some_and(|(service, action)| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        let wild = |byte: u8| plain(byte) || matches!(byte, b'*' | b'?');
        !service.is_empty() && service.bytes().all(plain) && !action.is_empty() && action.bytes().all(wild)
    })
}

fn resources(json: &Json, usage: Use<'_>, variables: bool) -> Result<Option<Patterns>, PolicyFault> {
    if usage == Use::Trust {
        return match json.get("Resource").or(json.get("NotResource")) {
            Some(_) => fault("Has prohibited field Resource"),
            None => Ok(None),
        };
    }
    let (texts, not) = one_of(json, "Resource", "NotResource")?;
    for text in &texts {
        match usage {
            Use::Bucket(bucket) if !is_within(text, bucket) => return fault("Policy has invalid resource"),
            Use::Bucket(_) => {}
            _ if *text == "*" || text.starts_with("arn:") => {}
            _ => return fault(format!("Resource {text} must be in ARN format or \"*\".")),
        }
    }
    let reading = Reading { wildcards: true, variables, ignore_case: false };
    Ok(Some(Patterns { patterns: texts.iter().map(|text| Pattern::new(text, reading)).collect(), not }))
}

/// Whether a resource can be the bucket or something in it.
fn is_within(text: &str, bucket: &str) -> bool {
    let Some(path) = text.strip_prefix("arn:aws:s3:::") else { return false };
    let name = path.split('/').next().unwrap_or_default();
    actions::glob(name, bucket)
}

fn conditions(json: &Json, variables: bool) -> Result<Vec<Condition>, PolicyFault> {
    let Some(block) = json.get("Condition") else { return Ok(Vec::new()) };
    let Json::Object(operators) = block else { return fault("Syntax errors in policy: Condition must be an object") };
    let mut conditions = Vec::new();
    for (operator, keys) in operators {
        let Json::Object(keys) = keys else {
            return fault(format!("Syntax errors in policy: the conditions of {operator} must be an object"));
        };
        for (key, values) in keys {
            if !is_known_key(key) {
                return fault(format!("Policy has an invalid condition key: {key}"));
            }
            let values: Option<Vec<String>> = values.items().iter().map(Json::scalar).collect();
            let Some(values) = values.filter(|values| !values.is_empty()) else {
                return fault(format!("Syntax errors in policy: the values of {key} must be texts"));
            };
            match Condition::parse(operator, key, &values, variables) {
                Ok(condition) => conditions.push(condition),
                Err(Unreadable::Operator) => return fault(format!("Invalid Condition type : {operator}")),
                Err(Unreadable::Value) => return fault(format!("Invalid condition value for {operator} on {key}")),
            }
        }
    }
    Ok(conditions)
}

/// `SERVICE:KEY`; of S3's, only those that there are: one that is misspelt would never hold.
fn is_known_key(key: &str) -> bool {
    let Some((service, name)) = key.split_once(':') else { return false };
    if !service.eq_ignore_ascii_case("s3") {
        return !service.is_empty() && !name.is_empty();
    }
    let (name, tag) = name.split_once('/').map_or((name, None), |(name, tag)| (name, Some(tag)));
    match tag {
        Some(tag) => actions::TAG_KEYS.iter().any(|known| known.eq_ignore_ascii_case(name)) && !tag.is_empty(),
        None => actions::KEYS.iter().any(|known| known.eq_ignore_ascii_case(name)),
    }
}
