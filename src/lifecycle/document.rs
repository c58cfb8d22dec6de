//! Reads the lifecycle document: S3's XML, its rules as AWS checks them, and the JSON in which it is kept.

use std::collections::BTreeSet;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{Configuration, DAY_MS, Expiration, Filter, Noncurrent, Rule, Scope};
use crate::limits;
use crate::xml::{self, Element, XmlError};

/// Why a document is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LifecycleError {
    #[error(transparent)]
    Xml(#[from] XmlError),
    #[error("the XML you provided was not well-formed or did not validate against our published schema: {0}")]
    Schema(String),
    #[error("{0}")]
    Argument(String),
    #[error("{0}")]
    Request(String),
    #[error("there are no other storage classes to move objects to: every object is stored alike; leave <{0}> out")]
    Transition(&'static str),
    #[error("the stored rules cannot be read: {0}")]
    Stored(String),
}

impl LifecycleError {
    /// S3's code for it.
    pub fn code(&self) -> &'static str {
        match self {
            LifecycleError::Xml(_) | LifecycleError::Schema(_) => "MalformedXML",
            LifecycleError::Argument(_) => "InvalidArgument",
            LifecycleError::Request(_) => "InvalidRequest",
            LifecycleError::Transition(_) => "InvalidStorageClass",
            LifecycleError::Stored(_) => "InternalError",
        }
    }
}

type Result<T> = std::result::Result<T, LifecycleError>;

fn schema<T>(what: impl Into<String>) -> Result<T> {
    Err(LifecycleError::Schema(what.into()))
}

fn argument<T>(what: impl Into<String>) -> Result<T> {
    Err(LifecycleError::Argument(what.into()))
}

fn request<T>(what: impl Into<String>) -> Result<T> {
    Err(LifecycleError::Request(what.into()))
}

impl Configuration {
    /// Reads and checks S3's XML. A rule without an id gets one.
    pub fn parse(document: &[u8]) -> Result<Configuration> {
        let root = xml::parse(document)?;
        if !matches!(root.name(), "LifecycleConfiguration" | "BucketLifecycleConfiguration") {
            return schema(format!("the root element is <{}>, it must be <LifecycleConfiguration>", root.name()));
        }
        let rules: Vec<Rule> =
            root.children_named("Rule").enumerate().map(|(at, rule)| parse_rule(rule, at)).collect::<Result<_>>()?;
        if rules.is_empty() {
            return schema("the document has no <Rule>");
        }
        if rules.len() > limits::LIFECYCLE_RULES_MAX {
            let most = limits::LIFECYCLE_RULES_MAX;
            return request(format!("The number of lifecycle rules must not exceed the allowed limit of {most} rules"));
        }
        let ids: BTreeSet<&str> = rules.iter().map(|rule| rule.id.as_str()).collect();
        if ids.len() < rules.len() {
            return argument("Rule ID must be unique. Found same ID for more than one rule");
        }
        Ok(Configuration { rules, minimum_size: None })
    }

    /// Reads what `to_stored` wrote.
    pub fn from_stored(text: &str) -> Result<Configuration> {
        serde_json::from_str(text).map_err(|error| LifecycleError::Stored(error.to_string()))
    }

    pub fn to_stored(&self) -> String {
        serde_json::to_string(self).expect("rules have only plain fields")
    }
}

