//! Clients: who they are, how they prove it, and where people may be sent back to.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    net::IpAddr,
};

use url::{Host, Url};

use super::{
    answer::Refusal,
    asked::{Asked, Params},
    assertion::{CLIENT_ASSERTION, Claims, claimed, verified},
    certified::{Certified, Shown},
    quirk::Quirk,
    same,
    settings::Settings,
};
use crate::secret::Secret;

/// How a client proves who it is (RFC 7591, 2: `token_endpoint_auth_method`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    None,
    Basic,
    Post,
    /// By an assertion that the secret signs, or a key of its own.
    Assertion,
    /// By a certificate in the TLS handshake (RFC 8705, 2).
    Certificate,
}

impl Method {
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "none" => Self::None,
            "client_secret_basic" => Self::Basic,
            "client_secret_post" => Self::Post,
            "client_secret_jwt" => Self::Assertion,
            _ => return None,
        })
    }

    /// Every name of those that a client may choose from.
    pub(super) fn offered(settings: &Settings) -> Vec<&'static str> {
        let certified: BTreeSet<_> = settings.certified().map(|(_, certified)| certified.method()).collect();
        let (others, certified): (&[&str], _) = match () {
            () if settings.has(Quirk::ClientBasic) => (&["client_secret_basic"], None),
            () if settings.has(Quirk::ClientPost) => (&["client_secret_post"], None),
            () if settings.has(Quirk::ClientAssertion) => (&["private_key_jwt", "client_secret_jwt"], None),
            () if settings.has(Quirk::ClientCertificate) => (&[], Some(certified)),
            () => (
                &["client_secret_basic", "client_secret_post", "private_key_jwt", "client_secret_jwt"],
                Some(certified),
            ),
        };
        others.iter().copied().chain(certified.into_iter().flatten()).chain(["none"]).collect()
    }

    fn is_taken_by(self, settings: &Settings, client: &Client) -> bool {
        match () {
            () if client.registered.is_some() => client.registered == Some(self),
            () if settings.has(Quirk::ClientBasic) => self == Self::Basic,
            () if settings.has(Quirk::ClientPost) => self == Self::Post,
            () if settings.has(Quirk::ClientAssertion) => self == Self::Assertion,
            () if settings.has(Quirk::ClientCertificate) => self == Self::Certificate,
            () => true,
        }
    }
}

/// A client (RFC 6749, 2).
#[derive(Debug)]
pub(super) struct Client {
    /// None of a public one, and of one that has a key or a certificate.
    pub(super) secret: Option<Secret>,
    /// A public key in PEM.
    pub(super) key: Option<String>,
    /// What its certificates are known by.
    pub(super) certified: Vec<Certified>,
    /// None of them: anywhere on loopback.
    pub(super) redirect_uris: Vec<String>,
    /// How it authenticates, where it registered itself (RFC 7591); it stays then, whatever the settings say.
    pub(super) registered: Option<Method>,
}

impl Client {
    /// Whether it cannot prove who it is.
    pub(super) fn is_public(&self) -> bool {
        self.secret.is_none() && self.key.is_none() && self.certified.is_empty()
    }

    /// Whether what came in the TLS handshake is its own (RFC 8705, 2).
    fn showed(&self, shown: &Shown) -> Result<(), Refusal> {
        if shown.is_empty() {
            return Err(unknown("The client shows no certificate in the TLS handshake."));
        }
        if !self.certified.iter().any(|certified| certified.is(shown)) {
            return Err(unknown("The certificate that came in the TLS handshake is not the client's."));
        }
        Ok(())
    }

    /// Whether a person may be sent back there: exactly what was registered, but for the port on loopback (RFC 8252, 7.3).
    pub(super) fn may_return_to(&self, uri: &str) -> bool {
        let Ok(asked) = Url::parse(uri) else { return false };
        if asked.fragment().is_some() {
            return false;
        }
        if self.redirect_uris.is_empty() {
            return asked.scheme() == "http" && is_loopback(&asked);
        }
        self.redirect_uris.iter().any(|registered| registered == uri || same_but_for_port(registered, asked.clone()))
    }
}

