//! Spans of what is done for a caller: what they asked, the call, and each request to a service. They cost nothing where nobody
//! collects them, and belong to the trace that the caller names (W3C Trace Context, `traceparent`).
//!
//! What must never happen here: a secret, a path, a query, or the name of a caller or an account in a span.

use http::{HeaderMap, Method};
use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::{Span, field::Empty, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use url::Url;

use crate::audit::Subject;

/// The target that all of them have, and nothing else.
pub(crate) const TARGET: &str = "attache::trace";

/// Somebody asks for a call.
pub(crate) fn asked(headers: &HeaderMap) -> Span {
    let span = info_span!(target: TARGET, "ask", otel.kind = "server");
    if !span.is_disabled() && headers.contains_key("traceparent") {
        let parent = TraceContextPropagator::new().extract(&Carried(headers));
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

/// A request to a service, in a call.
pub(crate) fn request(call: &Span, method: &Method, url: &Url) -> Span {
    info_span!(target: TARGET, parent: call, "request", otel.kind = "client", http.request.method = %method,
        server.address = url.host_str(), server.port = url.port_or_known_default(), http.response.status_code = Empty)
}

struct Carried<'a>(&'a HeaderMap);

impl Extractor for Carried<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(|value| value.to_str().ok())
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}
