//! One connect session: what it asks for, who began it, and how far they are.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use tokio::sync::watch;
use url::Url;

use super::{Taken, sessions::another_browser};
use crate::{
    connect::{Blank, ConnectProposal, Trip},
    consent::CameBack,
    digest::Digest,
    error::{Error, Result},
};

/// How long a link is good for, and how long a person may take at the provider.
pub const LASTS: Duration = Duration::from_secs(10 * 60);

/// What somebody asks a person for.
pub struct Asked {
    /// What the connection would be.
    pub proposal: Arc<ConnectProposal>,
    /// Whose it is to be, in the caller's own words; the caller authenticates that person.
    pub owner: Option<String>,
    /// Where the browser goes afterwards, with a code that confirms.
    pub return_url: Option<Url>,
}

impl Asked {
    pub(super) fn whose(&self, public_name: String) -> Whose {
        let environment = self.proposal.asked_by().1.to_owned();
        Whose { environment, session: public_name, owner: self.owner.clone() }
    }
}

/// What a session asks for.
pub(super) enum Matter {
    /// To agree to what was proposed.
    Terms(Arc<ConnectProposal>),
    /// To type something first, and then to agree to what comes of it.
    Form(Arc<Blank>, Option<Filled>),
}

/// What somebody typed, and what that means.
pub(super) struct Filled {
    pub(super) proposal: Arc<ConnectProposal>,
    /// Each time it is filled in it is another, so that nobody agrees to what another page of theirs showed.
    pub(super) id: String,
    pub(super) bytes: usize,
}

/// Which session it is, and whose.
#[derive(Debug, Clone)]
pub struct Whose {
    /// The environment's name.
    pub environment: String,
    /// What it is called by those who may not use its link.
    pub session: String,
    /// As in [`Asked`].
    pub owner: Option<String>,
}

/// One of them.
pub(super) struct Session {
    /// What it is called by those who may not use its link.
    pub(super) public_name: String,
    pub(super) matter: Matter,
    pub(super) owner: Option<String>,
    pub(super) return_url: Option<Url>,
    pub(super) ends: Instant,
    pub(super) beginnings: usize,
    /// Who began it: from then on it is theirs.
    pub(super) browser: Option<String>,
    /// Where they were sent.
    pub(super) trip: Option<OnTrip>,
    /// What came of what they agreed to, once it is known.
    pub(super) making: Option<watch::Receiver<Option<Result<Taken>>>>,
}

/// Somebody at the provider's.
pub(super) struct OnTrip {
    /// What they agreed to.
    pub(super) proposal: Arc<ConnectProposal>,
    pub(super) trip: Trip,
    /// Of the trip's state: what a callback brings is looked for among all trips.
    pub(super) state: Digest,
}

/// What somebody does with a page that they were shown.
pub(super) enum Step {
    /// They filled in its form.
    FillIn(Arc<Blank>),
    /// They agreed to this.
    Agree(Arc<ConnectProposal>),
}

/// Who finds out what comes of an agreement.
pub(super) enum Making {
    /// Whoever agreed first: they are to tell the sessions, and then here.
    Begins(Asked, watch::Sender<Option<Result<Taken>>>, watch::Receiver<Option<Result<Taken>>>),
    /// Somebody else is at it.
    Goes(watch::Receiver<Option<Result<Taken>>>),
}

/// How far a session is.
#[derive(Debug)]
pub enum Progress {
    /// Nobody agreed yet.
    Open,
    /// Somebody sent its form, or agreed and is on their way.
    Begun,
    /// They came back, with what is to be confirmed.
    CameBack,
    /// They came back, and nothing came of it.
    Failed(Error),
    /// It ran out, or never was.
    Gone,
}

impl Progress {
    /// In one word.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Begun => "begun",
            Self::CameBack => "came-back",
            Self::Failed(_) => "failed",
            Self::Gone => "gone",
        }
    }
}

/// What forms carry that a browser was shown.
pub(super) struct Tokens {
    /// What is typed.
    pub(super) form: String,
    /// What is agreed to.
    pub(super) agreement: String,
}

impl Matter {
    pub(super) fn asked_by(&self) -> (&str, &str) {
        match self {
            Self::Terms(proposal) => proposal.asked_by(),
            Self::Form(blank, _) => blank.asked_by(),
        }
    }
}

impl Session {
    pub(super) fn belongs_to(&self, browser: &str) -> Result<()> {
        match &self.browser {
            Some(begun_by) if verify_slices_are_equal(begun_by.as_bytes(), browser.as_bytes()).is_err() => {
                Err(another_browser())
            }
            _ => Ok(()),
        }
    }

    /// However often it is begun, it ends.
    pub(super) fn begin(&mut self, browser: &str, now: Instant) {
        if self.browser.is_none() {
            self.browser = Some(browser.to_owned());
            self.ends = now + LASTS;
        }
    }

    /// While it is looked at what somebody agreed to, it goes on: what comes of that is its end.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.ends <= now && !self.is_being_made()
    }

    /// Whoever would tell may have gone without a word.
    pub(super) fn is_being_made(&self) -> bool {
        self.making.as_ref().is_some_and(|making| making.has_changed().is_ok())
    }

    pub(super) fn is_on_trip(&self, came: &CameBack, brought: &HashSet<Digest>) -> bool {
        self.trip.as_ref().is_some_and(|on| brought.contains(&on.state) && on.trip.is_named_by(came))
    }

    /// What is shown to be agreed to, where that was not settled when the link was made.
    pub(super) fn shown(&self) -> &str {
        match &self.matter {
            Matter::Form(_, Some(filled)) => &filled.id,
            _ => "",
        }
    }

    pub(super) fn typed_bytes(&self) -> usize {
        match &self.matter {
            Matter::Form(_, Some(filled)) => filled.bytes,
            _ => 0,
        }
    }

    /// What somebody is asked to agree to.
    pub(super) fn asked(&self, proposal: Arc<ConnectProposal>) -> Asked {
        Asked { proposal, owner: self.owner.clone(), return_url: self.return_url.clone() }
    }

    pub(super) fn asked_by(&self) -> (&str, &str) {
        self.matter.asked_by()
    }

    pub(super) fn whose(self) -> Whose {
        let environment = self.asked_by().1.to_owned();
        Whose { environment, session: self.public_name, owner: self.owner }
    }
}
