//! What a token endpoint answers (RFC 6749, 5): a token, a refusal, or neither.

use std::time::Duration;

use jiff::Timestamp;
use oauth2::basic::{BasicErrorResponse, BasicErrorResponseType};
use serde::Deserialize;

use super::{Client, device};
use crate::{
    consent::{
        Captured,
        answer::Answer,
        refusal,
        step::{self, Failure},
    },
    error::Kind,
    manifest::{
        Values,
        declared::CaptureFrom,
        login::{ACCESS_TOKEN, REFRESH_TOKEN},
    },
    secret::Secret,
    text,
    transport::Incoming,
};

/// Token types that a bearer attachment cannot use (RFC 6749, 7.1): the token is bound to something.
const BOUND: [&str; 4] = ["mac", "pop", "dpop", "n_a"];
/// As many as a connector may declare.
const MOST_SCOPES: usize = 500;

/// What was answered to a token request; `made` are secrets that went with it beside the values.
pub(super) fn read(
    client: &Client,
    incoming: Incoming,
    origin: &str,
    values: &mut Values,
    made: &[Secret],
    refresh: bool,
) -> Result<Captured, Failure> {
    let status = incoming.status;
    let wait = refusal::wait(&incoming.headers);
    // What is no JSON comes of something that stands before the provider: a gateway, a page that says to come back later.
    let is_json = serde_json::from_slice::<serde::de::IgnoredAny>(&incoming.body).is_ok();
    let said_no = serde_json::from_slice::<BasicErrorResponse>(&incoming.body).ok();
    let answer = Answer::read(incoming);
    // In a form, too; and in JSON that is in no encoding that JSON may be in.
    let said_no = said_no.or_else(|| {
        let content = Some(answer.content()).filter(|_| !answer.says_twice())?;
        BasicErrorResponse::deserialize(content).ok()
    });
    let said_no = said_no.filter(|said| !said.error().as_ref().is_empty());
    // Some say with 429 that nobody has decided yet.
    if let Some(undecided) = said_no.as_ref().and_then(undecided) {
        return Err(undecided);
    }
    if refusal::is_passing_status(status) {
        return Err(Failure::later(
            Kind::ServiceFailed
                .error(format!("{origin} issues no token now: it answered with status {}.", status.as_u16()))
                .hint("It is asked again later."),
            wait,
        ));
    }
    if let Some(said_no) = said_no {
        return Err(refused(&said_no, origin, wait, (values, made), refresh));
    }
    let says = refusal::says(answer.content(), values.secret().values().chain(made));
    if !status.is_success() {
        let status = status.as_u16();
        let error = |kind: Kind| {
            kind.error(format!(
                "{origin} issues no token: it answered with status {status}, which is no answer of OAuth 2.0.{says}"
            ))
        };
        return Err(match status {
            400 | 401 if is_json && !refusal::passes(answer.content()) => Failure::Refused(
                error(Kind::ReconnectNeeded).hint("`attache connection reconnect NAME` signs in again."),
            ),
            400..=499 if client.shows_certificate() => Failure::later(
                error(Kind::ServiceFailed).hint(
                    "The app's client certificate may be why: what stands before the provider looks at it first. `attache app set` replaces it.",
                ),
                wait,
            ),
            _ => Failure::later(error(Kind::ServiceFailed).hint("It is asked again later."), wait),
        });
    }
    if answer.says_twice() {
        return Err(odd(origin, "it has a member twice, so that nobody can tell which one counts"));
    }
    let text_at = |pointer: &str| answer.find(&CaptureFrom::Answer(pointer.into())).filter(|found| !found.is_empty());
    if let Some(kind) = text_at("/token_type").and_then(|kind| String::from_utf8(kind.expose().to_vec()).ok())
        && BOUND.contains(&kind.to_ascii_lowercase().as_str())
    {
        return Err(odd(origin, "the token is of a type that cannot be sent as a bearer"));
    }
    let mut captured = Captured::default();
    for name in [ACCESS_TOKEN, REFRESH_TOKEN] {
        if let Some(token) = answer.content()[name].as_str().filter(|token| !token.is_empty()) {
            captured.values.insert(name.to_owned(), Secret::new(token));
        }
    }
    if let Some(lifetime) = text_at("/expires_in") {
        captured.expires = step::expiry("expires_in", &lifetime, Timestamp::now());
    }
    captured.scopes = text_at("/scope").map(|scope| split_scopes(client, &scope)).unwrap_or_default();
    for capture in &client.settings.capture {
        if !matches!(capture.at, CaptureFrom::Callback(_)) {
            step::keep(capture, &answer, (origin, &says), values, &mut captured).map_err(Failure::Lost)?;
        }
    }
    let tokens = [ACCESS_TOKEN, REFRESH_TOKEN].map(|name| captured.values.get(name));
    if tokens[0].is_none() {
        return Err(odd(origin, "there is no access token in it"));
    }
    if !tokens.into_iter().flatten().all(is_sendable) {
        return Err(odd(origin, "a token in it has characters that no token may have"));
    }
    Ok(captured)
}

