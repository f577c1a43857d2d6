//! The server's certificate: its chain, its name, its digest.
//!
//! webpki does the real work. What it refuses and OpenSSL, so libpq, accepts is what the Postgres
//! manual's own recipes make (18.9.5), and is accepted here too: a self-signed certificate that stands in
//! the root file itself, a certificate of X.509 version 1 signed by a root, and a host name in the
//! common name where there is no subjectAltName.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{
    WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
    verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, DigitallySignedStruct, OtherError, PeerMisbehaved, RootCertStore,
    SignatureScheme,
};
use webpki::RawPublicKeyEntity;
use x509_cert::Certificate;
use x509_cert::der::asn1::{Ia5StringRef, PrintableStringRef, Utf8StringRef};
use x509_cert::der::oid::{AssociatedOid, ObjectIdentifier};
use x509_cert::der::{Decode, Encode, Header, Reader, SliceReader};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use super::Error;

const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");

/// How much of a certificate is looked at.
#[derive(Debug)]
pub(super) enum Check {
    Nothing,
    Chain(Roots),
    ChainAndName(Roots),
}

#[derive(Debug)]
pub(super) struct Roots {
    anchors: RootCertStore,
    certificates: Vec<CertificateDer<'static>>,
}

impl Roots {
    /// Of a file that a user named: each must be usable.
    pub(super) fn new(certificates: Vec<CertificateDer<'static>>) -> Result<Self, Error> {
        let mut anchors = RootCertStore::empty();
        for certificate in &certificates {
            anchors.add(certificate.clone()).map_err(|error| {
                Error::configuration("sslrootcert holds what is no certificate").caused_by(error)
            })?;
        }
        Ok(Self { anchors, certificates })
    }

    /// Systems hold the odd certificate that webpki cannot read.
    pub(super) fn of_system(certificates: Vec<CertificateDer<'static>>) -> Result<Self, Error> {
        let mut anchors = RootCertStore::empty();
        anchors.add_parsable_certificates(certificates.iter().cloned());
        if anchors.is_empty() {
            return Err(Error::configuration("the system's root certificates cannot be read"));
        }
        Ok(Self { anchors, certificates })
    }
}

#[derive(Debug)]
pub(super) struct Verifier {
    check: Check,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    pub(super) fn new(check: Check, algorithms: WebPkiSupportedAlgorithms) -> Self {
        Self { check, algorithms }
    }

    fn chain(
        &self,
        roots: &Roots,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        if roots.certificates.contains(leaf) {
            return in_validity(&parse(leaf)?, now);
        }
        match ParsedCertificate::try_from(leaf) {
            Ok(parsed) => verify_server_cert_signed_by_trust_anchor(
                &parsed,
                &roots.anchors,
                intermediates,
                now,
                self.algorithms.all,
            ),
            Err(error) => self.chain_of_version_1(roots, leaf, now).unwrap_or(Err(error)),
        }
    }

