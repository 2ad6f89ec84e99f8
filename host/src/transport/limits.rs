//! How long a request may take and how much may come back.

use std::time::Duration;

/// Looking up a name: 10 s. Resolvers ask the next name server after 5 s (resolv.conf(5)), so a dead first one still
/// leaves time for a second.
pub const RESOLVE: Duration = Duration::from_secs(10);

/// Everything until a connection can be used, the look-up and TLS included: 15 s. A lost first packet is sent again after
/// 1, 3 and 7 s (RFC 6298), and who has not answered by then is not there.
pub const CONNECT: Duration = Duration::from_secs(15);

/// From the last byte of the request, connecting included, to the head of the answer: 60 s. Gateways in front of most
/// services give up on them after 60 s themselves and answer 504.
pub const FIRST_BYTE: Duration = Duration::from_secs(60);

/// Between two pieces of the request or of the answer: 30 s. Longer than any network outage that a connection survives in
/// practice, and far below what would let a dripping service hold a call.
pub const IDLE: Duration = Duration::from_secs(30);

/// The whole exchange: 5 minutes. Enough to move [`BODY`] both ways at 1 Mbit/s.
pub const TOTAL: Duration = Duration::from_secs(300);

/// How long a service that fails again and again is left alone: 10 s. One that comes back is seen soon, and one that does not costs
/// one request in that time.
pub const REST: Duration = Duration::from_secs(10);

/// Header fields of an answer: 100, which is what the HTTP/1.1 parser holds without allocating. Services send 10 to 40.
pub const HEADER_COUNT: usize = 100;

/// Names and values of an answer's header fields together: 64 KiB, four times what servers commonly let a client send.
pub const HEADER_BYTES: usize = 64 << 10;

/// The body of an answer, on the wire and decoded: 16 MiB. It goes into a guest's memory once or twice, which itself has
/// a limit, and larger things are asked for in ranges.
pub const BODY: usize = 16 << 20;

/// The bounds of one exchange. [`Limits::default`] has the constants of this module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// The look-up of a name; [`RESOLVE`].
    pub resolve: Duration,
    /// Look-up, TCP and TLS together; [`CONNECT`].
    pub connect: Duration,
    /// From the request's last byte to the answer's head; [`FIRST_BYTE`].
    pub first_byte: Duration,
    /// Between two pieces of a body; [`IDLE`].
    pub idle: Duration,
    /// The whole exchange; [`TOTAL`].
    pub total: Duration,
    /// Without requests to a service that fails again and again; [`REST`].
    pub rest: Duration,
    /// Header fields of the answer; [`HEADER_COUNT`].
    pub header_count: usize,
    /// Bytes of the answer's header fields; [`HEADER_BYTES`].
    pub header_bytes: usize,
    /// Bytes of the answer's body as it arrives; [`BODY`].
    pub body_on_wire: usize,
    /// Bytes of the answer's body once decoded; [`BODY`].
    pub body_decoded: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            resolve: RESOLVE,
            connect: CONNECT,
            first_byte: FIRST_BYTE,
            idle: IDLE,
            total: TOTAL,
            rest: REST,
            header_count: HEADER_COUNT,
            header_bytes: HEADER_BYTES,
            body_on_wire: BODY,
            body_decoded: BODY,
        }
    }
}
