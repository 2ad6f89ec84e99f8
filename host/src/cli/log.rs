//! What the process says of its work: lines on standard error, for people or for programs, and traces for whoever collects them
//! (OTLP over HTTP). No secret, and no URL with its query, is in either.

use std::{env, io, time::Duration};

use clap::ValueEnum;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
use tracing::Level;
use tracing_subscriber::{EnvFilter, Layer, filter::Targets, fmt, layer::SubscriberExt, util::SubscriberInitExt};

use crate::{
    error::{Kind, Result},
    trace,
};

/// What is logged unless somebody asks for more. What sled says of a damaged file is said by the error in words of ours.
const DEFAULT_LOG: &str = "warn,sled=off";
/// Where traces go, as OpenTelemetry names it; nowhere unless one of them is set.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"];
/// How long a collector may take, also for the last spans when the process ends.
const COLLECTOR: Duration = Duration::from_secs(5);

/// How lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum LogFormat {
    /// For people
    Text,
    /// For programs: a JSON object on each line
    Json,
}

/// What is to be ended when the process does.
pub(super) struct Logging(Option<SdkTracerProvider>);

/// Starts it; `traced` for what runs for as long as a host does.
///
/// # Errors
/// `usage` where the variables of OpenTelemetry make no sense.
pub(super) fn start(format: LogFormat, traced: bool) -> Result<Logging> {
    let wanted = traced && ENDPOINTS.iter().any(|name| env::var_os(name).is_some_and(|value| !value.is_empty()));
    let provider = if wanted { Some(provider()?) } else { None };
    let spans = provider.as_ref().map(|provider| {
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("attache"));
        // Log lines are no part of traces: they have words of others in them.
        let ours = Targets::new().with_target(trace::TARGET, Level::INFO);
        layer
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_target(false)
            .with_filter(ours)
    });
    let directives = env::var("ATTACHE_LOG").unwrap_or_else(|_| DEFAULT_LOG.into());
    let colour = io::IsTerminal::is_terminal(&io::stderr()) && env::var_os("NO_COLOR").is_none();
    let lines = fmt::layer().with_writer(io::stderr).with_ansi(colour && format == LogFormat::Text);
    let lines = match format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().boxed(),
    };
    let lines = lines.with_filter(EnvFilter::builder().parse_lossy(directives));
    tracing_subscriber::registry().with(spans).with(lines).init();
    Ok(Logging(provider))
}

fn provider() -> Result<SdkTracerProvider> {
    let unfit = |why: String| Kind::Usage.error(format!("Traces cannot be sent where the OTEL_ variables say: {why}."));
    let client = reqwest::blocking::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
    let client = client.timeout(COLLECTOR).build().map_err(|error| unfit(error.to_string()))?;
    let exporter = SpanExporter::builder().with_http().with_http_client(client).with_protocol(Protocol::HttpBinary);
    let exporter = exporter.build().map_err(|error| unfit(error.to_string()))?;
    let mut resource = Resource::builder();
    if env::var_os("OTEL_SERVICE_NAME").is_none() {
        resource = resource.with_service_name("attache");
    }
    Ok(SdkTracerProvider::builder().with_resource(resource.build()).with_batch_exporter(exporter).build())
}

impl Drop for Logging {
    fn drop(&mut self) {
        if let Some(provider) = self.0.take()
            && let Err(error) = provider.shutdown_with_timeout(COLLECTOR)
        {
            tracing::warn!(%error, "the last spans did not reach their collector");
        }
    }
}
