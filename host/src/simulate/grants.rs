//! What was granted: codes, tokens, and the families that came of one consent each. Values are kept as their digests, so that
//! none can be given out a second time.

use std::{collections::HashMap, time::Duration};

use super::{answer::Refusal, clock::Clock, quirk::Quirk, random, settings::Settings};
use crate::digest::Digest;

/// What came of one consent: it lives and dies as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Family(usize);

/// What a person or a client agreed to.
#[derive(Debug, Clone)]
pub(super) struct Granted {
    pub(super) client: String,
    pub(super) account: String,
    pub(super) scope: Vec<String>,
    /// RFC 8707.
    pub(super) resource: Vec<String>,
    /// Whether a refresh token comes of it.
    pub(super) offline: bool,
}

/// An authorization code (RFC 6749, 4.1.2).
#[derive(Debug)]
pub(super) struct Code {
    pub(super) granted: Granted,
    pub(super) redirect_uri: Option<String>,
    /// S256 of the verifier (RFC 7636, 4.2).
    pub(super) challenge: Option<String>,
    expires: Duration,
    /// What came of its first use.
    used: Option<Family>,
}

#[derive(Debug)]
struct Access {
    family: Family,
    scope: Vec<String>,
    resource: Vec<String>,
    /// None of one that does not.
    expires: Option<Duration>,
    /// The certificate that it is good with (RFC 8705, 3).
    bound: Option<Digest>,
    revoked: bool,
}

#[derive(Debug)]
struct Refresh {
    family: Family,
    last_used: Duration,
    rotated_out: Option<Duration>,
}

#[derive(Debug)]
struct Ancestry {
    granted: Granted,
    revoked: bool,
}

/// What a token request gets.
#[derive(Debug)]
pub(super) struct Issued {
    pub(super) access: String,
    pub(super) refresh: Option<String>,
    /// In seconds.
    pub(super) lifetime: Option<u32>,
    pub(super) scope: Vec<String>,
    /// `issued_token_type` (RFC 8693, 2.2.1).
    pub(super) kind: Option<&'static str>,
}

/// What a good access token is for.
#[derive(Debug)]
pub(super) struct Bearer<'a> {
    pub(super) granted: &'a Granted,
    pub(super) scope: &'a [String],
    pub(super) resource: &'a [String],
    /// The certificate that it is good with.
    pub(super) bound: Option<Digest>,
}

/// Everything that was granted.
#[derive(Debug, Default)]
pub(super) struct Grants {
    codes: HashMap<Digest, Code>,
    access: HashMap<Digest, Access>,
    refresh: HashMap<Digest, Refresh>,
    families: Vec<Ancestry>,
}

/// With what tokens are made.
pub(super) struct Terms<'a> {
    pub(super) settings: &'a Settings,
    pub(super) clock: &'a Clock,
}

impl Terms<'_> {
    fn lifetime(&self) -> Option<u32> {
        (!self.settings.has(Quirk::NeverExpires)).then_some(self.settings.access_lifetime)
    }

    /// The scopes that are asked for again, which are no more than was granted (RFC 6749, 6).
    fn narrowed(&self, granted: &[String], asked: Option<&str>) -> Result<Vec<String>, Refusal> {
        let Some(asked) = asked else { return Ok(granted.to_vec()) };
        let asked = self.settings.split(asked);
        match asked.iter().find(|scope| !granted.contains(scope)) {
            Some(_) => Err(Refusal::new("invalid_scope", "More is asked for than was granted.")),
            None => Ok(asked),
        }
    }
}

/// The resources that are asked for again, which are no others than were granted (RFC 8707, 2.2).
fn narrowed_to(granted: &[String], asked: &[String]) -> Result<Vec<String>, Refusal> {
    if asked.is_empty() {
        return Ok(granted.to_vec());
    }
    if asked.iter().any(|resource| !granted.contains(resource)) {
        return Err(Refusal::new("invalid_target", "Another resource is asked for than was granted."));
    }
    Ok(asked.to_vec())
}

