//! A gateway gets another key while something waits for it.

use attache_tests::peers::oidc;
use serde_json::json;

use crate::{gateway_oauth::Story, mcp::soon, operating::metrics};

// Regression: once the renewal gave up, it put back what was sealed to the key before, which nobody has any longer.
#[test]
fn a_renewal_that_waits_for_the_gateway_leaves_what_is_sealed_to_the_new_key() {
    let oidc = oidc(&json!({ "access": 2 }));
    let mut story = Story::of(&oidc);
    story.connect("discovered", &[]);
    story.plant.running = None;
    story.until_its_token_runs_out();
    let waits = story.begin_to_send();
    soon("nobody calls", || metrics(&story.plant.attache).contains("attache_calls_under_way 1"));
    story.plant.private.run(&["gateway", "rotate-key"]).done();
    story.plant.run(&[&oidc.peer.authority()]);
    let told = waits.ended().done();
    let sent = story.send();
    assert_eq!(sent["status"], 200, "{sent}");
    assert!(told.contains("The gateway got another key while this waited for it."), "{told}");
    let asked = oidc.tokens("refresh_token");
    assert!(asked.iter().all(|it| it.0["status"] == 200), "none was presented twice: {asked:?}");
}
