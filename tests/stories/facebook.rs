//! The connector `facebook`, against a double of Facebook that Facebook's own SDK has spoken with first.

use std::{thread, time::Duration};

use attache_tests::{
    Attache,
    world::{Double, World, with_names},
};
use serde_json::{Value, json};

const NAMES: [&str; 2] = ["www.facebook.com", "graph.facebook.com"];
const TOKENS: &str = "/v24.0/oauth/access_token";

struct Story<'a> {
    world: &'a World,
    double: Double,
    attache: Attache,
}

/// The double, which wants every call to be proven, and a machine with the connector and an app.
fn story(world: &World) -> Story<'_> {
    let double = world.double("facebook.mjs");
    double.let_it("prove");
    let mut attache = world.attache(env!("CARGO_BIN_EXE_attache-under-test"));
    attache.set("FACEBOOK_SECRET", "facebook-secret-of-the-test");
    attache.add("facebook");
    let set = ["app", "set", "facebook", "--client-id", "1234567890", "--client-secret", "env:FACEBOOK_SECRET"];
    attache.run(&set).done();
    Story { world, double, attache }
}

impl Story<'_> {
    #[track_caller]
    fn connect(&self, more: &[&str], account: &str) -> String {
        let allowed = self.world.allowed();
        let fixed = ["connect", "facebook", "--timeout", "60"].into_iter().chain(allowed.iter().map(String::as_str));
        let mut running = self.attache.begin(&fixed.chain(more.iter().copied()).collect::<Vec<_>>());
        let link = running.said("http://127.0.0.1");
        let browser = self.world.browser();
        let provider = browser.submit(&browser.open(&link), &[]);
        assert_eq!(provider.url.host_str(), Some("www.facebook.com"), "{} {}", provider.url, provider.html);
        let parameters: Vec<_> = provider.url.query_pairs().map(|(name, _)| name.into_owned()).collect();
        assert!(!parameters.contains(&"code_challenge".to_owned()), "{parameters:?}");
        let last = browser.submit(&provider, &[]);
        assert!(last.html.contains("Connected"), "{}", last.html);
        let out = running.ended().done();
        assert!(out.contains(&format!("Connected `facebook`: {account}.")), "{out}");
        out
    }

    #[track_caller]
    fn connect_person(&self) {
        let out = self.connect(&["--auth", "user"], "Jo Doe");
        assert!(!out.contains("did not grant"), "{out}");
    }

    #[track_caller]
    fn call(&self, operation: &str, input: Value) -> Value {
        self.attache.call("facebook", operation, &input)
    }

    #[track_caller]
    fn refused(&self, operation: &str, input: Value, code: i32, words: &str) {
        self.attache.try_call("facebook", operation, &input).refused(code, words);
    }

    fn exchanges(&self) -> Vec<Value> {
        let tokens = self.double.asked_for(TOKENS);
        tokens.into_iter().filter(|asked| asked["grant_type"] == "fb_exchange_token").collect()
    }
}

#[test]
fn the_double_is_taken_for_facebook_by_facebooks_own_sdk() {
    with_names(&NAMES, |world| {
        let seen = world.client("facebook-client.mjs", &world.double("facebook.mjs"));
        assert_eq!((&seen["name"], &seen["lasts"]), (&json!("Jo Doe"), &json!([5_400, 5_183_944])));
        assert_eq!((&seen["pages"], &seen["post"]), (&json!(["Bakery", "Brewery", "Bookshop"]), &json!(true)));
        let codes = ["unproven", "stranger", "person", "unknown"].map(|name| seen[name]["code"].clone());
        assert_eq!(json!(codes), json!([100, 190, 200, 100]));
        assert_eq!(seen["unknown"]["subcode"], 33);
        let limited = &seen["limited"];
        assert_eq!(
            (&limited["status"], &limited["code"], &seen["afterwards"]),
            (&json!(403), &json!(4), &seen["name"])
        );
    });
}

#[test]
fn what_the_sign_in_gave_is_exchanged_for_a_longer_one_and_that_is_used_and_proven() {
    with_names(&NAMES, |world| {
        let story = story(world);
        story.connect_person();
        assert_eq!(story.call("get-me", json!({})), json!({ "id": "10001", "name": "Jo Doe" }));
        let tokens = story.double.asked_for(TOKENS);
        assert_eq!((tokens.len(), &tokens[0]["bound"]), (2, &json!(false)));
        assert_eq!(tokens[1]["presented"], tokens[0]["given"], "the short-lived one is exchanged");
        let asked = story.double.asked_for("/v24.0/me");
        assert!(asked.iter().all(|asked| asked["token"] == tokens[1]["given"] && asked["proof"] == true), "{asked:?}");
    });
}

#[test]
fn a_token_is_exchanged_itself_while_it_is_good_since_there_is_no_refresh_token() {
    // Regression: it was exchanged when it had all but run out, and one that nobody used in that minute was lost.
    with_names(&NAMES, |world| {
        let story = story(world);
        story.double.let_it("lifetime/12");
        story.connect_person();
        // Called until half of its time is over.
        while story.exchanges().len() < 2 {
            story.call("get-me", json!({}));
        }
        let exchanges = story.exchanges();
        assert_eq!(exchanges[1]["presented"], exchanges[0]["given"]);
        assert!(exchanges.iter().all(|asked| asked["status"] == 200), "{exchanges:?}");
        assert!(exchanges[1]["left"].as_i64() > Some(2_000), "it was good for a while yet: {exchanges:?}");
        let asked = story.double.asked_for("/v24.0/me");
        assert!(asked.iter().all(|asked| asked["status"] == 200), "nothing had run out: {asked:?}");
    });
}