impl Grants {
    pub(super) fn code(
        &mut self,
        terms: &Terms<'_>,
        granted: Granted,
        redirect_uri: Option<String>,
        challenge: Option<String>,
    ) -> String {
        let expires = terms.clock.now() + seconds(terms.settings.code_lifetime);
        let code = random("code");
        self.codes.insert(digest(&code), Code { granted, redirect_uri, challenge, expires, used: None });
        code
    }

    /// Takes a code (RFC 6749, 4.1.3) after `check` found that it is for this request. One that comes a second time ends what
    /// came of the first (4.1.2).
    pub(super) fn redeem(
        &mut self,
        terms: &Terms<'_>,
        client: &str,
        code: &str,
        resource: &[String],
        check: impl FnOnce(&Code) -> Result<(), Refusal>,
    ) -> Result<Issued, Refusal> {
        let key = digest(code);
        let code = self.codes.get_mut(&key).ok_or_else(|| Refusal::invalid_grant("There is no such code."))?;
        if code.granted.client != client {
            return Err(Refusal::invalid_grant("The code is another client's."));
        }
        if let Some(family) = code.used {
            self.revoke_family(family);
            return Err(Refusal::invalid_grant("The code was used before; what came of it is revoked."));
        }
        if terms.clock.now() >= code.expires {
            return Err(Refusal::invalid_grant("The code has expired."));
        }
        check(code)?;
        let granted = Granted { resource: narrowed_to(&code.granted.resource, resource)?, ..code.granted.clone() };
        let family = self.found(granted);
        if let Some(code) = self.codes.get_mut(&key) {
            code.used = Some(family);
        }
        Ok(self.issue_first(terms, family))
    }

    /// Gives tokens for what was just agreed to.
    pub(super) fn issue(&mut self, terms: &Terms<'_>, granted: Granted) -> Issued {
        let family = self.found(granted);
        self.issue_first(terms, family)
    }

    /// Gives one access token more for what a good one is for, which lives so many seconds and no longer than its consent.
    pub(super) fn exchange(
        &mut self,
        terms: &Terms<'_>,
        client: &str,
        token: &str,
        lifetime: Option<u32>,
        scope: Option<&str>,
        resource: &[String],
    ) -> Result<Issued, Refusal> {
        let refuse = || Refusal::invalid_grant("The token is not known, no longer good, or another client's.");
        let bearer = self.bearer(terms.clock, token).filter(|it| it.granted.client == client).ok_or_else(refuse)?;
        let scope = terms.narrowed(bearer.scope, scope)?;
        let resource = if resource.is_empty() { bearer.resource.to_vec() } else { resource.to_vec() };
        let family = self.access[&digest(token)].family;
        let lifetime = lifetime.filter(|_| terms.lifetime().is_some()).or(terms.lifetime());
        let access = self.give_access(terms, family, lifetime, scope.clone(), resource);
        Ok(Issued { access, refresh: None, lifetime, scope, kind: None })
    }

    /// Refreshes (RFC 6749, 6).
    pub(super) fn renew(
        &mut self,
        terms: &Terms<'_>,
        client: &str,
        token: &str,
        scope: Option<&str>,
        resource: &[String],
    ) -> Result<Issued, Refusal> {
        let now = terms.clock.now();
        let unknown = || Refusal::invalid_grant("There is no such refresh token.");
        let known = self.refresh.get(&digest(token)).ok_or_else(unknown)?;
        let family = known.family;
        let ancestry = &self.families[family.0];
        if ancestry.granted.client != client {
            return Err(Refusal::invalid_grant("The refresh token is another client's."));
        }
        if ancestry.revoked {
            return Err(Refusal::invalid_grant("The refresh token was revoked."));
        }
        let grace = seconds(terms.settings.reuse_grace);
        if known.rotated_out.is_some_and(|since| grace.is_zero() || now > since + grace) {
            if terms.settings.reuse_detection {
                self.revoke_family(family);
                return Err(Refusal::invalid_grant(
                    "The refresh token was used before; everything that came of it is revoked.",
                ));
            }
            return Err(Refusal::invalid_grant("The refresh token was used before."));
        }
        if now >= known.last_used + seconds(terms.settings.refresh_lifetime) {
            return Err(Refusal::invalid_grant("The refresh token was not used for too long."));
        }
        let scope = terms.narrowed(&ancestry.granted.scope, scope)?;
        let resource = narrowed_to(&ancestry.granted.resource, resource)?;
        let access = self.give_access(terms, family, terms.lifetime(), scope.clone(), resource);
        let next = match () {
            () if terms.settings.rotates() => Some(self.give_refresh(terms, family)),
            () if terms.settings.has(Quirk::RefreshKept) => None,
            () => Some(token.to_owned()),
        };
        if let Some(known) = self.refresh.get_mut(&digest(token)) {
            known.last_used = now;
            if terms.settings.rotates() {
                known.rotated_out.get_or_insert(now);
            }
        }
        Ok(Issued { access, refresh: next, lifetime: terms.lifetime(), scope, kind: None })
    }

