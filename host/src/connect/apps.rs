//! Which app a connection signs in through: one that there is, or one that is registered for it (RFC 7591), by this host or by
//! the gateway that is to have its secrets.

use std::time::Duration;

use url::Url;

use super::{changes::approved_still, gateways};
use crate::{
    audit::{Event, Subject},
    consent::{
        AgreedGateway, App, Approval, Book, Brought, Connection, Errand, Fruitless, misunderstood,
        oauth2::{self, Registry},
    },
    digest::Digest,
    error::{Kind, Result},
    gateway::{AppTerms, Gateway},
    host::Host,
    manifest::{AuthOption, Oauth2, Values},
    sync::lock,
};

/// How long the secret of an app that registered itself is to be good yet where somebody connects: as long as they may take at
/// the provider, since it is what their code is redeemed with.
const SECRET_LASTS: Duration = Duration::from_secs(10 * 60);

/// What an app is looked for.
pub(super) struct Seeking<'a> {
    pub(super) book: &'a Book<'a>,
    pub(super) option: &'a AuthOption,
    /// Its connector's.
    pub(super) approval: &'a Approval,
    pub(super) connection: &'a Connection,
    pub(super) gateway: Option<&'a Gateway>,
    pub(super) typed: &'a Values,
    pub(super) subject: &'a Subject,
}

impl Host {
    /// The app that an auth option needs: the one that is named, or the only one there is. Where the connector says where an app
    /// can register itself, what is of another provider does not count, nor does one that registered itself and can prove itself
    /// no longer; and without any other one is registered.
    pub(super) async fn app_for(&self, seeking: &Seeking<'_>, named: Option<&str>) -> Result<Option<App>> {
        let Seeking { book, option, connection, typed, .. } = seeking;
        let connector = &connection.connector;
        if !seeking.is_needed(named)? {
            return Ok(None);
        }
        let settings = option.scheme.oauth2();
        let registry = settings.map(|settings| Registry::of(settings, typed)).transpose()?.flatten();
        // One that is named stays with its connection for as long as it can prove itself.
        let named = match named.filter(|_| registry.is_some()) {
            Some(name) => Some(name).filter(|_| !book.app(connector, named).is_ok_and(|app| seeking.is_over(&app))),
            None => named,
        };
        let (Some(settings), Some(registry)) = (settings, registry.filter(|_| named.is_none())) else {
            return seeking.named_or_only(named).map(Some);
        };
        let public = self.people_return.get();
        // A place of its own for each provider, since nobody knows yet whether it says who answers.
        let own = public.map(|public| {
            let part = Digest::of(registry.endpoint.as_str().as_bytes()).short();
            let mut own = public.clone();
            own.set_path(&format!("{}/{part}", public.path()));
            own
        });
        // One that was registered for other ways back is of no use here; connections that were made with it keep it.
        let leads_back =
            |app: &App| app.registered_at.is_none() || [public, own.as_ref()].contains(&app.redirect_uri.as_ref());
        let known = book.apps(connector)?.into_iter().filter(|app| seeking.fits(app));
        let known = known.filter(|app| app.is_of(&registry.endpoint, &registry.origins));
        let mut known = known.filter(|app| leads_back(app) && !seeking.is_over(app));
        match (known.next(), known.next()) {
            (None, _) => {}
            (only, None) => return Ok(only),
            (Some(_), Some(_)) => return seeking.named_or_only(None).map(Some),
        }
        self.register(seeking, (settings, registry), own).await.map(Some)
    }

    /// Registers an app, and keeps it.
    async fn register(
        &self,
        seeking: &Seeking<'_>,
        (settings, registry): (&Oauth2, Registry),
        redirect_uri: Option<Url>,
    ) -> Result<App> {
        let Seeking { book, option, approval, connection, gateway, subject, .. } = seeking;
        let connector = &connection.connector;
        let app = match gateway {
            None => {
                let way = self.way(option, None, connection, None)?;
                let on_the_way = (&way, *subject);
                let uri = redirect_uri.as_ref();
                oauth2::register(connector, settings, registry, uri, None, on_the_way).await?
            }
            Some(gateway) => self.register_through(gateway, seeking, &registry, redirect_uri).await?,
        };
        let _approving = lock(&self.approving);
        approved_still(book, connector, approval.digest)?;
        let others = book.apps(connector)?;
        let app = match gateway {
            None => App { name: free_name(&others, app.name), ..app },
            Some(_) if others.iter().any(|other| other.name == app.name) => {
                return Err(Kind::AlreadyExists
                    .error(format!("Another app was called `{}` while the gateway registered this one.", app.name))
                    .hint("Connect again."));
            }
            Some(_) => app,
        };
        self.audit.write(&Event::app_registered(subject, &app.name))?;
        book.put_app(&app)?;
        Ok(app)
    }

