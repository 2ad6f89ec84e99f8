//! What a token endpoint is asked (RFC 6749, 4.1.3, 4.4.2, 6; RFC 8628, 3.4), with what the connector lays over it.

use std::collections::BTreeSet;

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method,
    header::{ACCEPT, CONTENT_TYPE},
};
use serde_json::{Map, Value};
use url::{Url, form_urlencoded};

use super::{Authorization, Client, answer, proof};
use crate::{
    audit::Subject,
    consent::{
        Captured,
        app::CLIENT_SECRET,
        step::{Failure, Way},
    },
    credential::{self, Existing},
    error::{Error, Kind, Result},
    manifest::{
        Parameter, ValueKind, Values,
        jwt::Jwts,
        login::REFRESH_TOKEN,
        oauth2::TokenFormat,
        template::{Landing, Moment, Template, Value as Filled},
    },
    secret::Secret,
    transport::{Before, Outgoing},
};

/// A grant, with what it is asked with.
pub(super) enum Grant<'a> {
    Code { code: &'a Secret, authorization: &'a Authorization },
    Device(&'a Secret),
    Credentials,
    Refresh(&'a Secret),
}

/// Parameters of a request, in order.
pub(super) type Parameters = Vec<(String, Secret)>;

/// A request that is to be sent, and what was made for it that is nobody else's to read: a provider may repeat it in its words.
pub(super) struct Asked {
    pub(super) outgoing: Outgoing,
    secrets: Vec<Secret>,
}

impl Client {
    /// Sends one token request. The names that belong to it are added to the values; `sending` is done before it leaves.
    pub(super) async fn ask(
        &self,
        way: &Way,
        values: &mut Values,
        grant: &Grant<'_>,
        subject: &Subject,
        sending: Option<Before>,
    ) -> Result<Captured, Failure> {
        let refresh = matches!(grant, Grant::Refresh(_));
        let url = self.token_url(values, refresh).map_err(Failure::unsent)?;
        let origin = url.origin().ascii_serialization();
        let standard = self.standard(values, grant).map_err(Failure::unsent)?;
        let over = if refresh { &self.settings.refresh_params } else { &self.settings.token_params };
        let format = self.settings.token_format;
        let asked = self.request(way, url, standard, over.iter(), format, values).map_err(Failure::unsent)?;
        let Asked { mut outgoing, secrets } = asked;
        outgoing.before = sending;
        let incoming = way.exchange(outgoing, subject, 0).await?;
        answer::read(self, incoming, &origin, values, &secrets, refresh)
    }

    /// The standard's own parameters, without the client's proof. What templates may use is put among the values.
    fn standard(&self, values: &mut Values, grant: &Grant<'_>) -> Result<Parameters> {
        let mut parameters = Parameters::new();
        let mut add = |name: &str, value: &Secret| parameters.push((name.to_owned(), value.clone()));
        put(values, "scope", ValueKind::Text, Secret::new(self.scope()))?;
        match grant {
            Grant::Code { code, authorization } => {
                add("grant_type", &Secret::new("authorization_code"));
                add("code", code);
                let redirect_uri = Secret::new(authorization.redirect_uri.as_str());
                add("redirect_uri", &redirect_uri);
                put(values, "code", ValueKind::Secret, (*code).clone())?;
                put(values, "redirect_uri", ValueKind::Text, redirect_uri)?;
                put(values, "state", ValueKind::Text, Secret::new(authorization.state.as_str()))?;
                if let Some(verifier) = &authorization.verifier {
                    add("code_verifier", verifier);
                    put(values, "code_verifier", ValueKind::Secret, verifier.clone())?;
                }
            }
            Grant::Device(code) => {
                add("grant_type", &Secret::new("urn:ietf:params:oauth:grant-type:device_code"));
                add("device_code", code);
                put(values, "device_code", ValueKind::Secret, (*code).clone())?;
            }
            Grant::Credentials => {
                add("grant_type", &Secret::new("client_credentials"));
                if !self.scopes.is_empty() {
                    add("scope", &Secret::new(self.scope()));
                }
            }
            Grant::Refresh(token) => {
                add("grant_type", &Secret::new("refresh_token"));
                add(REFRESH_TOKEN, token);
            }
        }
        Ok(parameters)
    }

    /// A request of these parameters, with the client's proof and what is laid over them.
    pub(super) fn request<'a>(
        &self,
        way: &Way,
        mut url: Url,
        mut parameters: Parameters,
        over: impl Iterator<Item = &'a (String, Template)>,
        format: TokenFormat,
        values: &Values,
    ) -> Result<Asked> {
        let moment = Moment::now();
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let identity = proof::put_on(self, &url, values, &mut parameters, &mut headers)?;
        let assertions = parameters.iter().filter(|(name, _)| name == proof::ASSERTION);
        let mut secrets: Vec<_> = assertions.map(|(_, assertion)| assertion.clone()).collect();
        let made = Jwts::new(&way.jwts);
        lay_over(&mut parameters, over, |template| {
            let filled = template.fill(&made.over(values, &moment), Landing::Plain, &moment);
            secrets.extend(filled.iter().flatten().cloned().flat_map(Filled::into_secrets));
            filled
        })?;
        let body = match format {
            TokenFormat::Form => {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
                Bytes::from(form(&parameters)?)
            }
            TokenFormat::Json => {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                Bytes::from(Value::Object(members(&parameters)?).to_string())
            }
            TokenFormat::Query => {
                let mut query = url.query_pairs_mut();
                for (name, value) in &parameters {
                    query.append_pair(name, text(value)?);
                }
                drop(query);
                Bytes::new()
            }
        };
        let mut outgoing = Outgoing::new(Method::POST, url, headers, body);
        outgoing.identity = identity;
        credential::attach(&self.settings.token_attach, &way.jwts, values, &moment, Existing::Replace, &mut outgoing)?;
        Ok(Asked { outgoing, secrets })
    }

    /// Of what is laid over token requests, that which says who the client is: it belongs on every request to the provider.
    pub(super) fn naming_the_client(&self) -> impl Iterator<Item = &(String, Template)> {
        let is_of_client = |name: &str| matches!(name, "client_id" | CLIENT_SECRET);
        self.settings.token_params.iter().filter(move |(name, template)| match template.names().next() {
            Some(_) => template.names().all(is_of_client),
            // Only one that is empty, which takes away.
            None => is_of_client(name),
        })
    }

    /// What is asked for, as one text.
    pub(super) fn scope(&self) -> String {
        self.scopes.join(&self.settings.scope_separator)
    }
}

