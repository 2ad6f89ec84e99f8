//! Connections: how each stands, whose it is, until when, and when it was last used; checking one, and ending one.

use std::collections::BTreeMap;

use askama::Template;
use axum::http::StatusCode;
use jiff::Timestamp;
use serde_json::Value;

use super::{
    ask::{Part, Place},
    asked::{At, In},
    charts::ago,
    gate::{Acting, Shown, Visitor},
    terms::texts,
    view::{Done, Frame, Sure},
};
use crate::{
    error::{Error, Kind, Result},
    server::{
        api::{Checked, ConnectionDetail, ConnectionView, EndedView, OperationView},
        page::html,
    },
};

const HERE: &str = "Connections";

/// How a connection stands.
pub(super) struct Standing {
    pub(super) connection: ConnectionView,
    /// What stands against using it, and what mends that.
    pub(super) against: Option<(String, Option<String>)>,
    /// When what was handed out runs out, and what to make of that.
    pub(super) expires: Option<String>,
    pub(super) used: Option<String>,
}

impl Standing {
    /// In one word.
    pub(super) fn state(&self) -> &str {
        match &self.against {
            None => "connected",
            Some(_) if self.connection.state == "connected" => "consent needed",
            Some(_) => &self.connection.state,
        }
    }

    fn of(visitor: &Visitor, detail: ConnectionDetail, now: Timestamp) -> Self {
        let connection = detail.connection;
        let refused = detail.refused.map(|why| {
            let mend =
                format!("Connect it again: `attache connection reconnect {}` or the page of it.", connection.name);
            (why, Some(mend))
        });
        let against = refused.or_else(|| visitor.stands_against(&connection.name));
        let time = |text: Option<&str>| text.and_then(|at| at.parse::<Timestamp>().ok());
        let (expires, used) = (time(detail.expires.as_deref()), time(connection.last_used.as_deref()));
        Self {
            against,
            expires: expires.map(|at| match at > now {
                true => format!("in {}", while_of(at, now)),
                false => "renewed at the next call".to_owned(),
            }),
            used: used.map(|time| ago(time, now)),
            connection,
        }
    }
}

/// How long until then.
fn while_of(at: Timestamp, now: Timestamp) -> String {
    match at.duration_since(now).as_secs() {
        seconds @ ..120 => format!("{seconds} s"),
        seconds @ 120..7_200 => format!("{} min", seconds / 60),
        seconds @ 7_200..172_800 => format!("{} h", seconds / 3_600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

impl Visitor {
    /// What a call of a connection would be refused with before anything leaves.
    fn stands_against(&self, name: &str) -> Option<(String, Option<String>)> {
        let words = |error: Error| (error.message().to_owned(), error.mend().map(str::to_owned));
        self.console.host.ready(self.environment(), name).err().map(words)
    }

    /// How each of these stands.
    pub(super) async fn standings(&self, all: Vec<ConnectionView>) -> Result<Vec<Standing>> {
        let now = Timestamp::now();
        let mut standings = Vec::new();
        for connection in all {
            // One that was removed in between is not there any longer.
            match self.get::<ConnectionDetail>(&["connections", &connection.name]).await {
                Ok(detail) => standings.push(Standing::of(self, detail, now)),
                Err(error) if error.kind() == Kind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(standings)
    }
}

/// Does what reads much where it holds nobody up.
pub(super) async fn aside<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| Kind::Internal.error("What was read for the page ended without a word."))?
}

#[derive(Template)]
#[template(path = "console/connections.html")]
struct List {
    frame: Frame,
    part: Part<Standing>,
}

/// Those of one page; or the one that is looked for by its name.
pub(super) async fn list(visitor: Visitor, In(place): In<Place>) -> Shown {
    if let Some(name) = place.looked_for() {
        return show(visitor, At(name)).await;
    }
    let Part { items, is_first, next } = visitor.part::<ConnectionView>(&["connections"], &place).await?;
    let part = Part { items: visitor.standings(items).await?, is_first, next };
    Ok(html(StatusCode::OK, &List { frame: visitor.frame(HERE), part }))
}

#[derive(Template)]
#[template(path = "console/connection.html")]
struct Detail {
    frame: Frame,
    it: Standing,
    parameters: BTreeMap<String, String>,
    secrets: Vec<String>,
    private: Vec<String>,
    granted: Vec<String>,
    generation: u64,
    consent_given: Option<String>,
    is_revoked: bool,
    operations: Vec<OperationView>,
}

/// One of them.
pub(super) async fn show(visitor: Visitor, At(named): At<String>) -> Shown {
    let detail: ConnectionDetail = visitor.get(&["connections", &named]).await?;
    let name = detail.connection.name.clone();
    // Of a connector that is not approved any longer nothing can be called.
    let operations = visitor.get::<Vec<OperationView>>(&["connections", &name, "operations"]).await.unwrap_or_default();
    let page = Detail {
        frame: visitor.frame(HERE),
        parameters: detail.connection.parameters.clone(),
        secrets: detail.secrets.clone(),
        private: texts(&detail.connection.private),
        granted: detail.granted.clone(),
        generation: detail.generation,
        consent_given: detail.consent.as_ref().map(|consent| consent.given.clone()),
        is_revoked: detail.consent.as_ref().is_none_or(|consent| consent.revoked.is_some()),
        it: Standing::of(&visitor, detail, Timestamp::now()),
        operations,
    };
    Ok(html(StatusCode::OK, &page))
}

/// Asks the service whose it is.
pub(super) async fn check(At(named): At<String>, acting: Acting) -> Shown {
    let checked: Checked = acting.post(&["connections", &named, "check"], &Value::Null).await?;
    let page = Done {
        frame: acting.frame(HERE),
        title: "It is good".to_owned(),
        said: vec![format!("The service says that {} is of the account “{}”.", checked.connection, checked.account)],
        onward: (format!("/connections/{}", checked.connection), format!("Back to {}", checked.connection)),
    };
    Ok(html(StatusCode::OK, &page))
}

/// Asks once more.
pub(super) async fn ask_to_remove(visitor: Visitor, At(named): At<String>) -> Shown {
    let detail: ConnectionDetail = visitor.get(&["connections", &named]).await?;
    let name = detail.connection.name;
    let page = Sure {
        frame: visitor.frame(HERE),
        title: format!("Disconnect {name}?"),
        meaning: vec![
            format!("It is connected to the account “{}”.", detail.connection.account),
            "Its secrets and its consent are deleted here, and a provider that gave tokens is told to end them. Calls of it \
             end at once."
                .to_owned(),
        ],
        button: "Disconnect it",
        back: format!("/connections/{name}"),
    };
    Ok(html(StatusCode::OK, &page))
}

/// Ends it.
pub(super) async fn remove(At(named): At<String>, acting: Acting) -> Shown {
    let ended: EndedView = acting.delete(&["connections", &named]).await?;
    let page = Done {
        frame: acting.frame(HERE),
        title: format!("{named} is disconnected"),
        said: vec!["Its secrets and its consent are deleted.".to_owned(), ended.there()],
        onward: ("/connections".to_owned(), "To the connections".to_owned()),
    };
    Ok(html(StatusCode::OK, &page))
}
