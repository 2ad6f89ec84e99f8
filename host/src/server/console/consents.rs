//! Consents: what account owners agreed to, what has changed since, and taking it back.

use askama::Template;
use axum::http::StatusCode;

use super::{
    ask::{Part, Place},
    asked::{At, In},
    gate::{Acting, Shown, Visitor},
    view::{Done, Frame, Sure},
};
use crate::{
    consent::{Consent, Difference},
    error::{Error, Result},
    server::{
        api::{ConnectionDetail, EndedView},
        page::html,
    },
};

const HERE: &str = "Consents";

/// What became of a consent.
pub(super) enum Since {
    /// It is for the very connector that is approved.
    Nothing,
    /// Another version is approved, which does no more than was agreed to.
    Covered(Vec<String>),
    /// Another version is approved, which would do more: it may not.
    Widened(Vec<String>, Vec<String>),
    /// It was taken back, or has run out.
    Over(String),
    /// Nothing can be compared, and why.
    Unknown(String),
}

impl Since {
    fn of(visitor: &Visitor, consent: &Consent) -> Self {
        if let Some(when) = &consent.revoked {
            return Self::Over(format!("revoked {when}"));
        }
        if !consent.is_live() {
            return Self::Over(format!("run out {}", consent.until.as_deref().unwrap_or_default()));
        }
        match visitor.changes(consent) {
            Ok(None) => Self::Nothing,
            Ok(Some(Difference { widened, other })) if widened.is_empty() => Self::Covered(other),
            Ok(Some(Difference { widened, other })) => Self::Widened(widened, other),
            Err(error) => Self::Unknown(error.message().to_owned()),
        }
    }

    /// In a few words.
    pub(super) fn state(&self) -> &str {
        match self {
            Self::Nothing => "nothing",
            Self::Covered(_) => "another version, within what was agreed to",
            Self::Widened(..) => "another version, which asks for more",
            Self::Over(what) => what,
            Self::Unknown(_) => "cannot be compared",
        }
    }

    /// What to call it in the style.
    pub(super) fn class(&self) -> &'static str {
        match self {
            Self::Nothing | Self::Covered(_) => "good",
            Self::Widened(..) | Self::Unknown(_) => "bad",
            Self::Over(_) => "over",
        }
    }
}

impl Visitor {
    /// How the approved connector differs from what was agreed to; none where it is the same.
    fn changes(&self, consent: &Consent) -> Result<Option<Difference>> {
        let host = &self.console.host;
        let book = host.book(self.environment())?;
        let connection = book.connection(&consent.name)?;
        if book.approval(&connection.connector)?.digest == consent.digest {
            return Ok(None);
        }
        host.changes_since_consent(self.environment(), &consent.name).map(Some)
    }

    /// What of a consent's connector has changed since, where something has.
    pub(super) fn changed(&self, consent: &Consent) -> Option<(String, Since)> {
        let since = Since::of(self, consent);
        (!matches!(since, Since::Nothing | Since::Over(_))).then(|| (consent.name.clone(), since))
    }
}

#[derive(Template)]
#[template(path = "console/consents.html")]
struct List {
    frame: Frame,
    part: Part<(Consent, Since)>,
}

/// Those of one page; or the one that is looked for by its name.
pub(super) async fn list(visitor: Visitor, In(place): In<Place>) -> Shown {
    if let Some(name) = place.looked_for() {
        return show(visitor, At(name)).await;
    }
    let Part { items, is_first, next } = visitor.part::<Consent>(&["consents"], &place).await?;
    let with_since = |consent: Consent| {
        let since = Since::of(&visitor, &consent);
        (consent, since)
    };
    let part = Part { items: items.into_iter().map(with_since).collect(), is_first, next };
    Ok(html(StatusCode::OK, &List { frame: visitor.frame(HERE), part }))
}

#[derive(Template)]
#[template(path = "console/consent.html")]
struct Detail {
    frame: Frame,
    it: Consent,
    digest: String,
    since: Since,
    approved: Option<String>,
}

/// One of them.
pub(super) async fn show(visitor: Visitor, At(named): At<String>) -> Shown {
    let it: Consent = visitor.get(&["consents", &named]).await?;
    let since = Since::of(&visitor, &it);
    let approved = || -> Result<String, Error> {
        let book = visitor.console.host.book(visitor.environment())?;
        let approval = book.approval(&book.connection(&it.name)?.connector)?;
        Ok(format!("{} {}, sha256:{}", approval.connector, approval.version, approval.digest))
    };
    let page =
        Detail { frame: visitor.frame(HERE), digest: it.digest.to_string(), approved: approved().ok(), since, it };
    Ok(html(StatusCode::OK, &page))
}

/// Asks once more.
pub(super) async fn ask_to_revoke(visitor: Visitor, At(named): At<String>) -> Shown {
    let detail: ConnectionDetail = visitor.get(&["connections", &named]).await?;
    let name = detail.connection.name;
    let page = Sure {
        frame: visitor.frame(HERE),
        title: format!("Revoke the consent to {name}?"),
        meaning: vec![
            format!("It was given for the account “{}”.", detail.connection.account),
            "Its secrets are deleted here, and a provider that gave tokens is told to end them. Calls of it end at once. The \
             connection stays, and can be connected again."
                .to_owned(),
        ],
        button: "Revoke it",
        back: format!("/consents/{name}"),
    };
    Ok(html(StatusCode::OK, &page))
}

/// Takes it back.
pub(super) async fn revoke(At(named): At<String>, acting: Acting) -> Shown {
    let ended: EndedView = acting.delete(&["consents", &named]).await?;
    let page = Done {
        frame: acting.frame(HERE),
        title: format!("The consent to {named} is revoked"),
        said: vec!["Its secrets are deleted.".to_owned(), ended.there()],
        onward: ("/consents".to_owned(), "To the consents".to_owned()),
    };
    Ok(html(StatusCode::OK, &page))
}
