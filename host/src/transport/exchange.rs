//! One request and its answer on a client: sent once, bounded in every direction, and read whole.

use std::{pin::pin, time::Duration};

use http::{
    Method, StatusCode,
    header::{CONTENT_ENCODING, CONTENT_LENGTH, TRANSFER_ENCODING},
};
use tokio::time::{Instant, timeout_at};

use super::{
    coding::{Coding, Decoder, Stop},
    fault::{Fault, Part, Stage},
    guard::Guard,
    limits::Limits,
    pool::Pooled,
    request::{Incoming, Outgoing, strip_hop_by_hop},
    room::{self, Room},
    upload::{self, Progress},
};
use crate::origin::Origin;

/// An exchange with one origin, under limits that run from its beginning.
pub(super) struct Exchange<'a> {
    pub(super) origin: &'a Origin,
    pub(super) limits: &'a Limits,
    pub(super) began: Instant,
    /// Where large answers are held, if their number is bounded.
    pub(super) room: Option<&'a Room>,
}

impl Exchange<'_> {
    /// Sends the request and reads the answer.
    pub(super) async fn run(&self, pooled: &Pooled, mut request: Outgoing) -> Result<Incoming, Fault> {
        request.frame();
        let (body, progress) = upload::body(request.body, request.before.take())?;
        // A fragment is never sent, so what is sent is what the client is given.
        request.url.set_fragment(None);
        let mut outgoing = reqwest::Request::new(request.method.clone(), request.url);
        *outgoing.headers_mut() = request.headers;
        *outgoing.body_mut() = Some(body);
        let answer = self.head(&pooled.client, outgoing, &progress).await?;
        self.judge(&pooled.guard, &answer)?;
        self.read(answer, &request.method).await
    }

    async fn head(
        &self,
        client: &reqwest::Client,
        request: reqwest::Request,
        progress: &Progress,
    ) -> Result<reqwest::Response, Fault> {
        let mut answer = pin!(client.execute(request));
        loop {
            let at = progress.at();
            let stage = if at.midway {
                self.sooner(at.since, Stage::Upload, self.limits.idle)
            } else {
                self.sooner(at.since, Stage::FirstByte, self.limits.first_byte)
            };
            match timeout_at(stage.end, answer.as_mut()).await {
                Ok(outcome) => return outcome.map_err(|error| Fault::of(self.origin, &error, self.limits)),
                // Another piece was taken meanwhile, which sets the clock anew.
                Err(_) if stage.stage != Stage::Total && progress.at().since > at.since => {}
                Err(_) => return Err(self.late(stage)),
            }
        }
    }

    /// Refuses what no body could make right.
    fn judge(&self, guard: &Guard, answer: &reqwest::Response) -> Result<(), Fault> {
        if !answer.remote_addr().is_some_and(|peer| guard.has_judged(peer.ip())) {
            return Err(Fault::Protocol(format!("`{}` answered from an address that was not judged.", self.origin)));
        }
        // Other informational answers are skipped (RFC 9110, 15.2); this one changes what the connection speaks.
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Err(Fault::Protocol(format!("`{}` switched protocols without being asked.", self.origin)));
        }
        let headers = answer.headers();
        if headers.len() > self.limits.header_count {
            return Err(self.too_large(Part::HeaderCount, self.limits.header_count));
        }
        // As HTTP/1.1 writes them: a colon, a space and the end of the line.
        let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
        if bytes > self.limits.header_bytes {
            return Err(self.too_large(Part::HeaderBytes, self.limits.header_bytes));
        }
        let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
        if let Some(coding) = codings.next() {
            // RFC 9112, 6.3: a length beside it is how an answer is smuggled in. A coding inside it would not be undone.
            let chunked = coding.as_bytes().eq_ignore_ascii_case(b"chunked") && codings.next().is_none();
            if !chunked || headers.contains_key(CONTENT_LENGTH) {
                return Err(Fault::Protocol(format!("`{}` framed its answer ambiguously.", self.origin)));
            }
        }
        Ok(())
    }

    async fn read(&self, mut answer: reqwest::Response, method: &Method) -> Result<Incoming, Fault> {
        let expected = answer.content_length().map_or(0, |length| usize::try_from(length).unwrap_or(usize::MAX));
        if expected > self.limits.body_on_wire {
            return Err(self.too_large(Part::BodyOnWire, self.limits.body_on_wire));
        }
        let coding = Coding::of(answer.headers());
        // Made when there is something to decode: an answer to HEAD says how its body would be coded, and has none.
        let mut decoder = None;
        let mut on_wire = 0usize;
        let mut place = None;
        while let Some(piece) = self.piece(&mut answer).await? {
            on_wire += piece.len();
            if on_wire > self.limits.body_on_wire {
                return Err(self.too_large(Part::BodyOnWire, self.limits.body_on_wire));
            }
            if piece.is_empty() {
                continue;
            }
            let decoder = match &mut decoder {
                Some(decoder) => decoder,
                none => none.insert(self.decoding(Decoder::new(coding, self.limits.body_decoded, expected))?),
            };
            self.decoding(decoder.push(&piece))?;
            if let (Some(room), None) = (self.room, &place)
                && decoder.length() > room::SMALL
            {
                let end = self.began + self.limits.total;
                let late = || self.late(Ending { end, stage: Stage::Total, limit: self.limits.total });
                place = Some(room.place(end).await.ok_or_else(late)?);
                if coding == Coding::Identity {
                    decoder.expect(expected);
                }
            }
        }
        let status = answer.status();
        let mut headers = std::mem::take(answer.headers_mut());
        strip_hop_by_hop(&mut headers);
        let body = match decoder {
            Some(decoder) => {
                if coding != Coding::Identity {
                    headers.remove(CONTENT_ENCODING);
                    headers.remove(CONTENT_LENGTH);
                }
                self.decoding(decoder.finish())?
            }
            None => bytes::Bytes::new(),
        };
        tracing::trace!(%method, origin = %self.origin, status = status.as_u16(), bytes = body.len(), "answered");
        Ok(Incoming { status, headers, body, place })
    }

    async fn piece(&self, answer: &mut reqwest::Response) -> Result<Option<bytes::Bytes>, Fault> {
        let stage = self.sooner(Instant::now(), Stage::Idle, self.limits.idle);
        match timeout_at(stage.end, answer.chunk()).await {
            Ok(outcome) => outcome.map_err(|error| Fault::of(self.origin, &error, self.limits)),
            Err(_) => Err(self.late(stage)),
        }
    }

    fn decoding<T>(&self, outcome: Result<T, Stop>) -> Result<T, Fault> {
        outcome.map_err(|stop| match stop {
            Stop::TooLarge => self.too_large(Part::BodyDecoded, self.limits.body_decoded),
            Stop::Malformed => {
                Fault::Protocol(format!("The body that `{}` sent is not coded as it says.", self.origin))
            }
            Stop::Unknown => Fault::Protocol(format!(
                "`{}` coded its answer in a way that is not understood (understood is one of {}).",
                self.origin,
                super::coding::ACCEPTED
            )),
        })
    }

    /// The stage that ends first: this one, or the exchange as a whole.
    fn sooner(&self, since: Instant, stage: Stage, limit: Duration) -> Ending {
        let (own, total) = (since + limit, self.began + self.limits.total);
        if total < own {
            Ending { end: total, stage: Stage::Total, limit: self.limits.total }
        } else {
            Ending { end: own, stage, limit }
        }
    }

    fn late(&self, Ending { stage, limit, .. }: Ending) -> Fault {
        Fault::Timeout { origin: self.origin.clone(), stage, limit }
    }

    fn too_large(&self, part: Part, limit: usize) -> Fault {
        Fault::TooLarge { origin: self.origin.clone(), part, limit }
    }
}

