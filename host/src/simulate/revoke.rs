//! The revocation endpoint (RFC 7009).

use axum::http::{Method, StatusCode};

use super::{
    State,
    answer::{Refusal, Reply},
    asked::{Asked, Format},
};

/// Answers a request to it.
pub(super) fn answer(state: &mut State, asked: &Asked) -> Reply {
    let mut client = None;
    let reply = match work(state, asked, &mut client) {
        Ok(()) => Reply::new(StatusCode::OK),
        Err(refusal) => Reply::refusal(&refusal),
    };
    Reply { client, ..reply }
}

fn work(state: &mut State, asked: &Asked, who: &mut Option<String>) -> Result<(), Refusal> {
    if asked.method != Method::POST || asked.format != Format::Form {
        return Err(Refusal::invalid_request("Revocations come as a form, by POST."));
    }
    let client = state.clients.authenticate(&state.settings, &state.base, asked, &asked.fields)?;
    who.replace(client.clone());
    state.grants.revoke(&client, asked.fields.need("token")?)
}
