//! The part of connecting that is the authorization server's: which app, which grant, which scopes, and where the person goes.

use std::{collections::BTreeMap, sync::Arc};

use url::Url;
use uuid::Uuid;

use super::{ConnectProposal, find_option};
use crate::{
    audit::{Event, Obtaining, Subject},
    consent::{
        self, App, Authorization, Brought, CameBack, Captured, Connection, Discovered, Elsewhere, Errand, Failure,
        Fruitless, SentAway, Visiting, misled, misunderstood,
        oauth2::{Client, DeviceAuthorization, Polled, Revoked},
        part_below,
    },
    error::{Kind, Result},
    gateway::Relayed,
    host::Host,
    manifest::{
        AuthOption, Login, Scheme, Values,
        oauth2::Grant,
        template::{Landing, Moment},
    },
    origin::Origin,
    text,
};

/// A person on the way to the provider's page and back. It holds what ties the callback to whoever was sent, so it stays where
/// it was made.
pub struct Trip {
    /// Where the browser goes.
    pub url: Url,
    pub(super) way_back: WayBack,
    /// What is below the path where everybody is sent back to, where the app has people sent back to a place of its own.
    below: Option<String>,
}

/// What the person comes back with.
pub(super) enum WayBack {
    /// With a code of an authorization server.
    Code(Authorization),
    /// From a page in the middle of a login.
    Visit(Box<Visiting>),
    /// To what a gateway began.
    Elsewhere(SentAway),
}

impl Trip {
    /// What whoever comes back brings, and nobody else has.
    pub(crate) fn state(&self) -> &str {
        match &self.way_back {
            WayBack::Code(authorization) => &authorization.state,
            WayBack::Visit(visiting) => visiting.state().0,
            WayBack::Elsewhere(away) => &away.state,
        }
    }

    /// Whether somebody who came back so is the one who was sent.
    pub fn is_named_by(&self, came: &CameBack) -> bool {
        let Some(came) = came.at(self.below.as_deref()) else { return false };
        match &self.way_back {
            WayBack::Code(authorization) => authorization.is_named_by(&came),
            WayBack::Visit(visiting) => visiting.is_named_by(&came),
            WayBack::Elsewhere(away) => away.is_named_by(&came),
        }
    }

    /// What is brought back, and to whom, once it is known that it came where this sign-in was to come back to.
    ///
    /// # Errors
    /// `denied` where it came elsewhere.
    pub(super) fn arrive(self, came: &CameBack) -> Result<(WayBack, CameBack)> {
        let came = came.at(self.below.as_deref()).ok_or_else(misled)?;
        Ok((self.way_back, came))
    }
}

/// What a person agreed to on another device.
pub struct Granted(pub(super) Captured);

impl ConnectProposal {
    /// Begins a trip to the provider that comes back to `redirect_uri`, or to the app's own where that has one.
    ///
    /// # Errors
    /// `service-failed` where the provider has no authorization endpoint; `approval-needed` where there is no client id.
    pub fn trip(&self, redirect_uri: &Url) -> Result<Trip> {
        let (redirect_uri, below) = self.comes_back(redirect_uri);
        let authorization = self.client()?.authorization(redirect_uri, &self.values)?;
        Ok(Trip { url: authorization.url.clone(), way_back: WayBack::Code(authorization), below })
    }

    /// Whether people come back here who are sent back to where the app wants them, where this host has everybody sent back to
    /// `redirect_uri`: to that very place, or to one below it that is the app's own.
    pub fn comes_back_to(&self, redirect_uri: &Url) -> bool {
        comes_back_to(self.redirect_uri(), self.grant, redirect_uri)
    }

    /// Where the provider sends the person back to, and what of it is below the path where everybody is.
    fn comes_back(&self, redirect_uri: &Url) -> (Url, Option<String>) {
        (self.redirect_uri().unwrap_or(redirect_uri).clone(), self.below(redirect_uri))
    }

    fn below(&self, redirect_uri: &Url) -> Option<String> {
        part_below(redirect_uri, self.redirect_uri()?)
    }

    /// Whether a person is sent to a page of the service or its provider.
    pub fn sends_away(&self) -> bool {
        self.option().is_ok_and(|option| sends_away(option, self.grant))
    }

