//! Object lock, lifecycle documents and quotas, as clients see them.

use pollster::block_on;

use super::Store;
use crate::wire::date;

const ENABLED: &str = "<ObjectLockEnabled>Enabled</ObjectLockEnabled>";

fn configuration(inner: &str) -> String {
    format!("<ObjectLockConfiguration>{ENABLED}{inner}</ObjectLockConfiguration>")
}

fn default_retention(mode: &str, period: &str) -> String {
    configuration(&format!("<Rule><DefaultRetention><Mode>{mode}</Mode>{period}</DefaultRetention></Rule>"))
}

fn locked() -> Store {
    let store = Store::new();
    let created = store.ask("PUT", "/locked", &[("x-amz-bucket-object-lock-enabled", "true")], b"");
    assert_eq!(created.status, 200);
    store
}

impl Store {
    /// Some seconds from now, as S3 writes time.
    fn in_seconds(&self, seconds: i64) -> String {
        date::iso(self.engine.world().clock.unix_ms() + seconds * 1000)
    }

    fn retain(&self, target: &str, mode: &str, until: &str, headers: &[(&str, &str)]) -> String {
        let document = format!("<Retention><Mode>{mode}</Mode><RetainUntilDate>{until}</RetainUntilDate></Retention>");
        self.ask("PUT", &format!("{target}?retention"), headers, document.as_bytes()).outcome()
    }
}

#[test]
fn object_lock_is_configured_where_versions_are_kept() {
    let store = Store::with_bucket("plain");
    let put = |bucket: &str, document: &str| {
        store.ask("PUT", &format!("/{bucket}?object-lock"), &[], document.as_bytes()).outcome()
    };
    let days = default_retention("GOVERNANCE", "<Days>3</Days>");
    assert_eq!(store.ask("GET", "/plain?object-lock", &[], b"").outcome(), "404 ObjectLockConfigurationNotFoundError");
    assert_eq!(put("plain", &days), "409 InvalidBucketState");
    let version = |status: &str| {
        let document = format!("<VersioningConfiguration><Status>{status}</Status></VersioningConfiguration>");
        store.ask("PUT", "/plain?versioning", &[], document.as_bytes()).outcome()
    };
    assert_eq!(version("Suspended"), "200");
    assert_eq!(put("plain", &days), "409 InvalidBucketState");
    assert_eq!(version("Enabled"), "200");
    assert_eq!(put("plain", &default_retention("GOVERNANCE", "<Days>0</Days>")), "400 InvalidRetentionPeriod");
    assert_eq!(put("plain", &default_retention("governance", "<Days>1</Days>")), "400 MalformedXML");
    assert_eq!(put("plain", &days), "200");
    let told = store.ask("GET", "/plain?object-lock", &[], b"");
    assert_eq!((told.element("Mode"), told.element("Days")), ("GOVERNANCE".to_owned(), "3".to_owned()));
    assert_eq!(version("Suspended"), "409 InvalidBucketState");
    assert_eq!(put("plain", &configuration("")), "200");
    assert_eq!(store.ask("GET", "/plain?object-lock", &[], b"").element("Mode"), "");
}

#[test]
fn an_upload_brings_its_lock_and_readers_are_told() {
    let store = locked();
    let until = store.in_seconds(3600);
    let headers = [
        ("x-amz-object-lock-mode", "COMPLIANCE"),
        ("x-amz-object-lock-retain-until-date", until.as_str()),
        ("x-amz-object-lock-legal-hold", "ON"),
    ];
    let put = store.ask("PUT", "/locked/k", &headers, b"body");
    assert_eq!(put.outcome(), "200");
    let read = store.ask("HEAD", "/locked/k", &[], b"");
    for (name, value) in headers {
        assert_eq!(read.header(name), value, "{name}");
    }
    let id = put.header("x-amz-version-id");
    let delete = |headers: &[(&str, &str)]| store.ask("DELETE", &format!("/locked/k?versionId={id}"), headers, b"");
    let bypass = [("x-amz-bypass-governance-retention", "true")];
    assert_eq!(delete(&bypass).outcome(), "403 AccessDenied");
    assert!(delete(&[]).element("Message").contains("object lock"));
    let many = format!("<Delete><Object><Key>k</Key><VersionId>{id}</VersionId></Object></Delete>");
    let md5 = crate::hash::base64_encode(&crate::hash::Md5::of(many.as_bytes()));
    let answer = store.ask("POST", "/locked?delete", &[("content-md5", &md5), bypass[0]], many.as_bytes());
    assert_eq!((answer.element("Code"), answer.element("Deleted")), ("AccessDenied".to_owned(), String::new()));
    // A copy does not inherit the lock.
    assert_eq!(store.ask("PUT", "/locked/copy", &[("x-amz-copy-source", "/locked/k")], b"").outcome(), "200");
    assert_eq!(store.ask("HEAD", "/locked/copy", &[], b"").header("x-amz-object-lock-mode"), "");
    assert_eq!(store.ask("DELETE", "/locked", &[], b"").outcome(), "409 BucketNotEmpty");
}