struct Ending {
    end: Instant,
    stage: Stage,
    limit: Duration,
}

#[cfg(test)]
mod tests {
    use std::{str::FromStr, sync::Arc};

    use reqwest::dns::Resolve;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::{
        super::{
            guard::{Pinned, Policy, tests::Script},
            private::PrivateAllowed,
        },
        *,
    };

    #[tokio::test]
    async fn an_answer_from_an_address_that_was_not_judged_is_refused() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        });
        let (limits, allowed) = (Limits::default(), PrivateAllowed::parse([format!("service.test:{port}")]).unwrap());
        let origin = Origin::parse(&format!("http://service.test:{port}")).unwrap();
        let exchange = Exchange { origin: &origin, limits: &limits, began: Instant::now(), room: None };
        let policy = Policy::of(&origin, &allowed).unwrap();
        let guard = Arc::new(Guard::new(
            origin.clone(),
            policy,
            Script::new(&[&["127.0.0.2"], &["127.0.0.1"]]),
            limits.resolve,
        ));
        // A client that goes where nobody judged anything.
        let builder = reqwest::Client::builder().no_proxy().resolve("service.test", ([127, 0, 0, 1], port).into());
        let answer = builder.build().unwrap().get(origin.to_string()).send().await.unwrap();
        let look_up =
            async || Pinned(guard.clone()).resolve(reqwest::dns::Name::from_str("service.test").unwrap()).await;
        assert!(look_up().await.is_ok());
        assert!(
            matches!(exchange.judge(&guard, &answer), Err(Fault::Protocol(sentence)) if sentence.contains("judged"))
        );
        assert!(look_up().await.is_ok());
        assert_eq!(exchange.judge(&guard, &answer), Ok(()));
    }
}
