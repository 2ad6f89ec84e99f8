//! The pages' contents; their HTML is in `templates/`.

use askama::Template;
use url::{Origin, Url};

use super::Asked;
use crate::{
    error::{Error, Kind},
    manifest::parameter,
    server::page::{STYLE, theirs},
};

/// What is asked for.
#[derive(Template)]
#[template(path = "consent.html")]
pub(super) struct Consent {
    style: &'static str,
    title: String,
    connector: String,
    version: String,
    digest: String,
    connection: String,
    account_before: Option<String>,
    provider: String,
    scopes: Vec<Scope>,
    audience: Vec<String>,
    sign_in: Vec<String>,
    named_later: Vec<String>,
    gateway: Option<(String, String)>,
    open_hosts: Vec<String>,
    private: Vec<String>,
    readable: Vec<(String, String)>,
    asked_by: String,
    owner: Option<String>,
    return_to: Option<String>,
    token: String,
}

struct Scope {
    name: String,
    about: Option<String>,
}

impl Consent {
    pub(super) fn of(asked: &Asked, token: String) -> Self {
        let proposal = &asked.proposal;
        let provider = proposal.provider();
        let consent = &proposal.consent;
        let all = |list: &[String]| list.iter().map(|it| theirs(it)).collect();
        Self {
            style: STYLE,
            title: theirs(proposal.title()),
            connector: proposal.approval.connector.clone(),
            version: theirs(&proposal.approval.version),
            digest: proposal.approval.digest.short(),
            connection: proposal.connection.name.clone(),
            account_before: proposal.account_before.as_deref().map(theirs),
            provider: provider.map_or_else(|| "the provider".to_owned(), |origin| theirs(&origin.to_string())),
            scopes: proposal
                .scopes
                .iter()
                .map(|(name, about)| Scope { name: theirs(name), about: about.as_deref().map(theirs) })
                .collect(),
            audience: all(&consent.origins),
            sign_in: all(&consent.sign_in),
            named_later: all(&proposal.named_later),
            gateway: consent.gateway.as_ref().map(|it| (it.name.clone(), it.key.to_string())),
            open_hosts: all(&consent.open_hosts),
            private: all(&proposal.private_origins),
            readable: proposal
                .readable
                .iter()
                .map(|(name, value)| (theirs(name), theirs(&parameter::listed(value))))
                .collect(),
            asked_by: theirs(&consent.caller),
            owner: asked.owner.as_deref().map(theirs),
            return_to: asked.return_url.as_ref().map(place),
            token,
        }
    }
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
