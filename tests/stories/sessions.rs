//! Connect sessions of the Consent Server, by a clock that the stories move: a link does not last, and neither does whoever began
//! with it.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use attache::{
    Error, Kind,
    apps::AppRequest,
    connect::{ConnectProposal, SignedIn, Trip},
    consent::Isolation,
    secret::Secret,
    server::consent::{Asked, ConsentServer, Desk, LASTS, Progress, Taken, Whose},
    transport::PrivateAllowed,
};
use attache_tests::{
    Embedded, connector,
    simulate::{CLIENT, Simulated},
};
use axum::{
    Router,
    body::{Body, to_bytes},
    http::{Request, header},
};
use tower::ServiceExt;
use url::Url;

const BASE: &str = "http://127.0.0.1:7070";
const SECOND: Duration = Duration::from_secs(1);

/// Sends people away, and keeps nothing of what they bring.
#[derive(Default)]
struct Clerk {
    taken: AtomicUsize,
    /// It takes its time.
    waits: AtomicBool,
    /// Sessions that were opened, and that ended before anybody came back.
    opened: Mutex<Vec<String>>,
    ran_out: Mutex<Vec<String>>,
}

#[async_trait::async_trait]
impl Desk for Clerk {
    async fn send_away(&self, proposal: Arc<ConnectProposal>, redirect_uri: &Url) -> Result<Trip, Error> {
        proposal.trip(redirect_uri)
    }

    async fn take(&self, _: &str, _: Asked, _: SignedIn) -> Result<Taken, Error> {
        self.taken.fetch_add(1, Ordering::SeqCst);
        // As one that asks the provider, so that others come in the meantime.
        tokio::task::yield_now().await;
        while self.waits.load(Ordering::SeqCst) {
            tokio::task::yield_now().await;
        }
        Ok(Taken::Connected { name: "me".into(), account: "jo".into() })
    }

    fn opened(&self, session: &Whose) -> Result<(), Error> {
        self.opened.lock().unwrap().push(session.session.clone());
        Ok(())
    }

    fn ran_out(&self, sessions: Vec<Whose>) {
        self.ran_out.lock().unwrap().extend(sessions.into_iter().map(|it| it.session));
    }
}

/// A server with one open session, as one browser sees it.
struct Story {
    clerk: Arc<Clerk>,
    server: Arc<ConsentServer>,
    now: Arc<Mutex<Instant>>,
    routes: Router,
    link: String,
    cookie: String,
    token: String,
}

/// Proposes a connection for whoever asks.
fn proposed(embedded: &Embedded, simulated: &Simulated, (caller, environment): (&str, &str)) -> Arc<ConnectProposal> {
    let mut request = embedded.request("me", "plain").unwrap();
    (request.caller, request.environment) = (caller.into(), environment.into());
    request.private = PrivateAllowed::parse([simulated.authority()]).unwrap();
    request.parameters = ["base", "issuer"].map(|name| (name.to_owned(), simulated.url().to_owned())).into();
    Arc::new(embedded.block_on(embedded.host().propose_connection(request)).unwrap())
}

/// A host with an app in each of these environments, and its provider.
fn host(environments: &[&str]) -> (Embedded, Simulated) {
    let simulated = Simulated::start(env!("CARGO_BIN_EXE_attache-under-test"), &["--approve"]);
    let embedded = Embedded::new("oauth", Isolation::Call);
    for environment in environments.iter().filter(|it| **it != "default") {
        let host = embedded.host();
        host.create_environment(environment).unwrap();
        let bytes = std::fs::read(connector("oauth")).unwrap();
        let proposal = embedded.block_on(host.propose_connector(environment, bytes)).unwrap();
        host.approve_connector(&proposal, None, "tester").unwrap();
    }
    for environment in environments {
        let app = AppRequest {
            environment: (*environment).into(),
            connector: "oauth".into(),
            client_id: Some(CLIENT.0.into()),
            origins: vec![simulated.url().into()],
            secrets: [("client_secret".to_owned(), Secret::new(CLIENT.1))].into(),
            caller: "tester".into(),
            ..AppRequest::default()
        };
        embedded.host().set_app(app).unwrap();
    }
    (embedded, simulated)
}

