//! Where a webhook's messages go: to addresses that are public or were allowed, when it is added and with each message.

use std::{net::TcpListener, thread};

use attache_tests::{service::Service, world::with_hosts};
use serde_json::json;

use crate::{
    KEY, connect,
    serving::serve,
    webhooks::{Receiver, until},
    with_echo,
};

const PUBLIC: &str = "93.184.215.14";

#[test]
fn a_message_goes_to_no_address_that_was_not_allowed() {
    let (attache, receiver) = (with_echo(), Receiver::start());
    for (url, allowed, words) in [
        (receiver.url("/"), None, receiver.authority()),
        (receiver.url("/").replace("http:", "https:"), None, format!("--allow-private {}", receiver.authority())),
        ("http://hooks.example.com/".to_owned(), None, "plain http".to_owned()),
        ("http://169.254.169.254/latest".to_owned(), Some("169.254.169.254:80"), "cannot be allowed".to_owned()),
        ("https://[::ffff:127.0.0.1]/".to_owned(), None, "--allow-private".to_owned()),
    ] {
        let allow = allowed.map_or_else(Vec::new, |allowed| vec!["--allow-private", allowed]);
        attache.run(&[&["webhook", "add", &url, "--name", "app"], &allow[..]].concat()).refused(5, &words);
    }
    for (url, words) in [
        ("https://user:word@hooks.example.com/", "user name"),
        ("https://hooks.example.com/#there", "fragment"),
        ("ftp://hooks.example.com/", "neither https nor http"),
        ("hooks", "cannot be the URL"),
    ] {
        attache.run(&["webhook", "add", url]).refused(2, words);
    }
    attache.run(&["webhook", "add", "https://hooks.example.com/", "--secret", "env:STORY_KEY"]).refused(2, "whsec_");
    assert_eq!(attache.run(&["webhook", "list", "--output", "json"]).json(), json!([]));
    assert!(receiver.messages().is_empty());
}

#[test]
fn a_name_that_leads_to_a_private_address_since_it_was_added_is_sent_nothing() {
    let name = "hooks.example";
    with_hosts(&[(name, PUBLIC)], |world| {
        let mut attache = world.attache(env!("CARGO_BIN_EXE_attache-under-test"));
        attache.set("STORY_KEY", KEY);
        attache.add("echo");
        let url = format!("https://{name}/hook");
        attache.run(&["webhook", "add", &url, "--name", "app"]).done();
        let there = TcpListener::bind(("127.0.0.1", 443)).unwrap();
        world.lead(&[(name, "127.0.0.1")]);
        attache.run(&["webhook", "add", &url, "--name", "later"]).refused(5, "--allow-private hooks.example:443");
        connect(&attache, "header", &Service::plain(), &[]).done();
        let _host = serve(&attache, &[]);
        let tried = until(&attache, "app", |it| it["last"].is_object());
        let what = tried["last"]["what"].as_str().unwrap();
        assert!(what.contains("leads to 127.0.0.1, which is this machine itself"), "{tried}");
        assert_eq!((&tried["last"]["delivered"], &tried["waiting"]), (&json!(false), &json!(1)), "{tried}");
        for (address, words) in [
            ("127.0.0.1", "--allow-private hooks.example:443"),
            ("10.0.0.7", "--allow-private hooks.example:443"),
            ("169.254.169.254", "Nothing allows it"),
        ] {
            world.lead(&[(name, address)]);
            attache.run(&["webhook", "test", "app"]).refused(5, words);
        }
        there.set_nonblocking(true).unwrap();
        assert!(there.accept().is_err(), "somebody came");
        there.set_nonblocking(false).unwrap();
        // Where it was allowed, somebody comes; here they are not answered.
        world.lead(&[(name, "127.0.0.1")]);
        let came = thread::spawn(move || drop(there.accept().unwrap()));
        let allowed = ["webhook", "add", &url, "--name", "allowed", "--allow-private", "hooks.example:443"];
        attache.run(&allowed).done();
        attache.run(&["webhook", "test", "allowed"]).refused(6, "hooks.example");
        came.join().unwrap();
    });
}
