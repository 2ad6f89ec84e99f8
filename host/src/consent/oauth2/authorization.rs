//! The authorization request that a browser carries to the provider, and what it brings back (RFC 6749, 4.1; RFC 7636;
//! RFC 9207).

use std::collections::BTreeMap;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use oauth2::{CsrfToken, PkceCodeChallenge};
use serde::{Deserialize, Serialize};
use url::Url;

use super::{
    Client, filled,
    request::{self, Parameters},
};
use crate::{
    consent::{
        CameBack, Captured,
        callback::{denied, misled, said_no},
        step,
    },
    error::{Kind, Result},
    manifest::{
        ValueKind, Values,
        declared::CaptureFrom,
        login::Capture,
        template::{Landing, Moment},
    },
    secret::Secret,
    text,
};

/// One trip of a browser to the provider: kept where it was begun, or sealed to there, and used once.
#[derive(Clone, Serialize, Deserialize)]
pub struct Authorization {
    /// Where the browser goes. It holds the state, and no secret.
    pub url: Url,
    /// Where the provider sends it back to.
    pub redirect_uri: Url,
    /// What ties the callback to this trip (RFC 6749, 10.12).
    pub(crate) state: String,
    /// What ties the code to it (RFC 7636).
    #[serde(with = "crate::secret::in_sealed_text")]
    pub(super) verifier: Option<Secret>,
    /// Who must have answered (RFC 9207).
    issuer: Option<String>,
    /// Whether the provider says that it names itself in every answer.
    names_itself: bool,
}

/// What the browser brought back, once it was checked.
pub struct Callback {
    pub(super) code: Secret,
    parameters: BTreeMap<String, String>,
}

impl Client {
    /// Begins a trip that comes back there.
    ///
    /// # Errors
    /// `service-failed` where there is no authorization endpoint; `reconnect-needed` where a value does not fit.
    pub(crate) fn authorization(&self, redirect_uri: Url, values: &Values) -> Result<Authorization> {
        let mut url = self.authorization_url(values)?;
        let mut values = values.clone();
        let state = CsrfToken::new_random_len(32).secret().clone();
        let mut parameters = Parameters::new();
        let mut add = |name: &str, value: &str| parameters.push((name.to_owned(), Secret::new(value)));
        add("response_type", "code");
        let client_id = values.public().get("client_id").cloned().ok_or_else(|| {
            Kind::ApprovalNeeded
                .error("There is no client id to send people to the provider with.")
                .hint("`attache app set CONNECTOR --client-id ID` gives one.")
        })?;
        add("client_id", &client_id);
        add("redirect_uri", redirect_uri.as_str());
        if !self.scopes.is_empty() {
            add("scope", &self.scope());
        }
        add("state", &state);
        let verifier = self.settings.pkce.then(|| {
            let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
            add("code_challenge", challenge.as_str());
            add("code_challenge_method", "S256");
            Secret::new(verifier.secret().as_str())
        });
        request::put(&mut values, "state", ValueKind::Text, Secret::new(state.as_str()))?;
        request::put(&mut values, "scope", ValueKind::Text, Secret::new(self.scope()))?;
        request::put(&mut values, "redirect_uri", ValueKind::Text, Secret::new(redirect_uri.as_str()))?;
        let moment = Moment::now();
        request::lay_over(&mut parameters, &self.settings.authorization_params, |template| {
            template.fill(&values, Landing::Plain, &moment)
        })?;
        {
            let mut query = url.query_pairs_mut();
            for (name, value) in &parameters {
                query.append_pair(name, request::text(value)?);
            }
        }
        Ok(Authorization {
            url,
            redirect_uri,
            state,
            verifier,
            issuer: self.discovered.issuer.clone(),
            names_itself: self.discovered.names_itself,
        })
    }
}

impl Client {
    /// The endpoint that people are sent to.
    ///
    /// # Errors
    /// `service-failed` where there is none.
    pub(crate) fn authorization_url(&self, values: &Values) -> Result<Url> {
        let declared = self.settings.authorization_url.as_ref();
        filled("authorization", declared, self.discovered.authorization.as_ref(), values)
    }
}

impl Authorization {
    /// Whether somebody who came back so is the one who was sent.
    pub fn is_named_by(&self, came: &CameBack) -> bool {
        let state = came.parameters().ok().and_then(|mut parameters| parameters.remove("state"));
        came.below.is_none() && state.is_some_and(|state| self.is_named(&state))
    }

    fn is_named(&self, state: &str) -> bool {
        verify_slices_are_equal(state.as_bytes(), self.state.as_bytes()).is_ok()
    }

    fn is_at(&self, issuer: &str) -> bool {
        Url::parse(issuer).is_ok_and(|issuer| issuer.origin() == self.url.origin())
    }

