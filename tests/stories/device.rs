//! Signing in on another device (RFC 8628): how often the provider is asked whether the person has decided, and when that ends.

use attache::{
    Error, Kind,
    connect::{ConnectProposal, SignedIn},
    consent::{Isolation, oauth2::DeviceAuthorization},
    manifest::oauth2::Grant,
    transport::PrivateAllowed,
};
use attache_tests::{
    Attache, Browser, Embedded, Running,
    simulate::{CLIENT, Simulated},
};
use serde_json::{Value, json};

const BINARY: &str = env!("CARGO_BIN_EXE_attache-under-test");

/// A host that has a code for another device, and asks when a story says so: the provider's clock is moved, nobody waits.
struct Story {
    embedded: Embedded,
    simulated: Simulated,
    proposal: ConnectProposal,
    device: DeviceAuthorization,
}

fn story(flags: &[&str]) -> Story {
    story_by("discovered", flags)
}

fn story_by(option: &str, flags: &[&str]) -> Story {
    let (embedded, simulated) = (Embedded::new("oauth", Isolation::Call), Simulated::start(BINARY, flags));
    embedded.set_app(CLIENT, simulated.url());
    let mut request = embedded.request("me", option).unwrap();
    request.private = PrivateAllowed::parse([simulated.authority()]).unwrap();
    request.grant = Some(Grant::DeviceCode);
    request.parameters = ["base", "issuer"].map(|name| (name.to_owned(), simulated.url().to_owned())).into();
    let proposal = embedded.block_on(embedded.host().propose_connection(request)).unwrap();
    let device = embedded.block_on(embedded.host().begin_device(&proposal)).unwrap();
    Story { embedded, simulated, proposal, device }
}

impl Story {
    /// Asks once, and connects where the person has agreed. Whether there is a connection now.
    fn ask(&mut self) -> Result<bool, Error> {
        let host = self.embedded.host();
        let granted = self.embedded.block_on(host.poll_device(&self.proposal, &mut self.device))?;
        let Some(granted) = granted else { return Ok(false) };
        self.embedded.block_on(host.connect(&self.proposal, SignedIn::Elsewhere(granted)))?;
        Ok(true)
    }

    /// The same after as long as the provider wants.
    fn ask_in_time(&mut self) -> Result<bool, Error> {
        self.simulated.advance(u32::try_from(self.device.interval.as_secs()).unwrap());
        self.ask()
    }

    fn interval(&self) -> u64 {
        self.device.interval.as_secs()
    }

    fn agree(&self) {
        let typed = [("user_code", self.device.user_code.as_str()), ("decision", "yes")];
        self.simulated.post("/device", &typed).done();
    }

    #[track_caller]
    fn works(&self) {
        let input = json!({ "url": format!("{}/api/me", self.simulated.url()) });
        assert_eq!(self.embedded.call("me", "send", input).unwrap()["status"], 200);
    }
}

fn polls(simulated: &Simulated) -> Vec<Value> {
    simulated.tokens("urn:ietf:params:oauth:grant-type:device_code")
}

/// What the provider was asked at which time, in seconds from one to the next.
fn gaps(simulated: &Simulated) -> Vec<f64> {
    let at: Vec<f64> = polls(simulated).iter().map(|asked| asked["at"].as_f64().unwrap()).collect();
    at.windows(2).map(|two| two[1] - two[0]).collect()
}

#[test]
fn whoever_is_told_to_slow_down_asks_less_often_from_then_on() {
    let mut story = story(&[]);
    assert_eq!(story.interval(), 5);
    assert!(!story.ask().unwrap());
    for slower in [10, 15] {
        assert!(!story.ask().unwrap(), "it is asked at once, which is too soon");
        assert_eq!(story.interval(), slower);
    }
    for _ in 0..3 {
        assert!(!story.ask_in_time().unwrap());
        assert_eq!(story.interval(), 15, "in time, and as slow as before");
    }
    story.agree();
    assert!(story.ask_in_time().unwrap());
    story.works();
    let asked = polls(&story.simulated);
    let outcomes: Vec<&str> = asked.iter().map(|it| it["outcome"].as_str().unwrap()).collect();
    let pending = "authorization_pending";
    assert_eq!(outcomes, [pending, "slow_down", "slow_down", pending, pending, pending, "ok"]);
}

