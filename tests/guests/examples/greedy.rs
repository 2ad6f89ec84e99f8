//! Uses up each limit, one an operation.

use guests::{
    connection, connector, http, log,
    manifest::{Connector, Effect, Guest as Manifest},
    operation,
    operations::{Failure, Guest as Operations},
    option,
};

struct Greedy;

impl Manifest for Greedy {
    fn describe() -> Connector {
        let reads = ["spin", "grow", "recurse", "trap", "huge-output", "host-calls", "log", "requests", "wait"];
        let mut it = connector(
            "greedy",
            "1.0.0",
            vec![option("none", vec![], vec![], &[])],
            &reads.map(|id| (id, Effect::Read)),
        );
        it.operations.push(operation("wrong-output", Effect::Read, "{}", r#"{"type": "object", "required": ["a"]}"#));
        it.operations.push(operation("no-json", Effect::Read, "{}", "true"));
        it
    }
}

impl Operations for Greedy {
    fn invoke(operation: String, _input: String) -> Result<String, Failure> {
        match operation.as_str() {
            "spin" => loop {
                std::hint::spin_loop();
            },
            "grow" => {
                let mut kept = Vec::new();
                loop {
                    kept.push(vec![1u8; 1 << 20]);
                    std::hint::black_box(&kept);
                }
            }
            "recurse" => Ok(recurse(1).to_string()),
            "trap" => panic!("on purpose"),
            "huge-output" => Ok(format!("\"{}\"", "x".repeat(3 << 20))),
            "host-calls" => loop {
                connection::audience();
            },
            "log" => {
                for line in 0..5_000 {
                    log::write(log::Level::Warn, &format!("line {line}"));
                }
                Ok("true".into())
            }
            "requests" => loop {
                let _ = http::send(&http::Request {
                    method: "GET".into(),
                    url: "https://nowhere.example/".into(),
                    headers: vec![],
                    body: None,
                    credential: http::Credential::Omit,
                });
            },
            "wrong-output" => Ok(r#"{"b": 1}"#.into()),
            "no-json" => Ok("{".into()),
            _ => Ok("true".into()),
        }
    }

    fn check() -> Result<String, Failure> {
        Ok("greedy".into())
    }
}

#[inline(never)]
fn recurse(depth: u64) -> u64 {
    if std::hint::black_box(depth) == 0 { 0 } else { recurse(depth + 1) + std::hint::black_box(depth) }
}

guests::export_guest!(Greedy with_types_in guests);
