//! Who a client is in a TLS handshake.

use std::{fmt, sync::Arc};

use rustls::{
    ClientConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::{CertifiedKey, SingleCertAndKey},
};

use crate::digest::Digest;

/// A certificate with its chain, and the private key to it (RFC 8446 section 4.4.2).
#[derive(Clone)]
pub struct Identity {
    certified: Arc<SingleCertAndKey>,
    fingerprint: Digest,
}

impl Identity {
    /// Of a chain of certificates, the client's own first, and a private key, both in PEM.
    ///
    /// # Errors
    /// A sentence's end that says what is wrong: `… is not …`. It never repeats what was read.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, &'static str> {
        let certified = certified_key(chain, key)?;
        let fingerprint = Digest::of(&[chain, b"\0", key].concat());
        Ok(Self { certified: Arc::new(SingleCertAndKey::from(certified)), fingerprint })
    }

    /// What tells it from others.
    pub(super) fn fingerprint(&self) -> Digest {
        self.fingerprint
    }

    /// Lets a client show it.
    pub(super) fn put_on(&self, config: &mut ClientConfig) {
        config.client_auth_cert_resolver = self.certified.clone();
    }
}

/// A chain of certificates, the one's own first, and a private key, both in PEM, as TLS takes them.
///
/// # Errors
/// As [`Identity::from_pem`].
pub(crate) fn certified_key(chain: &[u8], key: &[u8]) -> Result<CertifiedKey, &'static str> {
    let certificates: Vec<CertificateDer<'static>> =
        CertificateDer::pem_slice_iter(chain).collect::<Result<_, _>>().map_err(|_| "the certificate is not PEM")?;
    if certificates.is_empty() {
        return Err("there is no PEM certificate in what was given as one");
    }
    let encrypted = key.windows(9).any(|window| window == b"ENCRYPTED");
    let private = PrivateKeyDer::from_pem_slice(key).map_err(|_| match encrypted {
        true => "the private key is encrypted; decrypt it with `openssl pkcs8 -topk8 -nocrypt`",
        false => "the private key is not PEM",
    })?;
    CertifiedKey::from_der(certificates, private, &aws_lc_rs::default_provider())
        .map_err(|_| "the private key is not of a kind that TLS takes, or not the certificate's own")
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity")
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    #[test]
    fn a_certificate_and_a_key_must_belong_together() {
        let (key, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let certificate = CertificateParams::new(["jo".to_owned()]).unwrap().self_signed(&key).unwrap().pem();
        let (key, other) = (key.serialize_pem(), other.serialize_pem());
        let made = |chain: &str, key: &str| Identity::from_pem(chain.as_bytes(), key.as_bytes()).map(drop);
        assert_eq!(made(&certificate, &key), Ok(()));
        assert!(made(&certificate, &other).unwrap_err().contains("not the certificate's own"));
        assert!(made(&key, &certificate).is_err());
        assert!(made("", &key).unwrap_err().contains("no PEM certificate"));
        assert!(made(&certificate, "hunter2").unwrap_err().contains("not PEM"));
        let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
        assert!(made(&certificate, encrypted).unwrap_err().contains("encrypted"));
    }
}