    /// Checks what a browser brought back.
    ///
    /// # Errors
    /// `denied` where it is not the answer to this trip, or is ambiguous; `consent-needed` where the person or the provider
    /// said no, with the provider's words labelled as such.
    pub fn accept(&self, came: &CameBack) -> Result<Callback> {
        let mut parameters = came.parameters()?;
        if came.below.is_some() {
            return Err(misled());
        }
        // Before anything else: what is not an answer to this trip says nothing at all.
        let state = parameters.remove("state").unwrap_or_default();
        if !self.is_named(&state) {
            return Err(denied("it does not carry the state that this sign-in began with, so it belongs to another"));
        }
        match (&self.issuer, parameters.get("iss")) {
            (Some(expected), Some(named)) if expected != named => {
                return Err(denied(&format!(
                    "it comes from `{}`, and the sign-in began at `{expected}`",
                    text::foreign(named, 200)
                )));
            }
            // Of a provider whose name is not known, only that it names where the person was sent is (RFC 9700, 4.4).
            (None, Some(named)) if !self.is_at(named) => {
                return Err(denied(&format!(
                    "it comes from `{}`, and the person was sent to {}",
                    text::foreign(named, 200),
                    self.url.origin().ascii_serialization()
                )));
            }
            (Some(expected), None) if self.names_itself => {
                return Err(denied(&format!("`{expected}` names itself in every answer, and this one has no `iss`")));
            }
            _ => {}
        }
        match (parameters.remove("code").filter(|code| !code.is_empty()), parameters.get("error")) {
            (Some(_), Some(_)) => Err(denied("it has both a code and an error")),
            (None, Some(error)) => Err(said_no(error, parameters.get("error_description"))),
            (Some(code), None) => Ok(Callback { code: Secret::new(code), parameters }),
            // Some providers call the code otherwise; the connector then says how.
            (None, None) => Ok(Callback { code: Secret::new(""), parameters }),
        }
    }
}

impl Callback {
    /// Keeps what the connector wants of it.
    pub(super) fn keep(&self, capture: &Capture, values: &mut Values, captured: &mut Captured) -> Result<()> {
        let CaptureFrom::Callback(name) = &capture.at else { return Ok(()) };
        let found = self.parameters.get(name).map(|value| Secret::new(value.as_str()));
        step::keep_found(capture, found, ("The provider", ""), values, captured)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consent::callback::LONGEST_QUERY;

    fn trip(issuer: Option<&str>, names_itself: bool) -> Authorization {
        Authorization {
            url: Url::parse("https://provider.example/authorize").unwrap(),
            redirect_uri: Url::parse("http://127.0.0.1:1/callback").unwrap(),
            state: "the-state".into(),
            verifier: None,
            issuer: issuer.map(str::to_owned),
            names_itself,
        }
    }

    fn came(query: &str) -> CameBack {
        CameBack { below: None, query: query.to_owned() }
    }

    fn refusal(trip: &Authorization, query: &str) -> (Kind, String) {
        let error = trip.accept(&came(query)).err().unwrap_or_else(|| panic!("{query} was taken"));
        (error.kind(), error.message().to_owned())
    }

    #[test]
    fn only_the_answer_to_this_trip_is_taken() {
        let trip = trip(None, false);
        assert_eq!(trip.accept(&came("code=c&state=the-state")).unwrap().code.expose(), b"c");
        for query in ["code=c", "code=c&state=", "code=c&state=another", "code=c&state=the-stat", "error=access_denied"]
        {
            let (kind, sentence) = refusal(&trip, query);
            assert!(kind == Kind::Denied && sentence.contains("state"), "{query}: {sentence}");
        }
    }

    #[test]
    fn ambiguous_answers_are_refused() {
        let trip = trip(None, false);
        for (query, why) in [
            ("code=a&code=b&state=the-state", "`code` twice"),
            ("code=a&state=the-state&state=the-state", "`state` twice"),
            ("code=a&error=access_denied&state=the-state", "both a code and an error"),
        ] {
            let (kind, sentence) = refusal(&trip, query);
            assert!(kind == Kind::Denied && sentence.contains(why), "{query}: {sentence}");
        }
        let many: String = (0..100).map(|number| format!("p{number}=x&")).collect();
        assert_eq!(refusal(&trip, &many).0, Kind::Denied);
        assert_eq!(refusal(&trip, &format!("code={}", "x".repeat(LONGEST_QUERY))).0, Kind::Denied);
    }

    #[test]
    fn an_answer_of_another_issuer_is_a_mix_up() {
        let named = trip(Some("https://a.example"), true);
        assert!(named.accept(&came("code=c&state=the-state&iss=https%3A%2F%2Fa.example")).is_ok());
        assert!(refusal(&named, "code=c&state=the-state&iss=https%3A%2F%2Fb.example").1.contains("b.example"));
        assert!(refusal(&named, "code=c&state=the-state").1.contains("no `iss`"));
        let quiet = trip(Some("https://a.example"), false);
        assert!(quiet.accept(&came("code=c&state=the-state")).is_ok());
        assert!(refusal(&quiet, "code=c&state=the-state&iss=https%3A%2F%2Fa.example%2F").1.contains("a.example/"));
        let unnamed = trip(None, false);
        assert!(unnamed.accept(&came("code=c&state=the-state&iss=https%3A%2F%2Fprovider.example%2Foauth")).is_ok());
        assert!(refusal(&unnamed, "code=c&state=the-state&iss=https%3A%2F%2Fa.example").1.contains("a.example"));
    }

    #[test]
    fn a_providers_words_are_labelled_and_cannot_steer_a_terminal() {
        let (kind, sentence) = refusal(
            &trip(None, false),
            "error=access_denied&error_description=no%1b%5b31m%E2%80%AEevil&state=the-state",
        );
        assert_eq!(kind, Kind::ConsentNeeded);
        assert!(!sentence.contains(['\u{1b}', '\u{202e}']) && sentence.contains("It says: “no"), "{sentence}");
    }
}
