//! Reaches several services with one key: its owner names as many as they have.

use guests::{
    auth::{Kind, ParameterSetting},
    connection, connector, header,
    manifest::{Connector, Effect, Guest as Manifest},
    operations::{Failure, Guest as Operations},
    option, parameter, send,
};
use serde_json::{Value, json};

struct Several;

impl Manifest for Several {
    fn describe() -> Connector {
        let mut it = connector(
            "several",
            "1.0.0",
            vec![option(
                "key",
                vec![
                    parameter("hosts", Kind::Url, vec![ParameterSetting::Several]),
                    parameter("key", Kind::Secret, vec![]),
                ],
                vec![header("X-Api-Key", "{key}")],
                &["{hosts}"],
            )],
            &[("connection", Effect::Read)],
        );
        it.operations.push(send::operation());
        it
    }
}

impl Operations for Several {
    fn invoke(operation: String, input: String) -> Result<String, Failure> {
        let input: Value = serde_json::from_str(&input).unwrap();
        match operation.as_str() {
            "send" => Ok(send::send(&input).to_string()),
            "connection" => Ok(json!({
                "audience": connection::audience(),
                "hosts": connection::parameter("hosts"),
            })
            .to_string()),
            _ => unreachable!(),
        }
    }

    fn check() -> Result<String, Failure> {
        send::check()
    }
}

guests::export_guest!(Several with_types_in guests);
