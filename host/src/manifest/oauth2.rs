//! The scheme `oauth2` (RFC 6749): where an authorization server is, and how it differs from the standard.

use std::time::Duration;

use super::{
    Attachment, Parameter, ValueKind,
    audience::UrlTemplate,
    check::{Names, denied, invalid, shown},
    declared::{self, CaptureFrom, Oauth2Setting as Its},
    jwt::Jwt,
    login::{self, Call, Capture},
    template::Template,
};
pub use declared::{ClientAuth, Grant, TokenFormat};

use crate::error::{Error, Result};

/// Values that the host has while it asks for a token, beside what was typed and captured (contract, `type template`).
const IN_TOKEN_CALLS: [(&str, ValueKind); 10] = [
    ("client_id", ValueKind::Text),
    ("client_secret", ValueKind::Secret),
    ("code", ValueKind::Secret),
    ("code_verifier", ValueKind::Secret),
    ("redirect_uri", ValueKind::Text),
    ("state", ValueKind::Text),
    ("scope", ValueKind::Text),
    ("device_code", ValueKind::Secret),
    (login::ACCESS_TOKEN, ValueKind::Secret),
    (login::REFRESH_TOKEN, ValueKind::Secret),
];
/// Of these, what the app gives: they stand wherever a credential is attached.
pub const OF_APP: [&str; 2] = ["client_id", "client_secret"];
/// Parameters of the authorization request that tie its answer to it, or that would replace all of them (RFC 9101; OAuth 2.0
/// Multiple Response Types).
const THE_HOSTS_OWN: [&str; 7] =
    ["response_type", "response_mode", "state", "code_challenge", "code_challenge_method", "request", "request_uri"];
/// Those that a request may have several of (RFC 8707, 2; RFC 8693, 2.1); of all others only one (RFC 6749, 3.1 and 3.2).
const SEVERAL: [&str; 2] = ["resource", "audience"];
/// Those that the owner agrees to in words.
const AS_SHOWN: [&str; 2] = ["scope", "redirect_uri"];
/// Where token answers have what nobody else may read (RFC 6749, 5.1; OpenID Connect Core, 3.1.3.3), and the whole of one.
const SECRET_MEMBERS: [&str; 4] = ["", "/access_token", "/refresh_token", "/id_token"];
/// More scopes than the largest catalogue of a service was seen to have in one connector.
const MOST_SCOPES: usize = 500;
/// A scope token is short; one that is a URL with a host in it is longer.
const LONGEST_SCOPE: usize = 500;

/// How a connection gets tokens of an authorization server.
#[derive(Debug, Clone)]
pub struct Oauth2 {
    /// Discovery fills what is left out below.
    pub issuer: Option<UrlTemplate>,
    /// RFC 6749, 3.1.
    pub authorization_url: Option<UrlTemplate>,
    /// RFC 6749, 3.2.
    pub token_url: Option<UrlTemplate>,
    /// Where it is not the token URL.
    pub refresh_url: Option<UrlTemplate>,
    /// RFC 8628, 3.1.
    pub device_authorization_url: Option<UrlTemplate>,
    /// RFC 7009, 2.
    pub revocation_url: Option<UrlTemplate>,
    /// RFC 7591, 3.
    pub registration_url: Option<UrlTemplate>,
    /// In order of preference; at least one.
    pub grants: Vec<Grant>,
    /// As declared; none where it was left out.
    pub client_auth: Option<ClientAuth>,
    /// Whether the code is bound to a verifier (RFC 7636, S256).
    pub pkce: bool,
    /// What may be asked for.
    pub scopes: Vec<Scope>,
    /// Between scopes.
    pub scope_separator: String,
    /// Laid over the standard parameters of the authorization request.
    pub authorization_params: Vec<(String, Template)>,
    /// Of a token request.
    pub token_params: Vec<(String, Template)>,
    /// Of a refresh request.
    pub refresh_params: Vec<(String, Template)>,
    /// How a token request is written.
    pub token_format: TokenFormat,
    /// What is put on token requests.
    pub token_attach: Vec<Attachment>,
    /// What is kept of token answers and of the callback, beside the standard.
    pub capture: Vec<Capture>,
    /// Run after each token answer.
    pub after_token: Vec<Call>,
    /// Instead of the standard refresh.
    pub refresh: Vec<Call>,
    /// Where the answer does not say.
    pub lifetime: Option<Duration>,
}

