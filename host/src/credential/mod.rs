//! Puts a credential on a request that is about to leave, or signs it: one file per attachment of the contract.
//!
//! It may call `manifest` (the templates) and uses `transport`'s request. It does not know where the request goes nor
//! why; `egress` has decided that before. What must never happen here: a value written where a guest, a log or an error
//! could read it; a request that leaves without what its auth option says.

mod aws_sigv4;
mod azure_shared_key;
mod basic;
mod body;
mod client_certificate;
mod header;
mod oauth1;
mod path;
mod query;
#[cfg(test)]
mod testing;

use url::form_urlencoded;

use crate::{
    error::{Error, Kind, Result},
    manifest::{
        Attachment,
        jwt::{Jwt, Jwts},
        template::{FillError, Landing, Moment, Scope, Template, Value},
    },
    secret::Secret,
    transport::Outgoing,
};

/// What was put on a request.
#[derive(Debug, Default)]
pub struct Attached {
    /// Where, as people read it: `header X-Api-Key`. Never a value.
    pub places: Vec<String>,
    /// Every value that was written, and the secrets behind it: what must not come back to the guest.
    pub values: Vec<Secret>,
}

impl Attached {
    fn note(&mut self, place: String, values: impl IntoIterator<Item = Secret>) {
        self.places.push(place);
        self.values.extend(values);
    }

    /// The same for values that stand on the request in another spelling. That goes along: a service that gives back in base64
    /// what it was sent gives back the spelling.
    fn note_written(&mut self, place: String, values: Vec<Secret>, write: impl Fn(&[u8]) -> Secret) {
        let written: Vec<Secret> = values.iter().map(|value| write(value.expose())).collect();
        self.note(place, values.into_iter().chain(written));
    }
}

/// As a query and a form have a value.
fn form_encoded(value: &[u8]) -> Secret {
    // Taken once, so that growing leaves no copy behind that nobody wipes.
    let mut encoded = Vec::with_capacity(3 * value.len());
    form_urlencoded::byte_serialize(value).for_each(|piece| encoded.extend_from_slice(piece.as_bytes()));
    Secret::new(encoded)
}

/// What stood on the request before, under a name that an attachment writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// The guest wrote it: refused, since one of the two would be lost.
    Refuse,
    /// A service wrote it into a redirect: replaced.
    Replace,
}

/// Puts every attachment on, in order; a signature sees what came before it. A token among `jwts` is made once, when the
/// first attachment needs it, of the request as it is then.
///
/// # Errors
/// `denied` where the guest wrote what is the host's, or the request has no place for the credential; `reconnect-needed`
/// where a value is missing or does not fit.
pub fn attach(
    attachments: &[Attachment],
    jwts: &[Jwt],
    scope: &dyn Scope,
    moment: &Moment,
    existing: Existing,
    request: &mut Outgoing,
) -> Result<Attached> {
    let mut attached = Attached::default();
    let filler = Filler { scope, jwts: &Jwts::new(jwts), moment };
    for attachment in attachments {
        match attachment {
            Attachment::Header { name, value } => {
                header::attach(name, value, &filler, existing, request, &mut attached)?
            }
            Attachment::Query { name, value } => query::attach(name, value, &filler, existing, request, &mut attached)?,
            Attachment::Body { member, value, kind } => {
                let member = body::Member { at: member, value, kind: *kind };
                body::attach(&member, &filler, existing, request, &mut attached)?
            }
            Attachment::Path { prefix } => path::attach(prefix, &filler, existing, request, &mut attached)?,
            Attachment::Basic { user, password } => basic::attach(user, password, &filler, request, &mut attached)?,
            Attachment::ClientCertificate { certificate, key } => {
                client_certificate::attach(certificate, key, &filler, request, &mut attached)?
            }
            Attachment::AwsSigv4(sigv4) => aws_sigv4::attach(sigv4, &filler, existing, request, &mut attached)?,
            Attachment::AzureSharedKey { account, key } => {
                azure_shared_key::attach(account, key, &filler, request, &mut attached)?
            }
            Attachment::Oauth1(oauth1) => oauth1::attach(oauth1, &filler, existing, request, &mut attached)?,
        }
    }
    Ok(attached)
}

/// Fills templates for one request: the connection's values, its tokens, the request's own, and one moment for all.
struct Filler<'a> {
    scope: &'a dyn Scope,
    jwts: &'a Jwts<'a>,
    moment: &'a Moment,
}