    /// Binds an access token that was just given to the certificate that it was asked for with.
    pub(super) fn bind(&mut self, token: &str, certificate: Digest) {
        if let Some(access) = self.access.get_mut(&digest(token)) {
            access.bound = Some(certificate);
        }
    }

    /// What an access token is for, while it is good.
    pub(super) fn bearer(&self, clock: &Clock, token: &str) -> Option<Bearer<'_>> {
        let access = self.access.get(&digest(token))?;
        let ancestry = &self.families[access.family.0];
        let good = !access.revoked && !ancestry.revoked && access.expires.is_none_or(|expires| clock.now() < expires);
        good.then_some(Bearer {
            granted: &ancestry.granted,
            scope: &access.scope,
            resource: &access.resource,
            bound: access.bound,
        })
    }

    /// Revokes a token of this client (RFC 7009, 2.1): a refresh token with everything that came of the same consent, an
    /// access token alone. One that is not known is as good as revoked.
    pub(super) fn revoke(&mut self, client: &str, token: &str) -> Result<(), Refusal> {
        let key = digest(token);
        let family = self.refresh.get(&key).map(|it| it.family);
        let Some(owner) = family.or_else(|| self.access.get(&key).map(|it| it.family)) else { return Ok(()) };
        if self.families[owner.0].granted.client != client {
            return Err(Refusal::new("unauthorized_client", "The token is another client's."));
        }
        if let Some(family) = family {
            self.revoke_family(family);
        } else if let Some(access) = self.access.get_mut(&key) {
            access.revoked = true;
        }
        Ok(())
    }

    fn found(&mut self, granted: Granted) -> Family {
        self.families.push(Ancestry { granted, revoked: false });
        Family(self.families.len() - 1)
    }

    fn issue_first(&mut self, terms: &Terms<'_>, family: Family) -> Issued {
        let granted = self.families[family.0].granted.clone();
        let scope = granted.scope;
        let access = self.give_access(terms, family, terms.lifetime(), scope.clone(), granted.resource);
        let refresh = granted.offline.then(|| self.give_refresh(terms, family));
        Issued { access, refresh, lifetime: terms.lifetime(), scope, kind: None }
    }

    fn give_access(
        &mut self,
        terms: &Terms<'_>,
        family: Family,
        lifetime: Option<u32>,
        scope: Vec<String>,
        resource: Vec<String>,
    ) -> String {
        let token = random("access");
        let expires = lifetime.map(|lifetime| terms.clock.now() + seconds(lifetime));
        self.access.insert(digest(&token), Access { family, scope, resource, expires, bound: None, revoked: false });
        token
    }

    fn give_refresh(&mut self, terms: &Terms<'_>, family: Family) -> String {
        let token = random("refresh");
        let refresh = Refresh { family, last_used: terms.clock.now(), rotated_out: None };
        self.refresh.insert(digest(&token), refresh);
        token
    }

    fn revoke_family(&mut self, family: Family) {
        self.families[family.0].revoked = true;
    }
}

pub(super) fn seconds(setting: u32) -> Duration {
    Duration::from_secs(setting.into())
}

pub(super) fn digest(value: &str) -> Digest {
    Digest::of(value.as_bytes())
}
