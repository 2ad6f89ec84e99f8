//! Names that a connector may call, and that lead where nobody may go: here it is not the audience that refuses, but the guard
//! of addresses, whatever way the connector comes.

use std::net::ToSocketAddrs;

use attache::{Kind, consent::Isolation, transport::PrivateAllowed};
use attache_tests::{
    Embedded,
    service::{Service, answer, ok},
    world::with_hosts,
};
use serde_json::{Value, json};

use crate::hostile::BOTH;

/// In the audience; an open host; and in the audience of a connection whose operator allowed it to be private.
const NAMES: [&str; 3] = ["audience.example", "open.example", "allowed.example"];
const PUBLIC: &str = "93.184.215.14";

const LOOPBACK: &str = "this machine itself (loopback)";
const NETWORK: &str = "an address of a private network";
const LINK_LOCAL: &str = "a link-local address, where clouds give out their machines' credentials";
const METADATA: &str = "where a cloud gives out its machines' credentials";
const MULTICAST: &str = "a multicast address";

/// What an operator may allow.
const PRIVATE: [(&str, &str); 15] = [
    ("127.0.0.1", LOOPBACK),
    ("127.200.0.9", LOOPBACK),
    ("10.0.0.7", NETWORK),
    ("172.31.255.254", NETWORK),
    ("192.168.1.7", NETWORK),
    ("100.64.0.1", "an address behind a carrier's address translation"),
    ("192.0.2.1", "an address for documentation"),
    ("198.19.0.1", "an address for benchmarks"),
    ("240.0.0.1", "a reserved address"),
    ("::1", LOOPBACK),
    ("fd12:3456::7", NETWORK),
    ("::ffff:10.0.0.7", NETWORK),
    ("64:ff9b::c0a8:107", NETWORK),
    ("2002:7f00:1::", LOOPBACK),
    ("64:ff9b::5db8:d70e", "an IPv4 address inside IPv6 (NAT64)"),
];

/// What nobody may.
const NEVER: [(&str, &str); 12] = [
    ("169.254.169.254", LINK_LOCAL),
    ("169.254.1.1", LINK_LOCAL),
    ("168.63.129.16", METADATA),
    ("100.100.100.200", METADATA),
    ("0.0.0.0", "an unspecified address"),
    ("224.0.0.1", MULTICAST),
    ("255.255.255.255", "the broadcast address"),
    ("fe80::1", LINK_LOCAL),
    ("fd00:ec2::254", METADATA),
    ("ff02::1", MULTICAST),
    ("64:ff9b::a9fe:a9fe", LINK_LOCAL),
    ("2002:a9fe:a9fe::", LINK_LOCAL),
];

/// Redirects to what stands behind `/to?`.
fn redirecting() -> Service {
    Service::start(|request| {
        let target = request.line.split(' ').nth(1).unwrap();
        target.strip_prefix("/to?").map_or_else(|| ok("tester"), |to| answer(302, &[("Location", to)], ""))
    })
}

fn connected(isolation: Isolation, service: &Service) -> Embedded {
    let embedded = Embedded::new("echo", isolation);
    for (name, other, private) in [("echo", NAMES[0], None), ("allowed", NAMES[2], Some("allowed.example:443"))] {
        let mut request = embedded.request(name, "header").unwrap();
        request.private = PrivateAllowed::parse([service.authority().as_str()].into_iter().chain(private)).unwrap();
        request.parameters = [("base", service.base()), ("other", format!("https://{other}"))]
            .into_iter()
            .chain([("open", format!("https://{}", NAMES[1]))])
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        request.secrets.insert("key".into(), attache::secret::Secret::new("story-key-8f1c02"));
        embedded.make(request).unwrap();
    }
    embedded
}

/// What the connector sees of each way to a name: directly, and by a redirect of the service, which knows the credential.
fn ways(embedded: &Embedded, connection: &str, service: &Service, name: &str) -> Vec<Value> {
    let attach = name != NAMES[1];
    let direct = json!({ "url": format!("https://{name}/x"), "attach": attach });
    let led = json!({ "url": format!("{}/to?https://{name}/x", service.base()) });
    let send = |input: &Value| embedded.call(connection, "send", input.clone()).unwrap();
    // Twice, so that a kept instance tries it as well as a fresh one.
    [&direct, &led, &direct, &led].map(send).to_vec()
}

/// As the system has it, which may write an address otherwise than the file it is from.
fn resolved(name: &str) -> String {
    (name, 443).to_socket_addrs().unwrap().next().unwrap().ip().to_string()
}