/// RFC 6749, A.12 and A.17.
fn is_sendable(token: &Secret) -> bool {
    token.expose().iter().all(|byte| matches!(byte, b' '..=b'~'))
}

pub(super) fn split_scopes(client: &Client, scope: &Secret) -> Vec<String> {
    let text = String::from_utf8_lossy(scope.expose()).into_owned();
    let separators = client.settings.scope_separator.as_str();
    let split = text.split(|c: char| c == ' ' || separators.contains(c));
    let scopes = split.filter(|scope| !scope.is_empty()).map(|scope| text::foreign(scope, 500));
    scopes.take(MOST_SCOPES).collect()
}

/// RFC 8628, 3.5.
fn undecided(refusal: &BasicErrorResponse) -> Option<Failure> {
    match refusal.error().as_ref() {
        "authorization_pending" => Some(Failure::Undecided { slower: false }),
        "slow_down" => Some(Failure::Undecided { slower: true }),
        _ => None,
    }
}

/// A refusal in the provider's words (RFC 6749, 5.2).
fn refused(
    said_no: &BasicErrorResponse,
    origin: &str,
    wait: Option<Duration>,
    (values, made): (&Values, &[Secret]),
    refresh: bool,
) -> Failure {
    let told = |words: &str| refusal::told(words, values.secret().values().chain(made));
    let code = text::foreign(&told(said_no.error().as_ref()), 60);
    let words = said_no.error_description().map(|words| told(words)).unwrap_or_default();
    let says = text::says(&words, refusal::LONGEST_WORDS);
    let of_app = |what: &str| {
        Failure::OfApp(
            Kind::ServiceFailed
                .error(format!("{origin} {what} (`{code}`).{says}"))
                .hint("Correct the app with `attache app set`; the connection itself may be good."),
            wait,
        )
    };
    // `invalid_grant` is final, and so is what a provider invented for it.
    let final_word = || {
        Failure::Refused(
            Kind::ReconnectNeeded
                .error(format!("{origin} no longer accepts what the connection was made with (`{code}`).{says}"))
                .hint("`attache connection reconnect NAME` signs in again."),
        )
    };
    match said_no.error() {
        BasicErrorResponseType::InvalidClient | BasicErrorResponseType::UnauthorizedClient => {
            of_app("does not accept the app's client id or proof")
        }
        // Some say so of a renewal token that is over (X).
        BasicErrorResponseType::InvalidRequest if refresh => final_word(),
        BasicErrorResponseType::UnsupportedGrantType | BasicErrorResponseType::InvalidRequest => {
            of_app("does not understand what it is asked")
        }
        BasicErrorResponseType::InvalidScope => Failure::Refused(
            Kind::ConsentNeeded
                .error(format!("{origin} does not grant what is asked for (`{code}`).{says}"))
                .hint("`attache connection reconnect NAME` asks for the connector's own scopes."),
        ),
        BasicErrorResponseType::Extension(extension) => match extension.as_str() {
            word if refusal::is_passing(word) => Failure::later(
                Kind::ServiceFailed.error(format!("{origin} issues no token now (`{code}`).{says}")),
                wait,
            ),
            "expired_token" => Failure::Refused(device::expired()),
            "access_denied" => Failure::Refused(
                Kind::ConsentNeeded
                    .error(format!("The sign-in was refused at {origin} (`{code}`).{says}"))
                    .hint("Connect again and agree there."),
            ),
            _ => final_word(),
        },
        BasicErrorResponseType::InvalidGrant => final_word(),
    }
}

/// An answer that was taken for a token's and is none: the request was used up, and what came of it is not known.
fn odd(origin: &str, why: &str) -> Failure {
    Failure::Lost(
        Kind::ServiceFailed.error(format!("The answer of {origin} to a token request cannot be used: {why}.")),
    )
}
