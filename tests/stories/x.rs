//! The connector `x`, against a double of X that X's own client library, and another that X lists, have spoken with first.

use attache_tests::{
    Attache,
    world::{Double, World, with_names},
};
use serde_json::{Value, json};

const NAMES: [&str; 2] = ["x.com", "api.x.com"];

struct Story<'a> {
    world: &'a World,
    double: Double,
    attache: Attache,
}

/// The double, and a machine with the connector and a confidential app.
fn story(world: &World) -> Story<'_> {
    let double = world.double("x.mjs");
    let mut attache = world.attache(env!("CARGO_BIN_EXE_attache-under-test"));
    attache.set("X_SECRET", "x-secret-of-the-test");
    attache.add("x");
    let set = ["app", "set", "x", "--client-id", "eHgtY2xpZW50OjE6Y2k", "--client-secret", "env:X_SECRET"];
    attache.run(&set).done();
    Story { world, double, attache }
}

impl Story<'_> {
    #[track_caller]
    fn connect(&self, more: &[&str]) {
        let allowed = self.world.allowed();
        let fixed = ["connect", "x", "--timeout", "60"].into_iter().chain(allowed.iter().map(String::as_str));
        let mut running = self.attache.begin(&fixed.chain(more.iter().copied()).collect::<Vec<_>>());
        let link = running.said("http://127.0.0.1");
        let browser = self.world.browser();
        let provider = browser.submit(&browser.open(&link), &[]);
        assert_eq!(provider.url.host_str(), Some("x.com"), "{} {}", provider.url, provider.html);
        let last = browser.submit(&provider, &[]);
        assert!(last.html.contains("Connected"), "{}", last.html);
        assert!(running.ended().done().contains("Connected `x`: jo_doe."));
    }

    #[track_caller]
    fn call(&self, operation: &str, input: Value) -> Value {
        self.attache.call("x", operation, &input)
    }

    #[track_caller]
    fn refused(&self, operation: &str, input: Value, code: i32, words: &str) {
        self.attache.try_call("x", operation, &input).refused(code, words);
    }
}

#[test]
fn the_double_is_taken_for_x_by_xs_own_client() {
    with_names(&NAMES, |world| {
        let seen = world.client("x-own-client.mjs", &world.double("x.mjs"));
        assert_eq!((&seen["username"], &seen["state"]), (&json!("jo_doe"), &json!("of the test")));
        assert_eq!(seen["scope"], "users.read tweet.read tweet.write offline.access");
        let texts: Vec<String> = (1..=12).rev().map(|number| format!("Post {number}")).collect();
        assert_eq!(seen["texts"], json!(texts));
        assert_eq!((&seen["made"], &seen["deleted"]), (&json!("By the XDK"), &json!(true)));
        let statuses = ["duplicate", "few", "stranger", "limited", "ended"].map(|what| seen[what]["status"].clone());
        assert_eq!(json!(statuses), json!([403, 400, 401, 429, 401]), "{seen}");
        let limited = &seen["limited"];
        assert_eq!((&limited["detail"], &limited["remaining"]), (&json!("Too Many Requests"), &json!(0)));
        assert!((899..=900).contains(&limited["wait"].as_i64().unwrap()), "{limited}");
        assert_eq!(seen["afterwards"], "jo_doe");
        assert!(seen["spent"]["message"].as_str().unwrap().contains("invalid_request"), "{seen}");
    });
}

#[test]
fn the_double_is_taken_for_x_by_a_client_that_x_lists() {
    with_names(&NAMES, |world| {
        let seen = world.client("x-client.mjs", &world.double("x.mjs"));
        assert_eq!((&seen["username"], &seen["state"]), (&json!("jo_doe"), &json!(true)));
        let texts: Vec<String> = (1..=12).rev().map(|number| format!("Post {number}")).collect();
        assert_eq!(seen["texts"], json!(texts));
        assert_eq!((&seen["made"], &seen["deleted"]), (&json!("By the library"), &json!(true)));
        assert_eq!((&seen["duplicate"]["code"], &seen["few"]["code"]), (&json!(403), &json!(400)));
        assert_eq!(seen["stranger"]["code"], 401);
        let limited = &seen["limited"];
        assert_eq!(
            (&limited["code"], &limited["limited"], &limited["reset"]),
            (&json!(429), &json!(true), &json!(true))
        );
        // A refresh token that was used comes back: everything that came of it ends.
        assert_eq!((&seen["spent"]["code"], &seen["ended"]["code"]), (&json!(400), &json!(401)));
    });
}

