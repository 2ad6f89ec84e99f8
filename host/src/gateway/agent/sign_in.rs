//! Signing in for a connection: the way of one errand of the host's. What is asked, and where, is what was sealed; what comes of
//! it is sealed to this gateway's own key before it goes back, so that the host can keep it and not read it.

use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};
use url::Url;

use super::{
    super::{
        sealed::{self, AppTerms, Purpose},
        wire::{Errands, Missed},
    },
    answer::Answerer,
    opened::Opened,
};
use crate::{
    audit::{Event, Subject},
    consent::{
        App, Authorization, Brought, CameBack, Captured, Departed, Discovered, Errand, Failure, SealedBox,
        SealedCaptured, SealedText, SentAway, Source, StateIn, Visiting, Way,
        oauth2::{self, Client, Given, Registry, Revoked},
    },
    egress::Scrubber,
    error::{Kind, Result},
    manifest::{Login, Scheme},
    secret::Secret,
    sync::lock,
};

/// What ties a person who comes back to whoever was sent.
#[derive(Serialize, Deserialize)]
#[allow(clippy::large_enum_variant, reason = "there is one at a time, and it is moved once")]
enum Tied {
    Code(Authorization),
    Visit(Departed),
}

#[derive(Serialize, Deserialize)]
struct DeviceCode {
    #[serde(with = "crate::secret::in_sealed_text")]
    code: Option<Secret>,
}

impl Answerer {
    /// Does an errand.
    ///
    /// # Errors
    /// Why it brought nothing. The sentence holds nothing of what was sealed.
    pub(super) async fn sign_in(&self, asked: Errands) -> Result<Brought, Missed> {
        let Errands { about, bounds, sealed, app, scopes, errand } = asked;
        let opened = match &errand {
            Errand::Discover | Errand::Register { .. } => {
                self.boxes.proposed(&sealed.terms, app.as_ref()).map(Arc::new)
            }
            Errand::Renew(captured) | Errand::Revoke(captured) => {
                self.boxes.open(&sealed, app.as_ref(), captured.sealed.as_ref().map(|it| &it.text))
            }
            _ => self.boxes.open(&sealed, app.as_ref(), None),
        };
        let opened = opened.map_err(Failure::Unsent)?;
        // What is not sealed yet is nothing that was ever used.
        if !matches!(errand, Errand::Discover | Errand::Register { .. }) {
            self.generations.judge(&opened.terms, &about.operation).map_err(Failure::Unsent)?;
        }
        let mut known = Scrubber::default();
        let of_app = opened.app.iter().flat_map(|app| app.secrets.values());
        known.add(&opened.known, opened.values.secret().values().chain(of_app).cloned());
        let signing_in = SigningIn {
            way: Way {
                transport: self.transport.clone(),
                audit: self.audit.clone(),
                private: self.allowed.clone(),
                confined: true,
                limits: bounds.within(&self.limits),
                jwts: opened.option.jwts.clone(),
                app: opened.app.clone(),
                agreed: None,
            },
            subject: Subject::new(about),
            scopes,
            answerer: self,
            opened,
        };
        signing_in.run(errand).await.map_err(|missed| missed.map_text(|text| known.masked(text)))
    }
}

struct SigningIn<'a> {
    answerer: &'a Answerer,
    opened: Arc<Opened>,
    way: Way,
    subject: Subject,
    scopes: Vec<String>,
}

