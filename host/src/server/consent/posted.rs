//! What a browser sends to a link: as large as its form may be, of this browser, and by no page elsewhere.

use axum::{
    Form,
    extract::{DefaultBodyLimit, FromRequest, Request, rejection::FormRejection},
    http::StatusCode,
};

use super::{ConsentServer, form};
use crate::error::{Error, Kind, Result};

/// What a page has on which nothing is typed: a token, and what separates it.
const FORM_BYTES: usize = 4 << 10;

/// See the module.
pub(super) struct Posted {
    /// What the browser calls itself.
    pub(super) browser: String,
    pub(super) token: String,
    /// Whether they agree to what they typed before.
    pub(super) agrees: bool,
    /// The others, each once.
    pub(super) fields: Vec<(String, String)>,
}

impl Posted {
    pub(super) async fn read(server: &ConsentServer, name: &str, mut request: Request) -> Result<Self> {
        let blank = server.sessions.blank(name)?;
        let most = blank.as_ref().map_or(FORM_BYTES, |blank| FORM_BYTES + form::longest(blank));
        DefaultBodyLimit::max(most).apply(&mut request);
        let headers = request.headers().clone();
        let sent = Form::<Vec<(String, String)>>::from_request(request, &()).await;
        let Form(mut fields) = sent.map_err(|refused| refusal(&refused))?;
        let mut take = |name: &str| {
            let found = fields.iter().position(|(known, _)| known == name);
            found.map(|at| fields.remove(at).1)
        };
        let (token, agrees) = (take("token").ok_or_else(another_form)?, take(form::AGREE).is_some());
        // A secret has two, for one line and for several.
        let most = blank.filter(|_| !agrees).map_or(0, |blank| 2 * blank.left().count());
        let is_twice = |name: &str| fields.iter().filter(|(other, _)| other == name).count() > 1;
        if fields.len() > most || fields.iter().any(|(name, _)| name == "token" || is_twice(name)) {
            return Err(another_form());
        }
        // A page elsewhere may not press this button for somebody.
        if headers.get("sec-fetch-site").is_some_and(|site| site != "same-origin" && site != "none") {
            return Err(Kind::Denied.error("This was not asked for by the page itself."));
        }
        let browser = server.browser(&headers)?.ok_or_else(|| {
            Kind::Denied
                .error("Your browser did not keep the cookie that this sign-in is tied to.")
                .hint("Allow cookies for this page, and open the link again.")
        })?;
        Ok(Self { browser: browser.to_owned(), token, agrees, fields })
    }
}

fn refusal(refused: &FormRejection) -> Error {
    match refused.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            Kind::TooLarge.error("What was sent is larger than this form may be.").hint("Open the link again.")
        }
        _ => another_form(),
    }
}

fn another_form() -> Error {
    Kind::Usage.error("This is not the form that the page has.").hint("Open the link again.")
}
