//! Signing in for a host that means ill: whatever it puts together, secrets go where they were sealed for.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::{
    super::super::{
        key::OpeningKey,
        sealed::{self, AppTerms, Terms, Wanted},
        wire::{Asked, Bounds, Errands},
    },
    Boxes, Story, story,
};
use crate::{
    consent::{App, Captured, Discovered, Errand, Fruitless, SealedBox, SealedCaptured, oauth2::Registry},
    error::Kind,
    manifest::{audience::OriginPattern, declared},
    origin::Origin,
    secret::Secret,
    transport::{Limits, PrivateAllowed},
};

/// A connection that signs in through an app at a provider of the story's, and the gateway that it is sealed to.
struct Signing {
    story: Story,
    terms: Terms,
    app: SealedBox,
}

/// What the provider was asked with goes there alone.
const CLIENT_SECRET: &str = "client-secret-5d41402a";

fn declared_oauth2(base: &str) -> declared::AuthOption {
    let token_url = declared::Oauth2Setting::TokenUrl(format!("{base}/token"));
    let grants = declared::Oauth2Setting::Grants(vec![declared::Grant::ClientCredentials]);
    declared::AuthOption {
        id: "oauth2".into(),
        title: "OAuth 2.0".into(),
        parameters: Vec::new(),
        scheme: declared::Scheme::Oauth2(vec![token_url, grants]),
        jwts: Vec::new(),
        attach: vec![declared::Attachment::Header("Authorization".into(), "Bearer {access_token}".into())],
        audience: vec![base.to_owned()],
    }
}

fn connector(option: declared::AuthOption) -> declared::Connector {
    declared::Connector {
        name: "echo".into(),
        version: "1.0.0".into(),
        title: "Echo".into(),
        description: String::new(),
        auth: vec![option],
        open_hosts: Vec::new(),
        operations: Vec::new(),
    }
}

async fn signing() -> Signing {
    let mut story = story().await;
    let base = story.service.base();
    let key = OpeningKey::generate().unwrap();
    let option = declared_oauth2(&base);
    let app = app_of(&base);
    let terms: Terms = Wanted {
        environment: "default",
        gateway: "plant",
        connection: Uuid::nil(),
        generation: 1,
        connector: "echo",
        option: &option,
        parameters: &BTreeMap::new(),
        audience: &[OriginPattern::Exact(Origin::parse(&base).unwrap())],
        app: Some(&app),
        discovered: &Discovered::default(),
        sign_in: &[],
    }
    .into();
    let connector = connector(option);
    let of_app = AppTerms::of(&app, "default", "plant", &connector);
    let secrets = [("client_secret".to_owned(), Secret::new(CLIENT_SECRET))].into();
    let app = sealed::seal_app(&of_app.text().unwrap(), secrets, key.public()).unwrap();
    story.sealed = sealed::seal(&terms.text().unwrap(), BTreeMap::new(), key.public()).unwrap();
    story.answerer.boxes = Boxes::new(key, None, "default".into());
    Signing { story, terms, app }
}

fn app_of(origin: &str) -> App {
    App {
        connector: "echo".into(),
        name: "echo".into(),
        client_id: "me".into(),
        key_id: None,
        client_auth: None,
        origins: [Origin::parse(origin).unwrap()].into(),
        redirect_uri: None,
        parameters: BTreeMap::new(),
        secrets: BTreeMap::new(),
        gateway: None,
        sealed: None,
        registered_at: None,
        secret_expires: None,
        created: String::new(),
    }
}

impl Signing {
    fn key(&self) -> &OpeningKey {
        self.story.answerer.boxes.key()
    }

    fn asked(&self, errand: Errand) -> Errands {
        Errands {
            about: self.story.asked("http://x").about,
            bounds: Bounds::from(&Limits::default()),
            sealed: self.story.sealed.clone(),
            app: Some(self.app.clone()),
            scopes: Vec::new(),
            errand,
        }
    }

    async fn refused(&self, asked: Errands) -> (Kind, String) {
        let missed = self.story.answerer.sign_in(asked).await.unwrap_err();
        let error = Fruitless::from(missed).into_error();
        (error.kind(), error.message().to_owned())
    }

