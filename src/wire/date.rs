//! Dates as S3 and HTTP write them. All of them are UTC.

use time::format_description::FormatItem;
use time::format_description::well_known::{Rfc2822, Rfc3339};
use time::macros::format_description;
use time::{OffsetDateTime, PrimitiveDateTime};

const BASIC: &[FormatItem<'_>] = format_description!("[year][month][day]T[hour][minute][second]Z");
const IMF: &[FormatItem<'_>] =
    format_description!("[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT");
const RFC850: &[FormatItem<'_>] = format_description!(
    "[weekday], [day]-[month repr:short]-[year repr:last_two base:calendar] [hour]:[minute]:[second] GMT"
);

fn date_time(unix_ms: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(unix_ms) * 1_000_000).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// Appends a number with leading zeros. Every answer has dates and a listing has a thousand: `format!` is ten times slower.
fn push_digits<const WIDTH: usize>(out: &mut String, number: u32) {
    let mut digits = [b'0'; WIDTH];
    let mut rest = number;
    for digit in digits.iter_mut().rev() {
        *digit += (rest % 10) as u8;
        rest /= 10;
    }
    out.extend(digits.iter().map(|digit| char::from(*digit)));
}

/// Year, month, day with this between them.
fn push_date(out: &mut String, t: OffsetDateTime, between: &str) {
    push_digits::<4>(out, t.year().unsigned_abs());
    out.push_str(between);
    push_digits::<2>(out, u32::from(u8::from(t.month())));
    out.push_str(between);
    push_digits::<2>(out, u32::from(t.day()));
}

fn push_time(out: &mut String, t: OffsetDateTime, between: &str) {
    push_digits::<2>(out, u32::from(t.hour()));
    out.push_str(between);
    push_digits::<2>(out, u32::from(t.minute()));
    out.push_str(between);
    push_digits::<2>(out, u32::from(t.second()));
}

/// `2009-10-12T17:50:30.000Z`, as in S3's XML.
pub fn iso(unix_ms: i64) -> String {
    let t = date_time(unix_ms);
    let mut out = String::with_capacity("2009-10-12T17:50:30.000Z".len());
    push_date(&mut out, t, "-");
    out.push('T');
    push_time(&mut out, t, ":");
    out.push('.');
    push_digits::<3>(&mut out, u32::from(t.millisecond()));
    out.push('Z');
    out
}

/// `Mon, 12 Oct 2009 17:50:30 GMT`, as in HTTP's headers.
pub fn http(unix_ms: i64) -> String {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
    let t = date_time(unix_ms);
    let mut out = String::with_capacity("Mon, 12 Oct 2009 17:50:30 GMT".len());
    out.push_str(DAYS[usize::from(t.weekday().number_days_from_monday())]);
    out.push_str(", ");
    push_digits::<2>(&mut out, u32::from(t.day()));
    out.push(' ');
    out.push_str(MONTHS[usize::from(u8::from(t.month())) - 1]);
    out.push(' ');
    push_digits::<4>(&mut out, t.year().unsigned_abs());
    out.push(' ');
    push_time(&mut out, t, ":");
    out.push_str(" GMT");
    out
}

/// `20091012T175030Z`, as in signatures.
pub fn basic(unix_ms: i64) -> String {
    let t = date_time(unix_ms);
    let mut out = String::with_capacity("20091012T175030Z".len());
    push_date(&mut out, t, "");
    out.push('T');
    push_time(&mut out, t, "");
    out.push('Z');
    out
}

/// Reads `20091012T175030Z`; milliseconds since the Unix epoch.
pub fn parse_basic(text: &str) -> Option<i64> {
    parse(text, BASIC)
}

/// Reads HTTP's dates (and ISO 8601, which S3 takes, too, and those of mail, which Python writes); milliseconds since the Unix epoch.
pub fn parse_http(text: &str) -> Option<i64> {
    let text = text.trim();
    let mail = || unix_ms(OffsetDateTime::parse(text, &Rfc2822).ok()?);
    parse(text, IMF).or_else(|| parse(text, RFC850)).or_else(|| parse_iso(text)).or_else(mail)
}

/// Reads ISO 8601 with an offset or `Z`; milliseconds since the Unix epoch.
pub fn parse_iso(text: &str) -> Option<i64> {
    unix_ms(OffsetDateTime::parse(text, &Rfc3339).ok()?)
}

fn unix_ms(time: OffsetDateTime) -> Option<i64> {
    i64::try_from(time.unix_timestamp_nanos() / 1_000_000).ok()
}

fn parse(text: &str, format: &[FormatItem<'_>]) -> Option<i64> {
    Some(PrimitiveDateTime::parse(text, format).ok()?.assume_utc().unix_timestamp() * 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_written_and_read_back() {
        let ms = 1_255_369_830_123;
        let second = 1_255_369_830_000;
        assert_eq!(iso(ms), "2009-10-12T17:50:30.123Z");
        assert_eq!(http(ms), "Mon, 12 Oct 2009 17:50:30 GMT");
        assert_eq!(basic(ms), "20091012T175030Z");
        let early = 1_704_164_645_006;
        assert_eq!(iso(early), "2024-01-02T03:04:05.006Z");
        assert_eq!(http(early), "Tue, 02 Jan 2024 03:04:05 GMT");
        assert_eq!(basic(early), "20240102T030405Z");
        assert_eq!(parse_basic("20091012T175030Z"), Some(second));
        for text in [
            "Mon, 12 Oct 2009 17:50:30 GMT",
            " Mon, 12 Oct 2009 17:50:30 GMT",
            "2009-10-12T17:50:30Z",
            "Mon, 12 Oct 2009 17:50:30 -0000",
        ] {
            assert_eq!(parse_http(text), Some(second), "{text}");
        }
        assert_eq!(parse_iso("2009-10-12T19:50:30.123+02:00"), Some(ms));
        for bad in ["", "yesterday", "Mon, 12 Oct 2009", "20091012", "2009-10-12"] {
            assert_eq!(parse_http(bad), None, "{bad}");
            assert_eq!(parse_basic(bad), None, "{bad}");
        }
    }
}