/// Something that may be asked for.
#[derive(Debug, Clone)]
pub struct Scope {
    /// What the provider calls it; it may depend on what was typed.
    pub name: Template,
    /// For people.
    pub description: Option<String>,
    /// Whether every connection asks for it.
    pub required: bool,
}

impl Oauth2 {
    /// Checks the settings of an auth option with these parameters.
    ///
    /// # Errors
    /// `invalid-connector` for what makes no sense, `denied` for what would break a promise.
    pub(super) fn check(settings: &[Its], parameters: &[Parameter], jwts: &[Jwt]) -> Result<Self> {
        once_each(settings)?;
        let (callback, answer) = split_captures(settings, parameters)?;
        // What the callback brought is there when the token is asked for; what the answer brought, after that.
        let mut known = names_of_calls(parameters);
        known.extend(callback.iter().map(|capture| capture.value.clone()));
        let names = Names { parameters, captures: &known, jwts };
        let mut found = Self::default();
        for setting in settings {
            found.take(setting, &names).map_err(|error| error.context(format!("its `{}`", name(setting))))?;
        }
        let mut captures = known.clone();
        captures.extend(answer.iter().map(|capture| capture.value.clone()));
        for setting in settings {
            let steps = |steps: &[declared::Step], captures: &mut Vec<Parameter>| {
                login::check_steps(steps, parameters, jwts, captures)
                    .map_err(|error| error.context(format!("its `{}`", name(setting))))
            };
            match setting {
                Its::AfterToken(declared) => found.after_token = steps(declared, &mut captures)?,
                Its::Refresh(declared) => found.refresh = steps(declared, &mut captures)?,
                _ => {}
            }
        }
        found.capture = callback.into_iter().chain(answer).collect();
        found.refuse_gaps()?;
        Ok(found)
    }

    fn take(&mut self, setting: &Its, names: &Names<'_>) -> Result<()> {
        match setting {
            Its::Issuer(text) => self.issuer = Some(shown_url(text, names)?),
            Its::AuthorizationUrl(text) => self.authorization_url = Some(shown_url(text, names)?),
            Its::TokenUrl(text) => self.token_url = Some(names.url(text)?),
            Its::RefreshUrl(text) => self.refresh_url = Some(names.url(text)?),
            Its::DeviceAuthorizationUrl(text) => self.device_authorization_url = Some(names.url(text)?),
            Its::RevocationUrl(text) => self.revocation_url = Some(names.url(text)?),
            Its::RegistrationUrl(text) => self.registration_url = Some(names.url(text)?),
            Its::Grants(grants) if grants.is_empty() => return Err(invalid("there is none in it".into())),
            Its::Grants(grants) => self.grants = grants.clone(),
            Its::ClientAuth(way) => self.client_auth = Some(*way),
            Its::Pkce(yes) => self.pkce = *yes,
            Its::Scopes(scopes) => self.scopes = check_scopes(scopes, names)?,
            Its::ScopeSeparator(text) if text.is_empty() || text.len() > 3 => {
                return Err(invalid("it is one to three characters".into()));
            }
            Its::ScopeSeparator(text) => self.scope_separator.clone_from(text),
            Its::AuthorizationParams(params) => self.authorization_params = check_shown(params, names)?,
            Its::TokenParams(params) => self.token_params = check_params(params, names)?,
            Its::RefreshParams(params) => self.refresh_params = check_params(params, names)?,
            Its::TokenFormat(format) => self.token_format = *format,
            Its::TokenAttach(attachments) => {
                self.token_attach =
                    attachments.iter().map(|attachment| Attachment::check(attachment, names)).collect::<Result<_>>()?;
            }
            Its::LifetimeSeconds(0) => return Err(invalid("a token that is good for 0 seconds is never good".into())),
            Its::LifetimeSeconds(seconds) => self.lifetime = Some(Duration::from_secs((*seconds).into())),
            // Checked by themselves, since their names depend on each other.
            Its::Capture(_) | Its::AfterToken(_) | Its::Refresh(_) => {}
            Its::Other(word, _) => {
                return Err(invalid(format!("this host does not know the setting `{}`", shown(word)))
                    .hint("A newer Attaché may."));
            }
        }
        Ok(())
    }

