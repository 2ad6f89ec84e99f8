//! Why a request did not come to an answer, in sentences that hold nothing of its path, query, headers or body.

use std::{error::Error as StdError, fmt, io, time::Duration};

use super::{limits::Limits, spare::FAILURES};
use crate::{
    error::{Error, Kind},
    origin::Origin,
    pause::whole_seconds,
};

/// What stopped an exchange. Every text names the origin at most, so it may be shown and logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// A rule forbids it.
    Denied {
        /// What is refused, and why.
        what: String,
        /// What would allow it.
        allow: String,
    },
    /// There was no connection to be had: the request never left.
    Unreachable(String),
    /// What had to be done before the request left was not: nothing left.
    Unready(Error),
    /// It failed again and again, and is left alone for a while: nothing left.
    Spared {
        /// Who is not asked.
        origin: Origin,
        /// For how long yet.
        wait: Duration,
    },
    /// The connection broke before the answer was there.
    Broken(String),
    /// A stage took longer than its limit.
    Timeout {
        /// Who was asked.
        origin: Origin,
        /// What did not end.
        stage: Stage,
        /// How long was waited.
        limit: Duration,
    },
    /// The answer is larger than its limit.
    TooLarge {
        /// Who answered.
        origin: Origin,
        /// Of what there was too much.
        part: Part,
        /// The limit, in the unit of the part.
        limit: usize,
    },
    /// The answer is not HTTP as Attaché accepts it.
    Protocol(String),
}

/// The stages of an exchange that have a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Looking up the name.
    Resolve,
    /// Look-up, TCP and TLS.
    Connect,
    /// Sending the request's body.
    Upload,
    /// Waiting for the answer's head.
    FirstByte,
    /// Waiting for the next piece of the answer's body.
    Idle,
    /// The exchange as a whole.
    Total,
}

/// The parts of an answer that have a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The head as a whole, which the HTTP client gave up reading: too many header fields, or endless ones.
    Head,
    /// The number of header fields.
    HeaderCount,
    /// The bytes of the header fields.
    HeaderBytes,
    /// The bytes of the body as it arrived.
    BodyOnWire,
    /// The bytes of the body once decoded.
    BodyDecoded,
}

impl Fault {
    /// Whether the request may have arrived: then asking again is asking twice.
    pub fn may_have_arrived(&self) -> bool {
        match self {
            Fault::Unreachable(_)
            | Fault::Unready(_)
            | Fault::Spared { .. }
            | Fault::Timeout { stage: Stage::Resolve | Stage::Connect, .. } => false,
            // A request under way may be ended by a rule, too.
            Fault::Denied { .. }
            | Fault::Broken(_)
            | Fault::Timeout { .. }
            | Fault::TooLarge { .. }
            | Fault::Protocol(_) => true,
        }
    }

    /// What went wrong underneath. The error itself carries the URL with its query, and peers' texts, so that only its
    /// kinds are read and nothing of it is kept.
    pub(super) fn of(origin: &Origin, error: &reqwest::Error, limits: &Limits) -> Self {
        let causes = || causes_of(error);
        if let Some(own) = causes().find_map(|cause| cause.downcast_ref::<Fault>()) {
            return own.clone();
        }
        if let Some(tls) = causes().find_map(tls_error) {
            return Fault::Unreachable(format!("No secure connection to `{origin}`: {}.", describe_tls(tls)));
        }
        let hyper = causes().find_map(|cause| cause.downcast_ref::<hyper::Error>());
        let io = causes().find_map(|cause| cause.downcast_ref::<io::Error>()).map(io::Error::kind);
        if error.is_connect() {
            if error.is_timeout() {
                return Fault::Timeout { origin: origin.clone(), stage: Stage::Connect, limit: limits.connect };
            }
            return Fault::Unreachable(match io {
                Some(io::ErrorKind::ConnectionRefused) => format!("`{origin}` refused the connection."),
                Some(kind) => format!("`{origin}` could not be reached: {kind}."),
                None => format!("`{origin}` could not be reached."),
            });
        }
        if error.is_builder() {
            return Fault::Denied {
                what: format!("The URL for `{origin}` cannot be sent: it is no URI of RFC 3986, or too long."),
                allow: "Shorten it to less than 65,535 bytes, and percent-encode what is not a URL character.".into(),
            };
        }
        match hyper {
            Some(error) if error.is_parse_too_large() => {
                Fault::TooLarge { origin: origin.clone(), part: Part::Head, limit: limits.header_count }
            }
            Some(error) if error.is_parse() => {
                Fault::Protocol(format!("What `{origin}` sent is not a valid HTTP message."))
            }
            Some(error) if error.is_incomplete_message() => {
                Fault::Broken(format!("`{origin}` closed the connection before its answer was complete."))
            }
            _ => match io {
                Some(io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput) | None => {
                    Fault::Protocol(format!("`{origin}` broke the rules of HTTP in its answer."))
                }
                Some(io::ErrorKind::UnexpectedEof) => {
                    Fault::Broken(format!("`{origin}` closed the connection before its answer was complete."))
                }
                Some(kind) => Fault::Broken(format!("The connection to `{origin}` broke: {kind}.")),
            },
        }
    }
}

/// Why nothing came of a request to a host of ours, in words that end a sentence: without its URL, and without texts of its peer.
pub(crate) fn why_none_came(error: &reqwest::Error) -> String {
    let causes = || causes_of(error);
    if let Some(tls) = causes().find_map(tls_error) {
        return describe_tls(tls).to_owned();
    }
    let io = causes().find_map(|cause| cause.downcast_ref::<io::Error>());
    match io.filter(|error| error.raw_os_error().is_some()) {
        Some(error) => error.kind().to_string(),
        None if error.is_timeout() => "it took too long".to_owned(),
        // A name that nobody has is among them.
        None => causes().last().map_or_else(|| "the request failed".to_owned(), ToString::to_string),
    }
}