    /// What the gateway would have kept with the host.
    fn kept(&self, terms: &str) -> Captured {
        let secret = |name: &str, value: &str| (name.to_owned(), Secret::new(value));
        let values =
            [secret("access_token", "the-token-itself-1b9d"), secret("refresh_token", "renews-it-7f0c")].into();
        let captured = Captured { values, ..Captured::default() };
        let names = captured.values.keys().cloned().collect();
        let text = sealed::keep(sealed::Purpose::Captured, terms, &captured, self.key().public()).unwrap();
        Captured { values: BTreeMap::new(), sealed: Some(SealedCaptured { names, text }), ..captured }
    }
}

#[tokio::test]
async fn an_apps_secret_is_used_for_the_connections_it_was_sealed_for_and_no_others() {
    let it = signing().await;
    let text = it.terms.text().unwrap();
    // It asks the provider, which answers something else than a token.
    assert_ne!(it.refused(it.asked(Errand::Begin)).await.0, Kind::Denied);
    let received = it.story.service.received();
    assert!(received[0].starts_with("POST /token") && received[0].contains(CLIENT_SECRET), "{received:?}");
    let other = OpeningKey::generate().unwrap();
    let renamed = |change: fn(&mut Terms)| {
        let mut terms = it.terms.clone();
        change(&mut terms);
        sealed::seal(&terms.text().unwrap(), BTreeMap::new(), it.key().public()).unwrap()
    };
    let changes: [fn(&mut Terms); 6] = [
        |it| it.gateway = "other".into(),
        |it| it.connector = "other".into(),
        |it| it.app.as_mut().unwrap().name = "other".into(),
        |it| it.app.as_mut().unwrap().client_id = "other".into(),
        |it| it.app = None,
        // Anybody seals such terms: where the tokens would go is what its connector did not say.
        |it| it.option.attach = vec![declared::Attachment::Query("token".into(), "{access_token}".into())],
    ];
    for change in changes {
        let asked = Errands { sealed: renamed(change), ..it.asked(Errand::Begin) };
        let (kind, sentence) = it.refused(asked).await;
        assert_eq!(kind, Kind::Denied, "{sentence}");
    }
    let without = Errands { app: None, ..it.asked(Errand::Begin) };
    assert_eq!(it.refused(without).await.0, Kind::Denied);
    let foreign = sealed::seal_app(&it.app.terms, BTreeMap::new(), other.public()).unwrap();
    assert_eq!(it.refused(Errands { app: Some(foreign), ..it.asked(Errand::Begin) }).await.0, Kind::ApprovalNeeded);
    let widened = SealedBox { terms: it.app.terms.replace("127.0.0.1", "127.0.0.2"), ..it.app.clone() };
    assert_eq!(it.refused(Errands { app: Some(widened), ..it.asked(Errand::Begin) }).await.0, Kind::ApprovalNeeded);
    assert_eq!(it.story.service.received().len(), 1, "bound to {text}");
}

#[tokio::test]
async fn tokens_are_used_under_the_very_terms_that_they_were_got_for() {
    let it = signing().await;
    let (text, base) = (it.terms.text().unwrap(), it.story.service.base());
    let send = |sealed: &SealedBox, captured: &Captured| Asked {
        sealed: sealed.clone(),
        app: Some(it.app.clone()),
        captured: captured.sealed.as_ref().map(|it| it.text.clone()),
        ..it.story.asked(&format!("{base}/x"))
    };
    let (told, body) = it.story.answer(send(&it.story.sealed, &it.kept(&text))).await.unwrap();
    assert_eq!(told.status, 200);
    assert!(it.story.service.received()[0].contains("Bearer the-token-itself-1b9d"));
    assert!(!String::from_utf8_lossy(&body).contains("the-token-itself"), "it is masked");
    // Another connection's, which is sealed as well as this one.
    let mut other = it.terms.clone();
    other.connection = Uuid::max();
    let other_text = other.text().unwrap();
    let aimed = sealed::seal(&other_text, BTreeMap::new(), it.key().public()).unwrap();
    assert_eq!(it.story.answer(send(&aimed, &it.kept(&text))).await.unwrap_err().kind(), Kind::ReconnectNeeded);
    // What was kept for one purpose is not taken for another.
    let trip = it.kept(&text).sealed.unwrap().text;
    let come_back = Errand::ComeBack { trip, below: None, query: "code=x&state=y".into() };
    assert_eq!(it.refused(it.asked(come_back)).await.0, Kind::ReconnectNeeded);
    assert_eq!(it.story.service.received().len(), 1);
}

