//! Clients: who they are, how they prove it, and where people may be sent back to.

use std::{collections::HashMap, net::IpAddr};

use url::{Host, Url};

use super::{
    answer::Refusal,
    asked::{Asked, Params},
    quirk::Quirk,
    same,
    settings::Settings,
};
use crate::secret::Secret;

/// A client (RFC 6749, 2).
#[derive(Debug)]
pub(super) struct Client {
    /// None of a public one.
    pub(super) secret: Option<Secret>,
    /// None of them: anywhere on loopback.
    pub(super) redirect_uris: Vec<String>,
    /// Whether it registered itself (RFC 7591), and so stays whatever the settings say.
    pub(super) registered: bool,
}

impl Client {
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
#[derive(Debug)]
pub(super) struct Clients(HashMap<String, Client>);

impl Clients {
    pub(super) fn of(settings: &Settings) -> Self {
        let mut clients = Self(HashMap::new());
        clients.follow(settings);
        clients
    }

    /// Makes them those that the settings name, beside those that registered themselves.
    pub(super) fn follow(&mut self, settings: &Settings) {
        self.0.retain(|_, client| client.registered);
        for (id, secret) in &settings.client {
            let secret = secret.as_deref().map(Secret::new);
            let redirect_uris = settings.redirect_uri.clone();
            self.0.insert(id.clone(), Client { secret, redirect_uris, registered: false });
        }
    }

    pub(super) fn get(&self, id: &str) -> Option<&Client> {
        self.0.get(id)
    }

    /// Finds out who asks, and demands proof (RFC 6749, 2.3).
    pub(super) fn authenticate(&self, settings: &Settings, asked: &Asked, params: &Params) -> Result<String, Refusal> {
        let named = params.one(settings.client_id())?;
        let in_body = params.one("client_secret")?;
        let basic = asked.basic();
        if basic.is_some() && in_body.is_some() {
            return Err(Refusal::invalid_request("The client authenticates in two ways at once."));
        }
        if settings.has(Quirk::ClientSecretAsUser) {
            return self.by_secret(basic);
        }
        let only = |wanted: Quirk, found: bool, how: &str| match settings.has(wanted) && !found {
            true => Err(unknown(format!("Clients authenticate {how} here."))),
            false => Ok(()),
        };
        let (id, secret) = match (&basic, named) {
            (Some((user, _)), Some(named)) if user != named => {
                return Err(Refusal::invalid_request("The header and the body name different clients."));
            }
            (Some((user, password)), _) => (user.as_str(), Some(password.as_str())),
            (None, Some(named)) => (named, in_body),
            (None, None) => return Err(unknown("No client is named.")),
        };
        let client = self.get(id).ok_or_else(|| unknown("There is no such client."))?;
        match (&client.secret, secret) {
            (Some(known), presented) => {
                only(Quirk::ClientBasic, basic.is_some(), "by a Basic header")?;
                only(Quirk::ClientPost, in_body.is_some(), "in the body")?;
                let presented = presented.ok_or_else(|| unknown("The client does not authenticate."))?;
                if !same(known.expose(), presented.as_bytes()) {
                    return Err(unknown("The client's secret is wrong."));
                }
            }
            (None, Some(_))
                if in_body.is_some() || basic.as_ref().is_some_and(|(_, password)| !password.is_empty()) =>
            {
                return Err(unknown("A public client has no secret."));
            }
            (None, _) => {}
        }
        Ok(id.to_owned())
    }

    fn by_secret(&self, basic: Option<(String, String)>) -> Result<String, Refusal> {
        let (secret, password) = basic.ok_or_else(|| unknown("The secret is the user name of a Basic header here."))?;
        let found = self.0.iter().find(|(_, client)| {
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
        Client { secret: None, redirect_uris, registered: false }
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
