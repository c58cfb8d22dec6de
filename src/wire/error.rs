//! S3's errors: code, status, message, and their XML.

use std::borrow::Cow;

use http::{HeaderName, HeaderValue, StatusCode, header};

use super::response::{Response, ResponseBody};
use crate::xml::Document;

macro_rules! codes {
    (@text $name:ident) => { stringify!($name) };
    (@text $name:ident $text:literal) => { $text };
    ($($name:ident $(as $text:literal)? $status:literal $message:literal;)*) => {
        /// S3's error codes, each with its HTTP status and the message used when there is no better one.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum S3Code { $($name,)* }

        impl S3Code {
            pub const ALL: &[S3Code] = &[$(S3Code::$name,)*];

            pub fn as_str(self) -> &'static str {
                match self { $(S3Code::$name => codes!(@text $name $($text)?),)* }
            }

            pub fn status(self) -> StatusCode {
                let status = match self { $(S3Code::$name => $status,)* };
                StatusCode::from_u16(status).expect("the table holds valid statuses")
            }

            pub fn message(self) -> &'static str {
                match self { $(S3Code::$name => $message,)* }
            }
        }
    };
}

codes! {
    AccessControlListNotSupported 400 "The bucket does not allow ACLs";
    AccessDenied 403 "Access Denied";
    AccessForbidden 403 "Access Forbidden";
    AuthorizationHeaderMalformed 400 "The authorization header is malformed.";
    AuthorizationQueryParametersError 400 "The query parameters of the signature are malformed.";
    BadDigest 400 "The digest you specified did not match what we received.";
    BadRequest 400 "Bad Request";
    BucketAlreadyExists 409 "The requested bucket name is not available.";
    BucketAlreadyOwnedByYou 409 "Your previous request to create the named bucket succeeded and you already own it.";
    BucketNotEmpty 409 "The bucket you tried to delete is not empty. Delete its versions and uploads first.";
    ConditionalRequestConflict 409 "A conflicting operation occurred. Try again.";
    EntityTooLarge 400 "Your proposed upload exceeds the maximum allowed object size.";
    EntityTooSmall 400 "Your proposed upload is smaller than the minimum allowed object size.";
    ExpiredToken 400 "The provided token has expired.";
    IllegalVersioningConfigurationException 400 "The versioning configuration is not valid.";
    IncompleteBody 400 "You did not provide the number of bytes specified by the Content-Length HTTP header.";
    InternalError 500 "We encountered an internal error. Please try again.";
    InvalidAccessKeyId 403 "The access key id you provided does not exist in our records.";
    InvalidArgument 400 "Invalid Argument";
    InvalidBucketAclWithObjectOwnership 400 "Bucket cannot have ACLs set with ObjectOwnership's BucketOwnerEnforced setting";
    InvalidBucketName 400 "The specified bucket is not valid.";
    InvalidBucketState 409 "The request is not valid with the current state of the bucket.";
    InvalidChunkSizeError 400 "A chunk of the body is malformed.";
    InvalidDigest 400 "The Content-MD5 you specified is not valid.";
    InvalidEncryptionAlgorithmError 400 "The encryption request is not valid.";
    InvalidLocationConstraint 400 "The specified location-constraint is not valid.";
    InvalidObjectState 403 "The operation is not valid for the current state of the object.";
    InvalidPart 400 "One or more of the specified parts could not be found, or their entity tags did not match.";
    InvalidPartNumber 416 "The requested partnumber is not satisfiable";
    InvalidPartOrder 400 "The list of parts was not in ascending order.";
    InvalidPolicyDocument 400 "The content of the form does not meet the conditions specified in the policy document.";
    InvalidRange 416 "The requested range is not satisfiable";
    InvalidRequest 400 "Invalid Request";
    InvalidRetentionPeriod 400 "The retention period is not valid.";
    InvalidStorageClass 400 "The storage class you specified is not valid.";
    InvalidTag 400 "The tag provided was not a valid tag.";
    InvalidToken 400 "The provided token is malformed or otherwise invalid.";
    InvalidURI 400 "The specified URI could not be parsed.";
    KmsDisabled as "KMS.DisabledException" 400 "The key is disabled.";
    KmsInvalidState as "KMS.KMSInvalidStateException" 400 "The key is not in a state that allows this.";
    KmsNotFound as "KMS.NotFoundException" 400 "The key does not exist.";
    KeyTooLongError 400 "Your key is too long.";
    MalformedACLError 400 "The XML you provided was not well-formed or did not validate against our published schema.";
    MalformedPolicy 400 "Policies must be valid JSON and the first byte must be '{'";
    MalformedPOSTRequest 400 "The body of your POST request is not well-formed multipart/form-data.";
    MalformedTrailerError 400 "The trailer of the body is malformed.";
    MalformedXML 400 "The XML you provided was not well-formed or did not validate against our published schema.";
    MaxMessageLengthExceeded 400 "Your request was too big.";
    MetadataTooLarge 400 "Your metadata headers exceed the maximum allowed metadata size.";
    MethodNotAllowed 405 "The specified method is not allowed against this resource.";
    MissingContentLength 411 "You must provide the Content-Length HTTP header.";
    MissingRequestBodyError 400 "Request body is empty.";
    MissingSecurityHeader 400 "Your request was missing a required header.";
    NoSuchBucket 404 "The specified bucket does not exist";
    NoSuchBucketPolicy 404 "The bucket policy does not exist";
    NoSuchCORSConfiguration 404 "The CORS configuration does not exist";
    NoSuchConfiguration 404 "The specified configuration does not exist.";
    NoSuchKey 404 "The specified key does not exist.";
    NoSuchLifecycleConfiguration 404 "The lifecycle configuration does not exist";
    NoSuchObjectLockConfiguration 404 "The specified object does not have a ObjectLock configuration";
    NoSuchPublicAccessBlockConfiguration 404 "The public access block configuration was not found";
    NoSuchTagSet 404 "The TagSet does not exist";
    NoSuchUpload 404 "The specified upload does not exist. It may have been aborted or completed.";
    NoSuchVersion 404 "The specified version does not exist.";
    NoSuchWebsiteConfiguration 404 "The specified bucket does not have a website configuration";
    NotImplemented 501 "A header or operation you provided implies functionality that is not implemented.";
    ObjectLockConfigurationNotFoundError 404 "Object Lock configuration does not exist for this bucket";
    OperationAborted 409 "A conflicting operation is in progress against this resource. Try again.";
    OwnershipControlsNotFoundError 404 "The bucket ownership controls were not found";
    PreconditionFailed 412 "At least one of the pre-conditions you specified did not hold";
    QuotaExceeded 403 "The bucket's quota is used up. Delete objects, or raise the quota.";
    ReplicationConfigurationNotFoundError 404 "The replication configuration was not found";
    RequestTimeTooSkewed 403 "The difference between the request time and the server's time is too large.";
    RequestTimeout 400 "Your socket connection to the server was not read from or written to within the timeout period.";
    ServerSideEncryptionConfigurationNotFoundError 404 "The server side encryption configuration was not found";
    ServiceUnavailable 503 "Service is unable to handle request.";
    SignatureDoesNotMatch 403 "The request signature we calculated does not match the signature you provided. Check your key and signing method.";
    SlowDown 503 "Please reduce your request rate.";
    StorageFull 507 "The drives are full; delete objects or add space.";
    TooManyBuckets 400 "You have attempted to create more buckets than allowed.";
    UnresolvableGrantByEmailAddress 400 "The email address you provided does not match any account on record.";
    UnexpectedContent 400 "This request does not support content";
    XAmzContentSHA256Mismatch 400 "The provided 'x-amz-content-sha256' header does not match what was computed.";
}

