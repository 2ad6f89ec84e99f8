//! Who comes in: a gateway that joins, or one that joined and is asked from then on.

use std::{pin::pin, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader},
    sync::Semaphore,
    time::timeout,
};

use super::{
    SealingKey,
    channel::{self, Purpose},
    code::Code,
    line::{Line, Pulse},
    rotation,
    wire::{self, Failed},
};
use crate::{
    digest::Digest,
    error::{Error, Kind, Result},
    host::Host,
};

/// Those that have not proved who they are yet, at a time: whoever comes and says nothing keeps nobody out for long.
const UNKNOWN: usize = 256;
/// What a gateway that joins says, and what it is told.
pub(super) const LONGEST_LINE: u64 = 4 << 10;
/// How long it may take to say so.
const JOINS_WITHIN: Duration = Duration::from_secs(15);
/// How often it is noted that a connected gateway is still there.
const NOTE_EVERY: Duration = Duration::from_secs(60);

/// What a gateway shows that joins.
#[derive(Serialize, Deserialize)]
pub(super) struct Joining {
    pub(super) code: String,
    pub(super) key: SealingKey,
}

/// What it is from then on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Joined {
    pub(super) name: String,
    pub(super) environment: String,
}

/// What the host says to a gateway that it knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Hello {
    pub(super) name: String,
    pub(super) environment: String,
    /// The fingerprint of the key that the host has things sealed to.
    pub(super) key: Digest,
}

/// Takes gateways in.
pub(crate) struct Door {
    host: Arc<Host>,
    unknown: Arc<Semaphore>,
}

impl Door {
    pub(crate) fn new(host: Arc<Host>) -> Arc<Self> {
        host.relay.listen();
        Arc::new(Self { host, unknown: Arc::new(Semaphore::new(UNKNOWN)) })
    }

    /// Whether one more may come in that nobody knows yet.
    ///
    /// # Errors
    /// `rate-limited`.
    pub(crate) fn let_in(&self) -> Result<tokio::sync::OwnedSemaphorePermit> {
        self.unknown.clone().try_acquire_owned().map_err(|_| {
            Kind::RateLimited.error("Too many gateways are at the door.").retry_after(JOINS_WITHIN.as_secs())
        })
    }

    /// Finds out who is at the other end, and what for; returns when they are gone. They are unknown for as long as
    /// `unknown` is kept.
    pub(crate) async fn take<S>(&self, stream: S, unknown: impl Send)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let taken = async {
            let (stream, purpose, who) = channel::accept(stream, &self.host.gateway_identity()?).await?;
            match purpose {
                Purpose::Joining => {
                    timeout(JOINS_WITHIN, self.join(stream, who)).await.unwrap_or_else(|_| Err(silent()))
                }
                Purpose::Rotating => rotation::take(&self.host, stream, who).await,
                Purpose::Calls => self.ask(stream, who, unknown).await,
            }
        };
        if let Err(error) = taken.await {
            tracing::warn!(%error, "a gateway did not come in");
        }
    }

    async fn join<S>(&self, stream: S, who: Digest) -> Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let mut stream = BufReader::new(stream);
        let joined = match read_line::<Joining>(&mut stream, LONGEST_LINE).await {
            Ok(Joining { code, key }) => code.parse::<Code>().and_then(|code| {
                let member = self.host.join_gateway(code.id, &code.secret, who, key)?;
                Ok(Joined { name: member.gateway, environment: member.environment })
            }),
            Err(error) => Err(error),
        };
        let answer = match &joined {
            Ok(joined) => json!({ "joined": joined }),
            Err(error) => json!({ "failed": wire::failure(error) }),
        };
        write_line(&mut stream, &answer).await?;
        // Until it has read that, or gone.
        let _ = stream.read(&mut [0]).await;
        joined.map(drop)
    }

    async fn ask<S>(&self, stream: S, who: Digest, unknown: impl Send) -> Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (line, running) = Line::begin(stream, who, Pulse::default()).await?;
        let (line, mut running) = (Arc::new(line), pin!(running));
        let mut say = async |path, what: Value| {
            tokio::select! {
                () = &mut running => Err(broken()),
                told = line.say(path, &what) => told,
            }
        };
        let Some(member) = self.host.member(who)? else {
            let stranger = stranger();
            say(wire::REFUSED, wire::failure(&stranger)).await?;
            return Err(stranger);
        };
        let (name, environment) = (member.gateway.clone(), member.environment.clone());
        say(wire::HELLO, json!(Hello { name, environment, key: member.key.fingerprint() })).await?;
        drop(unknown);
        self.host.relay.add(line.clone());
        // It may have been removed while it came in; whoever removes it from now on finds the line.
        let member_now = self.host.member(who);
        if !matches!(member_now, Ok(Some(_))) {
            self.host.relay.disconnect(who);
            return member_now.and(Err(stranger()));
        }
        // Now that it is asked, it may say that it is connected.
        let connected = say(wire::READY, Value::Null).await;
        if connected.is_ok() {
            tracing::info!(gateway = member.gateway, environment = member.environment, "a gateway is connected");
            self.stay(&line, running).await;
            self.note(who);
            tracing::info!(gateway = member.gateway, environment = member.environment, "a gateway is gone");
        }
        self.host.relay.remove(&line);
        connected
    }

    /// Until the line is gone.
    async fn stay(&self, line: &Line, running: impl Future<Output = ()>) {
        let noting = async {
            loop {
                self.note(line.identity);
                tokio::time::sleep(NOTE_EVERY).await;
            }
        };
        tokio::select! { () = running => {}, () = noting => {} }
    }

    fn note(&self, who: Digest) {
        if let Err(error) = self.host.note_contact(who) {
            tracing::warn!(%error, "when a gateway was heard of could not be noted");
        }
    }
}