/// What is underneath an error, the nearest first.
pub(crate) fn causes_of(error: &dyn StdError) -> impl Iterator<Item = &(dyn StdError + 'static)> {
    std::iter::successors(error.source(), |cause| (*cause).source())
}

fn tls_error<'a>(cause: &'a (dyn StdError + 'static)) -> Option<&'a rustls::Error> {
    // An `io::Error` hides what it wraps from `source`, and the HTTP client wraps one in another.
    match cause.downcast_ref::<io::Error>() {
        Some(error) => error.get_ref().and_then(|inner| tls_error(inner)),
        None => cause.downcast_ref(),
    }
}

/// Which check failed, without the texts of a certificate, which are the peer's.
fn describe_tls(error: &rustls::Error) -> &'static str {
    use rustls::CertificateError as Certificate;
    match error {
        rustls::Error::InvalidCertificate(certificate) => match certificate {
            Certificate::UnknownIssuer => "its certificate is not signed by an authority that this machine trusts",
            Certificate::NotValidForName | Certificate::NotValidForNameContext { .. } => {
                "its certificate is for another name"
            }
            Certificate::Expired | Certificate::ExpiredContext { .. } => "its certificate has expired",
            Certificate::NotValidYet | Certificate::NotValidYetContext { .. } => "its certificate is not valid yet",
            Certificate::Revoked => "its certificate was revoked",
            _ => "its certificate is not valid",
        },
        rustls::Error::AlertReceived(rustls::AlertDescription::CertificateRequired) => "it wants a client certificate",
        rustls::Error::AlertReceived(_) => "it refused the handshake",
        rustls::Error::PeerIncompatible(_) => "it offers no version or cipher that Attaché accepts (TLS 1.2 or later)",
        rustls::Error::InvalidMessage(_) => "what answers there does not speak TLS",
        _ => "the handshake failed",
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Denied { what, .. } => f.write_str(what),
            Fault::Unready(error) => f.write_str(error.message()),
            Fault::Spared { origin, wait } => write!(
                f,
                "`{origin}` failed {FAILURES} times in a row or more, so it is not asked for another {} s.",
                whole_seconds(*wait)
            ),
            Fault::Unreachable(sentence) | Fault::Broken(sentence) | Fault::Protocol(sentence) => f.write_str(sentence),
            Fault::Timeout { origin, stage, limit } => {
                let late = match stage {
                    Stage::Resolve => "was not found by name",
                    Stage::Connect => "accepted no connection",
                    Stage::Upload => "took no further piece of the request",
                    Stage::FirstByte => "did not begin to answer",
                    Stage::Idle => "sent no further piece of its answer",
                    Stage::Total => "did not finish its answer",
                };
                write!(f, "`{origin}` {late} within {limit:?}.")
            }
            Fault::TooLarge { origin, part, limit } => {
                let what = match part {
                    Part::Head => format!("a head that is too large (at most {limit} header fields are read)"),
                    Part::HeaderCount => format!("more than {limit} header fields"),
                    Part::HeaderBytes => format!("more than {limit} bytes of header fields"),
                    Part::BodyOnWire => format!("a body of more than {limit} bytes"),
                    Part::BodyDecoded => format!("a body that decodes to more than {limit} bytes"),
                };
                write!(f, "`{origin}` answered with {what}.")
            }
        }
    }
}

impl StdError for Fault {}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        let message = fault.to_string();
        match fault {
            Fault::Unready(error) => error,
            Fault::Spared { wait, .. } => Kind::Unreachable
                .error(message)
                .hint("Then one request finds out whether it is better.")
                .retry_after(whole_seconds(wait)),
            Fault::Denied { allow, .. } => Kind::Denied.error(message).hint(allow),
            Fault::Unreachable(_) | Fault::Broken(_) => Kind::Unreachable.error(message),
            Fault::Timeout { .. } => Kind::Timeout.error(message),
            Fault::TooLarge { .. } => {
                Kind::TooLarge.error(message).hint("Ask for less, in pages or ranges, or raise the limit.")
            }
            Fault::Protocol(_) => Kind::ServiceFailed.error(message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin() -> Origin {
        Origin::parse("https://api.example.com").unwrap()
    }

    #[test]
    fn each_fault_is_a_sentence_of_its_kind() {
        let limit = Duration::from_millis(1500);
        for (fault, kind, sentence) in [
            (Fault::Denied { what: "No.".into(), allow: "Ask.".into() }, Kind::Denied, "No."),
            (Fault::Unreachable("Gone.".into()), Kind::Unreachable, "Gone."),
            (Fault::Broken("Gone.".into()), Kind::Unreachable, "Gone."),
            (
                Fault::Timeout { origin: origin(), stage: Stage::FirstByte, limit },
                Kind::Timeout,
                "`https://api.example.com` did not begin to answer within 1.5s.",
            ),
            (
                Fault::TooLarge { origin: origin(), part: Part::BodyDecoded, limit: 10 },
                Kind::TooLarge,
                "`https://api.example.com` answered with a body that decodes to more than 10 bytes.",
            ),
            (Fault::Protocol("Odd.".into()), Kind::ServiceFailed, "Odd."),
        ] {
            let error = Error::from(fault);
            assert_eq!((error.kind(), error.message()), (kind, sentence));
        }
    }

    #[test]
    fn a_denial_says_what_would_allow_it() {
        let error = Error::from(Fault::Denied { what: "No.".into(), allow: "Ask.".into() });
        assert_eq!(error.mend(), Some("Ask."));
    }
}
