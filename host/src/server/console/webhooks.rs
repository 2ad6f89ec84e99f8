//! Webhooks: having one told again that said that it is gone, and what it was not told. How they are doing stands on the overview.

use axum::http::StatusCode;
use serde_json::Value;

use super::{
    asked::At,
    gate::{Acting, Shown},
    view::Done,
};
use crate::server::{
    api::{Redeliver, RedeliveredView, WebhookView},
    page::html,
};

/// Says that the receiver is there again.
pub(super) async fn enable(At(named): At<String>, acting: Acting) -> Shown {
    let enabled: WebhookView = acting.post(&["webhooks", &named, "enable"], &Value::Null).await?;
    let page = Done {
        frame: acting.frame("Overview"),
        title: format!("{} is told again", enabled.name),
        said: vec![
            "What happens from now on is sent there; what was given up is not, until you redeliver it.".to_owned(),
        ],
        onward: (String::new(), "To the overview".to_owned()),
    };
    Ok(html(StatusCode::OK, &page))
}

/// Sends again what was given up, and at once what waits.
pub(super) async fn redeliver(At(named): At<String>, acting: Acting) -> Shown {
    let it: RedeliveredView = acting.post(&["webhooks", &named, "redeliver"], &Redeliver::default()).await?;
    let mut said = vec![format!("Messages that are sent there now: {}.", it.messages)];
    if it.left > 0 {
        said.push(format!("{} more find no room among those that wait: redeliver once these were sent.", it.left));
    }
    let page = Done {
        frame: acting.frame("Overview"),
        title: format!("{named} is told again what it missed"),
        said,
        onward: (String::new(), "To the overview".to_owned()),
    };
    Ok(html(StatusCode::OK, &page))
}
