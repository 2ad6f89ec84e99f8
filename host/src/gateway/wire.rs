//! What is said in a channel: HTTP/2 requests of the host's, each with a head in JSON, its length before it, and a body behind
//! it; answers alike.

use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};
use hyper::body::{Body, Frame, SizeHint};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    audit::About,
    consent::{Captured, Errand, Failure, Fruitless, SealedBox, SealedText},
    error::{Error, Kind, Result},
    transport::{Limits, Place},
};

/// The host says that it knows the gateway.
pub(super) const HELLO: &str = "/hello";
/// The host says that from now on calls may come.
pub(super) const READY: &str = "/ready";
/// The host says why it does not take it in.
pub(super) const REFUSED: &str = "/refused";
/// A request to a service.
pub(super) const SEND: &str = "/send";
/// An errand of somebody who signs in.
pub(super) const SIGN_IN: &str = "/sign-in";

/// Heads: header fields of 64 KiB, a URL of as much, and terms whose texts a manifest bounds.
pub(super) const HEAD_BYTES: usize = 1 << 20;
/// Of the number before a head.
const PREFIX: usize = 4;
/// What goes out at a time: flow control waits between pieces, and nothing is copied for it.
const PIECE: usize = 64 << 10;

/// How often each end asks whether the other is there, and how long it may take to say so: a line that is dead or half-open is
/// found out within 15 seconds, well before anybody gives a call up, and one on a bad network has time for two lost packets.
pub(super) const ASK_EVERY: Duration = Duration::from_secs(5);
/// See [`ASK_EVERY`].
pub(super) const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// What may be on the way for one call: half a round trip of 60 ms at 250 Mbit/s.
pub(super) const STREAM_WINDOW: u32 = 1 << 20;
/// And for all together: each end keeps no more than this of what the other sends and nobody has taken yet.
pub(super) const LINE_WINDOW: u32 = 8 << 20;
/// Calls at a time; a host that has more waits.
pub(super) const AT_ONCE: u32 = 1_024;
/// What says who is who, and why not.
pub(super) const GREETING_BYTES: usize = 64 << 10;
/// A request of more than so many bytes is large: with as many as there may be at a time, those that are not fill a quarter of a
/// gigabyte at the gateway.
pub(super) const SMALL: u64 = 256 << 10;
/// Large requests at a time, and large answers: the gateway has each of them whole. The host sends no more, so that what waits fills
/// no window that others need.
pub(super) const LARGE: usize = 8;

/// A request to a service, as the connector asked for it and the host let it pass.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Asked {
    pub(super) method: String,
    pub(super) url: String,
    pub(super) headers: Headers,
    /// Whether it is to carry the credential.
    pub(super) attach: bool,
    /// Whether what stands where the credential goes was a service's and is replaced, or the connector's and is refused.
    pub(super) replace: bool,
    /// For the audit.
    pub(super) about: About,
    /// How many redirects led here.
    pub(super) hop: usize,
    /// How often it was sent before.
    pub(super) repeated: u32,
    pub(super) bounds: Bounds,
    pub(super) sealed: SealedBox,
    /// Of the app that the connection signs in through, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) app: Option<SealedBox>,
    /// What the gateway captured for it, if it signs in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) captured: Option<SealedText>,
}

/// What is to be done to sign in.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Errands {
    /// For the audit.
    pub(super) about: About,
    pub(super) bounds: Bounds,
    /// Before anything was sealed, only its terms.
    pub(super) sealed: SealedBox,
    pub(super) app: Option<SealedBox>,
    /// What is asked for, where the scheme has scopes.
    pub(super) scopes: Vec<String>,
    pub(super) errand: Errand,
}

/// Why an errand brought nothing.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Missed {
    #[serde(flatten)]
    failed: Failed,
    how: How,
    /// What a renewal brought before something after it failed.
    #[serde(default)]
    kept: Option<Captured>,
}

/// As [`Failure`] has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum How {
    Unsent,
    Refused,
    Later { wait: Option<Duration> },
    OfApp { wait: Option<Duration> },
    Lost,
    Undecided { slower: bool },
}

impl Missed {
    pub(super) fn of(failure: Failure, kept: Option<Captured>) -> Self {
        let how = match &failure {
            Failure::Unsent(_) => How::Unsent,
            Failure::Refused(_) => How::Refused,
            Failure::Later(_, wait) => How::Later { wait: *wait },
            Failure::OfApp(_, wait) => How::OfApp { wait: *wait },
            Failure::Lost(_) => How::Lost,
            Failure::Undecided { slower } => How::Undecided { slower: *slower },
        };
        Self { failed: Failed::from(&failure.into_error()), how, kept }
    }

