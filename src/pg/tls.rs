//! TLS by rustls over ring: what sslmode, sslrootcert, sslcert and sslkey ask for (manual, 34.19).

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::ResolvesClientCert;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::params::{Host, HostParams, Params, RootCert, SslMode, SslNegotiation};
use super::verify::{Check, Roots, Verifier};
use super::{Error, Kind, Stream};

/// Makes ring the process's crypto provider. To be called before any other crate builds a TLS
/// configuration; calling it again does nothing.
pub fn install_provider() {
    // The error says that there is one already: ours, from an earlier call.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

pub(super) async fn handshake(
    tcp: TcpStream,
    params: &Params,
    host: &HostParams,
) -> Result<Stream, Error> {
    let at = host.at();
    let Host::Tcp { name, .. } = &host.host else {
        return Err(Error::protocol(&at, "TLS is not spoken over a Unix socket"));
    };
    let name = ServerName::try_from(name.clone()).map_err(|error| {
        Error::new(Kind::Tls, &at, "the host's name cannot stand in a certificate").caused_by(error)
    })?;
    let connector = TlsConnector::from(Arc::new(client_config(params)?));
    match connector.connect(name, tcp).await {
        Ok(stream) => Ok(Stream::Tls(Box::new(stream))),
        Err(error) => Err(handshake_failed(&at, error)),
    }
}

fn handshake_failed(at: &str, error: std::io::Error) -> Error {
    let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) else {
        return Error::new(Kind::Tls, at, "the server broke off the TLS handshake")
            .caused_by(error);
    };
    let what = match tls {
        rustls::Error::InvalidCertificate(_) => "the server's certificate is not accepted",
        rustls::Error::AlertReceived(_) => "the server refused the TLS handshake",
        _ => "the TLS handshake failed",
    };
    Error::new(Kind::Tls, at, what).caused_by(tls.clone())
}

/// Files are read for each connection, so that renewed certificates need no restart.
fn client_config(params: &Params) -> Result<ClientConfig, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Verifier::new(check(params)?, provider.signature_verification_algorithms);
    let identity = identity(params, &provider)?;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::configuration("TLS cannot be set up").caused_by(error))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match identity {
        Some(identity) => builder.with_client_cert_resolver(Arc::new(identity)),
        None => builder.with_no_client_auth(),
    };
    config.enable_sni = params.sslsni;
    if params.sslnegotiation == SslNegotiation::Direct {
        // Required there, so that no other protocol's client can be tricked into speaking to Postgres.
        config.alpn_protocols = vec![b"postgresql".to_vec()];
    }
    Ok(config)
}

/// libpq verifies the chain as soon as there are root certificates, whatever the mode; the name only
/// with verify-full.
fn check(params: &Params) -> Result<Check, Error> {
    let roots = match &params.sslrootcert {
        RootCert::System => Some(system_roots()?),
        RootCert::File(path) => Some(Roots::new(certificates(path)?)?),
        RootCert::Default => match home_file("root.crt").filter(|path| path.exists()) {
            Some(path) => Some(Roots::new(certificates(&path)?)?),
            None => None,
        },
    };
    match (roots, params.sslmode) {
        (Some(roots), SslMode::VerifyFull) => Ok(Check::ChainAndName(roots)),
        (Some(roots), _) => Ok(Check::Chain(roots)),
        (None, SslMode::VerifyCa | SslMode::VerifyFull) => Err(Error::configuration(
            "sslmode=verify-ca and verify-full need root certificates: name a file by sslrootcert, \
             put it at ~/.postgresql/root.crt, or write sslrootcert=system for the system's",
        )),
        (None, _) => Ok(Check::Nothing),
    }
}

fn system_roots() -> Result<Roots, Error> {
    let found = rustls_native_certs::load_native_certs();
    if found.certs.is_empty() {
        let error = Error::configuration("the system has no root certificates");
        return Err(match found.errors.into_iter().next() {
            Some(cause) => error.caused_by(cause),
            None => error,
        });
    }
    Roots::of_system(found.certs)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let unreadable = || format!("cannot read certificates from {}", path.display());
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| Error::configuration(unreadable()).caused_by(error));
    match found {
        Ok(found) if found.is_empty() => {
            Err(Error::configuration(format!("{}: there are none in PEM form", unreadable())))
        }
        found => found,
    }
}

fn home_file(name: &str) -> Option<PathBuf> {
    std::env::home_dir().map(|home| home.join(".postgresql").join(name))
}

/// The client's certificate and key. Sent whenever the server asks.
#[derive(Debug)]
struct Identity(Arc<CertifiedKey>);

impl ResolvesClientCert for Identity {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

fn identity(params: &Params, provider: &CryptoProvider) -> Result<Option<Identity>, Error> {
    let default = || home_file("postgresql.crt").filter(|path| path.exists());
    let Some(cert_path) = params.sslcert.clone().or_else(default) else { return Ok(None) };
    let Some(key_path) = params.sslkey.clone().or_else(|| home_file("postgresql.key")) else {
        return Err(Error::configuration("sslcert is given, but no sslkey"));
    };
    let chain = certificates(&cert_path)?;
    let bad_key = || format!("cannot use the private key {}", key_path.display());
    check_permissions(&key_path)?;
    let key = PrivateKeyDer::from_pem_file(&key_path)
        .map_err(|error| Error::configuration(bad_key()).caused_by(error))?;
    let key = provider
        .key_provider
        .load_private_key(key)
        .map_err(|error| Error::configuration(bad_key()).caused_by(error))?;
    let identity = CertifiedKey::new(chain, key);
    match identity.keys_match() {
        Err(error @ rustls::Error::InconsistentKeys(rustls::InconsistentKeys::KeyMismatch)) => {
            let what = format!("{} is not the certificate's", bad_key());
            Err(Error::configuration(what).caused_by(error))
        }
        // Anything else: not to be told, as of certificates of version 1. The server decides.
        _ => Ok(Some(Identity(Arc::new(identity)))),
    }
}

/// As libpq: 0600, or 0640 when root owns it.
fn check_permissions(path: &Path) -> Result<(), Error> {
    let metadata = std::fs::metadata(path).map_err(|error| {
        Error::configuration(format!("cannot read the private key {}", path.display()))
            .caused_by(error)
    })?;
    let forbidden = if metadata.uid() == 0 { 0o037 } else { 0o077 };
    if metadata.is_file() && metadata.mode() & forbidden != 0 {
        return Err(Error::configuration(format!(
            "the private key {} can be read by group or others; chmod 0600 it (0640 when root owns it)",
            path.display()
        )));
    }
    Ok(())
}