#[test]
fn each_refresh_token_is_used_once_and_the_last_one_is_revoked() {
    with_names(&NAMES, |world| {
        let story = story(world);
        story.connect(&[]);
        for _ in 0..3 {
            story.double.let_it("expire");
            assert_eq!(story.call("get-me", json!({}))["username"], "jo_doe");
        }
        let tokens = story.double.asked_for("/2/oauth2/token");
        assert!(tokens.iter().all(|asked| asked["status"] == 200 && asked["in_body"] == false), "{tokens:?}");
        assert_eq!((&tokens[0]["grant_type"], &tokens[0]["bound"]), (&json!("authorization_code"), &json!(true)));
        let mut presented: Vec<String> = tokens[1..].iter().map(|asked| asked["presented"].to_string()).collect();
        presented.sort();
        presented.dedup();
        assert_eq!((tokens.len(), presented.len()), (4, 3), "{tokens:?}");
        story.attache.run(&["connection", "remove", "x", "--yes"]).done();
        let revoked = story.double.asked_for("/2/oauth2/revoke");
        assert_eq!((&revoked[0]["hint"], &revoked[0]["status"]), (&json!("refresh_token"), &json!(200)));
    });
}

#[test]
fn posts_are_listed_page_by_page() {
    with_names(&NAMES, |world| {
        let story = story(world);
        story.connect(&[]);
        let mut page = story.call("recent-posts", json!({ "page-size": 5 }));
        assert_eq!(page["posts"][0]["created"], "2026-01-01T00:00:00.000Z");
        let mut texts = Vec::new();
        loop {
            texts.extend(page["posts"].as_array().unwrap().iter().map(|post| post["text"].clone()));
            let Some(next) = page.get("next").cloned() else { break };
            page = story.call("recent-posts", json!({ "page-size": 5, "next": next }));
        }
        let all: Vec<String> = (1..=12).rev().map(|number| format!("Post {number}")).collect();
        assert_eq!(json!(texts), json!(all));
        story.refused("recent-posts", json!({ "page-size": 4 }), 2, "page-size");
        story.refused(
            "recent-posts",
            json!({ "next": "x" }),
            2,
            "`pagination_token` query parameter value is not valid",
        );
    });
}

#[test]
fn publishing_takes_a_scope_that_is_asked_for_when_it_is_wanted() {
    with_names(&NAMES, |world| {
        let story = story(world);
        story.connect(&[]);
        story.refused("create-post", json!({ "text": "Hello" }), 4, "tweet.write");
        story.attache.run(&["connection", "remove", "x", "--yes"]).done();
        story.connect(&["--scope", "tweet.write"]);
        let post = story.call("create-post", json!({ "text": "Hello" }));
        assert_eq!(post["text"], "Hello");
        story.refused(
            "create-post",
            json!({ "text": "Hello" }),
            6,
            "status 403. It says: “Forbidden: You are not allowed",
        );
        let id = json!({ "id": post["id"] });
        assert_eq!(story.call("delete-post", id.clone()), json!({ "done": true }));
        story.refused("delete-post", id, 3, "no such post");
        story.refused("delete-post", json!({ "id": "1/../../users/me" }), 2, "digits");
    });
}

#[test]
fn too_much_is_told_with_how_long_to_wait() {
    with_names(&NAMES, |world| {
        let story = story(world);
        story.connect(&[]);
        story.double.let_it("limit");
        let refused = story.attache.try_call("x", "get-me", &json!({})).refused(6, "");
        // The clock may have ticked between the two headers.
        assert!(refused.err.contains("wait 900 s") || refused.err.contains("wait 899 s"), "{}", refused.err);
    });
}
