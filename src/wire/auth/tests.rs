//! Signatures against AWS's published examples, and what is refused.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::{Authenticated, Authenticator, FormSignature, Head, Identity, Payload};
use crate::access::{Principal, Registry, Secret};
use crate::wire::date;
use crate::wire::error::{S3Code, S3Error};
use crate::wire::query::Query;
use crate::wire::settings::{HookExists, Settings, Timeouts};

const SCOPE: &str = "AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request";
const EMPTY: &str = super::signing::EMPTY_SHA256;

pub fn settings() -> Settings {
    Settings {
        region: "us-east-1".to_owned(),
        domain: None,
        access: Arc::new(Registry::of_root(
            "AKIAIOSFODNN7EXAMPLE",
            Secret::new("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
            crate::seam::real::world(),
        )),
        server: "test".to_owned(),
        host_id: "node".to_owned(),
        timeouts: Timeouts::default(),
        plain_http: crate::tls::PlainHttp::Serve,
        hook_exists: HookExists::new(|_| false),
        transforms: crate::wire::Transforms::none(),
        object_ownership: crate::acl::ObjectOwnership::default(),
        clients: crate::wire::Clients::unbounded(crate::seam::real::world().clock),
        audit_requests: false,
        transfers: crate::wire::Transfers::new(16),
        traffic: crate::wire::Traffic::new(),
        customer_keys_in_clear: true,
    }
}

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let pair =
        |(name, value): &(&'static str, &str)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
    pairs.iter().map(pair).collect()
}

fn check_at(method: &str, uri: &str, headers: &HeaderMap, at: &str) -> Result<Authenticated, S3Error> {
    let (path, raw_query) = uri.split_once('?').unwrap_or((uri, ""));
    let query = Query::parse(raw_query).unwrap();
    let head = Head { method, path, raw_query, query: &query, headers };
    Authenticator::default().authenticate(head, &settings(), date::parse_basic(at).unwrap())
}

fn check(method: &str, uri: &str, headers: &HeaderMap) -> Result<Authenticated, S3Error> {
    check_at(method, uri, headers, "20130524T000010Z")
}

fn signed(extra: &[(&'static str, &str)], signed_headers: &str, digest: &str, signature: &str) -> HeaderMap {
    let authorization =
        format!("AWS4-HMAC-SHA256 Credential={SCOPE},SignedHeaders={signed_headers},Signature={signature}");
    let mut all = headers(extra);
    all.extend(headers(&[
        ("authorization", authorization.as_str()),
        ("x-amz-content-sha256", digest),
        ("x-amz-date", "20130524T000000Z"),
    ]));
    all
}

const HOST: (&str, &str) = ("host", "examplebucket.s3.amazonaws.com");

fn get_object(signature: &str) -> HeaderMap {
    signed(&[HOST, ("range", "bytes=0-9")], "host;range;x-amz-content-sha256;x-amz-date", EMPTY, signature)
}

const GET_OBJECT: &str = "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41";
const PRESIGNED: &str = "/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404";

#[test]
fn published_examples_in_the_header() {
    let put_digest = "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072";
    let put = signed(
        &[HOST, ("date", "Fri, 24 May 2013 00:00:00 GMT"), ("x-amz-storage-class", "REDUCED_REDUNDANCY")],
        "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
        put_digest,
        "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
    );
    let plain = "host;x-amz-content-sha256;x-amz-date";
    let lifecycle = signed(&[HOST], plain, EMPTY, "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543");
    let list = signed(&[HOST], plain, EMPTY, "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7");
    for (method, uri, headers) in [
        ("GET", "/test.txt", get_object(GET_OBJECT)),
        ("PUT", "/test$file.text", put),
        ("GET", "/?lifecycle", lifecycle),
        ("GET", "/?max-keys=2&prefix=J", list),
    ] {
        let good = check(method, uri, &headers).unwrap();
        assert!(good.identity.principal().is_some_and(Principal::is_store_root));
        assert!(matches!(good.payload, Payload::Sha256(_)));
        let other = check(method, &format!("{uri}x"), &headers).unwrap_err();
        assert_eq!(other.code, S3Code::SignatureDoesNotMatch);
        let names: Vec<&str> = other.fields.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["AWSAccessKeyId", "StringToSign", "SignatureProvided", "CanonicalRequest"]);
    }
}

#[test]
fn published_example_in_the_query() {
    let host = headers(&[HOST]);
    let good = check("GET", PRESIGNED, &host).unwrap();
    assert!(matches!(good.payload, Payload::Unsigned));
    for (at, code, message) in [
        ("20130523T234501Z", None, ""),
        ("20130523T234459Z", Some(S3Code::AccessDenied), "Request is not valid yet"),
        ("20130524T235959Z", None, ""),
        ("20130525T000000Z", Some(S3Code::AccessDenied), "Request has expired"),
    ] {
        match (check_at("GET", PRESIGNED, &host, at), code) {
            (Ok(_), None) => {}
            (Err(error), Some(code)) => assert_eq!((error.code, &*error.message), (code, message)),
            (got, _) => panic!("{at}: {got:?}"),
        }
    }
    for (from, to, code) in [
        ("86400", "86401", S3Code::SignatureDoesNotMatch),
        ("86400", "604801", S3Code::AuthorizationQueryParametersError),
        ("86400", "-1", S3Code::AuthorizationQueryParametersError),
        ("86400", "soon", S3Code::AuthorizationQueryParametersError),
        ("X-Amz-Expires=86400&", "", S3Code::AuthorizationQueryParametersError),
        ("us-east-1", "eu-west-1", S3Code::AuthorizationQueryParametersError),
        ("HMAC-SHA256", "HMAC-SHA1", S3Code::AuthorizationQueryParametersError),
        ("AKIA", "BKIA", S3Code::InvalidAccessKeyId),
        ("2F20130524", "2F20130525", S3Code::AuthorizationQueryParametersError),
        ("d404", "d405", S3Code::SignatureDoesNotMatch),
        ("X-Amz-Date=20130524T000000Z", "X-Amz-Date=yesterday", S3Code::AuthorizationQueryParametersError),
    ] {
        let error = check("GET", &PRESIGNED.replacen(from, to, 1), &host).unwrap_err();
        assert_eq!(error.code, code, "{from} → {to}");
    }
}

#[test]
fn published_examples_of_chunks() {
    let seeded = |extra: &[(&'static str, &str)], names: &str, digest: &str, seed: &str| {
        let mut all = vec![
            ("host", "s3.amazonaws.com"),
            ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
            ("content-encoding", "aws-chunked"),
            ("x-amz-decoded-content-length", "66560"),
        ];
        all.extend_from_slice(extra);
        let head = signed(&all, names, digest, seed);
        match check("PUT", "/examplebucket/chunkObject.txt", &head).unwrap().payload {
            Payload::SignedChunks { signer, trailer } => (signer, trailer),
            other => panic!("{other:?}"),
        }
    };
    let sha256 = |bytes: &[u8]| ring::digest::digest(&ring::digest::SHA256, bytes);
    let (first, second) = (sha256(&[b'a'; 65536]), sha256(&[b'a'; 1024]));
    let (mut signer, trailer) = seeded(
        &[("content-length", "66824")],
        "content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class",
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
        "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9",
    );
    assert!(!trailer);
    let wrong = "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497";
    assert!(!signer.verify_chunk(first.as_ref(), wrong), "the chain's order matters");
    for (digest, signature) in [
        (first, "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648"),
        (second, wrong),
        (sha256(b""), "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9"),
    ] {
        assert!(signer.verify_chunk(digest.as_ref(), signature), "{signature}");
    }
    let (mut signer, trailer) = seeded(
        &[("x-amz-trailer", "x-amz-checksum-crc32c")],
        "content-encoding;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class;x-amz-trailer",
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
        "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e",
    );
    assert!(trailer);
    for (digest, signature) in [
        (first, "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2"),
        (second, "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7"),
        (sha256(b""), "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992"),
    ] {
        assert!(signer.verify_chunk(digest.as_ref(), signature), "{signature}");
    }
    let of_trailer = "d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435";
    assert!(signer.verify_trailer(b"x-amz-checksum-crc32c:sOO8/Q==\n", of_trailer));
}

#[test]
fn bad_claims_are_refused_by_name() {
    let with = |name: &'static str, value: &str| {
        let mut headers = get_object(GET_OBJECT);
        headers.insert(name, HeaderValue::from_str(value).unwrap());
        headers
    };
    let without = |name: &str| {
        let mut headers = get_object(GET_OBJECT);
        headers.remove(name);
        headers
    };
    let claim = |from: &str, to: &str| {
        let good = get_object(GET_OBJECT)["authorization"].to_str().unwrap().to_owned();
        assert!(good.contains(from));
        with("authorization", &good.replacen(from, to, 1))
    };
    for (headers, code) in [
        (claim("AKIA", "BKIA"), S3Code::InvalidAccessKeyId),
        (claim("us-east-1", "eu-west-1"), S3Code::AuthorizationHeaderMalformed),
        (claim("/s3/", "/ec2/"), S3Code::AuthorizationHeaderMalformed),
        (claim("aws4_request", "aws5_request"), S3Code::AuthorizationHeaderMalformed),
        (claim("20130524", "20130525"), S3Code::AuthorizationHeaderMalformed),
        (claim(&format!("Credential={SCOPE},"), ""), S3Code::AuthorizationHeaderMalformed),
        (claim("Signature=f0", "Signature=e0"), S3Code::SignatureDoesNotMatch),
        (claim("Signature=f0", "Signature=zz"), S3Code::SignatureDoesNotMatch),
        (claim("SignedHeaders=host;", "SignedHeaders="), S3Code::AccessDenied),
        (with("authorization", "AWS AKIAIOSFODNN7EXAMPLE:abc="), S3Code::InvalidRequest),
        (with("authorization", "Basic abc"), S3Code::InvalidArgument),
        (with("x-amz-date", "20130523T230000Z"), S3Code::AuthorizationHeaderMalformed),
        (with("x-amz-date", "20130524T010000Z"), S3Code::RequestTimeTooSkewed),
        (with("x-amz-content-sha256", "abc"), S3Code::InvalidArgument),
        (with("x-amz-security-token", "abc"), S3Code::InvalidToken),
        (with("x-amz-meta-smuggled", "1"), S3Code::AccessDenied),
        (without("x-amz-content-sha256"), S3Code::MissingSecurityHeader),
        (without("x-amz-date"), S3Code::AccessDenied),
        (without("range"), S3Code::SignatureDoesNotMatch),
    ] {
        assert_eq!(check("GET", "/test.txt", &headers).unwrap_err().code, code, "{headers:?}");
    }
    assert_eq!(check("GET", PRESIGNED, &get_object(GET_OBJECT)).unwrap_err().code, S3Code::InvalidArgument);
    let v2 = "/test.txt?AWSAccessKeyId=AKIAIOSFODNN7EXAMPLE&Expires=1&Signature=abc";
    let refused = check("GET", v2, &headers(&[HOST])).unwrap_err();
    assert_eq!((refused.code, &*refused.message), (S3Code::AccessDenied, "Request has expired"));
}

#[test]
fn anonymous_requests_are_known() {
    let anonymous = check("GET", "/test.txt", &headers(&[HOST])).unwrap();
    assert_eq!(anonymous.identity, Identity::Anonymous);
    let streaming = headers(&[HOST, ("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD")]);
    assert_eq!(check("PUT", "/b/k", &streaming).unwrap_err().code, S3Code::AccessDenied);
}

#[test]
fn a_changed_secret_is_noticed_at_once() {
    let scope = super::signing::Scope { date: "20130524".to_owned(), region: "r".to_owned(), service: "s3".to_owned() };
    let keys = super::signing::SigningKeys::default();
    let sign = |secret: &str| ring::hmac::sign(&keys.key("k", &Secret::new(secret), &scope), b"m").as_ref().to_vec();
    let first = sign("one");
    assert_eq!(sign("one"), first);
    assert_ne!(sign("two"), first);
}

#[test]
fn forms_are_verified_by_their_policy() {
    let scope =
        super::signing::Scope { date: "20151229".to_owned(), region: "us-east-1".to_owned(), service: "s3".to_owned() };
    let policy = "eyJleHBpcmF0aW9uIjoiMjAzMC0wMS0wMVQwMDowMDowMFoifQ==";
    let key = super::signing::derive_key(&Secret::new("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"), &scope);
    let signature = crate::hash::hex_encode(ring::hmac::sign(&key, policy.as_bytes()).as_ref());
    let credential = "AKIAIOSFODNN7EXAMPLE/20151229/us-east-1/s3/aws4_request";
    let form = |credential: &str, policy: &str| {
        let fields = FormSignature { credential, policy, signature: &signature, token: None };
        Authenticator::default().authenticate_form(&settings(), fields, 0)
    };
    assert!(form(credential, policy).unwrap().principal().is_some_and(Principal::is_store_root));
    assert_eq!(form(credential, "e30=").unwrap_err().code, S3Code::SignatureDoesNotMatch);
    assert_eq!(form("B/20151229/us-east-1/s3/aws4_request", policy).unwrap_err().code, S3Code::InvalidAccessKeyId);
    assert_eq!(form("B", policy).unwrap_err().code, S3Code::InvalidArgument);
}
