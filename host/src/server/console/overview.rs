//! What needs somebody's attention, and what happened lately.

use askama::Template;
use axum::http::StatusCode;
use jiff::Timestamp;
use serde::Deserialize;

use super::{
    asked::In,
    charts::{Activity, Chart, Span, shown},
    connections::{Standing, aside},
    consents::Since,
    gate::{Shown, Visitor},
    view::Frame,
};
use crate::server::{
    api::{ConnectionView, ConnectorView, WebhookView},
    page::html,
};

const HERE: &str = "Overview";

#[derive(Template)]
#[template(path = "console/overview.html")]
struct Overview {
    frame: Frame,
    connectors: usize,
    connections: usize,
    /// Those that cannot be used as they are.
    unusable: Vec<Standing>,
    /// Consents whose connector is another since.
    changed: Vec<(String, Since)>,
    webhooks: Vec<WebhookView>,
    is_by_day: bool,
    charts: [Chart; 2],
    /// Since when the charts count, where the audit is too long for a page.
    since: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Asked {
    span: Option<String>,
}

/// The first page.
pub(super) async fn show(visitor: Visitor, In(asked): In<Asked>) -> Shown {
    let (connectors, _) = visitor.list::<ConnectorView>(&["connectors"]).await?;
    let (connections, _) = visitor.list::<ConnectionView>(&["connections"]).await?;
    let count = connections.len();
    let standings = visitor.standings(connections).await?;
    let span = Span::of(asked.span.as_deref());
    let (audit, environment) = (visitor.console.host.audit_path(), visitor.environment().to_owned());
    let activity = aside(move || Activity::read(&audit, &environment, span, Timestamp::now())).await?;
    let page = Overview {
        frame: visitor.frame(HERE),
        connectors: connectors.len(),
        connections: count,
        unusable: standings.into_iter().filter(|it| it.against.is_some()).collect(),
        changed: visitor.changed_consents().await?,
        webhooks: visitor.list::<WebhookView>(&["webhooks"]).await?.0,
        is_by_day: span == Span::Fortnight,
        charts: [activity.calls(), activity.sign_ins()],
        since: activity.since.map(shown),
    };
    Ok(html(StatusCode::OK, &page))
}
