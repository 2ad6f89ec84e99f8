//! Where an app has people sent back to, when its operator says so: the port that was registered, or a host elsewhere.

use attache_tests::peers::free_port;
use serde_json::json;

use crate::{
    oauth::{CALLBACK, SECRET, Story, at_provider, bare},
    serving::serve,
};

/// With an app that has people sent back to one place and nowhere else.
fn sent_back_to(redirect_uri: &str) -> Story {
    let mut url = url::Url::parse(redirect_uri).unwrap();
    // The port is free where a provider knows the rest (RFC 8252, 7.3).
    let _ = url.set_port(None);
    let client = json!({ "client_id": "fixed", "client_secret": SECRET, "redirect_uris": [url.as_str()],
        "application_type": if url.scheme() == "http" { "native" } else { "web" },
        "grant_types": ["authorization_code", "refresh_token"], "response_types": ["code"],
        "token_endpoint_auth_method": "client_secret_post" });
    let mut story = bare(&json!({ "clients": [client] }));
    story.attache.set("WEB_SECRET", SECRET);
    story.app(&["--client-id", "fixed", "--client-secret", "env:WEB_SECRET", "--redirect-uri", redirect_uri]);
    story
}

#[test]
fn an_app_may_have_people_sent_back_to_one_port_and_path() {
    let port = free_port();
    let back = format!("{CALLBACK}:{port}/way/back");
    let story = sent_back_to(&back);
    let mut running = story.begin("discovered", &[]);
    let link = running.said(CALLBACK);
    assert!(link.starts_with(&format!("{CALLBACK}:{port}/connect/")), "{link}");
    let (browser, page) = at_provider(&link);
    let last = browser.submit(&page, &[("decision", "yes")]);
    assert!(last.url.as_str().starts_with(&back) && last.html.contains("Connected"), "{} {}", last.url, last.html);
    running.ended().done();
    // The very same is there for the code (RFC 6749, 4.1.3), or the provider would not have taken it.
    let sent = story.oidc.asked().into_iter().map(|it| it.0["redirect"].clone()).filter(|it| it.is_string());
    let sent: Vec<_> = sent.collect();
    assert!(sent.len() >= 2 && sent.iter().all(|uri| *uri == back), "{sent:?}");
}

#[test]
fn a_port_that_somebody_else_has_is_said_so() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let story = sent_back_to(&format!("http://{address}/callback"));
    let refused = story.begin("discovered", &[]).ended().refused(5, &format!("Something else listens on {address}"));
    assert!(refused.err.contains("--redirect-uri"), "{}", refused.err);
}

#[test]
fn an_app_of_another_machine_is_signed_in_to_there() {
    let story = sent_back_to("https://attache.example.com/callback");
    let begin = || story.begin("discovered", &[]).ended();
    begin().refused(2, "The app sends people back to https://attache.example.com/callback, which is not this machine.");
    let (_host, url) = serve(&story.attache, &[]);
    let refused = begin().refused(5, "The app has people sent back to https://attache.example.com/callback");
    assert!(refused.err.contains(&format!("{url}callback")), "{}", refused.err);
    assert!(story.oidc.asked().iter().all(|it| it.0["path"] != "/auth" && it.0["path"] != "/token"));
}

#[test]
fn whatever_path_an_app_has_people_sent_back_to_is_found() {
    // Regression: some ended the command with a panic, since they were read as patterns, or as the path that links have.
    for path in ["/connect", "/:x", "/*", "/%7Bcode%7D", "/sign-in", "/callback/"] {
        let back = format!("{CALLBACK}:{}{path}", free_port());
        let story = sent_back_to(&back);
        let mut running = story.begin("discovered", &[]);
        let (browser, page) = at_provider(&running.said(CALLBACK));
        let last = browser.submit(&page, &[("decision", "yes")]);
        assert!(last.url.as_str().starts_with(&back) && last.html.contains("Connected"), "{} {}", last.url, last.html);
        running.ended().done();
    }
}

#[test]
fn where_a_name_stands_for_two_addresses_nobody_else_has_either() {
    // Regression: browsers try the other address first, and whoever listened there was given the link and what came back.
    let taken = std::net::TcpListener::bind("[::1]:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let story = sent_back_to(&format!("http://localhost:{port}/callback"));
    story.begin("discovered", &[]).ended().refused(5, &format!("Something else listens on [::1]:{port}"));
    drop(taken);
    let mut running = story.begin("discovered", &[]);
    let link = running.said("http://localhost");
    let to = |address: &str| std::net::TcpStream::connect(format!("{address}:{port}")).is_ok();
    assert!(to("127.0.0.1") && to("[::1]"));
    let (browser, page) = at_provider(&link);
    let last = browser.submit(&page, &[("decision", "yes")]);
    assert!(last.html.contains("Connected"), "{}", last.html);
    running.ended().done();
}
