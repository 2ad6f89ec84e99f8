//! Apps: the operator's registrations with providers, which connections of a connector sign in through.

use askama::Template;
use axum::http::StatusCode;

use super::{
    asked::At,
    gate::{Acting, Shown, Visitor, onward},
    view::Frame,
};
use crate::{
    error::{Error, Result},
    server::{
        api::{AppView, ConnectorDetail, NewApp, status_of},
        consent::below,
        page::html,
    },
};

const HERE: &str = "Connectors";

#[derive(Template)]
#[template(path = "console/app.html")]
struct Ask {
    frame: Frame,
    connector: String,
    name: String,
    client_id: String,
    origins: String,
    redirect_uri: String,
    /// Whether it is there already: what is left empty stays as it was.
    proof: Option<String>,
    /// Where this host has people sent back to.
    callback: String,
    problem: Option<(String, Option<String>)>,
}

impl Visitor {
    /// The apps of a connector.
    pub(super) async fn apps_of(&self, connector: &str) -> Result<Vec<AppView>> {
        let (all, _) = self.list::<AppView>(&["apps"]).await?;
        Ok(all.into_iter().filter(|it| it.connector == connector).collect())
    }
}

/// The form.
pub(super) async fn ask(visitor: Visitor, At(connector): At<String>) -> Shown {
    let it: ConnectorDetail = visitor.get(&["connectors", &connector]).await?;
    let apps = visitor.apps_of(&it.approval.connector).await?;
    Ok(html(StatusCode::OK, &Ask::of(&visitor, it.approval.connector, apps.into_iter().next())))
}

impl Ask {
    fn of(visitor: &Visitor, connector: String, app: Option<AppView>) -> Self {
        let callback = below(&visitor.console.base, "callback").to_string();
        let frame = visitor.frame(HERE);
        match app {
            Some(app) => Self {
                name: app.name,
                client_id: app.client_id,
                origins: app.origins.join("\n"),
                redirect_uri: app.redirect_uri.unwrap_or_default(),
                proof: Some(app.proof),
                problem: None,
                frame,
                connector,
                callback,
            },
            None => Self {
                name: connector.clone(),
                client_id: String::new(),
                origins: String::new(),
                redirect_uri: String::new(),
                proof: None,
                problem: None,
                frame,
                connector,
                callback,
            },
        }
    }

    /// With what was typed, but for the secret, and why it was not taken.
    fn again(mut self, acting: &Acting, error: &Error) -> Self {
        let typed = |name: &str| acting.fields.get(name).unwrap_or_default().to_owned();
        self.name = typed("name");
        self.client_id = typed("client_id");
        self.origins = typed("origins");
        self.redirect_uri = typed("redirect_uri");
        self.problem = Some((error.message().to_owned(), error.mend().map(str::to_owned)));
        self
    }
}

/// Sets it.
pub(super) async fn set(At(connector): At<String>, acting: Acting) -> Shown {
    let fields = &acting.fields;
    let typed = |name: &str| fields.typed(name).map(str::to_owned);
    let secret = fields.typed("client_secret").map(|it| ("client_secret".to_owned(), it.to_owned()));
    let app = NewApp {
        client_id: typed("client_id"),
        origins: fields.get("origins").unwrap_or_default().split_whitespace().map(str::to_owned).collect(),
        redirect_uri: typed("redirect_uri"),
        secrets: secret.into_iter().collect(),
        ..NewApp::default()
    };
    let name = fields.required("name")?;
    match acting.put::<AppView>(&["apps", &connector, name], &app).await {
        Ok(app) => Ok(onward(&acting.console, &format!("/connectors/{}", app.connector))),
        Err(error) => {
            let it: ConnectorDetail = acting.get(&["connectors", &connector]).await?;
            let apps = acting.apps_of(&connector).await?;
            let page = Ask::of(&acting, it.approval.connector, apps.into_iter().next()).again(&acting, &error);
            Ok(html(status_of(error.kind()), &page))
        }
    }
}
