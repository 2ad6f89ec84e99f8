//! The connector `github`, against a double of GitHub that GitHub's own client libraries have spoken with first.

use attache_tests::{
    Attache, Running,
    world::{Double, World, with_names},
};
use serde_json::{Value, json};

const NAMES: [&str; 2] = ["github.com", "api.github.com"];
const CLIENT: &str = "Iv1.0123456789abcdef";

struct Story<'a> {
    world: &'a World,
    double: Double,
    attache: Attache,
}

/// The double, and a machine with the connector and a public app.
fn story(world: &World) -> Story<'_> {
    let double = world.double("github.mjs");
    let attache = world.attache(env!("CARGO_BIN_EXE_attache-under-test"));
    attache.add("github");
    attache.run(&["app", "set", "github", "--client-id", CLIENT]).done();
    Story { world, double, attache }
}

impl Story<'_> {
    fn begin(&self, more: &[&str]) -> Running {
        let allowed = self.world.allowed();
        let allowed = allowed.iter().map(String::as_str);
        self.attache
            .begin(&["connect", "github"].into_iter().chain(allowed).chain(more.iter().copied()).collect::<Vec<_>>())
    }

    /// Types the code that is shown, as a person does on another device.
    #[track_caller]
    fn decide(&self, running: &mut Running, decision: &str) {
        let line = running.said("enter the code");
        assert!(line.contains("https://github.com/login/device"), "{line}");
        let code = line.rsplit(' ').next().unwrap();
        let browser = self.world.browser();
        let page = browser.open("https://github.com/login/device");
        assert_eq!(browser.submit(&page, &[("user_code", code), ("decision", decision)]).status, 200);
    }

    #[track_caller]
    fn connect(&self) {
        let mut running = self.begin(&["--yes"]);
        self.decide(&mut running, "yes");
        assert!(running.ended().done().contains("Connected `github`: octocat."));
    }

    #[track_caller]
    fn call(&self, operation: &str, input: Value) -> Value {
        self.attache.call("github", operation, &input)
    }

    fn tokens(&self) -> Vec<Value> {
        self.double.asked_for("/login/oauth/access_token")
    }
}

#[test]
fn the_double_is_taken_for_github_by_githubs_own_clients() {
    with_names(&NAMES, |world| {
        let double = world.double("github.mjs");
        let seen = world.client("github-client.mjs", &double);
        assert_eq!((&seen["user"], &seen["tokenType"]), (&json!("octocat"), &json!("oauth")));
        assert_eq!(seen["repositories"], json!(["octocat/hello-world", "octocat/spoon-knife", "octocat/linguist"]));
        assert_eq!((&seen["issues"], &seen["created"]), (&json!([5, 4, 3, 2, 1]), &json!(6)));
        assert_eq!((&seen["untitled"]["status"], &seen["unknown"]["status"]), (&json!(422), &json!(404)));
        assert_eq!(seen["stranger"]["status"], 401);
        // What Octokit's own throttling waits for: a second beyond the reset, and what the answer asks for.
        let limits = &seen["limits"];
        assert_eq!((&limits["primary-status"], &limits["secondary-status"]), (&json!(403), &json!(403)));
        assert!((1_800..=1_801).contains(&limits["primary"].as_u64().unwrap()), "{limits}");
        assert_eq!(limits["secondary"], 60);
        let tokens = double.asked_for("/login/oauth/access_token");
        assert_eq!(tokens[0]["error"], "authorization_pending", "{tokens:?}");
        assert_eq!(tokens.last().unwrap()["error"], Value::Null);
    });
}

#[test]
fn a_code_typed_on_another_device_signs_in_and_no_secret_is_needed() {
    with_names(&NAMES, |world| {
        let story = story(world);
        let mut running = story.begin(&["--yes"]);
        // It is asked for once too early, which GitHub answers with an error of status 200.
        while !story.tokens().iter().any(|asked| asked["error"] == "authorization_pending") {
            std::thread::yield_now();
        }
        story.decide(&mut running, "yes");
        let ended = running.ended().done();
        assert!(ended.contains("Connected `github`: octocat."), "{ended}");
        let tokens = story.tokens();
        assert!(tokens.iter().all(|asked| asked["status"] == 200 && asked["secret"] == false), "{tokens:?}");
        let user = story.call("get-user", json!({}));
        assert_eq!(user, json!({ "login": "octocat", "id": 583_231, "name": "The Octocat" }));
        let asked = story.double.asked_for("/user");
        assert_eq!(
            asked[0]["token"],
            tokens.last().unwrap()["given"],
            "the token that was given is the one that is used"
        );
    });
}

