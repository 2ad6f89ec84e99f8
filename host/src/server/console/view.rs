//! What stands around every page, and the pages that everybody may see.

use askama::Template;

use super::{Console, assets, gate::Visitor};
use crate::error::Error;

/// What stands around a page.
pub(super) struct Frame {
    /// The path that every link begins with.
    pub(super) root: String,
    pub(super) style: &'static str,
    pub(super) script: &'static str,
    /// Which part of the console it is.
    pub(super) here: &'static str,
    pub(super) who: Option<SignedIn>,
}

/// Who looks at it.
pub(super) struct SignedIn {
    pub(super) environment: String,
    pub(super) caller: String,
    /// What every form carries.
    pub(super) token: String,
}

impl Frame {
    pub(super) fn of(console: &Console, visitor: Option<&Visitor>, here: &'static str) -> Self {
        let who = visitor.map(|visitor| SignedIn {
            environment: visitor.session.who.environment.clone(),
            caller: visitor.session.who.caller.clone(),
            token: visitor.session.token.clone(),
        });
        Self { root: console.root.clone(), style: assets::style(), script: assets::script(), here, who }
    }

    /// What every form carries.
    pub(super) fn token(&self) -> &str {
        self.who.as_ref().map_or("", |who| &who.token)
    }
}

/// Where a code is taken.
#[derive(Template)]
#[template(path = "console/sign-in.html")]
pub(super) struct SignIn {
    pub(super) frame: Frame,
}

/// What went wrong, and what would mend it.
#[derive(Template)]
#[template(path = "console/refused.html")]
pub(super) struct Refusal {
    frame: Frame,
    what: String,
    mend: Option<String>,
}

impl Refusal {
    pub(super) fn of(frame: Frame, error: &Error) -> Self {
        Self { frame, what: error.message().to_owned(), mend: error.mend().map(str::to_owned) }
    }
}

/// Asks once more before something ends.
#[derive(Template)]
#[template(path = "console/sure.html")]
pub(super) struct Sure {
    pub(super) frame: Frame,
    pub(super) title: String,
    /// What comes of it, each a paragraph.
    pub(super) meaning: Vec<String>,
    /// What the button says.
    pub(super) button: &'static str,
    /// Where whoever is not sure goes, below the console.
    pub(super) back: String,
}

/// Says what came of something.
#[derive(Template)]
#[template(path = "console/done.html")]
pub(super) struct Done {
    pub(super) frame: Frame,
    pub(super) title: String,
    pub(super) said: Vec<String>,
    /// Where it goes on, below the console, and what is there.
    pub(super) onward: (String, String),
}