    /// A certificate without extensions, signed by a root itself; `None`: not of version 1.
    fn chain_of_version_1(
        &self,
        roots: &Roots,
        leaf_der: &CertificateDer<'_>,
        now: UnixTime,
    ) -> Option<Result<(), rustls::Error>> {
        let leaf = parse(leaf_der).ok()?;
        if leaf.tbs_certificate.version != x509_cert::Version::V1 {
            return None;
        }
        if let Err(error) = in_validity(&leaf, now) {
            return Some(Err(error));
        }
        let (signed, algorithm) = signed_parts(leaf_der)?;
        let signature = leaf.signature.as_bytes()?;
        for root in &roots.certificates {
            let Ok(root) = parse(root) else { continue };
            if root.tbs_certificate.subject != leaf.tbs_certificate.issuer {
                continue;
            }
            let Some(spki) = spki(&root) else { continue };
            let Ok(key) = RawPublicKeyEntity::try_from(&spki) else { continue };
            let fitting =
                self.algorithms.all.iter().filter(|a| a.signature_alg_id().as_ref() == algorithm);
            for algorithm in fitting {
                if key.verify_signature(*algorithm, signed, signature).is_ok() {
                    return Some(Ok(()));
                }
            }
        }
        Some(Err(CertificateError::UnknownIssuer.into()))
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match &self.check {
            Check::Nothing => {}
            Check::Chain(roots) => self.chain(roots, leaf, intermediates, now)?,
            Check::ChainAndName(roots) => {
                self.chain(roots, leaf, intermediates, now)?;
                name(leaf, server_name)?;
            }
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        if ParsedCertificate::try_from(leaf).is_ok() {
            return verify_tls12_signature(message, leaf, signed, &self.algorithms);
        }
        let spki = spki_of(leaf)?;
        let key = RawPublicKeyEntity::try_from(&spki).map_err(|_| CertificateError::BadEncoding)?;
        let (_, algorithms) = self
            .algorithms
            .mapping
            .iter()
            .find(|(scheme, _)| *scheme == signed.scheme)
            .ok_or(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme)?;
        let valid = algorithms
            .iter()
            .any(|algorithm| key.verify_signature(*algorithm, message, signed.signature()).is_ok());
        if valid {
            Ok(HandshakeSignatureValid::assertion())
        } else {
            Err(CertificateError::BadSignature.into())
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        if ParsedCertificate::try_from(leaf).is_ok() {
            return verify_tls13_signature(message, leaf, signed, &self.algorithms);
        }
        verify_tls13_signature_with_raw_key(message, &spki_of(leaf)?, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// verify-full's second half.
fn name(leaf: &CertificateDer<'_>, server_name: &ServerName<'_>) -> Result<(), rustls::Error> {
    let refused = match ParsedCertificate::try_from(leaf) {
        Ok(parsed) => match verify_server_name(&parsed, server_name) {
            Ok(()) => return Ok(()),
            Err(error) => error,
        },
        Err(_) => CertificateError::NotValidForName.into(),
    };
    let certificate = parse(leaf)?;
    if !has_alternative_name_like(&certificate, server_name)
        && common_names(&certificate).any(|pattern| matches(pattern, &server_name.to_str()))
    {
        return Ok(());
    }
    Err(refused)
}

/// Whether subjectAltName has an entry of the same kind (DNS name or address): it then decides alone.
fn has_alternative_name_like(certificate: &Certificate, server_name: &ServerName<'_>) -> bool {
    let extensions = certificate.tbs_certificate.extensions.as_deref().unwrap_or_default();
    extensions.iter().filter(|extension| extension.extn_id == SubjectAltName::OID).any(
        |extension| {
            match SubjectAltName::from_der(extension.extn_value.as_bytes()) {
                Ok(names) => names.0.iter().any(|name| {
                    matches!(
                        (name, server_name),
                        (GeneralName::DnsName(_), ServerName::DnsName(_))
                            | (GeneralName::IpAddress(_), ServerName::IpAddress(_))
                    )
                }),
                // Unreadable names are no reason to trust the common name.
                Err(_) => true,
            }
        },
    )
}

fn common_names(certificate: &Certificate) -> impl Iterator<Item = &str> {
    let attributes = certificate.tbs_certificate.subject.0.iter().flat_map(|rdn| rdn.0.iter());
    attributes.filter(|attribute| attribute.oid == COMMON_NAME).filter_map(|attribute| {
        let value = &attribute.value;
        None.or_else(|| Utf8StringRef::try_from(value).ok().map(|text| text.as_str()))
            .or_else(|| PrintableStringRef::try_from(value).ok().map(|text| text.as_str()))
            .or_else(|| Ia5StringRef::try_from(value).ok().map(|text| text.as_str()))
    })
}

/// A `*` stands for one whole leftmost label.
fn matches(pattern: &str, host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    if pattern.eq_ignore_ascii_case(host) {
        return true;
    }
    match (pattern.strip_prefix("*."), host.split_once('.')) {
        (Some(rest), Some((label, host_rest))) => {
            !label.is_empty() && rest.contains('.') && rest.eq_ignore_ascii_case(host_rest)
        }
        _ => false,
    }
}

fn in_validity(certificate: &Certificate, now: UnixTime) -> Result<(), rustls::Error> {
    let validity = &certificate.tbs_certificate.validity;
    let now = now.as_secs();
    if now < validity.not_before.to_unix_duration().as_secs() {
        return Err(CertificateError::NotValidYet.into());
    }
    if now > validity.not_after.to_unix_duration().as_secs() {
        return Err(CertificateError::Expired.into());
    }
    Ok(())
}

fn parse(der: &CertificateDer<'_>) -> Result<Certificate, rustls::Error> {
    Certificate::from_der(der)
        .map_err(|error| CertificateError::Other(OtherError(std::sync::Arc::new(error))).into())
}

fn spki(certificate: &Certificate) -> Option<SubjectPublicKeyInfoDer<'static>> {
    let der = certificate.tbs_certificate.subject_public_key_info.to_der().ok()?;
    Some(SubjectPublicKeyInfoDer::from(der))
}

fn spki_of(leaf: &CertificateDer<'_>) -> Result<SubjectPublicKeyInfoDer<'static>, rustls::Error> {
    spki(&parse(leaf)?).ok_or(CertificateError::BadEncoding.into())
}

/// The bytes that a certificate's signature is over, and the inside of its AlgorithmIdentifier.
fn signed_parts<'a>(der: &'a CertificateDer<'_>) -> Option<(&'a [u8], &'a [u8])> {
    let mut reader = SliceReader::new(der).ok()?;
    Header::decode(&mut reader).ok()?;
    let signed = reader.tlv_bytes().ok()?;
    let mut algorithm = SliceReader::new(reader.tlv_bytes().ok()?).ok()?;
    let header = Header::decode(&mut algorithm).ok()?;
    Some((signed, algorithm.read_slice(header.length).ok()?))
}

/// tls-server-end-point (RFC 5929, 4.1): by the hash of the certificate's own signature, but SHA-256
/// instead of MD5 and SHA-1. `None` where that is not one hash (Ed25519) or not one known here.
pub(super) fn end_point_digest(certificate: &CertificateDer<'_>) -> Option<Vec<u8>> {
    let parsed = parse(certificate).ok()?;
    let algorithm = match parsed.signature_algorithm.oid.to_string().as_str() {
        // md5, sha1, sha256 with RSA; ECDSA with SHA1, SHA256
        "1.2.840.113549.1.1.4"
        | "1.2.840.113549.1.1.5"
        | "1.2.840.113549.1.1.11"
        | "1.2.840.10045.4.1"
        | "1.2.840.10045.4.3.2" => &ring::digest::SHA256,
        "1.2.840.113549.1.1.12" | "1.2.840.10045.4.3.3" => &ring::digest::SHA384,
        "1.2.840.113549.1.1.13" | "1.2.840.10045.4.3.4" => &ring::digest::SHA512,
        _ => return None,
    };
    Some(ring::digest::digest(algorithm, certificate).as_ref().to_vec())
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn a_star_is_one_label() {
        assert!(matches("db.example.com", "DB.example.com"));
        assert!(matches("db.example.com", "db.example.com."));
        assert!(matches("*.example.com", "db.example.com"));
        assert!(!matches("*.example.com", "example.com"));
        assert!(!matches("*.example.com", "a.b.example.com"));
        assert!(!matches("*.com", "example.com"));
        assert!(!matches("*", "localhost"));
        assert!(!matches("d*.example.com", "db.example.com"));
        assert!(matches("127.0.0.1", "127.0.0.1"));
    }
}
