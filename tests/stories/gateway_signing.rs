//! Signatures that a gateway makes: of services that verify them for real, and of every attachment there is.

use attache_tests::{
    peers::{self, AZURITE_ACCOUNT, AZURITE_KEY},
    service::{Received, Service, ok},
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
