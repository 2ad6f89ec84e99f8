//! The OpenAPI document: what it says of all routes alike. What it says of each stands with its handler.

use axum::http::StatusCode;
use utoipa::{
    Modify, OpenApi as _, PartialSchema, ToSchema,
    openapi::{
        Content, HeaderBuilder, OpenApi, Paths, Ref, RefOr, Response,
        path::{HttpMethod, Operation, OperationBuilder, Parameter, ParameterBuilder, ParameterIn, PathItem},
        request_body::RequestBodyBuilder,
        security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme},
    },
};

use super::problem::Written;
use crate::{
    callers::Permission,
    outbox::{EventType, Message, OfConnection, OfSession},
};

/// The document without its paths.
pub(super) fn begun() -> OpenApi {
    Described::openapi()
}

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Attaché",
        description = "Calls operations of connectors with credentials that they never see. Every failure is a problem \
                       (RFC 9457) whose `kind` is the same as on the command line.",
        license(name = "Apache-2.0")
    ),
    components(schemas(Written, Message<OfConnection>, Message<OfSession>)),
    modifiers(&Keys, &Told),
    security(("caller-key" = []))
)]
struct Described;

/// How a caller key is called in it.
const CALLER_KEY: &str = "caller-key";

struct Keys;

impl Modify for Keys {
    fn modify(&self, document: &mut OpenApi) {
        let key = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(
            "A caller key. Each operation names the permissions of which one is enough; `operator` is none that a key has, but \
             whoever runs the host, by the socket in its data directory.",
        ));
        let components = document.components.get_or_insert_default();
        components.add_security_scheme(CALLER_KEY, SecurityScheme::Http(key.build()));
        document.info.version = env!("CARGO_PKG_VERSION").into();
    }
}

/// What webhooks are sent.
struct Told;

impl Modify for Told {
    fn modify(&self, document: &mut OpenApi) {
        let mut told = Paths::new();
        for kind in EventType::ALL {
            told.paths.insert(kind.name().to_owned(), PathItem::new(HttpMethod::Post, message(kind)));
        }
        document.webhooks = Some(told);
    }
}

fn message(kind: EventType) -> Operation {
    let header = |name: &str, what: &str| -> Parameter {
        let header = ParameterBuilder::new().name(name).parameter_in(ParameterIn::Header).description(Some(what));
        header.required(utoipa::openapi::Required::True).schema(Some(String::schema())).build()
    };
    let schema = match kind {
        EventType::SessionEnded => Message::<OfSession>::name(),
        _ => Message::<OfConnection>::name(),
    };
    let content = Content::new(Some(Ref::from_schema_name(schema)));
    let taken = Response::new("It is told no more; any other status has it told again, for five days");
    let body = RequestBodyBuilder::new().content("application/json", content);
    OperationBuilder::new()
        .operation_id(Some(kind.name()))
        .summary(Some("Signed as Standard Webhooks says, and sent at least once"))
        .parameter(header("webhook-id", "The same each time that this message is sent"))
        .parameter(header("webhook-timestamp", "When it is sent, in seconds since 1970"))
        .parameter(header(
            "webhook-signature",
            "`v1,` and HMAC-SHA256 in base64, of id, timestamp and body with dots between",
        ))
        .request_body(Some(body.required(Some(utoipa::openapi::Required::True)).build()))
        .response("2XX", taken)
        .build()
}

/// With names that are unique, what every route answers where it fails, the headers of answers, and a description wherever OpenAPI
/// demands one (3.1.1, sections 4.8.10 and 4.8.17).
pub(super) fn finished(mut document: OpenApi) -> OpenApi {
    for operation in document.paths.paths.values_mut().flat_map(operations) {
        if let (Some(name), Some(tag)) = (&mut operation.operation_id, operation.tags.iter().flatten().next()) {
            *name = format!("{tag}-{name}");
        }
        tell_of_administering(operation);
        tell_of_headers(operation);
        let all = &mut operation.responses.responses;
        all.entry("default".to_owned()).or_insert_with(|| RefOr::T(problem()));
        for (status, response) in all {
            if let RefOr::T(response) = response
                && response.description.is_empty()
            {
                let status = status.parse().ok().and_then(|status| StatusCode::from_u16(status).ok());
                response.description = status.and_then(|status| status.canonical_reason()).unwrap_or("Done").to_owned();
            }
        }
    }
    document
}