fn same_but_for_port(registered: &str, mut asked: Url) -> bool {
    let Ok(registered) = Url::parse(registered) else { return false };
    // RFC 8252, 7.3 means the literals, and 8.3 says why a name is not one.
    let literal = matches!(registered.host(), Some(Host::Ipv4(_) | Host::Ipv6(_)));
    literal && is_loopback(&registered) && asked.set_port(registered.port()).is_ok() && asked == registered
}

pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => IpAddr::from(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::from(address).is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// Every client there is.
#[derive(Debug, Default)]
pub(super) struct Clients {
    known: HashMap<String, Client>,
    /// Client and `jti` of assertions that came: each is good once (RFC 7523, 3).
    used: HashSet<(String, String)>,
}

impl Clients {
    pub(super) fn of(settings: &Settings) -> Self {
        let mut clients = Self::default();
        clients.follow(settings);
        clients
    }

    /// Makes them those that the settings name, beside those that registered themselves.
    pub(super) fn follow(&mut self, settings: &Settings) {
        self.known.retain(|_, client| client.registered.is_some());
        for (id, secret) in &settings.client {
            let key = settings.client_key.iter().find(|(owner, _)| owner == id).map(|(_, pem)| pem.clone());
            let certified = settings.certified().filter(|(owner, _)| owner == id).map(|(_, it)| it.clone()).collect();
            let (secret, redirect_uris) = (secret.clone(), settings.redirect_uri.clone());
            self.known.insert(id.clone(), Client { secret, key, certified, redirect_uris, registered: None });
        }
    }

    pub(super) fn register(&mut self, id: String, client: Client) {
        self.known.insert(id, client);
    }

    pub(super) fn get(&self, id: &str) -> Option<&Client> {
        self.known.get(id)
    }

    /// Finds out who asks, and demands proof (RFC 6749, 2.3).
    pub(super) fn authenticate(
        &mut self,
        settings: &Settings,
        base: &str,
        asked: &Asked,
        params: &Params,
    ) -> Result<String, Refusal> {
        let named = params.one(settings.client_id())?;
        let in_body = params.one("client_secret")?;
        let assertion = params.one("client_assertion")?;
        let basic = asked.basic();
        if [basic.is_some(), in_body.is_some(), assertion.is_some()].iter().filter(|it| **it).count() > 1 {
            return Err(Refusal::invalid_request("The client authenticates in several ways at once."));
        }
        if settings.has(Quirk::ClientSecretAsUser) {
            return self.by_secret(basic);
        }
        let by = basic.as_ref().map(|(user, _)| user.as_str());
        if by.is_some() && named.is_some() && by != named {
            return Err(Refusal::invalid_request("The header and the body name different clients."));
        }
        if let Some(assertion) = assertion {
            if params.need("client_assertion_type")? != CLIENT_ASSERTION {
                return Err(Refusal::invalid_request("That type of assertion is unknown here."));
            }
            let audiences = [base.to_owned(), format!("{base}/token"), format!("{base}{}", asked.path)];
            let claims = self.asserted(assertion, &audiences).map_err(unknown)?;
            if claims.sub != claims.iss || named.is_some_and(|named| named != claims.iss) {
                return Err(unknown("The assertion is about somebody else."));
            }
            return self.takes(settings, &claims.iss, Method::Assertion).map(|_| claims.iss);
        }
        let id = by.or(named).ok_or_else(|| unknown("No client is named."))?;
        let secret = basic.as_ref().map(|(_, password)| password.as_str()).filter(|it| !it.is_empty()).or(in_body);
        if secret.is_none() && self.get(id).is_some_and(|client| !client.certified.is_empty()) {
            return self.takes(settings, id, Method::Certificate)?.showed(&asked.shown).map(|()| id.to_owned());
        }
        let method = match (secret, &basic) {
            (None, _) => Method::None,
            (Some(_), Some(_)) => Method::Basic,
            (Some(_), None) => Method::Post,
        };
        let client = self.takes(settings, id, method)?;
        match (&client.secret, secret) {
            (Some(known), Some(presented)) if same(known.expose(), presented.as_bytes()) => Ok(id.to_owned()),
            (Some(_), Some(_)) => Err(unknown("The client's secret is wrong.")),
            (None, Some(_)) => Err(unknown("The client has no secret.")),
            (_, None) if client.is_public() => Ok(id.to_owned()),
            (_, None) => Err(unknown("The client does not authenticate.")),
        }
    }

    /// What an assertion says that one of the clients signed, and that did not come before.
    pub(super) fn asserted(&mut self, assertion: &str, audiences: &[String]) -> Result<Claims, &'static str> {
        let issuer = claimed(assertion)?.iss;
        let client = self.known.get(&issuer).ok_or("There is no such client.")?;
        let claims = verified(assertion, client, audiences)?;
        if let Some(id) = &claims.jti
            && !self.used.insert((issuer, id.clone()))
        {
            return Err("The assertion came before.");
        }
        Ok(claims)
    }

    fn takes(&self, settings: &Settings, id: &str, method: Method) -> Result<&Client, Refusal> {
        let client = self.get(id).ok_or_else(|| unknown("There is no such client."))?;
        if client.is_public() || method.is_taken_by(settings, client) {
            return Ok(client);
        }
        Err(unknown("The client does not authenticate in the way that is taken here."))
    }

    fn by_secret(&self, basic: Option<(String, String)>) -> Result<String, Refusal> {
        let (secret, password) = basic.ok_or_else(|| unknown("The secret is the user name of a Basic header here."))?;
        let found = self.known.iter().find(|(_, client)| {
            client.secret.as_ref().is_some_and(|known| same(known.expose(), secret.as_bytes())) && password.is_empty()
        });
        found.map(|(id, _)| id.clone()).ok_or_else(|| unknown("There is no client with that secret."))
    }
}

