//! What one instance may use up. Each number is a setting (`[limits]` in `attache.toml`); the constants say why it is
//! what it is when nobody sets it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Linear memory of one instance. A Rust connector needs 1 to 2 MiB, a Python one starts with about 25; an answer at
/// [`RESPONSE_BYTES`] that is parsed may need four times its size.
const MEMORY_BYTES: u64 = 128 << 20;
/// Elements of all tables. A Python component has about 15,000 functions in its table, a Rust one some hundreds.
const TABLE_ELEMENTS: u64 = 50_000;
/// From the call's start to its end, waiting for the service included. A person at a terminal or an HTTP caller gives up
/// at about a minute.
const WALL_SECONDS: u64 = 60;
/// Time in which the guest itself computes. Parsing 32 MiB of JSON takes about a second in WebAssembly.
const COMPUTE_SECONDS: u64 = 10;
/// Requests that one call may make. Paging through 500,000 blobs at 5,000 a page takes 100.
const REQUESTS: u32 = 1_000;
/// Calls of the host that are not requests (parameters, audience, log). More than this is a loop.
const HOST_CALLS: u32 = 100_000;
/// The body of one request.
const REQUEST_BYTES: u64 = 32 << 20;
/// The body of one answer after decoding. It must fit in [`MEMORY_BYTES`] several times.
const RESPONSE_BYTES: u64 = 32 << 20;
/// All answers of one call together.
const TOTAL_RESPONSE_BYTES: u64 = 256 << 20;
/// What an operation may take, as JSON text.
const INPUT_BYTES: u64 = 48 << 20;
/// What an operation may give back, as JSON text: an answer of [`RESPONSE_BYTES`] in base64.
const OUTPUT_BYTES: u64 = 48 << 20;
/// Lines that one call may log; what is over is counted, not kept.
const LOG_LINES: u32 = 1_000;
/// The file of a connector. A Python one has 18.5 MB.
const COMPONENT_BYTES: u64 = 64 << 20;
/// Compiling one. A Python connector takes 11 s on two cores.
const COMPILE_SECONDS: u64 = 60;
/// Describing itself is returning a constant; an interpreter starts in well under a second.
const DESCRIBE_SECONDS: u64 = 5;

/// What one instance may use up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Limits {
    /// Linear memory, in bytes.
    pub memory_bytes: u64,
    /// Elements of all tables.
    pub table_elements: u64,
    /// Wall time of one call, in seconds.
    pub wall_seconds: u64,
    /// Time in which the guest itself computes, in seconds.
    pub compute_seconds: u64,
    /// Requests in one call.
    pub requests: u32,
    /// Other calls of the host in one call.
    pub host_calls: u32,
    /// Body of one request, in bytes.
    pub request_bytes: u64,
    /// Body of one answer after decoding, in bytes.
    pub response_bytes: u64,
    /// Bodies of all answers in one call, in bytes.
    pub total_response_bytes: u64,
    /// Input of an operation, in bytes of JSON.
    pub input_bytes: u64,
    /// Output of an operation, in bytes of JSON.
    pub output_bytes: u64,
    /// Lines logged in one call.
    pub log_lines: u32,
    /// The file of a connector, in bytes.
    pub component_bytes: u64,
    /// Compiling a connector, in seconds.
    pub compile_seconds: u64,
    /// Describing itself, in seconds.
    pub describe_seconds: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes: MEMORY_BYTES,
            table_elements: TABLE_ELEMENTS,
            wall_seconds: WALL_SECONDS,
            compute_seconds: COMPUTE_SECONDS,
            requests: REQUESTS,
            host_calls: HOST_CALLS,
            request_bytes: REQUEST_BYTES,
            response_bytes: RESPONSE_BYTES,
            total_response_bytes: TOTAL_RESPONSE_BYTES,
            input_bytes: INPUT_BYTES,
            output_bytes: OUTPUT_BYTES,
            log_lines: LOG_LINES,
            component_bytes: COMPONENT_BYTES,
            compile_seconds: COMPILE_SECONDS,
            describe_seconds: DESCRIBE_SECONDS,
        }
    }
}

impl Limits {
    /// Wall time of one call.
    pub fn wall(&self) -> Duration {
        Duration::from_secs(self.wall_seconds)
    }

    /// How long a call may take.
    pub(super) fn of_a_call(&self) -> Times {
        Times {
            wall: Time { seconds: self.wall_seconds, setting: "wall-seconds" },
            compute: Time { seconds: self.compute_seconds, setting: "compute-seconds" },
        }
    }

    /// How long a connector may take to describe itself. Every other limit is that of a call.
    pub(super) fn of_describing(&self) -> Times {
        let time = Time { seconds: self.describe_seconds, setting: "describe-seconds" };
        Times { wall: time, compute: time }
    }
}

/// How long one run of a guest may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    /// From its start to its end.
    pub(super) wall: Time,
    /// In which the guest itself computes.
    pub(super) compute: Time,
}

/// A time, and the setting that it came from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Time {
    pub(super) seconds: u64,
    pub(super) setting: &'static str,
}

impl Time {
    pub(super) fn duration(self) -> Duration {
        Duration::from_secs(self.seconds)
    }
}
