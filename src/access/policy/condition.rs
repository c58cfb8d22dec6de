//! Conditions: an operator, a key, and the values of which one must fit.

use std::net::{IpAddr, Ipv6Addr};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Context;
use super::pattern::{Pattern, Reading, normal_key};
use crate::hash::base64_decode;

/// What an operator compares, without its negation and qualifiers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    Text,
    NotText,
    Number(Order),
    NotNumber,
    Time(Order),
    NotTime,
    Bool,
    Binary,
    Network,
    NotNetwork,
    Null,
}

/// How a request's number or time must stand to the policy's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    Equal,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
}

impl Order {
    fn holds(self, ordering: Option<std::cmp::Ordering>) -> bool {
        ordering.is_some_and(|ordering| match self {
            Order::Equal => ordering.is_eq(),
            Order::Less => ordering.is_lt(),
            Order::LessEqual => ordering.is_le(),
            Order::Greater => ordering.is_gt(),
            Order::GreaterEqual => ordering.is_ge(),
        })
    }
}

impl Operator {
    /// It asks for a value, and does not exclude one.
    pub fn is_positive(self) -> bool {
        !matches!(self, Operator::NotText | Operator::NotNumber | Operator::NotTime | Operator::NotNetwork)
    }

    /// From its name without qualifiers, with how texts are to be read.
    fn parse(name: &str) -> Option<(Operator, Option<Reading>)> {
        use Order::*;
        let exact = Reading { wildcards: false, variables: true, ignore_case: false };
        let folded = Reading { ignore_case: true, ..exact };
        let like = Reading { wildcards: true, ..exact };
        Some(match name {
            "StringEquals" => (Operator::Text, Some(exact)),
            "StringNotEquals" => (Operator::NotText, Some(exact)),
            "StringEqualsIgnoreCase" => (Operator::Text, Some(folded)),
            "StringNotEqualsIgnoreCase" => (Operator::NotText, Some(folded)),
            "StringLike" | "ArnEquals" | "ArnLike" => (Operator::Text, Some(like)),
            "StringNotLike" | "ArnNotEquals" | "ArnNotLike" => (Operator::NotText, Some(like)),
            "NumericEquals" => (Operator::Number(Equal), None),
            "NumericNotEquals" => (Operator::NotNumber, None),
            "NumericLessThan" => (Operator::Number(Less), None),
            "NumericLessThanEquals" => (Operator::Number(LessEqual), None),
            "NumericGreaterThan" => (Operator::Number(Greater), None),
            "NumericGreaterThanEquals" => (Operator::Number(GreaterEqual), None),
            "DateEquals" => (Operator::Time(Equal), None),
            "DateNotEquals" => (Operator::NotTime, None),
            "DateLessThan" => (Operator::Time(Less), None),
            "DateLessThanEquals" => (Operator::Time(LessEqual), None),
            "DateGreaterThan" => (Operator::Time(Greater), None),
            "DateGreaterThanEquals" => (Operator::Time(GreaterEqual), None),
            "Bool" => (Operator::Bool, None),
            "BinaryEquals" => (Operator::Binary, None),
            "IpAddress" => (Operator::Network, None),
            "NotIpAddress" => (Operator::NotNetwork, None),
            "Null" => (Operator::Null, None),
            _ => return None,
        })
    }
}

/// A value of the policy, compiled.
#[derive(Debug, Clone, PartialEq)]
pub enum Test {
    Pattern(Pattern),
    Number(f64),
    /// Milliseconds since the epoch.
    Time(i64),
    Flag(bool),
    Bytes(Vec<u8>),
    Network {
        address: IpAddr,
        prefix: u8,
    },
}

/// How several values of a request are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quantifier {
    /// One value is expected.
    One,
    All,
    Any,
}

/// One line of a `Condition` block.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    pub(super) operator: Operator,
    quantifier: Quantifier,
    pub(super) if_exists: bool,
    /// See `Context`.
    pub(super) key: String,
    pub(super) tests: Vec<Test>,
}

/// Why a condition cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unreadable {
    Operator,
    Value,
}

impl Condition {
    pub fn parse(operator: &str, key: &str, values: &[String], variables: bool) -> Result<Condition, Unreadable> {
        let (quantifier, name) = match operator.split_once(':') {
            Some(("ForAllValues", name)) => (Quantifier::All, name),
            Some(("ForAnyValue", name)) => (Quantifier::Any, name),
            Some(_) => return Err(Unreadable::Operator),
            None => (Quantifier::One, operator),
        };
        let (name, if_exists) = match name.strip_suffix("IfExists") {
            Some("Null") => return Err(Unreadable::Operator),
            Some(name) => (name, true),
            None => (name, false),
        };
        let (operator, reading) = Operator::parse(name).ok_or(Unreadable::Operator)?;
        let reading = reading.map(|reading| Reading { variables, ..reading });
        let test = |value: &String| Test::parse(operator, reading, value).ok_or(Unreadable::Value);
        let tests = values.iter().map(test).collect::<Result<_, _>>()?;
        Ok(Condition { operator, quantifier, if_exists, key: normal_key(key), tests })
    }

