//! What a provider says of itself (RFC 8414; OpenID Connect Discovery 1.0; RFC 8705 for endpoints that ask for a certificate;
//! RFC 9728 for a protected resource).

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header::ACCEPT};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use url::Url;

use super::shows_certificate;
use crate::{
    audit::Subject,
    consent::{App, step::Way},
    error::{Error, Kind, Result},
    manifest::{AuthOption, Oauth2, Values, template::Moment},
    origin::Origin,
    text,
    transport::Outgoing,
};

/// What of a provider's metadata is used; kept with the connection. Where a certificate is shown, its endpoints are those
/// that ask for one (RFC 8705, 5).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Discovered {
    /// As it names itself.
    pub issuer: Option<String>,
    /// RFC 8414, 2.
    pub authorization: Option<Url>,
    /// The same.
    pub token: Option<Url>,
    /// The same.
    pub device_authorization: Option<Url>,
    /// The same.
    pub revocation: Option<Url>,
    /// How apps may prove themselves; empty where it does not say.
    pub token_auth_methods: Vec<String>,
    /// Whether it names itself in every authorization response (RFC 9207, 3).
    pub names_itself: bool,
}

/// RFC 8414, 2.
#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    authorization_endpoint: Option<Url>,
    token_endpoint: Option<Url>,
    device_authorization_endpoint: Option<Url>,
    revocation_endpoint: Option<Url>,
    mtls_endpoint_aliases: Option<Aliases>,
    #[serde(default)]
    token_endpoint_auth_methods_supported: Vec<String>,
    code_challenge_methods_supported: Option<Vec<String>>,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
}

/// RFC 8705, 5.
#[derive(Default, Deserialize)]
struct Aliases {
    token_endpoint: Option<Url>,
    device_authorization_endpoint: Option<Url>,
    revocation_endpoint: Option<Url>,
}

/// RFC 9728, 2.
#[derive(Deserialize)]
struct Resource {
    resource: String,
    #[serde(default)]
    authorization_servers: Vec<Url>,
}

/// Whether something of the provider is left to what it says of itself.
pub(crate) fn is_discovered(option: &AuthOption) -> bool {
    option.scheme.oauth2().is_some_and(|settings| settings.issuer.is_some())
}

/// What the provider of an auth option says of itself, where the connector leaves something to that.
///
/// # Errors
/// As for [`Discovered::of`]; `invalid-input` where what was typed does not name a provider.
pub(crate) async fn discover(
    option: &AuthOption,
    app: Option<&App>,
    values: &Values,
    way: &Way,
    subject: &Subject,
) -> Result<Discovered> {
    let Some((settings, issuer)) = option.scheme.oauth2().and_then(|it| Some((it, it.issuer.as_ref()?))) else {
        return Ok(Discovered::default());
    };
    let issuer = match issuer.fill(values, &Moment::now()) {
        Ok(issuer) => issuer,
        // An issuer that may be left out, and was: the endpoints were typed one by one.
        Err(_) if settings.token_url.as_ref().is_some_and(|url| url.fill(values, &Moment::now()).is_ok()) => {
            return Ok(Discovered::default());
        }
        Err(why) => {
            return Err(Kind::InvalidInput.error(format!("The provider's issuer cannot be filled in: {why}.")));
        }
    };
    let own = Origin::of(issuer.expose())?;
    let permits = |url: &Url| match app {
        Some(app) => app.permits(url),
        // Who typed the client's secret is shown where it goes; it stays with whom it was typed for.
        None if Origin::of(url)? == own => Ok(()),
        None => Err(Kind::Denied
            .error(format!(
                "The provider's metadata names an endpoint elsewhere, at {}.",
                text::foreign(url.as_str(), 300)
            ))
            .hint("Give the endpoints one by one if that is meant.")),
    };
    Discovered::of(issuer.expose(), way, &permits, settings, subject).await
}

impl Discovered {
    /// Every endpoint that it names, each with what it is.
    pub fn endpoints(&self) -> impl Iterator<Item = (&'static str, &Url)> {
        [
            ("OAuth authorization", &self.authorization),
            ("OAuth token", &self.token),
            ("OAuth device authorization", &self.device_authorization),
            ("OAuth revocation", &self.revocation),
        ]
        .into_iter()
        .filter_map(|(what, url)| Some((what, url.as_ref()?)))
    }