/// Runs a story whose time stands still unless it is moved.
fn with_a_link(story: impl AsyncFnOnce(Story)) {
    let (embedded, simulated) = host(&["default"]);
    let proposal = proposed(&embedded, &simulated, ("tester", "default"));
    embedded.block_on(async {
        let (clerk, now) = (Arc::new(Clerk::default()), Arc::new(Mutex::new(Instant::now())));
        let clock = now.clone();
        let clock = move || *clock.lock().unwrap();
        let server = ConsentServer::by_clock(BASE.parse().unwrap(), None, clerk.clone(), clock).unwrap();
        let (_, link) = server.open(Asked { proposal, owner: None, return_url: None }).unwrap();
        let mut begun = Story {
            clerk,
            now,
            routes: server.routes(),
            server,
            link: link.into(),
            cookie: String::new(),
            token: String::new(),
        };
        begun.open_first().await;
        story(begun).await;
    });
}

impl Story {
    fn advance(&self, by: Duration) {
        *self.now.lock().unwrap() += by;
    }

    /// Status, cookie and page.
    async fn ask(&self, method: &str, url: &str, form: String) -> (u16, String, String) {
        let request = Request::builder()
            .method(method)
            .uri(url)
            .header(header::HOST, "127.0.0.1:7070")
            .header(header::COOKIE, &self.cookie)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Body::from(form))
            .unwrap();
        let answer = self.routes.clone().oneshot(request).await.unwrap();
        let status = answer.status().as_u16();
        let cookie = answer.headers().get(header::SET_COOKIE).map(|it| it.to_str().unwrap().to_owned());
        let page = to_bytes(answer.into_body(), 1 << 20).await.unwrap();
        (status, cookie.unwrap_or_default(), String::from_utf8(page.to_vec()).unwrap())
    }

    async fn open_first(&mut self) {
        let (status, cookie, page) = self.ask("GET", &self.link, String::new()).await;
        assert_eq!(status, 200, "{page}");
        cookie.split(';').next().unwrap().clone_into(&mut self.cookie);
        let token = page.split("name=\"token\" value=\"").nth(1).unwrap();
        token.split('"').next().unwrap().clone_into(&mut self.token);
    }

    async fn open(&self) -> u16 {
        self.ask("GET", &self.link, String::new()).await.0
    }

    /// Agrees, and gives the status and the address that the person would come back to.
    async fn begin(&self) -> (u16, String) {
        let (status, _, page) = self.ask("POST", &self.link, format!("token={}", self.token)).await;
        let state = page.split("state=").nth(1).map(|rest| rest.split(['&', '"', '#']).next().unwrap());
        (status, format!("{BASE}/callback?code=x&state={}", state.unwrap_or_default()))
    }

    async fn come_back(&self, address: &str) -> u16 {
        self.ask("GET", address, String::new()).await.0
    }

    fn taken(&self) -> usize {
        self.clerk.taken.load(Ordering::SeqCst)
    }
}

#[test]
fn a_link_does_not_last() {
    with_a_link(async |story| {
        story.advance(LASTS - SECOND);
        assert_eq!(story.open().await, 200);
        story.advance(SECOND);
        let (status, _, page) = story.ask("GET", &story.link, String::new()).await;
        assert_eq!(status, 404);
        assert!(page.contains("not good any longer"), "{page}");
        assert_eq!(story.begin().await.0, 404, "a page that was open stays without use");
    });
}

#[test]
fn a_session_that_nobody_came_back_in_is_noted_once_when_its_time_is_over() {
    with_a_link(async |story| {
        let ran_out = || {
            story.server.note_ran_out();
            story.clerk.ran_out.lock().unwrap().clone()
        };
        story.advance(LASTS - SECOND);
        let (_, back) = story.begin().await;
        story.advance(LASTS - SECOND);
        assert!(ran_out().is_empty(), "it was begun, and has as long again");
        story.advance(SECOND);
        let opened = story.clerk.opened.lock().unwrap().clone();
        assert_eq!((ran_out(), ran_out()), (opened.clone(), opened));
        assert_eq!((story.come_back(&back).await, story.taken()), (404, 0));
    });
    with_a_link(async |story| {
        let (_, back) = story.begin().await;
        assert_eq!(story.come_back(&back).await, 200);
        story.advance(LASTS);
        story.server.note_ran_out();
        assert!(story.clerk.ran_out.lock().unwrap().is_empty(), "what became of this one is known otherwise");
    });
}