#[test]
fn a_provider_that_fails_for_a_while_is_asked_again() {
    // Regression: the first 503, or 429 of whatever stands before the provider, ended the sign-in.
    let mut story = story(&[]);
    let fails = |story: &Story, status: u16, wait: Option<&str>| {
        let headers = wait.map(|wait| json!({ "retry-after": wait })).unwrap_or(json!({}));
        story.simulated.next(&json!({ "endpoint": "token", "status": status, "headers": headers, "body": "later" }));
    };
    for (status, wait, interval) in [(503, None, 10), (429, None, 20), (503, Some("50"), 50), (503, Some("999"), 120)] {
        fails(&story, status, wait);
        assert!(!story.ask_in_time().unwrap(), "{status}");
        assert_eq!(story.interval(), interval, "{status} {wait:?}");
    }
    story.simulated.next(&json!({ "endpoint": "token", "drop": "before" }));
    assert!(!story.ask_in_time().unwrap(), "an answer that was lost");
    story.agree();
    assert!(story.ask_in_time().unwrap());
    story.works();
}

#[test]
fn a_look_up_that_fails_when_the_code_is_spent_does_not_ask_with_it_again() {
    // Regression: it was asked with again, and the person read that their code was refused.
    let mut story = story_by("looks-up", &[]);
    story.agree();
    story.simulated.next(&json!({ "endpoint": "api", "times": 9, "drop": "before" }));
    let refused = story.ask_in_time().unwrap_err();
    assert_eq!(refused.kind(), Kind::Unreachable, "{refused}");
    assert_eq!(polls(&story.simulated).len(), 1);
}

#[test]
fn a_provider_whose_refusals_have_status_200_is_waited_for_too() {
    let mut story = story(&["--quirk", "error-in-200"]);
    assert!(!story.ask().unwrap());
    assert!(!story.ask().unwrap(), "it is asked at once, which is too soon");
    assert_eq!(story.interval(), 10);
    story.agree();
    assert!(story.ask_in_time().unwrap());
    story.works();
    let outcomes: Vec<Value> = polls(&story.simulated).iter().map(|it| it["outcome"].clone()).collect();
    assert_eq!(outcomes, ["authorization_pending", "slow_down", "ok"]);
}

#[test]
fn what_only_the_operator_can_mend_ends_it_at_once() {
    let mut story = story(&[]);
    let refusal = json!({ "error": "invalid_client" });
    story.simulated.next(&json!({ "endpoint": "token", "status": 401, "body": refusal }));
    let refused = story.ask().unwrap_err();
    assert_eq!(refused.kind(), Kind::ServiceFailed, "{refused}");
    assert!(refused.message().contains("`invalid_client`"), "{refused}");
}

#[test]
fn a_code_that_ran_out_is_said_to_have_run_out() {
    let mut story = story(&["--device-lifetime", "60"]);
    assert!(!story.ask().unwrap());
    story.simulated.advance(60);
    let refused = story.ask().unwrap_err();
    assert_eq!(refused.kind(), Kind::ConsentNeeded, "{refused}");
    assert!(refused.message().contains("before the code ran out"), "{refused}");
}

/// The same by the command, which has to wait itself.
fn command(flags: &[&str]) -> (Attache, Simulated, Running) {
    let (mut attache, simulated) = (Attache::new(BINARY), Simulated::start(BINARY, flags));
    attache.set("SECRET", CLIENT.1);
    attache.add("oauth");
    let app = ["app", "set", "oauth", "--client-id", CLIENT.0, "--client-secret", "env:SECRET", "--origin"];
    attache.run(&[&app[..], &[simulated.url()]].concat()).done();
    let set = ["base", "issuer"].map(|name| format!("{name}={}", simulated.url()));
    let connect = ["connect", "oauth", "--auth", "discovered", "--device", "--yes", "--set", &set[0], "--set", &set[1]];
    let running = attache.begin(&[&connect[..], &["--allow-private", simulated.authority()]].concat());
    (attache, simulated, running)
}

