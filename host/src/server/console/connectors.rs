//! Connectors: which are approved and what each may do; adding one, which is looked at before anybody agrees; removing one.

use std::{collections::BTreeSet, sync::Arc};

use askama::Template;
use axum::{
    extract::{FromRequest, Multipart, Request, State},
    http::StatusCode,
    response::Response,
};

use super::{
    Console,
    asked::At,
    gate::{Acting, Fields, Refused, Shown, Visitor, onward},
    terms::{Terms, manifest_of, texts},
    view::{Frame, Sure},
};
use crate::{
    consent::Isolation,
    error::{Kind, Result},
    server::{
        api::{AppView, Approve, ConnectorDetail, ConnectorProposal, ConnectorView, Isolate},
        page::html,
    },
};

const HERE: &str = "Connectors";

#[derive(Template)]
#[template(path = "console/connectors.html")]
struct List {
    frame: Frame,
    rows: Vec<Row>,
    more: bool,
}

struct Row {
    connector: String,
    version: String,
    digest: String,
    /// Origins that receive a credential, as templates.
    audience: BTreeSet<String>,
    approved: String,
    approved_by: String,
}

/// All of them.
pub(super) async fn list(visitor: Visitor) -> Shown {
    let (all, more) = visitor.list::<ConnectorView>(&["connectors"]).await?;
    let rows = all
        .into_iter()
        .map(|it| Row {
            audience: origins(&texts(&it.terms["audience"])),
            connector: it.connector,
            version: it.version,
            digest: it.digest.short(),
            approved: it.approved,
            approved_by: it.approved_by,
        })
        .collect();
    Ok(html(StatusCode::OK, &List { frame: visitor.frame(HERE), rows, more }))
}

/// Each origin once, whichever auth options it is for.
fn origins(audience: &[String]) -> BTreeSet<String> {
    audience.iter().map(|it| it.split_once(" (").map_or(it.as_str(), |(origin, _)| origin).to_owned()).collect()
}

#[derive(Template)]
#[template(path = "console/connector.html")]
struct Detail {
    frame: Frame,
    connector: String,
    version: String,
    digest: String,
    approved: String,
    approved_by: String,
    isolation: &'static str,
    /// Whether one of its auth options signs in through an app.
    has_apps: bool,
    apps: Vec<AppView>,
    terms: Terms,
}

/// One of them.
pub(super) async fn show(visitor: Visitor, At(connector): At<String>) -> Shown {
    let it: ConnectorDetail = visitor.get(&["connectors", &connector]).await?;
    let manifest = manifest_of(&it.manifest)?;
    let terms = Terms::of(&manifest, &it.approval.terms);
    let approval = it.approval;
    let apps = visitor.apps_of(&approval.connector).await?;
    let page = Detail {
        frame: visitor.frame(HERE),
        connector: approval.connector,
        version: approval.version,
        digest: approval.digest.to_string(),
        approved: approval.approved,
        approved_by: approval.approved_by,
        isolation: approval.isolation.name(),
        has_apps: manifest.options.iter().any(|option| option.scheme.oauth2().is_some() || option.needs_app()),
        apps,
        terms,
    };
    Ok(html(StatusCode::OK, &page))
}

/// Chooses how its instances are kept apart.
pub(super) async fn isolate(At(connector): At<String>, acting: Acting) -> Shown {
    let isolation = match acting.fields.required("isolation")? {
        "call" => Isolation::Call,
        "connection" => Isolation::Connection,
        _ => return Err(Kind::Usage.error("Instances are kept apart by `call` or by `connection`.").into()),
    };
    let view: ConnectorView = acting.patch(&["connectors", &connector], &Isolate { isolation }).await?;
    Ok(onward(&acting.console, &format!("/connectors/{}", view.connector)))
}

#[derive(Template)]
#[template(path = "console/add.html")]
struct Add {
    frame: Frame,
}

/// Asks for a file.
pub(super) async fn ask_for_file(visitor: Visitor) -> Shown {
    Ok(html(StatusCode::OK, &Add { frame: visitor.frame(HERE) }))
}

#[derive(Template)]
#[template(path = "console/proposal.html")]
struct Proposal {
    frame: Frame,
    proposal: String,
    connector: String,
    version: String,
    digest: String,
    terms: Terms,
    upgrade: Option<Upgrade>,
}