    pub(super) fn map_text(self, map: impl Fn(String) -> String) -> Self {
        let error = Error::from(self.failed).map_text(map);
        Self { failed: Failed::from(&error), ..self }
    }
}

impl From<Failure> for Missed {
    fn from(failure: Failure) -> Self {
        Self::of(failure, None)
    }
}

impl From<Missed> for Fruitless {
    fn from(missed: Missed) -> Self {
        let Missed { failed, how, kept } = missed;
        let error = Error::from(failed);
        let failure = match how {
            How::Unsent => Failure::Unsent(error),
            How::Refused => Failure::Refused(error),
            How::Later { wait } => Failure::Later(error, wait),
            How::OfApp { wait } => Failure::OfApp(error, wait),
            How::Lost => Failure::Lost(error),
            How::Undecided { slower } => Failure::Undecided { slower },
        };
        Self { failure, kept }
    }
}

/// What the service answered, without what must not come back.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Told {
    pub(super) status: u16,
    pub(super) headers: Headers,
    /// How many places were masked.
    pub(super) masked: u64,
}

/// A failure, as [`Error::to_json`] writes it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Failed {
    kind: String,
    message: String,
    hint: Option<String>,
    retry_after: Option<u64>,
}

impl From<&Error> for Failed {
    fn from(error: &Error) -> Self {
        let (kind, message) = (error.kind().name().to_owned(), error.message().to_owned());
        Self { kind, message, hint: error.mend().map(str::to_owned), retry_after: error.wait() }
    }
}

impl From<Failed> for Error {
    fn from(failed: Failed) -> Self {
        let kind = Kind::of_name(&failed.kind).unwrap_or(Kind::Internal);
        let error = Error::told(kind, &failed.message, failed.hint.as_deref());
        match failed.retry_after {
            Some(seconds) => error.retry_after(seconds),
            None => error,
        }
    }
}

/// Header fields, in order. A value is any bytes; each is written as the character of its number.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Headers(Vec<(String, String)>);

impl From<&HeaderMap> for Headers {
    fn from(map: &HeaderMap) -> Self {
        let written = |value: &HeaderValue| value.as_bytes().iter().map(|byte| char::from(*byte)).collect();
        Self(map.iter().map(|(name, value)| (name.to_string(), written(value))).collect())
    }
}

impl TryFrom<Headers> for HeaderMap {
    type Error = Error;

    fn try_from(headers: Headers) -> Result<Self> {
        let mut map = HeaderMap::with_capacity(headers.0.len());
        for (name, value) in headers.0 {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| garbled())?;
            let bytes: Vec<u8> = value.chars().map(u8::try_from).collect::<Result<_, _>>().map_err(|_| garbled())?;
            map.append(name, HeaderValue::from_bytes(&bytes).map_err(|_| garbled())?);
        }
        Ok(map)
    }
}

/// The host's bounds on one exchange.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Bounds {
    resolve: Duration,
    connect: Duration,
    first_byte: Duration,
    idle: Duration,
    total: Duration,
    header_count: usize,
    header_bytes: usize,
    body_on_wire: usize,
    body_decoded: usize,
}

impl From<&Limits> for Bounds {
    fn from(it: &Limits) -> Self {
        Self {
            resolve: it.resolve,
            connect: it.connect,
            first_byte: it.first_byte,
            idle: it.idle,
            total: it.total,
            header_count: it.header_count,
            header_bytes: it.header_bytes,
            body_on_wire: it.body_on_wire,
            body_decoded: it.body_decoded,
        }
    }
}

impl Bounds {
    /// The tighter of these and one's own, each for itself.
    pub(super) fn within(&self, own: &Limits) -> Limits {
        Limits {
            resolve: self.resolve.min(own.resolve),
            connect: self.connect.min(own.connect),
            first_byte: self.first_byte.min(own.first_byte),
            idle: self.idle.min(own.idle),
            total: self.total.min(own.total),
            rest: own.rest,
            header_count: self.header_count.min(own.header_count),
            header_bytes: self.header_bytes.min(own.header_bytes),
            body_on_wire: self.body_on_wire.min(own.body_on_wire),
            body_decoded: self.body_decoded.min(own.body_decoded),
        }
    }
}

/// A head and what follows it, on the way.
#[derive(Debug)]
pub(super) struct Message {
    pieces: VecDeque<Bytes>,
    /// Kept until all of it is on its way.
    _place: Option<Place>,
}

