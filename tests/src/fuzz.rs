//! What must hold for any input whatever: each function takes bytes, makes something of them, and panics where a promise
//! is broken. Fuzzers call them with what they come up with, and an ordinary test with what is kept in `fuzz/corpus`.

use std::sync::{Arc, OnceLock};

use attache::{
    egress::{Destination, Reachable},
    manifest::{
        Manifest,
        audience::{NameInfo, OriginPattern, OriginTemplate},
        declared,
        template::{Landing, Moment, Scope, Template, Value},
    },
    runtime::{Component, Limits, Runtime},
    transport::PrivateAllowed,
};
use url::{Host, Url};

/// A name and what checks inputs for it.
pub type Target = (&'static str, fn(&[u8]));

/// Everything that is fuzzed.
pub const TARGETS: [Target; 4] =
    [("url-policy", url_policy), ("templates", templates), ("manifests", manifests), ("components", components)];

/// The first line is an origin as a connector declares it, every other a URL that a guest asks for. What is let through
/// goes where the declaration says, as somebody reads it who knows nothing of our parsers.
pub fn url_policy(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut lines = text.lines();
    let Some(template) = lines.next().and_then(|line| Template::parse(line).ok()) else { return };
    let Ok(template) = OriginTemplate::parse(&template, &|_| None::<NameInfo>) else { return };
    let Some(pattern) = template.resolve(&Nothing).ok().and_then(|mut resolved| resolved.pop()) else { return };
    let private = pattern.exact().map(|origin| format!("{}:{}", origin.host(), origin.port()));
    let reachable = Reachable {
        audience: vec![pattern.clone()],
        private: private.and_then(|it| PrivateAllowed::parse([it]).ok()).unwrap_or_default(),
        ..Reachable::default()
    };
    for line in lines {
        let Ok(url) = Url::parse(line) else { continue };
        let Ok(destination) = reachable.judge(&url) else { continue };
        assert_eq!(destination, Destination::Audience, "an open host out of nothing: {line}");
        assert!(url.username().is_empty() && url.password().is_none(), "{line}");
        assert!(agrees(&pattern, &url), "{line} is not {pattern}");
    }
}

fn agrees(pattern: &OriginPattern, url: &Url) -> bool {
    agrees_by_text(&pattern.to_string(), url.as_str())
}

/// Whether a URL is of a pattern, by their texts.
pub fn agrees_by_text(pattern: &str, url: &str) -> bool {
    let url = Url::parse(url).unwrap();
    let (scheme, authority) = pattern.split_once("://").unwrap();
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    let found = format!("{}{port}", url.host_str().unwrap_or_default());
    let (expected, found): (Vec<&str>, Vec<&str>) = (authority.split('.').collect(), found.split('.').collect());
    let any = expected.contains(&"*");
    url.scheme() == scheme
        && expected.len() == found.len()
        && expected
            .iter()
            .zip(&found)
            .all(|(expected, found)| *expected == "*" && !found.is_empty() || expected == found)
        && (!any || matches!(url.host(), Some(Host::Domain(_))))
}

struct Nothing;

impl Scope for Nothing {
    fn value(&self, _: &str) -> Option<Value> {
        None
    }
}

/// The first line is a template, the rest the value of every name in it. It prints as it was written, and a value never ends
/// the place where it lands, as other readers of that place see it.
pub fn templates(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (template, value) = text.split_once('\n').unwrap_or((text, ""));
    let scope = Same(value);
    let moment = Moment::now();
    if let Ok(parsed) = Template::parse(template) {
        assert_eq!(parsed.to_string(), template);
        assert_eq!(
            Template::parse(&parsed.to_string()).unwrap().names().collect::<Vec<_>>(),
            parsed.names().collect::<Vec<_>>()
        );
        for landing in [
            Landing::Plain,
            Landing::Header,
            Landing::HeaderName,
            Landing::PathSegment,
            Landing::Query,
            Landing::Form,
            Landing::Json,
            Landing::Xml,
        ] {
            // Whatever comes of it, it comes without a panic.
            let _ = parsed.fill(&scope, landing, &moment);
        }
    }
    let alone = Template::parse("{a}").unwrap();
    let fill = |landing| Some(alone.fill(&scope, landing, &moment).ok()??.text().unwrap().to_owned());
    if let Some(json) = fill(Landing::Json) {
        let quoted = format!("\"{json}\"");
        assert_eq!(serde_json::from_str::<String>(&quoted).unwrap(), value);
    }
    if let Some(header) = fill(Landing::Header) {
        assert!(!header.contains(['\r', '\n', '\0']), "{header:?}");
    }
    if let Some(query) = fill(Landing::Query) {
        let url = Url::parse(&format!("https://a.example/?x={query}&y=1")).unwrap();
        let pairs: Vec<_> = url.query_pairs().map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
        assert_eq!(pairs, [("x".to_owned(), value.to_owned()), ("y".to_owned(), "1".to_owned())]);
    }
    if let Some(segment) = fill(Landing::PathSegment) {
        let url = Url::parse(&format!("https://a.example/x/{segment}/y")).unwrap();
        assert_eq!(url.path_segments().unwrap().count(), 3, "{segment}");
        assert!(url.query().is_none() && url.fragment().is_none() && url.host_str() == Some("a.example"));
    }
}

struct Same<'a>(&'a str);

impl Scope for Same<'_> {
    fn value(&self, _: &str) -> Option<Value> {
        Some(Value::public(self.0.as_bytes()))
    }
}

/// A manifest as JSON. What is accepted is accepted again, stays the same when it is kept, and lets no secret stand in a host.
pub fn manifests(data: &[u8]) {
    let Ok(declared) = serde_json::from_slice::<declared::Connector>(data) else { return };
    let Ok(manifest) = Manifest::check(&declared) else { return };
    let kept = serde_json::to_vec(&declared).unwrap();
    let read: declared::Connector = serde_json::from_slice(&kept).unwrap();
    assert_eq!(read, declared);
    assert!(Manifest::reload(&read).is_ok());
    for option in &manifest.options {
        assert!(option.attach.is_empty() || !option.audience.is_empty(), "a credential for nobody in particular");
        let secret = |name: &str| option.parameter(name).is_some_and(|parameter| parameter.is_secret());
        for name in option.audience.iter().flat_map(OriginTemplate::names) {
            assert!(!secret(name), "the secret {name} stands in a host");
        }
    }
}

/// Any bytes, as a file that somebody adds. It is refused, or it is a connector.
pub fn components(data: &[u8]) {
    static SHARED: OnceLock<(tokio::runtime::Runtime, Arc<Runtime>)> = OnceLock::new();
    let (tokio, runtime) = SHARED.get_or_init(|| {
        let limits = Limits { describe_seconds: 1, compile_seconds: 10, ..Limits::default() };
        let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        (tokio, Arc::new(Runtime::new(&limits, 4).unwrap()))
    });
    if let Ok(inspected) = tokio.block_on(Component::inspect(runtime, data.to_vec())) {
        assert!(
            inspected.imports.iter().all(|name| name.starts_with("attache:connector/") || name.starts_with("wasi:"))
        );
        // What it says of itself may be nonsense, and is refused then like any other.
        let _ = Manifest::check(&inspected.declared);
    }
}
