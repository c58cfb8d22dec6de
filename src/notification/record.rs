//! The event record: the JSON that S3 sends, field for field and in S3's order.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use time::OffsetDateTime;
use time::macros::format_description;

use super::EventName;

/// What a record tells, before it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventRecord {
    pub event: EventName,
    pub region: String,
    /// Milliseconds since the Unix epoch.
    pub time_ms: i64,
    /// Who asked.
    pub principal: String,
    pub source_ip: String,
    pub request_id: String,
    /// The node that answered (`x-amz-id-2`).
    pub host_id: String,
    /// Id of the rule that matched; empty where there is none.
    pub configuration_id: String,
    pub bucket: String,
    /// Owner of the bucket.
    pub owner: String,
    /// As it is, not encoded.
    pub key: String,
    /// Bytes; for created objects and tags.
    pub size: Option<u64>,
    /// Without quotes.
    pub etag: Option<String>,
    pub version_id: Option<String>,
    /// Orders the events of a key: compared as text, which the fixed width makes right.
    pub sequencer: u64,
}

/// The message that S3 sends: `{"Records": […]}`.
pub fn records_json(records: &[EventRecord]) -> String {
    let message = Message { records: records.iter().map(record).collect() };
    serde_json::to_string(&message).expect("a record has only texts and numbers")
}

/// The same for a listener: MinIO, whose call that is, writes `s3:` in front of the event's name.
pub fn listened_json(record_of: &EventRecord) -> String {
    let mut written = record(record_of);
    written.event_name = format!("s3:{}", record_of.event.as_str()).into();
    serde_json::to_string(&Message { records: vec![written] }).expect("a record has only texts and numbers")
}

/// What S3 sends to each topic when a configuration that names it is put.
pub fn test_event_json(time_ms: i64, bucket: &str, request_id: &str, host_id: &str) -> String {
    let message = TestMessage {
        service: "Amazon S3",
        event: "s3:TestEvent",
        time: event_time(time_ms),
        bucket,
        request_id,
        host_id,
    };
    serde_json::to_string(&message).expect("the message has only texts")
}

const KEY_ESCAPES: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'*').remove(b'/').remove(b' ');

/// S3 encodes keys in events as forms do: a space becomes `+`; a slash stays.
fn encode_key(key: &str) -> String {
    utf8_percent_encode(key, KEY_ESCAPES).to_string().replace(' ', "+")
}

fn event_time(time_ms: i64) -> String {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(time_ms) * 1_000_000);
    time.ok().and_then(|time| time.format(&format).ok()).unwrap_or_else(|| "1970-01-01T00:00:00.000Z".to_owned())
}

fn record(record: &EventRecord) -> Record<'_> {
    Record {
        event_version: record.event.record_version(),
        event_source: "aws:s3",
        aws_region: &record.region,
        event_time: event_time(record.time_ms),
        event_name: record.event.as_str().into(),
        user_identity: Principal { principal_id: &record.principal },
        request_parameters: RequestParameters { source_ip: &record.source_ip },
        response_elements: ResponseElements { request_id: &record.request_id, host_id: &record.host_id },
        s3: S3 {
            schema_version: "1.0",
            configuration_id: &record.configuration_id,
            bucket: BucketRecord {
                name: &record.bucket,
                owner_identity: Principal { principal_id: &record.owner },
                arn: format!("arn:aws:s3:::{}", record.bucket),
            },
            object: ObjectRecord {
                key: encode_key(&record.key),
                size: record.size,
                etag: record.etag.as_deref(),
                version_id: record.version_id.as_deref(),
                sequencer: format!("{:016X}", record.sequencer),
            },
        },
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct TestMessage<'a> {
    service: &'a str,
    event: &'a str,
    time: String,
    bucket: &'a str,
    request_id: &'a str,
    host_id: &'a str,
}

#[derive(Serialize)]
struct Message<'a> {
    #[serde(rename = "Records")]
    records: Vec<Record<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Record<'a> {
    event_version: &'a str,
    event_source: &'a str,
    aws_region: &'a str,
    event_time: String,
    event_name: Cow<'a, str>,
    user_identity: Principal<'a>,
    request_parameters: RequestParameters<'a>,
    response_elements: ResponseElements<'a>,
    s3: S3<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Principal<'a> {
    principal_id: &'a str,
}

#[derive(Serialize)]
struct RequestParameters<'a> {
    #[serde(rename = "sourceIPAddress")]
    source_ip: &'a str,
}

#[derive(Serialize)]
struct ResponseElements<'a> {
    #[serde(rename = "x-amz-request-id")]
    request_id: &'a str,
    #[serde(rename = "x-amz-id-2")]
    host_id: &'a str,
}

