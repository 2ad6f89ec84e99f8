//! `attache simulate`, started for one test, and a client of OAuth 2.0 that does by hand what a test tells it.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use attache::digest::Digest;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use reqwest::{
    blocking::{Client, RequestBuilder},
    redirect::Policy,
};
use serde_json::{Value, json};
use url::Url;

use crate::Attache;

/// How long a condition may take to come true on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// Where the client of these tests has people sent back to. Nothing listens there.
pub const REDIRECT_URI: &str = "http://127.0.0.1:1/callback";
/// The client that is there unless others are given.
pub const CLIENT: (&str, &str) = ("demo", "demo-secret");

/// A provider that runs until it is dropped.
pub struct Simulated {
    child: Child,
    url: String,
    /// Where it was started, which it leaves as it was.
    pub machine: Attache,
    client: Client,
}

/// An answer, read.
#[derive(Debug, Clone)]
pub struct Answered {
    /// Of the answer.
    pub status: u16,
    /// By lower-case name.
    pub headers: BTreeMap<String, String>,
    /// As it came.
    pub text: String,
}

impl Answered {
    /// The body as JSON; null where it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_default()
    }

    /// A text of the body's members, which has to be there.
    #[track_caller]
    pub fn text_of(&self, member: &str) -> String {
        let body = self.json();
        body[member].as_str().unwrap_or_else(|| panic!("no `{member}` in {self:?}")).to_owned()
    }

    /// Demands success.
    #[track_caller]
    pub fn done(self) -> Self {
        assert_eq!(self.status, 200, "{self:?}");
        self
    }

    /// Demands a refusal with this status and this error code.
    #[track_caller]
    pub fn refused(&self, status: u16, code: &str) {
        assert_eq!((self.status, &self.json()["error"]), (status, &json!(code)), "{self:?}");
    }
}

impl Simulated {
    /// Starts one with these flags. `binary` as [`Attache::new`] takes it.
    #[track_caller]
    pub fn start(binary: &str, flags: &[&str]) -> Self {
        let machine = Attache::new(binary);
        let arguments = [&["simulate"], flags].concat();
        let mut child = machine.command(&arguments).stdout(Stdio::piped()).spawn().unwrap();
        let mut url = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut url).unwrap();
        assert!(url.starts_with("http://"), "it did not start: {url}");
        let client = Client::builder().redirect(Policy::none()).timeout(PATIENCE).build().unwrap();
        Self { child, url: url.trim().to_owned(), machine, client }
    }

    /// Its issuer: `http://127.0.0.1:PORT`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// `127.0.0.1:PORT`, as `--allow-private` takes it.
    pub fn authority(&self) -> &str {
        self.url.trim_start_matches("http://")
    }

    /// Every request to the provider so far, in order.
    pub fn log(&self) -> Vec<Value> {
        self.get("/simulate/log").done().json().as_array().unwrap().clone()
    }

    /// Those of one endpoint.
    pub fn asked(&self, endpoint: &str) -> Vec<Value> {
        self.log().into_iter().filter(|entry| entry["endpoint"] == endpoint).collect()
    }

    /// Every request for a token with that grant, at whichever endpoint.
    pub fn tokens(&self, grant: &str) -> Vec<Value> {
        self.log().into_iter().filter(|entry| entry["grant"] == grant).collect()
    }

    /// How often what was answered with which status: `counts()["api /api/me"]["200"]`.
    pub fn counts(&self) -> Value {
        self.get("/simulate/counts").done().json()
    }

    /// Moves its clock ahead.
    #[track_caller]
    pub fn advance(&self, seconds: u32) {
        self.post_json("/simulate/clock", &json!({ "advance": seconds })).done();
    }

    /// Says what the next requests of an endpoint get.
    #[track_caller]
    pub fn next(&self, act: &Value) {
        self.post_json("/simulate/next", act).done();
    }

    /// Changes settings, and gives all of them.
    #[track_caller]
    pub fn settings(&self, change: &Value) -> Value {
        self.post_json("/simulate/settings", change).done().json()
    }

    /// Waits until so many requests are held.
    #[track_caller]
    pub fn wait_until_held(&self, requests: u64) {
        let began = Instant::now();
        while self.get("/simulate/held").done().json()["held"] != requests {
            assert!(began.elapsed() < PATIENCE, "there are never {requests} requests held");
            std::thread::yield_now();
        }
    }

    /// Lets go of every request that is held.
    pub fn release(&self) {
        self.post_json("/simulate/release", &json!({})).done();
    }

    /// Asks for a path.
    #[track_caller]
    pub fn get(&self, path: &str) -> Answered {
        self.send(self.client.get(format!("{}{path}", self.url)))
    }

    /// Posts JSON to a path.
    #[track_caller]
    pub fn post_json(&self, path: &str, body: &Value) -> Answered {
        let request = self.client.post(format!("{}{path}", self.url)).body(body.to_string());
        self.send(request.header("content-type", "application/json"))
    }

    /// Posts a form to a path.
    #[track_caller]
    pub fn post(&self, path: &str, fields: &[(&str, &str)]) -> Answered {
        self.send(self.request(path).form(fields))
    }

    /// A POST to a path, to be filled and sent.
    pub fn request(&self, path: &str) -> RequestBuilder {
        self.client.post(format!("{}{path}", self.url))
    }

    /// Sends a request and demands an answer.
    #[track_caller]
    pub fn send(&self, request: RequestBuilder) -> Answered {
        self.try_send(request).unwrap()
    }

    /// Sends a request that may get no answer.
    ///
    /// # Errors
    /// Where the connection ended.
    pub fn try_send(&self, request: RequestBuilder) -> reqwest::Result<Answered> {
        let answer = request.send()?;
        let headers = answer.headers().iter();
        let headers = headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
        Ok(Answered { status: answer.status().as_u16(), headers, text: answer.text()? })
    }

    /// Asks the API with a token.
    #[track_caller]
    pub fn api(&self, path: &str, token: &str) -> Answered {
        self.send(self.client.get(format!("{}{path}", self.url)).bearer_auth(token))
    }

    /// Asks for authorization as [`CLIENT`], with these parameters over the usual ones, and gives where the person is sent
    /// back to; the provider was started with `--approve` or `--deny`. An empty value takes a parameter away.
    #[track_caller]
    pub fn authorize(&self, parameters: &[(&str, &str)]) -> Callback {
        let answer = self.get(&self.authorization(parameters));
        assert_eq!(answer.status, 303, "{answer:?}");
        Callback(Url::parse(&answer.headers["location"]).unwrap())
    }

    /// Path and query of an authorization request of [`CLIENT`], with these parameters over the usual ones.
    pub fn authorization(&self, parameters: &[(&str, &str)]) -> String {
        let challenge = challenge();
        let usual = [
            ("response_type", "code"),
            ("client_id", CLIENT.0),
            ("redirect_uri", REDIRECT_URI),
            ("state", "state-of-the-test"),
            ("scope", "items"),
            ("code_challenge", challenge.as_str()),
            ("code_challenge_method", "S256"),
        ];
        let mut url = Url::parse(&self.url).unwrap().join("/authorize").unwrap();
        url.query_pairs_mut().extend_pairs(over(&usual, parameters));
        format!("{}?{}", url.path(), url.query().unwrap())
    }

    /// Redeems a code as [`CLIENT`], with these parameters over the usual ones.
    #[track_caller]
    pub fn redeem(&self, code: &str, parameters: &[(&str, &str)]) -> Answered {
        self.post("/token", &over(&redeeming(code), parameters))
    }

    /// Refreshes as [`CLIENT`], with these parameters over the usual ones.
    #[track_caller]
    pub fn refresh(&self, token: &str, parameters: &[(&str, &str)]) -> Answered {
        self.post("/token", &over(&refreshing(token), parameters))
    }

    /// Tokens for what a person approved just now.
    #[track_caller]
    pub fn sign_in(&self, parameters: &[(&str, &str)]) -> Answered {
        self.redeem(&self.authorize(parameters).code(), &[]).done()
    }
}

