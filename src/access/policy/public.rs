//! What S3 counts as public: a grant to everybody that no condition with fixed values narrows.

use super::condition::{Condition, Operator, Test};

/// Keys by whose fixed values a grant to everybody becomes a grant to some (S3: "The meaning of public").
const NARROWING: [&str; 15] = [
    "aws:principalaccount",
    "aws:principalarn",
    "aws:principalorgid",
    "aws:principalorgpaths",
    "aws:sourceaccount",
    "aws:sourcearn",
    "aws:sourceip",
    "aws:sourceorgid",
    "aws:sourceowner",
    "aws:sourcevpc",
    "aws:sourcevpce",
    "aws:userid",
    "aws:username",
    "s3:dataaccesspointaccount",
    "s3:x-amz-server-side-encryption-aws-kms-key-id",
];
/// Wider networks than these are everybody.
const V4_PREFIX_MIN: u8 = 8;
const V6_PREFIX_MIN: u8 = 32;

/// Whether a condition makes the statement one for some callers only.
pub fn narrows(condition: &Condition) -> bool {
    if !NARROWING.contains(&condition.key.as_str()) || condition.if_exists || !condition.operator.is_positive() {
        return false;
    }
    let fixed = |test: &Test| match test {
        Test::Pattern(pattern) => pattern.is_fixed(),
        Test::Network { address, prefix } => *prefix >= if address.is_ipv4() { V4_PREFIX_MIN } else { V6_PREFIX_MIN },
        Test::Number(_) | Test::Time(_) | Test::Flag(_) | Test::Bytes(_) => false,
    };
    condition.operator != Operator::Null && condition.tests.iter().all(fixed)
}