#[derive(Serialize)]
struct S3<'a> {
    #[serde(rename = "s3SchemaVersion")]
    schema_version: &'a str,
    #[serde(rename = "configurationId")]
    configuration_id: &'a str,
    bucket: BucketRecord<'a>,
    object: ObjectRecord<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BucketRecord<'a> {
    name: &'a str,
    owner_identity: Principal<'a>,
    arn: String,
}

#[derive(Serialize)]
struct ObjectRecord<'a> {
    key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(rename = "eTag", skip_serializing_if = "Option::is_none")]
    etag: Option<&'a str>,
    #[serde(rename = "versionId", skip_serializing_if = "Option::is_none")]
    version_id: Option<&'a str>,
    sequencer: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> EventRecord {
        EventRecord {
            event: EventName::ObjectCreatedPut,
            region: "us-west-2".to_owned(),
            time_ms: 1_700_000_000_123,
            principal: "AERIE".to_owned(),
            source_ip: "127.0.0.1".to_owned(),
            request_id: "C3D13FE58DE4C810".to_owned(),
            host_id: "node".to_owned(),
            configuration_id: "rule".to_owned(),
            bucket: "pictures".to_owned(),
            owner: "AERIE".to_owned(),
            key: "in/Happy Face+\u{e9}.jpg".to_owned(),
            size: Some(1024),
            etag: Some("d41d8cd98f00b204e9800998ecf8427e".to_owned()),
            version_id: Some("v1".to_owned()),
            sequencer: 0xABC,
        }
    }

    #[test]
    fn a_record_has_this_text() {
        assert_eq!(
            records_json(&[example()]),
            r#"{"Records":[{"eventVersion":"2.1","eventSource":"aws:s3","awsRegion":"us-west-2","#.to_owned()
                + r#""eventTime":"2023-11-14T22:13:20.123Z","eventName":"ObjectCreated:Put","#
                + r#""userIdentity":{"principalId":"AERIE"},"requestParameters":{"sourceIPAddress":"127.0.0.1"},"#
                + r#""responseElements":{"x-amz-request-id":"C3D13FE58DE4C810","x-amz-id-2":"node"},"#
                + r#""s3":{"s3SchemaVersion":"1.0","configurationId":"rule","bucket":{"name":"pictures","#
                + r#""ownerIdentity":{"principalId":"AERIE"},"arn":"arn:aws:s3:::pictures"},"#
                + r#""object":{"key":"in/Happy+Face%2B%C3%A9.jpg","size":1024,"#
                + r#""eTag":"d41d8cd98f00b204e9800998ecf8427e","versionId":"v1","sequencer":"0000000000000ABC"}}}]}"#
        );
    }

    #[test]
    fn what_is_not_known_is_left_out_and_sequencers_sort_as_text() {
        let removed = EventRecord { size: None, etag: None, version_id: None, ..example() };
        let text = records_json(&[removed]);
        assert!(
            text.ends_with(r#""object":{"key":"in/Happy+Face%2B%C3%A9.jpg","sequencer":"0000000000000ABC"}}}]}"#),
            "{text}"
        );
        let texts = [0, 9, 10, 0xFFFF, 1 << 40, u64::MAX].map(|sequencer| {
            let text = records_json(&[EventRecord { sequencer, ..example() }]);
            text.split_once("sequencer").expect("it has one").1.to_owned()
        });
        assert!(texts.is_sorted());
    }

    #[test]
    fn later_events_say_so_and_listeners_get_minios_names() {
        for (event, version) in [
            (EventName::ObjectRemovedDelete, "2.1"),
            (EventName::ObjectTaggingPut, "2.3"),
            (EventName::ObjectAclPut, "2.3"),
            (EventName::LifecycleExpirationDelete, "2.3"),
        ] {
            let text = records_json(&[EventRecord { event, ..example() }]);
            assert!(text.contains(&format!(r#""eventVersion":"{version}""#)), "{text}");
        }
        assert!(listened_json(&example()).contains(r#""eventName":"s3:ObjectCreated:Put""#));
        assert_eq!(
            test_event_json(1_700_000_000_123, "pictures", "5582815E1AEA5ADF", "node"),
            r#"{"Service":"Amazon S3","Event":"s3:TestEvent","Time":"2023-11-14T22:13:20.123Z","Bucket":"pictures","#
                .to_owned()
                + r#""RequestId":"5582815E1AEA5ADF","HostId":"node"}"#
        );
    }

    #[test]
    fn times_are_written_to_the_millisecond() {
        for (time_ms, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (1_582_934_400_007, "2020-02-29T00:00:00.007Z"),
            (i64::MAX, "1970-01-01T00:00:00.000Z"),
        ] {
            assert_eq!(event_time(time_ms), expected);
        }
    }
}
