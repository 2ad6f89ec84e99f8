//! The console: the operator in a browser.

use std::process::Child;

use attache_tests::{Attache, Browser, service::Service};

use crate::{connect, serving, with_echo};

struct Story {
    attache: Attache,
    #[allow(dead_code, reason = "it answers")]
    service: Service,
    host: Child,
    url: String,
}

impl Drop for Story {
    fn drop(&mut self) {
        let _ = self.host.kill();
        let _ = self.host.wait();
    }
}

fn story() -> Story {
    let (attache, service) = (with_echo(), Service::plain());
    connect(&attache, "header", &service, &[]).done();
    let (host, url) = serving::serve(&attache, &[]);
    Story { attache, service, host, url }
}

#[test]
fn probe() {
    let story = story();
    let link = story.attache.run(&["console", "--no-browser"]).done();
    let (page, code) = link.trim().split_once('#').unwrap();
    let client = reqwest::blocking::Client::builder().cookie_store(true).build().unwrap();
    let origin = story.url.trim_end_matches('/').to_owned();
    let signed = client.post(page).header("origin", &origin).form(&[("code", code)]).send().unwrap();
    println!("{} {}", signed.status(), signed.url());
    for path in [
        "",
        "/",
        "?span=fortnight",
        "/connectors",
        "/connectors/echo",
        "/connections",
        "/connections/echo",
        "/connections/echo/operations/send",
        "/consents",
        "/consents/echo",
        "/audit",
        "/connect",
        "/connect?connector=echo",
        "/connect?connector=echo&option=header",
        "/connect?again=echo",
        "/add",
        "/nothing",
        "/connections/nobody",
    ] {
        let got = client.get(format!("{origin}/console{path}")).send().unwrap();
        println!("{path} {} {}", got.status(), got.headers()["content-security-policy"].to_str().unwrap());
        let text = got.text().unwrap();
        println!("{}", text.split("<main").nth(1).unwrap_or(&text));
    }
    let _ = Browser::new();
}
