//! The pages' contents; their HTML is in `templates/`.

use askama::Template;
use url::{Origin, Url};

use super::Asked;
use crate::{
    connect::Blank,
    error::{Error, Kind},
    manifest::parameter,
    server::page::{STYLE, theirs},
};

/// Who asks for what, before and after anything is typed.
pub(super) struct About {
    pub(super) title: String,
    pub(super) connector: String,
    pub(super) version: String,
    pub(super) digest: String,
    pub(super) connection: String,
    pub(super) account_before: Option<String>,
    pub(super) gateway: Option<(String, String)>,
    pub(super) asked_by: String,
    pub(super) owner: Option<String>,
    pub(super) return_to: Option<String>,
}

impl About {
    pub(super) fn of_blank(blank: &Blank, owner: Option<&str>, return_url: Option<&Url>) -> Self {
        Self {
            title: theirs(blank.title()),
            connector: blank.approval.connector.clone(),
            version: theirs(&blank.approval.version),
            digest: blank.approval.digest.short(),
            connection: blank.name().to_owned(),
            account_before: blank.account_before.as_deref().map(theirs),
            gateway: blank.gateway().map(|(name, key)| (name.to_owned(), key)),
            asked_by: theirs(blank.caller()),
            owner: owner.map(theirs),
            return_to: return_url.map(place),
        }
    }

    fn of(Asked { proposal, owner, return_url }: &Asked) -> Self {
        let consent = &proposal.consent;
        Self {
            title: theirs(proposal.title()),
            connector: proposal.approval.connector.clone(),
            version: theirs(&proposal.approval.version),
            digest: proposal.approval.digest.short(),
            connection: proposal.connection.name.clone(),
            account_before: proposal.account_before.as_deref().map(theirs),
            gateway: consent.gateway.as_ref().map(|it| (it.name.clone(), it.key.to_string())),
            asked_by: theirs(&consent.caller),
            owner: owner.as_deref().map(theirs),
            return_to: return_url.as_ref().map(place),
        }
    }
}

/// What is asked for.
#[derive(Template)]
#[template(path = "consent.html")]
pub(super) struct Consent {
    style: &'static str,
    about: About,
    /// Where they sign in, if they are sent there.
    provider: Option<String>,
    /// Each with the connector's words for it.
    scopes: Vec<(String, Option<String>)>,
    audience: Vec<String>,
    /// Where a request carries the credential; none where there is none.
    places: Vec<String>,
    sign_in: Vec<String>,
    named_later: Vec<String>,
    open_hosts: Vec<String>,
    private: Vec<String>,
    short_secrets: Vec<String>,
    readable: Vec<(String, String)>,
    /// Whether they typed it themselves, and may change it.
    is_typed: bool,
    token: String,
}

impl Consent {
    pub(super) fn of(asked: &Asked, token: String, is_typed: bool) -> Self {
        let proposal = &asked.proposal;
        let provider = || proposal.provider().map(|origin| theirs(&origin.to_string()));
        let consent = &proposal.consent;
        let all = |list: &[String]| list.iter().map(|it| theirs(it)).collect();
        Self {
            style: STYLE,
            about: About::of(asked),
            provider: proposal.sends_away().then(|| provider().unwrap_or_else(|| "the provider".to_owned())),
            scopes: scopes(&proposal.scopes),
            audience: all(&consent.origins),
            places: all(if proposal.places.is_empty() { &consent.placements } else { &proposal.places }),
            sign_in: all(&consent.sign_in),
            named_later: all(&proposal.named_later),
            open_hosts: all(&consent.open_hosts),
            private: all(&proposal.private_origins),
            short_secrets: all(&proposal.short_secrets),
            readable: proposal
                .readable
                .iter()
                .map(|(name, value)| (theirs(name), theirs(&parameter::listed(value))))
                .collect(),
            is_typed,
            token,
        }
    }
}

/// Scopes that are asked for, each with the connector's words for it.
pub(super) fn scopes(all: &[(String, Option<String>)]) -> Vec<(String, Option<String>)> {
    all.iter().map(|(name, about)| (theirs(name), about.as_deref().map(theirs))).collect()
}

/// Where somebody goes, in a few words: an origin, or the scheme of an app of theirs, whose URLs have none.
fn place(url: &Url) -> String {
    match url.origin() {
        Origin::Opaque(_) => format!("{}:", url.scheme()),
        origin => theirs(&origin.ascii_serialization()),
    }
}

/// The person goes on: to the provider, or back to whoever asked.
#[derive(Template)]
#[template(path = "onward.html")]
pub(super) struct Onward {
    style: &'static str,
    url: String,
    origin: String,
}

impl Onward {
    pub(super) fn to(url: &Url) -> Self {
        Self { style: STYLE, url: url.to_string(), origin: place(url) }
    }
}

/// It is done.
#[derive(Template)]
#[template(path = "connected.html")]
pub(super) struct Connected {
    style: &'static str,
    name: String,
    account: String,
}

impl Connected {
    pub(super) fn of(name: &str, account: &str) -> Self {
        Self { style: STYLE, name: theirs(name), account: theirs(account) }
    }
}

/// It is not.
#[derive(Template)]
#[template(path = "refused.html")]
pub(super) struct Refused {
    style: &'static str,
    title: &'static str,
    what: String,
    mend: Option<String>,
}

impl Refused {
    pub(super) fn of(error: &Error) -> Self {
        // A link that is not good any longer may have connected something.
        let title = if error.kind() == Kind::NotFound { "Nothing is here" } else { "Nothing was connected" };
        Self { style: STYLE, title, what: theirs(error.message()), mend: error.mend().map(theirs) }
    }
}
