//! Webhooks: endpoints that are told what happens to the environment's connections, and how its connect sessions end.

use std::{collections::BTreeSet, sync::Arc};

use axum::{Json, extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Api,
    asked::{At, Body, In, List, Page, Place},
    asker::Asker,
    problem::{Answered, Written, status_of},
    views::{MessageView, WebhookView},
};
use crate::{
    callers::Permission,
    error::Result,
    outbox::{EventType, Redelivered},
    transport::PrivateAllowed,
    webhooks::{NewEndpoint, Tested},
};

/// What an endpoint is to be.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct NewWebhook {
    /// Where messages are sent (POST): https, or http to a private address that is allowed. Its query is shown nowhere.
    pub(crate) url: String,
    /// The URL's host unless given.
    #[serde(default)]
    pub(crate) name: Option<String>,
    /// What it is told of; everything unless given.
    #[serde(default)]
    pub(crate) events: BTreeSet<EventType>,
    /// Private addresses that it may be at, each as `HOST:PORT`.
    #[serde(default)]
    pub(crate) private: Vec<String>,
    /// What signs, as Standard Webhooks writes it: `whsec_` and 24 to 64 bytes in base64. Made unless given.
    #[serde(default)]
    pub(crate) secret: Option<String>,
}

/// Another secret.
#[derive(Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewSecret {
    /// As for a new webhook; made unless given.
    #[serde(default)]
    pub(crate) secret: Option<String>,
}

/// What is to be sent again.
#[derive(Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Redeliver {
    /// Messages by their ids; all that are kept, where none is named.
    #[serde(default)]
    pub(crate) messages: BTreeSet<String>,
}

/// What is sent again.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct RedeliveredView {
    /// So many messages, as soon as the receiver may be asked.
    pub(crate) messages: usize,
    /// So many more were given up, and find no room among those that wait.
    pub(crate) left: usize,
}

/// An endpoint that was just added or given another secret.
#[derive(Serialize, Deserialize, ToSchema)]
pub(crate) struct MadeWebhook {
    #[serde(flatten)]
    pub(crate) webhook: WebhookView,
    /// What the receiver checks signatures with. It is not shown again; none where it was given.
    pub(crate) secret: Option<String>,
}

/// What came of trying an endpoint.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct WebhookTested {
    /// Whether the receiver took the message.
    pub(crate) delivered: bool,
    /// The status that it answered with; none where it was not reached.
    pub(crate) status: Option<u16>,
    /// The beginning of what it said, in its own words.
    pub(crate) said: Option<String>,
    /// Why it was not reached.
    pub(crate) failure: Option<Written>,
}

impl WebhookTested {
    fn of(tested: Result<Tested>) -> Self {
        match tested {
            Ok(tested) => Self {
                delivered: tested.is_taken(),
                status: Some(tested.status),
                said: Some(tested.said).filter(|said| !said.is_empty()),
                failure: None,
            },
            Err(error) => {
                let failure = Some(Written::of(&error, status_of(error.kind())));
                Self { delivered: false, status: None, said: None, failure }
            }
        }
    }
}

/// The endpoints of an environment.
#[utoipa::path(get, path = "/v1/webhooks", tag = "webhooks", params(Place, Page),
    security(("caller-key" = ["administer"])),
    responses((status = 200, body = List<WebhookView>)))]
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    asker: Asker,
    In(page): In<Page>,
) -> Answered<Json<List<WebhookView>>> {
    asker.may(Permission::Administer)?;
    let List { items, next } = page.of(api.host.webhooks(&asker.environment)?, |it| it.name.clone())?;
    let items = items.iter().map(|it| WebhookView::of(&api.host, it)).collect::<Result<_>>()?;
    Ok(Json(List { items, next }))
}

/// Adds an endpoint, and shows its secret this once.
#[utoipa::path(post, path = "/v1/webhooks", tag = "webhooks", params(Place), request_body = NewWebhook,
    security(("caller-key" = ["administer"])),
    responses((status = 201, body = MadeWebhook)))]
pub(super) async fn add(
    State(api): State<Arc<Api>>,
    asker: Asker,
    Body(asked): Body<NewWebhook>,
) -> Answered<(StatusCode, Json<MadeWebhook>)> {
    asker.may(Permission::Administer)?;
    let is_given = asked.secret.is_some();
    let (endpoint, secret) = api
        .host
        .add_webhook(NewEndpoint {
            environment: asker.environment,
            url: asked.url,
            name: asked.name,
            events: asked.events,
            private: PrivateAllowed::parse(&asked.private)?,
            secret: asked.secret,
            caller: asker.caller,
        })
        .await?;
    let webhook = WebhookView::of(&api.host, &endpoint)?;
    Ok((StatusCode::CREATED, Json(MadeWebhook { webhook, secret: (!is_given).then_some(secret) })))
}

/// One endpoint.
#[utoipa::path(get, path = "/v1/webhooks/{name}", tag = "webhooks", params(Place, ("name" = String, Path)),
    security(("caller-key" = ["administer"])),
    responses((status = 200, body = WebhookView)))]
