//! Connecting an account: choose how, type what the connector asks for, see what would be agreed to, and agree. Where a person
//! signs in at a provider, the Consent Server's page asks; they come back here, and only then is there a connection.

use std::{collections::BTreeMap, time::Instant};

use askama::Template;
use axum::{http::StatusCode, response::Response};
use serde::Deserialize;

use super::{
    asked::In,
    gate::{Acting, Fields, Shown, Visitor, leave_for, onward},
    link::return_url,
    terms::{ParameterTerms, manifest_of},
    view::Frame,
};
use crate::{
    connect::{find_option, sends_away, typed_elsewhere},
    error::{Error, Kind, Result},
    manifest::{AuthOption, Manifest, Parameter, ValueKind, oauth2::Grant},
    server::{
        api::{
            Agree, Confirm, ConnectProposalView, ConnectionDetail, ConnectorDetail, ConnectorView, DeviceAnswer,
            DeviceView, MadeView, NewConnection, NewSession, SessionView, status_of,
        },
        page::html,
    },
    text,
};

const HERE: &str = "Connections";

#[derive(Template)]
#[template(path = "console/choose.html")]
struct Choose {
    frame: Frame,
    title: String,
    /// Each with where it leads, below the console, what it is called, and what it says of itself.
    choices: Vec<(String, String, String)>,
    none: &'static str,
}

#[derive(Template)]
#[template(path = "console/connect.html")]
struct Ask {
    frame: Frame,
    connector: String,
    version: String,
    option: String,
    option_title: String,
    name: String,
    /// Whether it is a connection that is there already.
    again: bool,
    controls: Vec<Control>,
    apps: Vec<(String, bool)>,
    grants: Vec<(&'static str, bool)>,
    scopes: Vec<(String, Option<String>, bool)>,
    private: String,
    reaches: Vec<String>,
    problem: Option<(String, Option<String>)>,
}

/// One thing to type.
struct Control {
    parameter: ParameterTerms,
    description: Option<String>,
    /// Of a secret there is none.
    value: String,
    choices: Vec<String>,
    is_secret: bool,
    /// Whether leaving it empty leaves what was typed before.
    is_kept: bool,
}

#[derive(Deserialize)]
pub(super) struct Which {
    connector: Option<String>,
    option: Option<String>,
    again: Option<String>,
    /// Scopes that a link asks for, separated by spaces (RFC 6749, 3.3): ticked in the form, for a person to leave or take away.
    scopes: Option<String>,
    /// What a link is for, which may be another than that of the session.
    environment: Option<String>,
}

/// What is to be connected, and how.
struct Way {
    approval: ConnectorView,
    manifest: Manifest,
    option: String,
    /// The connection that is made good again.
    before: Option<ConnectionDetail>,
}

/// Asks what is to be connected, how, and with what.
pub(super) async fn ask(visitor: Visitor, In(which): In<Which>) -> Shown {
    if let Some(environment) = which.environment.as_deref().filter(|it| *it != visitor.environment()) {
        let shown = text::foreign(environment, 100);
        return Err(Kind::Usage
            .error(format!("This link is for the environment `{shown}`, and you are signed in for another."))
            .hint(format!("Sign in with `attache --environment {shown} console`, and open the link again."))
            .into());
    }
    let Some(way) = Way::find(&visitor, &which).await? else { return choose(&visitor, which.connector).await };
    let mut ticked = Fields::default();
    for scope in which.scopes.iter().flat_map(|scopes| scopes.split(' ')) {
        ticked.push(format!("scope.{scope}"), "on".to_owned());
    }
    Ok(html(StatusCode::OK, &Ask::of(&visitor, &way, &ticked, None).await?))
}

impl Way {
    /// None where it is still to be chosen.
    async fn find(visitor: &Visitor, which: &Which) -> Result<Option<Self>> {
        let before: Option<ConnectionDetail> = match which.again.as_deref() {
            Some(again) => Some(visitor.get(&["connections", again]).await?),
            None => None,
        };
        let of_before = before.as_ref().map(|before| &before.connection);
        if let Some(it) = of_before.filter(|it| it.gateway.is_some()) {
            return Err(typed_elsewhere().hint(format!("Use `attache connection reconnect {}`.", it.name)));
        }
        let Some(connector) = of_before.map(|it| &it.connector).or(which.connector.as_ref()) else { return Ok(None) };
        let it: ConnectorDetail = visitor.get(&["connectors", connector]).await?;
        let manifest = manifest_of(&it.manifest)?;
        let option = match (of_before.map(|it| &it.auth_option).or(which.option.as_ref()), manifest.options.as_slice())
        {
            (Some(option), _) => find_option(&manifest, option)?.id.clone(),
            (None, [only]) => only.id.clone(),
            (None, _) => return Ok(None),
        };
        Ok(Some(Self { approval: it.approval, manifest, option, before }))
    }

