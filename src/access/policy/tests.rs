//! A table of evaluations: what AWS's documents and long use say each policy means.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Context, Policy, Request, Use, Values, Verdict, parse};
use crate::access::{Account, Kind, Principal, UserName};

/// Facts from a table.
#[derive(Default)]
struct Facts(BTreeMap<String, Vec<String>>);

impl Facts {
    fn of(pairs: &[(&str, &str)]) -> Facts {
        let mut facts: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (key, value) in pairs {
            facts.entry((*key).to_owned()).or_default().push((*value).to_owned());
        }
        Facts(facts)
    }
}

impl Context for Facts {
    fn values(&self, key: &str) -> Values<'_> {
        self.0.get(key).map(|values| values.iter().map(|value| Cow::Borrowed(value.as_str())).collect())
    }
}

fn identity(statement: &str) -> Policy {
    let text = format!(r#"{{"Version":"2012-10-17","Statement":[{statement}]}}"#);
    parse(&text, Use::Identity).unwrap_or_else(|error| panic!("{error}: {statement}"))
}

fn bucket(statement: &str) -> Result<Policy, String> {
    let text = format!(r#"{{"Version":"2012-10-17","Statement":[{statement}]}}"#);
    parse(&text, Use::Bucket("b")).map_err(|error| error.0)
}

#[test]
fn actions_and_resources() {
    let cases = [
        (r#""Action":"s3:GetObject","Resource":"arn:aws:s3:::b/*""#, "s3:GetObject", "arn:aws:s3:::b/k", true),
        (r#""Action":"S3:getobject","Resource":"arn:aws:s3:::b/*""#, "s3:GetObject", "arn:aws:s3:::b/k", true),
        (r#""Action":"s3:GetObject","Resource":"arn:aws:s3:::b/*""#, "s3:GetObjectAcl", "arn:aws:s3:::b/k", false),
        (r#""Action":"s3:GetObject","Resource":"arn:aws:s3:::b/*""#, "s3:GetObject", "arn:aws:s3:::bb/k", false),
        (r#""Action":"s3:GetObject","Resource":"arn:aws:s3:::b/*""#, "s3:GetObject", "arn:aws:s3:::b", false),
        (r#""Action":"s3:GetObject","Resource":"arn:aws:s3:::B/*""#, "s3:GetObject", "arn:aws:s3:::b/k", false),
        (r#""Action":"s3:Get*","Resource":"*""#, "s3:GetObjectTagging", "arn:aws:s3:::b/k", true),
        (r#""Action":"s3:Get*","Resource":"*""#, "s3:PutObject", "arn:aws:s3:::b/k", false),
        (r#""Action":"*","Resource":"*""#, "iam:CreateUser", "arn:aws:iam::1:user/x", true),
        (r#""Action":"s3:*","Resource":"*""#, "iam:CreateUser", "arn:aws:iam::1:user/x", false),
        (r#""Action":"s3:?etObject","Resource":"*""#, "s3:GetObject", "arn:aws:s3:::b/k", true),
        (r#""Action":["s3:PutObject","s3:GetObject"],"Resource":"*""#, "s3:GetObject", "arn:aws:s3:::b/k", true),
        (r#""NotAction":"s3:DeleteObject","Resource":"*""#, "s3:GetObject", "arn:aws:s3:::b/k", true),
        (r#""NotAction":"s3:Delete*","Resource":"*""#, "s3:DeleteObject", "arn:aws:s3:::b/k", false),
        (r#""Action":"s3:*","NotResource":"arn:aws:s3:::b/secret/*""#, "s3:GetObject", "arn:aws:s3:::b/k", true),
        (
            r#""Action":"s3:*","NotResource":"arn:aws:s3:::b/secret/*""#,
            "s3:GetObject",
            "arn:aws:s3:::b/secret/k",
            false,
        ),
        (r#""Action":"s3:*","Resource":["arn:aws:s3:::a","arn:aws:s3:::b"]"#, "s3:ListBucket", "arn:aws:s3:::b", true),
        (r#""Action":"s3:*","Resource":"arn:aws:s3:::b/?""#, "s3:GetObject", "arn:aws:s3:::b/你", true),
        (r#""Action":"s3:*","Resource":"arn:aws:s3:::b/?""#, "s3:GetObject", "arn:aws:s3:::b/kk", false),
        (r#""Action":"s3:*","Resource":"arn:aws:s3:::b/*.jpg""#, "s3:GetObject", "arn:aws:s3:::b/a.jpg.jpg", true),
        (r#""Action":"s3:*","Resource":"arn:aws:s3:::b/*a*b*c""#, "s3:GetObject", "arn:aws:s3:::b/xaybzc", true),
        (r#""Action":"s3:*","Resource":"arn:aws:s3:::b/*a*b*c""#, "s3:GetObject", "arn:aws:s3:::b/xaybz", false),
    ];
    for (elements, action, resource, allowed) in cases {
        let context = Facts::default();
        let request = Request { action, resource, context: &context };
        let allow = identity(&format!(r#"{{"Effect":"Allow",{elements}}}"#));
        assert_eq!(allow.grants(request).allows(), allowed, "{elements} {request:?}");
        let deny =
            identity(&format!(r#"{{"Effect":"Allow","Action":"*","Resource":"*"}},{{"Effect":"Deny",{elements}}}"#));
        assert_eq!(deny.grants(request) == Verdict::Deny, allowed, "denied: {elements} {request:?}");
    }
}

#[test]
fn variables_bring_in_literal_text() {
    let home = r#"{"Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3:::b/home/${aws:username}/*"}"#;
    let default = r#"{"Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3:::b/${aws:username, 'all'}/*"}"#;
    let escaped = r#"{"Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3:::b/${*}${?}${$}"}"#;
    let tag = r#"{"Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3:::b/${s3:ExistingObjectTag/Team}"}"#;
    let ann: &[(&str, &str)] = &[("aws:username", "ann")];
    let star: &[(&str, &str)] = &[("aws:username", "*")];
    let nested: &[(&str, &str)] = &[("aws:username", "${aws:userid}"), ("aws:userid", "ann")];
    let two: &[(&str, &str)] = &[("aws:username", "ann"), ("aws:username", "bob")];
    let team: &[(&str, &str)] = &[("s3:existingobjecttag/Team", "x")];
    for (policy, facts, key, allowed) in [
        (home, ann, "home/ann/k", true),
        (home, ann, "home/bob/k", false),
        (home, star, "home/bob/k", false),
        (home, star, "home/*/k", true),
        (home, nested, "home/ann/k", false),
        (home, two, "home/ann/k", false),
        (home, &[], "home//k", false),
        (home, &[], "home/${aws:username}/k", false),
        (default, &[], "all/k", true),
        (default, ann, "all/k", false),
        (default, ann, "ann/k", true),
        (escaped, &[], "*?$", true),
        (escaped, &[], "abc", false),
        (tag, team, "x", true),
        (tag, &[("s3:existingobjecttag/team", "x")], "x", false),
    ] {
        let context = Facts::of(facts);
        let resource = format!("arn:aws:s3:::b/{key}");
        let request = Request { action: "s3:GetObject", resource: &resource, context: &context };
        assert_eq!(identity(policy).grants(request).allows(), allowed, "{policy} {facts:?} {key}");
    }
    let old = r#"{"Version":"2008-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"arn:aws:s3:::b/${aws:username}"}}"#;
    let old = parse(old, Use::Identity).unwrap();
    let context = Facts::of(ann);
    let of = |resource| old.grants(Request { action: "s3:GetObject", resource, context: &context });
    assert_eq!(of("arn:aws:s3:::b/ann"), Verdict::Nothing, "no variables in 2008-10-17");
    assert_eq!(of("arn:aws:s3:::b/${aws:username}"), Verdict::Allow);
}

/// `(operator, key, values, facts, holds)`.
type Row = (&'static str, &'static str, &'static str, &'static [(&'static str, &'static str)], bool);

const CONDITIONS: &[Row] = &[
    ("StringEquals", "s3:prefix", r#""a""#, &[("s3:prefix", "a")], true),
    ("StringEquals", "S3:Prefix", r#""a""#, &[("s3:prefix", "a")], true),
    ("StringEquals", "s3:prefix", r#""a""#, &[("s3:prefix", "A")], false),
    ("StringEquals", "s3:prefix", r#"["b","a"]"#, &[("s3:prefix", "a")], true),
    ("StringEquals", "s3:prefix", r#""a*""#, &[("s3:prefix", "ab")], false),
    ("StringEquals", "s3:prefix", r#""a""#, &[], false),
    ("StringEquals", "s3:prefix", r#""""#, &[("s3:prefix", "")], true),
    ("StringEquals", "s3:prefix", r#""${aws:username}/""#, &[("s3:prefix", "ann/"), ("aws:username", "ann")], true),
    ("StringEqualsIfExists", "s3:prefix", r#""a""#, &[], true),
    ("StringEqualsIfExists", "s3:prefix", r#""a""#, &[("s3:prefix", "b")], false),
    ("StringNotEquals", "s3:prefix", r#""a""#, &[("s3:prefix", "b")], true),
    ("StringNotEquals", "s3:prefix", r#"["a","b"]"#, &[("s3:prefix", "b")], false),
    ("StringNotEquals", "s3:prefix", r#""a""#, &[], true),
    ("StringNotEqualsIfExists", "s3:prefix", r#""a""#, &[], true),
    ("StringEqualsIgnoreCase", "s3:prefix", r#""aÄ""#, &[("s3:prefix", "Aä")], true),
    ("StringNotEqualsIgnoreCase", "s3:prefix", r#""a""#, &[("s3:prefix", "A")], false),
    ("StringLike", "s3:prefix", r#""home/*""#, &[("s3:prefix", "home/x")], true),
    ("StringLike", "s3:prefix", r#""home/?""#, &[("s3:prefix", "home/")], false),
    ("StringLike", "aws:Referer", r#""http://a/*""#, &[("aws:referer", "http://b/x")], false),
    ("StringNotLike", "s3:prefix", r#""home/*""#, &[("s3:prefix", "etc")], true),
    ("NumericEquals", "s3:max-keys", r#""10""#, &[("s3:max-keys", "10")], true),
    ("NumericEquals", "s3:max-keys", "10", &[("s3:max-keys", "10.0")], true),
    ("NumericNotEquals", "s3:max-keys", "10", &[("s3:max-keys", "11")], true),
    ("NumericNotEquals", "s3:max-keys", "10", &[], true),
    ("NumericLessThan", "s3:max-keys", "10", &[("s3:max-keys", "9")], true),
    ("NumericLessThan", "s3:max-keys", "10", &[("s3:max-keys", "10")], false),
    ("NumericLessThanEquals", "s3:max-keys", "10", &[("s3:max-keys", "10")], true),
    ("NumericGreaterThan", "s3:signatureAge", "600000", &[("s3:signatureage", "600001")], true),
    ("NumericGreaterThanEquals", "s3:max-keys", "10", &[("s3:max-keys", "x")], false),
    ("NumericGreaterThanIfExists", "s3:max-keys", "10", &[], true),
    (
        "DateLessThan",
        "aws:CurrentTime",
        r#""2030-01-01T00:00:00Z""#,
        &[("aws:currenttime", "2029-12-31T23:59:59Z")],
        true,
    ),
    ("DateLessThan", "aws:CurrentTime", r#""2030-01-01""#, &[("aws:currenttime", "2030-01-01T00:00:00Z")], false),
    (
        "DateGreaterThan",
        "aws:CurrentTime",
        r#""2030-01-01T00:30Z""#,
        &[("aws:currenttime", "2030-01-01T00:31:00Z")],
        true,
    ),
    (
        "DateGreaterThan",
        "aws:CurrentTime",
        r#""2030-01-01T00:30:00+01:00""#,
        &[("aws:currenttime", "2029-12-31T23:31:00Z")],
        true,
    ),
    ("DateEquals", "aws:EpochTime", "1000", &[("aws:epochtime", "1000")], true),
    ("DateNotEquals", "aws:EpochTime", "1000", &[("aws:epochtime", "1000")], false),
    ("DateLessThanEquals", "aws:EpochTime", "1000", &[("aws:epochtime", "1000")], true),
    ("Bool", "aws:SecureTransport", r#""true""#, &[("aws:securetransport", "true")], true),
    ("Bool", "aws:SecureTransport", "false", &[("aws:securetransport", "true")], false),
    ("Bool", "aws:SecureTransport", "true", &[], false),
    ("BoolIfExists", "aws:SecureTransport", "true", &[], true),
    ("BinaryEquals", "aws:x", r#""QUI=""#, &[("aws:x", "QUI=")], true),
    ("BinaryEquals", "aws:x", r#""QUI=""#, &[("aws:x", "QUE=")], false),
    ("IpAddress", "aws:SourceIp", r#""10.1.0.0/16""#, &[("aws:sourceip", "10.1.2.3")], true),
    ("IpAddress", "aws:SourceIp", r#""10.1.0.0/16""#, &[("aws:sourceip", "10.2.2.3")], false),
    ("IpAddress", "aws:SourceIp", r#""10.1.2.3""#, &[("aws:sourceip", "::ffff:10.1.2.3")], true),
    ("IpAddress", "aws:SourceIp", r#""0.0.0.0/0""#, &[("aws:sourceip", "10.1.2.3")], true),
    ("IpAddress", "aws:SourceIp", r#""0.0.0.0/0""#, &[("aws:sourceip", "2001:db8::1")], false),
    ("IpAddress", "aws:SourceIp", r#"["2001:db8::/32","::1"]"#, &[("aws:sourceip", "2001:db8:1::1")], true),
    ("IpAddress", "aws:SourceIp", r#""10.0.0.0/8""#, &[], false),
    ("NotIpAddress", "aws:SourceIp", r#""10.0.0.0/8""#, &[("aws:sourceip", "11.0.0.1")], true),
    ("NotIpAddress", "aws:SourceIp", r#"["10.0.0.0/8","11.0.0.0/8"]"#, &[("aws:sourceip", "11.0.0.1")], false),
    (
        "ArnLike",
        "aws:PrincipalArn",
        r#""arn:aws:iam::*:user/a*""#,
        &[("aws:principalarn", "arn:aws:iam::1:user/ann")],
        true,
    ),
    (
        "ArnEquals",
        "aws:PrincipalArn",
        r#""arn:aws:iam::1:user/?nn""#,
        &[("aws:principalarn", "arn:aws:iam::1:user/ann")],
        true,
    ),
    (
        "ArnNotEquals",
        "aws:PrincipalArn",
        r#""arn:aws:iam::1:user/ann""#,
        &[("aws:principalarn", "arn:aws:iam::1:user/ann")],
        false,
    ),
    ("ArnNotLike", "aws:PrincipalArn", r#""arn:aws:iam::1:user/*""#, &[], true),
    ("Null", "s3:x-amz-acl", "true", &[], true),
    ("Null", "s3:x-amz-acl", r#""true""#, &[("s3:x-amz-acl", "private")], false),
    ("Null", "s3:x-amz-acl", "false", &[("s3:x-amz-acl", "private")], true),
    ("ForAllValues:StringEquals", "s3:RequestObjectTagKeys", r#"["a","b"]"#, &[("s3:requestobjecttagkeys", "a")], true),
    (
        "ForAllValues:StringEquals",
        "s3:RequestObjectTagKeys",
        r#"["a","b"]"#,
        &[("s3:requestobjecttagkeys", "a"), ("s3:requestobjecttagkeys", "c")],
        false,
    ),
    ("ForAllValues:StringEquals", "s3:RequestObjectTagKeys", r#""a""#, &[], true),
    (
        "ForAnyValue:StringEquals",
        "s3:RequestObjectTagKeys",
        r#""a""#,
        &[("s3:requestobjecttagkeys", "a"), ("s3:requestobjecttagkeys", "c")],
        true,
    ),
    ("ForAnyValue:StringEquals", "s3:RequestObjectTagKeys", r#""a""#, &[], false),
    (
        "ForAnyValue:StringNotEquals",
        "s3:RequestObjectTagKeys",
        r#""a""#,
        &[("s3:requestobjecttagkeys", "a"), ("s3:requestobjecttagkeys", "c")],
        true,
    ),
    (
        "ForAllValues:StringNotEquals",
        "s3:RequestObjectTagKeys",
        r#""a""#,
        &[("s3:requestobjecttagkeys", "a"), ("s3:requestobjecttagkeys", "c")],
        false,
    ),
    (
        "ForAnyValue:StringLike",
        "s3:RequestObjectTagKeys",
        r#""a*""#,
        &[("s3:requestobjecttagkeys", "x"), ("s3:requestobjecttagkeys", "ab")],
        true,
    ),
    ("StringEquals", "s3:ExistingObjectTag/Team", r#""x""#, &[("s3:existingobjecttag/Team", "x")], true),
];

#[test]
fn conditions_hold_as_on_aws() {
    for (operator, key, values, facts, holds) in CONDITIONS {
        let policy = identity(&format!(
            r#"{{"Effect":"Allow","Action":"*","Resource":"*","Condition":{{"{operator}":{{"{key}":{values}}}}}}}"#
        ));
        let context = Facts::of(facts);
        let request = Request { action: "s3:GetObject", resource: "arn:aws:s3:::b/k", context: &context };
        assert_eq!(policy.grants(request).allows(), *holds, "{operator} {key} {values} {facts:?}");
    }
    let both = identity(
        r#"{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringEquals":{"s3:prefix":"a","s3:delimiter":"/"},"Bool":{"aws:SecureTransport":"true"}}}"#,
    );
    let all = [("s3:prefix", "a"), ("s3:delimiter", "/"), ("aws:securetransport", "true")];
    for left_out in 0..=all.len() {
        let facts: Vec<_> = all.iter().enumerate().filter(|(at, _)| *at != left_out).map(|(_, fact)| *fact).collect();
        let context = Facts::of(&facts);
        let request = Request { action: "s3:ListBucket", resource: "arn:aws:s3:::b", context: &context };
        assert_eq!(both.grants(request).allows(), left_out == all.len(), "without {left_out}");
    }
}

fn caller(account: &str, kind: Kind) -> Principal {
    let account = Account { id: account.to_owned(), canonical_id: format!("{account:0>64}"), ..Account::store() };
    Principal { kind, ..Principal::root(Arc::new(account)) }
}

fn user(name: &str) -> Kind {
    Kind::User(UserName { id: format!("AIDA{name}"), name: name.to_owned(), path: "/".to_owned() })
}

#[test]
fn principals_are_found_in_resource_policies() {
    let role = || Kind::AssumedRole {
        id: "AROA1".to_owned(),
        role: "r".to_owned(),
        path: "/".to_owned(),
        session: "s".to_owned(),
    };
    let (one, two) = ("111111111111", "222222222222");
    let canonical = format!(r#"{{"CanonicalUser":"{one:0>64}"}}"#);
    let callers = [
        Some(caller(one, Kind::Root)),
        Some(caller(one, user("ann"))),
        Some(caller(one, role())),
        Some(caller(two, user("ann"))),
        None,
    ];
    use Verdict::{Allow, AllowAccount, AllowSession, Nothing};
    let rows: &[(&str, [Verdict; 5])] = &[
        (r#""*""#, [Allow, Allow, Allow, Allow, Allow]),
        (r#"{"AWS":"*"}"#, [Allow, Allow, Allow, Allow, Allow]),
        (r#"{"AWS":["*"]}"#, [Allow, Allow, Allow, Allow, Allow]),
        (r#"{"AWS":"111111111111"}"#, [AllowAccount, AllowAccount, AllowAccount, Nothing, Nothing]),
        (r#"{"AWS":"arn:aws:iam::111111111111:root"}"#, [AllowAccount, AllowAccount, AllowAccount, Nothing, Nothing]),
        (&canonical, [AllowAccount, AllowAccount, AllowAccount, Nothing, Nothing]),
        (r#"{"AWS":"arn:aws:iam::111111111111:user/ann"}"#, [Nothing, Allow, Nothing, Nothing, Nothing]),
        (r#"{"AWS":"arn:aws:iam::111111111111:user/bob"}"#, [Nothing, Nothing, Nothing, Nothing, Nothing]),
        (r#"{"AWS":"arn:aws:iam::111111111111:role/r"}"#, [Nothing, Nothing, Allow, Nothing, Nothing]),
        (r#"{"AWS":"arn:aws:sts::111111111111:assumed-role/r/s"}"#, [Nothing, Nothing, AllowSession, Nothing, Nothing]),
        (r#"{"Service":"s3.amazonaws.com"}"#, [Nothing, Nothing, Nothing, Nothing, Nothing]),
    ];
    let context = Facts::default();
    let request = Request { action: "s3:GetObject", resource: "arn:aws:s3:::b/k", context: &context };
    for (names, expected) in rows {
        let rest = r#""Action":"s3:GetObject","Resource":"arn:aws:s3:::b/*""#;
        let policy = bucket(&format!(r#"{{"Effect":"Allow","Principal":{names},{rest}}}"#)).unwrap();
        let verdicts: Vec<_> = callers.iter().map(|caller| policy.resource_grants(request, caller.as_ref())).collect();
        assert_eq!(verdicts, expected, "{names}");
        let policy = bucket(&format!(r#"{{"Effect":"Deny","Principal":{names},{rest}}}"#)).unwrap();
        for (caller, expected) in callers.iter().zip(expected) {
            let denied = policy.resource_grants(request, caller.as_ref()) == Verdict::Deny;
            assert_eq!(denied, *expected != Nothing, "denied: {names} {caller:?}");
        }
    }
    let excepted = |names: &str| -> Vec<bool> {
        let statement = format!(
            r#"{{"Effect":"Deny","NotPrincipal":{{"AWS":{names}}},"Action":"s3:*","Resource":"arn:aws:s3:::b/*"}}"#
        );
        let policy = bucket(&statement).unwrap();
        callers.iter().map(|caller| policy.resource_grants(request, caller.as_ref()) != Verdict::Deny).collect()
    };
    assert_eq!(excepted(r#"["111111111111"]"#), [true, false, false, false, false]);
    let ann = r#"["111111111111","arn:aws:iam::111111111111:user/ann"]"#;
    assert_eq!(excepted(ann), [true, true, false, false, false]);
    assert_eq!(excepted(r#"["arn:aws:iam::111111111111:user/ann"]"#), [false; 5], "its account must be named, too");
    let role = r#"["111111111111","arn:aws:iam::111111111111:role/r","arn:aws:sts::111111111111:assumed-role/r/s"]"#;
    assert_eq!(excepted(role), [true, false, true, false, false]);
}

#[test]
fn malformed_policies_are_refused_in_aws_words() {
    let get = r#""Action":"s3:GetObject","Resource":"arn:aws:s3:::b/*""#;
    for (statement, words) in [
        (format!(r#"{{"Principal":"*",{get}}}"#), "Missing required field Effect"),
        (format!(r#"{{"Effect":"allow","Principal":"*",{get}}}"#), "Invalid effect: allow"),
        (format!(r#"{{"Effect":"Allow",{get}}}"#), "Missing required field Principal"),
        (format!(r#"{{"Effect":"Allow","NotPrincipal":"*",{get}}}"#), "Allow with NotPrincipal is not allowed."),
        (format!(r#"{{"Effect":"Allow","Principal":{{"AWS":"ann"}},{get}}}"#), "Invalid principal in policy"),
        (
            format!(r#"{{"Effect":"Allow","Principal":{{"AWS":"arn:aws:iam::111111111111:user/*"}},{get}}}"#),
            "Invalid principal in policy",
        ),
        (format!(r#"{{"Effect":"Allow","Principal":"x",{get}}}"#), "Invalid principal in policy"),
        (format!(r#"{{"Effect":"Allow","Principal":"*",{get},"Other":1}}"#), "Unknown field Other"),
        (
            r#"{"Effect":"Allow","Principal":"*","Resource":"arn:aws:s3:::b/*"}"#.to_owned(),
            "Missing required field Action",
        ),
        (r#"{"Effect":"Allow","Principal":"*","Action":"s3:GetObject"}"#.to_owned(), "Missing required field Resource"),
        (
            r#"{"Effect":"Allow","Principal":"*","Action":"s3:Gett","Resource":"arn:aws:s3:::b"}"#.to_owned(),
            "Policy has invalid action",
        ),
        (
            r#"{"Effect":"Allow","Principal":"*","Action":"iam:*","Resource":"arn:aws:s3:::b"}"#.to_owned(),
            "Policy has invalid action",
        ),
        (
            r#"{"Effect":"Allow","Principal":"*","Action":"s3:*","Resource":"arn:aws:s3:::c"}"#.to_owned(),
            "Policy has invalid resource",
        ),
        (
            r#"{"Effect":"Allow","Principal":"*","Action":"s3:*","Resource":"arn:aws:s3:::bb/*"}"#.to_owned(),
            "Policy has invalid resource",
        ),
        (
            r#"{"Effect":"Allow","Principal":"*","Action":"s3:*","Resource":"*"}"#.to_owned(),
            "Policy has invalid resource",
        ),
        (
            format!(r#"{{"Effect":"Allow","Principal":"*",{get},"Condition":{{"StringIs":{{"s3:prefix":"a"}}}}}}"#),
            "Invalid Condition type : StringIs",
        ),
        (
            format!(
                r#"{{"Effect":"Allow","Principal":"*",{get},"Condition":{{"NullIfExists":{{"s3:prefix":"true"}}}}}}"#
            ),
            "Invalid Condition type : NullIfExists",
        ),
        (
            format!(
                r#"{{"Effect":"Allow","Principal":"*",{get},"Condition":{{"StringEquals":{{"s3:praefix":"a"}}}}}}"#
            ),
            "Policy has an invalid condition key: s3:praefix",
        ),
        (
            format!(
                r#"{{"Effect":"Allow","Principal":"*",{get},"Condition":{{"IpAddress":{{"aws:SourceIp":"10.0.0.0/33"}}}}}}"#
            ),
            "Invalid condition value for IpAddress on aws:SourceIp",
        ),
    ] {
        assert_eq!(bucket(&statement).unwrap_err(), words, "{statement}");
    }
    for (text, words) in [
        ("", "Policies must be valid JSON and the first byte must be '{'"),
        ("[]", "Policies must be valid JSON and the first byte must be '{'"),
        (r#"{"Statement":1,"Statement":2}"#, "Policies must be valid JSON and the first byte must be '{'"),
        ("{}", "Missing required field Statement"),
        (r#"{"Statement":[]}"#, "Could not parse the policy: Statement is empty!"),
        (
            r#"{"Version":"2020","Statement":[]}"#,
            "The policy must contain a valid version string: 2012-10-17 or 2008-10-17",
        ),
    ] {
        assert_eq!(parse(text, Use::Bucket("b")).unwrap_err().0, words, "{text}");
    }
    let large = format!(r#"{{"Id":"{}","Statement":[]}}"#, "x".repeat(20 << 10));
    assert!(
        parse(&large, Use::Bucket("b")).unwrap_err().0.starts_with("Policy exceeds the maximum allowed document size")
    );
    let named = r#"{"Statement":{"Effect":"Allow","Principal":"*","Action":"*","Resource":"*"}}"#;
    assert_eq!(parse(named, Use::Identity).unwrap_err().0, "Policy document should not specify a principal.");
    let trust = r#"{"Statement":{"Effect":"Allow","Principal":"*","Action":"sts:AssumeRole"}}"#;
    assert!(parse(trust, Use::Trust).is_ok());
    let deep = "[".repeat(100_000);
    assert!(parse(&format!(r#"{{"Statement":{deep}"#), Use::Bucket("b")).is_err());
}

#[test]
fn public_is_what_s3_calls_public() {
    for (elements, public) in [
        (r#""Principal":"*""#, true),
        (r#""Principal":{"AWS":"*"}"#, true),
        (r#""Principal":{"AWS":"111111111111"}"#, false),
        (r#""Principal":"*","Condition":{"StringEquals":{"aws:SourceVpc":"vpc-1"}}"#, false),
        (r#""Principal":"*","Condition":{"StringLike":{"aws:SourceVpc":"vpc-*"}}"#, true),
        (r#""Principal":"*","Condition":{"StringNotEquals":{"aws:SourceVpc":"vpc-1"}}"#, true),
        (r#""Principal":"*","Condition":{"IpAddress":{"aws:SourceIp":"10.0.0.0/16"}}"#, false),
        (r#""Principal":"*","Condition":{"IpAddress":{"aws:SourceIp":"0.0.0.0/0"}}"#, true),
        (r#""Principal":"*","Condition":{"StringEquals":{"s3:prefix":"a"}}"#, true),
    ] {
        let rest = r#""Action":"s3:ListBucket","Resource":"arn:aws:s3:::b""#;
        let allow = bucket(&format!(r#"{{"Effect":"Allow",{elements},{rest}}}"#)).unwrap();
        assert_eq!(allow.is_public(), public, "{elements}");
        let deny = bucket(&format!(r#"{{"Effect":"Deny",{elements},{rest}}}"#)).unwrap();
        assert!(!deny.is_public(), "{elements}");
    }
}
