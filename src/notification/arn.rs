//! Names of destinations: the ARNs that S3 clients can be made to send, and ours.

use super::Target;
use super::configuration::NotificationError;
use super::document::Entry;
use crate::limits;

impl Target {
    /// Reads an ARN of any kind.
    pub fn parse(arn: &str) -> Result<Target, NotificationError> {
        let refuse = |reason| NotificationError::Arn { arn: arn.to_owned(), reason };
        let fields: Vec<&str> = arn.splitn(6, ':').collect();
        let [scheme, partition, service, _, account, resource] = fields[..] else {
            return Err(refuse("it must have the form arn:PARTITION:SERVICE:REGION:ACCOUNT:NAME"));
        };
        if scheme != "arn" {
            return Err(refuse("it must begin with `arn:`"));
        }
        let aws = partition == "aws" || partition.starts_with("aws-");
        let target = match (partition, service) {
            ("aerie", "hook") => Target::Hook(resource.to_owned()),
            ("aerie", "mqtt") => Target::Topic(resource.to_owned()),
            ("minio", "sqs") if resource == "mqtt" => Target::Topic(account.to_owned()),
            ("minio", _) => {
                return Err(refuse("of MinIO's destinations only `arn:minio:sqs::TOPIC:mqtt` is known here"));
            }
            (_, "lambda") if aws => Target::Hook(function_name(resource).map_err(refuse)?.to_owned()),
            (_, "sns" | "sqs") if aws => Target::Topic(resource.to_owned()),
            _ => {
                return Err(refuse(
                    "hooks are `arn:aerie:hook:::NAME`, topics `arn:aerie:mqtt:::TOPIC`, or Lambda's, SNS's and SQS's ARNs",
                ));
            }
        };
        target.check().map_err(refuse)?;
        Ok(target)
    }

    fn check(&self) -> Result<(), &'static str> {
        let name = match self {
            Target::Hook(name) | Target::Topic(name) => name,
        };
        if name.is_empty() {
            return Err("the name at its end is empty");
        }
        if name.len() > limits::NOTIFICATION_TARGET_BYTES_MAX {
            return Err("the name at its end is too long");
        }
        match self {
            Target::Hook(name) if name.contains(|c: char| !c.is_ascii_alphanumeric() && !"-_.".contains(c)) => {
                Err("a hook's name has letters, digits, `-`, `_` and `.` only")
            }
            Target::Topic(name) if name.contains(['+', '#']) => Err("a topic to publish to has no wildcard (`+`, `#`)"),
            Target::Topic(name) if name.starts_with('$') => Err("topics that begin with `$` belong to the broker"),
            Target::Topic(name) if name.contains(char::is_control) => Err("a topic has no control characters"),
            Target::Hook(_) | Target::Topic(_) => Ok(()),
        }
    }
}

fn function_name(resource: &str) -> Result<&str, &'static str> {
    let name = resource.strip_prefix("function:").ok_or("a Lambda function's ARN ends with `function:NAME`")?;
    if name.contains(':') {
        return Err("hooks have no versions and aliases; end the ARN with `function:NAME`");
    }
    Ok(name)
}

/// The element in which S3 expects this ARN; ours are at home in those that fit their kind.
pub(super) fn entry_of(arn: &str, target: &Target) -> Entry {
    match target {
        Target::Hook(_) => Entry::CloudFunction,
        Target::Topic(_) if arn.split(':').nth(2) == Some("sqs") => Entry::Queue,
        Target::Topic(_) => Entry::Topic,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arns_name_hooks_and_topics() {
        let hook = |name: &str| Some(Target::Hook(name.to_owned()));
        let topic = |name: &str| Some(Target::Topic(name.to_owned()));
        let cases = [
            ("arn:aerie:hook:::detect", hook("detect")),
            ("arn:aerie:mqtt:::site/7/new", topic("site/7/new")),
            ("arn:aerie:mqtt:::a:b", topic("a:b")),
            ("arn:aws:lambda:us-east-1:123456789012:function:detect", hook("detect")),
            ("arn:aws-cn:lambda:cn-north-1:1:function:a-b_c.d", hook("a-b_c.d")),
            ("arn:aws:sns:us-east-1:123456789012:uploads", topic("uploads")),
            ("arn:aws:sqs:us-east-1:123456789012:uploads", topic("uploads")),
            ("arn:minio:sqs::PRIMARY:mqtt", topic("PRIMARY")),
            ("arn:minio:sqs:us-east-1:1:webhook", None),
            ("arn:aws:lambda:us-east-1:1:function:detect:PROD", None),
            ("arn:aws:lambda:us-east-1:1:detect", None),
            ("arn:aws:s3:::bucket", None),
            ("arn:aerie:hook:::", None),
            ("arn:aerie:hook:::a/b", None),
            ("arn:aerie:mqtt:::a/+/b", None),
            ("arn:aerie:mqtt:::#", None),
            ("arn:aerie:mqtt:::$SYS/x", None),
            ("arn:aerie:mqtt:::a\nb", None),
            ("urn:aerie:mqtt:::a", None),
            ("arn:aerie:mqtt", None),
            ("", None),
        ];
        for (arn, expected) in cases {
            assert_eq!(Target::parse(arn).ok(), expected, "{arn}");
        }
        let long = format!("arn:aerie:mqtt:::{}", "t".repeat(limits::NOTIFICATION_TARGET_BYTES_MAX + 1));
        assert!(Target::parse(&long).is_err());
    }
}
