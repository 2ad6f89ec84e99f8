//! Webhooks: having one told again that said that it is gone. How they are doing stands on the overview.

use axum::http::StatusCode;
use serde_json::Value;

use super::{
    asked::At,
    gate::{Acting, Shown},
    view::Done,
};
use crate::server::{api::WebhookView, page::html};

/// Says that the receiver is there again.
pub(super) async fn enable(At(named): At<String>, acting: Acting) -> Shown {
    let enabled: WebhookView = acting.post(&["webhooks", &named, "enable"], &Value::Null).await?;
    let page = Done {
        frame: acting.frame("Overview"),
        title: format!("{} is told again", enabled.name),
        said: vec!["What happens from now on is sent there; what was given up is not.".to_owned()],
        onward: (String::new(), "To the overview".to_owned()),
    };
    Ok(html(StatusCode::OK, &page))
}