#[test]
fn wrong_locks_are_refused() {
    let store = locked();
    assert_eq!(store.ask("PUT", "/plain", &[], b"").status, 200);
    let (future, past) = (store.in_seconds(3600), store.in_seconds(-5));
    let (mode, until) = ("x-amz-object-lock-mode", "x-amz-object-lock-retain-until-date");
    for (bucket, headers, outcome) in [
        ("locked", vec![(mode, "GOVERNANCE")], "400 InvalidArgument"),
        ("locked", vec![(until, future.as_str())], "400 InvalidArgument"),
        ("locked", vec![(mode, "abc"), (until, &future)], "400 InvalidArgument"),
        ("locked", vec![(mode, "GOVERNANCE"), (until, "tomorrow")], "400 InvalidArgument"),
        ("locked", vec![(mode, "GOVERNANCE"), (until, &past)], "400 InvalidArgument"),
        ("locked", vec![("x-amz-object-lock-legal-hold", "on")], "400 InvalidArgument"),
        ("plain", vec![(mode, "GOVERNANCE"), (until, &future)], "400 InvalidRequest"),
        ("plain", vec![("x-amz-object-lock-legal-hold", "OFF")], "400 InvalidRequest"),
        ("locked", vec![(mode, "GOVERNANCE"), (until, &future)], "200"),
    ] {
        for (method, target) in [("PUT", "k"), ("POST", "k?uploads")] {
            let got = store.ask(method, &format!("/{bucket}/{target}"), &headers, b"");
            assert_eq!(got.outcome(), outcome, "{method} {bucket} {headers:?}");
        }
    }
    store.put("plain", "k", b"x");
    for (method, what) in [("GET", "retention"), ("GET", "legal-hold"), ("PUT", "legal-hold")] {
        let body = b"<LegalHold><Status>ON</Status></LegalHold>";
        let got = store.ask(method, &format!("/plain/k?{what}"), &[], body);
        assert_eq!(got.outcome(), "400 InvalidRequest", "{method} {what}");
    }
}

#[test]
fn retention_is_made_firmer_and_loosened_only_by_who_may() {
    let store = locked();
    store.put("locked", "k", b"x");
    let bypass = [("x-amz-bypass-governance-retention", "true")];
    assert_eq!(store.ask("GET", "/locked/k?retention", &[], b"").outcome(), "404 NoSuchObjectLockConfiguration");
    let (hour, day) = (store.in_seconds(3600), store.in_seconds(24 * 3600));
    assert_eq!(store.retain("/locked/k", "GOVERNANCE", &store.in_seconds(-1), &[]), "400 InvalidArgument");
    assert_eq!(store.retain("/locked/k", "abc", &hour, &[]), "400 MalformedXML");
    assert_eq!(store.retain("/locked/absent", "GOVERNANCE", &hour, &[]), "404 NoSuchKey");
    assert_eq!(store.retain("/locked/k", "GOVERNANCE", &hour, &[]), "200");
    assert_eq!(store.retain("/locked/k", "GOVERNANCE", &day, &[]), "200");
    assert_eq!(store.ask("GET", "/locked/k?retention", &[], b"").element("RetainUntilDate"), day);
    assert_eq!(store.retain("/locked/k", "GOVERNANCE", &hour, &[]), "403 AccessDenied");
    assert_eq!(store.retain("/locked/k", "COMPLIANCE", &day, &[]), "403 AccessDenied");
    assert_eq!(store.retain("/locked/k", "GOVERNANCE", &hour, &bypass), "200");
    assert_eq!(store.retain("/locked/k", "COMPLIANCE", &hour, &bypass), "200");
    assert_eq!(store.retain("/locked/k", "GOVERNANCE", &day, &bypass), "403 AccessDenied");
    assert_eq!(store.ask("PUT", "/locked/k?retention", &bypass, b"<Retention/>").outcome(), "403 AccessDenied");
    let hold = |status: &str| {
        let document = format!("<LegalHold><Status>{status}</Status></LegalHold>");
        store.ask("PUT", "/locked/k?legal-hold", &[], document.as_bytes()).outcome()
    };
    assert_eq!(store.ask("GET", "/locked/k?legal-hold", &[], b"").outcome(), "404 NoSuchObjectLockConfiguration");
    assert_eq!(hold("maybe"), "400 MalformedXML");
    for status in ["ON", "OFF"] {
        assert_eq!(hold(status), "200");
        assert_eq!(store.ask("GET", "/locked/k?legal-hold", &[], b"").element("Status"), status);
    }
}

