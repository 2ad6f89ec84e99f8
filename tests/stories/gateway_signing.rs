//! Signatures that a gateway makes: of services that verify them for real, and of every attachment there is.

use std::{
    io::{Read, Write},
    net::TcpListener,
    sync::mpsc,
    thread,
    time::Duration,
};

use attache_tests::{
    authority::Authority,
    peers::{self, AZURITE_ACCOUNT, AZURITE_KEY},
    service::{Received, Service, answer, ok},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::json;

use crate::gateway::{Plant, SECRET};

#[test]
fn azurite_takes_signatures_that_the_gateway_makes() {
    let azurite = peers::azurite();
    let mut plant = Plant::reaching(&azurite.authority());
    plant.attache.add("azure-blob");
    plant.attache.set("AZURE_KEY", AZURITE_KEY);
    let (endpoint, account) =
        (format!("endpoint={}/{AZURITE_ACCOUNT}", azurite.base()), format!("account={AZURITE_ACCOUNT}"));
    let fixed = ["connect", "azure-blob", "--set", &account, "--set", &endpoint, "--secret", "key=env:AZURE_KEY"];
    plant.attache.run(&[&fixed[..], &["--gateway", "plant", "--gateway-key", &plant.key, "--yes"]].concat()).done();
    let call = |operation: &str, input| plant.attache.call("azure-blob", operation, &input);
    call("create-container", json!({ "container": "letters" }));
    for name in ["plain.txt", "with space.txt", "grüße/öl.txt", "100%41.txt", "a/b/c d/é~'(1)!.txt"] {
        call("put-blob", json!({ "container": "letters", "name": name, "text": format!("text of {name}") }));
    }
    let listed = call("list-blobs", json!({ "container": "letters" }));
    assert_eq!(listed["blobs"].as_array().map(Vec::len), Some(5), "{listed}");
}

/// What a request carried, in one text.
fn seen(request: &Received) -> String {
    format!("{} {:?} {}", request.line, request.headers, String::from_utf8_lossy(&request.body))
}

#[test]
fn every_attachment_is_put_on_by_the_gateway() {
    let service = Service::start(|request| ok(&seen(request)));
    let mut plant = Plant::reaching(&service.authority());
    plant.attache.add("echo");
    plant.attache.set("SIGNING", "c2lnbmluZy1rZXktc2lnbmluZw==");
    let secret = BASE64_STANDARD.encode(format!("jo:{SECRET}"));
    for (option, more, placed) in [
        ("header", None, format!("(\"x-api-key\", \"{SECRET}\")")),
        ("query", None, format!("key={SECRET}")),
        ("bearer", None, format!("Bearer {SECRET}")),
        ("basic", Some("user=jo"), format!("Basic {secret}")),
        ("path", None, format!("/bot{SECRET}/x")),
        ("body", None, format!("{{\"auth\":{{\"key\":\"{SECRET}\"}}}}")),
        ("signed", None, "x-signature".to_owned()),
        ("oauth1", None, "oauth_signature=".to_owned()),
        ("jwt", None, "Bearer eyJ".to_owned()),
        ("azure", None, "SharedKey account:".to_owned()),
    ] {
        let (base, key) = (format!("base={}", service.base()), if option == "azure" { "SIGNING" } else { "SECRET" });
        let (key, set) = (format!("key=env:{key}"), more.map_or(vec![], |more| vec!["--set", more]));
        let fixed = ["connect", "echo", "--name", option, "--auth", option, "--set", &base, "--secret", &key];
        let sealed = ["--gateway", "plant", "--gateway-key", &plant.key, "--yes"];
        plant.attache.run(&[&fixed[..], &sealed, &set].concat()).done();
        let method = if option == "body" { "POST" } else { "GET" };
        let input = json!({ "url": format!("{}/x", service.base()), "method": method });
        let answer = plant.attache.call(option, "send", &input).to_string();
        let received = seen(service.received().last().unwrap());
        assert!(received.contains(&placed), "{option}: {received}");
        // What the service sent back is masked before the host has it.
        assert!(!answer.contains(SECRET) && answer.contains("*****"), "{option}: {answer}");
    }
}

#[test]
fn an_s3_takes_signatures_that_the_gateway_makes() {
    let moto = peers::moto();
    let mut plant = Plant::reaching(&moto.peer.authority());
    plant.attache.add("s3");
    plant.attache.set("S3_SECRET", &moto.secret);
    let set = [
        format!("endpoint={}", moto.peer.base()),
        format!("access-key-id={}", moto.key_id),
        "region=eu-central-1".to_owned(),
    ];
    let set = set.iter().flat_map(|set| ["--set", set]);
    let fixed = ["connect", "s3", "--secret", "secret-access-key=env:S3_SECRET", "--yes"];
    let sealed = ["--gateway", "plant", "--gateway-key", &plant.key];
    plant.attache.run(&fixed.into_iter().chain(sealed).chain(set).collect::<Vec<_>>()).done();
    let call = |operation: &str, input| plant.attache.call("s3", operation, &input);
    call("create-bucket", json!({ "bucket": "letters" }));
    for key in ["plain.txt", "grüße/öl.txt", "100%41 +~.txt"] {
        call("put-object", json!({ "bucket": "letters", "key": key, "text": format!("text of {key}") }));
        assert_eq!(call("get-object", json!({ "bucket": "letters", "key": key }))["text"], format!("text of {key}"));
    }
}

#[test]
fn a_gateway_shows_the_certificate_that_was_sealed_to_it() {
    let authority = Authority::new();
    let service = Service::start(|request| match request.header("x-client-subject") {
        Some("CN=jo") => ok("jo"),
        _ => answer(403, &[], "nobody"),
    });
    let ports = [peers::free_port(), peers::free_port()];
    let _nginx = peers::nginx_mutual_tls(&authority, ports, service.port);
    let mut plant = Plant::joined();
    plant.private.configure(&format!("ca-file = \"{}\"\n", authority.certificate().display()));
    let place = format!("127.0.0.1:{}", ports[0]);
    plant.run(&[&place]);
    plant.attache.add("echo");
    let jo = authority.client("jo");
    let (base, certificate, key) = (
        format!("base=https://{place}"),
        format!("certificate=file:{}", jo.certificate.display()),
        format!("key=file:{}", jo.key.display()),
    );
    let fixed =
        ["connect", "echo", "--auth", "certificate", "--set", &base, "--secret", &certificate, "--secret", &key];
    plant.attache.run(&[&fixed[..], &["--gateway", "plant", "--gateway-key", &plant.key, "--yes"]].concat()).done();
    let input = json!({ "url": format!("https://{place}/me") });
    assert_eq!(plant.attache.call("echo", "send", &input)["status"], 200);
}

#[test]
fn whoever_gives_a_call_up_ends_the_request_at_the_service() {
    let (service, gone) = waits_for_the_end();
    let plant = Plant::reaching(&service);
    plant.connect(&format!("http://{service}"));
    let mut calling = plant.post("/slow");
    assert_eq!(gone.recv_timeout(PATIENCE), Ok("asked"));
    calling.kill();
    assert_eq!(gone.recv_timeout(PATIENCE), Ok("gone"), "the service was left with a request that nobody waits for");
}

const PATIENCE: Duration = Duration::from_secs(30);

/// A service that tells when it is asked for what is slow, and when whoever asked has gone; and where it is.
fn waits_for_the_end() -> (String, mpsc::Receiver<&'static str>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = listener.local_addr().unwrap().to_string();
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, tell) = (stream.unwrap(), tell.clone());
            thread::spawn(move || {
                let mut head = [0; 8 << 10];
                let read = stream.read(&mut head).unwrap();
                if String::from_utf8_lossy(&head[..read]).contains("/slow") {
                    tell.send("asked").unwrap();
                    while stream.read(&mut head).is_ok_and(|read| read > 0) {}
                    let _ = tell.send("gone");
                } else {
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\njo");
                }
            });
        }
    });
    (place, told)
}
