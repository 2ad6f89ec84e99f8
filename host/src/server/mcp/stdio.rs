//! One client at the two ends of a pipe: a command's standard input and output, in this process; or, where a host runs already,
//! those of a command that hands them through the host's socket as they are.

use std::{collections::BTreeSet, pin::pin, sync::Arc};

use axum::{
    Extension, Json, Router,
    extract::{FromRequest, Request, State},
    http::{
        HeaderValue, StatusCode,
        header::{CONNECTION, UPGRADE},
    },
    response::{IntoResponse, Response},
    routing::post,
};
use hyper_util::rt::TokioIo;
use rmcp::{ServiceExt, transport::async_rw::AsyncRwTransport};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite, split};

use super::{Client, Door, Offer, longest_message};
use crate::{
    error::{Kind, Result},
    host::Host,
    manifest::{Effect, Effects},
    server::api::{Operator, Problem},
};

/// What the connection to the socket becomes (RFC 9110, 7.8).
pub const PROTOCOL: &str = "attache-mcp";

/// What a command offers its client.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Wanted {
    /// The environment's name.
    pub environment: String,
    /// The connections' names; none for all there are.
    pub connections: Option<Vec<String>>,
    /// Effects that operations may have beside that of reading.
    pub effects: BTreeSet<Effect>,
}

impl Wanted {
    /// The same, of this caller: the operator, whose sessions nobody else has.
    ///
    /// # Errors
    /// `not-found` where there is no such environment, or a connection that is named.
    pub fn offer(self, host: &Host, caller: String) -> Result<Offer> {
        let book = host.book(&self.environment)?;
        let id = |name: &String| book.connection(name).map(|connection| connection.id);
        let named = |names: Vec<String>| names.iter().map(id).collect::<Result<_>>();
        let connections = self.connections.map(named).transpose()?;
        let effects: Effects = self.effects.into_iter().collect();
        Ok(Offer { environment: self.environment, connections, effects, caller, holder: String::new() })
    }
}

/// Serves a client until it has gone, or until `told_to_stop`: then it is still told what came of calls that are over.
///
/// # Errors
/// `usage` where what comes is not MCP.
pub async fn serve<R, W>(
    client: Client,
    host: &Host,
    (input, output): (R, W),
    told_to_stop: impl Future<Output = ()>,
) -> Result<()>
where
    R: AsyncRead + Send + Unpin + 'static,
    W: AsyncWrite + Send + Unpin + 'static,
{
    let transport = AsyncRwTransport::new_server(input, output).with_max_line_length(longest_message(host));
    let mut told_to_stop = pin!(told_to_stop);
    let beginning = tokio::select! {
        beginning = client.serve(transport) => beginning,
        () = &mut told_to_stop => return Ok(()),
    };
    let service = beginning.map_err(|error| {
        Kind::Usage
            .error(format!("What came on standard input is not how MCP begins: {error}."))
            .hint("An MCP client starts this command; `attache mcp --help` shows how.")
    })?;
    let stop = service.cancellation_token();
    let mut serving = pin!(service.waiting());
    let served = tokio::select! {
        served = &mut serving => served,
        () = told_to_stop => {
            stop.cancel();
            serving.await
        }
    };
    served.map(drop).map_err(|error| Kind::Internal.error(format!("MCP could not be served: {error}.")))
}

/// The way in for commands, which belongs on the socket alone.
pub fn routes(door: &Arc<Door>) -> Router {
    Router::new().route("/v1/mcp", post(open)).with_state(door.clone())
}

/// Answers 101, and is MCP from then on.
async fn open(
    State(door): State<Arc<Door>>,
    Extension(Operator { caller }): Extension<Operator>,
    mut request: Request,
) -> Result<Response, Problem> {
    let becomes = hyper::upgrade::on(&mut request);
    let Json(wanted) = Json::<Wanted>::from_request(request, &()).await.map_err(|_| {
        Kind::Usage.error("What is to be offered is not understood.").hint("Use the `attache` that the host is.")
    })?;
    let client = door.client(wanted.offer(door.host(), caller)?);
    tokio::spawn(async move {
        let outcome = {
            match becomes.await {
                Ok(stream) => serve(client, door.host(), split(TokioIo::new(stream)), door.closed()).await,
                Err(error) => Err(Kind::Usage.error(format!("The connection did not become MCP: {error}."))),
            }
        };
        if let Err(error) = outcome {
            tracing::warn!(%error, "a client of MCP on the socket was not served");
        }
    });
    let headers = [(CONNECTION, HeaderValue::from_static("upgrade")), (UPGRADE, HeaderValue::from_static(PROTOCOL))];
    Ok((StatusCode::SWITCHING_PROTOCOLS, headers).into_response())
}
