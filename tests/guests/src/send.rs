//! An operation that sends any request its caller describes, and a check that asks the service who the account is.

use serde_json::{Value, json};

use crate::{
    connection, http,
    manifest::{Effect, Operation},
    operations::Failure,
};

pub fn operation() -> Operation {
    crate::operation(
        "send",
        Effect::Write,
        r#"{"type": "object", "required": ["url"], "additionalProperties": false, "properties": {
            "url": {"type": "string", "description": "Where to."},
            "method": {"type": "string", "default": "GET"},
            "headers": {"type": "array", "items": {"type": "array", "items": {"type": "string"}}},
            "body": {"type": "string"},
            "attach": {"type": "boolean", "default": true},
            "times": {"type": "integer", "default": 1}}}"#,
        r#"{"type": "object"}"#,
    )
}

/// Sends it as often as it says, and tells what came of the last.
pub fn send(input: &Value) -> Value {
    let mut seen = Value::Null;
    for _ in 0..input["times"].as_u64().unwrap_or(1) {
        seen = once(input);
    }
    seen
}

fn once(input: &Value) -> Value {
    let headers = input["headers"].as_array().into_iter().flatten();
    let request = http::Request {
        method: input["method"].as_str().unwrap_or("GET").into(),
        url: input["url"].as_str().unwrap().into(),
        headers: headers.map(|pair| (pair[0].as_str().unwrap().into(), pair[1].as_str().unwrap().into())).collect(),
        body: input["body"].as_str().map(|body| body.as_bytes().to_vec()),
        credential: if input["attach"] == false { http::Credential::Omit } else { http::Credential::Attach },
    };
    match http::send(&request) {
        Ok(answer) => json!({
            "status": answer.status,
            "headers": answer.headers,
            "body": String::from_utf8_lossy(&answer.body),
        }),
        Err(error) => {
            let (kind, sentence) = match error {
                http::Error::Denied(it) => ("denied", it),
                http::Error::NeedsReconnect(it) => ("needs-reconnect", it),
                http::Error::Timeout(it) => ("timeout", it),
                http::Error::TooLarge(it) => ("too-large", it),
                http::Error::Unreachable(it) => ("unreachable", it),
                http::Error::InvalidRequest(it) => ("invalid-request", it),
            };
            json!({ "error": kind, "sentence": sentence })
        }
    }
}

/// Whose account it is: what the service answers to `/check`.
pub fn check() -> Result<String, Failure> {
    let Some(base) = connection::audience().into_iter().next() else { return Ok("nobody".into()) };
    let answer = http::send(&http::Request {
        // A credential in a body needs a request that has one.
        method: if connection::auth_option() == "body" { "POST" } else { "GET" }.into(),
        url: format!("{base}/check"),
        headers: vec![],
        body: None,
        credential: http::Credential::Attach,
    });
    match answer {
        Ok(answer) if answer.status == 401 => Err(Failure::Unauthorized("no".into())),
        Ok(answer) if answer.status == 200 => Ok(String::from_utf8_lossy(&answer.body).into_owned()),
        Ok(_) => Ok("tester".into()),
        Err(error) => Err(Failure::Other(format!("{error:?}"))),
    }
}
