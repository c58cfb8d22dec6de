//! A certificate that signs itself, for a board without an authority.

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose};

use super::TlsError;

/// A certificate and its key, as PEM.
pub struct Pair {
    pub certificate: String,
    pub key: String,
}

/// Makes a pair (ECDSA P-256) that serves under `names` (host names or IP addresses) and that a client may show, too.
/// Whoever is to trust it takes the certificate itself as its root. It is valid from `year` on, for ten years: boards
/// boot without a clock, so that the first day is in the past.
pub fn self_signed(names: &[String], year: i32) -> Result<Pair, TlsError> {
    let setup = |error: rcgen::Error| TlsError::Setup(error.to_string());
    let mut parameters = CertificateParams::new(names.to_vec()).map_err(setup)?;
    parameters.distinguished_name.push(DnType::CommonName, names.first().map_or("aerie", String::as_str));
    parameters.not_before = rcgen::date_time_ymd(year, 1, 1);
    parameters.not_after = rcgen::date_time_ymd(year + 10, 12, 31);
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate().map_err(setup)?;
    let certificate = parameters.self_signed(&key).map_err(setup)?;
    Ok(Pair { certificate: certificate.pem(), key: key.serialize_pem() })
}
