//! Who is let in, and what every answer carries. A page is for whoever shows a session; something is done only for a form that
//! this very session was given, sent by a page of this host.

use std::{ops::Deref, sync::Arc, time::Instant};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Request, State},
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{CACHE_CONTROL, COOKIE, HOST, ORIGIN},
        request::Parts,
    },
    middleware::Next,
    response::{IntoResponse, Response},
};
use url::{Position, Url, form_urlencoded};

use super::{
    Console, assets,
    session::{Known, signed_out},
    view::{Frame, Refusal},
};
use crate::{
    error::{Error, Kind, Result},
    server::{
        api::status_of,
        page::{guarded_by, html},
    },
};

/// What a script of ours says when it looks again and nobody asked it to.
const BY_ITSELF: &str = "attache-by-itself";

/// Whoever shows a session. It may look at what there is.
#[derive(Clone)]
pub(super) struct Visitor {
    pub(super) console: Arc<Console>,
    pub(super) session: Known,
}

/// Whoever sent a form that this session was given. It may do things.
pub(super) struct Acting {
    visitor: Visitor,
    pub(super) fields: Fields,
}

/// What a form says, in its order.
#[derive(Debug, Default)]
pub(super) struct Fields(Vec<(String, String)>);

/// A failure on its way to being a page.
#[derive(Debug, Clone)]
pub(super) struct Refused {
    error: Error,
    status: StatusCode,
}

/// What a handler gives.
pub(super) type Shown = Result<Response, Refused>;

/// Around everything: another's name for this host gets nothing, failures become pages, and every answer is guarded.
pub(super) async fn guard(State(console): State<Arc<Console>>, mut request: Request, next: Next) -> Response {
    let visitor = console.visitor(request.headers());
    let response = match console.is_called_so(request.headers()) {
        Ok(()) => {
            if let Some(visitor) = &visitor {
                request.extensions_mut().insert(visitor.clone());
            }
            next.run(request).await
        }
        Err(error) => Refused::from(error).into_response(),
    };
    let response = match response.extensions().get::<Refused>() {
        Some(Refused { error, status }) => {
            let frame = Frame::of(&console, visitor.as_ref(), "");
            html(*status, &Refusal::of(frame, error))
        }
        None => response,
    };
    console.guarded(response)
}

impl Console {
    /// Under another name it is another's page that asks (DNS rebinding).
    fn is_called_so(&self, headers: &HeaderMap) -> Result<()> {
        let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        let known = &self.base[Position::BeforeHost..Position::AfterPort];
        if host.eq_ignore_ascii_case(known) {
            return Ok(());
        }
        Err(Kind::Denied.error("This server is not called that.").hint(format!(
            "Browsers find it at {}; a proxy in front of it must hand on the header `Host`, and `attache serve --public-url` \
             says another name.",
            self.base
        )))
    }

    /// Who shows a session, if anybody does.
    fn visitor(self: &Arc<Self>, headers: &HeaderMap) -> Option<Visitor> {
        let name = self.cookie_name();
        let cookies = headers.get_all(COOKIE).iter().filter_map(|cookies| cookies.to_str().ok());
        let mut pairs = cookies.flat_map(|cookies| cookies.split(';')).filter_map(|pair| pair.trim().split_once('='));
        let (_, cookie) = pairs.find(|(known, _)| *known == name)?;
        let session = self.sessions.find(cookie, headers.contains_key(BY_ITSELF), Instant::now())?;
        Some(Visitor { console: self.clone(), session })
    }

    /// Over TLS, one that nobody but this very host can set (RFC 6265bis, 4.1.3.2). Without, ports share cookies, so that each
    /// host of this machine has a name of its own.
    fn cookie_name(&self) -> String {
        match self.base.scheme() {
            "https" => "__Host-attache-console".to_owned(),
            _ => format!("attache-console-{}", self.base.port_or_known_default().unwrap_or_default()),
        }
    }

    /// The header that has a browser keep a session, or forget it.
    pub(super) fn cookie(&self, session: Option<&str>) -> Result<HeaderValue> {
        let place = match self.base.scheme() {
            "https" => "/; Secure".to_owned(),
            _ => self.root.clone(),
        };
        let (value, end) = session.map_or(("", "; Max-Age=0"), |session| (session, ""));
        let name = self.cookie_name();
        HeaderValue::try_from(format!("{name}={value}; Path={place}; HttpOnly; SameSite=Strict{end}"))
            .map_err(|_| Kind::Internal.error("A cookie was no header value."))
    }

