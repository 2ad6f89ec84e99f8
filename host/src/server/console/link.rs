//! Links to sign in with, and links to where a connection is made good again. The code of the first stands behind the `#`, which no browser sends: neither a proxy's log nor whoever looks at a
//! link before showing it ever has it.

use std::{sync::Arc, time::Instant};

use async_trait::async_trait;
use axum::{
    Extension, Json,
    extract::{Query, State},
    http::StatusCode,
};
use serde::{Deserialize, Serialize};
use url::Url;

use super::{
    Console,
    session::{LINK_LASTS, Who},
};
use crate::{
    error::Result,
    server::{
        api::{Operator, Problem},
        consent::below,
        mcp::{Links, Offer},
    },
};

/// A link that was made.
#[derive(Debug, Serialize, Deserialize)]
pub struct LinkView {
    /// Where the operator signs in. Whoever opens it first does.
    pub link: String,
    /// Seconds.
    pub lasts: u64,
}

#[derive(Deserialize)]
pub(super) struct Place {
    environment: String,
}

/// Makes a link for the operator, who asks by the socket.
pub(super) async fn create(
    State(console): State<Arc<Console>>,
    Extension(Operator { caller }): Extension<Operator>,
    Query(Place { environment }): Query<Place>,
) -> Result<(StatusCode, Json<LinkView>), Problem> {
    console.has(&environment)?;
    let user = caller.strip_prefix("cli:").unwrap_or(&caller);
    let who = Who { environment, caller: format!("console:{user}") };
    let mut link = below(&console.base, "console/sign-in");
    link.set_fragment(Some(&console.sessions.make_link(who, Instant::now())?));
    Ok((StatusCode::CREATED, Json(LinkView { link: link.to_string(), lasts: LINK_LASTS.as_secs() })))
}

/// Where people come back to who were sent to a provider from here.
pub fn return_url(base: &Url) -> Url {
    below(base, "console/connect/back")
}

/// A link that mends is no secret and lets nobody in: who opens it and is not signed in does so first, as the operator says. An
/// agent that sends it to somebody else has them sign in for nothing.
#[async_trait]
impl Links for Console {
    async fn link(&self, offer: &Offer, connection: &str, scopes: &[String]) -> Result<Option<Url>> {
        let mut link = below(&self.base, "console/connect");
        link.query_pairs_mut().append_pair("again", connection).append_pair("environment", &offer.environment);
        if !scopes.is_empty() {
            link.query_pairs_mut().append_pair("scopes", &scopes.join(" "));
        }
        Ok(Some(link))
    }
}
