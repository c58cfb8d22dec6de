//! The policy of a browser form: what its signer allows to be uploaded. Pure.

use serde_json::Value;

use super::form::Form;
use crate::hash::base64_decode;
use crate::wire::date;
use crate::wire::error::{S3Code, S3Error};

/// A policy document. Its signature is checked by the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    expires_ms: i64,
    conditions: Vec<Condition>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Condition {
    /// Field in lower case.
    Equal {
        field: String,
        value: String,
    },
    StartsWith {
        field: String,
        value: String,
    },
    /// Bytes of the file, both ends included.
    Length {
        least: u64,
        most: u64,
    },
}

fn invalid(reason: impl std::fmt::Display) -> S3Error {
    S3Error::with(S3Code::InvalidPolicyDocument, format!("Invalid Policy: {reason}"))
}

fn denied(reason: impl std::fmt::Display) -> S3Error {
    S3Error::with(S3Code::AccessDenied, format!("Invalid according to Policy: {reason}"))
}

impl Policy {
    /// Reads the form's `policy` field.
    pub fn parse(base64: &str) -> Result<Policy, S3Error> {
        let compact: String = base64.chars().filter(|c| !c.is_ascii_whitespace()).collect();
        let decoded = base64_decode(&compact).ok_or_else(|| invalid("it is not base64"))?;
        let json: Value = serde_json::from_slice(&decoded).map_err(|_| invalid("Invalid JSON."))?;
        let expiration = json.get("expiration").ok_or_else(|| invalid("Policy missing expiration."))?;
        let is_utc = |text: &&str| text.as_bytes().get(10) == Some(&b'T') && text.ends_with('Z');
        let expiration = expiration.as_str().filter(is_utc).and_then(date::parse_iso);
        let expires_ms =
            expiration.ok_or_else(|| invalid("Invalid 'expiration' value, write it as 2030-12-31T12:00:00Z"))?;
        let conditions = json.get("conditions").and_then(Value::as_array);
        let conditions = conditions.ok_or_else(|| invalid("Policy missing conditions."))?;
        let mut read = Vec::new();
        for condition in conditions {
            read_condition(condition, &mut read)?;
        }
        Ok(Policy { expires_ms, conditions: read })
    }

    /// Whether the form is what was signed. `bucket` counts as a field.
    pub fn check(&self, form: &Form, bucket: &str, now_ms: i64) -> Result<(), S3Error> {
        if now_ms >= self.expires_ms {
            return Err(denied("Policy expired."));
        }
        let value_of = |field: &str| if field == "bucket" { Some(bucket) } else { form.get(field) };
        for condition in &self.conditions {
            let holds = match condition {
                Condition::Equal { field, value } => value_of(field) == Some(value),
                Condition::StartsWith { field, value } => {
                    // A field that may begin with anything may also be absent.
                    value_of(field).map_or(value.is_empty(), |v| starts_with(field, v, value))
                }
                Condition::Length { .. } => true,
            };
            if !holds {
                return Err(denied(format!("Policy Condition failed: {}", condition.text())));
            }
        }
        let named = form.fields.iter().map(|(name, _)| name.as_str()).chain(["bucket"]);
        let uncovered: Vec<&str> = named.filter(|name| !is_exempt(name) && !self.covers(name)).collect();
        if uncovered.is_empty() { Ok(()) } else { Err(denied(format!("Extra input fields: {}", uncovered.join(", ")))) }
    }

    /// Bytes that the file may have: the narrowest of all ranges.
    pub fn length_range(&self) -> (u64, u64) {
        self.conditions.iter().fold((0, u64::MAX), |(least, most), condition| match condition {
            Condition::Length { least: l, most: m } => (least.max(*l), most.min(*m)),
            Condition::Equal { .. } | Condition::StartsWith { .. } => (least, most),
        })
    }