    fn refuse_gaps(&self) -> Result<()> {
        let discovers = self.issuer.is_some();
        if self.token_url.is_none() && !discovers {
            return Err(invalid("it names neither a token URL nor an issuer".into()));
        }
        for grant in &self.grants {
            let missing = match grant {
                Grant::AuthorizationCode => self.authorization_url.is_none().then_some("an authorization URL"),
                Grant::DeviceCode => self.device_authorization_url.is_none().then_some("a device authorization URL"),
                Grant::ClientCredentials => None,
            };
            if let Some(what) = missing.filter(|_| !discovers) {
                return Err(invalid(format!("the grant `{}` needs {what} or an issuer", grant.name())));
            }
        }
        Ok(())
    }

    /// Every URL that an app's secrets, a code or a token may be sent to, each with what it is.
    pub fn endpoints(&self) -> impl Iterator<Item = (&'static str, &UrlTemplate)> {
        [
            ("issuer", &self.issuer),
            ("token", &self.token_url),
            ("refresh", &self.refresh_url),
            ("device authorization", &self.device_authorization_url),
            ("revocation", &self.revocation_url),
            ("registration", &self.registration_url),
        ]
        .into_iter()
        .filter_map(|(what, url)| Some((what, url.as_ref()?)))
        .chain(self.calls().map(|call| ("step", &call.url)))
    }

    /// Those of them that tokens are asked for and ended at, not what is asked to find the provider or to register with it.
    pub fn token_endpoints(&self) -> impl Iterator<Item = &UrlTemplate> {
        [&self.token_url, &self.refresh_url, &self.device_authorization_url, &self.revocation_url].into_iter().flatten()
    }

    /// Whether a certificate is shown in the TLS handshake of token requests.
    pub fn shows_certificate(&self) -> bool {
        self.token_attach.iter().any(|it| matches!(it, Attachment::ClientCertificate { .. }))
    }

    /// Every call that is spelled out.
    pub fn calls(&self) -> impl Iterator<Item = &Call> {
        self.after_token.iter().chain(&self.refresh)
    }

    /// Everything that is captured, each name once.
    pub fn captured(&self) -> Vec<Parameter> {
        let mut all = vec![
            Parameter::known(login::ACCESS_TOKEN, ValueKind::Secret),
            Parameter::known(login::REFRESH_TOKEN, ValueKind::Secret),
        ];
        let of_calls = self.calls().flat_map(|call| &call.capture);
        for capture in self.capture.iter().chain(of_calls) {
            if !all.iter().any(|known| known.name == capture.value.name) {
                all.push(capture.value.clone());
            }
        }
        all
    }
}

impl Default for Oauth2 {
    /// What the contract says of settings that are left out.
    fn default() -> Self {
        Self {
            issuer: None,
            authorization_url: None,
            token_url: None,
            refresh_url: None,
            device_authorization_url: None,
            revocation_url: None,
            registration_url: None,
            grants: vec![Grant::AuthorizationCode],
            client_auth: None,
            pkce: true,
            scopes: Vec::new(),
            scope_separator: " ".into(),
            authorization_params: Vec::new(),
            token_params: Vec::new(),
            refresh_params: Vec::new(),
            token_format: TokenFormat::Form,
            token_attach: Vec::new(),
            capture: Vec::new(),
            after_token: Vec::new(),
            refresh: Vec::new(),
            lifetime: None,
        }
    }
}

/// What the app gives, for templates of tokens and attachments; a parameter of the same name goes before it.
pub(super) fn names_of_app(parameters: &[Parameter]) -> Vec<Parameter> {
    let known = names_of_calls(parameters).into_iter();
    known.filter(|known| OF_APP.contains(&known.name.as_str())).collect()
}

fn names_of_calls(parameters: &[Parameter]) -> Vec<Parameter> {
    IN_TOKEN_CALLS
        .iter()
        .filter(|(name, _)| !parameters.iter().any(|parameter| parameter.name == *name))
        .map(|(name, kind)| Parameter::known(name, *kind))
        .collect()
}

/// Of the callback, and of token answers.
fn split_captures(settings: &[Its], parameters: &[Parameter]) -> Result<(Vec<Capture>, Vec<Capture>)> {
    let declared = settings.iter().filter_map(|setting| match setting {
        Its::Capture(captures) => Some(captures),
        _ => None,
    });
    let checked = declared.flatten().map(|capture| {
        Capture::check(capture, parameters)
            .map_err(|error| error.context(format!("its capture `{}`", shown(&capture.name))))
    });
    let checked = checked.collect::<Result<Vec<_>>>()?;
    let gives_away = |capture: &&Capture| match &capture.at {
        CaptureFrom::Answer(at) => login::is_readable(&capture.value) && SECRET_MEMBERS.contains(&at.as_str()),
        CaptureFrom::Callback(name) => login::is_readable(&capture.value) && name == "code",
        _ => false,
    };
    if let Some(capture) = checked.iter().find(gives_away) {
        return Err(denied(&format!(
            "its capture `{}` would let the connector read a token or a code; give it the kind `secret`",
            shown(&capture.value.name)
        )));
    }
    Ok(checked.into_iter().partition(|capture| matches!(capture.at, CaptureFrom::Callback(_))))
}