struct Upgrade {
    from_version: String,
    from_digest: String,
    widened: Vec<String>,
    other: Vec<String>,
}

/// Looks at a file, and shows what it would be allowed.
pub(super) async fn look(visitor: Visitor, State(console): State<Arc<Console>>, request: Request) -> Shown {
    let (acting, bytes) = uploaded(visitor, &console, request).await?;
    let it: ConnectorProposal = acting.post_wasm(&["connectors", "proposals"], bytes).await?;
    let page = Proposal {
        frame: acting.frame(HERE),
        terms: Terms::of(&manifest_of(&it.manifest)?, &it.terms),
        proposal: it.proposal,
        connector: it.connector,
        version: it.version,
        digest: it.digest.to_string(),
        upgrade: it.upgrade.map(|upgrade| Upgrade {
            from_version: upgrade.from_version,
            from_digest: upgrade.from_digest.short(),
            widened: upgrade.widened,
            other: upgrade.other,
        }),
    };
    Ok(html(StatusCode::OK, &page))
}

/// The file that a form brings; its token stands before it, so that nothing is read for a form that is not ours.
async fn uploaded(
    visitor: Visitor,
    console: &Arc<Console>,
    request: Request,
) -> std::result::Result<(Acting, Vec<u8>), Refused> {
    let headers = request.headers().clone();
    let broken = || Kind::Usage.error("The form cannot be read.").hint("Choose the file again, and send it.");
    let mut parts = Multipart::from_request(request, console).await.map_err(|_| broken())?;
    let mut fields = Fields::default();
    let token = parts.next_field().await.map_err(|_| broken())?.ok_or_else(broken)?;
    if token.name() == Some("token") {
        fields.push("token".to_owned(), token.text().await.map_err(|_| broken())?);
    }
    let acting = Acting::check(visitor, &headers, fields)?;
    let file = parts.next_field().await.map_err(|_| broken())?.filter(|it| it.name() == Some("file"));
    let file = file.ok_or_else(broken)?.bytes().await.map_err(|refused| match refused.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            let limit = console.host.settings().limits.value.component_bytes;
            Kind::Denied
                .error(format!("The file is too large: a connector may have {limit} bytes."))
                .hint("Build it in release mode and stripped, or raise `limits.component-bytes` in attache.toml.")
        }
        _ => broken(),
    })?;
    // It takes its time.
    acting.still()?;
    if file.is_empty() {
        return Err(Kind::Usage.error("No file was chosen.").hint("Choose the connector's .wasm.").into());
    }
    Ok((acting, file.to_vec()))
}

/// Approves what was shown.
pub(super) async fn approve(acting: Acting) -> Shown {
    let proposal = acting.fields.required("proposal")?.to_owned();
    if acting.fields.get("widens").is_some() && acting.fields.get("more").is_none() {
        return Err(not_ticked("that it may do more than before"));
    }
    let view: ConnectorView = acting.post(&["connectors", "approvals"], &Approve { proposal, isolation: None }).await?;
    Ok(onward(&acting.console, &format!("/connectors/{}", view.connector)))
}

/// What must be ticked was not.
pub(super) fn not_ticked(what: &str) -> Refused {
    Kind::Usage
        .error(format!("It was not ticked {what}, so nothing was done."))
        .hint("Go back, read it, and tick it.")
        .into()
}

/// Asks once more.
pub(super) async fn ask_to_remove(visitor: Visitor, At(connector): At<String>) -> Shown {
    let it: ConnectorDetail = visitor.get(&["connectors", &connector]).await?;
    Ok(sure_to_remove(&visitor, &it.approval.connector))
}

fn sure_to_remove(visitor: &Visitor, connector: &str) -> Response {
    let page = Sure {
        frame: visitor.frame(HERE),
        title: format!("Remove the connector {connector}?"),
        meaning: vec!["Its approval ends in this environment. It can be added again from its file.".to_owned()],
        button: "Remove it",
        back: format!("/connectors/{connector}"),
    };
    html(StatusCode::OK, &page)
}

/// Removes one that no connection uses.
pub(super) async fn remove(At(connector): At<String>, acting: Acting) -> Shown {
    let removed: Result<()> = acting.delete(&["connectors", &connector]).await;
    removed?;
    Ok(onward(&acting.console, "/connectors"))
}