/// RFC 6749, 5.2.
fn unknown(description: impl Into<String>) -> Refusal {
    Refusal::new("invalid_client", description).status(401)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(redirect_uris: &[&str]) -> Client {
        let redirect_uris = redirect_uris.iter().map(|uri| (*uri).to_owned()).collect();
        Client { secret: None, key: None, certified: Vec::new(), redirect_uris, registered: None }
    }

    #[test]
    fn the_port_is_free_on_a_loopback_literal_and_nowhere_else() {
        let registered =
            client(&["http://127.0.0.1/callback", "https://app.example.com/callback", "http://localhost/cb"]);
        for good in ["http://127.0.0.1/callback", "http://127.0.0.1:5000/callback", "https://app.example.com/callback"]
        {
            assert!(registered.may_return_to(good), "{good}");
        }
        for bad in [
            "http://127.0.0.1:5000/other",
            "http://127.0.0.1:5000/callback?x=1",
            "http://127.0.0.1:5000/callback#x",
            "http://127.0.0.2/callback",
            "https://127.0.0.1/callback",
            "https://app.example.com:444/callback",
            "https://app.example.com/callback/",
            "https://app.example.com.evil.example/callback",
            "http://localhost:5000/cb",
            "/callback",
        ] {
            assert!(!registered.may_return_to(bad), "{bad}");
        }
    }

    #[test]
    fn a_client_with_no_redirect_uri_of_its_own_has_loopback() {
        let any = client(&[]);
        assert!(any.may_return_to("http://127.0.0.1:5000/x") && any.may_return_to("http://[::1]:5000/x"));
        assert!(any.may_return_to("http://localhost:5000/x"));
        assert!(!any.may_return_to("https://example.com/x") && !any.may_return_to("http://10.0.0.1/x"));
    }
}