fn check_scopes(declared: &[declared::Scope], names: &Names<'_>) -> Result<Vec<Scope>> {
    if declared.len() > MOST_SCOPES {
        return Err(invalid(format!("there are {} scopes, and there may be {MOST_SCOPES}", declared.len())));
    }
    let check = |scope: &declared::Scope| -> Result<Scope> {
        if scope.name.is_empty() || scope.name.len() > LONGEST_SCOPE {
            return Err(invalid(format!("a scope has 1 to {LONGEST_SCOPE} bytes")));
        }
        let (description, required) = (scope.description.clone(), scope.required);
        Ok(Scope { name: names.public(&scope.name)?, description, required })
    };
    declared.iter().map(check).collect()
}

/// Parameters of a request that the host sends.
fn check_params(declared: &[(String, String)], names: &Names<'_>) -> Result<Vec<(String, Template)>> {
    for (at, (name, value)) in declared.iter().enumerate() {
        let mut earlier = declared[..at].iter().filter(|(earlier, _)| earlier == name).peekable();
        let is_list =
            SEVERAL.contains(&name.as_str()) && !value.is_empty() && earlier.clone().all(|(_, it)| !it.is_empty());
        if earlier.peek().is_some() && !is_list {
            return Err(invalid(format!("`{}` is there twice", shown(name))));
        }
    }
    let check = |(name, value): &(String, String)| -> Result<(String, Template)> {
        let of = |error: Error| error.context(format!("`{}`", shown(name)));
        if name.is_empty() {
            return Err(invalid("a parameter has no name".into()));
        }
        Ok((name.clone(), names.any(value).map_err(of)?))
    };
    declared.iter().map(check).collect()
}

/// A URL that a browser shows, or that is told in words: no secret stands in it.
fn shown_url(text: &str, names: &Names<'_>) -> Result<UrlTemplate> {
    names.public(text)?;
    names.url(text)
}

/// Parameters of a URL that a browser shows: no secret stands in it, and what ties the answer to the question stays as it is.
fn check_shown(declared: &[(String, String)], names: &Names<'_>) -> Result<Vec<(String, Template)>> {
    for (name, value) in declared {
        let of = |error: Error| error.context(format!("`{}`", shown(name)));
        names.public(value).map_err(of)?;
        if THE_HOSTS_OWN.contains(&name.as_str()) {
            return Err(of(denied("the host's own, which a connector cannot change")));
        }
        // What the owner is shown is what is asked for; renamed, it stands under another name.
        let own = format!("{{{name}}}");
        if AS_SHOWN.contains(&name.as_str()) && !value.is_empty() && *value != own {
            return Err(of(denied(&format!("it may be left out (an empty value) or be `{own}`, and nothing else"))));
        }
    }
    check_params(declared, names)
}

fn once_each(settings: &[Its]) -> Result<()> {
    for (at, setting) in settings.iter().enumerate() {
        if settings[..at].iter().any(|earlier| name(earlier) == name(setting)) {
            return Err(invalid(format!("the setting `{}` is there twice", shown(name(setting)))));
        }
    }
    Ok(())
}

/// As the contract calls it.
fn name(setting: &Its) -> &str {
    match setting {
        Its::Issuer(_) => "issuer",
        Its::AuthorizationUrl(_) => "authorization-url",
        Its::TokenUrl(_) => "token-url",
        Its::RefreshUrl(_) => "refresh-url",
        Its::DeviceAuthorizationUrl(_) => "device-authorization-url",
        Its::RevocationUrl(_) => "revocation-url",
        Its::RegistrationUrl(_) => "registration-url",
        Its::Grants(_) => "grants",
        Its::ClientAuth(_) => "client-auth",
        Its::Pkce(_) => "pkce",
        Its::Scopes(_) => "scopes",
        Its::ScopeSeparator(_) => "scope-separator",
        Its::AuthorizationParams(_) => "authorization-params",
        Its::TokenParams(_) => "token-params",
        Its::RefreshParams(_) => "refresh-params",
        Its::TokenFormat(_) => "token-format",
        Its::TokenAttach(_) => "token-attach",
        Its::Capture(_) => "capture",
        Its::AfterToken(_) => "after-token",
        Its::Refresh(_) => "refresh",
        Its::LifetimeSeconds(_) => "lifetime-seconds",
        Its::Other(word, _) => word,
    }
}