    fn covers(&self, name: &str) -> bool {
        self.conditions.iter().any(|condition| match condition {
            Condition::Equal { field, .. } | Condition::StartsWith { field, .. } => field == name,
            Condition::Length { .. } => false,
        })
    }
}

/// Fields that no condition needs to allow.
fn is_exempt(name: &str) -> bool {
    matches!(name, "policy" | "file" | "signature" | "awsaccesskeyid" | "x-amz-signature")
        || name.starts_with("x-ignore-")
        // A checksum can only refuse what the policy allows.
        || name.starts_with("x-amz-checksum-")
}

/// A content type may be a list; each entry must begin so.
fn starts_with(field: &str, value: &str, start: &str) -> bool {
    match field {
        "content-type" => value.split(',').all(|entry| entry.trim().starts_with(start)),
        _ => value.starts_with(start),
    }
}

impl Condition {
    fn text(&self) -> String {
        let list = match self {
            Condition::Equal { field, value } => serde_json::json!(["eq", format!("${field}"), value]),
            Condition::StartsWith { field, value } => serde_json::json!(["starts-with", format!("${field}"), value]),
            Condition::Length { least, most } => serde_json::json!(["content-length-range", least, most]),
        };
        list.to_string()
    }
}

fn read_condition(condition: &Value, read: &mut Vec<Condition>) -> Result<(), S3Error> {
    match condition {
        Value::Object(pairs) if pairs.is_empty() => Err(invalid("a condition is empty")),
        Value::Object(pairs) => {
            for (field, value) in pairs {
                let value = value.as_str().ok_or_else(|| invalid(format!("the value of '{field}' is no text")))?;
                read.push(Condition::Equal { field: field.to_ascii_lowercase(), value: value.to_owned() });
            }
            Ok(())
        }
        Value::Array(items) => {
            read.push(read_list(items)?);
            Ok(())
        }
        _ => Err(invalid("a condition must be an object or a list")),
    }
}

fn read_list(items: &[Value]) -> Result<Condition, S3Error> {
    let [operator, first, second] = items else { return Err(invalid("a condition list must have three entries")) };
    let operator = operator.as_str().unwrap_or_default().to_ascii_lowercase();
    if operator == "content-length-range" {
        let (least, most) = (bytes(first)?, bytes(second)?);
        return Ok(Condition::Length { least, most });
    }
    let field = first.as_str().and_then(|field| field.strip_prefix('$'));
    let field = field.ok_or_else(|| invalid("a condition's field must be written as $name"))?.to_ascii_lowercase();
    let value = second.as_str().ok_or_else(|| invalid(format!("the value of '{field}' is no text")))?.to_owned();
    match operator.as_str() {
        "eq" => Ok(Condition::Equal { field, value }),
        "starts-with" => Ok(Condition::StartsWith { field, value }),
        _ => Err(invalid(format!("unknown condition '{operator}'; use eq, starts-with or content-length-range"))),
    }
}