#[test]
fn a_name_that_leads_where_nobody_may_go_is_refused_by_every_way_to_it() {
    let public = NAMES.map(|name| (name, PUBLIC));
    with_hosts(&public, |world| {
        for isolation in BOTH {
            world.lead(&public);
            let service = redirecting();
            let embedded = connected(isolation, &service);
            // It is let go where it leads somewhere public, or where that was allowed, so what refuses it below is not the
            // audience. Few times, since a host that does not answer is soon spared.
            for (connection, name, address) in
                [("echo", NAMES[0], PUBLIC), ("echo", NAMES[1], PUBLIC), ("allowed", NAMES[2], "127.0.0.1")]
            {
                world.lead(&[(name, address)]);
                for seen in &ways(&embedded, connection, &service, name)[..2] {
                    assert_eq!(seen["error"], "unreachable", "{name}: {seen}");
                }
            }
            for (address, why) in PRIVATE {
                world.lead(&NAMES.map(|name| (name, address)));
                for name in &NAMES[..2] {
                    let sentence = format!(
                        "`https://{name}` leads to {}, which is {why}. Allow it with `--allow-private {name}:443`.",
                        resolved(name)
                    );
                    for seen in ways(&embedded, "echo", &service, name) {
                        assert_eq!(seen, json!({ "error": "denied", "sentence": sentence }), "{address}");
                    }
                }
            }
            for (address, why) in NEVER {
                world.lead(&NAMES.map(|name| (name, address)));
                for name in NAMES {
                    let sentence = format!(
                        "`https://{name}` leads to {}, which is {why}. \
                         Nothing allows it; name the address of the service itself.",
                        resolved(name)
                    );
                    let connection = if name == NAMES[2] { "allowed" } else { "echo" };
                    for seen in ways(&embedded, connection, &service, name) {
                        assert_eq!(seen, json!({ "error": "denied", "sentence": sentence }), "{address}");
                    }
                }
            }
            // One such address among others is enough, wherever it stands.
            for mixed in [[PUBLIC, "10.0.0.7"], ["10.0.0.7", PUBLIC]] {
                world.lead(&mixed.map(|address| (NAMES[0], address)));
                for seen in ways(&embedded, "echo", &service, NAMES[0]) {
                    assert!(seen["sentence"].as_str().unwrap_or_default().contains("leads to 10.0.0.7"), "{seen}");
                }
            }
        }
    });
}

#[test]
fn an_address_that_is_written_into_an_audience_is_judged_as_one_that_a_name_leads_to() {
    let service = Service::plain();
    let embedded = Embedded::new("echo", Isolation::Call);
    let refused = |host: &str| {
        let other = format!("https://{host}:8443");
        let values = [("!key", "story-key-8f1c02"), ("other", other.as_str())];
        let refused = embedded.connect("echo", "header", &service, &values).unwrap_err();
        (refused.kind(), refused.message().to_owned())
    };
    for (host, why) in [
        ("127.0.0.1", LOOPBACK),
        ("localhost", LOOPBACK),
        ("[::1]", LOOPBACK),
        ("[::ffff:7f00:1]", LOOPBACK),
        ("[64:ff9b::7f00:1]", LOOPBACK),
        ("[2002:7f00:1::]", LOOPBACK),
        ("10.0.0.1", NETWORK),
        ("[::ffff:a00:1]", NETWORK),
        ("[fd00::1]", NETWORK),
        ("0.0.0.0", "an unspecified address"),
        ("[::]", "the unspecified address"),
        ("169.254.169.254", LINK_LOCAL),
        ("[::ffff:a9fe:a9fe]", LINK_LOCAL),
        ("[fe80::1]", LINK_LOCAL),
        ("[fd00:ec2::254]", METADATA),
    ] {
        let (kind, sentence) = refused(host);
        assert_eq!(kind, Kind::Denied, "{host}: {sentence}");
        assert!(
            sentence.ends_with(&format!(", which is {why}.")) || sentence.ends_with(&format!(" is {why}.")),
            "{sentence}"
        );
    }
    // What would be read otherwise than a person reads it is not taken at all.
    for host in
        ["127.1", "2130706433", "0x7f.1", "0177.0.0.1", "１２７.0.0.1", "127。0。0。1", "10.1", "0", "0xa9fea9fe"]
    {
        let (kind, sentence) = refused(host);
        assert_eq!(kind, Kind::InvalidInput, "{host}: {sentence}");
        assert!(sentence.ends_with("has a host that is read as another than it is written."), "{host}: {sentence}");
    }
}
