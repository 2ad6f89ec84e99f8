//! Answers in XML, and the errors of services that answer so: a code, and a message for people.

use serde::{Deserialize, de::DeserializeOwned};

use crate::{Failure, http::Response};

/// What a service says of a failure.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Error {
    /// The service's own, like `NoSuchBucket`.
    #[serde(rename = "Code")]
    pub code: String,
    /// For people, and for those who look for a request.
    #[serde(rename = "Message", default)]
    pub message: String,
}

impl Error {
    /// Of an answer that is a failure; none where it is not in XML.
    pub fn of(answer: &Response) -> Option<Self> {
        if answer.status < 400 {
            return None;
        }
        parse(answer).ok()
    }

    /// The code and the first line of the message.
    pub fn words(&self) -> String {
        format!("{}: {}", self.code, self.message.lines().next().unwrap_or_default())
    }
}

/// Reads an answer's content.
///
/// # Errors
/// [`Failure::Upstream`] where it is not what the type asks for.
pub fn read<T: DeserializeOwned>(answer: &Response) -> Result<T, Failure> {
    parse(answer).map_err(|error| {
        Failure::Upstream((answer.status, format!("the answer is not the XML that was expected ({error})")))
    })
}

fn parse<T: DeserializeOwned>(answer: &Response) -> Result<T, quick_xml::DeError> {
    let text = answer.text();
    // Some services begin with a mark of the byte order.
    quick_xml::de::from_str(text.trim_start_matches('\u{feff}'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Response {
        Response { status, headers: Vec::new(), body: body.as_bytes().to_vec() }
    }

    #[test]
    fn a_failure_has_a_code_and_one_line_of_words() {
        let body = "\u{feff}<?xml version=\"1.0\"?><Error><Code>NoSuchKey</Code><Message>It is gone.\nRequest 7</Message></Error>";
        assert_eq!(Error::of(&answer(404, body)).unwrap().words(), "NoSuchKey: It is gone.");
        assert_eq!(Error::of(&answer(200, body)), None);
        assert_eq!(Error::of(&answer(500, "no XML")), None);
        assert!(matches!(read::<Error>(&answer(200, "<a/>")), Err(Failure::Upstream((200, _)))));
    }
}
