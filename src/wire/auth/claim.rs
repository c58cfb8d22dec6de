//! What a request claims about its signature, read from the `Authorization` header or the query; nothing is believed yet.

use http::HeaderMap;

use super::signing::Scope;
use crate::limits;
use crate::wire::date;
use crate::wire::error::{S3Code, S3Error};
use crate::wire::query::Query;

/// A signature and what it says it covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    pub access_key: String,
    pub scope: Scope,
    /// `a;b;c`.
    pub signed_headers: String,
    /// Hex.
    pub signature: String,
    /// `YYYYMMDDTHHMMSSZ`.
    pub timestamp: String,
    pub signed_ms: i64,
    /// Seconds that a presigned URL lives; `None` for a signature in the header.
    pub expires_s: Option<u64>,
}

/// The claim of a request; `None` when it has no signature.
pub fn read(headers: &HeaderMap, query: &Query) -> Result<Option<Claim>, S3Error> {
    let in_query = query.has("X-Amz-Algorithm") || query.has("X-Amz-Signature") || query.has("X-Amz-Credential");
    let in_query_v2 = query.has("AWSAccessKeyId") && query.has("Signature");
    match headers.get("authorization") {
        Some(_) if in_query || in_query_v2 => Err(S3Error::with(
            S3Code::InvalidArgument,
            "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string parameter or the Authorization header should be specified",
        )),
        Some(value) => {
            let text = value.to_str().map_err(|_| header_malformed("it is not ASCII"))?;
            read_header(text, headers).map(Some)
        }
        None if in_query => read_query(query).map(Some),
        None => Ok(None),
    }
}

fn only_v4() -> S3Error {
    S3Error::with(
        S3Code::InvalidRequest,
        "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.",
    )
}

fn header_malformed(reason: &str) -> S3Error {
    S3Error::with(S3Code::AuthorizationHeaderMalformed, format!("The authorization header is malformed; {reason}."))
}

fn query_malformed(reason: &str) -> S3Error {
    S3Error::with(S3Code::AuthorizationQueryParametersError, reason.to_owned())
}

fn read_header(text: &str, headers: &HeaderMap) -> Result<Claim, S3Error> {
    let (scheme, rest) = text.trim().split_once(' ').unwrap_or((text, ""));
    match scheme {
        "AWS4-HMAC-SHA256" => {}
        "AWS" => return Err(only_v4()),
        other if other.starts_with("AWS4-") => return Err(only_v4()),
        _ => return Err(S3Error::argument("Authorization", scheme, "Unsupported Authorization Type")),
    }
    let (mut credential, mut signed_headers, mut signature) = (None, None, None);
    for part in rest.split(',') {
        match part.trim().split_once('=') {
            Some(("Credential", value)) => credential = Some(value),
            Some(("SignedHeaders", value)) => signed_headers = Some(value),
            Some(("Signature", value)) => signature = Some(value),
            _ => {}
        }
    }
    let credential = credential.ok_or_else(|| header_malformed("missing Credential"))?;
    let signed_headers = signed_headers.ok_or_else(|| header_malformed("missing SignedHeaders"))?;
    let signature = signature.ok_or_else(|| header_malformed("missing Signature"))?;
    let (access_key, scope) = split_credential(credential).map_err(|reason| header_malformed(&reason))?;
    let (timestamp, signed_ms) = header_time(headers)?;
    if !timestamp.starts_with(&scope.date) {
        return Err(header_malformed("Invalid credential date; it is not the date of the request"));
    }
    Ok(Claim {
        access_key,
        scope,
        signed_headers: signed_headers.to_owned(),
        signature: signature.to_owned(),
        timestamp,
        signed_ms,
        expires_s: None,
    })
}

/// `x-amz-date`, or `Date` where there is none.
fn header_time(headers: &HeaderMap) -> Result<(String, i64), S3Error> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let read = |text: &str| date::parse_basic(text).or_else(|| date::parse_http(text));
    let signed_ms = text("x-amz-date").or_else(|| text("date")).and_then(read).ok_or_else(|| {
        S3Error::with(S3Code::AccessDenied, "AWS authentication requires a valid Date or x-amz-date header")
    })?;
    Ok((date::basic(signed_ms), signed_ms))
}

fn read_query(query: &Query) -> Result<Claim, S3Error> {
    let get = |name: &str| {
        query.get_filled(name).ok_or_else(|| {
            query_malformed(
                "Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters.",
            )
        })
    };
    if get("X-Amz-Algorithm")? != "AWS4-HMAC-SHA256" {
        return Err(query_malformed("X-Amz-Algorithm only supports \"AWS4-HMAC-SHA256\""));
    }
    let credential = get("X-Amz-Credential")?;
    let timestamp = get("X-Amz-Date")?;
    let expires = get("X-Amz-Expires")?;
    let (access_key, scope) = split_credential(credential)
        .map_err(|reason| query_malformed(&format!("Error parsing the X-Amz-Credential parameter; {reason}")))?;
    let signed_ms = date::parse_basic(timestamp)
        .ok_or_else(|| query_malformed("X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\""))?;
    if !timestamp.starts_with(&scope.date) {
        return Err(query_malformed("Invalid credential date; it is not the date of X-Amz-Date"));
    }
    let seconds: i64 = expires.parse().map_err(|_| query_malformed("X-Amz-Expires should be a number"))?;
    let expires_s = u64::try_from(seconds).map_err(|_| query_malformed("X-Amz-Expires must be non-negative"))?;
    if expires_s > limits::PRESIGN_EXPIRY_MAX.as_secs() {
        return Err(query_malformed(
            "X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less than 604800 seconds",
        ));
    }
    Ok(Claim {
        access_key,
        scope,
        signed_headers: get("X-Amz-SignedHeaders")?.to_owned(),
        signature: get("X-Amz-Signature")?.to_owned(),
        timestamp: timestamp.to_owned(),
        signed_ms,
        expires_s: Some(expires_s),
    })
}

/// `ACCESS_KEY/DATE/REGION/SERVICE/aws4_request`; an access key may hold slashes. A region may be empty: clients of IAM,
/// which has none, send it so; whoever asks for S3 finds it wrong.
pub fn split_credential(credential: &str) -> Result<(String, Scope), String> {
    let mut fields = credential.rsplitn(5, '/');
    let mut next = || fields.next();
    let (Some(terminator), Some(service), Some(region), Some(date), Some(access_key)) =
        (next(), next(), next(), next(), next())
    else {
        return Err(
            "the Credential is mal-formed; expecting \"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request\"".to_owned()
        );
    };
    if terminator != "aws4_request" {
        return Err(format!("incorrect terminal \"{terminator}\". This endpoint uses \"aws4_request\""));
    }
    if date.len() != 8 || !date.bytes().all(|b| b.is_ascii_digit()) {
        return Err(format!(
            "incorrect date format \"{date}\". This date in the credential must be in the format \"yyyyMMdd\""
        ));
    }
    let scope = Scope { date: date.to_owned(), region: region.to_owned(), service: service.to_owned() };
    Ok((access_key.to_owned(), scope))
}