    fn option(&self) -> Result<&AuthOption> {
        find_option(&self.manifest, &self.option)
    }

    /// Whether something has to be typed that was neither typed nor is stored.
    fn lacks(&self, asked: &NewConnection, it: &Parameter) -> bool {
        let is_stored = self.before.as_ref().is_some_and(|before| {
            before.connection.parameters.contains_key(&it.name) || before.secrets.contains(&it.name)
        });
        let is_typed = asked.parameters.contains_key(&it.name) || asked.secrets.contains_key(&it.name);
        it.must_be_typed() && !it.of_app && !is_typed && !is_stored
    }

    /// Whether a person is sent to a page of the service or its provider.
    fn sends_away(&self, grant: Option<Grant>) -> Result<bool> {
        let option = self.option()?;
        let first = option.scheme.oauth2().and_then(|it| it.grants.first().copied());
        Ok(sends_away(option, grant.or(first)))
    }
}

async fn choose(visitor: &Visitor, connector: Option<String>) -> Shown {
    let page = match connector {
        None => {
            let (all, _) = visitor.list::<ConnectorView>(&["connectors"]).await?;
            let choice = |it: ConnectorView| (format!("/connect?connector={}", it.connector), it.connector, it.version);
            Choose {
                frame: visitor.frame(HERE),
                title: "What is to be connected?".to_owned(),
                choices: all.into_iter().map(choice).collect(),
                none: "No connector is approved here yet.",
            }
        }
        Some(connector) => {
            let it: ConnectorDetail = visitor.get(&["connectors", &connector]).await?;
            let link = |option: &str| format!("/connect?connector={}&option={option}", it.approval.connector);
            let options = manifest_of(&it.manifest)?.options;
            Choose {
                frame: visitor.frame(HERE),
                title: format!("How is {} to be connected?", it.approval.connector),
                choices: options.into_iter().map(|it| (link(&it.id), it.id, it.title)).collect(),
                none: "There is no way to.",
            }
        }
    };
    Ok(html(StatusCode::OK, &page))
}

impl Ask {
    /// The form, with what was typed already; secrets are never put into it.
    async fn of(visitor: &Visitor, way: &Way, typed: &Fields, problem: Option<&Error>) -> Result<Self> {
        let option = way.option()?;
        let before = way.before.as_ref();
        let parameters = before.map(|before| before.connection.parameters.clone()).unwrap_or_default();
        let controls = option.parameters.iter().filter(|parameter| !parameter.of_app).map(|it| {
            let value = typed.get(&format!("p.{}", it.name)).map(str::to_owned);
            let value = value.or_else(|| parameters.get(&it.name).cloned()).or_else(|| it.default.clone());
            let choices = match it.kind {
                ValueKind::Boolean => vec!["true".to_owned(), "false".to_owned()],
                _ => it.choices.clone(),
            };
            Control {
                parameter: ParameterTerms {
                    name: it.name.clone(),
                    kind: it.kind.name(),
                    title: it.title.clone(),
                    optional: it.optional,
                },
                description: it.description.clone(),
                value: value.filter(|_| !it.is_secret()).unwrap_or_default(),
                choices,
                is_secret: it.is_secret(),
                is_kept: before.is_some_and(|before| before.secrets.contains(&it.name)),
            }
        });
        let apps = visitor.apps_of(&way.approval.connector).await?;
        let app = typed.typed("app").or(before.and_then(|before| before.connection.app.as_deref()));
        let apps = apps.into_iter().map(|it| it.name);
        let oauth2 = option.scheme.oauth2();
        let grants = oauth2.map(|it| it.grants.as_slice()).unwrap_or_default();
        let optional = oauth2.map(|it| it.scopes.as_slice()).unwrap_or_default().iter().filter(|it| !it.required);
        Ok(Self {
            frame: visitor.frame(HERE),
            connector: way.approval.connector.clone(),
            version: way.approval.version.clone(),
            option: option.id.clone(),
            option_title: option.title.clone(),
            name: match before {
                Some(before) => before.connection.name.clone(),
                None => typed.get("name").unwrap_or(&way.approval.connector).to_owned(),
            },
            again: before.is_some(),
            controls: controls.collect(),
            apps: apps.map(|name| (name.clone(), app == Some(name.as_str()))).collect(),
            grants: grants.iter().map(|it| (it.name(), typed.get("grant") == Some(it.name()))).collect(),
            scopes: optional
                .map(|it| {
                    let name = it.name.to_string();
                    let is_ticked = typed.get(&format!("scope.{name}")).is_some();
                    (name, it.description.clone(), is_ticked)
                })
                .collect(),
            private: typed.get("private").unwrap_or_default().to_owned(),
            reaches: option.audience.iter().map(ToString::to_string).collect(),
            problem: problem.map(|error| (error.message().to_owned(), error.mend().map(str::to_owned))),
        })
    }
}

#[derive(Template)]
#[template(path = "console/agree.html")]
struct Agreement {
    frame: Frame,
    it: ConnectProposalView,
    is_device: bool,
}

/// Checks what was typed: what it means is shown, or whoever is to sign in goes there.
pub(super) async fn propose(acting: Acting) -> Shown {
    let field = |name: &str| acting.fields.typed(name).map(str::to_owned);
    let which = Which {
        connector: field("connector"),
        option: field("option"),
        again: field("again"),
        scopes: None,
        environment: None,
    };
    let way = Way::find(&acting, &which).await?;
    let way = way.ok_or_else(|| Kind::Usage.error("It was not chosen how to connect."))?;
    match try_to_propose(&acting, &way).await {
        Ok(response) => Ok(response),
        // What was typed is there still, but for secrets.
        Err(error) => {
            let form = Ask::of(&acting, &way, &acting.fields, Some(&error)).await?;
            Ok(html(status_of(error.kind()), &form))
        }
    }
}

async fn try_to_propose(acting: &Acting, way: &Way) -> Result<Response> {
    let asked = asked(&acting.fields, way)?;
    if !way.sends_away(asked.grant)? {
        let it: ConnectProposalView = acting.post(&["connections", "proposals"], &asked).await?;
        let is_device = it.grant == Some(Grant::DeviceCode);
        return Ok(html(StatusCode::OK, &Agreement { frame: acting.frame(HERE), it, is_device }));
    }
    // A link would ask for it, and whoever fills in this form is there.
    if let Some(missing) = way.option()?.parameters.iter().find(|it| way.lacks(&asked, it)) {
        return Err(missing.missing());
    }
    let console = &acting.console;
    let name = asked.name.clone().unwrap_or_default();
    let state = console.sessions.begin_trip(&acting.session, &name, Instant::now())?;
    let session = NewSession {
        connection: Some(asked),
        agreed: None,
        owner: acting.session.who.caller.clone(),
        return_url: return_url(&console.base),
        state: Some(state),
    };
    let opened: SessionView = acting.post(&["connect-sessions"], &session).await?;
    let link = opened.link.parse().map_err(|_| Kind::Internal.error("The host gave a link that is none."))?;
    Ok(leave_for(&link))
}

fn asked(fields: &Fields, way: &Way) -> Result<NewConnection> {
    let text = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    let typed = |(_, value): &(&str, &str)| !value.is_empty();
    let mut secrets: BTreeMap<String, String> = fields.below("s.").filter(typed).map(text).collect();
    // A browser ends lines as HTTP does; a key's text ends them as files do.
    secrets
        .extend(fields.below("m.").filter(typed).map(|(name, value)| (name.to_owned(), value.replace("\r\n", "\n"))));
    let grants = way.option()?.scheme.oauth2().map(|it| it.grants.as_slice()).unwrap_or_default();
    let grant = fields.typed("grant");
    let known = grant.map(|named| grants.iter().find(|grant| grant.name() == named).copied());
    let again = way.before.as_ref().map(|before| before.connection.name.clone());
    Ok(NewConnection {
        connector: way.approval.connector.clone(),
        name: Some(match &again {
            Some(name) => name.clone(),
            None => fields.required("name")?.to_owned(),
        }),
        auth_option: Some(way.option.clone()),
        parameters: fields.below("p.").filter(typed).map(text).collect(),
        secrets,
        private: fields.get("private").unwrap_or_default().split_whitespace().map(str::to_owned).collect(),
        app: fields.typed("app").map(str::to_owned),
        grant: match known {
            Some(None) => return Err(Kind::Usage.error("The connector does not offer that grant.")),
            Some(grant) => grant,
            None => None,
        },
        scopes: fields.below("scope.").map(|(scope, _)| scope.to_owned()).collect(),
        gateway: None,
        again: again.is_some(),
    })
}

#[derive(Template)]
#[template(path = "console/device.html")]
struct Device {
    frame: Frame,
    authorization: String,
    verification_uri: String,
    complete: Option<String>,
    user_code: String,
    interval: u64,
    asked_before: bool,
}

/// Agrees to what was shown.
pub(super) async fn agree(acting: Acting) -> Shown {
    let proposal = acting.fields.required("proposal")?.to_owned();
    if acting.fields.get("device").is_some() {
        let device: DeviceView = acting.post(&["device-authorizations"], &Agree { proposal, sealed: None }).await?;
        let page = Device {
            frame: acting.frame(HERE),
            authorization: device.authorization,
            verification_uri: device.verification_uri,
            complete: device.verification_uri_complete,
            user_code: device.user_code,
            interval: device.interval,
            asked_before: false,
        };
        return Ok(html(StatusCode::OK, &page));
    }
    let made: MadeView = acting.post(&["connections"], &Agree { proposal, sealed: None }).await?;
    Ok(onward(&acting.console, &format!("/connections/{}", made.connection.name)))
}

/// Asks whether somebody has agreed on another device.
pub(super) async fn poll(acting: Acting) -> Shown {
    let text = |name: &str| acting.fields.required(name).map(str::to_owned);
    let authorization = text("authorization")?;
    let path = ["device-authorizations", &authorization];
    let answer: DeviceAnswer = acting.post(&path, &serde_json::json!({})).await?;
    if let Some(made) = answer.made {
        return Ok(onward(&acting.console, &format!("/connections/{}", made.connection.name)));
    }
    let page = Device {
        frame: acting.frame(HERE),
        verification_uri: text("verification_uri")?,
        complete: acting.fields.typed("complete").map(str::to_owned),
        user_code: text("user_code")?,
        authorization,
        interval: answer.interval,
        asked_before: true,
    };
    Ok(html(StatusCode::OK, &page))
}

#[derive(Deserialize)]
pub(super) struct Back {
    #[serde(default)]
    attache_code: String,
    #[serde(default)]
    state: String,
}

#[derive(Template)]
#[template(path = "console/back.html")]
struct CameBack {
    frame: Frame,
    connection: String,
    code: String,
    state: String,
}

/// Somebody came back who was sent to sign in.
pub(super) async fn back(visitor: Visitor, In(back): In<Back>) -> Shown {
    let connection = visitor.console.sessions.trip(&visitor.session, &back.state, Instant::now())?;
    let page = CameBack { frame: visitor.frame(HERE), connection, code: back.attache_code, state: back.state };
    Ok(html(StatusCode::OK, &page))
}

/// Makes the connection that they signed in for.
pub(super) async fn confirm(acting: Acting) -> Shown {
    let state = acting.fields.required("state")?;
    acting.console.sessions.trip(&acting.session, state, Instant::now())?;
    let code = acting.fields.required("code")?.to_owned();
    let owner = acting.session.who.caller.clone();
    let made: MadeView = acting.post(&["connect-sessions", "confirmations"], &Confirm { code, owner }).await?;
    Ok(onward(&acting.console, &format!("/connections/{}", made.connection.name)))
}
