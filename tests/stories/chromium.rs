//! The pages in a real browser, which keeps a page's policy, its cookies and its layout as no other test does. Pictures of them
//! are in `target/screenshots` afterwards.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Stdio},
};

use attache_tests::{
    Attache, Browser,
    peers::{chromium, free_port, oidc},
    service::{Service, answer},
};
use serde_json::{Value, json};
use url::Url;

use crate::{
    oauth::{CALLBACK, SECRET, Story, at_provider, story},
    serving,
};

const WIDE: [u32; 2] = [1280, 800];
const NARROW: [u32; 2] = [390, 844];

/// What every page of Attaché's is to a browser.
#[track_caller]
fn is_in_order(page: &Value, window: [u32; 2]) {
    assert_eq!((&page["lang"], &page["headings"]), (&json!("en"), &json!(1)), "{page}");
    assert_eq!(page["width"], window[0], "nothing is wider than the window: {page}");
    assert_eq!(page["style"], "672px", "its policy lets its own style through: {page}");
    assert_eq!(page["elsewhere"], json!([]), "{page}");
}

#[track_caller]
fn nothing_was_complained_of(seen: &Value) {
    assert!(seen["control"][0].as_str().unwrap().contains("Content Security Policy"), "{seen}");
    assert_eq!(seen["complaints"], json!([]));
}

/// Goes all the way by the link that a command printed.
#[track_caller]
fn goes_all_the_way(story: &Story, arguments: &[&str], window: [u32; 2]) {
    let mut running = story.attache.begin(arguments);
    let link = running.said("http://127.0.0.1");
    let until = Url::parse(&link).unwrap().join("/callback").unwrap();
    let pictures = "command-line";
    let seen = chromium(
        pictures,
        json!({ "links": [link], "until": until, "window": window, "javascript": false, "again": false }),
    );
    running.ended().done();
    let way = &seen["ways"][0];
    let button = format!("button \"Agree and sign in at {}\"", story.oidc.peer.base());
    assert!(way["consent"]["tree"].as_str().unwrap().contains(&button), "{way}");
    assert_eq!((&way["asked"], &way["end"]["heading"]), (&json!(true), &json!("Connected")), "{way}");
    is_in_order(&way["consent"], window);
    is_in_order(&seen["last"], window);
    nothing_was_complained_of(&seen);
}

#[test]
fn a_person_connects_in_a_real_browser_without_javascript_on_a_wide_and_a_narrow_window() {
    let story = story(&json!({}));
    let connect = story.arguments("discovered", &[]);
    goes_all_the_way(&story, &connect.iter().map(String::as_str).collect::<Vec<_>>(), WIDE);
    assert_eq!(story.send("/api/me")["status"], 200);
    goes_all_the_way(&story, &["connection", "reconnect", "oauth", "--timeout", "60"], NARROW);
    assert_eq!(story.send("/api/me")["status"], 200);
}

/// Whatever an application calls a person, the page stays as wide as its window.
const OWNER: &str = "alice_of_a_department_whose_name_does_not_fit_into_a_line_of_a_telephone_and_has_no_space";