impl Filler<'_> {
    /// None where no alternative of the template has all its values: a header or query is left out then.
    fn fill(&self, template: &Template, landing: Landing, request: &Outgoing) -> Result<Option<Value>> {
        let scope = WithRequest { values: self.scope, request };
        template
            .fill(&self.jwts.over(&scope, self.moment), landing, self.moment)
            .map_err(|error| does_not_fit(template, &error))
    }

    /// Where leaving it out would send the request without its credential.
    fn require(&self, template: &Template, landing: Landing, request: &Outgoing) -> Result<Value> {
        self.fill(template, landing, request)?.ok_or_else(|| {
            Kind::ReconnectNeeded
                .error(format!(
                    "`{template}` has no value in this connection, so the request cannot carry its credential."
                ))
                .hint("Supply it with `attache connection reconnect NAME`.")
        })
    }
}

fn does_not_fit(template: &Template, error: &FillError) -> Error {
    Kind::ReconnectNeeded
        .error(format!("`{template}` cannot be filled in: {error}."))
        .hint("Correct the value with `attache connection reconnect NAME`.")
}

/// Adds `request.*` to the names of a connection.
struct WithRequest<'a> {
    values: &'a dyn Scope,
    request: &'a Outgoing,
}

impl Scope for WithRequest<'_> {
    fn value(&self, name: &str) -> Option<Value> {
        let Some(part) = name.strip_prefix("request.") else { return self.values.value(name) };
        let url = &self.request.url;
        Some(Value::public(match part {
            "method" => self.request.method.as_str().as_bytes().to_vec(),
            "host" => authority(url).into_bytes(),
            "path" => url.path().as_bytes().to_vec(),
            "query" => url.query().unwrap_or_default().as_bytes().to_vec(),
            "sorted-query" => sorted_query(url.query().unwrap_or_default()).into_bytes(),
            "body" => self.request.body.to_vec(),
            _ => return None,
        }))
    }

    fn fault(&self, name: &str) -> Option<FillError> {
        self.values.fault(name)
    }
}

/// The `Host` header's value (RFC 9110 section 7.2).
fn authority(url: &url::Url) -> String {
    match (url.host_str(), url.port()) {
        (Some(host), Some(port)) => format!("{host}:{port}"),
        (host, _) => host.unwrap_or_default().to_owned(),
    }
}

fn sorted_query(query: &str) -> String {
    let mut pairs: Vec<&str> = query.split('&').filter(|pair| !pair.is_empty()).collect();
    pairs.sort_unstable();
    pairs.join("&")
}

#[cfg(test)]
mod tests {
    use super::{
        testing::{request, template},
        *,
    };
    use crate::manifest::{Oauth1, Oauth1Method, Sigv4, ValueKind, declared, pointer::Pointer, template::JsonKind};

    struct OfKey;

    impl Scope for OfKey {
        fn value(&self, name: &str) -> Option<Value> {
            (name == "key").then(|| Value::secret("signing-key"))
        }
    }

    #[test]
    fn a_token_speaks_of_the_request_that_it_is_made_for_and_is_made_once() {
        let jwt = declared::Jwt {
            name: "token".into(),
            algorithm: "HS256".into(),
            key: "{key}".into(),
            header: "{}".into(),
            claims: r#"{"uri": "{request.method} {request.host}{request.path}"}"#.into(),
            lifetime_seconds: 60,
        };
        let jwts = [Jwt::check(&jwt, template("{key}"), &|_| None::<ValueKind>).unwrap()];
        let attachments = [
            Attachment::Header { name: template("Authorization"), value: template("Bearer {token}") },
            Attachment::Path { prefix: template("/v1") },
            Attachment::Header { name: template("X-Again"), value: template("{token}") },
        ];
        let mut outgoing = request("DELETE", "https://a.example:8443/x", &[], b"");
        let attached = attach(&attachments, &jwts, &OfKey, &Moment::now(), Existing::Refuse, &mut outgoing).unwrap();
        let token = outgoing.headers["x-again"].to_str().unwrap();
        assert_eq!(outgoing.headers["authorization"], format!("Bearer {token}").as_str());
        let claims = base64::Engine::decode(&base64::prelude::BASE64_URL_SAFE_NO_PAD, token.split('.').nth(1).unwrap());
        let claims: serde_json::Value = serde_json::from_slice(&claims.unwrap()).unwrap();
        assert_eq!(claims["uri"], "DELETE a.example:8443/x");
        assert!(testing::is_noted(&attached, token) && testing::is_noted(&attached, "signing-key"));
    }

    fn body(member: &str) -> Attachment {
        let value = template("{key}");
        let kind = JsonKind::of(&value, &|_| None);
        Attachment::Body { member: Pointer::parse(member).unwrap(), kind, value }
    }