    /// Whether a page of this host sent it. A browser that says nothing of its own accord is asked for the origin.
    pub(super) fn is_of_ours(&self, headers: &HeaderMap) -> Result<()> {
        let said = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("unreadable"));
        let own = self.base[..Position::BeforePath].to_owned();
        let is_ours = match (said("sec-fetch-site"), said(ORIGIN.as_str())) {
            // A page that gives no referrer gives no origin either (Fetch, "append a request `Origin` header").
            (Some("same-origin"), None | Some("null")) => true,
            (None | Some("same-origin"), Some(origin)) => origin == own,
            _ => false,
        };
        if is_ours { Ok(()) } else { Err(Kind::Denied.error("This was not sent by a page of this host.")) }
    }

    fn guarded(&self, response: Response) -> Response {
        // A file of ours may be kept: another has another name.
        let kept = response.headers().get(CACHE_CONTROL).cloned();
        let at = |path: &str| format!("{}{}{path}", &self.base[..Position::BeforePath], self.root);
        let loads =
            format!("style-src {}; script-src {}; connect-src 'self'", at(assets::style()), at(assets::script()));
        let mut response = guarded_by(response, &loads);
        let headers = response.headers_mut();
        headers.insert("cross-origin-resource-policy", HeaderValue::from_static("same-origin"));
        if let Some(kept) = kept {
            headers.insert(CACHE_CONTROL, kept);
        }
        response
    }
}

impl Visitor {
    /// What every page has around it.
    pub(super) fn frame(&self, here: &'static str) -> Frame {
        Frame::of(&self.console, Some(self), here)
    }

    /// The environment that the session is for.
    pub(super) fn environment(&self) -> &str {
        &self.session.who.environment
    }

    /// Demands that they are signed in still: the rest of what they send may come hours after its head.
    pub(super) fn still(&self) -> Result<(), Refused> {
        if self.console.sessions.stands(&self.session, Instant::now()) { Ok(()) } else { Err(Refused::signed_out()) }
    }
}

impl FromRequestParts<Arc<Console>> for Visitor {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<Console>) -> Result<Self, Refused> {
        let visitor = parts.extensions.get::<Visitor>().cloned();
        visitor.ok_or_else(Refused::signed_out)
    }
}

impl Acting {
    /// Of a form that was read, whose token is this one; `headers` are the request's.
    pub(super) fn check(visitor: Visitor, headers: &HeaderMap, fields: Fields) -> Result<Self, Refused> {
        visitor.still()?;
        visitor.console.is_of_ours(headers)?;
        let shown = fields.get("token").unwrap_or_default();
        if verify_slices_are_equal(shown.as_bytes(), visitor.session.token.as_bytes()).is_err() {
            return Err(Kind::Denied
                .error("This form was not given to you, or you have signed in anew since.")
                .hint("Open the page again, and send its form.")
                .into());
        }
        Ok(Self { visitor, fields })
    }
}

impl FromRequest<Arc<Console>> for Acting {
    type Rejection = Refused;

    async fn from_request(request: Request, console: &Arc<Console>) -> Result<Self, Refused> {
        let (mut parts, body) = request.into_parts();
        let visitor = Visitor::from_request_parts(&mut parts, console).await?;
        let headers = parts.headers.clone();
        let body = Bytes::from_request(Request::from_parts(parts, body), console).await.map_err(|refused| {
            Refused::of(
                Kind::InvalidInput.error("The form is larger than this host takes."),
                refused.into_response().status(),
            )
        })?;
        Self::check(visitor, &headers, Fields::of(&body))
    }
}

impl Deref for Acting {
    type Target = Visitor;

    fn deref(&self) -> &Visitor {
        &self.visitor
    }
}

impl Fields {
    /// Of a form as browsers send it (WHATWG URL, 5.1).
    pub(super) fn of(form: &[u8]) -> Self {
        Self(form_urlencoded::parse(form).into_owned().collect())
    }

    pub(super) fn push(&mut self, name: String, value: String) {
        self.0.push((name, value));
    }

    /// The first of that name.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The same, where something was typed.
    pub(super) fn typed(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|value| !value.is_empty())
    }

    /// All that have something after this beginning of their name, in their order.
    pub(super) fn below<'a>(&'a self, beginning: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.0.iter().filter_map(move |(name, value)| Some((name.strip_prefix(beginning)?, value.as_str())))
    }

    /// The same where something must have been typed.
    pub(super) fn required(&self, name: &str) -> Result<&str> {
        self.typed(name).ok_or_else(|| Kind::Usage.error(format!("The form lacks `{name}`.")))
    }
}

impl Refused {
    fn signed_out() -> Self {
        Self::of(signed_out(), StatusCode::UNAUTHORIZED)
    }

    /// With a status of its own.
    pub(super) fn of(error: Error, status: StatusCode) -> Self {
        Self { error, status }
    }
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self { status: status_of(error.kind()), error }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// Goes to a page of the console.
pub(super) fn onward(console: &Console, path: &str) -> Response {
    axum::response::Redirect::to(&format!("{}{path}", console.root)).into_response()
}

/// Goes to a page elsewhere on this host.
pub(super) fn leave_for(url: &Url) -> Response {
    axum::response::Redirect::to(url.as_str()).into_response()
}