impl Grant {
    /// As the contract calls it.
    pub fn name(self) -> &'static str {
        match self {
            Grant::AuthorizationCode => "authorization-code",
            Grant::DeviceCode => "device-code",
            Grant::ClientCredentials => "client-credentials",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[test]
    fn only_what_a_request_may_have_several_of_is_declared_twice() {
        let twice = |name: &str, second: &str| {
            let params = [(name, "one"), (name, second)].map(|(name, value)| (name.to_owned(), value.to_owned()));
            check(vec![Its::TokenParams(params.into())])
        };
        for name in SEVERAL {
            twice(name, "two").unwrap();
            assert!(twice(name, "").unwrap_err().message().contains("is there twice"), "{name}");
        }
        for name in ["scope", "code", "client_id"] {
            assert!(twice(name, "two").unwrap_err().message().contains("is there twice"), "{name}");
        }
    }

    fn check(more: Vec<Its>) -> Result<Oauth2> {
        let mut settings = vec![Its::Issuer("https://login.example.com".into())];
        settings.extend(more);
        Oauth2::check(&settings, &[Parameter::known("password", ValueKind::Secret)], &[])
    }

    fn capture(name: &str, at: CaptureFrom, kind: ValueKind) -> Its {
        Its::Capture(vec![declared::Capture { name: name.into(), at, kind, pattern: None }])
    }

    #[test]
    fn a_connector_cannot_read_a_token_under_another_name() {
        for at in SECRET_MEMBERS {
            let it = |kind| check(vec![capture("tenant", CaptureFrom::Answer(at.into()), kind)]);
            assert_eq!(it(ValueKind::Text).unwrap_err().kind(), Kind::Denied, "{at}");
            assert!(it(ValueKind::Secret).is_ok(), "{at}");
        }
        assert!(check(vec![capture("tenant", CaptureFrom::Answer("/tenant".into()), ValueKind::Text)]).is_ok());
        assert!(check(vec![capture("mine", CaptureFrom::Callback("code".into()), ValueKind::Text)]).is_err());
    }

    #[test]
    fn no_secret_stands_in_a_url_that_a_browser_shows() {
        let url = |secret: &str| format!("https://login.example.com/authorize?it={{{secret}}}");
        for secret in ["client_secret", "password"] {
            assert_eq!(check(vec![Its::AuthorizationUrl(url(secret))]).unwrap_err().kind(), Kind::Denied);
            let shown = Its::AuthorizationParams(vec![("it".into(), format!("{{{secret}}}"))]);
            assert_eq!(check(vec![shown]).unwrap_err().kind(), Kind::Denied);
        }
        assert!(check(vec![Its::AuthorizationUrl(url("client_id"))]).is_ok());
    }

    #[test]
    fn what_ties_an_answer_to_its_question_and_what_the_owner_was_shown_stay() {
        let laid = |name: &str, value: &str| check(vec![Its::AuthorizationParams(vec![(name.into(), value.into())])]);
        for name in THE_HOSTS_OWN {
            assert!(laid(name, "").is_err() && laid(name, "x").is_err(), "{name}");
        }
        for name in AS_SHOWN {
            assert!(laid(name, "another").is_err(), "{name}");
            assert!(laid(name, "").is_ok() && laid(name, &format!("{{{name}}}")).is_ok(), "{name}");
        }
        assert!(laid("client_id", "").is_ok() && laid("client_key", "{client_id}").is_ok());
        assert!(laid("access_type", "offline").is_ok());
    }

    #[test]
    fn a_setting_of_a_newer_contract_is_refused_by_its_name() {
        let refused = check(vec![Its::Other("dpop".into(), "{}".into())]).unwrap_err();
        assert_eq!(refused.kind(), Kind::InvalidConnector);
        assert!(refused.message().contains("does not know the setting `dpop`"), "{refused}");
        let twice = check(vec![Its::Other("dpop".into(), "{}".into()), Its::Other("dpop".into(), "1".into())]);
        assert!(twice.unwrap_err().message().contains("is there twice"));
    }
}
