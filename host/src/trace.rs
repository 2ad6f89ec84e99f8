//! Spans of what is done for a caller: what they asked, the call, and each request to a service. They cost nothing where nobody
//! collects them, and belong to the trace that the caller names (W3C Trace Context, `traceparent`): in headers over HTTP, in a
//! message's `_meta` over MCP (its SEP-414).
//!
//! What must never happen here: a secret, a path, a query, or the name of a caller or an account in a span.

use http::{HeaderMap, Method};
use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use serde_json::{Map, Value};
use tracing::{Span, field::Empty, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use url::Url;

use crate::audit::Subject;

/// The target that all of them have, and nothing else.
pub(crate) const TARGET: &str = "attache::trace";

/// Somebody asks for a call, over HTTP.
pub(crate) fn asked(headers: &HeaderMap) -> Span {
    asked_by(&Headers(headers))
}

/// The same with a message of MCP, whose own word counts before that of the HTTP request that carried it: the latter may tell
/// of a hop on the way.
pub(crate) fn asked_in(meta: &Map<String, Value>, headers: Option<&HeaderMap>) -> Span {
    match headers {
        Some(headers) if !meta.contains_key(PARENT) => asked_by(&Headers(headers)),
        _ => asked_by(&Meta(meta)),
    }
}

fn asked_by(carried: &dyn Extractor) -> Span {
    let span = info_span!(target: TARGET, "ask", otel.kind = "server");
    if !span.is_disabled() && carried.get(PARENT).is_some() {
        let parent = TraceContextPropagator::new().extract(carried);
        // Where nobody collects spans there is no trace to belong to.
        let _ = span.set_parent(parent);
    }
    span
}

/// A call.
pub(crate) fn call(subject: &Subject) -> Span {
    let (connector, operation) = (subject.connector(), subject.operation());
    info_span!(target: TARGET, "call", attache.connector = connector, attache.operation = operation, attache.outcome = Empty)
}

/// A request to a service, in a call. Numbers are signed, or they are told as texts.
pub(crate) fn request(call: &Span, method: &Method, url: &Url) -> Span {
    info_span!(target: TARGET, parent: call, "request", otel.kind = "client", http.request.method = %method,
        server.address = url.host_str(), server.port = url.port_or_known_default().map(i64::from), http.response.status_code = Empty)
}

/// Where the caller's own span is named.
const PARENT: &str = "traceparent";
/// As much as others pass on of `tracestate` (W3C Trace Context, 3.3.1.5). It stands in each span that is told, and callers write it.
const LONGEST: usize = 512;

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(|value| value.to_str().ok()).filter(|value| value.len() <= LONGEST)
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}

struct Meta<'a>(&'a Map<String, Value>);

impl Extractor for Meta<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(Value::as_str).filter(|value| value.len() <= LONGEST)
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(String::as_str).collect()
    }
}