fn parse_rule(element: &Element<'_>, at: usize) -> Result<Rule> {
    for transition in ["Transition", "NoncurrentVersionTransition"] {
        if element.child(transition).is_some() {
            return Err(LifecycleError::Transition(transition));
        }
    }
    let id = match element.text_of("ID").filter(|id| !id.is_empty()) {
        Some(id) if id.chars().count() > limits::LIFECYCLE_ID_CHARS_MAX => {
            return argument(format!(
                "ID length should not exceed allowed limit of {}",
                limits::LIFECYCLE_ID_CHARS_MAX
            ));
        }
        Some(id) => id.to_owned(),
        None => format!("rule-{}", at + 1),
    };
    let enabled = match element.text_of("Status").map(str::trim) {
        Some("Enabled") => true,
        Some("Disabled") => false,
        other => return schema(format!("<Status> is `{}`, it must be Enabled or Disabled", other.unwrap_or_default())),
    };
    let scope = match (element.child("Filter"), element.text_of("Prefix")) {
        (Some(filter), None) => Scope::Filter(parse_filter(filter)?),
        (None, Some(prefix)) => Scope::Prefix(checked_prefix(prefix)?),
        (Some(_), Some(_)) => return schema("a rule has a <Filter> or a <Prefix>, not both"),
        (None, None) => return schema("a rule needs a <Filter>, which may be empty"),
    };
    let expiration = element.child("Expiration").map(parse_expiration).transpose()?;
    let noncurrent = element.child("NoncurrentVersionExpiration").map(parse_noncurrent).transpose()?;
    let abort = element.child("AbortIncompleteMultipartUpload");
    let abort_days =
        abort.map(|abort| positive(abort, "DaysAfterInitiation", "AbortIncompleteMultipartUpload")).transpose()?;
    let rule = Rule { id, enabled, scope, expiration, noncurrent, abort_days };
    check_together(&rule)?;
    Ok(rule)
}

/// What single elements cannot know.
fn check_together(rule: &Rule) -> Result<()> {
    if rule.expiration.is_none() && rule.noncurrent.is_none() && rule.abort_days.is_none() {
        return request("At least one action needs to be specified in a rule");
    }
    let Scope::Filter(filter) = &rule.scope else {
        let newer = rule.noncurrent.is_some_and(|noncurrent| noncurrent.newer.is_some());
        return if newer { request("NewerNoncurrentVersions needs a <Filter> in its rule") } else { Ok(()) };
    };
    let sized = filter.size_greater.is_some() || filter.size_less.is_some();
    let marker = matches!(rule.expiration, Some(Expiration::Marker(_)));
    match (filter.tags.is_empty(), sized) {
        (false, _) if rule.abort_days.is_some() => {
            request("AbortIncompleteMultipartUpload cannot be specified with Tags.")
        }
        (false, _) if marker => request("ExpiredObjectDeleteMarker cannot be specified with Tags."),
        (_, true) if rule.abort_days.is_some() => {
            request("AbortIncompleteMultipartUpload cannot be specified with Object Size.")
        }
        (_, true) if marker => request("ExpiredObjectDeleteMarker cannot be specified with Object Size."),
        _ => Ok(()),
    }
}

fn checked_prefix(prefix: &str) -> Result<String> {
    match prefix.len() <= limits::KEY_BYTES_MAX {
        true => Ok(prefix.to_owned()),
        false => request(format!("The maximum size of a prefix is {}", limits::KEY_BYTES_MAX)),
    }
}

/// AWS wants an `<And>` around several parts; they are taken without one as well, as other stores do, and given back with it.
fn parse_filter(element: &Element<'_>) -> Result<Filter> {
    let mut filter = Filter::default();
    take_filter(element, &mut filter)?;
    if let Some(inner) = element.child("And") {
        if inner.children().is_empty() {
            return schema("the <And> is empty");
        }
        filter.and = true;
        take_filter(inner, &mut filter)?;
    }
    filter.and |= element.children().len() > 1;
    if filter.size_less == Some(0) {
        return request("'ObjectSizeLessThan' should be a positive integer");
    }
    if let (Some(greater), Some(less)) = (filter.size_greater, filter.size_less)
        && greater >= less
    {
        return request("'ObjectSizeLessThan' has to be a value greater than 'ObjectSizeGreaterThan'");
    }
    Ok(filter)
}