    /// Asks the provider, at the places where the standards put it.
    ///
    /// # Errors
    /// `service-failed` where there is no metadata, or it is another's; `denied` where an endpoint lies outside what
    /// `permits` allows.
    pub(crate) async fn of(
        issuer: &Url,
        way: &Way,
        permits: &(dyn Fn(&Url) -> Result<()> + Sync),
        settings: &Oauth2,
        subject: &Subject,
    ) -> Result<Self> {
        let mut issuer = issuer.clone();
        let mut found = None;
        // What stands at a place and is none says why nothing was found, if nothing is found elsewhere.
        let mut none = None;
        // A protected resource may name its authorization server; that one's metadata is asked for then.
        for led_on in [false, true] {
            for place in places(&issuer) {
                match ask::<Metadata>(place, way, subject).await? {
                    Found::It(metadata) => {
                        found = Some(metadata);
                        break;
                    }
                    Found::Other(error) => none = none.or(Some(error)),
                    Found::Nothing => {}
                }
            }
            if found.is_some() || led_on {
                break;
            }
            let place = place_of_resource(&issuer);
            let resource = match ask::<Resource>(place, way, subject).await? {
                Found::It(resource) => resource,
                Found::Other(error) => {
                    none = none.or(Some(error));
                    break;
                }
                Found::Nothing => break,
            };
            same(&issuer, &resource.resource)?;
            let Some(server) = resource.authorization_servers.into_iter().next() else { break };
            permits(&server)?;
            (issuer, none) = (server, None);
        }
        let metadata = found.ok_or_else(|| {
            none.unwrap_or_else(|| {
                Kind::ServiceFailed
                    .error(format!(
                        "{} publishes no metadata for OAuth 2.0 (RFC 8414) or OpenID Connect.",
                        origin(&issuer)
                    ))
                    .hint("Check the issuer, or give the provider's URLs one by one.")
            })
        })?;
        same(&issuer, &metadata.issuer)?;
        if settings.pkce
            && metadata.code_challenge_methods_supported.is_some_and(|methods| !methods.iter().any(|it| it == "S256"))
        {
            return Err(Kind::ServiceFailed
                .error(format!(
                    "{} says that it does not bind codes to whoever asked for them (PKCE with S256).",
                    origin(&issuer)
                ))
                .hint("The connector's author can set `pkce` to false where a provider cannot do better."));
        }
        // Elsewhere nobody would ask for the certificate.
        let aliases = metadata.mtls_endpoint_aliases.filter(|_| shows_certificate(settings, way.app.as_deref()));
        let aliases = aliases.unwrap_or_default();
        let discovered = Self {
            issuer: Some(metadata.issuer),
            authorization: metadata.authorization_endpoint,
            token: aliases.token_endpoint.or(metadata.token_endpoint),
            device_authorization: aliases.device_authorization_endpoint.or(metadata.device_authorization_endpoint),
            revocation: aliases.revocation_endpoint.or(metadata.revocation_endpoint),
            token_auth_methods: metadata.token_endpoint_auth_methods_supported,
            names_itself: metadata.authorization_response_iss_parameter_supported,
        };
        discovered.endpoints().try_for_each(|(_, url)| permits(url))?;
        Ok(discovered)
    }
}

/// RFC 8414, 3.1 puts it between host and path, OpenID Connect Discovery 4 behind the path; both without a slash at the end of
/// it.
fn places(issuer: &Url) -> [Url; 2] {
    let path = issuer.path().trim_end_matches('/');
    let at = |path: &str| {
        let mut url = issuer.clone();
        url.set_path(path);
        url
    };
    [
        at(&format!("/.well-known/oauth-authorization-server{path}")),
        at(&format!("{path}/.well-known/openid-configuration")),
    ]
}