    /// Where the app wants people sent back to, where its operator said so.
    pub fn redirect_uri(&self) -> Option<&Url> {
        self.app.as_ref().and_then(|app| app.redirect_uri.as_ref())
    }

    /// Where the person signs in.
    pub fn provider(&self) -> Option<Origin> {
        if let Some(visit) = self.option().ok()?.scheme.visit() {
            return visit.url.origins(&self.values.in_a_host()).ok()?.into_iter().next();
        }
        let url = self.client().ok()?.authorization_url(&self.values).ok()?;
        Origin::of(&url).ok()
    }

    /// Whether it is this holder's, there.
    pub fn is_of(&self, holder: &str, environment: &str) -> bool {
        self.asked_by() == (holder, environment)
    }

    /// Whose it is, and in which environment: a caller key's id, or an operator as they are called.
    pub fn asked_by(&self) -> (&str, &str) {
        (&self.holder, &self.environment)
    }

    /// The caller key that asks, by its id; none for an operator.
    pub(crate) fn key(&self) -> Option<Uuid> {
        self.key
    }

    /// What the connector calls itself; its own words.
    pub fn title(&self) -> &str {
        &self.loaded.manifest.title
    }

    pub(super) fn option(&self) -> Result<&AuthOption> {
        find_option(&self.loaded.manifest, &self.connection.option)
    }

    fn client(&self) -> Result<Client> {
        let option = self.option()?;
        let app = self.app.clone().map(Arc::new);
        Client::of(option, app, self.connection.discovered.clone(), self.consent.scopes.clone())
            .ok_or_else(|| Kind::Usage.error(format!("The auth option `{}` does not use OAuth 2.0.", option.id)))
    }
}

impl Host {
    /// Begins a trip to the page that the person is sent to, and does what comes before it; as for
    /// [`ConnectProposal::trip`].
    ///
    /// # Errors
    /// What a step before it failed with, beside those.
    pub async fn send_away(&self, proposal: &ConnectProposal, redirect_uri: &Url) -> Result<Trip> {
        if let Some(elsewhere) = self.proposed_elsewhere(proposal)? {
            let (redirect_uri, below) = proposal.comes_back(redirect_uri);
            let away = run(&*elsewhere, Errand::SendAway { redirect_uri }, proposal).await?;
            let Brought::SentAway(away) = away else { return Err(misunderstood()) };
            away.leads_to(proposal.provider().as_ref())?;
            return Ok(Trip { url: away.url.clone(), way_back: WayBack::Elsewhere(away), below });
        }
        let Scheme::Login(login @ Login { visit: Some(visit), .. }) = &proposal.option()?.scheme else {
            return proposal.trip(redirect_uri);
        };
        let redirect_uri = proposal.redirect_uri().unwrap_or(redirect_uri);
        let (way, subject) = (self.proposed_way(proposal)?, proposal.subject("connect"));
        let visiting = Visiting::begin(login, visit, &way, &proposal.values, redirect_uri, &subject).await;
        let visiting = visiting.map_err(Failure::into_error)?;
        Ok(Trip { url: visiting.url.clone(), way_back: WayBack::Visit(Box::new(visiting)), below: None })
    }

    /// Asks the provider for a code that the person types on another device (RFC 8628).
    ///
    /// # Errors
    /// `service-failed` where the provider gives none.
    pub async fn begin_device(&self, proposal: &ConnectProposal) -> Result<DeviceAuthorization> {
        if let Some(elsewhere) = self.proposed_elsewhere(proposal)? {
            return match run(&*elsewhere, Errand::Device, proposal).await? {
                Brought::Device(device) => Ok(DeviceAuthorization::elsewhere(device)),
                _ => Err(misunderstood()),
            };
        }
        let way = self.proposed_way(proposal)?;
        proposal.client()?.device(&way, &proposal.values, &proposal.subject("connect")).await
    }

