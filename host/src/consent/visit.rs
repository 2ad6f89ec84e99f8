//! A person on the way to a page of a service in the middle of a login, and back (contract, `record visit`).

use aws_lc_rs::constant_time::verify_slices_are_equal;
use oauth2::CsrfToken;
use serde::{Deserialize, Serialize};
use url::Url;

use super::{
    CameBack, Captured, StateIn,
    callback::{denied, said_no},
    sign_in::with_captured,
    step::{Failure, Way, keep_found, refuse_reflected},
};
use crate::{
    audit::Subject,
    error::{Error, Kind},
    manifest::{
        Login, Parameter, ValueKind, Values,
        declared::CaptureFrom,
        login::{REDIRECT_URI, STATE, Visit},
        template::Moment,
    },
    secret::Secret,
    text,
};

/// What was done before the person left, and what ties whoever comes back to them. Used once.
pub(crate) struct Visiting {
    /// Where the browser goes. No secret is in it.
    pub(crate) url: Url,
    state: String,
    /// Whether the state comes back in the path, since the page has no place for it.
    state_is_below: bool,
    /// What was typed and what the steps so far captured.
    values: Values,
    redirect_uri: Url,
    captured: Captured,
}

/// The same without what was typed, to be sealed.
#[derive(Serialize, Deserialize)]
pub(crate) struct Departed {
    url: Url,
    state: String,
    state_is_below: bool,
    redirect_uri: Url,
    captured: Captured,
}

impl Visiting {
    /// Runs the steps that come before the visit, for a person who is to come back to `redirect_uri`.
    pub(crate) async fn begin(
        login: &Login,
        visit: &Visit,
        way: &Way,
        typed: &Values,
        redirect_uri: &Url,
        subject: &Subject,
    ) -> Result<Self, Failure> {
        let state = CsrfToken::new_random_len(32).secret().clone();
        let state_is_below = !visit.carries_state;
        let mut redirect_uri = redirect_uri.clone();
        if state_is_below {
            let path = format!("{}/{state}", redirect_uri.path().trim_end_matches('/'));
            redirect_uri.set_path(&path);
        }
        let values = with_own(typed, &redirect_uri, &state).map_err(Failure::Unsent)?;
        let captured = way.run(&login.steps[..visit.after], &values, subject, None, None).await?;
        let values = with_captured(&captured_by(login), values, &captured).map_err(Failure::Refused)?;
        let url = visit.url.fill(&values, &Moment::now()).map_err(|why| {
            Failure::Unsent(
                Kind::ReconnectNeeded
                    .error(format!("The page to sign in at cannot be filled in: {why}."))
                    .hint("Correct the values with `attache connection reconnect NAME`."),
            )
        })?;
        Ok(Self { url: url.expose().clone(), state, state_is_below, values, redirect_uri, captured })
    }

    /// Without what was typed.
    pub(crate) fn departed(&self) -> Departed {
        Departed {
            url: self.url.clone(),
            state: self.state.clone(),
            state_is_below: self.state_is_below,
            redirect_uri: self.redirect_uri.clone(),
            captured: self.captured.clone(),
        }
    }

    /// With what was typed again.
    pub(crate) fn of(departed: Departed, login: &Login, typed: &Values) -> Result<Self, Error> {
        let Departed { url, state, state_is_below, redirect_uri, captured } = departed;
        let values = with_captured(&captured_by(login), with_own(typed, &redirect_uri, &state)?, &captured)?;
        Ok(Self { url, state, state_is_below, values, redirect_uri, captured })
    }

    /// What ties whoever comes back to this trip, and where they bring it.
    pub(crate) fn state(&self) -> (&str, StateIn) {
        (&self.state, if self.state_is_below { StateIn::Path } else { StateIn::AnyParameter })
    }

    /// Whether somebody who came back so is the one who was sent.
    pub(crate) fn is_named_by(&self, came: &CameBack) -> bool {
        let is_it = |text: &str| verify_slices_are_equal(text.as_bytes(), self.state.as_bytes()).is_ok();
        if self.state_is_below {
            return came.below.as_deref().is_some_and(is_it);
        }
        // Services bring it back under a name of their own.
        came.parameters().is_ok_and(|parameters| parameters.values().any(|value| is_it(value)))
    }

    /// Takes what the browser brought, and runs the steps that come after the visit.
    pub(crate) async fn finish(
        &self,
        login: &Login,
        visit: &Visit,
        way: &Way,
        came: &CameBack,
        subject: &Subject,
    ) -> Result<Captured, Failure> {
        let (mut values, mut brought) = (self.values.clone(), Captured::default());
        self.take(visit, came, &mut values, &mut brought).map_err(Failure::Refused)?;
        let after = way.run(&login.steps[visit.after..], &values, subject, None, None).await?;
        let expires = after.expires.or(brought.expires).or(self.captured.expires);
        Ok(Captured { expires, ..after.over(&brought.over(&self.captured)) })
    }

    fn take(&self, visit: &Visit, came: &CameBack, values: &mut Values, brought: &mut Captured) -> Result<(), Error> {
        if !self.is_named_by(came) {
            return Err(denied("it does not carry the state that this sign-in began with, so it belongs to another"));
        }
        let parameters = came.parameters()?;
        for capture in &visit.capture {
            let CaptureFrom::Callback(name) = &capture.at else { continue };
            let found = parameters.get(name).filter(|value| !value.is_empty());
            if let (None, false) = (found, capture.is_expiry()) {
                return Err(parameters
                    .get("error")
                    .map_or_else(|| came_without(name), |error| said_no(error, parameters.get("error_description"))));
            }
            keep_found(capture, found.map(|value| Secret::new(value.as_str())), ("The page", ""), values, brought)?;
        }
        refuse_reflected(&visit.capture, values)
    }
}

/// What was typed, with what the host gives to such a login.
fn with_own(typed: &Values, redirect_uri: &Url, state: &str) -> Result<Values, Error> {
    let mut values = typed.clone();
    for (name, own) in [(REDIRECT_URI, redirect_uri.as_str()), (STATE, state)] {
        // What was typed under that name goes before it.
        if !values.public().contains_key(name) && !values.secret().contains_key(name) {
            values.put(&Parameter::known(name, ValueKind::Text), Secret::new(own))?;
        }
    }
    Ok(values)
}

fn captured_by(login: &Login) -> Vec<Parameter> {
    login.captured().into_iter().cloned().collect()
}

fn came_without(name: &str) -> Error {
    Kind::ConsentNeeded
        .error(format!(
            "The service sent the person back without `{}`, so access was not granted there.",
            text::foreign(name, 64)
        ))
        .hint("Connect again, and agree there.")
}
