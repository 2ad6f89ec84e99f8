//! What went wrong, as HTTP says it (RFC 9457).

use axum::{
    Json,
    http::{
        HeaderValue, StatusCode,
        header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
    },
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::error::{Error, Kind};

/// A failure on its way to whoever asked.
#[derive(Debug)]
pub struct Problem {
    error: Error,
    status: StatusCode,
}

/// How it is written.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct Written {
    /// `urn:attache:problem:` and the kind.
    r#type: String,
    /// What sort of failure it is, in a word that stays the same.
    title: String,
    /// The status, again.
    status: u16,
    /// A sentence for people.
    detail: String,
    /// As on the command line: `not-found`, `denied`, `service-failed` and so on.
    kind: String,
    /// What would mend it.
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

impl Written {
    pub(super) fn of(error: &Error, status: StatusCode) -> Self {
        let kind = error.kind().name();
        Self {
            r#type: format!("urn:attache:problem:{kind}"),
            title: kind.replace('-', " "),
            status: status.as_u16(),
            detail: error.message().to_owned(),
            kind: kind.to_owned(),
            hint: error.mend().map(str::to_owned),
        }
    }

    /// The failure that was written down.
    pub(crate) fn error(self) -> Error {
        let kind = Kind::of_name(&self.kind).unwrap_or(Kind::Internal);
        Error::told(kind, &self.detail, self.hint.as_deref())
    }
}

/// What a handler gives.
pub(super) type Answered<T> = Result<T, Problem>;

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Self { status: status_of(error.kind()), error }
    }
}

impl Problem {
    /// Nobody is known to ask: there is no key, or it opens nothing.
    pub(super) fn unknown(error: Error) -> Self {
        Self { status: StatusCode::UNAUTHORIZED, error }
    }

    /// The rest of the request did not come.
    pub(crate) fn too_slow() -> Self {
        let error = Kind::Timeout.error("The rest of the request did not come in time, so nothing was done.");
        Self { status: StatusCode::REQUEST_TIMEOUT, error: error.hint("Send it again, all of it at once.") }
    }
}

/// The status of a kind.
pub fn status_of(kind: Kind) -> StatusCode {
    match kind {
        Kind::Usage => StatusCode::BAD_REQUEST,
        Kind::InvalidInput | Kind::InvalidConnector => StatusCode::UNPROCESSABLE_ENTITY,
        Kind::NotFound => StatusCode::NOT_FOUND,
        Kind::AlreadyExists
        | Kind::ApprovalNeeded
        | Kind::ConsentNeeded
        | Kind::ReconnectNeeded
        | Kind::OutcomeUnknown => StatusCode::CONFLICT,
        Kind::Denied => StatusCode::FORBIDDEN,
        Kind::RateLimited => StatusCode::TOO_MANY_REQUESTS,
        Kind::ServiceFailed
        | Kind::Unreachable
        | Kind::TooLarge
        | Kind::ConnectorFailed
        | Kind::ConnectorLimit
        | Kind::ConnectorOutput => StatusCode::BAD_GATEWAY,
        Kind::Timeout => StatusCode::GATEWAY_TIMEOUT,
        Kind::StoreLocked | Kind::WrongKey | Kind::StoreDamaged | Kind::StoreUnavailable => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// A route that is there, and does not do that.
pub(super) fn not_allowed() -> Problem {
    Problem {
        error: Kind::Usage.error("This route does not take that method."),
        status: StatusCode::METHOD_NOT_ALLOWED,
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Self { error, status } = self;
        let mut response = (status, Json(Written::of(&error, status))).into_response();
        if let Some(seconds) = error.wait() {
            response.headers_mut().insert(RETRY_AFTER, seconds.into());
        }
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"attache\""));
        }
        response
    }
}