    /// Asks once whether the person has agreed; none while they have not decided. Wait `device.interval` before each time.
    ///
    /// # Errors
    /// `consent-needed` where the person said no or the code ran out.
    pub async fn poll_device(
        &self,
        proposal: &ConnectProposal,
        device: &mut DeviceAuthorization,
    ) -> Result<Option<Granted>> {
        let subject = proposal.subject("connect");
        match self.ask_once(proposal, device, &subject).await {
            Ok(Polled::Granted(captured)) => Ok(Some(Granted(*captured))),
            Ok(Polled::NotYet) => Ok(None),
            Err(error) => {
                let is_refused = error.kind() == Kind::ConsentNeeded;
                let event = if is_refused { Event::obtaining_refused } else { Event::obtaining_failed };
                self.audit.write_over(&event(Obtaining::SignIn, &subject, error.message()));
                Err(error)
            }
        }
    }

    async fn ask_once(
        &self,
        proposal: &ConnectProposal,
        device: &mut DeviceAuthorization,
        subject: &Subject,
    ) -> Result<Polled> {
        let (Some(elsewhere), Some(sealed)) = (self.proposed_elsewhere(proposal)?, device.sealed().cloned()) else {
            let way = self.proposed_way(proposal)?;
            return proposal.client()?.poll(&way, &proposal.values, device, subject).await;
        };
        device.in_time()?;
        let brought = elsewhere.run(Errand::Poll { device: sealed }, subject, None).await;
        device.heard(brought.map_err(|it| it.failure).and_then(Brought::captured))
    }

    /// Tells the provider to end tokens that are not kept. Whether it does changes nothing here.
    pub(super) async fn give_back(&self, proposal: &ConnectProposal, captured: &Captured, subject: &Subject) {
        let outcome = match (self.proposed_elsewhere(proposal), proposal.client(), self.proposed_way(proposal)) {
            (Ok(Some(elsewhere)), Ok(_), _) => revoke(&*elsewhere, captured, subject).await,
            (Ok(None), Ok(client), Ok(way)) => client.revoke(&way, &proposal.values, captured, subject).await,
            _ => Revoked::NoEndpoint,
        };
        self.audit.write_over(&Event::given_back(subject, outcome.name()));
    }

    /// The same, where there is something.
    pub(super) async fn give_back_all(&self, proposal: &ConnectProposal, captured: Option<&Captured>) {
        if let Some(captured) = captured.filter(|captured| !captured.is_empty()) {
            self.give_back(proposal, captured, &proposal.subject("connect")).await;
        }
    }

    /// The way of a connection that goes through a gateway.
    pub(super) fn proposed_way_through(&self, proposal: &ConnectProposal) -> Result<Option<Relayed>> {
        let book = self.book(&proposal.environment)?;
        let (declared, app) = (&proposal.approval.declared, proposal.app.as_ref());
        self.relayed(&book, &proposal.connection, declared, app, proposal.kept_credential()?.sealed)
    }

    /// Who signs in for it.
    pub(super) fn proposed_elsewhere(&self, proposal: &ConnectProposal) -> Result<Option<Arc<dyn Elsewhere>>> {
        let relayed = self.proposed_way_through(proposal)?;
        Ok(relayed.map(|relayed| self.signing_in(relayed, &proposal.consent)))
    }

    fn proposed_way(&self, proposal: &ConnectProposal) -> Result<crate::consent::Way> {
        let option = proposal.option()?;
        self.way(option, proposal.app.clone().map(Arc::new), &proposal.connection, None)
    }

    /// What the provider says of itself, where the connector leaves something to that.
    pub(super) async fn discover(
        &self,
        (option, app): (&AuthOption, Option<&App>),
        connection: &Connection,
        values: &Values,
        elsewhere: Option<&dyn Elsewhere>,
        subject: &Subject,
    ) -> Result<Discovered> {
        if !consent::is_discovered(option) {
            return Ok(Discovered::default());
        }
        let Some(elsewhere) = elsewhere else {
            let way = self.way(option, app.cloned().map(Arc::new), connection, None)?;
            return consent::discover(option, app, values, &way, subject).await;
        };
        match elsewhere.run(Errand::Discover, subject, None).await.map_err(Fruitless::into_error)? {
            Brought::Discovered(discovered) => Ok(*discovered),
            _ => Err(misunderstood()),
        }
    }
}

/// Does an errand of somebody who connects.
async fn run(elsewhere: &dyn Elsewhere, errand: Errand, proposal: &ConnectProposal) -> Result<Brought> {
    elsewhere.run(errand, &proposal.subject("connect"), None).await.map_err(Fruitless::into_error)
}