#[test]
fn a_person_who_says_no_is_believed() {
    with_names(&NAMES, |world| {
        let story = story(world);
        let mut running = story.begin(&["--yes"]);
        story.decide(&mut running, "no");
        running.ended().refused(4, "refused at https://github.com");
    });
}

#[test]
fn a_person_signs_in_with_a_browser_where_the_app_has_a_secret() {
    with_names(&NAMES, |world| {
        let mut story = story(world);
        story.attache.set("GITHUB_SECRET", "github-secret-of-the-test");
        story.attache.run(&["app", "set", "github", "--client-secret", "env:GITHUB_SECRET"]).done();
        let mut running = story.begin(&["--browser"]);
        let link = running.said("http://127.0.0.1");
        let browser = story.world.browser();
        let provider = browser.submit(&browser.open(&link), &[]);
        assert_eq!(provider.url.host_str(), Some("github.com"), "{}", provider.html);
        let scope = provider.url.query_pairs().find(|(name, _)| name == "scope").unwrap().1.into_owned();
        assert_eq!(scope, "read:user,repo");
        let last = browser.submit(&provider, &[("decision", "yes")]);
        assert!(last.html.contains("Connected"), "{}", last.html);
        running.ended().done();
        let tokens = story.tokens();
        assert_eq!((tokens.len(), &tokens[0]["bound"], &tokens[0]["secret"]), (1, &json!(true), &json!(true)));
    });
}

#[test]
fn lists_go_on_where_githubs_links_lead_and_nowhere_else() {
    with_names(&NAMES, |world| {
        let story = story(world);
        story.connect();
        let first = story.call("list-repositories", json!({ "page-size": 2 }));
        assert_eq!(first["repositories"][0]["full-name"], "octocat/hello-world");
        let second = story.call("list-repositories", json!({ "next": first["next"] }));
        assert_eq!(
            (&second["repositories"][0]["full-name"], &second["next"]),
            (&json!("octocat/linguist"), &Value::Null)
        );
        let of = |more: Value| {
            let mut input = json!({ "owner": "octocat", "repository": "hello-world" });
            input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            input
        };
        let mut page = story.call("list-issues", of(json!({ "state": "all", "page-size": 2 })));
        let mut numbers = Vec::new();
        loop {
            numbers.extend(page["issues"].as_array().unwrap().iter().map(|issue| issue["number"].clone()));
            let Some(next) = page.get("next").cloned() else { break };
            page = story.call("list-issues", of(json!({ "next": next })));
        }
        assert_eq!(numbers, [5, 4, 3, 2, 1]);
        for elsewhere in [
            "user/emails",
            "//evil.example/user/repos",
            "https://evil.example/",
            "user/repos/../emails",
            "@evil.example",
        ] {
            story
                .attache
                .try_call("github", "list-repositories", &json!({ "next": elsewhere }))
                .refused(2, "`next` is not what an earlier page of this list gave");
        }
    });
}

#[test]
fn issues_are_opened_and_what_github_refuses_is_told_in_its_words() {
    with_names(&NAMES, |world| {
        let story = story(world);
        story.connect();
        let issue = |repository: &str, title: &str| json!({ "owner": "octocat", "repository": repository, "title": title, "body": "It *breaks*", "labels": ["bug"] });
        let made = story.call("create-issue", issue("hello-world", "It breaks"));
        assert_eq!(
            (&made["number"], &made["title"], &made["labels"]),
            (&json!(6), &json!("It breaks"), &json!(["bug"]))
        );
        let refused = |input: Value, code: i32, words: &str| {
            story.attache.try_call("github", "create-issue", &input).refused(code, words);
        };
        refused(issue("hello-world", ""), 2, "Validation Failed; title missing_field");
        refused(issue("none", "x"), 3, "Not Found");
        refused(issue("spoon-knife", "x"), 6, "Issues are disabled");
        refused(issue("..", "x"), 2, "are names");
    });
}

#[test]
fn too_much_is_told_with_how_long_to_wait() {
    with_names(&NAMES, |world| {
        let story = story(world);
        story.connect();
        for (kind, wait) in [("primary", "1800 s"), ("secondary", "60 s")] {
            story.double.let_it(&format!("limit/{kind}"));
            let refused = story.attache.try_call("github", "get-user", &json!({})).refused(6, "");
            // The clock may have ticked between the two headers.
            assert!(refused.err.contains(wait) || refused.err.contains("1799 s"), "{}", refused.err);
        }
        story.call("get-user", json!({}));
    });
}
