//! Signing in on another device (RFC 8628): a code that a person types there, and asking whether they did.

use std::{sync::Arc, time::Duration};

use axum::{Json, extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Api,
    asked::{At, Body, Place},
    asker::Asker,
    connections::{Agree, may_make, to_the_end},
    problem::Answered,
    proposals::What,
    views::MadeView,
};
use crate::{
    connect::{ConnectProposal, SignedIn},
    consent::oauth2::DeviceAuthorization,
    error::{Kind, Result},
    manifest::oauth2::Grant,
};

/// A code for another device.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct DeviceView {
    /// What is asked about.
    pub(crate) authorization: String,
    /// Where the person goes.
    pub(crate) verification_uri: String,
    /// The same, with the code in it.
    pub(crate) verification_uri_complete: Option<String>,
    pub(crate) user_code: String,
    /// Milliseconds to wait before each question.
    pub(crate) interval: u64,
}

/// What came of it so far.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct DeviceAnswer {
    /// The connection; none while nobody has decided.
    pub(crate) made: Option<MadeView>,
    /// Milliseconds to wait before the next question.
    pub(crate) interval: u64,
}

/// Asks the provider for a code that the person types on another device.
#[utoipa::path(post, path = "/v1/device-authorizations", tag = "connections", params(Place), request_body = Agree,
    security(("caller-key" = ["connect"])),
    responses((status = 201, body = DeviceView)))]
pub(super) async fn begin(
    State(api): State<Arc<Api>>,
    asker: Asker,
    Body(asked): Body<Agree>,
) -> Answered<(StatusCode, Json<DeviceView>)> {
    may_make(&asker)?;
    let _admitted = asker.admit(&api.host, None)?;
    let What::Connection(proposal) = api.proposals.take(&asker, &asked.proposal)? else {
        return Err(Kind::Usage.error("That is not the proposal of a connection.").into());
    };
    if proposal.grant != Some(Grant::DeviceCode) {
        return Err(Kind::Usage.error("That is not signed in for on another device.").into());
    }
    asked.take_sealed(&proposal)?;
    let device = api.host.begin_device(&proposal).await?;
    let view = DeviceView {
        authorization: String::new(),
        verification_uri: device.verification_uri.to_string(),
        verification_uri_complete: device.verification_uri_complete.as_ref().map(ToString::to_string),
        user_code: device.user_code.clone(),
        interval: milliseconds(device.interval),
    };
    let authorization = api.proposals.keep(&asker, What::Device(proposal, Box::new(device)))?;
    Ok((StatusCode::CREATED, Json(DeviceView { authorization, ..view })))
}

/// Asks once whether the person has agreed; then there is a connection.
#[utoipa::path(post, path = "/v1/device-authorizations/{authorization}", tag = "connections",
    params(Place, ("authorization" = String, Path)),
    security(("caller-key" = ["connect"])),
    responses((status = 200, body = DeviceAnswer)))]
pub(super) async fn ask(
    State(api): State<Arc<Api>>,
    asker: Asker,
    At(authorization): At<String>,
) -> Answered<Json<DeviceAnswer>> {
    may_make(&asker)?;
    let admitted = asker.admit(&api.host, None)?;
    let What::Device(proposal, device) = api.proposals.take(&asker, &authorization)? else {
        return Err(Kind::Usage.error("That is no authorization of a device.").into());
    };
    let asked = to_the_end(async move {
        let _admitted = admitted;
        ask_once(&api, &asker, &authorization, (proposal, device)).await
    });
    Ok(Json(asked.await?))
}

async fn ask_once(
    api: &Api,
    asker: &Asker,
    authorization: &str,
    (proposal, mut device): (Arc<ConnectProposal>, Box<DeviceAuthorization>),
) -> Result<DeviceAnswer> {
    let granted = api.host.poll_device(&proposal, &mut device).await?;
    let interval = milliseconds(device.interval);
    let Some(granted) = granted else {
        api.proposals.put_back(asker, authorization, What::Device(proposal, device))?;
        return Ok(DeviceAnswer { made: None, interval });
    };
    let made = api.host.connect(&proposal, SignedIn::Elsewhere(granted)).await?;
    let made = Some(MadeView::of(&api.host, &asker.environment, made)?);
    Ok(DeviceAnswer { made, interval })
}

fn milliseconds(interval: Duration) -> u64 {
    u64::try_from(interval.as_millis()).unwrap_or(u64::MAX)
}