    /// Has a gateway register it, which keeps its secrets to itself.
    async fn register_through(
        &self,
        gateway: &Gateway,
        Seeking { book, approval, connection, subject, .. }: &Seeking<'_>,
        registry: &Registry,
        redirect_uri: Option<Url>,
    ) -> Result<App> {
        let connector = &connection.connector;
        let terms = gateways::terms(book.environment(), gateway, connection, &approval.declared, None)?;
        let elsewhere = self.finding_out(gateway, &terms, None)?;
        // What it is called is sealed with its secrets.
        let name = free_name(&book.apps(connector)?, connector.clone());
        let errand = Errand::Register { name: name.clone(), redirect_uri: redirect_uri.clone() };
        let sealed = match elsewhere.run(errand, subject, None).await.map_err(Fruitless::into_error)? {
            Brought::Registered(sealed) => sealed,
            _ => return Err(misunderstood()),
        };
        let accepted = AppTerms::parse(&sealed.terms)?.accept(&terms, &name, registry)?;
        Ok(App { redirect_uri, gateway: Some(gateways::agreed(gateway)), sealed: Some(sealed), ..accepted })
    }
}

impl Seeking<'_> {
    /// Whether there is to be an app at all.
    fn is_needed(&self, named: Option<&str>) -> Result<bool> {
        match named {
            Some(_) if !self.option.needs_app() => {
                Err(Kind::Usage.error(format!("The auth option `{}` needs no app.", self.option.id)))
            }
            _ => Ok(self.option.needs_app()),
        }
    }

    /// The app, where it does not depend on what is left to type; none where one may register itself there.
    pub(super) fn known_already(&self, named: Option<&str>) -> Result<Option<App>> {
        let registers = self.option.scheme.oauth2().is_some_and(|settings| settings.registration_url.is_some());
        match self.is_needed(named)? && !registers {
            true => self.named_or_only(named).map(Some),
            false => Ok(None),
        }
    }

    /// Whether it is the same gateway's, or this host's as well.
    fn fits(&self, app: &App) -> bool {
        let name = |it: &Option<AgreedGateway>| it.as_ref().map(|it| it.name.clone());
        name(&app.gateway) == name(&self.connection.gateway)
    }

    /// Whether it registered itself, and is of no use here any more.
    fn is_over(&self, app: &App) -> bool {
        app.registered_at.is_some() && (app.secret_is_over(SECRET_LASTS) || !self.opens(app))
    }

    /// Whether the gateway, if there is one, has its secrets, for what the auth option says now.
    fn opens(&self, app: &App) -> bool {
        let Some(gateway) = self.gateway else { return true };
        let terms = app.sealed.as_ref().and_then(|sealed| AppTerms::parse(&sealed.terms).ok());
        let declared = self.approval.declared.auth.iter().find(|it| it.id == self.option.id);
        app.gateway.as_ref() == Some(&gateways::agreed(gateway))
            && terms.zip(declared).is_some_and(|(terms, declared)| terms.options.contains(declared))
    }

    fn named_or_only(&self, named: Option<&str>) -> Result<App> {
        if let Some(gateway) = &self.connection.gateway {
            return self.app_of_gateway(&gateway.name, named);
        }
        let app = self.book.app(&self.connection.connector, named)?;
        match &app.gateway {
            Some(gateway) => Err(Kind::Usage
                .error(format!("The secrets of the app `{}` are sealed to the gateway `{}`.", app.name, gateway.name))
                .hint(format!("Connect with `--gateway {}`, or through another app with `--app`.", gateway.name))),
            None => Ok(app),
        }
    }

    /// The app that is sealed to a gateway: the one that is named, or the only one there is.
    fn app_of_gateway(&self, gateway: &str, named: Option<&str>) -> Result<App> {
        let (book, connector) = (self.book, &self.connection.connector);
        if named.is_some() {
            return book.app(connector, named);
        }
        let mut apps = book.apps(connector)?.into_iter().filter(|app| self.fits(app));
        match (apps.next(), apps.next()) {
            (Some(only), None) => Ok(only),
            (Some(_), Some(_)) => Err(Kind::Usage
                .error(format!("Several apps of the connector `{connector}` are sealed to the gateway `{gateway}`."))
                .hint("Choose one with `--app`; `attache app list` shows them.")),
            (None, _) => Err(Kind::ApprovalNeeded
                .error(format!("The connector `{connector}` signs people in through an app, and none is sealed to the gateway `{gateway}`."))
                .hint(format!(
                    "Register one at the provider, then `attache app set {connector} --gateway {gateway} --client-id ID --client-secret SOURCE`."
                ))),
        }
    }
}

/// A name that no other app has.
fn free_name(apps: &[App], wanted: String) -> String {
    let numbered = (2..).map(|number| format!("{wanted}-{number}"));
    let mut names = std::iter::once(wanted.clone()).chain(numbered);
    names.find(|name| apps.iter().all(|app| app.name != *name)).unwrap_or(wanted)
}
