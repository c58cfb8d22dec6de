//! Object lock: a bucket's configuration, a version's retention, its legal hold.

use super::{DocumentError, root, schema};
use crate::limits;
use crate::meta::{DefaultRetention, Retention, RetentionMode, RetentionPeriod};
use crate::wire::date;
use crate::xml::{Document, Element};

/// What PutObjectLockConfiguration asks for: the retention of new versions, if any.
pub fn parse_object_lock(document: &[u8]) -> Result<Option<DefaultRetention>, DocumentError> {
    let root = root(document, "ObjectLockConfiguration")?;
    match root.text_of("ObjectLockEnabled").map(str::trim) {
        Some("Enabled") => {}
        other => {
            let state = other.unwrap_or_default();
            return Err(schema(format!("<ObjectLockEnabled> is `{state}`, it must be Enabled")));
        }
    }
    let Some(rule) = root.child("Rule") else { return Ok(None) };
    let default = rule.child("DefaultRetention").ok_or_else(|| schema("the <Rule> has no <DefaultRetention>"))?;
    let mode = parse_mode(default)?;
    let period = match (default.text_of("Days"), default.text_of("Years")) {
        (Some(days), None) => RetentionPeriod::Days(parse_period(days, "Days", limits::RETENTION_DAYS_MAX)?),
        (None, Some(years)) => RetentionPeriod::Years(parse_period(years, "Years", limits::RETENTION_YEARS_MAX)?),
        _ => return Err(schema("a <DefaultRetention> has either <Days> or <Years>")),
    };
    Ok(Some(DefaultRetention { mode, period }))
}

fn parse_mode(element: &Element<'_>) -> Result<RetentionMode, DocumentError> {
    let text = element.text_of("Mode").map(str::trim).unwrap_or_default();
    RetentionMode::parse(text).ok_or_else(|| schema(format!("<Mode> is `{text}`, it must be GOVERNANCE or COMPLIANCE")))
}

fn parse_period(text: &str, name: &str, most: u32) -> Result<u32, DocumentError> {
    let number =
        text.trim().parse::<i64>().map_err(|_| schema(format!("<{name}> is `{text}`, it must be a number")))?;
    let message = match number {
        ..=0 => "Default retention period must be a positive integer value.".to_owned(),
        number if number > i64::from(most) => format!("Default retention period too large: at most {most} {name}."),
        number => return Ok(number as u32),
    };
    Err(DocumentError::RetentionPeriod(message))
}

/// The answer of GetObjectLockConfiguration.
pub fn object_lock_document(default: Option<DefaultRetention>) -> String {
    let mut document = Document::new("ObjectLockConfiguration");
    document.text("ObjectLockEnabled", "Enabled");
    if let Some(DefaultRetention { mode, period }) = default {
        document.inside("Rule", |document| {
            document.inside("DefaultRetention", |document| {
                document.text("Mode", mode.as_str());
                match period {
                    RetentionPeriod::Days(days) => document.value("Days", days),
                    RetentionPeriod::Years(years) => document.value("Years", years),
                }
            });
        });
    }
    document.finish()
}

/// The retention that PutObjectRetention asks for; `None` ends it.
pub fn parse_retention(document: &[u8]) -> Result<Option<Retention>, DocumentError> {
    let root = root(document, "Retention")?;
    let Some(until) = root.text_of("RetainUntilDate").map(str::trim) else {
        return match root.child("Mode") {
            None => Ok(None),
            Some(_) => Err(schema("a <Retention> with a <Mode> needs a <RetainUntilDate>")),
        };
    };
    let mode = parse_mode(&root)?;
    let until_ms = date::parse_iso(until)
        .ok_or_else(|| schema(format!("<RetainUntilDate> is `{until}`, it must be like 2027-01-31T00:00:00Z")))?;
    Ok(Some(Retention { mode, until_ms }))
}

/// The answer of GetObjectRetention.
pub fn retention_document(retention: Retention) -> String {
    let mut document = Document::new("Retention");
    document.text("Mode", retention.mode.as_str());
    document.value("RetainUntilDate", date::iso(retention.until_ms));
    document.finish()
}

