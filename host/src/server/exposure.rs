//! Whether others can come, and whether what they send can be read on the way. A caller key, a code of a sign-in and what calls
//! answer all pass here, so that plain HTTP ends at this machine unless the operator says otherwise in so many words.

use std::net::SocketAddr;

use url::Url;

use super::tls::TlsFiles;
use crate::{
    error::{Kind, Result},
    origin::Origin,
};

/// Where TLS ends for those who come from elsewhere.
#[derive(Debug)]
pub enum Tls {
    /// Here, with these files.
    Here(TlsFiles),
    /// At a proxy before this host, which alone reaches it, and says in `X-Forwarded-For` for whom it asks.
    Before,
    /// Nowhere: whoever is on the way reads along.
    Nowhere,
    /// Nobody said.
    Unsaid,
}

impl Tls {
    /// What a URL of a host begins with that listens itself.
    pub(super) fn scheme(&self) -> &'static str {
        if matches!(self, Self::Here(_)) { "https" } else { "http" }
    }
}

/// Refuses to listen where keys would travel in the clear.
///
/// # Errors
/// `usage`, with what would allow it.
pub(super) fn refuse_clear(listen: SocketAddr, public_url: Option<&Url>, tls: &Tls) -> Result<()> {
    let others_come = !listen.ip().is_loopback();
    if others_come && public_url.is_none() {
        return Err(Kind::Usage
            .error(format!("Others can reach {listen}, and links for them are never made of what a request says."))
            .hint("Say where browsers find this host with `--public-url https://attache.example.com`."));
    }
    if others_come && matches!(tls, Tls::Unsaid) {
        return Err(Kind::Usage
            .error(format!("Others can reach {listen}, and what they send would travel in the clear, caller keys too."))
            .hint(
                "Give a certificate (`--tls-cert FILE --tls-key FILE`), or say that TLS ends at a proxy before this host \
                 (`--behind-proxy`), or that it may be read on the way (`--insecure`).",
            ));
    }
    match public_url {
        Some(url) if url.scheme() == "https" || matches!(tls, Tls::Nowhere) => Ok(()),
        Some(url) if matches!(tls, Tls::Unsaid) && Origin::of(url)?.is_loopback() => Ok(()),
        Some(url) => Err(Kind::Usage
            .error(format!("`{url}` is not https, so that codes would travel in the clear."))
            .hint("Name an https URL, or say `--insecure` where that may be.")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(listen: &str, url: Option<&str>, tls: &Tls) -> bool {
        let url = url.map(|url| Url::parse(url).unwrap());
        refuse_clear(listen.parse().unwrap(), url.as_ref(), tls).is_err()
    }

    #[test]
    fn what_others_send_is_readable_on_the_way_only_where_somebody_said_so() {
        let (secure, clear) = (Some("https://a.example"), Some("http://a.example"));
        for elsewhere in ["0.0.0.0:1", "[::]:1", "192.0.2.7:1", "[::ffff:127.0.0.1]:1"] {
            assert!(refused(elsewhere, None, &Tls::Before), "{elsewhere}");
            assert!(refused(elsewhere, secure, &Tls::Unsaid), "{elsewhere}");
            assert!(refused(elsewhere, clear, &Tls::Before), "{elsewhere}");
            assert!(!refused(elsewhere, secure, &Tls::Before), "{elsewhere}");
            assert!(!refused(elsewhere, clear, &Tls::Nowhere), "{elsewhere}");
        }
        for here in ["127.0.0.1:1", "[::1]:1", "127.7.7.7:1"] {
            assert!(!refused(here, None, &Tls::Unsaid) && !refused(here, secure, &Tls::Unsaid), "{here}");
            assert!(!refused(here, Some("http://localhost:80"), &Tls::Unsaid), "{here}");
            assert!(refused(here, clear, &Tls::Unsaid), "{here}");
        }
    }
}
