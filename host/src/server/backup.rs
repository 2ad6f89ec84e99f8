//! Backups of a host that runs, at its socket alone: a backup is of all environments, and a caller key is of one. What is
//! answered is the sealed file in parts, and behind the last of them what is in it, or why it is none.

use std::{
    convert::Infallible,
    io::{self, Write},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{Extension, Json, Router, body::Body, extract::State, response::Response, routing::post};
use bytes::{Buf, Bytes, BytesMut};
use hyper::body::Frame;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::{runtime::Handle, sync::mpsc, time::timeout};

use super::api::{Operator, Problem};
use crate::{
    backup::BackedUp,
    error::{Error, Kind, Result},
    host::Host,
    secret::Secret,
};

/// How long whoever reads may take for a part. Meanwhile everything is remembered that is written over.
const PATIENCE: Duration = Duration::from_secs(300);
/// Parts that wait to be read, of 64 KiB each.
const WAITING: usize = 16;

/// What a backup is to be.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// What it opens with; none for the store's key.
    pub passphrase: Option<String>,
}

/// A part of the answer, `what (1) ‖ length (4) ‖ content`.
#[derive(Debug, PartialEq)]
pub enum Part {
    /// Bytes of the file.
    File(Bytes),
    /// There are no more, and this is in it.
    Done(BackedUp),
    /// There will not be any more, and those that came are of no use.
    Failed(Error),
}

impl Part {
    fn written(&self) -> Result<Bytes> {
        let (what, content) = match self {
            Self::File(bytes) => (b'f', bytes.clone()),
            Self::Done(made) => (b'd', json(made)?),
            Self::Failed(error) => (b'e', json(&error.to_json())?),
        };
        let length = u32::try_from(content.len()).map_err(|_| Kind::Internal.error("A part is too long."))?;
        Ok([&[what][..], &length.to_be_bytes(), &content].concat().into())
    }

    /// Takes one from what came, if all of it did.
    ///
    /// # Errors
    /// `internal` for what is no part.
    pub fn take(came: &mut BytesMut) -> Result<Option<Self>> {
        let garbled = || Kind::Internal.error("What the host answered is not understood.");
        let Some(&[what, ref length @ ..]) = came.first_chunk::<5>() else { return Ok(None) };
        let length = u32::from_be_bytes(*length) as usize;
        if came.len() - 5 < length {
            return Ok(None);
        }
        came.advance(5);
        let content = came.split_to(length).freeze();
        let json = || serde_json::from_slice::<Value>(&content).map_err(|_| garbled());
        Ok(Some(match what {
            b'f' => Self::File(content),
            b'd' => Self::Done(serde_json::from_value(json()?).map_err(|_| garbled())?),
            b'e' => Self::Failed(Error::from_json(&json()?).ok_or_else(garbled)?),
            _ => return Err(garbled()),
        }))
    }
}

/// The route.
pub(super) fn routes(host: Arc<Host>) -> Router {
    Router::new().route("/v1/backup", post(back_up)).with_state(host)
}

async fn back_up(
    State(host): State<Arc<Host>>,
    Extension(operator): Extension<Operator>,
    Json(asked): Json<Asked>,
) -> Result<Response, Problem> {
    let passphrase = asked.passphrase.map(Secret::new);
    let (give, parts) = mpsc::channel(WAITING);
    let to = Hand { give, runtime: Handle::current() };
    tokio::task::spawn_blocking(move || {
        let mut last = to.clone();
        let end = match host.back_up(passphrase.as_ref(), to, &operator.caller) {
            Ok(made) => Part::Done(made),
            Err(error) => Part::Failed(error),
        };
        // Whoever asked may have gone.
        let _ = last.hand(&end);
    });
    Ok(Response::new(Body::new(Parts(parts))))
}

/// What was handed on, as a body.
struct Parts(mpsc::Receiver<Bytes>);

impl hyper::body::Body for Parts {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|part| part.map(|part| Ok(Frame::data(part))))
    }
}

/// Hands on what is written.
#[derive(Clone)]
struct Hand {
    give: mpsc::Sender<Bytes>,
    runtime: Handle,
}

impl Hand {
    fn hand(&mut self, part: &Part) -> io::Result<()> {
        let part = part.written().map_err(io::Error::other)?;
        match self.runtime.block_on(timeout(PATIENCE, self.give.send(part))) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(io::Error::other("whoever asked for it has gone")),
            Err(_) => Err(io::Error::other("whoever asked for it does not read it")),
        }
    }
}

impl Write for Hand {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.hand(&Part::File(Bytes::copy_from_slice(bytes)))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn json(value: &impl Serialize) -> Result<Bytes> {
    let text = serde_json::to_vec(value).map_err(|error| Kind::Internal.error(format!("No JSON: {error}.")))?;
    Ok(text.into())
}
