//! One message on its way, and what the receiver made of it.

use std::time::Duration;

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode,
    header::{CONTENT_TYPE, InvalidHeaderValue},
};
use jiff::Timestamp;

use super::signature;
use crate::{
    error::Kind,
    host::Host,
    outbox::Endpoint,
    pause, text,
    transport::{Fault, Limits, Outgoing},
};

/// How long a receiver may take, from the first look-up to the last byte of its answer: as Standard Webhooks recommends, 15 to
/// 30 s. Who has more to do than write a message down does it after the answer.
const TOTAL: Duration = Duration::from_secs(20);
/// Of what a receiver says nothing is needed but the status.
const ANSWER: usize = 64 << 10;
/// Characters of what it says that are shown to whoever tries it.
const SAID: usize = 200;

/// What Standard Webhooks has beside the content.
const ID: HeaderName = HeaderName::from_static("webhook-id");
const TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// What a receiver answered.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// How long it wants to be left alone.
    pub(super) wait: Option<Duration>,
    /// The beginning of what it said, in its own words.
    pub(super) said: String,
}

impl Answer {
    pub(super) fn is_taken(&self) -> bool {
        self.status.is_success()
    }
}

pub(super) fn limits() -> Limits {
    Limits {
        resolve: TOTAL / 4,
        connect: TOTAL / 2,
        first_byte: TOTAL,
        idle: TOTAL / 2,
        total: TOTAL,
        body_on_wire: ANSWER,
        body_decoded: ANSWER,
        ..Limits::default()
    }
}

impl Host {
    /// Sends a message once, to an endpoint that is there until it was answered. A redirect is an answer that is no success.
    pub(super) async fn send_message(&self, endpoint: &Endpoint, id: &str, payload: &str) -> Result<Answer, Fault> {
        tokio::select! {
            // Who removed it is sure from then on that nothing is sent.
            biased;
            () = self.removed(endpoint) => Err(Fault::Denied {
                what: "The webhook was removed.".into(),
                allow: "Add it again with `attache webhook add`.".into(),
            }),
            answer = self.send_signed(endpoint, id, payload) => answer,
        }
    }

    /// Returns once an endpoint is not there any longer, though another may have its name.
    async fn removed(&self, endpoint: &Endpoint) {
        // Before it is looked at: one that is removed in between is looked at again.
        let mut changes = self.outbox.endpoint_changes();
        loop {
            match self.outbox.endpoint(&endpoint.environment, &endpoint.name) {
                Ok(there) if there.as_ref().is_none_or(|there| there.id != endpoint.id) => return,
                // What cannot be read now was read a moment ago.
                _ => {}
            }
            if changes.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    async fn send_signed(&self, endpoint: &Endpoint, id: &str, payload: &str) -> Result<Answer, Fault> {
        let headers = headers(endpoint, id, payload)
            .map_err(|_| Fault::Unready(Kind::Internal.error("A message has an id that no header takes.")))?;
        let body = Bytes::copy_from_slice(payload.as_bytes());
        let request = Outgoing::new(Method::POST, endpoint.url.clone(), headers, body);
        let transport = self.transport().map_err(Fault::Unready)?;
        let answer = transport.send(&endpoint.pool(), &endpoint.private, request, &limits()).await?;
        let said = text::foreign(String::from_utf8_lossy(&answer.body).trim(), SAID);
        Ok(Answer { status: answer.status, wait: pause::asked(&answer.headers), said })
    }
}

fn headers(endpoint: &Endpoint, id: &str, payload: &str) -> Result<HeaderMap, InvalidHeaderValue> {
    let now = Timestamp::now();
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let signed = signature::sign(endpoint.secrets(now), id, now, payload);
    for (name, value) in [(ID, id), (TIMESTAMP, &now.as_second().to_string()), (SIGNATURE, &signed)] {
        headers.insert(name, HeaderValue::from_str(value)?);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::{testing, transport::PrivateAllowed, webhooks::NewEndpoint};

    #[tokio::test]
    async fn nothing_is_sent_to_an_endpoint_that_was_removed_since_its_message_was_taken_up() {
        let (host, _home) = testing::host();
        let receiver = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let authority = receiver.local_addr().unwrap().to_string();
        let new = || NewEndpoint {
            environment: "default".into(),
            url: format!("http://{authority}/hooks"),
            name: Some("app".into()),
            private: PrivateAllowed::parse([&authority]).unwrap(),
            ..NewEndpoint::default()
        };
        let (taken_up, _) = host.add_webhook(new()).await.unwrap();
        host.remove_webhook("default", "app", "tester").unwrap();
        // Another of its name is not the one that was.
        host.add_webhook(new()).await.unwrap();
        let answer = host.send_message(&taken_up, "msg_1", "{}").await;
        assert!(matches!(answer, Err(Fault::Denied { .. })), "nobody answers there");
        receiver.set_nonblocking(true).unwrap();
        assert!(receiver.accept().is_err(), "nobody came");
    }
}