#[tokio::test]
async fn what_a_host_says_was_captured_is_not_believed() {
    let it = signing().await;
    let mut captured = it.kept(&it.terms.text().unwrap());
    captured.values.insert("refresh_token".into(), Secret::new("of-another-account"));
    captured.itself = true;
    it.refused(it.asked(Errand::Renew(captured))).await;
    let received = it.story.service.received();
    assert!(
        received[0].contains("refresh_token=renews-it-7f0c") && !received[0].contains("of-another"),
        "{received:?}"
    );
    let nothing =
        Captured { values: [("refresh_token".to_owned(), Secret::new("of-another"))].into(), ..Captured::default() };
    assert_eq!(it.refused(it.asked(Errand::Renew(nothing))).await.0, Kind::ReconnectNeeded);
    assert_eq!(it.story.service.received().len(), 1);
}

#[tokio::test]
async fn a_provider_outside_the_gateways_list_or_the_apps_origins_is_not_asked() {
    let mut it = signing().await;
    let other = it.story.other.base();
    it.story.answerer.allowed = PrivateAllowed::parse_reachable([other.trim_start_matches("http://")]).unwrap();
    let (kind, sentence) = it.refused(it.asked(Errand::Begin)).await;
    assert!(kind == Kind::Denied && sentence.contains("may not reach"), "{sentence}");
    let it = signing().await;
    // A host that has discovered something else than the provider said.
    let mut terms = it.terms.clone();
    let elsewhere = it.story.other.base();
    terms.option = declared_oauth2(&elsewhere);
    let connector = connector(terms.option.clone());
    let of_app = AppTerms::of(&app_of(&it.story.service.base()), "default", "plant", &connector);
    let app = sealed::seal_app(&of_app.text().unwrap(), BTreeMap::new(), it.key().public()).unwrap();
    terms.audience = vec![elsewhere];
    let sealed = sealed::seal(&terms.text().unwrap(), BTreeMap::new(), it.key().public()).unwrap();
    let (kind, sentence) = it.refused(Errands { sealed, app: Some(app), ..it.asked(Errand::Begin) }).await;
    assert!(kind == Kind::Denied && sentence.contains("may not go to"), "{sentence}");
    assert!(it.story.other.received().is_empty() && it.story.service.received().is_empty());
}

#[tokio::test]
async fn what_is_only_looked_up_leaves_no_note_of_a_connection() {
    let signing = signing().await;
    let noted = || signing.story.folder.path().join("generations").exists();
    // Whatever comes of it, nothing was sealed yet.
    let _ = signing.story.answerer.sign_in(signing.asked(Errand::Discover)).await;
    assert!(!noted());
    let _ = signing.story.answerer.sign_in(signing.asked(Errand::Begin)).await;
    assert!(noted(), "what is sealed is noted when it is used");
}