fn bytes(value: &Value) -> Result<u64, S3Error> {
    let number = value.as_u64().or_else(|| value.as_str().and_then(|text| text.parse().ok()));
    number.ok_or_else(|| invalid("content-length-range needs two numbers of bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::base64_encode;

    const NOW_MS: i64 = 1_700_000_000_000;

    fn form(fields: &[(&str, &str)]) -> Form {
        let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Form { fields, ..Form::default() }
    }

    /// The code with which a form is refused, or `None`.
    fn verdict(policy: &str, form: &Form) -> Option<S3Code> {
        let policy = Policy::parse(&base64_encode(policy.as_bytes()));
        policy.and_then(|policy| policy.check(form, "b", NOW_MS)).err().map(|error| error.code)
    }

    #[test]
    fn conditions_are_checked() {
        let conditions =
            |list: &str| format!("{{\"expiration\": \"2030-01-01T00:00:00.000Z\", \"conditions\": [{list}]}}");
        let basic = conditions(
            r#"{"bUcKeT": "b"}, ["StArTs-WiTh", "$KeY", "foo"], {"acl": "private"}, ["content-length-range", 0, 10]"#,
        );
        let sent = form(&[
            ("key", "foo.txt"),
            ("acl", "private"),
            ("policy", "p"),
            ("x-ignore-me", "x"),
            ("awsaccesskeyid", "k"),
        ]);
        let refused = Some(S3Code::AccessDenied);
        let cases = [
            (basic.clone(), sent.clone(), None),
            (basic.clone(), form(&[("key", "bar.txt"), ("acl", "private")]), refused),
            (
                basic.clone(),
                form(&[("key", "foo.txt"), ("acl", "private"), ("x-amz-checksum-crc32", "DUoRhQ==")]),
                None,
            ),
            (basic.clone(), form(&[("key", "foo.txt")]), refused),
            (basic.clone(), form(&[("key", "foo.txt"), ("acl", "private"), ("x-amz-meta-a", "1")]), refused),
            (conditions(r#"["starts-with", "$key", ""]"#), form(&[("key", "k")]), refused),
            (conditions(r#"{"bucket": "b"}, ["eq", "$key", "k"]"#), form(&[("key", "k")]), None),
            (conditions(r#"{"bucket": "other"}, ["eq", "$key", "k"]"#), form(&[("key", "k")]), refused),
            (
                conditions(r#"{"bucket": "b"}, ["starts-with", "$Content-Type", "image/"]"#),
                form(&[("content-type", "image/png, image/gif")]),
                None,
            ),
            (
                conditions(r#"{"bucket": "b"}, ["starts-with", "$Content-Type", "image/"]"#),
                form(&[("content-type", "image/png, text/html")]),
                refused,
            ),
        ];
        for (policy, form, expected) in cases {
            assert_eq!(verdict(&policy, &form), expected, "{policy} {form:?}");
        }
        let expired = basic.replace("2030", "2020");
        assert_eq!(verdict(&expired, &sent), refused);
    }

    #[test]
    fn bad_policies_are_refused() {
        for policy in [
            "",
            "[]",
            "{}",
            r#"{"expiration": "2030-01-01T00:00:00Z"}"#,
            r#"{"conditions": []}"#,
            r#"{"expiration": "tomorrow", "conditions": []}"#,
            r#"{"expiration": "2030-01-01 00:00:00.5+00:00", "conditions": []}"#,
            r#"{"expiration": "2030-01-01T00:00:00Z", "conditions": [{}]}"#,
            r#"{"expiration": "2030-01-01T00:00:00Z", "conditions": ["x"]}"#,
            r#"{"expiration": "2030-01-01T00:00:00Z", "conditions": [["content-length-range", 0]]}"#,
            r#"{"expiration": "2030-01-01T00:00:00Z", "conditions": [["content-length-range", -1, 0]]}"#,
            r#"{"expiration": "2030-01-01T00:00:00Z", "conditions": [["like", "$key", "k"]]}"#,
            r#"{"expiration": "2030-01-01T00:00:00Z", "conditions": [["eq", "key", "k"]]}"#,
            r#"{"expiration": "2030-01-01T00:00:00Z", "conditions": [{"key": 1}]}"#,
        ] {
            assert_eq!(verdict(policy, &form(&[])), Some(S3Code::InvalidPolicyDocument), "{policy}");
        }
        assert_eq!(Policy::parse("!").map_err(|error| error.code), Err(S3Code::InvalidPolicyDocument));
    }

    #[test]
    fn the_narrowest_range_counts() {
        let range = |conditions: &str| {
            let policy = format!("{{\"expiration\": \"2030-01-01T00:00:00Z\", \"conditions\": [{conditions}]}}");
            Policy::parse(&base64_encode(policy.as_bytes())).expect("valid").length_range()
        };
        assert_eq!(range(""), (0, u64::MAX));
        assert_eq!(range(r#"["content-length-range", "5", 10], ["content-length-range", 1, 8]"#), (5, 8));
    }
}
