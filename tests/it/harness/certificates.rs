//! A certificate authority and a server's certificate, made for one test.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use super::scratch::Scratch;

/// Paths of PEM files.
pub(crate) struct Certificates {
    _scratch: Scratch,
    pub(crate) authority: PathBuf,
    /// For `localhost` and 127.0.0.1, signed by the authority.
    pub(crate) server: PathBuf,
    pub(crate) server_key: PathBuf,
    /// For a client named `readside`, signed by the authority.
    pub(crate) client: PathBuf,
    pub(crate) client_key: PathBuf,
}

impl Certificates {
    pub(crate) fn make() -> Certificates {
        let scratch = Scratch::new("tls");
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, "authority of a test");
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();

        let dir = scratch.path();
        let (server, server_key) =
            issue(dir, "server", &["localhost", "127.0.0.1"], "localhost", &authority);
        let (client, client_key) = issue(dir, "client", &[], "readside", &authority);
        let authority = write(dir, "authority.crt", &authority.pem());
        Certificates { authority, server, server_key, client, client_key, _scratch: scratch }
    }
}

fn issue(
    dir: &Path,
    file: &str,
    names: &[&str],
    common_name: &str,
    authority: &CertifiedIssuer<'_, KeyPair>,
) -> (PathBuf, PathBuf) {
    let names: Vec<String> = names.iter().map(|name| (*name).into()).collect();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, common_name);
    let certificate = params.signed_by(&key, authority).unwrap();
    let key = write(dir, &format!("{file}.key"), &key.serialize_pem());
    // libpq and PostgreSQL refuse a key that others can read.
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    (write(dir, &format!("{file}.crt"), &certificate.pem()), key)
}

fn write(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    fs::write(&path, text).unwrap();
    path
}
