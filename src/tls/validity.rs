//! From when until when a certificate holds: the one fact of it that an operator must be told in time.
//!
//! Reads no more of the DER than is before it: whether the certificate is any good is rustls' matter. Pure.

use rustls::pki_types::CertificateDer;
use serde::Serialize;
use time::format_description::well_known::Rfc3339;
use time::{Date, Month, OffsetDateTime, PrimitiveDateTime, Time};

/// Both ends, which belong to it, in seconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Validity {
    pub from_s: i64,
    pub until_s: i64,
}

const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
/// `[0]`, which the version of all but the oldest certificates is in.
const VERSION: u8 = 0xa0;

impl Validity {
    /// The end for people: `2036-12-31T00:00:00Z`.
    pub fn until(&self) -> String {
        let until = OffsetDateTime::from_unix_timestamp(self.until_s).ok();
        // Certificates have years of four digits, as the format has.
        until.and_then(|until| until.format(&Rfc3339).ok()).unwrap_or_default()
    }

    /// None of what is no certificate.
    pub fn of(certificate: &CertificateDer<'_>) -> Option<Validity> {
        let mut certificate = take(&mut &**certificate, SEQUENCE)?;
        let mut signed = take(&mut certificate, SEQUENCE)?;
        if signed.first() == Some(&VERSION) {
            take(&mut signed, VERSION)?;
        }
        // Serial number, algorithm, issuer.
        for tag in [INTEGER, SEQUENCE, SEQUENCE] {
            take(&mut signed, tag)?;
        }
        let mut times = take(&mut signed, SEQUENCE)?;
        Some(Validity { from_s: moment(&mut times)?, until_s: moment(&mut times)? })
    }
}

/// The contents of the element that `bytes` begin with, which must be such a one; they move on behind it.
fn take<'a>(bytes: &mut &'a [u8], tag: u8) -> Option<&'a [u8]> {
    let (&[first, length], rest) = bytes.split_first_chunk()?;
    let (length, rest) = match length {
        0..=0x7f => (usize::from(length), rest),
        // The length's own length, in bytes; no certificate needs more than three.
        0x81..=0x83 => {
            let (digits, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
            (digits.iter().fold(0, |length, &digit| length << 8 | usize::from(digit)), rest)
        }
        _ => return None,
    };
    let (contents, rest) = rest.split_at_checked(length)?;
    *bytes = rest;
    (first == tag).then_some(contents)
}

/// `YYMMDDHHMMSSZ`, of the years from 1950 on, or `YYYYMMDDHHMMSSZ`.
fn moment(bytes: &mut &[u8]) -> Option<i64> {
    let (text, year_digits) = match bytes.first()? {
        &UTC_TIME => (take(bytes, UTC_TIME)?, 2),
        _ => (take(bytes, GENERALIZED_TIME)?, 4),
    };
    let digits = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let (year, rest) = digits.split_at_checked(year_digits)?;
    let year: i32 = year.parse().ok()?;
    let year = match year_digits {
        2 if year < 50 => 2000 + year,
        2 => 1900 + year,
        _ => year,
    };
    let pair = |at: usize| rest.get(at..at + 2)?.parse::<u8>().ok();
    let date = Date::from_calendar_date(year, Month::try_from(pair(0)?).ok()?, pair(2)?).ok()?;
    let time = Time::from_hms(pair(4)?, pair(6)?, pair(8)?).ok()?;
    Some(PrimitiveDateTime::new(date, time).assume_utc().unix_timestamp())
}
