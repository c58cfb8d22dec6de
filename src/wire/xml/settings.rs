//! The small documents: where a bucket is created, whether it keeps versions.

use super::{DocumentError, root, schema};
use crate::meta::Versioning;

/// The region that CreateBucket asks for; `None` where the body is empty or names none.
pub fn parse_location(document: &[u8]) -> Result<Option<String>, DocumentError> {
    if document.iter().all(u8::is_ascii_whitespace) {
        return Ok(None);
    }
    let root = root(document, "CreateBucketConfiguration")?;
    let region = root.text_of("LocationConstraint").map(str::trim);
    Ok(region.filter(|region| !region.is_empty()).map(str::to_owned))
}

/// The state that PutBucketVersioning asks for.
pub fn parse_versioning(document: &[u8]) -> Result<Versioning, DocumentError> {
    let root = root(document, "VersioningConfiguration")?;
    if root.text_of("MfaDelete").is_some_and(|state| state.trim() == "Enabled") {
        return Err(DocumentError::NotImplemented("MFA delete does not exist here; leave <MfaDelete> out".to_owned()));
    }
    match root.text_of("Status").map(str::trim) {
        Some("Enabled") => Ok(Versioning::Enabled),
        Some("Suspended") => Ok(Versioning::Suspended),
        Some(other) => Err(schema(format!("<Status> is `{other}`, it must be Enabled or Suspended"))),
        None => {
            let message = "The Versioning element must be specified: write a <Status> of Enabled or Suspended";
            Err(DocumentError::IllegalVersioning(message.to_owned()))
        }
    }
}

/// PutBucketRequestPayment: whether the owner pays.
pub fn pays_owner(document: &[u8]) -> Result<bool, DocumentError> {
    match root(document, "RequestPaymentConfiguration")?.text_of("Payer").unwrap_or_default().trim() {
        "BucketOwner" => Ok(true),
        "Requester" => Ok(false),
        other => Err(schema(format!("<Payer> is `{other}`, it must be BucketOwner or Requester"))),
    }
}

/// PutBucketLogging: whether it names no target.
pub fn logs_nothing(document: &[u8]) -> Result<bool, DocumentError> {
    Ok(root(document, "BucketLoggingStatus")?.child("LoggingEnabled").is_none())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::error::S3Code;

    #[test]
    fn locations_are_read() {
        let of = |document: &str| parse_location(document.as_bytes()).map_err(|error| error.code());
        assert_eq!(of(""), Ok(None));
        assert_eq!(of(" \n"), Ok(None));
        assert_eq!(of("<CreateBucketConfiguration/>"), Ok(None));
        let eu = "<CreateBucketConfiguration xmlns=\"u\"><LocationConstraint>eu-west-1</LocationConstraint></CreateBucketConfiguration>";
        assert_eq!(of(eu), Ok(Some("eu-west-1".to_owned())));
        assert_eq!(of("<Other/>"), Err(S3Code::MalformedXML));
        assert_eq!(of("junk"), Err(S3Code::MalformedXML));
    }

    #[test]
    fn versioning_states_are_read() {
        let of = |body: &str| {
            let document = format!("<VersioningConfiguration>{body}</VersioningConfiguration>");
            parse_versioning(document.as_bytes()).map_err(|error| error.code())
        };
        assert_eq!(of("<Status>Enabled</Status>"), Ok(Versioning::Enabled));
        assert_eq!(of("<Status>Suspended</Status><MfaDelete>Disabled</MfaDelete>"), Ok(Versioning::Suspended));
        assert_eq!(of("<Status>enabled</Status>"), Err(S3Code::MalformedXML));
        assert_eq!(of(""), Err(S3Code::IllegalVersioningConfigurationException));
        assert_eq!(of("<Status>Enabled</Status><MfaDelete>Enabled</MfaDelete>"), Err(S3Code::NotImplemented));
    }
}