    #[test]
    fn a_value_is_kept_from_coming_back_in_the_spelling_that_it_was_sent_in() {
        // Regression: of a query and a form only what was typed was noted, so that a service could give back in base64 what it
        // was sent.
        let (json, form) = ("application/json", "application/x-www-form-urlencoded");
        for (attachment, content_type, sent) in [
            (Attachment::Query { name: template("k"), value: template("{key}") }, json, "s3cret%26%22key+%2F"),
            (body("/k"), form, "s3cret%26%22key+%2F"),
            (body("/k"), json, r#"s3cret&\"key /"#),
            (Attachment::Path { prefix: template("/{key}") }, json, "s3cret%26%22key%20%2F"),
            (
                Attachment::Header { name: template("X-K"), value: template("{base64(key)}") },
                json,
                "czNjcmV0JiJrZXkgLw==",
            ),
        ] {
            let mut outgoing = request("POST", "https://a.example/", &[("content-type", content_type)], b"");
            let values = [("key", r#"s3cret&"key /"#)];
            let attached =
                testing::attached(&attachment, &values, &Moment::now(), Existing::Refuse, &mut outgoing).unwrap();
            let header = outgoing.headers.get("x-k").map(|value| value.to_str().unwrap()).unwrap_or_default();
            let all = format!("{} {header} {}", outgoing.url, String::from_utf8_lossy(&outgoing.body));
            assert!(all.contains(sent), "{all}");
            for spelling in [sent, values[0].1] {
                assert!(testing::is_noted(&attached, spelling), "{}: {spelling}", attachment.place());
            }
        }
    }

    /// The header that a signature ends up in, once these are attached to a request.
    fn signature(attachments: &[Attachment], outgoing: &mut Outgoing) -> String {
        let values = [("key", "c2lnbmluZy1rZXk="), ("id", "an-account")];
        let moment = Moment::with_uuid("2026-03-01T12:00:00Z".parse().unwrap(), uuid::Uuid::nil());
        testing::attached_all(attachments, &values, &moment, Existing::Refuse, outgoing).unwrap();
        let name = if outgoing.headers.contains_key("x-signature") { "x-signature" } else { "authorization" };
        outgoing.headers[name].to_str().unwrap().to_owned()
    }

    #[test]
    fn a_signature_covers_what_was_attached_before_it_and_nothing_of_what_comes_after() {
        let key = || template("{key}");
        let (json, form) = (("application/json", r#"{"b":1}"#), ("application/x-www-form-urlencoded", "b=1"));
        // Of each place, what the request has there before, and whether OAuth 1.0 signs it: a body only where it is a form.
        let places = [
            (Attachment::Query { name: template("key"), value: key() }, json, true),
            (body("/auth/key"), json, false),
            (body("/key"), form, true),
            (Attachment::Path { prefix: template("/bot{id}") }, json, true),
        ];
        let sigv4 = Attachment::AwsSigv4(Sigv4 {
            access_key_id: template("{id}"),
            secret_access_key: key(),
            session_token: None,
            service: template("execute-api"),
            region: template("eu-central-1"),
        });
        let oauth1 = Attachment::Oauth1(Oauth1 {
            consumer_key: template("{id}"),
            consumer_secret: key(),
            token: None,
            token_secret: None,
            method: Oauth1Method::HmacSha256,
            realm: None,
            params: vec![],
        });
        let own = template("{hex(sign(hmac-sha256, key, request.path, request.query, request.body))}");
        for (name, sign) in [
            ("sigv4", sigv4),
            ("azure", Attachment::AzureSharedKey { account: template("{id}"), key: key() }),
            ("oauth1", oauth1),
            ("own", Attachment::Header { name: template("X-Signature"), value: own }),
        ] {
            for (place, (content_type, content), in_oauth1) in &places {
                let bare = || {
                    let headers = [("content-type", *content_type)];
                    request("POST", "https://a.example/x?a=1", &headers, content.as_bytes())
                };
                let (mut sent, mut late) = (bare(), bare());
                let covered = signature(&[place.clone(), sign.clone()], &mut sent);
                // As it is signed where the connector has written all of it.
                let headers = [("content-type", *content_type)];
                let mut written = request("POST", sent.url.as_str(), &headers, &sent.body);
                assert_eq!(covered, signature(std::slice::from_ref(&sign), &mut written), "{name}: {}", place.place());
                let first = signature(&[sign.clone(), place.clone()], &mut late);
                let alone = signature(std::slice::from_ref(&sign), &mut bare());
                assert_eq!(first, alone, "{name}: {}", place.place());
                assert_eq!((&late.url, &late.body), (&sent.url, &sent.body));
                assert_eq!(covered != alone, name != "oauth1" || *in_oauth1, "{name}: {}", place.place());
            }
        }
    }
}
