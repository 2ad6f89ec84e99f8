//! Signing in with a link, and signing out. Opening a link does nothing yet: whoever looks at it for somebody, as mail programs
//! do, does not use it up.

use std::{sync::Arc, time::Instant};

use axum::{
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, header::SET_COOKIE},
    response::Response,
};

use super::{
    Console,
    gate::{Acting, Fields, Shown, onward},
    view::{Frame, SignIn},
};
use crate::server::page::html;

/// The page that takes a code. A script fills it in from the link; without, it is typed.
pub(super) async fn show(State(console): State<Arc<Console>>) -> Response {
    html(StatusCode::OK, &SignIn { frame: Frame::of(&console, None, "") })
}

/// Opens a session.
pub(super) async fn redeem(State(console): State<Arc<Console>>, headers: HeaderMap, form: Bytes) -> Shown {
    console.is_of_ours(&headers)?;
    let session = console.sessions.redeem(Fields::of(&form).required("code")?, Instant::now())?;
    let mut response = onward(&console, "");
    response.headers_mut().insert(SET_COOKIE, console.cookie(Some(&session))?);
    Ok(response)
}

/// Ends it.
pub(super) async fn sign_out(acting: Acting) -> Shown {
    acting.console.sessions.end(&acting.session);
    let mut response = onward(&acting.console, "/sign-in");
    response.headers_mut().insert(SET_COOKIE, acting.console.cookie(None)?);
    Ok(response)
}
