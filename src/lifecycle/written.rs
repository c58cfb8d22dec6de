//! Writes the lifecycle document: S3's XML.

use time::OffsetDateTime;

use super::{Configuration, Expiration, Filter, Rule, Scope};
use crate::xml::Document;

impl Configuration {
    /// S3's XML, each rule in the form in which it came.
    pub fn to_xml(&self) -> String {
        let mut document = Document::sized("LifecycleConfiguration", 256 + 256 * self.rules.len());
        for rule in &self.rules {
            document.inside("Rule", |document| write_rule(document, rule));
        }
        document.finish()
    }
}

fn write_rule(document: &mut Document, rule: &Rule) {
    document.text("ID", &rule.id);
    match &rule.scope {
        Scope::Prefix(prefix) => document.text("Prefix", prefix),
        Scope::Filter(filter) => document.inside("Filter", |document| match filter.and {
            true => document.inside("And", |document| write_filter(document, filter)),
            false => write_filter(document, filter),
        }),
    }
    document.text("Status", if rule.enabled { "Enabled" } else { "Disabled" });
    if let Some(expiration) = rule.expiration {
        document.inside("Expiration", |document| match expiration {
            Expiration::Days(days) => document.value("Days", days),
            Expiration::Marker(flag) => document.value("ExpiredObjectDeleteMarker", flag),
            Expiration::Date(date_ms) => {
                let date = OffsetDateTime::from_unix_timestamp(date_ms / 1000).unwrap_or(OffsetDateTime::UNIX_EPOCH);
                let (year, month, day) = (date.year(), u8::from(date.month()), date.day());
                document.value("Date", format_args!("{year:04}-{month:02}-{day:02}T00:00:00.000Z"));
            }
        });
    }
    if let Some(noncurrent) = rule.noncurrent {
        document.inside("NoncurrentVersionExpiration", |document| {
            document.value("NoncurrentDays", noncurrent.days);
            if let Some(newer) = noncurrent.newer {
                document.value("NewerNoncurrentVersions", newer);
            }
        });
    }
    if let Some(days) = rule.abort_days {
        document.inside("AbortIncompleteMultipartUpload", |document| document.value("DaysAfterInitiation", days));
    }
}

fn write_filter(document: &mut Document, filter: &Filter) {
    document.text_if("Prefix", filter.prefix.as_deref());
    for (key, value) in &filter.tags {
        document.inside("Tag", |document| {
            document.text("Key", key);
            document.text("Value", value);
        });
    }
    if let Some(bound) = filter.size_greater {
        document.value("ObjectSizeGreaterThan", bound);
    }
    if let Some(bound) = filter.size_less {
        document.value("ObjectSizeLessThan", bound);
    }
}