/// What the host says to a gateway that joins.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Answer {
    Joined(Joined),
    Failed(Failed),
}

/// The gateway's part of joining.
pub(super) async fn ask_to_join<S>(stream: S, joining: &Joining) -> Result<Joined>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut stream = BufReader::new(stream);
    write_line(&mut stream, joining).await?;
    match timeout(JOINS_WITHIN, read_line::<Answer>(&mut stream, LONGEST_LINE))
        .await
        .unwrap_or_else(|_| Err(silent()))?
    {
        Answer::Joined(joined) => Ok(joined),
        Answer::Failed(failed) => Err(Error::from(failed)),
    }
}

/// A line of JSON of no more than so many bytes.
pub(super) async fn read_line<T: DeserializeOwned>(
    stream: &mut (impl AsyncBufReadExt + Unpin),
    longest: u64,
) -> Result<T> {
    let mut line = zeroize::Zeroizing::new(Vec::new());
    stream.take(longest).read_until(b'\n', &mut line).await.map_err(|_| broken())?;
    if line.last() != Some(&b'\n') {
        return Err(broken());
    }
    serde_json::from_slice(&line).map_err(|_| wire::garbled())
}

/// Says one.
pub(super) async fn write_line(stream: &mut (impl AsyncWriteExt + Unpin), what: &impl Serialize) -> Result<()> {
    let mut line = zeroize::Zeroizing::new(serde_json::to_vec(what).map_err(|_| wire::garbled())?);
    line.push(b'\n');
    stream.write_all(&line).await.map_err(|_| broken())?;
    stream.flush().await.map_err(|_| broken())
}

pub(super) fn stranger() -> Error {
    Kind::Denied.error("The host does not know this gateway: it was removed, or never joined.").hint(
        "`attache gateway enroll NAME` on the host gives a code, with which `attache gateway join` lets it in again.",
    )
}

fn broken() -> Error {
    Kind::Unreachable.error("The line broke before everything was said.")
}

fn silent() -> Error {
    Kind::Timeout.error(format!("Nothing was said within {JOINS_WITHIN:?}."))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use hyper::{Request, Response, body::Incoming, server::conn::http2::Builder, service::service_fn};
    use hyper_util::rt::{TokioExecutor, TokioIo};
    use tokio::io::duplex;

    use super::*;
    use crate::{
        gateway::{Identity, key::OpeningKey, members::tests::story, wire::Message},
        secret::Secret,
    };

    // Regression: it was looked at before it was greeted, and again only once it had said that it is ready.
    #[tokio::test]
    async fn a_gateway_that_is_removed_while_it_is_greeted_does_not_come_in() {
        let story = story();
        let me = Identity::of_seed(&Secret::new(vec![7; 32])).unwrap();
        let (code, key) = (story.invite("default", "plant"), OpeningKey::generate().unwrap());
        let host = Arc::new(story.host);
        host.join_gateway(code.id, &code.secret, me.public(), key.public().clone()).unwrap();
        let (near, far) = duplex(64 << 10);
        let door = Door::new(host.clone());
        let taking = tokio::spawn(async move { door.take(near, ()).await });
        let channel = channel::dial(far, &me, code.host, Purpose::Calls).await.unwrap();
        // It is removed just when it answers, and from then on it answers nothing.
        let answering = service_fn(move |request: Request<Incoming>| {
            let host = host.clone();
            async move {
                match request.uri().path() {
                    wire::HELLO => host.remove_gateway("default", "plant", None, "tester").unwrap(),
                    _ => std::future::pending().await,
                }
                Ok::<_, Infallible>(Response::new(Message::plain(bytes::Bytes::new())))
            }
        });
        tokio::spawn(Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(channel), answering));
        timeout(Duration::from_secs(5), taking).await.expect("it is still waited for").unwrap();
    }

    #[tokio::test]
    async fn a_line_is_no_longer_than_it_may_be() {
        let line = |length: u64| format!("\"{}\"\n", "x".repeat(usize::try_from(length - 3).unwrap()));
        for (length, is_read) in [(LONGEST_LINE, true), (LONGEST_LINE + 1, false)] {
            let line = line(length);
            let read = read_line::<String>(&mut BufReader::new(line.as_bytes()), LONGEST_LINE).await;
            assert_eq!(read.is_ok(), is_read, "{length}");
        }
        let endless = &mut BufReader::new(tokio::io::repeat(b'x'));
        assert_eq!(read_line::<String>(endless, LONGEST_LINE).await.unwrap_err().kind(), Kind::Unreachable);
    }
}
