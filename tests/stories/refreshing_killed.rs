//! Hosts that are killed while they renew: whatever moment it is, the connection is usable afterwards, or says why not, and no token
//! is presented twice.

use std::{
    os::unix::process::ExitStatusExt,
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    oauth::{Story, story},
    refreshing::no_token_was_presented_twice,
};

/// Where hosts were killed that had begun to renew: the API had refused what they had.
#[derive(Debug, Default)]
struct Kills {
    before: usize,
    between: usize,
    after: usize,
    /// In the microseconds between the mark on the disk and the first byte on the wire: marked, though nothing had left.
    about_to_leave: usize,
    /// How much all of them count, and those that were about to leave, so that it is as if every moment had been as likely.
    weight: f64,
    weight_about_to_leave: f64,
}

impl Kills {
    fn all(&self) -> usize {
        self.before + self.between + self.after + self.about_to_leave
    }
}

/// How long it takes a host that nobody kills, from when the API has refused what it has.
struct Calibrated {
    /// Until the provider has its request.
    asked: Duration,
    /// Until it has ended.
    ended: Duration,
}

/// Random moments, the same for the same seed.
struct Moments {
    state: u64,
    calibrated: Calibrated,
}

impl Moments {
    fn share(&mut self) -> f64 {
        self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.state >> 33) as f64 / f64::from(u32::MAX >> 1)
    }

    /// One of the whole renewal, or of its beginning, which is a small part of it and would hardly ever be met; beyond what was
    /// measured, since a busy machine takes longer. With how much it counts among moments that are all as likely.
    fn next(&mut self) -> (Duration, f64) {
        let (beginning, whole) = (self.calibrated.asked.mul_f64(1.5), self.calibrated.ended.mul_f64(1.5));
        let within = if self.share() < 0.5 { beginning } else { whole };
        let moment = within.mul_f64(self.share());
        let [beginning, whole] = [beginning, whole].map(|it| it.as_secs_f64());
        let likely = 0.5 / whole + if moment.as_secs_f64() < beginning { 0.5 / beginning } else { 0.0 };
        (moment, 1.0 / whole / likely)
    }
}

/// The API's log tells the runs apart.
fn call(story: &Story, run: &str) -> Value {
    let input = story.url(&format!("/api/me?run={run}")).to_string();
    story.attache.run(&["call", "oauth", "send", "--input", &input]).json()
}

/// What the API prints when it refuses the token of a run.
fn refusal(run: &str) -> String {
    format!(r#""refused":true,"run":"{run}""#)
}

fn calibrated(story: &Story) -> Calibrated {
    assert_eq!(call(story, "first")["status"], 200);
    let mut log = story.oidc.peer.tail();
    thread::scope(|scope| {
        let running = scope.spawn(|| {
            assert_eq!(call(story, "second")["status"], 200);
            Instant::now()
        });
        let refused = log.wait(&refusal("second"));
        let asked = log.wait(r#""grant":"refresh_token""#) - refused;
        Calibrated { asked, ended: running.join().unwrap() - refused }
    })
}

/// Kills hosts at random moments of renewals, until there were enough of each kind and in all.
fn kill_at_random(seed: u64, enough: usize, in_all: usize) -> Kills {
    let story = story(&json!({ "once": true, "slow": 40 }));
    story.connect("discovered", &[]);
    let mut moments = Moments { state: seed, calibrated: calibrated(&story) };
    let mut kills = Kills::default();
    for round in 0.. {
        if kills.before >= enough && kills.between >= enough && kills.after >= enough && kills.all() >= in_all {
            break;
        }
        let (killed, next) = (format!("killed-{round}"), format!("next-{round}"));
        let asked_before = story.oidc.asked().len();
        let mut log = story.oidc.peer.tail();
        let input = story.url(&format!("/api/me?run={killed}")).to_string();
        let mut running = story.attache.begin(&["call", "oauth", "send", "--input", &input]);
        let (moment, weight) = moments.next();
        let refused = log.wait(&refusal(&killed));
        thread::sleep((refused + moment).saturating_duration_since(Instant::now()));
        if running.kill().signal().is_none() {
            // It was done.
            continue;
        }
        let answer = call(&story, &next);
        // Whatever the killed host had sent, the provider had it before what the next one sent.
        let asked = story.oidc.asked();
        let refused = |run: &str| asked.iter().any(|it| it.0["run"] == run && it.0["refused"] == true);
        let works = answer["status"] == 200;
        let renewals = asked[asked_before..].iter().filter(|it| it.0["grant"] == "refresh_token").count();
        // The next host renews where its token was used already, unless it knows that an answer was lost.
        let by_the_next = usize::from(works && refused(&next));
        let sent = renewals > by_the_next;
        kills.weight += weight;
        match (sent, works) {
            (false, true) => kills.before += 1,
            (true, true) => kills.after += 1,
            (true, false) => kills.between += 1,
            (false, false) => {
                kills.about_to_leave += 1;
                kills.weight_about_to_leave += weight;
            }
        }
        if !works {
            let why = answer["sentence"].as_str().unwrap();
            assert!(why.contains("its answer was lost"), "{why}");
            story.finish(story.attache.begin(&["connection", "reconnect", "oauth", "--timeout", "60"]));
        }
    }
    no_token_was_presented_twice(&story.oidc);
    kills
}

#[test]
fn hosts_killed_at_any_moment_of_a_refresh_never_present_a_token_twice() {
    // Side by side, since each waits for processes; together two hundred refreshes that a kill ended, thirty of each kind.
    let all: Vec<_> = thread::scope(|scope| {
        let running: Vec<_> = (1..=2).map(|seed| scope.spawn(move || kill_at_random(seed, 15, 100))).collect();
        running.into_iter().map(|it| it.join().unwrap()).collect()
    });
    let sum = |of: fn(&Kills) -> usize| all.iter().map(of).sum::<usize>();
    let counts = (sum(|it| it.before), sum(|it| it.between), sum(|it| it.after));
    let (total, odd) = (sum(Kills::all), sum(|it| it.about_to_leave));
    let weight = |of: fn(&Kills) -> f64| all.iter().map(of).sum::<f64>();
    let share = weight(|it| it.weight_about_to_leave) / weight(|it| it.weight);
    println!("before, between, after: {counts:?}, about to leave: {odd}, of {total} kills; of all moments {share:.4}");
    assert!(counts.0 >= 30 && counts.1 >= 30 && counts.2 >= 30 && total >= 200, "{counts:?} of {total}");
    // The mark has to be on the disk before the first byte leaves, and no host can do both at once: whoever is killed there
    // has asked nobody and cannot know it. The window begins where the disk has taken the mark, while the host waits for its
    // `fsync` to return, and ends with the first `write` to a connection that is open already: nothing is looked up, connected
    // or shaken hands over in it. What a disk takes to say that it is done is a share of a renewal, so this is no zero.
    assert!(
        share <= 0.02,
        "{share} of all moments leave a mark although the provider was never asked: {odd} of {total}"
    );
}
