//! A link's form by a clock that the stories move, at a desk that takes its time: what somebody agreed to is made once, and
//! however it ends, the session ends once.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use attache::{
    Error, Host, Kind,
    connect::{Answers, Beginning, Blank, ConnectProposal, SignedIn, Trip},
    consent::Isolation,
    server::consent::{Asked, ConsentServer, Desk, LASTS, Taken, Whose},
};
use attache_tests::Embedded;
use axum::{
    Router,
    body::{Body, to_bytes},
    http::{Request, header},
};
use tokio::sync::Semaphore;
use tower::ServiceExt;
use url::{Url, form_urlencoded};

const BASE: &str = "http://127.0.0.1:7070";
const RETURN: &str = "https://app.example.com/connected";
const SECOND: Duration = Duration::from_secs(1);

/// Takes what people agreed to when it is let, and keeps nothing of it.
struct Clerk {
    host: Arc<Host>,
    lets: Semaphore,
    refuses: AtomicBool,
    taken: AtomicUsize,
    opened: Mutex<Vec<String>>,
    /// Sessions that ended with nobody, and with nothing.
    ran_out: Mutex<Vec<String>>,
    failed: Mutex<Vec<String>>,
}

#[async_trait::async_trait]
impl Desk for Clerk {
    async fn send_away(&self, _: Arc<ConnectProposal>, _: &Url) -> Result<Trip, Error> {
        unreachable!("nobody is sent away")
    }

    async fn fill_in(&self, blank: &Blank, answers: Answers) -> Result<ConnectProposal, Error> {
        self.host.fill_in(blank, answers).await
    }

    async fn take(&self, _: &str, _: Asked, _: SignedIn) -> Result<Taken, Error> {
        let which = self.taken.fetch_add(1, Ordering::SeqCst);
        self.lets.acquire().await.unwrap().forget();
        match self.refuses.load(Ordering::SeqCst) {
            true => Err(Kind::ServiceFailed.error("The service refuses the credential.")),
            false => Ok(Taken::Confirm(format!("{RETURN}?attache_code={which}").parse().unwrap())),
        }
    }

    fn opened(&self, session: &Whose) -> Result<(), Error> {
        self.opened.lock().unwrap().push(session.session.clone());
        Ok(())
    }

    fn failed(&self, session: &Whose, _: &Error) {
        self.failed.lock().unwrap().push(session.session.clone());
    }

    fn ran_out(&self, sessions: Vec<Whose>) {
        self.ran_out.lock().unwrap().extend(sessions.into_iter().map(|it| it.session));
    }
}

/// A server, and one browser.
struct Story {
    embedded: Embedded,
    clerk: Arc<Clerk>,
    server: Arc<ConsentServer>,
    now: Arc<Mutex<Instant>>,
    routes: Router,
    cookie: Mutex<String>,
}

fn story() -> Story {
    let embedded = Embedded::new("echo", Isolation::Call);
    let clerk = Arc::new(Clerk {
        host: embedded.shared_host(),
        lets: Semaphore::new(0),
        refuses: AtomicBool::new(false),
        taken: AtomicUsize::new(0),
        opened: Mutex::default(),
        ran_out: Mutex::default(),
        failed: Mutex::default(),
    });
    let now = Arc::new(Mutex::new(Instant::now()));
    let clock = now.clone();
    let clock = move || *clock.lock().unwrap();
    let server = ConsentServer::by_clock(BASE.parse().unwrap(), None, clerk.clone(), clock).unwrap();
    Story { embedded, clerk, routes: server.routes(), server, now, cookie: Mutex::default() }
}

impl Story {
    /// The name and link of a session in which a key is typed.
    fn link(&self, name: &str) -> (String, String) {
        let mut request = self.embedded.request(name, "header").unwrap();
        request.parameters = [("base".to_owned(), "https://93.184.215.14".to_owned())].into();
        let Beginning::Form(blank) = self.embedded.host().begin_link(request).unwrap() else {
            panic!("there is something to type")
        };
        let (session, link) = self.server.open_form(*blank, "alice".into(), RETURN.parse().unwrap()).unwrap();
        (session, link.into())
    }

    fn advance(&self, by: Duration) {
        *self.now.lock().unwrap() += by;
    }

    async fn ask(&self, method: &str, url: &str, fields: &[(&str, &str)]) -> (u16, String) {
        let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let request = Request::builder()
            .method(method)
            .uri(url)
            .header(header::HOST, "127.0.0.1:7070")
            .header(header::COOKIE, self.cookie.lock().unwrap().as_str())
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Body::from(form))
            .unwrap();
        let answer = self.routes.clone().oneshot(request).await.unwrap();
        let status = answer.status().as_u16();
        if let Some(cookie) = answer.headers().get(header::SET_COOKIE) {
            *self.cookie.lock().unwrap() = cookie.to_str().unwrap().split(';').next().unwrap().to_owned();
        }
        (status, String::from_utf8(to_bytes(answer.into_body(), 1 << 20).await.unwrap().to_vec()).unwrap())
    }

    /// The token of the page that is shown.
    async fn token(&self, link: &str) -> String {
        let (status, page) = self.ask("GET", link, &[]).await;
        assert_eq!(status, 200, "{page}");
        page.split("name=\"token\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned()
    }

    async fn fill_in(&self, link: &str, key: &str) -> u16 {
        let token = self.token(&format!("{link}?change")).await;
        self.ask("POST", link, &[("token", &token), ("s.key", key)]).await.0
    }

    async fn agree(&self, link: &str, token: &str) -> (u16, String) {
        self.ask("POST", link, &[("token", token), ("agree", "yes")]).await
    }

    fn lost(&self) -> Vec<String> {
        self.server.note_ran_out();
        self.clerk.ran_out.lock().unwrap().clone()
    }

    fn progress(&self, session: &str) -> &'static str {
        self.server.progress(session, "tester", "default").name()
    }

    fn taken(&self) -> usize {
        self.clerk.taken.load(Ordering::SeqCst)
    }

    /// Waits until what was agreed to is looked at, and lets it be.
    async fn let_it_be_taken(&self) {
        while self.taken() == 0 {
            tokio::task::yield_now().await;
        }
        self.clerk.lets.add_permits(2);
    }
}