/// A host that ends with its test.
struct Host(Child);

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_person_who_is_signed_in_already_comes_back_to_the_application_at_once() {
    let application =
        Service::start(|_| answer(200, &[("Content-Type", "text/html")], "<html lang=en><h1>The application</h1>"));
    let back = format!("{}/connected", application.base());
    let listen = format!("127.0.0.1:{}", free_port());
    // A provider asks again for whoever is not a client of the web, since anybody could pose as it.
    let client = json!({
        "client_id": "site", "client_secret": SECRET, "application_type": "web",
        "redirect_uris": [format!("http://{listen}/callback")], "token_endpoint_auth_method": "client_secret_post",
        "grant_types": ["authorization_code", "refresh_token"], "response_types": ["code"],
    });
    let oidc = oidc(&json!({ "clients": [client] }));
    let (base, authority) = (oidc.peer.base(), oidc.peer.authority());
    let mut attache = Attache::new(env!("CARGO_BIN_EXE_attache-under-test"));
    attache.add("oauth");
    attache.set("SITE_SECRET", SECRET);
    let app = ["app", "set", "oauth", "--client-id", "site", "--client-secret", "env:SITE_SECRET", "--origin", &base];
    attache.run(&app).done();
    let mut host = attache.command(&["serve", "--listen", &listen, "--return-url", &back]);
    let mut host = Host(host.stdout(Stdio::piped()).spawn().unwrap());
    BufReader::new(host.0.stdout.take().unwrap()).read_line(&mut String::new()).unwrap();

    let link = |name: &str| {
        let set = [format!("base={base}"), format!("issuer={base}")];
        let fixed =
            ["session", "create", "oauth", "--auth", "second", "--name", name, "--set", &set[0], "--set", &set[1]];
        let more = ["--allow-private", &authority, "--owner", OWNER, "--return-url", &back, "--state", name];
        attache.run(&[&fixed[..], &more].concat()).done().trim().to_owned()
    };
    let links = [link("first"), link("second")];
    let seen = chromium(
        "serve",
        json!({ "links": links, "until": back, "window": NARROW, "javascript": true, "again": true }),
    );
    nothing_was_complained_of(&seen);
    for (way, (name, asked)) in seen["ways"].as_array().unwrap().iter().zip([("first", true), ("second", false)]) {
        is_in_order(&way["consent"], NARROW);
        assert_eq!((&way["asked"], &way["end"]["heading"]), (&json!(asked), &json!("The application")), "{way}");
        let url = Url::parse(way["end"]["url"].as_str().unwrap()).unwrap();
        let value = |of: &str| url.query_pairs().find(|(name, _)| name == of).map(|(_, value)| value.into_owned());
        assert_eq!(value("state").as_deref(), Some(name));
        let out = attache.run(&["session", "confirm", &value("attache_code").unwrap(), "--owner", OWNER]).done();
        assert!(out.contains(&format!("Connected `{name}`: jo.")), "{out}");
    }
    assert!(seen["last"]["tree"].as_str().unwrap().contains("not good any longer"), "the link was used: {seen}");
    is_in_order(&seen["last"], NARROW);
    let came: Vec<_> = application.received().into_iter().filter(|it| it.line.starts_with("GET /connected")).collect();
    assert!(came.len() == 2 && came.iter().all(|it| it.header("referer").is_none()), "{came:?}");
}

/// As wide as a page is that is shown four times as large in a window of 1280 pixels (WCAG 2.2, 1.4.10).
const ENLARGED: [u32; 2] = [320, 256];

#[test]
fn each_page_is_read_and_used_by_everybody_enlarged_in_either_colour_scheme_and_with_the_keyboard_alone() {
    // Regression: letters that are written from right to left turned what stood around them, and marks that are piled up on a
    // letter lay over the lines above.
    let story = serving::story(&[]);
    let owner = format!("\u{5e9}\u{5dc}\u{5d5}\u{5dd} 123 Z{}", "\u{30d}".repeat(60));
    let link = story.link_for(&owner);
    let browser = Browser::new();
    let consent = browser.open(&link);
    let onward = browser.submit_only(&consent, &[]);
    let another = Browser::new().open(&link);
    let gone = Browser::new().open(&format!("{link}x"));
    let by_command = crate::oauth::story(&json!({}));
    let mut running = by_command.begin("discovered", &[]);
    let (person, provider) = at_provider(&running.said(CALLBACK));
    let connected = person.submit(&provider, &[("decision", "yes")]);
    running.ended().done();
    let shown =
        [("consent", consent), ("onward", onward), ("another", another), ("gone", gone), ("connected", connected)];
    // One that goes on by itself is not there long enough to be looked at.
    let html = |page: &attache_tests::Page| page.html.replace("http-equiv=\"refresh\"", "name=\"refresh\"");
    let pages: Vec<Value> = shown.iter().map(|(name, page)| json!({ "name": name, "html": html(page) })).collect();
    let seen = chromium(
        "read",
        json!({ "links": [], "until": "", "window": ENLARGED, "javascript": true, "again": false, "pages": pages }),
    );
    let pages = seen["pages"].as_array().unwrap();
    assert_eq!(pages.len(), shown.len());
    for page in pages {
        assert_eq!(page["broken"], json!([]), "{page}");
        assert_eq!((&page["turning"], &page["spilling"]), (&json!([]), &json!([])), "{page}");
        is_in_order(page, ENLARGED);
        assert!(page["tree"].as_str().unwrap().starts_with("- main:"), "all of it is in the landmark: {page}");
    }
    let reached: Vec<&Value> = pages.iter().map(|page| &page["reached"]).collect();
    let agree = format!("Agree and sign in at {}", story.provider());
    assert_eq!(reached, [&json!([agree]), &json!(["Go on"]), &json!([]), &json!([]), &json!([])]);
}
