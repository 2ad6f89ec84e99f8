//! A link's form in the hands of people, browsers and pages that mean no good.

use attache_tests::{
    Browser, Canary, Page,
    canary::Seen,
    peers,
    service::{Service, answer},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use reqwest::blocking::{Client, Response};
use serde_json::json;

use crate::{
    KEY, connect,
    gateway::{TALKATIVE, logging_to},
    links_typed::{Story, says, story},
    machine,
    serving::RETURN,
    webhooks::{self, Receiver},
    with_echo,
};

#[test]
fn a_form_takes_no_secret_of_whoever_made_the_link_and_none_that_is_stored() {
    // A link's form says where a credential goes; whoever fills it in would have another's secret sent there.
    let attache = with_echo();
    let elsewhere = Service::plain();
    let story = Story::of(attache, &[]);
    connect(&story.attache, "header", &story.service, &["--name", "me", "--allow-private", &elsewhere.authority()])
        .done();
    let calls = story.service.received().len();
    for more in [
        json!({ "name": "new", "secrets": { "key": KEY } }),
        json!({ "name": "new", "secrets": { "key": KEY }, "parameters": { "base": story.service.base() } }),
        json!({ "again": true, "secrets": { "key": KEY } }),
    ] {
        let (status, refused) = story.try_link(more);
        assert_eq!(status, 422, "{refused}");
        assert!(refused["detail"].as_str().unwrap().contains("whose form another person fills in"), "{refused}");
        assert!(!refused.to_string().contains(KEY), "{refused}");
    }
    let link = story.link(json!({ "again": true }));
    let browser = Browser::that_stops_at(RETURN);
    let form = browser.open(&link.link);
    says(&form, 200, "It was connected before, for the account");
    // What is stored and no secret counts as given.
    says(&form, 200, &format!("base: <code>{}</code>", story.service.base()));
    says(&browser.submit(&form, &[]), 400, "`key` (The key) is missing.");
    says(&browser.submit(&form, &[("p.other", &elsewhere.base())]), 400, "`key` (The key) is missing.");
    assert_eq!(elsewhere.received().len() + story.service.received().len(), calls, "nothing left");
    // Another's key is another account, and who has the key connects it again.
    let terms = browser.submit(&form, &[("s.key", "one-of-mallorys")]);
    says(&browser.submit(&terms, &[]), 400, "its check failed");
    let back = browser.submit(&browser.submit(&form, &[("s.key", KEY)]), &[]);
    let (status, made) = story.confirm(&back);
    assert_eq!(status, 201, "{made}");
}

#[test]
fn what_is_typed_leads_to_no_private_address_that_whoever_made_the_link_did_not_allow() {
    let (story, other) = (story(), Service::plain());
    for allowed in [json!([]), json!([other.authority()])] {
        let link = story.link(json!({ "private": allowed, "name": format!("n{}", allowed.as_array().unwrap().len()) }));
        let browser = Browser::that_stops_at(RETURN);
        let form = browser.open(&link.link);
        let port = story.service.port;
        for (base, words) in [
            (story.service.base(), "is plain http, which sends credentials in clear"),
            (format!("https://127.0.0.1:{port}"), "this machine"),
            (format!("https://localhost:{port}"), "this machine"),
            (format!("https://[::ffff:127.0.0.1]:{port}"), "this machine"),
            ("http://169.254.169.254".to_owned(), "169.254.169.254"),
            ("https://169.254.169.254/latest".to_owned(), "169.254.169.254"),
            ("https://10.0.0.1".to_owned(), "private"),
            ("https://[fd00::1]".to_owned(), "fd00::1"),
        ] {
            let refused = browser.submit(&form, &[("p.base", &base), ("s.key", KEY)]);
            says(&refused, 403, words);
            says(&refused, 403, "role=\"alert\"");
            assert!(!refused.html.contains("--allow-private"), "nobody here has a command line: {}", refused.html);
            says(&refused, 403, "Go on");
        }
        let number = format!("https://2130706433:{port}");
        says(&browser.submit(&form, &[("p.base", &number), ("s.key", KEY)]), 400, "read as another than it is written");
        assert_eq!(story.state(&link), "open");
    }
    assert!(story.service.received().is_empty() && other.received().is_empty());
    // Only who administers allows one.
    let small = story.attache.run(&["caller", "create", "small", "--may", "connect"]).done().trim().to_owned();
    let story = Story { key: small, ..story };
    assert_eq!(story.try_link(json!({})).0, 403);
    assert_eq!(story.try_link(json!({ "private": [] })).0, 201);
}

/// What somebody sends of their own making.
struct Hand {
    link: String,
    cookie: String,
    token: String,
}

impl Hand {
    /// As a browser of its own that was shown the page.
    fn of(link: &str) -> Self {
        let page = Client::new().get(link).send().unwrap();
        let cookie = page.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
        let token = token_of(&page.text().unwrap());
        Self { link: link.to_owned(), cookie, token }
    }

    fn send(&self, fields: &[(&str, &str)]) -> Response {
        self.send_from("same-origin", &self.token, fields)
    }

    fn send_from(&self, site: &str, token: &str, fields: &[(&str, &str)]) -> Response {
        let fields = [&[("token", token)], fields].concat();
        // A redirect is an answer.
        let client = Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        let request = client.post(&self.link).header("cookie", &self.cookie).header("sec-fetch-site", site);
        request.form(&fields).send().unwrap()
    }
}

fn token_of(html: &str) -> String {
    html.split("name=\"token\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned()
}

#[track_caller]
fn answered(answer: Response, status: u16, words: &str) {
    assert_eq!(answer.headers()["x-frame-options"], "DENY");
    let (got, html) = (answer.status().as_u16(), answer.text().unwrap());
    assert_eq!(got, status, "{html}");
    assert!(html.contains(words), "“{words}” is not in {html}");
}

#[test]
fn neither_another_browser_nor_a_page_elsewhere_nor_another_links_token_gets_to_what_was_typed() {
    let story = story();
    let (ours, others) = (story.link_for_a_key(), story.link(json!({ "name": "other" })));
    let (person, mallory) = (Hand::of(&ours.link), Hand::of(&ours.link));
    let fields = [("s.key", KEY)];
    for site in ["cross-site", "same-site"] {
        answered(person.send_from(site, &person.token, &fields), 403, "not asked for by the page itself");
    }
    let theirs = Hand::of(&others.link).token;
    for token in ["", "x", mallory.token.as_str(), theirs.as_str()] {
        answered(person.send_from("same-origin", token, &fields), 403, "another browser");
    }
    answered(person.send(&[("agree", "yes")]), 400, "Open the link again");
    assert_eq!(story.state(&ours), "open");
    answered(person.send(&fields), 303, "");
    // From now on it is this browser's.
    answered(mallory.send(&fields), 403, "another browser");
    answered(mallory.send(&[("agree", "yes")]), 403, "another browser");
    let look = |cookie: &str| Client::new().get(&ours.link).header("cookie", cookie).send().unwrap();
    answered(look(&mallory.cookie), 403, "another browser");
    answered(look(""), 403, "another browser");
    let shown = token_of(&look(&person.cookie).text().unwrap());
    for site in ["cross-site", "same-site"] {
        answered(person.send_from(site, &shown, &[("agree", "yes")]), 403, "not asked for by the page itself");
    }
    // What a page showed that was filled in anew since is not agreed to, nor what a form's page showed.
    answered(person.send(&[("s.key", "another-key-that-is-typed")]), 303, "");
    answered(person.send_from("same-origin", &shown, &[("agree", "yes")]), 400, "has changed since");
    answered(person.send(&[("agree", "yes")]), 400, "has changed since");
    assert!(story.service.received().is_empty());
    answered(person.send(&fields), 303, "");
    let shown = token_of(&look(&person.cookie).text().unwrap());
    answered(person.send_from("same-origin", &shown, &[("agree", "yes")]), 200, "You go on to");
    // Used is used, whoever comes with whatever.
    for hand in [&person, &mallory] {
        answered(hand.send_from("same-origin", &shown, &[("agree", "yes")]), 404, "not good any longer");
        answered(hand.send(&fields), 404, "not good any longer");
        answered(look(&hand.cookie), 404, "not good any longer");
    }
    assert_eq!((story.service.received().len(), story.audited("connection-pending")), (1, 1));
}

#[test]
fn only_what_is_left_to_type_is_taken_from_a_browser_and_whatever_else_it_sends_is_answered_by_a_page() {
    let story = story();
    let mine = Service::plain();
    let link = story.link(json!({
        "parameters": { "base": story.service.base() }, "private": [story.service.authority(), mine.authority()],
    }));
    let hand = Hand::of(&link.link);
    let (base, named) = (mine.base(), "x".repeat(200));
    let (base, named, key) = (base.as_str(), named.as_str(), ("s.key", KEY));
    let many: Vec<(String, String)> = (0..5_000).map(|n| (format!("p.{n}"), String::new())).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let (long, longer) = ("k".repeat((64 << 10) + 1), "k".repeat(250_000));
    let (long, longer) = (long.as_str(), longer.as_str());
    let lines = "-----BEGIN PRIVATE KEY-----\r\n".to_owned() + &"ü".repeat((32 << 10) - 14);
    for (fields, status, words) in [
        (vec![key, ("p.base", base)], 400, "`base` was given by whoever made this link"),
        (vec![key, ("s.base", base)], 400, "`base` was given by whoever made this link"),
        (vec![key, ("p.base", "")], 400, "`base` was given by whoever made this link"),
        (vec![key, ("p.key", KEY)], 400, "no field `key`"),
        (vec![key, ("s.open", KEY)], 400, "no field `open`"),
        (vec![key, ("p.nothing", "x")], 400, "no field `nothing`"),
        (vec![key, ("private", "127.0.0.1:1")], 400, "no field `private`"),
        (vec![key, ("connector", "http")], 400, "no field `connector`"),
        (vec![key, (named, "x")], 400, "no field `xxx"),
        (vec![key, ("s.key", "another")], 400, "not the form that the page has"),
        (vec![key, ("m.key", "another")], 400, "`key` was typed twice"),
        (vec![key, ("token", "x")], 400, "not the form that the page has"),
        (vec![key, ("agree", "yes")], 400, "not the form that the page has"),
        (many, 400, "not the form that the page has"),
        (vec![("s.key", long)], 400, "has 65537 bytes; it may have 65536"),
        (vec![("s.key", longer)], 400, "larger than this form may be"),
        (vec![key, ("p.open", "https://a.example\nhttps://b.example")], 400, "more than one line"),
        (vec![("s.key", "a\0b")], 400, "holds a NUL"),
    ] {
        answered(hand.send(&fields), status, words);
    }
    let link = story.link(json!({
        "name": "lines", "auth-option": "body", "parameters": { "base": story.service.base() },
    }));
    // As many bytes as there may be, each of which takes three on the way, and lines end as in a file.
    answered(Hand::of(&link.link).send(&[("m.key", &lines)]), 303, "");
    assert!(mine.received().is_empty() && story.service.received().is_empty());
}

#[test]
fn what_is_the_apps_is_not_typed_by_a_person() {
    let (mut attache, peer) = (machine(), peers::oauth1());
    attache.add("visits");
    attache.set("KEY_SECRET", "the-consumers-secret");
    let app = ["--set", "key=the-consumer", "--secret", "key-secret=env:KEY_SECRET", "--origin", &peer.base()];
    attache.run(&[&["app", "set", "visits"], &app[..]].concat()).done();
    let story = Story::of(attache, &[]);
    let asked = json!({ "connector": "visits", "auth-option": "of-app", "private": [peer.authority()] });
    let link = story.link(asked.clone());
    let form = Browser::new().open(&link.link);
    says(&form, 200, "name=\"p.base\"");
    assert!(!form.html.contains("name=\"p.key\"") && !form.html.contains("key-secret"), "{}", form.html);
    let (hand, base) = (Hand::of(&link.link), peer.base());
    for field in ["p.key", "s.key", "s.key-secret", "m.key-secret", "p.key-secret"] {
        answered(hand.send(&[("p.base", &base), (field, "mine")]), 400, "no field `key");
    }
    let mut given = asked;
    given["parameters"] = json!({ "key": "mine" });
    let (status, refused) = story.try_link(given);
    assert_eq!(status, 422, "{refused}");
    // What the app gives is the app's, wherever somebody says that their instance is.
    answered(hand.send(&[("p.base", "https://elsewhere.example")]), 403, "may not go to https://elsewhere.example");
    answered(hand.send(&[("p.base", &base)]), 303, "");
}

/// A host that logs all there is, and tells an application what happens.
struct Watched {
    story: Story,
    receiver: Receiver,
    log: std::path::PathBuf,
    seen: Seen,
}

impl Watched {
    fn page(&mut self, what: &str, page: Page) -> Page {
        self.seen.note(what, format!("{} {:?} {}", page.url, page.headers, page.html));
        page
    }
}

#[test]
fn what_is_typed_is_in_no_page_log_line_message_or_answer_and_in_no_file_before_somebody_agreed() {
    let secret = Canary::new("typed-by-a-person-5d1f-c0ffee");
    let other = Canary::new("typed-by-mistake-77ab-90fe21");
    let public = Canary::new("shown-to-everybody-31bc-77");
    let receiver = Receiver::start();
    let mut attache = with_echo();
    webhooks::add(&attache, "app", &receiver, &[]);
    attache.set("ATTACHE_LOG", TALKATIVE).set("RUST_BACKTRACE", "1");
    let log = attache.folder().join("log");
    let serve = ["serve", "--listen", "127.0.0.1:0", "--return-url", RETURN];
    let host = logging_to(&mut attache.command(&serve), &log);
    let good = format!("Basic {}", BASE64_STANDARD.encode(format!("{}:{}", public.secret, secret.secret)));
    let service = Service::start(move |request| match request.header("authorization") == Some(&good) {
        true => answer(200, &[], "jo"),
        false => answer(401, &[], "no"),
    });
    let mut it = Watched { story: Story::beside(attache, service, host), receiver, log, seen: Seen::default() };
    let link = it.story.link(json!({ "auth-option": "basic" }));
    let browser = Browser::that_stops_at(RETURN);
    let form = it.page("the form", browser.open(&link.link));
    let (base, name) = (it.story.service.base(), public.secret.as_str());
    let typed = |more: &[(&str, &str)]| {
        browser.submit(&form, &[&[("p.base", &*base), ("p.user", name), ("s.key", &secret.secret)], more].concat())
    };
    for (what, more) in [
        ("a wrong base", vec![("p.base", "not a place")]),
        ("a private base", vec![("p.base", "https://10.0.0.1")]),
        ("both fields of it", vec![("m.key", other.secret.as_str())]),
        ("another field", vec![("p.nothing", other.secret.as_str())]),
        ("the field of what is no secret", vec![("p.key", secret.secret.as_str())]),
        ("one that is none", vec![("m.key", "\0"), ("s.key", "")]),
        ("a user that is none", vec![("p.user", "j:o")]),
        ("another form", vec![("token", secret.secret.as_str())]),
    ] {
        let page = typed(&more);
        assert!((400..500).contains(&page.status), "{what}: {}", page.html);
        it.page(what, page);
    }
    let wrong = it.page("terms of a wrong key", typed(&[("s.key", &other.secret)]));
    it.page("a wrong key", browser.submit(&wrong, &[]));
    let terms = it.page("the terms", typed(&[]));
    says(&terms, 200, "Agree and connect");
    it.page("what is changed", browser.open(&format!("{}?change", link.link)));
    // Nothing of it is kept yet, sealed or not: what was typed before stands where it stood.
    it.seen.note_below(&it.story.attache.folder().join("home"));
    assert_eq!(it.story.audited("connection-pending"), 0);
    let back = it.page("the way back", browser.submit(&terms, &[]));
    it.seen.note("the state", it.story.state(&link));
    let (status, made) = it.story.confirm(&back);
    assert_eq!(status, 201, "{made}");
    it.seen.note("what was made", made.to_string());
    for path in ["connections", "connections/me", "audit"] {
        let (_, told) = it.story.ask(reqwest::Method::GET, path, None);
        it.seen.note(format!("the API's {path}"), told.to_string());
    }
    webhooks::until(&it.story.attache, "app", |it| it["waiting"] == 0);
    for message in it.receiver.messages() {
        it.seen.note("a message", message.body.to_string());
    }
    it.seen.note("the audit", it.story.attache.run(&["audit", "list", "--limit", "1000"]).done());
    it.seen.note("the log", std::fs::read(&it.log).unwrap());
    it.seen.note_below(&it.story.attache.folder().join("home"));
    it.seen.lacks(&secret);
    it.seen.lacks(&other);
    for place in ["a wrong base", "the terms", "the API's connections/me", "what is changed", "a wrong key"] {
        it.seen.shows(&public, place);
    }
}