/// An error as the client gets it. The service adds resource and request id when it renders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Error {
    pub code: S3Code,
    pub message: Cow<'static, str>,
    /// Further elements of the XML, in order.
    pub fields: Vec<(&'static str, String)>,
    /// Further headers of the response.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

impl S3Error {
    /// With the code's own message.
    pub fn new(code: S3Code) -> S3Error {
        S3Error::with(code, code.message())
    }

    pub fn with(code: S3Code, message: impl Into<Cow<'static, str>>) -> S3Error {
        S3Error { code, message: message.into(), fields: Vec::new(), headers: Vec::new() }
    }

    pub fn field(mut self, name: &'static str, value: impl Into<String>) -> S3Error {
        self.fields.push((name, value.into()));
        self
    }

    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> S3Error {
        self.headers.push((name, value));
        self
    }

    /// InvalidArgument, naming the argument as S3 does.
    pub fn argument(name: &str, value: &str, message: impl Into<Cow<'static, str>>) -> S3Error {
        S3Error::with(S3Code::InvalidArgument, message).field("ArgumentName", name).field("ArgumentValue", value)
    }

    /// 501 that names what is not there.
    pub fn not_implemented(what: &str) -> S3Error {
        S3Error::with(S3Code::NotImplemented, format!("{what} is not implemented")).field("Operation", what)
    }

    /// The response; `resource` is the request's path. (hyper sends no body to HEAD, and none goes with 304.)
    pub fn into_response(self, resource: &str, request_id: &str) -> Response {
        let mut document = Document::plain("Error");
        document.text("Code", self.code.as_str());
        document.text("Message", &self.message);
        for (name, value) in &self.fields {
            document.text(name, value);
        }
        document.text("Resource", resource);
        document.text("RequestId", request_id);
        let mut response = Response::new(ResponseBody::from(document.finish()));
        *response.status_mut() = self.code.status();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/xml"));
        for (name, value) in self.headers {
            headers.insert(name, value);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_rendered_as_s3_does() {
        let error = S3Error::new(S3Code::NoSuchKey)
            .field("Key", "a<b>&\u{1}")
            .header(header::ALLOW, HeaderValue::from_static("DELETE"));
        let response = error.into_response("/b/a%3Cb", "0123");
        assert_eq!(response.status(), 404);
        assert_eq!(response.headers()["content-type"], "application/xml");
        assert_eq!(response.headers()["allow"], "DELETE");
        let ResponseBody::Bytes(body) = response.into_body() else { panic!("an error has a body") };
        let text = std::str::from_utf8(&body).unwrap();
        let expected = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>NoSuchKey</Code>\
            <Message>The specified key does not exist.</Message><Key>a&lt;b&gt;&amp;&#x1;</Key>\
            <Resource>/b/a%3Cb</Resource><RequestId>0123</RequestId></Error>";
        assert_eq!(text, expected);
    }

    #[test]
    fn every_code_has_an_error_status_and_a_message() {
        for code in S3Code::ALL {
            assert!(code.status().is_client_error() || code.status().is_server_error(), "{code:?}");
            assert!(!code.message().is_empty(), "{code:?}");
        }
    }
}
