//! Whoever made a link for somebody is called back once it is over, however it ended, instead of asking again and again.

use attache_tests::{
    Attache, Browser, Page,
    peers::{Oidc, oidc},
};
use reqwest::{Method, blocking::Client};
use serde_json::{Value, json};

use crate::{
    machine,
    oauth::SECRET,
    serving::{Host, RETURN, code_of, serve},
    webhooks::{self, Message, Receiver},
};

/// A host that runs, and an application that makes links, and is told of nothing but how they end.
struct Story {
    host: Host,
    url: String,
    key: String,
    secret: String,
    receiver: Receiver,
    oidc: Oidc,
    attache: Attache,
}

/// A link, and the name of its session.
struct Link {
    id: String,
    link: String,
}

fn story(more: &[&str]) -> Story {
    let (mut attache, oidc, receiver) = (machine(), oidc(&json!({})), Receiver::start());
    attache.add("oauth");
    attache.set("WEB_SECRET", SECRET);
    let base = oidc.peer.base();
    let app = ["app", "set", "oauth", "--client-id", "web", "--client-secret", "env:WEB_SECRET", "--origin", &base];
    attache.run(&app).done();
    let secret = webhooks::add(&attache, "app", &receiver, &["--event", "session.ended"]);
    let (host, url) = serve(&attache, more);
    let key = attache.run(&["caller", "create", "portal", "--may", "administer"]).done().trim().to_owned();
    Story { host, url, key, secret, receiver, oidc, attache }
}

impl Story {
    fn ask(&self, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
        let mut request = Client::new().request(method, format!("{}v1/connect-sessions{path}", self.url));
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let answer = request.bearer_auth(&self.key).send().unwrap();
        (answer.status().as_u16(), serde_json::from_str(&answer.text().unwrap()).unwrap())
    }

    #[track_caller]
    fn link(&self, connection: &str) -> Link {
        let base = self.oidc.peer.base();
        let connection = json!({
            "connector": "oauth", "name": connection, "auth-option": "discovered",
            "parameters": { "base": base, "issuer": base }, "private": [self.oidc.peer.authority()],
        });
        let asked = json!({ "connection": connection, "owner": "alice", "return-url": RETURN });
        let (status, made) = self.ask(Method::POST, "", Some(asked));
        assert_eq!(status, 201, "{made}");
        let text = |name: &str| made[name].as_str().unwrap().to_owned();
        Link { id: text("id"), link: text("link") }
    }

    fn confirm(&self, page: &Page, owner: &str) -> (u16, Value) {
        self.ask(Method::POST, "/confirmations", Some(json!({ "code": code_of(page), "owner": owner })))
    }

    /// What the application would be told if it asked.
    fn state(&self, link: &Link) -> Value {
        self.ask(Method::GET, &format!("/{}", link.id), None).1
    }

    /// Waits until it was told of so many sessions, which are all that it is told of.
    #[track_caller]
    fn told(&self, sessions: usize) -> Vec<Message> {
        self.receiver.sent(sessions);
        webhooks::until(&self.attache, "app", |it| it["waiting"] == 0);
        let messages = self.receiver.sent(sessions);
        assert_eq!(webhooks::verify(&self.secret, &messages), vec![true; sessions]);
        assert!(messages.iter().all(|message| message.kind() == "session.ended"), "{messages:?}");
        messages
    }

    /// Ends the host as a power cut does, and starts it again.
    fn cut_off(&mut self) {
        self.host.kill().unwrap();
        self.host.wait().unwrap();
        (self.host, self.url) = serve(&self.attache, &[]);
    }
}

impl Link {
    fn go(&self, decision: &str) -> Page {
        let browser = Browser::that_stops_at(RETURN);
        let provider = browser.submit(&browser.open(&self.link), &[]);
        browser.submit(&provider, &[("decision", decision)])
    }

    fn ended(&self, outcome: &str, more: &[(&str, &Value)]) -> Value {
        let mut data = json!({ "environment": "default", "session-id": self.id, "owner": "alice", "outcome": outcome });
        more.iter().for_each(|(name, value)| data[*name] = (*value).clone());
        data
    }
}

#[test]
fn one_that_connected_names_the_connection_and_whose_it_is() {
    let story = story(&[]);
    let link = story.link("mail");
    let page = link.go("yes");
    assert_eq!(story.state(&link)["state"], "came-back");
    story.told(0);
    let (status, made) = story.confirm(&page, "alice");
    assert_eq!(status, 201, "{made}");
    let messages = story.told(1);
    let named = [("connection", &made["name"]), ("connection-id", &made["id"])];
    assert_eq!(messages[0].body["data"], link.ended("connected", &named));
    let text = messages[0].body.to_string();
    assert!(!text.contains(&code_of(&page)) && !text.contains(link.link.rsplit('/').next().unwrap()), "{text}");
}

#[test]
fn one_that_failed_says_why_in_the_words_that_who_asks_is_told() {
    let story = story(&[]);
    let link = story.link("mail");
    let page = link.go("no");
    assert!(page.html.contains("Nothing was connected"), "{}", page.html);
    let state = story.state(&link);
    assert_eq!(state["state"], "failed", "{state}");
    let mut problem = json!({ "kind": state["problem"]["kind"], "detail": state["problem"]["detail"] });
    state["problem"].get("hint").inspect(|hint| problem["hint"] = (*hint).clone());
    assert!(problem["detail"].as_str().unwrap().contains("access_denied"), "{problem}");
    assert_eq!(story.told(1)[0].body["data"], link.ended("failed", &[("problem", &problem)]));
    // Whoever comes back for somebody else ends it, too.
    let forwarded = story.link("mail");
    let (status, refused) = story.confirm(&forwarded.go("yes"), "bob");
    assert_eq!((status, &refused["kind"]), (403, &json!("denied")));
    let told = &story.told(2)[1].body["data"];
    assert_eq!((&told["session-id"], &told["outcome"]), (&json!(forwarded.id), &json!("failed")));
    assert_eq!(told["problem"]["detail"], refused["detail"]);
}

#[test]
fn one_that_nobody_confirms_in_time_ran_out() {
    let story = story(&["--confirm-within", "1"]);
    let link = story.link("mail");
    link.go("yes");
    assert_eq!(story.told(1)[0].body["data"], link.ended("ran-out", &[]));
}

#[test]
fn those_of_a_host_that_was_killed_ran_out_but_for_one_that_waits_to_be_confirmed() {
    let mut story = story(&[]);
    let (open, back) = (story.link("never"), story.link("mail"));
    let page = back.go("yes");
    story.cut_off();
    assert_eq!(story.told(1)[0].body["data"], open.ended("ran-out", &[]));
    let (status, made) = story.confirm(&page, "alice");
    assert_eq!(status, 201, "{made}");
    assert_eq!(story.told(2)[1].body["data"]["outcome"], "connected");
    story.cut_off();
    story.told(2);
    let checked = story.attache.run(&["store", "check", "--output", "json"]).json();
    assert_eq!(checked["findings"], json!([]), "{checked}");
}