fn operations(path: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut path.get, &mut path.put, &mut path.post, &mut path.patch, &mut path.delete].into_iter().flatten()
}

fn problem() -> Response {
    let mut response = Response::new("What went wrong");
    let content = Content::new(Some(Ref::from_schema_name("Problem")));
    response.content.insert("application/problem+json".to_owned(), content.into());
    add_header::<u64>(&mut response, "Retry-After", "In how many seconds to ask again");
    add_header::<String>(&mut response, "WWW-Authenticate", "With 401: how to show a caller key (RFC 6750)");
    response
}

/// A key that may administer may whatever a key may.
fn tell_of_administering(operation: &mut Operation) {
    let opened_by = |permission: Permission| SecurityRequirement::new(CALLER_KEY, [permission.name()]);
    if let Some(any) = &mut operation.security
        && [Permission::Call, Permission::Connect].iter().any(|it| any.contains(&opened_by(*it)))
    {
        any.push(opened_by(Permission::Administer));
    }
}

/// Where an answer may come before there is a result, and where a preference is heard, the headers say so.
fn tell_of_headers(operation: &mut Operation) {
    let mut parameters = operation.parameters.iter().flatten();
    let hears = parameters.any(|it| matches!(it, RefOr::T(it) if it.name == "Prefer"));
    let all = &mut operation.responses.responses;
    let may_come_early = all.contains_key("202");
    for (status, response) in all {
        let RefOr::T(response) = response else { continue };
        if hears {
            add_header::<String>(response, "Preference-Applied", "What was done of `Prefer` (RFC 7240)");
        }
        match status.as_str() {
            "202" => {
                add_header::<String>(response, "Location", "Where to ask what came of it");
                add_header::<u64>(response, "Retry-After", "In how many seconds");
            }
            "200" if may_come_early => {
                add_header::<String>(
                    response,
                    "Idempotency-Replayed",
                    "`true` where it is the answer of an earlier time",
                );
            }
            _ => {}
        }
    }
}

fn add_header<T: PartialSchema>(response: &mut Response, name: &str, what: &str) {
    let header = HeaderBuilder::new().schema(Some(T::schema())).description(Some(what)).build();
    response.headers.insert(name.to_owned(), header.into());
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_operation_has_a_name_of_its_own_and_says_what_it_answers() {
        let mut document = finished(super::super::described(1).1);
        let mut names = HashSet::new();
        for operation in document.paths.paths.values_mut().flat_map(operations) {
            let name = operation.operation_id.clone().unwrap();
            assert!(names.insert(name.clone()), "{name} is there twice");
            assert!(operation.responses.responses.contains_key("default"), "{name}");
            for response in operation.responses.responses.values() {
                assert!(matches!(response, RefOr::T(response) if !response.description.is_empty()), "{name}");
            }
        }
        assert!(names.contains("connections-list"), "{names:?}");
    }

    #[test]
    fn whatever_hears_a_preference_tells_what_was_done_of_it() {
        let mut document = finished(super::super::described(1).1);
        let mut told = Vec::new();
        for operation in document.paths.paths.values_mut().flat_map(operations) {
            for (status, response) in &operation.responses.responses {
                let RefOr::T(response) = response else { continue };
                if response.headers.contains_key("Preference-Applied") {
                    let name = operation.operation_id.as_deref().unwrap();
                    told.push(format!("{name} {status} {}", response.headers.contains_key("Location")));
                }
            }
        }
        told.sort();
        let early = ["calls-call 200 false", "calls-call 202 true", "calls-show 200 false", "calls-show 202 true"];
        assert_eq!(told, [&early[..], &["connect-sessions-show 200 false"]].concat());
    }
}
