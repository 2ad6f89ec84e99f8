//! What goes out and what comes back.

use std::fmt;

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, StatusCode,
    header::{
        ACCEPT_ENCODING, CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderName, RANGE, TE, TRAILER, TRANSFER_ENCODING,
        UPGRADE,
    },
};
use url::Url;

use super::{coding::ACCEPTED, fault::Fault, identity::Identity, room::Place};
use crate::{
    error::{Error, Kind},
    origin::Origin,
};

/// A request with everything attached that it is to carry.
pub struct Outgoing {
    /// Any method but CONNECT and TRACE.
    pub method: Method,
    /// An absolute `http` or `https` URL without user name and password. Its fragment stays here.
    pub url: Url,
    /// Header fields. What frames a message and what belongs to one hop (RFC 9110, 7.6.1; `Host`, `Content-Length`,
    /// `Transfer-Encoding`, `Connection`, `Expect`, `Upgrade` and the like) is dropped: that is the transport's.
    pub headers: HeaderMap,
    /// The content; its length is declared as it is.
    pub body: Bytes,
    /// Who sends it, in the TLS handshake.
    pub identity: Option<Identity>,
    /// What must be done before anything of it leaves, and not before there is a connection.
    pub before: Option<Before>,
}

/// Done once, or the request does not leave.
pub type Before = Box<dyn FnOnce() -> Result<(), Error> + Send>;

/// An answer, received whole.
pub struct Incoming {
    /// 200 to 999: informational answers never get here.
    pub status: StatusCode,
    /// Header fields without those of one hop, and, where the body was decoded, without `Content-Encoding` and the
    /// `Content-Length` of what was on the wire.
    pub headers: HeaderMap,
    /// The content, decoded.
    pub body: Bytes,
    /// What is kept for as long as the body is, where large answers are bounded in number.
    pub place: Option<Place>,
}

/// Fields that speak of the connection they came on.
const HOP_BY_HOP: [HeaderName; 7] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Takes away the fields that speak of one hop only.
pub(super) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
}

impl Outgoing {
    /// A request of nobody in particular.
    pub fn new(method: Method, url: Url, headers: HeaderMap, body: Bytes) -> Self {
        Self { method, url, headers, body, identity: None, before: None }
    }

    /// Where it goes, if its URL and method are such as may go anywhere.
    pub(super) fn origin(&self) -> Result<Origin, Fault> {
        let origin = Origin::of(&self.url).map_err(|error| Fault::Denied {
            what: error.message().to_owned(),
            allow: error.mend().unwrap_or("Use an https:// URL.").to_owned(),
        })?;
        if !self.url.username().is_empty() || self.url.password().is_some() {
            return Err(Fault::Denied {
                what: format!("The URL for `{origin}` holds a user name or a password."),
                allow: "Let the connector declare them as an attachment.".into(),
            });
        }
        // RFC 9110, 9.3.6 and 9.3.8: a tunnel past every rule, and an echo of the credential.
        if matches!(self.method, Method::CONNECT | Method::TRACE) {
            return Err(Fault::Denied {
                what: format!("The method {} is not sent anywhere.", self.method),
                allow: "Use another method.".into(),
            });
        }
        Ok(origin)
    }

    /// Puts the transport's own header fields in place of whatever was there.
    pub(super) fn frame(&mut self) {
        strip_hop_by_hop(&mut self.headers);
        for name in [HOST, CONTENT_LENGTH, EXPECT] {
            self.headers.remove(name);
        }
        // RFC 9110, 8.6: a method that is expected to have content says so when there is none; Azure and others answer
        // 411 otherwise. Where there is content, the HTTP client declares its length.
        if self.body.is_empty() && matches!(self.method, Method::POST | Method::PUT | Method::PATCH) {
            self.headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        if !self.headers.contains_key(ACCEPT_ENCODING) {
            // A range of coded bytes cannot be decoded.
            let accepted = if self.headers.contains_key(RANGE) { "identity" } else { ACCEPTED };
            self.headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(accepted));
        }
    }
}

/// Method and origin only: path, query, header fields and body may hold credentials.
impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let origin = Origin::of(&self.url).map_err(|error| Kind::name(error.kind()));
        f.debug_struct("Outgoing").field("method", &self.method).field("origin", &origin).finish_non_exhaustive()
    }
}

/// Status and sizes only: a service may repeat credentials in its answer.
impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming")
            .field("status", &self.status)
            .field("headers", &self.headers.len())
            .field("body", &self.body.len())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outgoing(method: Method, url: &str) -> Outgoing {
        Outgoing::new(method, Url::parse(url).unwrap(), HeaderMap::new(), Bytes::new())
    }

    #[test]
    fn urls_and_methods_that_go_nowhere_are_denied() {
        for url in ["ftp://a.example", "file:///etc/passwd", "data:,a", "https://u@a.example", "https://:p@a.example"] {
            assert!(matches!(outgoing(Method::GET, url).origin(), Err(Fault::Denied { .. })), "{url}");
        }
        for method in [Method::CONNECT, Method::TRACE] {
            assert!(matches!(outgoing(method, "https://a.example").origin(), Err(Fault::Denied { .. })));
        }
        assert!(outgoing(Method::GET, "https://a.example/b?c#d").origin().is_ok());
    }

    #[test]
    fn framing_is_not_the_callers() {
        let mut request = outgoing(Method::POST, "https://a.example");
        for name in ["host", "content-length", "transfer-encoding", "connection", "upgrade", "expect", "te", "x-mine"] {
            request.headers.insert(name, HeaderValue::from_static("7"));
        }
        request.frame();
        let mut names: Vec<_> = request.headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["accept-encoding", "content-length", "x-mine"]);
        assert_eq!(request.headers[CONTENT_LENGTH], "0");
    }

    #[test]
    fn a_range_is_asked_for_uncoded() {
        let mut request = outgoing(Method::GET, "https://a.example");
        request.headers.insert(RANGE, HeaderValue::from_static("bytes=0-1"));
        request.frame();
        assert_eq!(request.headers[ACCEPT_ENCODING], "identity");
    }

    #[test]
    fn nothing_that_may_be_a_credential_is_printed() {
        let mut request = outgoing(Method::GET, "https://a.example/canary?canary=canary#canary");
        request.headers.insert("x-key", HeaderValue::from_static("canary"));
        request.body = "canary".into();
        let text = format!("{request:?}");
        assert!(!text.contains("canary") && text.contains("https://a.example"), "{text}");
        let answer = Incoming { status: StatusCode::OK, headers: request.headers, body: "canary".into(), place: None };
        assert!(!format!("{answer:?}").contains("canary"));
    }
}
