//! A certificate as the credential of a connection: at nginx, which lets nobody in without one, and tells a service of ours behind
//! it whose it was, over which TLS connection, and whether that resumed another.

use std::{collections::BTreeSet, fs};

use attache::{
    Error, Kind,
    consent::{Connection, Isolation},
    secret::Secret,
    settings::{Source, Sourced},
    transport::PrivateAllowed,
};
use attache_tests::{
    Canary, Embedded,
    authority::{Authority, Certified},
    peers::{self, Peer},
    service::{Received, Service, answer, ok},
};
use serde_json::{Value, json};

use crate::hostile::BOTH;

struct Story {
    embedded: Embedded,
    authority: Authority,
    service: Service,
    /// nginx where connections stay open, and where each is closed after an answer.
    kept: String,
    closed: String,
    _nginx: Peer,
}

/// A service that knows `jo` and `al`, and nobody else.
fn story(isolation: Isolation) -> Story {
    let authority = Authority::new();
    let service = Service::start(|request| match request.header("x-client-subject") {
        Some(subject @ ("CN=jo" | "CN=al")) => ok(subject),
        _ => answer(403, &[], "nobody"),
    });
    let ports = [peers::free_port(), peers::free_port()];
    let nginx = peers::nginx_mutual_tls(&authority, ports, service.port);
    let embedded = Embedded::with("echo", isolation, |settings| {
        settings.ca_file = Some(Sourced { value: authority.certificate(), source: Source::Flag });
    });
    let [kept, closed] = ports.map(|port| format!("https://127.0.0.1:{port}"));
    Story { embedded, authority, service, kept, closed, _nginx: nginx }
}

impl Story {
    /// Connects with this certificate to a place, and to the service itself besides.
    fn connect(&self, name: &str, base: &str, certified: &Certified) -> Result<Connection, Error> {
        let mut request = self.embedded.request(name, "certificate")?;
        let authority = base.split_once("://").unwrap().1.to_owned();
        request.private = PrivateAllowed::parse([authority, self.service.authority()]).unwrap();
        request.parameters = [("base", base.to_owned()), ("other", self.service.base())]
            .map(|(name, value)| (name.to_owned(), value))
            .into();
        request.secrets = [("certificate", &certified.certificate), ("key", &certified.key)]
            .map(|(name, file)| (name.to_owned(), Secret::new(fs::read(file).unwrap())))
            .into();
        self.embedded.make(request)
    }

    #[track_caller]
    fn send(&self, name: &str, base: &str) -> Value {
        self.embedded.call(name, "send", json!({ "url": format!("{base}/me") })).unwrap()
    }

    /// What nginx told of every request of calls so far.
    fn told(&self) -> Vec<Received> {
        self.service.received().into_iter().filter(|request| request.line.contains("/me")).collect()
    }
}

/// Whose certificate it was, over which connection.
fn shown(request: &Received) -> (&str, &str) {
    (request.header("x-client-subject").unwrap(), request.header("x-connection").unwrap())
}

#[test]
fn each_connection_shows_its_own_certificate_on_tls_connections_of_its_own() {
    for isolation in BOTH {
        let story = story(isolation);
        for name in ["jo", "al"] {
            story.connect(name, &story.kept, &story.authority.client(name)).unwrap();
        }
        for _ in 0..3 {
            for name in ["jo", "al"] {
                assert_eq!(story.send(name, &story.kept)["body"], format!("CN={name}"));
            }
        }
        let told = story.told();
        assert!(told.iter().all(|request| request.header("x-client-verified") == Some("SUCCESS")), "{told:?}");
        let over: BTreeSet<_> = told.iter().map(shown).collect();
        // Three requests of each over one connection, and over none of the other's.
        let connections: BTreeSet<_> = over.iter().map(|(_, connection)| connection).collect();
        assert_eq!((told.len(), over.len(), connections.len()), (6, 2, 2), "{over:?}");
    }
}