#[test]
fn the_command_waits_as_long_as_the_provider_wants() {
    let (_attache, simulated, mut running) = command(&["--device-interval", "1"]);
    simulated.next(&json!({ "endpoint": "token", "status": 503 }));
    let line = running.said("enter the code");
    let code = line.rsplit(' ').next().unwrap();
    while polls(&simulated).len() < 2 {
        std::thread::yield_now();
    }
    simulated.post("/device", &[("user_code", code), ("decision", "yes")]).done();
    running.ended().done();
    let gaps = gaps(&simulated);
    assert!(gaps.len() >= 2 && gaps.iter().all(|gap| *gap >= 2.0), "twice the second, since it failed once: {gaps:?}");
    let begun = simulated.asked("device-authorization")[0]["at"].as_f64().unwrap();
    assert!(polls(&simulated)[0]["at"].as_f64().unwrap() - begun >= 1.0, "not before the first interval is over");
}

#[test]
fn the_command_ends_when_the_code_does_or_the_person_says_no() {
    let (attache, simulated, running) = command(&["--device-interval", "1", "--device-lifetime", "1"]);
    running.ended().refused(4, "before the code ran out");
    assert!(polls(&simulated).is_empty(), "the first question would have come too late");
    assert_eq!(attache.run(&["connection", "list", "--output", "json"]).json(), json!([]));
    came_to_nothing(&attache, "sign-in-refused", "before the code ran out");
    let (attache, simulated, running) = command(&["--device-interval", "1", "--deny"]);
    running.ended().refused(4, "`access_denied`");
    assert_eq!(attache.run(&["connection", "list", "--output", "json"]).json(), json!([]));
    assert_eq!(polls(&simulated).len(), 1);
    came_to_nothing(&attache, "sign-in-refused", "`access_denied`");
}

/// Demands that the audit says once how the sign-in ended.
#[track_caller]
fn came_to_nothing(attache: &Attache, event: &str, reason: &str) {
    let lines = attache.run(&["audit", "list", "--output", "json", "--event", event]).json();
    assert_eq!(lines.as_array().unwrap().len(), 1, "{lines}");
    assert!(lines[0]["reason"].as_str().unwrap().contains(reason), "{lines}");
}

#[test]
fn a_sign_in_that_only_the_operator_can_mend_is_written_down_as_failed() {
    let (attache, simulated, running) = command(&["--device-interval", "1"]);
    simulated.next(&json!({ "endpoint": "token", "status": 401, "body": { "error": "invalid_client" } }));
    running.ended().refused(6, "`invalid_client`");
    came_to_nothing(&attache, "sign-in-failed", "`invalid_client`");
}

#[test]
fn a_link_that_has_the_code_in_it_is_shown_and_signs_in_without_typing_it() {
    // What goes wrong ends soon.
    let lasts = ["--device-interval", "1", "--device-lifetime", "60"];
    let (mut attache, simulated) = (Attache::new(BINARY), Simulated::start(BINARY, &lasts));
    attache.set("SECRET", CLIENT.1);
    attache.add("oauth");
    let app = ["app", "set", "oauth", "--client-id", CLIENT.0, "--client-secret", "env:SECRET", "--origin"];
    attache.run(&[&app[..], &[simulated.url()]].concat()).done();
    let set = ["base", "issuer"].map(|parameter| format!("{parameter}={}", simulated.url()));
    let connect = ["connect", "oauth", "--auth", "discovered", "--device", "--yes", "--set", &set[0], "--set", &set[1]];
    let mut running = attache.begin(&[&connect[..], &["--allow-private", simulated.authority()]].concat());
    // RFC 8628, 3.3.1.
    let line = running.said("or open ");
    let complete = line.trim_start().trim_start_matches("or open ").trim();
    assert!(complete.starts_with(simulated.url()) && complete.contains("?user_code="), "{line}");
    let browser = Browser::new();
    let page = browser.open(complete);
    browser.submit(&page, &[("decision", "yes")]);
    running.ended().done();
    // One that does not give it is shown without.
    let mut story = story(&[]);
    assert!(story.device.verification_uri_complete.is_some());
    story
        .simulated
        .next(&json!({ "endpoint": "device-authorization", "merge": { "verification_uri_complete": null } }));
    story.device = story.embedded.block_on(story.embedded.host().begin_device(&story.proposal)).unwrap();
    assert_eq!(story.device.verification_uri_complete, None);
}