#[test]
fn what_a_person_brought_is_taken_to_its_end_though_they_left_meanwhile() {
    // Regression: it was given up with the page, and a token that the provider had given already was in nobody's hands.
    with_a_link(async |story| {
        let (_, back) = story.begin().await;
        story.clerk.waits.store(true, Ordering::SeqCst);
        let taken = async {
            while story.taken() == 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            status = story.come_back(&back) => panic!("it was answered with {status}"),
            () = taken => {}
        }
        story.clerk.waits.store(false, Ordering::SeqCst);
        let session = story.clerk.opened.lock().unwrap()[0].clone();
        while !matches!(story.server.progress(&session, "tester", "default"), Progress::CameBack) {
            tokio::task::yield_now().await;
        }
        story.advance(LASTS);
        story.server.note_ran_out();
        assert!(story.clerk.ran_out.lock().unwrap().is_empty(), "what became of it is known");
        assert_eq!(story.taken(), 1);
    });
}

#[test]
fn whoever_agreed_has_as_long_again_to_come_back() {
    with_a_link(async |story| {
        story.advance(LASTS - SECOND);
        let (status, back) = story.begin().await;
        assert_eq!(status, 200);
        story.advance(LASTS - SECOND);
        assert_eq!((story.come_back(&back).await, story.taken()), (200, 1));
        assert_eq!((story.come_back(&back).await, story.taken()), (404, 1), "once");
    });
}

#[test]
fn a_trip_that_takes_too_long_connects_nothing_however_often_it_is_begun() {
    with_a_link(async |story| {
        assert_eq!(story.begin().await.0, 200);
        story.advance(LASTS - SECOND);
        let (status, back) = story.begin().await;
        assert_eq!(status, 200, "who lost their way begins again");
        story.advance(SECOND);
        assert_eq!((story.come_back(&back).await, story.taken()), (404, 0));
    });
}

#[test]
fn one_link_is_not_begun_without_end() {
    with_a_link(async |story| {
        let mut back = String::new();
        for _ in 0..20 {
            let (status, address) = story.begin().await;
            assert_eq!(status, 200);
            back = address;
        }
        assert_eq!(story.begin().await.0, 429);
        // The last trip that was begun goes on.
        assert_eq!((story.come_back(&back).await, story.taken()), (200, 1));
    });
}

#[test]
fn of_two_who_come_back_at_once_with_the_same_one_is_taken() {
    with_a_link(async |story| {
        let (_, back) = story.begin().await;
        let both = tokio::join!(story.come_back(&back), story.come_back(&back));
        assert_eq!((both, story.taken()), ((200, 404), 1));
    });
}

#[test]
fn who_has_the_most_links_makes_room_for_who_has_fewer_and_for_nobody_else() {
    // Regression: one caller of one environment could have as many links as there are for all, and nobody else got any.
    let (embedded, simulated) = host(&["default", "other"]);
    let mallory = ("mallory", "other");
    let proposals = [mallory, ("second", "other"), ("ours", "default")].map(|who| proposed(&embedded, &simulated, who));
    let clerk = Arc::new(Clerk::default());
    let server = ConsentServer::new(BASE.parse().unwrap(), None, clerk.clone()).unwrap();
    let open = |of: usize| {
        let proposal = proposals[of].clone();
        server.open(Asked { proposal, owner: None, return_url: None }).map(|(name, _)| name)
    };
    let all: Vec<String> = (0..10_000).map(|_| open(0).unwrap()).collect();
    let lost = || {
        let is_gone = |name: &&String| matches!(server.progress(name, mallory.0, mallory.1), Progress::Gone);
        all.iter().filter(is_gone).count()
    };
    assert_eq!((open(0).unwrap_err().kind(), lost()), (Kind::RateLimited, 0), "nobody has more than they");
    let (second, ours) = (open(1).unwrap(), open(2).unwrap());
    assert_eq!(lost(), 2);
    server.note_ran_out();
    let noted = clerk.ran_out.lock().unwrap().clone();
    assert!(noted.len() == 2 && noted.iter().all(|name| all.contains(name)), "{noted:?}");
    assert!(matches!(server.progress(&second, "second", "other"), Progress::Open));
    assert!(matches!(server.progress(&ours, "ours", "default"), Progress::Open));
    assert_eq!((open(0).unwrap_err().kind(), lost()), (Kind::RateLimited, 2));
}