impl SigningIn<'_> {
    async fn run(&self, errand: Errand) -> Result<Brought, Missed> {
        let Self { opened, way, subject, .. } = self;
        Ok(match errand {
            Errand::Discover => Brought::Discovered(Box::new(self.discover().await.map_err(Failure::Refused)?)),
            Errand::Register { name, redirect_uri } => {
                Brought::Registered(self.register(name, redirect_uri.as_ref()).await.map_err(Failure::Refused)?)
            }
            Errand::Begin => self.ask(None).await?,
            Errand::Renew(_) => self.ask(Some(self.before()?)).await?,
            Errand::Revoke(_) => match self.client()?.revoke(way, &opened.values, self.before()?, subject).await {
                Revoked::There => Brought::Revoked { there_is_a_way: true, failed: None },
                Revoked::NoEndpoint => Brought::Revoked { there_is_a_way: false, failed: None },
                Revoked::Failed(why) => {
                    Brought::Revoked { there_is_a_way: true, failed: Some(why.message().to_owned()) }
                }
            },
            Errand::SendAway { redirect_uri } => {
                if let Scheme::Login(login @ Login { visit: Some(visit), .. }) = &opened.option.scheme {
                    let visiting = Visiting::begin(login, visit, way, &opened.values, &redirect_uri, subject).await?;
                    let (state, comes_back) = visiting.state();
                    let trip = self.keep(Purpose::Trip, &Tied::Visit(visiting.departed()))?;
                    Brought::SentAway(SentAway { url: visiting.url.clone(), state: state.to_owned(), comes_back, trip })
                } else {
                    let sent = self.client()?.authorization(redirect_uri, &opened.values).map_err(Failure::Unsent)?;
                    let (url, state) = (sent.url.clone(), sent.state.clone());
                    let trip = self.keep(Purpose::Trip, &Tied::Code(sent))?;
                    Brought::SentAway(SentAway { url, state, comes_back: StateIn::Parameter, trip })
                }
            }
            Errand::ComeBack { trip, below, query } => {
                let captured = self.come_back(&trip, CameBack { below, query }).await?;
                self.for_host(captured)?
            }
            Errand::Device => {
                let device = self.client()?.device(way, &opened.values, subject).await.map_err(Failure::Refused)?;
                let seal = |code: &Secret| self.keep(Purpose::Device, &DeviceCode { code: Some(code.clone()) });
                let for_device = device.for_device(|code| seal(code).map_err(Failure::into_error));
                Brought::Device(for_device.map_err(Failure::Refused)?)
            }
            Errand::Poll { device } => {
                let DeviceCode { code } = self.kept(Purpose::Device, &device)?;
                let given = Given::Device(code.unwrap_or_else(|| Secret::new("")));
                self.for_host(self.client()?.obtain(way, &opened.values, &given, subject).await?)?
            }
        })
    }

    async fn discover(&self) -> Result<Discovered> {
        let Self { opened, way, subject, .. } = self;
        crate::consent::discover(&opened.option, opened.app.as_deref(), &opened.values, way, subject).await
    }

    /// Where, and what the app's secrets are good for, is what the terms say: an app of other terms is of no use to theirs.
    async fn register(&self, name: String, redirect_uri: Option<&Url>) -> Result<SealedBox> {
        let Opened { option, terms, values, .. } = &*self.opened;
        let settings = option.scheme.oauth2();
        let registry = settings.map(|settings| Registry::of(settings, values)).transpose()?.flatten();
        let (Some(settings), Some(registry)) = (settings, registry) else {
            return Err(
                Kind::Denied.error(format!("The auth option `{}` names nowhere to register an app.", option.id))
            );
        };
        let through = Some(terms.gateway.as_str());
        let on_the_way = (&self.way, &self.subject);
        let registered =
            oauth2::register(&terms.connector, settings, registry, redirect_uri, through, on_the_way).await?;
        let app = App { name, ..registered };
        self.answerer.audit.write(&Event::app_registered(&self.subject, &app.name))?;
        let of_app = AppTerms::registered(&app, terms).text()?;
        sealed::seal_app(&of_app, app.secrets, self.answerer.boxes.key().public())
    }

    /// A first time, or over what was captured before.
    async fn ask(&self, before: Option<&Captured>) -> Result<Brought, Missed> {
        let source = self.source()?;
        // Whatever fails after a renewal, what it brought goes back to be kept.
        let renewed = Mutex::new(None);
        let keep = |captured: &Captured| {
            *lock(&renewed) = Some(captured.clone());
            Ok(())
        };
        match source.ask(&self.way, &self.opened.values, before, &self.subject, None, &keep).await {
            Ok(captured) => Ok(self.for_host(captured)?),
            Err(failure) => {
                let kept = lock(&renewed).take().map(|captured| self.without_secrets(captured)).transpose()?;
                Err(Missed::of(failure, kept))
            }
        }
    }

    async fn come_back(&self, trip: &SealedText, came: CameBack) -> Result<Captured, Failure> {
        let Self { opened, way, subject, .. } = self;
        match (self.kept(Purpose::Trip, trip)?, &opened.option.scheme) {
            (Tied::Visit(departed), Scheme::Login(login @ Login { visit: Some(visit), .. })) => {
                let visiting = Visiting::of(departed, login, &opened.values).map_err(Failure::Refused)?;
                visiting.finish(login, visit, way, &came, subject).await
            }
            (Tied::Code(authorization), _) => {
                let callback = authorization.accept(&came).map_err(Failure::Refused)?;
                let given = Given::Code { callback, authorization };
                self.client()?.obtain(way, &opened.values, &given, subject).await
            }
            (Tied::Visit(_), _) => Err(Failure::Unsent(Kind::Denied.error("That is the way back of another sign-in."))),
        }
    }

    fn source(&self) -> Result<Source, Failure> {
        let Opened { option, app, .. } = &*self.opened;
        Source::of(option, app.clone(), self.opened.discovered(), self.scopes.clone()).ok_or_else(|| {
            Failure::Unsent(Kind::Denied.error(format!("The auth option `{}` does not sign in.", option.id)))
        })
    }

    fn client(&self) -> Result<Client, Failure> {
        match self.source()? {
            Source::Oauth2(client) => Ok(*client),
            Source::Login(_) => {
                Err(Failure::Unsent(Kind::Denied.error("What the host asks for only an authorization server does.")))
            }
        }
    }

    /// What was captured, with its secrets.
    fn before(&self) -> Result<&Captured, Failure> {
        let needed = || Kind::ReconnectNeeded.error("What was captured by this sign-in is not there.");
        self.opened.captured.as_ref().ok_or_else(|| Failure::Refused(needed()))
    }

    fn for_host(&self, captured: Captured) -> Result<Brought, Failure> {
        self.without_secrets(captured).map(|captured| Brought::Captured(Box::new(captured)))
    }

    /// All of it in a box, and beside that what the connector may read anyway. What this gateway goes by is what is in the box.
    fn without_secrets(&self, captured: Captured) -> Result<Captured, Failure> {
        let text = self.keep(Purpose::Captured, &captured)?;
        let sealed = Some(SealedCaptured { names: captured.values.keys().cloned().collect(), text });
        let readable = self.source()?.captured().into_iter().filter(|it| !it.is_secret());
        let values =
            readable.filter_map(|it| Some((it.name.clone(), captured.values.get(&it.name)?.clone()))).collect();
        Ok(Captured { values, sealed, ..captured })
    }

    fn keep(&self, purpose: Purpose, content: &impl Serialize) -> Result<SealedText, Failure> {
        let key = self.answerer.boxes.key();
        sealed::keep(purpose, &self.opened.bound_to, content, key.public()).map_err(Failure::Unsent)
    }

    fn kept<T: serde::de::DeserializeOwned>(&self, purpose: Purpose, sealed: &SealedText) -> Result<T, Failure> {
        sealed::kept(purpose, &self.opened.bound_to, sealed, self.answerer.boxes.key()).map_err(Failure::Unsent)
    }
}