pub(super) async fn show(
    State(api): State<Arc<Api>>,
    asker: Asker,
    At(name): At<String>,
) -> Answered<Json<WebhookView>> {
    asker.may(Permission::Administer)?;
    let endpoint = api.host.webhook(&asker.environment, &name)?;
    Ok(Json(WebhookView::of(&api.host, &endpoint)?))
}

/// Removes an endpoint: from now on nothing is sent there, and what waited for it or was given up is gone.
#[utoipa::path(delete, path = "/v1/webhooks/{name}", tag = "webhooks", params(Place, ("name" = String, Path)),
    security(("caller-key" = ["administer"])),
    responses((status = 204)))]
pub(super) async fn remove(State(api): State<Arc<Api>>, asker: Asker, At(name): At<String>) -> Answered<StatusCode> {
    asker.may(Permission::Administer)?;
    api.host.remove_webhook(&asker.environment, &name, &asker.caller)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Sends a message of type `ping` to an endpoint, now and once, and says what the receiver made of it.
#[utoipa::path(post, path = "/v1/webhooks/{name}/test", tag = "webhooks", params(Place, ("name" = String, Path)),
    security(("caller-key" = ["administer"])),
    responses((status = 200, body = WebhookTested)))]
pub(super) async fn test(
    State(api): State<Arc<Api>>,
    asker: Asker,
    At(name): At<String>,
) -> Answered<Json<WebhookTested>> {
    asker.may(Permission::Administer)?;
    // Whatever the receiver does, it was tried; that there is none of that name is another matter.
    api.host.webhook(&asker.environment, &name)?;
    Ok(Json(WebhookTested::of(api.host.test_webhook(&asker.environment, &name, &asker.caller).await)))
}

/// Has an endpoint told again that said that it is gone (410). What was given up stays so, until it is redelivered.
#[utoipa::path(post, path = "/v1/webhooks/{name}/enable", tag = "webhooks", params(Place, ("name" = String, Path)),
    security(("caller-key" = ["administer"])),
    responses((status = 200, body = WebhookView)))]
pub(super) async fn enable(
    State(api): State<Arc<Api>>,
    asker: Asker,
    At(name): At<String>,
) -> Answered<Json<WebhookView>> {
    asker.may(Permission::Administer)?;
    let endpoint = api.host.enable_webhook(&asker.environment, &name, &asker.caller)?;
    Ok(Json(WebhookView::of(&api.host, &endpoint)?))
}

/// The messages that wait for an endpoint, and those that were given up and can be sent again: two weeks from what they tell of,
/// 1,000 at most.
#[utoipa::path(get, path = "/v1/webhooks/{name}/messages", tag = "webhooks",
    params(Place, Page, ("name" = String, Path)), security(("caller-key" = ["administer"])),
    responses((status = 200, body = List<MessageView>)))]
pub(super) async fn messages(
    State(api): State<Arc<Api>>,
    asker: Asker,
    At(name): At<String>,
    In(page): In<Page>,
) -> Answered<Json<List<MessageView>>> {
    asker.may(Permission::Administer)?;
    let all = api.host.webhook_messages(&asker.environment, &name)?.into_iter().map(MessageView::of).collect();
    Ok(Json(page.of(all, |it: &MessageView| format!("{} {}", it.happened, it.id))?))
}

/// Sends messages again that were given up, under the same `webhook-id`, and at once those that wait.
#[utoipa::path(post, path = "/v1/webhooks/{name}/redeliver", tag = "webhooks", params(Place, ("name" = String, Path)),
    request_body = Redeliver, security(("caller-key" = ["administer"])),
    responses((status = 200, body = RedeliveredView)))]
pub(super) async fn redeliver(
    State(api): State<Arc<Api>>,
    asker: Asker,
    At(name): At<String>,
    Body(asked): Body<Redeliver>,
) -> Answered<Json<RedeliveredView>> {
    asker.may(Permission::Administer)?;
    let redelivered = api.host.redeliver_webhook(&asker.environment, &name, &asked.messages, &asker.caller)?;
    let Redelivered { messages, left } = redelivered;
    Ok(Json(RedeliveredView { messages, left }))
}

/// Gives an endpoint another secret, and shows it this once. For a day the one before signs too.
#[utoipa::path(post, path = "/v1/webhooks/{name}/secret", tag = "webhooks", params(Place, ("name" = String, Path)),
    request_body = NewSecret, security(("caller-key" = ["administer"])),
    responses((status = 200, body = MadeWebhook)))]
pub(super) async fn rotate(
    State(api): State<Arc<Api>>,
    asker: Asker,
    At(name): At<String>,
    Body(asked): Body<NewSecret>,
) -> Answered<Json<MadeWebhook>> {
    asker.may(Permission::Administer)?;
    let given = asked.secret.as_deref();
    let (endpoint, secret) = api.host.rotate_webhook(&asker.environment, &name, given, &asker.caller)?;
    let webhook = WebhookView::of(&api.host, &endpoint)?;
    Ok(Json(MadeWebhook { webhook, secret: given.is_none().then_some(secret) }))
}
