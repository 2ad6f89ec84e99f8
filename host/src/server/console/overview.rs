//! What needs somebody's attention, and what happened lately.

use std::sync::Arc;

use askama::Template;
use axum::http::StatusCode;
use jiff::Timestamp;
use serde::Deserialize;

use super::{
    asked::In,
    charts::{Activity, Chart, Span, shown},
    connections::aside,
    consents::Since,
    gate::{Shown, Visitor},
    view::Frame,
};
use crate::{
    server::{
        api::{ConnectorView, WebhookView},
        page::html,
    },
    survey::Survey,
};

const HERE: &str = "Overview";

#[derive(Template)]
#[template(path = "console/overview.html")]
struct Overview {
    frame: Frame,
    connectors: usize,
    survey: Arc<Survey>,
    /// The first consents whose connector is another since, and what of it.
    changed: Vec<(String, Since)>,
    webhooks: Vec<WebhookView>,
    is_by_day: bool,
    charts: [Chart; 3],
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
    let span = Span::of(asked.span.as_deref());
    let (audit, environment) = (visitor.console.host.audit_path(), visitor.environment().to_owned());
    let host = visitor.console.host.clone();
    let look = move || {
        let activity = Activity::read(&audit, &environment, span, Timestamp::now())?;
        Ok((activity, host.survey(&environment)?))
    };
    let (activity, survey) = aside(look).await?;
    let changed = survey.first_changed.iter().filter_map(|it| visitor.changed(it)).collect();
    let page = Overview {
        frame: visitor.frame(HERE),
        connectors: connectors.len(),
        survey,
        changed,
        webhooks: visitor.list::<WebhookView>(&["webhooks"]).await?.0,
        is_by_day: span == Span::Fortnight,
        charts: activity.charts(),
        since: activity.since.map(shown),
    };
    Ok(html(StatusCode::OK, &page))
}