#[test]
fn of_two_who_agree_at_once_one_is_taken_and_both_are_told_what_came_of_it() {
    let story = story();
    story.embedded.block_on(async {
        let (session, link) = story.link("me");
        assert_eq!(story.fill_in(&link, "a-key-of-jos").await, 303);
        let token = story.token(&link).await;
        let (first, second, ()) =
            tokio::join!(story.agree(&link, &token), story.agree(&link, &token), story.let_it_be_taken());
        assert_eq!((first.0, second.0, story.taken()), (200, 200, 1));
        for page in [first.1, second.1] {
            assert!(page.contains("attache_code=0"), "{page}");
        }
        assert_eq!(story.progress(&session), "came-back");
        assert_eq!(story.agree(&link, &token).await.0, 404, "used is used");
        assert_eq!(story.taken(), 1);
    });
}

#[test]
fn what_is_being_tried_is_not_typed_over_and_somebody_who_leaves_the_page_is_no_second_one() {
    let story = story();
    story.embedded.block_on(async {
        let (session, link) = story.link("me");
        assert_eq!(story.fill_in(&link, "a-key-of-jos").await, 303);
        let token = story.token(&link).await;
        tokio::select! {
            biased;
            _ = story.agree(&link, &token) => panic!("it was taken before it was let"),
            () = async { while story.taken() == 0 { tokio::task::yield_now().await } } => {}
        }
        assert_eq!(story.fill_in(&link, "another-key").await, 403);
        let (again, ()) = tokio::join!(story.agree(&link, &token), story.let_it_be_taken());
        assert_eq!((again.0, story.taken()), (200, 1));
        assert_eq!(story.progress(&session), "came-back");
    });
}

#[test]
fn a_session_ends_once_whatever_time_a_service_takes_to_say_no_or_yes() {
    let story = story();
    story.embedded.block_on(async {
        for (refuses, taken) in [(true, 1), (false, 2)] {
            let (session, link) = story.link("me");
            story.advance(LASTS - SECOND);
            assert_eq!(story.fill_in(&link, "a-key-of-jos").await, 303);
            story.advance(LASTS - SECOND);
            let token = story.token(&link).await;
            story.clerk.refuses.store(refuses, Ordering::SeqCst);
            let late = async {
                while story.taken() < taken {
                    tokio::task::yield_now().await;
                }
                story.advance(LASTS);
                assert_eq!((story.progress(&session), story.lost().contains(&session)), ("begun", false));
                story.clerk.lets.add_permits(1);
            };
            let ((status, page), ()) = tokio::join!(story.agree(&link, &token), late);
            // Nothing is left to be typed again; what came of it is told by its end.
            assert_eq!(status, if refuses { 404 } else { 200 }, "{page}");
            assert_eq!(story.progress(&session), if refuses { "gone" } else { "came-back" });
            let ran_out = story.lost().iter().filter(|it| **it == session).count();
            assert_eq!((ran_out, story.lost().len()), (usize::from(refuses), 1));
        }
        assert!(story.clerk.failed.lock().unwrap().is_empty());
    });
}

#[test]
fn a_key_that_is_refused_leaves_the_link_to_be_used_until_its_time_is_over() {
    let story = story();
    story.clerk.lets.add_permits(100);
    story.embedded.block_on(async {
        let (session, link) = story.link("me");
        story.clerk.refuses.store(true, Ordering::SeqCst);
        for tries in 1..=9 {
            assert_eq!(story.fill_in(&link, "a-key-that-is-wrong").await, 303);
            let token = story.token(&link).await;
            let (status, page) = story.agree(&link, &token).await;
            assert!(status == 400 && page.contains("refuses the credential"), "{status} {page}");
            assert_eq!((story.taken(), story.progress(&session)), (tries, "begun"));
            // What was typed is no longer there to be agreed to.
            assert_eq!(story.agree(&link, &token).await.0, 400);
        }
        story.advance(LASTS);
        assert_eq!(story.ask("GET", &link, &[]).await.0, 404);
        assert_eq!(story.lost(), [session]);
        assert!(story.clerk.failed.lock().unwrap().is_empty(), "told once, that it ran out");
    });
}

#[test]
fn what_people_typed_and_do_not_agree_to_is_bounded() {
    let story = story();
    story.clerk.lets.add_permits(1);
    story.embedded.block_on(async {
        let key = "k".repeat(64 << 10);
        let links: Vec<_> = (0..=256).map(|n| story.link(&format!("n{n}")).1).collect();
        for link in &links[..256] {
            assert_eq!(story.fill_in(link, &key).await, 303);
        }
        assert_eq!(story.fill_in(&links[256], &key).await, 429);
        // Whoever typed already may type anew, and one who goes on makes room.
        assert_eq!(story.fill_in(&links[0], &key).await, 303);
        let token = story.token(&links[0]).await;
        assert_eq!(story.agree(&links[0], &token).await.0, 200);
        assert_eq!(story.fill_in(&links[256], &key).await, 303);
    });
}