/// What a request of [`CLIENT`] has that redeems a code.
pub fn redeeming(code: &str) -> [(&'static str, &str); 6] {
    [
        ("grant_type", "authorization_code"),
        ("client_id", CLIENT.0),
        ("client_secret", CLIENT.1),
        ("code", code),
        ("redirect_uri", REDIRECT_URI),
        ("code_verifier", VERIFIER),
    ]
}

/// What a refresh of [`CLIENT`] has.
pub fn refreshing(token: &str) -> [(&'static str, &str); 4] {
    [("grant_type", "refresh_token"), ("client_id", CLIENT.0), ("client_secret", CLIENT.1), ("refresh_token", token)]
}

/// Long enough for RFC 7636, 4.1.
pub const VERIFIER: &str = "a-verifier-of-the-test-which-is-43-long-at-least";

/// S256 of [`VERIFIER`].
fn challenge() -> String {
    BASE64_URL_SAFE_NO_PAD.encode(Digest::of(VERIFIER.as_bytes()).as_bytes())
}

fn over<'a>(usual: &[(&'a str, &'a str)], given: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let kept = usual.iter().filter(|(name, _)| !given.iter().any(|(other, _)| other == name));
    kept.chain(given).filter(|(_, value)| !value.is_empty()).copied().collect()
}

impl Drop for Simulated {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where a person was sent back to.
#[derive(Debug)]
pub struct Callback(pub Url);

impl Callback {
    /// A parameter that it has.
    pub fn parameter(&self, name: &str) -> Option<String> {
        self.0.query_pairs().find(|(other, _)| other == name).map(|(_, value)| value.into_owned())
    }

    /// Its code, which has to be there.
    #[track_caller]
    pub fn code(&self) -> String {
        self.parameter("code").unwrap_or_else(|| panic!("no code in {}", self.0))
    }
}