/// The same name replaces, an empty value takes away; a template whose names have no value says nothing. What is laid over
/// twice is there twice (`resource`, RFC 8707, 2).
pub(super) fn lay_over<'a, W: std::fmt::Display>(
    parameters: &mut Parameters,
    over: impl IntoIterator<Item = &'a (String, Template)>,
    mut fill: impl FnMut(&Template) -> Result<Option<Filled>, W>,
) -> Result<()> {
    let mut laid = BTreeSet::new();
    for (name, template) in over {
        let filled = fill(template).map_err(|why| {
            Kind::ReconnectNeeded
                .error(format!("The parameter `{name}` for the provider cannot be filled in: {why}."))
                .hint(
                    "Correct the values with `attache connection reconnect NAME`, or the app's with `attache app set`.",
                )
        })?;
        let Some(value) = filled else { continue };
        let is_first = laid.insert(name);
        let at = parameters.iter().position(|(known, _)| is_first && known == name);
        parameters.retain(|(known, _)| !is_first || known != name);
        if !value.bytes().is_empty() {
            let at = at.unwrap_or(parameters.len()).min(parameters.len());
            parameters.insert(at, (name.clone(), Secret::new(value.bytes())));
        }
    }
    Ok(())
}

/// Adds a value that the host itself knows under this name; one that the owner typed goes before it.
pub(super) fn put(values: &mut Values, name: &str, kind: ValueKind, value: Secret) -> Result<()> {
    if value.is_empty() {
        return Ok(());
    }
    values.put(&Parameter::known(name, kind), value)
}

/// What is there twice is a list.
fn members(parameters: &Parameters) -> Result<Map<String, Value>> {
    let mut members = Map::new();
    for (name, value) in parameters {
        let value = Value::from(text(value)?);
        match members.get_mut(name) {
            None => drop(members.insert(name.clone(), value)),
            Some(Value::Array(values)) => values.push(value),
            Some(first) => *first = Value::from(vec![first.take(), value]),
        }
    }
    Ok(members)
}

pub(super) fn form(parameters: &Parameters) -> Result<String> {
    let mut form = form_urlencoded::Serializer::new(String::new());
    for (name, value) in parameters {
        form.append_pair(name, text(value)?);
    }
    Ok(form.finish())
}

pub(super) fn text(value: &Secret) -> Result<&str, Error> {
    std::str::from_utf8(value.expose())
        .map_err(|_| Kind::ReconnectNeeded.error("A value for the provider is not text."))
}