/// Has a gateway tell the provider to end what it has.
pub(super) async fn revoke(elsewhere: &dyn Elsewhere, captured: &Captured, subject: &Subject) -> Revoked {
    match elsewhere.run(Errand::Revoke(captured.clone()), subject, None).await {
        Ok(brought) => brought.revoked(),
        Err(fruitless) => Revoked::Failed(fruitless.into_error()),
    }
}

/// See [`ConnectProposal::sends_away`].
pub(crate) fn sends_away(option: &AuthOption, grant: Option<Grant>) -> bool {
    grant == Some(Grant::AuthorizationCode) || option.scheme.visit().is_some()
}

/// See [`ConnectProposal::comes_back_to`]; `wanted` is where the app wants people sent back to.
pub(super) fn comes_back_to(wanted: Option<&Url>, grant: Option<Grant>, redirect_uri: &Url) -> bool {
    let is_there = wanted.is_none_or(|uri| uri == redirect_uri);
    is_there || grant.is_some() && wanted.is_some_and(|uri| part_below(redirect_uri, uri).is_some())
}

/// How a first token is asked for.
///
/// # Errors
/// `usage` where the connector does not offer it.
pub(super) fn choose_grant(option: &AuthOption, wanted: Option<Grant>) -> Result<Option<Grant>> {
    let Some(settings) = option.scheme.oauth2() else {
        return match wanted {
            None => Ok(None),
            // It is what happens there anyway.
            Some(Grant::AuthorizationCode) if option.scheme.visit().is_some() => Ok(None),
            Some(_) => Err(Kind::Usage.error(format!("The auth option `{}` does not use OAuth 2.0.", option.id))),
        };
    };
    match wanted {
        None => Ok(settings.grants.first().copied()),
        Some(grant) if settings.grants.contains(&grant) => Ok(Some(grant)),
        Some(grant) => {
            let known: Vec<&str> = settings.grants.iter().map(|grant| grant.name()).collect();
            Err(Kind::Usage
                .error(format!("The connector does not offer the grant `{}` there.", grant.name()))
                .hint(format!("It offers {}.", known.join(", "))))
        }
    }
}

/// What is asked for: what every connection asks for, what was asked for before, and what is wanted now; each with the
/// connector's words for it.
///
/// # Errors
/// `usage` where the connector does not declare a scope that is wanted.
pub(super) fn wanted_scopes(
    option: &AuthOption,
    values: &Values,
    wanted: &[String],
    before: &[String],
) -> Result<Vec<(String, Option<String>)>> {
    let Some(settings) = option.scheme.oauth2() else {
        return match wanted {
            [] => Ok(Vec::new()),
            _ => Err(Kind::Usage.error(format!("The auth option `{}` has no scopes.", option.id))),
        };
    };
    let mut declared = BTreeMap::new();
    let mut asked = Vec::new();
    for scope in &settings.scopes {
        let filled = scope.name.fill(values, Landing::Plain, &Moment::now()).map_err(|why| {
            Kind::InvalidInput.error(format!("The scope `{}` cannot be filled in: {why}.", scope.name))
        })?;
        // One whose values were left out is not asked for.
        let Some(filled) = filled else { continue };
        let filled = String::from_utf8_lossy(filled.bytes()).into_owned();
        // A parameter may hold several, as the provider would be asked for them.
        for name in filled.split(settings.scope_separator.as_str()).filter(|name| !name.is_empty()) {
            let is_wanted = |all: &[String]| all.iter().any(|it| it == name || *it == scope.name.to_string());
            if scope.required || is_wanted(wanted) || is_wanted(before) {
                asked.push((name.to_owned(), scope.description.clone()));
            }
            declared.insert(name.to_owned(), scope.name.to_string());
        }
    }
    let unknown = wanted.iter().find(|it| !declared.contains_key(*it) && !declared.values().any(|known| known == *it));
    if let Some(unknown) = unknown {
        let known: Vec<&str> = declared.keys().map(String::as_str).collect();
        return Err(Kind::Usage
            .error(format!("The connector declares no scope `{}`.", text::foreign(unknown, 100)))
            .hint(match known.as_slice() {
                [] => "It declares none.".to_owned(),
                known => format!("It declares {}.", known.join(", ")),
            }));
    }
    Ok(asked)
}
