//! The socket in the data directory. Whoever can open it is the user that the host runs as, or root, who could read the key file
//! as well; the API is the same as elsewhere, asked by the operator.

use std::path::{Path, PathBuf};

use axum::{
    Extension, Router,
    extract::Request,
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use tokio::net::UnixStream;

use super::{
    answering::Peer,
    api::{Operator, Problem},
};
use crate::{error::Kind, text};

/// Who is at the other end, in their own words, for consents and the audit.
pub const CALLER: &str = "attache-caller";

/// Where the socket of a data directory is.
pub fn socket(data_dir: &Path) -> PathBuf {
    data_dir.join("attache.sock")
}

/// Who is at the other end of a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct AtTheSocket {
    may_read_the_key: bool,
}

impl AtTheSocket {
    pub(super) fn of(stream: &UnixStream) -> Self {
        let ours = rustix::process::getuid().as_raw();
        // The file's mode keeps others out already. Where a service manager gave the host a user of its own, it is root who
        // administers it.
        let may_read_the_key = stream.peer_cred().is_ok_and(|peer| [ours, 0].contains(&peer.uid()));
        Self { may_read_the_key }
    }
}

impl Peer for AtTheSocket {
    fn note(&self, request: &mut Request) {
        request.extensions_mut().insert(*self);
    }
}

/// These routes, asked by the operator.
pub(super) fn by_operator(routes: Router) -> Router {
    routes.layer(middleware::from_fn(let_in))
}

async fn let_in(Extension(peer): Extension<AtTheSocket>, mut request: Request, next: Next) -> Response {
    if !peer.may_read_the_key {
        return Problem::from(
            Kind::Denied.error("The host answers the user that it runs as and root, and nobody else."),
        )
        .into_response();
    }
    let named = request.headers().get(CALLER).and_then(|caller| caller.to_str().ok()).unwrap_or("operator");
    let caller = text::foreign(named, 100);
    request.extensions_mut().insert(Operator { caller });
    next.run(request).await
}