impl Message {
    pub(super) fn of(head: &impl Serialize, body: Bytes) -> Result<Self> {
        let head = serde_json::to_vec(head).map_err(|_| Kind::Internal.error("A message cannot be written."))?;
        let length = u32::try_from(head.len()).ok().filter(|_| head.len() <= HEAD_BYTES).ok_or_else(|| {
            Kind::TooLarge.error(format!("What goes with a request has more than {HEAD_BYTES} bytes."))
        })?;
        let mut first = BytesMut::with_capacity(PREFIX + head.len());
        first.extend_from_slice(&length.to_be_bytes());
        first.extend_from_slice(&head);
        Ok(Self::made_of([first.freeze(), body]))
    }

    /// One that has no head.
    pub(super) fn plain(body: Bytes) -> Self {
        Self::made_of([body])
    }

    fn made_of<const PIECES: usize>(pieces: [Bytes; PIECES]) -> Self {
        Self { pieces: pieces.into_iter().filter(|piece| !piece.is_empty()).collect(), _place: None }
    }

    /// Whether it is one of those of which there are few at a time.
    pub(super) fn is_large(&self) -> bool {
        self.size_hint().lower() > SMALL
    }

    /// With the place that it takes.
    pub(super) fn keeping(self, place: Option<Place>) -> Self {
        Self { _place: place, ..self }
    }
}

impl Body for Message {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(mut whole) = self.pieces.pop_front() else { return Poll::Ready(None) };
        let piece = whole.split_to(whole.len().min(PIECE));
        if !whole.is_empty() {
            self.pieces.push_front(whole);
        }
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.pieces.iter().map(|piece| piece.len() as u64).sum())
    }
}

/// Takes a message apart.
///
/// # Errors
/// `internal` where it is not one.
pub(super) fn read<T: DeserializeOwned>(mut message: Bytes) -> Result<(T, Bytes)> {
    let length = message.first_chunk::<PREFIX>().map(|length| u32::from_be_bytes(*length) as usize);
    let length =
        length.filter(|length| *length <= HEAD_BYTES && PREFIX + length <= message.len()).ok_or_else(garbled)?;
    let head = message.split_to(PREFIX + length);
    let head: T = serde_json::from_slice(&head[PREFIX..]).map_err(|_| garbled())?;
    Ok((head, message))
}

/// Reads a body of no more than so many bytes.
///
/// # Errors
/// `unreachable` where the line breaks in the middle, or there is more.
pub(super) async fn collect(body: hyper::body::Incoming, most: usize) -> Result<Bytes> {
    axum::body::to_bytes(axum::body::Body::new(body), most)
        .await
        .map_err(|_| Kind::Unreachable.error("The line broke in the middle of a message, or it was too large."))
}

/// As a failure is written.
pub(super) fn failure(error: &Error) -> Value {
    serde_json::json!(Failed::from(error))
}

pub(super) fn garbled() -> Error {
    Kind::Internal
        .error("What came through the channel is not understood.")
        .hint("Run the same version of Attaché at both ends.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_message_is_its_head_and_its_body() {
        for body in [Bytes::new(), Bytes::from(vec![7; 3 * PIECE + 1])] {
            let message = Message::of(&"head", body.clone()).unwrap();
            let sent = axum::body::to_bytes(axum::body::Body::new(message), usize::MAX).await.unwrap();
            let (head, rest): (String, Bytes) = read(sent).unwrap();
            assert_eq!((head.as_str(), rest), ("head", body));
        }
    }

    #[test]
    fn what_is_no_message_is_not_read() {
        for bytes in [&b""[..], b"\0\0\0", b"\0\0\0\x05\"a\"", b"\xff\xff\xff\xff\"a\"", b"\0\0\0\x02{}"] {
            assert!(read::<String>(Bytes::from_static(bytes)).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn header_values_are_bytes() {
        let mut map = HeaderMap::new();
        map.append("x-a", HeaderValue::from_bytes(b"\xe4\xff caf\xc3\xa9").unwrap());
        map.append("x-a", HeaderValue::from_static("second"));
        assert_eq!(HeaderMap::try_from(Headers::from(&map)).unwrap(), map);
        for (name, value) in [("x a", ""), ("x-a", "a\r\nb"), ("x-a", "€")] {
            assert!(HeaderMap::try_from(Headers(vec![(name.into(), value.into())])).is_err(), "{value}");
        }
    }

    #[test]
    fn a_failure_is_the_same_at_the_other_end() {
        let error = Kind::RateLimited.error("Wait.").hint("A while.").retry_after(7);
        assert_eq!(Error::from(Failed::from(&error)), error);
    }

    #[test]
    fn the_other_ends_words_move_no_cursor_and_hide_nothing() {
        let error = Kind::Denied.error("\u{1b}[2J\u{202e}Refused\r\nhere").hint("\u{9b}31mRun\u{200b} this");
        let told = Error::from(Failed::from(&error));
        assert_eq!((told.message(), told.mend()), ("[2JRefused \nhere", Some("31mRun this")));
    }
}
