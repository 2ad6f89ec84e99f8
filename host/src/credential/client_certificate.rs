//! A certificate that is shown in the TLS handshake (RFC 8446 section 4.4.2).

use super::{Attached, Filler, Landing, Template};
use crate::{
    error::{Kind, Result},
    transport::{Identity, Outgoing},
};

pub(super) fn attach(
    certificate: &Template,
    key: &Template,
    filler: &Filler<'_>,
    request: &mut Outgoing,
    attached: &mut Attached,
) -> Result<()> {
    if request.url.scheme() != "https" {
        return Err(Kind::Denied
            .error("The credential is a certificate, which is shown in a TLS handshake, and plain http has none.")
            .hint("Connect with an https URL."));
    }
    let certificate = filler.require(certificate, Landing::Plain, request)?;
    let key = filler.require(key, Landing::Plain, request)?;
    let identity = Identity::from_pem(certificate.bytes(), key.bytes()).map_err(|why| {
        Kind::ReconnectNeeded
            .error(format!("The client certificate cannot be used: {why}."))
            .hint("Correct it with `attache connection reconnect NAME`.")
    })?;
    request.identity = Some(identity);
    attached.note("TLS client certificate".into(), key.into_secrets().into_iter().chain(certificate.into_secrets()));
    Ok(())
}