/// Adds the parts that stand directly in the element.
fn take_filter(element: &Element<'_>, filter: &mut Filter) -> Result<()> {
    for tag in element.children_named("Tag") {
        let (Some(key), Some(value)) = (tag.text_of("Key"), tag.text_of("Value")) else {
            return schema("a <Tag> needs a <Key> and a <Value>");
        };
        if filter.tags.iter().any(|(known, _)| known == key) {
            return request("Duplicate Tag Keys are not allowed.");
        }
        filter.tags.push((key.to_owned(), value.to_owned()));
    }
    if let Some(prefix) = element.text_of("Prefix").map(checked_prefix).transpose()? {
        let before = filter.prefix.take().unwrap_or_default();
        // Both must hold: the longer one says it all, if it begins with the other.
        filter.prefix = match (before.starts_with(&prefix), prefix.starts_with(&before)) {
            (_, true) => Some(prefix),
            (true, false) => Some(before),
            (false, false) => return schema("no key begins with both prefixes of the <Filter>"),
        };
    }
    filter.size_greater = size(element, "ObjectSizeGreaterThan")?.or(filter.size_greater);
    filter.size_less = size(element, "ObjectSizeLessThan")?.or(filter.size_less);
    Ok(())
}

fn size(element: &Element<'_>, name: &str) -> Result<Option<u64>> {
    match element.text_of(name).map(str::trim) {
        None => Ok(None),
        Some(text) => {
            text.parse().map(Some).or_else(|_| schema(format!("<{name}> is `{text}`, it must be a size in bytes")))
        }
    }
}

fn positive(element: &Element<'_>, name: &str, action: &str) -> Result<u32> {
    let Some(text) = element.text_of(name).map(str::trim) else {
        return schema(format!("<{action}> needs a <{name}>"));
    };
    match text.parse::<i64>() {
        Err(_) => schema(format!("<{name}> is `{text}`, it must be a number of days")),
        Ok(number) => match u32::try_from(number).ok().filter(|number| *number > 0 && *number <= i32::MAX as u32) {
            Some(number) => Ok(number),
            None => argument(format!("'{name}' for {action} action must be a positive integer")),
        },
    }
}

fn parse_expiration(element: &Element<'_>) -> Result<Expiration> {
    let named = ["Days", "Date", "ExpiredObjectDeleteMarker"].into_iter().filter(|name| element.child(name).is_some());
    if named.count() != 1 {
        return schema("an <Expiration> has one of <Days>, <Date> and <ExpiredObjectDeleteMarker>");
    }
    if let Some(flag) = element.text_of("ExpiredObjectDeleteMarker") {
        return match flag.trim() {
            "true" => Ok(Expiration::Marker(true)),
            "false" => Ok(Expiration::Marker(false)),
            other => schema(format!("<ExpiredObjectDeleteMarker> is `{other}`, it must be true or false")),
        };
    }
    match element.text_of("Date") {
        Some(text) => parse_date(text.trim()).map(Expiration::Date),
        None => positive(element, "Days", "Expiration").map(Expiration::Days),
    }
}

fn parse_date(text: &str) -> Result<i64> {
    let parsed = OffsetDateTime::parse(text, &Rfc3339)
        .or_else(|_| OffsetDateTime::parse(&format!("{text}T00:00:00Z"), &Rfc3339));
    let Ok(date) = parsed else {
        return schema(format!("<Date> is `{text}`, it must be like 2027-01-31T00:00:00Z"));
    };
    let date_ms = date.unix_timestamp().saturating_mul(1000);
    match date_ms.rem_euclid(DAY_MS) == 0 && date.nanosecond() == 0 {
        true => Ok(date_ms),
        false => argument("'Date' must be at midnight GMT"),
    }
}