#[track_caller]
fn costs_nothing_and_is_made_later(world: &World, how: &str, status: u16) {
    let story = story(world);
    story.double.let_it("lifetime/20");
    story.connect_person();
    story.double.let_it(&format!("exchange/{how}"));
    while story.exchanges().len() < 3 {
        assert_eq!(story.call("get-me", json!({}))["name"], "Jo Doe", "what is good yet is used");
        // The next is made after a while, and others compute meanwhile.
        thread::sleep(Duration::from_millis(250));
    }
    let exchanges = story.exchanges();
    assert_eq!(exchanges[1]["status"], status, "{exchanges:?}");
    assert_eq!(exchanges[2]["presented"], exchanges[0]["given"], "{exchanges:?}");
    let asked = story.double.asked_for("/v24.0/me");
    assert!(asked.iter().all(|asked| asked["status"] == 200), "{asked:?}");
}

#[test]
fn an_exchange_that_fails_by_a_limit_costs_nothing_and_is_made_later() {
    with_names(&NAMES, |world| costs_nothing_and_is_made_later(world, "limited", 403));
}

#[test]
fn an_exchange_that_fails_where_the_service_is_away_costs_nothing_and_is_made_later() {
    with_names(&NAMES, |world| costs_nothing_and_is_made_later(world, "away", 503));
}

#[test]
fn an_exchange_that_fails_by_a_lost_answer_costs_nothing_and_is_made_later() {
    with_names(&NAMES, |world| costs_nothing_and_is_made_later(world, "lost", 200));
}

#[test]
fn a_token_that_has_run_out_is_said_to_have_in_facebooks_words() {
    with_names(&NAMES, |world| {
        let story = story(world);
        story.double.let_it("lifetime/1");
        story.connect_person();
        let mut ended = story.attache.try_call("facebook", "get-me", &json!({}));
        while ended.code == Some(0) {
            ended = story.attache.try_call("facebook", "get-me", &json!({}));
        }
        ended.refused(4, "It says: “Error validating access token: Session has expired.”");
    });
}

#[test]
fn pages_are_listed_by_cursors_and_without_their_tokens() {
    with_names(&NAMES, |world| {
        let story = story(world);
        story.connect_person();
        let first = story.call("list-pages", json!({ "limit": 2 }));
        assert_eq!(first["pages"][0], json!({ "id": "20001", "name": "Bakery", "category": "Local business" }));
        let second = story.call("list-pages", json!({ "limit": 2, "next": first["next"] }));
        assert_eq!((&second["pages"][0]["name"], second.get("next")), (&json!("Bookshop"), None));
        story.refused("create-page-post", json!({ "message": "x" }), 4, "attache connect facebook --auth page");
    });
}

#[test]
fn a_page_publishes_with_a_token_of_its_own() {
    with_names(&NAMES, |world| {
        let story = story(world);
        story.connect(&["--auth", "page", "--set", "page-id=20002"], "Brewery");
        let post = story.call("create-page-post", json!({ "message": "New beer", "link": "https://brewery.example" }));
        assert!(post["id"].as_str().unwrap().starts_with("20002_"), "{post}");
        story.refused("list-pages", json!({}), 2, "auth option `user`");
        story.refused("create-page-post", json!({ "message": "" }), 2, "Missing message or attachment");
        let posted = story.double.asked_for("/v24.0/20002/feed");
        assert_eq!(posted[0]["proof"], true);
        assert_ne!(posted[0]["token"], story.exchanges()[0]["given"], "not the person's");
    });
}

#[test]
fn what_a_person_unticks_is_told_and_not_called_for() {
    // Regression: Facebook's token answer says nothing of it, so that all was taken for granted.
    with_names(&NAMES, |world| {
        let story = story(world);
        story.double.let_it("untick/pages_manage_posts");
        let out = story.connect(&["--auth", "page", "--set", "page-id=20002"], "Brewery");
        assert!(out.contains("The provider did not grant pages_manage_posts"), "{out}");
        story.refused("create-page-post", json!({ "message": "x" }), 4, "--scope pages_manage_posts");
        assert!(story.double.asked_for("/v24.0/20002/feed").is_empty());
        assert_eq!(story.call("get-me", json!({}))["name"], "Brewery");
    });
}

#[test]
fn the_service_s_own_codes_say_what_went_wrong() {
    with_names(&NAMES, |world| {
        let story = story(world);
        story.connect_person();
        for code in [4, 17, 32, 613] {
            story.double.let_it(&format!("refuse/{code}"));
            story.refused("get-me", json!({}), 6, "there were too many calls");
        }
        story.double.let_it("refuse/190");
        story.refused("get-me", json!({}), 6, "refuses the credential. It says: “Error validating access token");
        story.double.let_it("refuse/2");
        story.refused("get-me", json!({}), 6, "status 400");
    });
}