/// RFC 9728, 3.1: between host and path, which stays as it is; a slash that is all of it is none.
fn place_of_resource(resource: &Url) -> Url {
    let mut url = resource.clone();
    let path = if resource.path() == "/" { "" } else { resource.path() };
    url.set_path(&format!("/.well-known/oauth-protected-resource{path}"));
    url
}

/// What stands at a place.
enum Found<T> {
    It(T),
    /// Some sites answer whatever they are asked for with a page.
    Other(Error),
    Nothing,
}

async fn ask<T: DeserializeOwned>(url: Url, way: &Way, subject: &Subject) -> Result<Found<T>> {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    let asked = origin(&url);
    let outgoing = Outgoing::new(Method::GET, url, headers, Bytes::new());
    let answer = way.exchange(outgoing, subject, 0).await.map_err(|failure| failure.into_error())?;
    match answer.status.as_u16() {
        200 => Ok(serde_json::from_slice(&answer.body).map_or_else(
            |_| {
                let none = format!("What {asked} publishes as its metadata is none (RFC 8414, 3.2).");
                Found::Other(
                    Kind::ServiceFailed.error(none).hint("Check the issuer, or give the provider's URLs one by one."),
                )
            },
            Found::It,
        )),
        status @ 500.. => Err(Kind::ServiceFailed
            .error(format!("{asked} does not tell its metadata now: it answered with status {status}."))),
        _ => Ok(Found::Nothing),
    }
}

/// RFC 8414, 3.3: identical, and not merely alike. A URL without a path is written with and without a slash.
fn same(asked: &Url, named: &str) -> Result<(), Error> {
    let without_path = asked.path() == "/" && asked.as_str().strip_suffix('/') == Some(named);
    if named == asked.as_str() || without_path {
        return Ok(());
    }
    Err(Kind::ServiceFailed
        .error(format!("The metadata of `{asked}` is of another: it names itself `{}`.", text::foreign(named, 300)))
        .hint("Give the issuer exactly as the provider names itself."))
}

fn origin(url: &Url) -> String {
    Origin::of(url).map_or_else(|_| url.scheme().to_owned(), |origin| origin.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn metadata_stands_where_the_standards_put_it() {
        for (issuer, oauth, openid) in [
            ("https://a.example", "/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"),
            ("https://a.example/", "/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"),
            (
                "https://a.example/tenants/1",
                "/.well-known/oauth-authorization-server/tenants/1",
                "/tenants/1/.well-known/openid-configuration",
            ),
            (
                "https://a.example/tenants/1/",
                "/.well-known/oauth-authorization-server/tenants/1",
                "/tenants/1/.well-known/openid-configuration",
            ),
        ] {
            let at = places(&url(issuer)).map(String::from);
            assert_eq!(at, [oauth, openid].map(|path| format!("https://a.example{path}")), "{issuer}");
        }
    }

    #[test]
    fn a_resources_path_stays_as_it_is() {
        for (resource, path) in
            [("https://a.example/", ""), ("https://a.example/api", "/api"), ("https://a.example/api/", "/api/")]
        {
            let at = format!("https://a.example/.well-known/oauth-protected-resource{path}");
            assert_eq!(place_of_resource(&url(resource)).as_str(), at, "{resource}");
        }
    }

    #[test]
    fn an_issuer_is_the_very_same_and_not_merely_alike() {
        for named in ["https://a.example", "https://a.example/"] {
            same(&url("https://a.example"), named).unwrap();
        }
        same(&url("https://a.example/t"), "https://a.example/t").unwrap();
        same(&url("https://a.example/t/"), "https://a.example/t/").unwrap();
        for (asked, named) in [
            ("https://a.example/t", "https://a.example/t/"),
            ("https://a.example/t/", "https://a.example/t"),
            ("https://a.example/t", "https://a.example"),
            ("https://a.example", "https://a.example/t"),
            ("https://a.example", "https://A.example"),
            ("https://a.example", "http://a.example"),
            ("https://a.example", "https://a.example:443"),
            ("https://a.example", "https://a.example.evil.example"),
        ] {
            let refused = same(&url(asked), named).unwrap_err();
            assert_eq!(refused.kind(), Kind::ServiceFailed, "{asked} {named}");
        }
    }
}