#[tokio::test]
async fn a_host_aims_what_a_gateway_registered_at_nothing_else_than_it_was_registered_for() {
    let it = signing().await;
    let base = it.story.service.base();
    let mut option = declared_oauth2(&base);
    let declared::Scheme::Oauth2(settings) = &mut option.scheme else { unreachable!() };
    settings.push(declared::Oauth2Setting::RegistrationUrl(format!("{base}/register")));
    let with = |terms: &Terms, change: &dyn Fn(&mut Terms)| {
        let mut terms = terms.clone();
        change(&mut terms);
        terms
    };
    let own = it.terms.app.clone();
    let terms = with(&it.terms, &|terms| (terms.option, terms.app) = (option.clone(), None));
    let unsealed =
        |terms: &Terms| SealedBox { terms: terms.text().unwrap(), encapsulated: String::new(), sealed: String::new() };
    let asked = |terms: &Terms| {
        let errand = Errand::Register { name: "own".into(), redirect_uri: None };
        Errands { sealed: unsealed(terms), app: None, ..it.asked(errand) }
    };
    // What names nowhere to register, is of another environment, or where the gateway goes not, is asked nothing.
    assert_eq!(it.refused(asked(&with(&it.terms, &|terms| terms.app = None))).await.0, Kind::Denied);
    assert_eq!(it.refused(asked(&with(&terms, &|terms| terms.environment = "other".into()))).await.0, Kind::Denied);
    let mut aimed = terms.clone();
    let declared::Scheme::Oauth2(settings) = &mut aimed.option.scheme else { unreachable!() };
    settings.push(declared::Oauth2Setting::RegistrationUrl("http://127.0.0.2:1/register".into()));
    settings.retain(|it| !matches!(it, declared::Oauth2Setting::RegistrationUrl(url) if url.starts_with(&base)));
    assert_eq!(it.refused(asked(&aimed)).await.0, Kind::Denied);
    assert!(it.story.service.received().is_empty());
    // It asks the provider, which answers something else than a registration.
    it.refused(asked(&terms)).await;
    assert!(it.story.service.received()[0].starts_with("POST /register"));
    // As if it had registered.
    let app = App { registered_at: Some(format!("{base}/register").parse().unwrap()), ..app_of(&base) };
    let of_app = AppTerms::registered(&app, &terms);
    let secrets = || [("client_secret".to_owned(), Secret::new(CLIENT_SECRET))].into();
    let sealed = sealed::seal_app(&of_app.text().unwrap(), secrets(), it.key().public()).unwrap();
    let sign_in = |terms: &Terms| Errands {
        sealed: sealed::seal(&terms.text().unwrap(), BTreeMap::new(), it.key().public()).unwrap(),
        app: Some(sealed.clone()),
        ..it.asked(Errand::Begin)
    };
    let signs_in = with(&terms, &|terms| terms.app.clone_from(&own));
    it.refused(sign_in(&signs_in)).await;
    let received = it.story.service.received();
    assert!(received.len() == 2 && received[1].contains(CLIENT_SECRET), "{received:?}");
    let elsewhere = with(&aimed, &|terms| terms.app.clone_from(&own));
    assert_eq!(it.refused(sign_in(&elsewhere)).await.0, Kind::Denied);
    assert_eq!(it.refused(sign_in(&it.terms)).await.0, Kind::Denied, "another auth option");
    assert_eq!(it.story.service.received().len(), 2);
}

#[test]
fn a_host_keeps_no_app_of_a_gateways_that_it_did_not_ask_for() {
    let base = "https://login.example";
    let option = declared_oauth2(base);
    let terms: Terms = Wanted {
        environment: "default",
        gateway: "plant",
        connection: Uuid::nil(),
        generation: 1,
        connector: "echo",
        option: &option,
        parameters: &BTreeMap::new(),
        audience: &[],
        app: None,
        discovered: &Discovered::default(),
        sign_in: &[],
    }
    .into();
    let endpoint: url::Url = format!("{base}/register").parse().unwrap();
    let registry = || Registry { endpoint: endpoint.clone(), origins: [Origin::parse(base).unwrap()].into() };
    let app = App { registered_at: Some(endpoint.clone()), ..app_of(base) };
    let good = AppTerms::registered(&app, &terms);
    assert_eq!(good.clone().accept(&terms, "echo", &registry()).unwrap().client_id, "me");
    let changes: [fn(&mut AppTerms); 10] = [
        |it| it.environment = "other".into(),
        |it| it.gateway = "other".into(),
        |it| it.connector = "other".into(),
        |it| it.app.name = "other".into(),
        |it| it.app.client_id = String::new(),
        |it| it.origins = [Origin::parse("https://evil.example").unwrap()].into(),
        |it| it.options.push(declared_oauth2("https://evil.example")),
        |it| it.registered_at = None,
        |it| it.key_id = Some("other".into()),
        |it| it.parameters = [("tenant".to_owned(), "other".to_owned())].into(),
    ];
    for change in changes {
        let mut lied = good.clone();
        change(&mut lied);
        assert_eq!(lied.clone().accept(&terms, "echo", &registry()).unwrap_err().kind(), Kind::Denied, "{lied:?}");
    }
}