    pub fn holds(&self, context: &dyn Context) -> bool {
        let values = context.values(&self.key).filter(|values| !values.is_empty());
        if self.operator == Operator::Null {
            return self.tests.iter().any(|test| *test == Test::Flag(values.is_none()));
        }
        let Some(values) = values else {
            let absent = self.if_exists || !self.operator.is_positive();
            return match self.quantifier {
                Quantifier::All => true,
                Quantifier::Any => self.if_exists,
                Quantifier::One => absent,
            };
        };
        let positive = self.operator.is_positive();
        let fits = |value: &str| self.tests.iter().any(|test| test.fits(self.operator, value, context)) == positive;
        let mut each = values.iter().map(|value| fits(value));
        match self.quantifier {
            Quantifier::All => each.all(|fits| fits),
            Quantifier::Any => each.any(|fits| fits),
            // Not defined for several values: what excludes must exclude all of them.
            Quantifier::One if positive => each.any(|fits| fits),
            Quantifier::One => each.all(|fits| fits),
        }
    }
}

impl Test {
    fn parse(operator: Operator, reading: Option<Reading>, value: &str) -> Option<Test> {
        Some(match operator {
            Operator::Text | Operator::NotText => Test::Pattern(Pattern::new(value, reading?)),
            Operator::Number(_) | Operator::NotNumber => Test::Number(number(value)?),
            Operator::Time(_) | Operator::NotTime => Test::Time(time_ms(value)?),
            Operator::Bool | Operator::Null => Test::Flag(flag(value)?),
            Operator::Binary => Test::Bytes(base64_decode(value)?),
            Operator::Network | Operator::NotNetwork => {
                let (address, prefix) = network(value)?;
                Test::Network { address, prefix }
            }
        })
    }

    /// The request's value is what the test names, negation aside.
    fn fits(&self, operator: Operator, value: &str, context: &dyn Context) -> bool {
        match self {
            Test::Pattern(pattern) => pattern.matches(value, context),
            Test::Number(wanted) => order(operator).holds(number(value).and_then(|value| value.partial_cmp(wanted))),
            Test::Time(wanted) => order(operator).holds(time_ms(value).map(|value| value.cmp(wanted))),
            Test::Flag(wanted) => flag(value) == Some(*wanted),
            Test::Bytes(wanted) => base64_decode(value).as_ref() == Some(wanted),
            Test::Network { address, prefix } => {
                value.parse().is_ok_and(|value: IpAddr| within(value.to_canonical(), *address, *prefix))
            }
        }
    }
}

fn order(operator: Operator) -> Order {
    match operator {
        Operator::Number(order) | Operator::Time(order) => order,
        _ => Order::Equal,
    }
}

fn number(text: &str) -> Option<f64> {
    text.trim().parse().ok().filter(|number: &f64| number.is_finite())
}

fn flag(text: &str) -> Option<bool> {
    match text {
        _ if text.eq_ignore_ascii_case("true") => Some(true),
        _ if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

/// ISO 8601 in the forms that W3C profiles (a date, to the minute, to the second), or seconds since the epoch.
fn time_ms(text: &str) -> Option<i64> {
    if let Ok(seconds) = text.parse::<i64>() {
        return seconds.checked_mul(1000);
    }
    let full = match (text.len(), text.rfind(['Z', '+', '-']).unwrap_or(0)) {
        (10, _) => format!("{text}T00:00:00Z"),
        // YYYY-MM-DDThh:mmTZD
        (_, 16) => format!("{}:00{}", &text.get(..16)?, text.get(16..)?),
        _ => text.to_owned(),
    };
    let time = OffsetDateTime::parse(&full, &Rfc3339).ok()?;
    i64::try_from(time.unix_timestamp_nanos() / 1_000_000).ok()
}

fn network(text: &str) -> Option<(IpAddr, u8)> {
    let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
    let address: IpAddr = address.parse().ok()?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    let prefix = match prefix {
        None => longest,
        Some(text) => text.parse().ok().filter(|prefix| *prefix <= longest)?,
    };
    Some((address, prefix))
}

fn within(value: IpAddr, address: IpAddr, prefix: u8) -> bool {
    let (value, address, prefix) = match (value, address) {
        (IpAddr::V4(value), IpAddr::V4(address)) => (value.to_ipv6_mapped(), address.to_ipv6_mapped(), prefix + 96),
        (IpAddr::V6(value), IpAddr::V6(address)) => (value, address, prefix),
        _ => return false,
    };
    let bits =
        |address: Ipv6Addr| u128::from_be_bytes(address.octets()).checked_shr(128 - u32::from(prefix)).unwrap_or(0);
    bits(value) == bits(address)
}