const RULE: &str = "<Rule><ID>old frames</ID><Filter><Prefix>frames/</Prefix></Filter><Status>Enabled</Status><Expiration><Days>1</Days></Expiration><AbortIncompleteMultipartUpload><DaysAfterInitiation>2</DaysAfterInitiation></AbortIncompleteMultipartUpload></Rule>";

#[test]
fn lifecycle_rules_are_kept_and_objects_tell_their_end() {
    let store = Store::with_bucket("bucket");
    let put = |rule: &str| {
        let document = format!("<LifecycleConfiguration>{rule}</LifecycleConfiguration>");
        store.ask("PUT", "/bucket?lifecycle", &[], document.as_bytes())
    };
    assert_eq!(put("").outcome(), "400 MalformedXML");
    let transition = RULE.replace(
        "<Expiration><Days>1</Days></Expiration>",
        "<Transition><Days>1</Days><StorageClass>GLACIER</StorageClass></Transition>",
    );
    assert_eq!(put(&transition).outcome(), "400 InvalidStorageClass");
    let minimum = "x-amz-transition-default-minimum-object-size";
    assert_eq!(put(RULE).header(minimum), "all_storage_classes_128K");
    let told = store.ask("GET", "/bucket?lifecycle", &[], b"");
    assert!(told.text.contains(RULE), "{}", told.text);
    assert_eq!(told.header(minimum), "all_storage_classes_128K");
    let wrote = store.ask("PUT", "/bucket/frames/1", &[], b"x");
    let end = wrote.header("x-amz-expiration").to_owned();
    assert!(end.starts_with("expiry-date=\"") && end.ends_with("00:00:00 GMT\", rule-id=\"old%20frames\""), "{end}");
    assert_eq!(store.ask("HEAD", "/bucket/frames/1", &[], b"").header("x-amz-expiration"), end);
    let copied = store.ask("PUT", "/bucket/frames/2", &[("x-amz-copy-source", "/bucket/frames/1")], b"");
    assert_eq!(copied.header("x-amz-expiration"), end);
    assert_eq!(store.ask("PUT", "/bucket/other", &[], b"x").header("x-amz-expiration"), "");
    let begun = store.ask("POST", "/bucket/frames/3?uploads", &[], b"");
    assert_eq!(begun.header("x-amz-abort-rule-id"), "old%20frames");
    assert!(begun.header("x-amz-abort-date").ends_with("00:00:00 GMT"));
    let parts = format!("/bucket/frames/3?uploadId={}", begun.element("UploadId"));
    let parts = store.ask("GET", &parts, &[], b"");
    for name in ["x-amz-abort-date", "x-amz-abort-rule-id"] {
        assert_eq!(parts.header(name), begun.header(name), "{name} of ListParts");
    }
    assert_eq!(store.ask("DELETE", "/bucket?lifecycle", &[], b"").outcome(), "204");
    assert_eq!(store.ask("GET", "/bucket?lifecycle", &[], b"").outcome(), "404 NoSuchLifecycleConfiguration");
    assert_eq!(store.ask("HEAD", "/bucket/frames/1", &[], b"").header("x-amz-expiration"), "");
}

#[test]
fn a_quota_is_told_before_the_body_is_read_and_again_at_the_commit() {
    let store = Store::with_bucket("bucket");
    let bucket = store.engine.bucket("bucket").unwrap();
    block_on(store.engine.set_quota(&bucket, Some(10), None)).unwrap();
    assert_eq!(store.ask("PUT", "/bucket/a", &[], b"12345678").outcome(), "200");
    assert_eq!(store.ask("PUT", "/bucket/b", &[], b"123").outcome(), "403 QuotaExceeded");
    assert_eq!(store.ask("PUT", "/bucket/a", &[], b"1234567890").outcome(), "200", "it gives its own place");
    let copy = store.ask("PUT", "/bucket/b", &[("x-amz-copy-source", "/bucket/a")], b"");
    assert_eq!(copy.outcome(), "403 QuotaExceeded");
    let begun = store.ask("POST", "/bucket/c?uploads", &[], b"");
    let part = format!("/bucket/c?uploadId={}&partNumber=1", begun.element("UploadId"));
    assert_eq!(store.ask("PUT", &part, &[], b"1").outcome(), "403 QuotaExceeded");
    assert_eq!(store.ask("DELETE", "/bucket/a", &[], b"").outcome(), "204");
    assert_eq!(store.ask("PUT", &part, &[], b"1234567890").outcome(), "200");
    assert_eq!(store.ask("PUT", "/bucket/b", &[], b"1").outcome(), "403 QuotaExceeded", "parts count");
}