fn parse_noncurrent(element: &Element<'_>) -> Result<Noncurrent> {
    let days = positive(element, "NoncurrentDays", "NoncurrentVersionExpiration")?;
    let newer = match element.child("NewerNoncurrentVersions") {
        None => None,
        Some(_) => Some(positive(element, "NewerNoncurrentVersions", "NoncurrentVersionExpiration")?),
    };
    if newer.is_some_and(|newer| newer > limits::LIFECYCLE_NEWER_VERSIONS_MAX) {
        let most = limits::LIFECYCLE_NEWER_VERSIONS_MAX;
        return argument(format!("'NewerNoncurrentVersions' must be at most {most}"));
    }
    Ok(Noncurrent { days, newer })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(rules: &[&str]) -> String {
        let rules: String = rules.iter().map(|rule| format!("<Rule>{rule}</Rule>")).collect();
        format!("<LifecycleConfiguration xmlns=\"u\">{rules}</LifecycleConfiguration>")
    }

    const ON: &str = "<Status>Enabled</Status>";
    const DAYS: &str = "<Expiration><Days>3</Days></Expiration>";

    #[test]
    fn good_documents_are_given_back_in_their_own_form() {
        for rule in [
            "<ID>a</ID><Prefix>logs/</Prefix><Status>Disabled</Status><Expiration><Days>31</Days></Expiration>",
            "<ID>a</ID><Filter></Filter><Status>Enabled</Status><Expiration><Date>2027-01-31T00:00:00.000Z</Date></Expiration>",
            "<ID>a</ID><Filter><Prefix>x</Prefix></Filter><Status>Enabled</Status><Expiration><ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker></Expiration>",
            "<ID>a</ID><Filter><Tag><Key>k</Key><Value>v</Value></Tag></Filter><Status>Enabled</Status><NoncurrentVersionExpiration><NoncurrentDays>2</NoncurrentDays><NewerNoncurrentVersions>5</NewerNoncurrentVersions></NoncurrentVersionExpiration>",
            "<ID>a</ID><Filter><And><Prefix>x</Prefix><Tag><Key>k</Key><Value>v</Value></Tag><ObjectSizeGreaterThan>1</ObjectSizeGreaterThan><ObjectSizeLessThan>9</ObjectSizeLessThan></And></Filter><Status>Enabled</Status><Expiration><Days>1</Days></Expiration>",
            "<ID>a</ID><Filter><Prefix></Prefix></Filter><Status>Enabled</Status><AbortIncompleteMultipartUpload><DaysAfterInitiation>7</DaysAfterInitiation></AbortIncompleteMultipartUpload>",
        ] {
            let configuration =
                Configuration::parse(document(&[rule]).as_bytes()).unwrap_or_else(|e| panic!("{rule}: {e}"));
            let written = configuration.to_xml();
            assert!(written.contains(rule), "{rule} became {written}");
            assert_eq!(Configuration::from_stored(&configuration.to_stored()), Ok(configuration));
        }
    }

    #[test]
    fn several_parts_without_an_and_are_taken_together() {
        let tag = "<Tag><Key>k</Key><Value>v</Value></Tag>";
        let of = |filter: &str| {
            let rule = format!("<Filter>{filter}</Filter>{ON}{DAYS}");
            Configuration::parse(document(&[&rule]).as_bytes()).unwrap().to_xml()
        };
        let together = format!("<Filter><And><Prefix>a</Prefix>{tag}</And></Filter>");
        for filter in [
            format!("<Prefix>a</Prefix>{tag}"),
            format!("<Prefix>a</Prefix><And>{tag}</And>"),
            format!("<Prefix></Prefix><And><Prefix>a</Prefix>{tag}</And>"),
        ] {
            let written = of(&filter);
            assert!(written.contains(&together), "{filter} became {written}");
        }
    }

    #[test]
    fn rules_without_an_id_get_one() {
        let rule = format!("<Prefix/>{ON}{DAYS}");
        let configuration = Configuration::parse(document(&[&rule, &rule]).as_bytes()).unwrap();
        assert_eq!(configuration.rules.iter().map(|rule| rule.id.as_str()).collect::<Vec<_>>(), ["rule-1", "rule-2"]);
    }

    #[test]
    fn bad_documents_are_refused_as_aws_does() {
        let long = "a".repeat(256);
        let prefix = "<Prefix/>";
        let tag = "<Tag><Key>k</Key><Value>v</Value></Tag>";
        for (rules, code) in [
            (vec![], "MalformedXML"),
            (vec![format!("<ID>{long}</ID>{prefix}{ON}{DAYS}")], "InvalidArgument"),
            (vec![format!("<ID>a</ID>{prefix}{ON}{DAYS}"); 2], "InvalidArgument"),
            (vec![format!("{prefix}<Status>enabled</Status>{DAYS}")], "MalformedXML"),
            (vec![format!("{prefix}{DAYS}")], "MalformedXML"),
            (vec![format!("{ON}{DAYS}")], "MalformedXML"),
            (vec![format!("{prefix}<Filter/>{ON}{DAYS}")], "MalformedXML"),
            (vec![format!("{prefix}{ON}")], "InvalidRequest"),
            (vec![format!("{prefix}{ON}<Expiration><Days>0</Days></Expiration>")], "InvalidArgument"),
            (vec![format!("{prefix}{ON}<Expiration><Days>-1</Days></Expiration>")], "InvalidArgument"),
            (vec![format!("{prefix}{ON}<Expiration><Days>x</Days></Expiration>")], "MalformedXML"),
            (vec![format!("{prefix}{ON}<Expiration/>")], "MalformedXML"),
            (
                vec![format!("{prefix}{ON}<Expiration><Days>1</Days><Date>2027-01-31T00:00:00Z</Date></Expiration>")],
                "MalformedXML",
            ),
            (
                vec![format!("{prefix}{ON}<Expiration><Date>2027-01-31T01:00:00Z</Date></Expiration>")],
                "InvalidArgument",
            ),
            (vec![format!("{prefix}{ON}<Expiration><Date>20270131</Date></Expiration>")], "MalformedXML"),
            (
                vec![format!("<Filter><Prefix>a</Prefix><And><Prefix>b</Prefix>{tag}</And></Filter>{ON}{DAYS}")],
                "MalformedXML",
            ),
            (vec![format!("<Filter><And>{tag}{tag}</And></Filter>{ON}{DAYS}")], "InvalidRequest"),
            (
                vec![format!(
                    "<Filter>{tag}</Filter>{ON}<Expiration><ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker></Expiration>"
                )],
                "InvalidRequest",
            ),
            (
                vec![format!(
                    "<Filter>{tag}</Filter>{ON}<AbortIncompleteMultipartUpload><DaysAfterInitiation>1</DaysAfterInitiation></AbortIncompleteMultipartUpload>"
                )],
                "InvalidRequest",
            ),
            (
                vec![format!(
                    "<Filter><And><ObjectSizeGreaterThan>9</ObjectSizeGreaterThan><ObjectSizeLessThan>9</ObjectSizeLessThan></And></Filter>{ON}{DAYS}"
                )],
                "InvalidRequest",
            ),
            (
                vec![format!(
                    "{prefix}{ON}<Transition><Days>1</Days><StorageClass>GLACIER</StorageClass></Transition>"
                )],
                "InvalidStorageClass",
            ),
            (
                vec![format!(
                    "<Filter/>{ON}<NoncurrentVersionExpiration><NewerNoncurrentVersions>2</NewerNoncurrentVersions></NoncurrentVersionExpiration>"
                )],
                "MalformedXML",
            ),
            (
                vec![format!(
                    "<Filter/>{ON}<NoncurrentVersionExpiration><NoncurrentDays>1</NoncurrentDays><NewerNoncurrentVersions>101</NewerNoncurrentVersions></NoncurrentVersionExpiration>"
                )],
                "InvalidArgument",
            ),
        ] {
            let rules: Vec<&str> = rules.iter().map(String::as_str).collect();
            let refused = Configuration::parse(document(&rules).as_bytes()).map_err(|error| error.code());
            assert_eq!(refused, Err(code), "{rules:?}");
        }
        assert_eq!(Configuration::parse(b"<Other/>").unwrap_err().code(), "MalformedXML");
        assert_eq!(Configuration::parse(b"junk").unwrap_err().code(), "MalformedXML");
    }
}
