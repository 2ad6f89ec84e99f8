//! Keeps what it is told in its memory, and looks through all of its memory for what somebody else told it.

use std::sync::Mutex;

use guests::{
    auth::Kind,
    connector, header,
    manifest::{Connector, Effect, Guest as Manifest},
    operations::{Failure, Guest as Operations},
    option, parameter, send,
};
use serde_json::{Value, json};

struct Remembers;

/// What was kept, so that the compiler does not do away with it.
static KEPT: Mutex<Vec<String>> = Mutex::new(Vec::new());

impl Manifest for Remembers {
    fn describe() -> Connector {
        let mut it = connector(
            "remembers",
            "1.0.0",
            vec![option(
                "header",
                vec![parameter("base", Kind::Url, vec![]), parameter("key", Kind::Secret, vec![])],
                vec![header("X-Api-Key", "{key}")],
                &["{base}"],
            )],
            &[("keep", Effect::Read), ("look", Effect::Read), ("keep-and-trap", Effect::Read)],
        );
        it.operations.push(send::operation());
        it
    }
}

impl Operations for Remembers {
    fn invoke(operation: String, input: String) -> Result<String, Failure> {
        let input: Value = serde_json::from_str(&input).unwrap();
        match operation.as_str() {
            "keep" => {
                keep(input["text"].as_str().unwrap());
                Ok("true".into())
            }
            "keep-and-trap" => {
                keep(input["text"].as_str().unwrap());
                panic!("on purpose")
            }
            // What is looked for comes in two halves, so that the question itself is not found.
            "look" => Ok(json!({ "found": look(input["first"].as_str().unwrap(), input["second"].as_str().unwrap()) })
                .to_string()),
            _ => Ok(send::send(&input).to_string()),
        }
    }

    fn check() -> Result<String, Failure> {
        send::check()
    }
}

fn keep(text: &str) {
    KEPT.lock().unwrap().push(text.to_owned());
}

/// Every byte of the linear memory, from the first on.
#[allow(unsafe_code, reason = "memory that belongs to nothing of this program cannot be looked at otherwise")]
fn look(first: &str, second: &str) -> usize {
    let end = core::arch::wasm32::memory_size(0) << 16;
    // SAFETY: every address below `end` is there to be read, whatever stands at it.
    let byte = |at: usize| unsafe { core::ptr::read_volatile(at as *const u8) };
    let stands =
        |at: usize, text: &str| text.bytes().enumerate().all(|(offset, expected)| byte(at + offset) == expected);
    (1..end - first.len() - second.len()).filter(|at| stands(*at, first) && stands(at + first.len(), second)).count()
}

guests::export_guest!(Remembers with_types_in guests);