#[test]
fn no_connection_resumes_the_tls_session_of_another() {
    let story = story(Isolation::Call);
    for name in ["jo", "al"] {
        story.connect(name, &story.closed, &story.authority.client(name)).unwrap();
    }
    for name in ["jo", "al", "jo", "al"] {
        assert_eq!(story.send(name, &story.closed)["body"], format!("CN={name}"));
    }
    // The checks while connecting are the first of each.
    let told = story.service.received();
    let seen: Vec<_> = told.iter().map(|request| (shown(request).0, request.header("x-resumed").unwrap())).collect();
    // Each resumes its own sessions here, so that it means something that `al` did not begin with one of `jo`.
    let (first, resumed) = (".", "r");
    let [jo, al] = ["CN=jo", "CN=al"];
    assert_eq!(seen, [(jo, first), (al, first), (jo, resumed), (al, resumed), (jo, resumed), (al, resumed)]);
    let connections: BTreeSet<_> = told.iter().map(|request| shown(request).1).collect();
    assert_eq!(connections.len(), told.len());
}

#[test]
fn another_certificate_is_refused_by_the_service_and_a_strangers_by_nginx() {
    let story = story(Isolation::Call);
    story.connect("eve", &story.kept, &story.authority.client("eve")).unwrap();
    let seen = story.send("eve", &story.kept);
    assert_eq!((&seen["status"], &seen["body"]), (&json!(403), &json!("nobody")), "{seen}");
    let received = story.service.received().len();
    story.connect("stranger", &story.kept, &Authority::new().client("jo")).unwrap();
    let seen = story.send("stranger", &story.kept);
    assert_eq!(seen["status"], 400, "{seen}");
    assert!(seen["body"].as_str().unwrap().contains("The SSL certificate error"), "{seen}");
    assert_eq!(story.service.received().len(), received);
    // Left out, it is not shown, and the connection over which it was shown is not used.
    story.connect("jo", &story.kept, &story.authority.client("jo")).unwrap();
    assert_eq!(story.send("jo", &story.kept)["body"], "CN=jo");
    let received = story.service.received().len();
    let input = json!({ "url": format!("{}/me", story.kept), "attach": false });
    let seen = story.embedded.call("jo", "send", input).unwrap();
    assert!(seen["body"].as_str().unwrap().contains("No required SSL certificate was sent"), "{seen}");
    assert_eq!(story.service.received().len(), received);
}

#[test]
fn a_certificate_goes_nowhere_over_plain_http() {
    const SENTENCE: &str =
        "The credential is a certificate, which is shown in a TLS handshake, and plain http has none.";
    for isolation in BOTH {
        let story = story(isolation);
        let jo = story.authority.client("jo");
        let refused = story.connect("plain", &story.service.base(), &jo).unwrap_err();
        assert_eq!((refused.kind(), refused.message()), (Kind::Denied, SENTENCE));
        story.connect("jo", &story.kept, &jo).unwrap();
        let before = story.service.received().len();
        for _ in 0..2 {
            let seen = story.send("jo", &story.service.base());
            let sentence = format!("{SENTENCE} Connect with an https URL.");
            assert_eq!(seen, json!({ "error": "denied", "sentence": sentence }));
        }
        assert_eq!(story.service.received().len(), before);
    }
}

#[test]
fn the_private_key_is_nowhere() {
    for isolation in BOTH {
        let story = story(isolation);
        let jo = story.authority.client("jo");
        story.connect("jo", &story.kept, &jo).unwrap();
        // One line of PEM is enough to know it by; the whole is searched for as well.
        let pem = fs::read_to_string(&jo.key).unwrap();
        let line = pem.lines().find(|line| !line.starts_with('-')).unwrap();
        let mut seen = vec![story.send("jo", &story.kept).to_string()];
        seen.push(story.embedded.call("jo", "connection", json!({})).unwrap().to_string());
        let audit = fs::read_to_string(story.embedded.host().audit_path()).unwrap();
        assert!(audit.contains("TLS client certificate"), "{audit}");
        story.embedded.host().close().unwrap();
        for canary in [Canary::new(line), Canary::new(&pem)] {
            seen.iter().for_each(|seen| canary.is_not_in("what the connector sees", seen.as_bytes()));
            canary.is_not_in("the audit", audit.as_bytes());
            assert!(canary.is_not_below(story.embedded.folder()) > 5);
        }
    }
}
