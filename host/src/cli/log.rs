//! What the process says of its work: lines on standard error, for people or for programs, and the same lines and traces for
//! whoever collects them (OTLP over HTTP). No secret, and no URL with its query, is in any of them.

use std::{env, fmt::Display, io, thread, time::Duration};

use clap::ValueEnum;
use opentelemetry::trace::TracerProvider;
use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use opentelemetry_otlp::{LogExporter, Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::{Resource, logs::SdkLoggerProvider, trace::SdkTracerProvider};
use tracing::Level;
use tracing_subscriber::{EnvFilter, Layer, filter::Targets, fmt, layer::SubscriberExt, util::SubscriberInitExt};

use crate::{
    error::{Error, Kind, Result},
    trace,
};

/// What is logged unless somebody asks for more. What sled says of a damaged file, and what verifies certificates of one that is
/// not good, is said by the error in words of ours.
const DEFAULT_LOG: &str = "warn,sled=off,rustls_platform_verifier=off";
/// What is sent tells nothing of its own way, which would be sent in turn.
const ON_THE_WAY: [&str; 5] = ["opentelemetry=off", "reqwest=off", "hyper=off", "hyper_util=off", "rustls=off"];
/// Where it goes, as OpenTelemetry names it; nowhere unless it, or the one of the signal, is set.
const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
/// How long a collector may take, also for the last spans and lines when the process ends.
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
pub(super) struct Logging {
    spans: Option<SdkTracerProvider>,
    lines: Option<SdkLoggerProvider>,
}

/// Starts it; `collected` for what runs for as long as a host does.
///
/// # Errors
/// `usage` where the variables of OpenTelemetry make no sense.
pub(super) fn start(format: LogFormat, collected: bool) -> Result<Logging> {
    let wanted = |signal: &str| collected && is_wanted(signal);
    let spans = if wanted("TRACES") { Some(spans()?) } else { None };
    let lines = if wanted("LOGS") { Some(lines()?) } else { None };
    let directives = env::var("ATTACHE_LOG").unwrap_or_else(|_| DEFAULT_LOG.into());
    let filter = |directives: &str| EnvFilter::builder().parse_lossy(directives);
    let told_spans = spans.as_ref().map(|provider| {
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
    let told_lines = lines.as_ref().map(|provider| {
        let directives = [&[directives.as_str()], &ON_THE_WAY[..]].concat().join(",");
        OpenTelemetryTracingBridge::new(provider).with_filter(filter(&directives))
    });
    let colour = io::IsTerminal::is_terminal(&io::stderr()) && env::var_os("NO_COLOR").is_none();
    let shown = fmt::layer().with_writer(io::stderr).with_ansi(colour && format == LogFormat::Text);
    let shown = match format {
        LogFormat::Text => shown.boxed(),
        LogFormat::Json => shown.json().boxed(),
    };
    let shown = shown.with_filter(filter(&directives));
    tracing_subscriber::registry().with(told_spans).with(told_lines).with(shown).init();
    Ok(Logging { spans, lines })
}

/// Whether somebody collects a signal: an endpoint is named, and no exporter was said to be wanted.
fn is_wanted(signal: &str) -> bool {
    let given = |name: &str| env::var(name).is_ok_and(|value| !value.is_empty());
    let is_off = env::var(format!("OTEL_{signal}_EXPORTER")).is_ok_and(|exporter| exporter == "none");
    !is_off && (given(ENDPOINT) || given(&format!("OTEL_EXPORTER_OTLP_{signal}_ENDPOINT")))
}

fn spans() -> Result<SdkTracerProvider> {
    let exporter = SpanExporter::builder().with_http().with_http_client(client()?).with_protocol(Protocol::HttpBinary);
    let exporter = exporter.build().map_err(unfit)?;
    Ok(SdkTracerProvider::builder().with_resource(resource()).with_batch_exporter(exporter).build())
}

fn lines() -> Result<SdkLoggerProvider> {
    let exporter = LogExporter::builder().with_http().with_http_client(client()?).with_protocol(Protocol::HttpBinary);
    let exporter = exporter.build().map_err(unfit)?;
    Ok(SdkLoggerProvider::builder().with_resource(resource()).with_batch_exporter(exporter).build())
}

fn client() -> Result<reqwest::blocking::Client> {
    let client = reqwest::blocking::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
    client.timeout(COLLECTOR).build().map_err(unfit)
}

fn resource() -> Resource {
    let resource = Resource::builder();
    match env::var_os("OTEL_SERVICE_NAME") {
        None => resource.with_service_name("attache").build(),
        Some(_) => resource.build(),
    }
}

fn unfit(why: impl Display) -> Error {
    Kind::Usage.error(format!("Nothing can be sent where the OTEL_ variables say: {why}."))
}

impl Drop for Logging {
    fn drop(&mut self) {
        let (spans, lines) = (self.spans.take(), self.lines.take());
        // Side by side: whoever stops a host waits for it.
        let ended = thread::scope(|scope| {
            let spans = scope.spawn(|| spans.map(|provider| provider.shutdown_with_timeout(COLLECTOR)));
            let lines = lines.map(|provider| provider.shutdown_with_timeout(COLLECTOR));
            [spans.join().ok().flatten(), lines]
        });
        for ended in ended.into_iter().flatten() {
            if let Err(error) = ended {
                tracing::warn!(%error, "the last spans or lines did not reach their collector");
            }
        }
    }
}