/// The state that PutObjectLegalHold asks for.
pub fn parse_legal_hold(document: &[u8]) -> Result<bool, DocumentError> {
    let root = root(document, "LegalHold")?;
    match root.text_of("Status").map(str::trim) {
        Some("ON") => Ok(true),
        Some("OFF") => Ok(false),
        other => Err(schema(format!("<Status> is `{}`, it must be ON or OFF", other.unwrap_or_default()))),
    }
}

/// ON or OFF, as S3 writes it.
pub fn legal_hold_text(on: bool) -> &'static str {
    if on { "ON" } else { "OFF" }
}

/// The answer of GetObjectLegalHold.
pub fn legal_hold_document(on: bool) -> String {
    let mut document = Document::new("LegalHold");
    document.text("Status", legal_hold_text(on));
    document.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::error::S3Code;

    #[test]
    fn configurations_are_read_and_written_back() {
        let of = |body: &str| {
            let document = format!("<ObjectLockConfiguration>{body}</ObjectLockConfiguration>");
            parse_object_lock(document.as_bytes()).map_err(|error| error.code())
        };
        let rule = |inner: &str| {
            format!(
                "<ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule><DefaultRetention>{inner}</DefaultRetention></Rule>"
            )
        };
        assert_eq!(of("<ObjectLockEnabled>Enabled</ObjectLockEnabled>"), Ok(None));
        let days = DefaultRetention { mode: RetentionMode::Governance, period: RetentionPeriod::Days(3) };
        assert_eq!(of(&rule("<Mode>GOVERNANCE</Mode><Days>3</Days>")), Ok(Some(days)));
        assert_eq!(parse_object_lock(object_lock_document(Some(days)).as_bytes()).ok(), Some(Some(days)));
        for (body, code) in [
            ("<ObjectLockEnabled>Disabled</ObjectLockEnabled>".to_owned(), S3Code::MalformedXML),
            ("<Rule/>".to_owned(), S3Code::MalformedXML),
            ("<ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule/>".to_owned(), S3Code::MalformedXML),
            (rule("<Mode>GOVERNANCE</Mode>"), S3Code::MalformedXML),
            (rule("<Mode>GOVERNANCE</Mode><Days>1</Days><Years>1</Years>"), S3Code::MalformedXML),
            (rule("<Mode>governance</Mode><Days>1</Days>"), S3Code::MalformedXML),
            (rule("<Mode>GOVERNANCE</Mode><Days>0</Days>"), S3Code::InvalidRetentionPeriod),
            (rule("<Mode>GOVERNANCE</Mode><Years>-1</Years>"), S3Code::InvalidRetentionPeriod),
            (rule("<Mode>GOVERNANCE</Mode><Years>101</Years>"), S3Code::InvalidRetentionPeriod),
        ] {
            assert_eq!(of(&body), Err(code), "{body}");
        }
    }

    #[test]
    fn retentions_and_legal_holds_are_read() {
        let of = |body: &str| {
            parse_retention(format!("<Retention>{body}</Retention>").as_bytes()).map_err(|error| error.code())
        };
        let until = "<RetainUntilDate>2030-01-01T00:00:00Z</RetainUntilDate>";
        let retention = Retention { mode: RetentionMode::Compliance, until_ms: 1_893_456_000_000 };
        assert_eq!(of(&format!("<Mode>COMPLIANCE</Mode>{until}")), Ok(Some(retention)));
        assert_eq!(of(""), Ok(None));
        for bad in [until, "<Mode>COMPLIANCE</Mode>", "<Mode>abc</Mode><RetainUntilDate>2030</RetainUntilDate>"] {
            assert_eq!(of(bad), Err(S3Code::MalformedXML), "{bad}");
        }
        let hold =
            |text: &str| parse_legal_hold(format!("<LegalHold><Status>{text}</Status></LegalHold>").as_bytes()).ok();
        assert_eq!((hold("ON"), hold("OFF"), hold("abc")), (Some(true), Some(false), None));
    }
}
